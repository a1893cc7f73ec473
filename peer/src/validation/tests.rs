mod configuration;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use stela_identity::{CertificateAuthority, Credentials, Subject, Validity};
use stela_protocol::config as channel_config;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{
    self, Proposal, Registration, SideCommitment, Signed, TransactionHeader,
};
use stela_protocol::{
    BlockNumber, ChannelId, ContractName, FORMAT_VERSION, Fingerprint, Height, Nonce, pb,
};
use stela_store::{MemoryKv, PeerLedger, layout};

use super::*;

const START_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const WINDOW_MS: u64 = 60_000;
const PACKAGE: Hash32 = Hash32([7; 32]);

fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

fn records() -> ContractName {
    ContractName::new("records").unwrap()
}

fn validity(from_ms: u64, to_ms: u64) -> Validity {
    Validity {
        not_before_ms: from_ms,
        not_after_ms: to_ms,
    }
}

fn always() -> Validity {
    validity(START_MS - HOUR_MS, START_MS + 1000 * HOUR_MS)
}

fn subject(name: &str, role: &str, validity: Validity) -> Subject {
    Subject {
        common_name: name.to_owned(),
        role: role.to_owned(),
        attributes: BTreeMap::new(),
        validity,
    }
}

/// Three organizations with a peer and an orderer each, and a client of the first.
pub(crate) struct World {
    authorities: BTreeMap<&'static str, CertificateAuthority>,
    peers: BTreeMap<&'static str, Credentials>,
    orderers: Vec<Credentials>,
    admins: BTreeMap<&'static str, Credentials>,
    client: Credentials,
    pub(crate) genesis: Block,
    membership: Membership,
    ledger: PeerLedger,
    tip: Tip,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// A world whose configuration was changed before it went into force.
    fn with(
        change: impl FnOnce(&mut pb::ChannelConfig, &BTreeMap<&'static str, Credentials>),
    ) -> Self {
        let authorities: BTreeMap<_, _> = ["A", "B", "C"]
            .into_iter()
            .map(|name| {
                (
                    name,
                    CertificateAuthority::create(&org(name), always()).unwrap(),
                )
            })
            .collect();
        let issue = |name: &str, role: &str| {
            authorities[name]
                .issue(&subject(&format!("{role}0"), role, always()))
                .unwrap()
        };
        let peers: BTreeMap<_, _> = authorities
            .keys()
            .map(|name| (*name, issue(name, "peer")))
            .collect();
        let orderers: Vec<_> = authorities
            .keys()
            .map(|name| issue(name, "orderer"))
            .collect();
        let client = issue("A", "client");
        let admins: BTreeMap<_, _> = authorities
            .keys()
            .map(|name| (*name, issue(name, "admin")))
            .collect();
        let mut config = configuration(&authorities, &peers, &orderers, &client);
        change(&mut config, &peers);
        let genesis = channel_config::genesis(&config, START_MS).unwrap();
        let (membership, ledger) = joined(&genesis);
        let tip = Tip::of(&genesis);
        Self {
            authorities,
            peers,
            orderers,
            admins,
            client,
            genesis,
            membership,
            ledger,
            tip,
        }
    }

    /// The next block, unsigned.
    pub(crate) fn block(&self, envelopes: Vec<Bytes>) -> Block {
        self.block_at(self.tip.header.time_ms + 1_000, envelopes)
    }

    fn block_at(&self, time_ms: u64, envelopes: Vec<Bytes>) -> Block {
        let header = &self.tip.header;
        Block::new(
            header.channel.clone(),
            header.number.next(),
            self.tip.hash,
            header.last_config,
            time_ms,
            envelopes,
        )
    }

    fn validate(&self, block: &Block) -> BlockCommit {
        let organization = org("A");
        let rules = Rules {
            membership: &self.membership,
            organization: &organization,
        };
        validate(&rules, block, &self.ledger.snapshot().unwrap()).unwrap()
    }

    pub(crate) fn commit(&mut self, block: &Block) -> BlockCommit {
        let commit = self.validate(block);
        self.ledger.commit(commit.clone()).unwrap();
        self.tip = Tip::of(block);
        if let Some(config) = commit.config.clone() {
            self.membership = Membership::new(config).unwrap();
        }
        commit
    }

    /// Commits the next block and names the verdicts.
    fn judge(&mut self, envelopes: Vec<Bytes>) -> Vec<&'static str> {
        let block = self.block(envelopes);
        names(&self.commit(&block))
    }

