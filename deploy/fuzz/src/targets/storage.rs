//! What comes to a storage node: requests, events, and its own files.

use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message;
use stela_client::{Checkpoint, Event, Sources};
use stela_ipfs::{Cid, PeerId, PinKind};
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{BlockNumber, TransactionId};
use stela_storage::events::{self, Action};
use stela_storage::fuzzing::{self, Door};
use stela_storage::{Membership, Replication, pb};

use crate::parts::Parts;
use crate::world::{START_MS, World};

const METHODS: [&str; 4] = ["Admit", "Hold", "Has", "Status"];
const EVENTS: [&str; 4] = [
    "record.submitted",
    "record.confirmed",
    "consent.granted",
    "record.erased",
];

/// The first part is the file's name.
pub(super) fn lease_file(input: &[u8]) {
    let mut parts = Parts::of(input);
    let (Ok(name), Ok(text)) = (
        std::str::from_utf8(parts.part()),
        std::str::from_utf8(parts.rest()),
    ) else {
        return;
    };
    if let Some((name, text)) = fuzzing::lease(name, text) {
        assert_eq!(fuzzing::lease(&name, &text), Some((name, text)));
    }
}

pub(super) fn wanted_file(input: &[u8]) {
    let Some(kind) = std::str::from_utf8(input).ok().and_then(fuzzing::wanted) else {
        return;
    };
    assert_eq!(fuzzing::wanted(&fuzzing::wanted_file(kind)), Some(kind));
}

/// An event of the ledger, or an envelope in which it is looked up.
pub(super) fn storage_event(input: &[u8]) {
    let (kind, payload) = input.split_first().unwrap_or((&0, &[]));
    let payload = Bytes::copy_from_slice(payload);
    if let Ok(cid) = events::submitted_cid(payload.clone()) {
        let envelope = Envelope::decode(payload.clone()).expect("it was decoded before");
        assert!(matches!(envelope.body, Body::Transaction(_)));
        assert_eq!(cid.to_string().parse().ok(), Some(cid));
    }
    let name = EVENTS[usize::from(*kind) % EVENTS.len()];
    let event = Event {
        checkpoint: Checkpoint {
            block: BlockNumber(1),
            transaction: 0,
            event: 0,
        },
        transaction: TransactionId([1; 32]),
        name: name.to_owned(),
        payload,
        time_ms: u64::from(*kind) << 56,
    };
    for holds in [true, false] {
        let action = |replication| events::action(&event, replication, |_: &Cid| holds);
        let (all, own) = (action(Replication::All), action(Replication::Held));
        assert_eq!(all.is_ok(), own.is_ok());
        match all {
            Ok(Action::Keep { kind, .. }) => {
                assert_eq!(kind == PinKind::Permanent, name == EVENTS[1])
            }
            Ok(Action::LookUp { .. }) => assert_eq!(name, EVENTS[0]),
            Ok(Action::LetGo { .. }) => assert_eq!(name, EVENTS[3]),
            Ok(Action::Nothing) => assert_eq!(name, EVENTS[2]),
            Err(_) => assert_ne!(name, EVENTS[2], "other events are none of its business"),
        }
    }
}

fn node() -> PeerId {
    let id = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    id.parse().expect("a peer")
}

fn door() -> Door {
    static MEMBERSHIP: OnceLock<Membership> = OnceLock::new();
    let config = World::get().membership.config();
    let membership = MEMBERSHIP.get_or_init(|| Membership::new(config).expect("a sound fixture"));
    let sources = Sources::new(|| START_MS, |bytes| bytes.fill(1));
    Door::new(node(), membership.clone(), sources)
}

