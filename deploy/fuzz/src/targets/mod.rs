//! The targets, one file for each subject.

mod consent;
mod contract;
mod fhir;
mod files;
mod governance;
mod identity;
mod ipfs;
mod package;
mod protocol;
mod raft;
mod receipts;
mod records;
mod rules;
mod storage;
mod stored;
mod validation;

use crate::Target;

macro_rules! targets {
    ($($module:ident { $($name:ident: $words:expr,)* })*) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$($(Target {
            name: stringify!($name),
            run: $module::$name,
            seeds: $module::seeds::$name,
            words: $words,
        },)*)*];
    };
}

const NAMES: &[&str] = &["care", "records", "A", "B", "C", "healthcare"];
const JSON: &[&str] = &[
    "{", "}", "[", "]", "null", "true", ":", ",", "\"", "1e9", "-1", "\\u0000",
];
const POLICIES: &[&str] = &[
    "AND(",
    "OR(",
    "OutOf(",
    "2,",
    "'A.peer'",
    "'B.member'",
    ")",
    ", ",
];
const CONSENTS: &[&str] = &[
    "\"type\":\"permit\"",
    "\"type\":\"deny\"",
    "\"purpose\":[\"TREAT\"]",
    "\"except\":[",
    "\"actor\":{",
    "\"org\":\"A\"",
    "\"role\":\"practitioner\"",
    "\"max\":\"R\"",
    "\"min\":\"N\"",
    "\"label\":[\"HIV\"]",
    "\"category\":[\"laboratory\"]",
    "\"period\":[0,2]",
    "\"data\":[1,null]",
    "\"record\":[",
    "ETREAT",
    "HRESCH",
    "\"role\":\"researcher\"",
    "\"study\":\"",
    "\"scope\":\"research\"",
    "\"research\":\"RSDID\"",
    "\"policy\":\"Policy-deny\"",
];
const FHIR: &[&str] = &[
    "\"provision\":[{",
    "\"type\":\"permit\"",
    "\"type\":\"deny\"",
    "\"actor\":[{",
    "\"securityLabel\":[{",
    "\"purpose\":[{",
    "\"period\":{\"end\":\"2020\"}",
    "\"extension\":[{\"url\":\"x\"}]",
    "\"reference\":\"Organization/f001\"",
    "OPTIN",
    "OPTOUT",
    "9999-12-31",
    "1969-12-31T23:59:59.999-12:00",
];
const TOML: &[&str] = &[
    "\n[",
    "]\n",
    " = ",
    "[[gateways]]\n",
    "\"\"\"",
    "'''",
    "true",
    "1979-05-27",
    "{",
    "}",
];

targets! {
    protocol {
        envelope: NAMES,
        proposal: NAMES,
        result: NAMES,
        signed_request: &["CommitStatus", "Events", "Side", "ChannelInfo", "Blocks", "Join", "Install", "Status"],
        block: NAMES,
        config: POLICIES,
    }
    rules {
        policy: POLICIES,
        composite_key: &["\0", "p\0", "\u{10ffff}"],
        merkle: &[],
        side_items: &[],
        rpc_error: &["unknown_channel", "malformed"],
    }
    identity {
        certificate: &["role", "{\"attrs\":{", "practitioner", "admin"],
        pem: &["-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\n"],
        signatures: &[],
        header_signatures: &[],
    }
    governance {
        config_update: POLICIES,
    }
    receipts {
        receipt_file: &["\"index\":", "\"path\":[", "\"signature\":\"\"", "\"configurations\":[", "AAAA", "=="],
    }
    stored {
        peer_store: &[],
        orderer_values: &[],
        orderer_store: &[],
    }
    raft {
        raft_message: &[],
        raft_chain: &[],
    }
    package {
        package: &["\0asm\x01\0\0\0", "\0asm\x0d\0\x01\0", "stela:chaincode/state@1.0.0", "invoke"],
    }
    contract {
        contract_arguments: JSON,
        contract_calls: JSON,
        contract_answers: JSON,
    }
    consent {
        consent_json: CONSENTS,
        consent_decision: CONSENTS,
    }
    fhir {
        fhir_consent: FHIR,
        fhir_observation: FHIR,
    }
    records {
        record_header: &[],
        record_metadata: &["\"content_bytes\":", "\"media_type\":\"text/plain\"", "\"file_name\":\"..\"", "\"format\":"],
        record_stream: &[],
        wrap_list: &[],
        wrap_open: &[],
        encryption_keys: &["stelakey"],
    }
    ipfs {
        bitswap_frame: &[],
        bitswap_exchange: &[],
        unixfs: &[],
        cid: &["bafkrei", "Qm", "z"],
        pin_file: &[],
        swarm_key: &["/key/swarm/psk/1.0.0/\n", "/base16/\n", "/bin/\n"],
    }
    storage {
        lease_file: &["1 ", " A ", "18446744073709551615"],
        wanted_file: &["1 ", "permanent\n", "leased "],
        storage_event: &["\"cid\":", "record.submitted", "record.confirmed"],
        storage_request: &["Hold", "Admit", "Has", "Status"],
    }
    files {
        checkpoint_file: &["stela-checkpoint-1 care records ", "18446744073709551615", "+1", " ", "\n"],
        orderer_settings: TOML,
        peer_settings: TOML,
        storage_settings: TOML,
    }
    validation {
        validate_block: NAMES,
    }
}