    /// The verdict on one envelope in a block of its own.
    fn judge_one(&mut self, envelope: Bytes) -> &'static str {
        self.judge(vec![envelope])[0]
    }

    /// A call that is valid as it is.
    pub(crate) fn call(&self, nonce: u8) -> Call<'_> {
        Call {
            header: TransactionHeader {
                channel: self.tip.header.channel.clone(),
                nonce: Nonce([nonce; 24]),
                creator: self.client.fingerprint(),
                timestamp_ms: self.tip.header.time_ms,
            },
            creator: &self.client,
            contract: records(),
            side: Vec::new(),
            result: pb::Result {
                version: FORMAT_VERSION,
                package_hash: PACKAGE.to_bytes(),
                response: Some(pb::Response::default()),
                ..Default::default()
            },
            endorsers: vec![&self.peers["A"], &self.peers["B"]],
        }
    }

    fn registration(&self, credentials: &Credentials, nonce: u8) -> Bytes {
        let header = TransactionHeader {
            channel: self.tip.header.channel.clone(),
            nonce: Nonce([nonce; 24]),
            creator: credentials.fingerprint(),
            timestamp_ms: self.tip.header.time_ms,
        };
        let certificate = credentials.certificate.der().clone();
        let bytes = transaction::registration_payload(&Registration {
            header,
            certificate,
        });
        seal(bytes, credentials)
    }

    fn version(&self, key: &str) -> Option<Height> {
        let found = self
            .ledger
            .snapshot()
            .unwrap()
            .get(&records(), key.as_bytes())
            .unwrap();
        found.map(|found| found.height)
    }

    /// The block with the signatures of all orderers.
    pub(crate) fn signed(&self, mut block: Block) -> Block {
        block.signatures = (1..)
            .zip(0..self.orderers.len())
            .map(|(number, orderer)| self.signature(&block, orderer, number))
            .collect();
        block
    }

    fn signature(&self, block: &Block, orderer: usize, as_number: u64) -> pb::HeaderSignature {
        let signature = self.orderers[orderer].sign(domain::HEADER, block.hash.as_bytes());
        pb::HeaderSignature {
            orderer: as_number,
            signature: Bytes::copy_from_slice(&signature),
        }
    }
}

fn configuration(
    authorities: &BTreeMap<&'static str, CertificateAuthority>,
    peers: &BTreeMap<&'static str, Credentials>,
    orderers: &[Credentials],
    client: &Credentials,
) -> pb::ChannelConfig {
    let organization = |(name, authority): (&&str, &CertificateAuthority)| pb::Organization {
        id: (*name).to_owned(),
        root_certificate: Bytes::copy_from_slice(authority.root_der()),
        ..Default::default()
    };
    let orderer = |(id, orderer): (u64, &Credentials)| pb::Orderer {
        id,
        organization: orderer.certificate.organization().to_string(),
        certificate: orderer.certificate.der().clone(),
        tls_fingerprint: Bytes::from_static(&[0; 32]),
        ..Default::default()
    };
    let contract = |name: &str, policy: &str| pb::ContractDefinition {
        name: name.to_owned(),
        version: "1".to_owned(),
        package_hash: PACKAGE.to_bytes(),
        endorsement_policy: policy.to_owned(),
        ..Default::default()
    };
    let known = peers.values().chain([client]);
    pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: "care".to_owned(),
        organizations: authorities.iter().map(organization).collect(),
        orderers: (1..).zip(orderers).map(orderer).collect(),
        orderer_quorum: 2,
        limits: Some(pb::ChannelLimits {
            window_ms: WINDOW_MS,
            block_transactions_max: 100,
            block_bytes_max: 1 << 20,
            envelope_bytes_max: 1 << 18,
        }),
        contracts: vec![
            contract("records", "AND('A.peer','B.peer')"),
            contract("twice", "AND('B.peer','B.peer')"),
        ],
        admin_policy: "OutOf(2, 'A.admin', 'B.admin', 'C.admin')".to_owned(),
        certificates: known.map(|one| one.certificate.der().clone()).collect(),
        ..Default::default()
    }
}

/// A peer's view right after it has joined.
fn joined(genesis_block: &Block) -> (Membership, PeerLedger) {
    let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
    let ledger = PeerLedger::open(kv, &genesis_block.header.channel).unwrap();
    let (commit, bytes) = genesis(genesis_block).unwrap();
    ledger.commit(commit).unwrap();
    (Membership::new(bytes).unwrap(), ledger)
}

fn names(commit: &BlockCommit) -> Vec<&'static str> {
    commit.codes.iter().map(|code| code.name()).collect()
}

fn seal(bytes: Bytes, creator: &Credentials) -> Bytes {
    let signature = creator.sign(domain::ENVELOPE, &bytes);
    transaction::envelope(Signed { bytes, signature })
}

/// A call in the making; what is changed before it is sealed is what is wrong with it.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub(crate) header: TransactionHeader,
    creator: &'a Credentials,
    contract: ContractName,
    pub(crate) side: Vec<SideCommitment>,
    result: pb::Result,
    endorsers: Vec<&'a Credentials>,
}

impl Call<'_> {
    fn read(mut self, key: &str, height: Option<Height>) -> Self {
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.result.reads.push(pb::Read {
            key,
            height: height.map(Into::into),
        });
        self
    }

    pub(crate) fn write(mut self, key: &str, value: Option<&str>) -> Self {
        let change = match value {
            Some(value) => pb::write::Change::Value(Bytes::copy_from_slice(value.as_bytes())),
            None => pb::write::Change::Delete(true),
        };
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.result.writes.push(pb::Write {
            key,
            change: Some(change),
            ..Default::default()
        });
        self
    }

    fn range(mut self, start: &str, end: &str, found: &[(&str, Height)]) -> Self {
        let found = found.iter().map(|(key, height)| (key.as_bytes(), *height));
        self.result.ranges.push(pb::RangeRead {
            start: Bytes::copy_from_slice(start.as_bytes()),
            end: Bytes::copy_from_slice(end.as_bytes()),
            results_hash: hash::range_results(found).to_bytes(),
        });
        self
    }

    fn proposal(&self) -> Bytes {
        Proposal {
            header: self.header.clone(),
            contract: self.contract.clone(),
            function: "do".to_owned(),
            arguments: Vec::new(),
            side: self.side.clone(),
        }
        .encode()
    }

    fn endorsements(&self) -> Vec<pb::Endorsement> {
        let message = hash::endorsement_message(&self.proposal(), &self.result.encode_to_vec());
        let endorse = |endorser: &&Credentials| pb::Endorsement {
            endorser: endorser.fingerprint().to_bytes(),
            signature: Bytes::copy_from_slice(&endorser.sign(domain::ENDORSEMENT, &message)),
        };
        self.endorsers.iter().map(endorse).collect()
    }

    pub(crate) fn seal(&self) -> Bytes {
        self.seal_with(self.endorsements())
    }

    fn seal_with(&self, endorsements: Vec<pb::Endorsement>) -> Bytes {
        let result = self.result.encode_to_vec().into();
        seal(
            transaction::transaction_payload(self.proposal(), result, endorsements),
            self.creator,
        )
    }
}