/// Requests with the certificate of one who may ask: let in when she signed exactly this for this
/// node, once. A byte chooses the procedure; a request without a signature gets the client's.
pub(super) fn storage_request(input: &[u8]) {
    let (kind, bytes) = input.split_first().unwrap_or((&0, &[]));
    let Ok(mut request) = pb::SignedRequest::decode(bytes) else {
        return;
    };
    let client = &World::get().client;
    let own = request.signature.is_empty();
    if own {
        let signature = client.sign(stela_storage::REQUEST_DOMAIN, &request.payload);
        request.signature = Bytes::copy_from_slice(&signature);
        request.certificate = client.certificate.der().clone();
    }
    let door = door();
    let method = METHODS[usize::from(*kind) % METHODS.len()];
    let Ok(identity) = door.open(method, &request) else {
        return;
    };
    let asked = World::get()
        .everybody()
        .find(|one| one.fingerprint() == identity.fingerprint);
    let asked = asked.expect("somebody of the consortium");
    assert_eq!(asked.certificate.der(), &request.certificate);
    assert!(
        asked
            .certificate
            .public_key()
            .verify(
                stela_storage::REQUEST_DOMAIN,
                &request.payload,
                &request.signature
            )
            .is_ok()
    );
    assert!(
        door.open(method, &request).is_err(),
        "a request counts once"
    );
    for other in METHODS.into_iter().filter(|other| *other != method) {
        assert!(
            self::door().open(other, &request).is_err(),
            "and for one procedure"
        );
    }
}

pub(super) mod seeds {
    use stela_protocol::transaction::RequestHeader;

    use super::*;
    use crate::parts::part;
    use crate::world::result;

    const CID: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

    pub(in crate::targets) fn lease_file() -> Vec<Vec<u8>> {
        let name = format!("{CID}-{}", "ab".repeat(32));
        [
            "1 A 5 7\n",
            "1 HospitalB 18446744073709551615 0\n",
            "2 A 5 7\n",
        ]
        .map(|text| [part(name.as_bytes()), text.as_bytes().to_vec()].concat())
        .into()
    }

    pub(in crate::targets) fn wanted_file() -> Vec<Vec<u8>> {
        [
            "1 permanent\n",
            "1 leased 7\n",
            "1 leased 18446744073709551615\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into()
    }

    pub(in crate::targets) fn storage_event() -> Vec<Vec<u8>> {
        use stela_protocol::pb::write::Change;
        let json = format!("{{\"cid\":\"{CID}\",\"record\":\"x\",\"version\":1}}");
        let world = World::get();
        let call = world.call(
            &world.proposal(1, &[json.as_bytes()]),
            &result("k", None, Change::Argument(0)),
        );
        vec![
            [&[0], json.as_bytes()].concat(),
            [&[1], json.as_bytes()].concat(),
            [&[2], json.as_bytes()].concat(),
            b"\0{\"record\":\"x\"}".to_vec(),
            [&[0], &call[..]].concat(),
        ]
    }

    pub(in crate::targets) fn storage_request() -> Vec<Vec<u8>> {
        let world = World::get();
        let head = |method: &str| {
            let header = world.header(7, &world.client);
            let header = RequestHeader {
                header,
                method: method.to_owned(),
            };
            Some(pb::Head {
                header: Some(header.to_pb()),
                node: node().to_string(),
            })
        };
        let bodies = [
            pb::AdmitRequest {
                head: head("Admit"),
                peer_id: node().to_string(),
            }
            .encode_to_vec(),
            pb::HoldRequest {
                head: head("Hold"),
                cid: CID.to_owned(),
                bytes: 4112,
            }
            .encode_to_vec(),
            pb::HasRequest {
                head: head("Has"),
                cid: CID.to_owned(),
            }
            .encode_to_vec(),
            pb::StatusRequest {
                head: head("Status"),
            }
            .encode_to_vec(),
        ];
        let mut seeds = Vec::new();
        for (payload, kind) in bodies.into_iter().zip(0u8..) {
            let signature = world.client.sign(stela_storage::REQUEST_DOMAIN, &payload);
            let mut request = pb::SignedRequest {
                payload: payload.into(),
                signature: Bytes::copy_from_slice(&signature),
                certificate: world.client.certificate.der().clone(),
            };
            seeds.push([vec![kind], request.encode_to_vec()].concat());
            request.signature.clear();
            request.certificate.clear();
            seeds.push([vec![kind], request.encode_to_vec()].concat());
        }
        seeds
    }
}