fn at(block: u64, transaction: u32) -> Height {
    Height { block, transaction }
}

// ---------------------------------------------------------------------------------- what is valid

#[test]
fn a_valid_transaction_changes_the_state_and_takes_its_id() {
    let mut world = World::new();
    let call = world.call(1).read("a", None).write("a", Some("1"));
    let (id, envelope) = (call.header.id(), call.seal());
    let block = world.block(vec![envelope]);
    let commit = world.commit(&block);
    assert_eq!(names(&commit), ["VALID"]);
    assert_eq!(commit.transactions, [(id, 0)]);
    assert_eq!(world.version("a"), Some(at(1, 0)));
    let change = hash::StateChange {
        namespace: "records",
        key: b"a",
        value: Some(b"1"),
        transaction: 0,
    };
    let codes = [ValidationCode::Valid];
    let genesis = genesis(&world.genesis).unwrap().0.state_hash;
    let expect = hash::state(&genesis, BlockNumber(1), &block.hash, &codes, [change]);
    assert_eq!(commit.state_hash, expect);
}

#[test]
fn only_side_items_for_the_own_organization_are_promised() {
    let mut world = World::new();
    let mut call = world.call(1);
    let side = |seed: u8, organizations: &[&str]| SideCommitment {
        commitment: Hash32([seed; 32]),
        organizations: organizations.iter().map(|name| org(name)).collect(),
    };
    call.side = vec![side(1, &["B", "A"]), side(2, &["B", "C"])];
    let (valid, mut unendorsed) = (call.seal(), call.clone());
    unendorsed.header.nonce = Nonce([2; 24]);
    unendorsed.endorsers.clear();
    let block = world.block(vec![valid, unendorsed.seal()]);
    let commit = world.commit(&block);
    let promised: Vec<Hash32> = commit.side.iter().map(|side| side.commitment).collect();
    assert_eq!(promised, [Hash32([1; 32])]);
}

// -------------------------------------------------------------------------------------- forgeries

#[test]
fn what_cannot_be_decoded_is_refused() {
    let mut world = World::new();
    let valid = world.call(1).seal();
    let no_body = pb::Envelope {
        payload: Bytes::new(),
        signature: vec![0; 64].into(),
    };
    let verdicts = world.judge(vec![
        Bytes::from_static(&[0xff]),
        no_body.encode_to_vec().into(),
        Bytes::new(),
        valid,
    ]);
    assert_eq!(
        verdicts,
        ["NIL_ENVELOPE", "BAD_PAYLOAD", "BAD_PAYLOAD", "VALID"]
    );
}

#[test]
fn another_channel_is_refused() {
    let mut world = World::new();
    let mut call = world.call(1);
    call.header.channel = ChannelId::new("other").unwrap();
    let envelope = call.seal();
    assert_eq!(world.judge_one(envelope), "TARGET_CHAIN_NOT_FOUND");
}

#[test]
fn outside_the_window_is_expired_either_way_and_takes_its_id() {
    let mut world = World::new();
    let time_ms = world.tip.header.time_ms + 10 * WINDOW_MS;
    let mut envelopes = Vec::new();
    for (nonce, off) in [-60_001, -60_000, 60_000, 60_001].into_iter().enumerate() {
        let mut call = world.call(nonce as u8);
        call.header.timestamp_ms = time_ms.checked_add_signed(off).unwrap();
        envelopes.push(call.seal());
    }
    let mut forged = world.call(9);
    forged.creator = &world.peers["B"];
    envelopes.push(forged.seal());
    let block = world.block_at(time_ms, envelopes);
    let commit = world.commit(&block);
    assert_eq!(
        names(&commit),
        ["EXPIRED", "VALID", "VALID", "EXPIRED", "EXPIRED"]
    );
    let taken: Vec<u32> = commit
        .transactions
        .iter()
        .map(|(_, index)| *index)
        .collect();
    assert_eq!(taken, [0, 1, 2, 3]);
}

#[test]
fn a_creator_who_did_not_sign_is_refused_and_her_id_stays_free() {
    let mut world = World::new();
    let mut forged = world.call(1);
    forged.creator = &world.peers["C"];
    let (forged, honest) = (forged.seal(), world.call(1).seal());
    assert_eq!(world.judge_one(forged), "BAD_CREATOR_SIGNATURE");
    assert_eq!(world.judge_one(honest), "VALID");
}

#[test]
fn a_payload_altered_after_the_creator_signed_is_refused() {
    let mut world = World::new();
    let mut envelope = pb::Envelope::decode(world.call(1).seal()).unwrap();
    envelope.payload = {
        let other = world.call(1).write("a", Some("1")).seal();
        pb::Envelope::decode(other).unwrap().payload
    };
    assert_eq!(
        world.judge_one(envelope.encode_to_vec().into()),
        "BAD_CREATOR_SIGNATURE"
    );
}

#[test]
fn an_unknown_creator_is_refused_until_the_block_after_her_registration() {
    let mut world = World::new();
    let patient = world.authorities["B"]
        .issue(&subject("patient", "patient", always()))
        .unwrap();
    let call = |world: &World, nonce| {
        let mut call = world.call(nonce);
        call.header.creator = patient.fingerprint();
        call.creator = &patient;
        call.endorsers = vec![&world.peers["A"], &world.peers["B"]];
        call.seal()
    };
    let (first, registration) = (call(&world, 1), world.registration(&patient, 2));
    let same_block = call(&world, 3);
    assert_eq!(world.judge_one(first), "BAD_CREATOR_SIGNATURE");
    let verdicts = world.judge(vec![registration, same_block.clone()]);
    assert_eq!(verdicts, ["VALID", "BAD_CREATOR_SIGNATURE"]);
    // Her id was not taken, so the identical envelope may come again.
    assert_eq!(world.judge_one(same_block), "VALID");
}

#[test]
fn certificates_outside_their_validity_or_revoked_do_not_count() {
    let mut world = World::new();
    let issue = |from, to| {
        let validity = validity(from, to);
        world.authorities["A"]
            .issue(&subject("x", "client", validity))
            .unwrap()
    };
    let short = issue(START_MS - HOUR_MS, START_MS + 4_000);
    let early = issue(START_MS + 4_000, START_MS + HOUR_MS);
    let (a, b) = (world.registration(&short, 1), world.registration(&early, 2));
    assert_eq!(world.judge(vec![a, b]), ["VALID", "INVALID_REGISTRATION"]);
    let call = |world: &World, nonce| {
        let mut call = world.call(nonce);
        call.header.creator = short.fingerprint();
        Call {
            creator: &short,
            ..call.clone()
        }
        .seal()
    };
    let within = call(&world, 3);
    assert_eq!(world.judge_one(within), "VALID");
    let (after, again) = (call(&world, 4), world.registration(&short, 5));
    let block = world.block_at(START_MS + 5_000, vec![after, again]);
    let verdicts = names(&world.commit(&block));
    assert_eq!(verdicts, ["BAD_CREATOR_SIGNATURE", "INVALID_REGISTRATION"]);
}

#[test]
fn revoked_certificates_neither_endorse_nor_create_nor_register() {
    let mut world = World::with(|config, peers| {
        config.organizations[1].revoked = vec![peers["B"].fingerprint().to_bytes()];
    });
    let endorsed = world.call(1).seal();
    let mut created = world.call(2);
    created.header.creator = world.peers["B"].fingerprint();
    let created = Call {
        creator: &world.peers["B"],
        ..created.clone()
    }
    .seal();
    let registered = world.registration(&world.peers["B"], 3);
    assert_eq!(
        world.judge(vec![endorsed, created, registered]),
        [
            "ENDORSEMENT_POLICY_FAILURE",
            "BAD_CREATOR_SIGNATURE",
            "INVALID_REGISTRATION"
        ]
    );
}

#[test]
fn registrations_of_strangers_are_refused() {
    let mut world = World::new();
    let issue = |authority: &CertificateAuthority| {
        authority.issue(&subject("x", "client", always())).unwrap()
    };
    let outsider = issue(&CertificateAuthority::create(&org("D"), always()).unwrap());
    let pretender = issue(&CertificateAuthority::create(&org("A"), always()).unwrap());
    let member = issue(&world.authorities["C"]);
    let forged = {
        let honest = world.registration(&member, 3);
        let payload = pb::Envelope::decode(honest).unwrap().payload;
        seal(payload, &outsider)
    };
    let unreadable = {
        let certificate = Bytes::from_static(b"no certificate");
        let header = TransactionHeader {
            creator: hash::fingerprint(&certificate),
            ..world.call(4).header.clone()
        };
        let registration = Registration {
            header,
            certificate,
        };
        seal(transaction::registration_payload(&registration), &outsider)
    };
    let envelopes = vec![
        world.registration(&outsider, 1),
        world.registration(&pretender, 2),
        forged,
        unreadable,
    ];
    let block = world.block(envelopes);
    let commit = world.commit(&block);
    assert_eq!(
        names(&commit),
        [
            "INVALID_REGISTRATION",
            "INVALID_REGISTRATION",
            "BAD_CREATOR_SIGNATURE",
            "INVALID_REGISTRATION"
        ]
    );
    assert!(commit.certificates.is_empty());
}

#[test]
fn replays_are_duplicates_in_the_same_block_and_in_later_ones() {
    let mut world = World::new();
    let envelope = world.call(1).write("a", Some("1")).seal();
    let verdicts = world.judge(vec![envelope.clone(), envelope.clone()]);
    assert_eq!(verdicts, ["VALID", "DUPLICATE_TXID"]);
    assert_eq!(world.judge_one(envelope.clone()), "DUPLICATE_TXID");
    // The same nonce for something else is the same id.
    let other = world.call(1).write("b", Some("2")).seal();
    let block = world.block(vec![other]);
    let commit = world.commit(&block);
    assert_eq!(names(&commit), ["DUPLICATE_TXID"]);
    assert!(commit.transactions.is_empty());
    // After the window a replay expires, so ids need no longer be remembered.
    let block = world.block_at(world.tip.header.time_ms + 2 * WINDOW_MS, vec![envelope]);
    assert_eq!(names(&world.commit(&block)), ["EXPIRED"]);
}

#[test]
fn an_invalid_transaction_takes_its_id_too() {
    let mut world = World::new();
    let mut unendorsed = world.call(1);
    unendorsed.endorsers.clear();
    let (unendorsed, endorsed) = (unendorsed.seal(), world.call(1).seal());
    assert_eq!(world.judge_one(unendorsed), "ENDORSEMENT_POLICY_FAILURE");
    assert_eq!(world.judge_one(endorsed), "DUPLICATE_TXID");
}

#[test]
fn undefined_contracts_and_other_packages_are_refused() {
    let mut world = World::new();
    let mut undefined = world.call(1);
    undefined.contract = ContractName::new("unknown").unwrap();
    let mut package = world.call(2);
    package.result.package_hash = Bytes::from_static(&[8; 32]);
    let envelopes = vec![undefined.seal(), package.seal()];
    assert_eq!(
        world.judge(envelopes),
        ["INVALID_CHAINCODE", "EXPIRED_CHAINCODE"]
    );
}

#[test]
fn an_endorsement_kept_back_until_its_result_has_expired_does_not_count() {
    let mut world = World::new();
    let time_ms = world.tip.header.time_ms + 1_000;
    let expiring = |nonce, expires_at_ms| {
        let mut call = world.call(nonce).write("k", Some("v"));
        call.result.expires_at_ms = Some(expires_at_ms);
        call
    };
    let mut unendorsed = expiring(5, time_ms);
    unendorsed.endorsers.clear();
    let envelopes = vec![
        expiring(1, time_ms - 1).seal(),
        expiring(2, time_ms).seal(),
        expiring(3, 0).seal(),
        expiring(4, time_ms + 1).seal(),
        unendorsed.seal(),
    ];
    let block = world.block_at(time_ms, envelopes);
    let commit = world.commit(&block);
    let expired = "EXPIRED_RESULT";
    assert_eq!(
        names(&commit),
        [expired, expired, expired, "VALID", expired]
    );
    let written: Vec<u32> = commit.writes.iter().map(|write| write.index).collect();
    assert_eq!(written, [3]);
}

#[test]
fn endorsements_that_do_not_satisfy_the_policy_are_refused() {
    let mut world = World::new();
    let orderer = &world.orderers[1];
    let (a, b, c) = (&world.peers["A"], &world.peers["B"], &world.peers["C"]);
    let cases: Vec<(u8, Vec<&Credentials>, &str)> = vec![
        (1, vec![], "ENDORSEMENT_POLICY_FAILURE"),
        (2, vec![a], "ENDORSEMENT_POLICY_FAILURE"),
        (3, vec![a, a], "ENDORSEMENT_POLICY_FAILURE"),
        (4, vec![a, c], "ENDORSEMENT_POLICY_FAILURE"),
        (5, vec![a, orderer], "ENDORSEMENT_POLICY_FAILURE"),
        (6, vec![&world.client, b], "ENDORSEMENT_POLICY_FAILURE"),
        (7, vec![b, a], "VALID"),
        (8, vec![c, b, orderer, a, a], "VALID"),
    ];
    let expect: Vec<&str> = cases.iter().map(|(_, _, expect)| *expect).collect();
    let envelopes = cases
        .iter()
        .map(|(nonce, endorsers, _)| {
            Call {
                endorsers: endorsers.clone(),
                ..world.call(*nonce)
            }
            .seal()
        })
        .collect();
    assert_eq!(world.judge(envelopes), expect);
}

#[test]
fn one_endorser_counts_once_even_under_two_certificates() {
    let mut world = World::new();
    let twin_certificate = world.authorities["B"]
        .issue_for(
            world.peers["B"].certificate.public_key(),
            &subject("twin", "peer", always()),
        )
        .unwrap();
    let twin = {
        let pem = world.peers["B"].key.to_pem();
        let key = stela_identity::SigningKey::from_pem(&pem).unwrap();
        Credentials {
            certificate: twin_certificate,
            key,
        }
    };
    let second = world.authorities["B"]
        .issue(&subject("second", "peer", always()))
        .unwrap();
    let registrations = vec![world.registration(&twin, 1), world.registration(&second, 2)];
    assert_eq!(world.judge(registrations), ["VALID", "VALID"]);
    let by = |endorsers: Vec<&Credentials>, nonce| {
        let contract = ContractName::new("twice").unwrap();
        let call = world.call(nonce);
        Call {
            endorsers,
            contract,
            ..call
        }
        .seal()
    };
    let b = &world.peers["B"];
    let envelopes = vec![
        by(vec![b, b], 3),
        by(vec![b, &twin], 4),
        by(vec![b, &second], 5),
    ];
    assert_eq!(
        world.judge(envelopes),
        [
            "ENDORSEMENT_POLICY_FAILURE",
            "ENDORSEMENT_POLICY_FAILURE",
            "VALID"
        ]
    );
}

#[test]
fn endorsements_of_something_else_do_not_count() {
    let mut world = World::new();
    let call = world.call(1).write("a", Some("1"));
    let altered = call
        .clone()
        .write("b", Some("2"))
        .seal_with(call.endorsements());
    let mut other = world.call(2).write("a", Some("1"));
    let of_other_proposal = other.seal_with(call.endorsements());
    other.header.nonce = Nonce([3; 24]);
    let mut swapped = other.endorsements();
    let endorser = swapped[0].endorser.clone();
    swapped[0].endorser = std::mem::replace(&mut swapped[1].endorser, endorser);
    let swapped = other.seal_with(swapped);
    let verdicts = world.judge(vec![altered, of_other_proposal, swapped]);
    assert_eq!(verdicts, ["ENDORSEMENT_POLICY_FAILURE"; 3]);
}

// ------------------------------------------------------------------------------------------- MVCC

#[test]
fn a_key_that_was_changed_since_it_was_read_is_a_conflict() {
    let mut world = World::new();
    let first = world.call(1).write("a", Some("1")).seal();
    world.judge_one(first);
    let read = |world: &World, nonce, height| {
        world
            .call(nonce)
            .read("a", height)
            .write("a", Some("x"))
            .seal()
    };
    let stale = [read(&world, 2, None), read(&world, 3, Some(at(0, 0)))];
    let current = read(&world, 4, Some(at(1, 0)));
    let late = read(&world, 5, Some(at(1, 0)));
    let [none, old] = stale;
    assert_eq!(
        world.judge(vec![none, old, current, late]),
        [
            "MVCC_READ_CONFLICT",
            "MVCC_READ_CONFLICT",
            "VALID",
            "MVCC_READ_CONFLICT"
        ]
    );
    assert_eq!(world.version("a"), Some(at(2, 2)));
}

#[test]
fn a_block_sees_its_own_earlier_valid_writes_and_deletions() {
    let mut world = World::new();
    let first = world.call(1).write("a", Some("1")).seal();
    world.judge_one(first);
    let mut invalid = world.call(2).write("a", Some("not applied"));
    invalid.endorsers.clear();
    let envelopes = vec![
        invalid.seal(),
        world
            .call(3)
            .read("a", Some(at(1, 0)))
            .write("a", None)
            .seal(),
        world.call(4).read("a", Some(at(1, 0))).seal(),
        world.call(5).read("a", None).write("a", Some("2")).seal(),
        world.call(6).read("a", Some(at(2, 3))).seal(),
    ];
    assert_eq!(
        world.judge(envelopes),
        [
            "ENDORSEMENT_POLICY_FAILURE",
            "VALID",
            "MVCC_READ_CONFLICT",
            "VALID",
            "VALID"
        ]
    );
}

#[test]
fn a_range_with_other_keys_or_versions_is_a_phantom() {
    let mut world = World::new();
    let call = world
        .call(1)
        .write("a", Some("1"))
        .write("b", Some("1"))
        .write("d", Some("1"));
    let envelope = call.seal();
    world.judge_one(envelope);
    let old = [("a", at(1, 0)), ("b", at(1, 0))];
    let envelopes = vec![
        world.call(2).range("a", "d", &old).seal(),
        world.call(3).range("a", "e", &old).seal(),
        world.call(4).write("b", None).write("c", Some("2")).seal(),
        world.call(5).range("a", "d", &old).seal(),
        world
            .call(6)
            .range("a", "d", &[("a", at(1, 0)), ("c", at(2, 2))])
            .seal(),
        world.call(7).range("d", "e", &[("d", at(1, 0))]).seal(),
        world.call(8).write("c", Some("3")).seal(),
        world
            .call(9)
            .range("a", "d", &[("a", at(1, 0)), ("c", at(2, 2))])
            .seal(),
    ];
    assert_eq!(
        world.judge(envelopes),
        [
            "VALID",
            "PHANTOM_READ_CONFLICT",
            "VALID",
            "PHANTOM_READ_CONFLICT",
            "VALID",
            "VALID",
            "VALID",
            "PHANTOM_READ_CONFLICT"
        ]
    );
}

/// A page with a limit of two ends right behind its second key: that is what is checked, up to the
/// boundary and no further, deletions and what the same block did before included.
#[test]
fn a_page_is_checked_up_to_its_last_key_and_no_further() {
    type Changes = &'static [(&'static str, Option<&'static str>)];
    let check = |changes: Changes, page: &'static str| {
        for in_the_same_block in [false, true] {
            let mut world = World::new();
            let first = ["a", "b", "c", "d"];
            let first = first
                .iter()
                .fold(world.call(1), |call, key| call.write(key, Some("1")));
            let envelope = first.seal();
            world.judge_one(envelope);
            let change = |call, (key, value): &(&str, Option<&str>)| Call::write(call, key, *value);
            let changed = changes.iter().fold(world.call(2), change).seal();
            let seen = [("a", at(1, 0)), ("b", at(1, 0))];
            let pages = [
                world.call(3).range("a", "b\0", &seen).seal(),
                // The page behind it, as its bookmark says, and one that is empty.
                world
                    .call(4)
                    .range("b\0", "d\0", &[("c", at(1, 0)), ("d", at(1, 0))])
                    .seal(),
                world.call(5).range("d\0", "e", &[]).seal(),
            ];
            let verdicts = if in_the_same_block {
                let envelopes = [vec![changed], pages.to_vec()].concat();
                world.judge(envelopes)[1..].to_vec()
            } else {
                world.judge_one(changed);
                world.judge(pages.to_vec())
            };
            let expected = ["first", "second", "empty"].map(|name| match name == page {
                true => "PHANTOM_READ_CONFLICT",
                false => "VALID",
            });
            assert_eq!(verdicts, expected, "{changes:?}");
        }
    };
    check(&[("a", None)], "first");
    check(&[("b", None)], "first");
    check(&[("b", Some("2"))], "first");
    check(&[("a!", Some("new"))], "first");
    check(&[("b\0", Some("new"))], "second");
    check(&[("b!", Some("new"))], "second");
    check(&[("c", None)], "second");
    check(&[("d", None)], "second");
    check(&[("d\0", Some("new"))], "empty");
    check(&[("d!", Some("new"))], "empty");
    check(&[("d!", None)], "none of them");
    check(&[("e", Some("new"))], "none of them");
    check(&[("9", Some("new"))], "none of them");
}

#[test]
fn a_range_longer_than_a_page_is_read_whole() {
    let mut world = World::new();
    let keys: Vec<String> = (0..crate::limits::RANGE_PAGE * 2 + 3)
        .map(|n| format!("k{n:04}"))
        .collect();
    let call = keys
        .iter()
        .fold(world.call(1), |call, key| call.write(key, Some("1")));
    let envelope = call.seal();
    assert_eq!(world.judge_one(envelope), "VALID");
    let found: Vec<(&str, Height)> = keys.iter().map(|key| (key.as_str(), at(1, 0))).collect();
    let whole = world.call(2).range("k", "l", &found).seal();
    let short = world
        .call(3)
        .range("k", "l", &found[..found.len() - 1])
        .seal();
    assert_eq!(
        world.judge(vec![whole, short]),
        ["VALID", "PHANTOM_READ_CONFLICT"]
    );
}

// ------------------------------------------------------------------------------------ block headers

#[test]
fn a_block_needs_a_quorum_of_distinct_orderers() {
    let world = World::new();
    let block = world.block(vec![world.call(1).seal()]);
    let check = |signatures: Vec<pb::HeaderSignature>| {
        let message = pb::Block {
            signatures,
            ..block.to_pb()
        };
        check_block(&world.membership, &world.tip, message).map(|block| block.signatures)
    };
    let signed = |orderer: usize, number: u64| world.signature(&block, orderer, number);
    let (one, two, three) = (signed(0, 1), signed(1, 2), signed(2, 3));
    let stranger = {
        let signature = world.client.sign(domain::HEADER, block.hash.as_bytes());
        let signature = Bytes::copy_from_slice(&signature);
        move |orderer| pb::HeaderSignature {
            orderer,
            signature: signature.clone(),
        }
    };
    let other_domain = {
        let signature = world.orderers[1].sign(domain::ENVELOPE, block.hash.as_bytes());
        pb::HeaderSignature {
            orderer: 2,
            signature: Bytes::copy_from_slice(&signature),
        }
    };
    assert_eq!(
        check(vec![two.clone(), one.clone()]),
        Ok(vec![one.clone(), two.clone()])
    );
    let with_noise = vec![
        stranger(9),
        three.clone(),
        stranger(2),
        one.clone(),
        one.clone(),
    ];
    assert_eq!(check(with_noise), Ok(vec![one.clone(), three]));
    let number = BlockNumber(1);
    for (too_few, valid) in [
        (vec![], 0),
        (vec![one.clone()], 1),
        (vec![one.clone(), one.clone()], 1),
        (vec![one.clone(), signed(0, 2)], 1),
        (vec![one.clone(), stranger(2), stranger(4)], 1),
        (vec![one, other_domain], 1),
        (vec![stranger(1), stranger(2), stranger(3)], 0),
    ] {
        let refused = BlockRefused::TooFewSignatures {
            number,
            valid,
            quorum: 2,
        };
        assert_eq!(check(too_few), Err(refused));
    }
}

#[test]
fn a_block_has_to_follow_the_one_before_it() {
    let mut world = World::new();
    let first = world.block(vec![world.call(1).seal()]);
    let sign = |world: &World, block: &Block| {
        let signatures = vec![world.signature(block, 0, 1), world.signature(block, 1, 2)];
        pb::Block {
            signatures,
            ..block.to_pb()
        }
    };
    let second_at_the_same_height = world.block(vec![world.call(2).seal()]);
    let early = world.block_at(START_MS - 1, vec![]);
    let refused = |world: &World, block: &Block| {
        let refused = check_block(&world.membership, &world.tip, sign(world, block)).unwrap_err();
        assert!(matches!(refused, BlockRefused::Block(_)), "{refused}");
    };
    refused(&world, &early);
    assert!(check_block(&world.membership, &world.tip, sign(&world, &first)).is_ok());
    world.commit(&first);
    refused(&world, &first);
    refused(&world, &second_at_the_same_height);
    let mut wrong_previous = world.block(vec![]);
    wrong_previous.header.previous_hash = Hash32([9; 32]);
    wrong_previous.header_bytes = wrong_previous.header.encode();
    wrong_previous.hash = hash::header(&wrong_previous.header_bytes);
    refused(&world, &wrong_previous);
    let mut altered = sign(&world, &world.block(vec![world.call(3).seal()]));
    altered.envelopes[0] = world.call(4).seal();
    assert!(check_block(&world.membership, &world.tip, altered).is_err());
}

#[test]
fn a_revoked_or_expired_orderer_does_not_count() {
    let mut revoked = None;
    let world = World::with(|config, _| {
        let fingerprint = hash::fingerprint(&config.orderers[0].certificate);
        revoked = Some(fingerprint);
        config.organizations[0].revoked = vec![fingerprint.to_bytes()];
    });
    assert!(world.membership.msp().is_revoked(&revoked.unwrap()));
    let check = |block: &Block, orderers: [usize; 2]| {
        let signatures = orderers
            .iter()
            .map(|index| world.signature(block, *index, *index as u64 + 1));
        let message = pb::Block {
            signatures: signatures.collect(),
            ..block.to_pb()
        };
        check_block(&world.membership, &world.tip, message).is_ok()
    };
    let block = world.block(vec![]);
    assert!(check(&block, [1, 2]));
    assert!(!check(&block, [0, 1]));
    assert!(!check(
        &world.block_at(START_MS + 2000 * HOUR_MS, vec![]),
        [1, 2]
    ));
}

// ------------------------------------------------------------------------------------- properties

/// One transaction of a random block over the keys `0` to `3`.
#[derive(Debug, Clone)]
struct Random {
    /// Each key read, and whether the version that is claimed is the one before the block.
    reads: BTreeMap<u8, bool>,
    writes: BTreeMap<u8, bool>,
    range: Option<(u8, u8)>,
    endorsed: bool,
}

fn random() -> impl Strategy<Value = Random> {
    let some = || prop::collection::btree_map(0u8..4, any::<bool>(), 0..3);
    let range = prop::option::of((0u8..4, 1u8..5).prop_filter("a range", |(a, b)| a < b));
    (some(), some(), range, prop::bool::weighted(0.9)).prop_map(
        |(reads, writes, range, endorsed)| Random {
            reads,
            writes,
            range,
            endorsed,
        },
    )
}

fn envelope_of(world: &World, nonce: u8, random: &Random, before: &BTreeMap<u8, Height>) -> Bytes {
    let name = |key: u8| key.to_string();
    let mut call = world.call(nonce);
    for (key, honest) in &random.reads {
        let known = before.get(key).copied();
        call = call.read(&name(*key), if *honest { known } else { Some(at(77, 7)) });
    }
    for (key, keep) in &random.writes {
        call = call.write(&name(*key), keep.then_some("v"));
    }
    if let Some((start, end)) = random.range {
        let names: Vec<(String, Height)> = before
            .range(start..end)
            .map(|(key, height)| (name(*key), *height))
            .collect();
        let found: Vec<(&str, Height)> = names
            .iter()
            .map(|(key, height)| (key.as_str(), *height))
            .collect();
        call = call.range(&name(start), &name(end), &found);
    }
    if !random.endorsed {
        call.endorsers.pop();
    }
    call.seal()
}

/// The verdict by the plainest reading of the rules; applies what is valid.
fn plain_verdict(
    random: &Random,
    before: &BTreeMap<u8, Height>,
    now: &mut BTreeMap<u8, Height>,
    height: Height,
) -> &'static str {
    if !random.endorsed {
        return "ENDORSEMENT_POLICY_FAILURE";
    }
    if random
        .reads
        .iter()
        .any(|(key, honest)| !honest || before.get(key) != now.get(key))
    {
        return "MVCC_READ_CONFLICT";
    }
    let range = random.range;
    if range.is_some_and(|(a, b)| !before.range(a..b).eq(now.range(a..b))) {
        return "PHANTOM_READ_CONFLICT";
    }
    for (key, keep) in &random.writes {
        match keep {
            true => drop(now.insert(*key, height)),
            false => drop(now.remove(key)),
        }
    }
    "VALID"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn verdicts_are_those_of_the_plain_rules_and_the_same_on_every_peer(
        blocks in prop::collection::vec(prop::collection::vec(random(), 1..8), 1..4),
    ) {
        let mut world = World::new();
        let other = joined(&world.genesis);
        let mut state: BTreeMap<u8, Height> = BTreeMap::new();
        let mut nonce = 0;
        for transactions in blocks {
            let before = state.clone();
            let number = world.tip.header.number.next().0;
            let mut envelopes = Vec::new();
            let mut expect = Vec::new();
            for (index, random) in (0..).zip(&transactions) {
                nonce += 1;
                envelopes.push(envelope_of(&world, nonce, random, &before));
                expect.push(plain_verdict(random, &before, &mut state, at(number, index)));
            }
            let block = world.block(envelopes);
            let commit = world.commit(&block);
            prop_assert_eq!(names(&commit), expect);
            // A peer that knows nothing yet but the ledger finds the same.
            let fresh = Membership::new(world.membership.bytes().clone()).unwrap();
            let organization = org("A");
            let rules = Rules { membership: &fresh, organization: &organization };
            let again = validate(&rules, &block, &other.1.snapshot().unwrap()).unwrap();
            prop_assert_eq!(&again.codes, &commit.codes);
            prop_assert_eq!(again.state_hash, commit.state_hash);
            prop_assert_eq!(&again.writes, &commit.writes);
            other.1.commit(again).unwrap();
            let known: BTreeMap<u8, Height> = (0..4)
                .filter_map(|key: u8| Some((key, world.version(&key.to_string())?)))
                .collect();
            prop_assert_eq!(&known, &state);
        }
    }

    #[test]
    fn no_bytes_make_validation_fall(
        envelopes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4),
        flip in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let world = World::new();
        let mut flipped = world.call(1).read("a", None).write("a", Some("1")).seal().to_vec();
        let at = flip.index(flipped.len());
        flipped[at] ^= 1 << bit;
        let mut envelopes: Vec<Bytes> = envelopes.into_iter().map(Bytes::from).collect();
        envelopes.push(flipped.into());
        let commit = world.validate(&world.block(envelopes));
        prop_assert!(commit.codes.iter().all(|code| !code.is_valid()));
    }
}

#[test]
fn a_fingerprint_in_the_registry_without_an_acceptable_certificate_identifies_nobody() {
    let mut revoked = None;
    let world = World::with(|config, peers| {
        let fingerprint = peers["B"].fingerprint();
        revoked = Some(fingerprint);
        config.organizations[1].revoked = vec![fingerprint.to_bytes()];
    });
    let revoked = revoked.unwrap();
    assert!(world.ledger.certificate(&revoked).unwrap().is_some());
    assert_eq!(world.membership.find_one(&world.ledger, &revoked), Ok(None));
}
