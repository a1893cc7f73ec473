//! Each verdict over constructed blocks, and the words for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use stela_identity::{CertificateAuthority, Credentials, Subject};
use stela_protocol::block::Block;
use stela_protocol::config::ChannelConfig;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{
    self, Proposal, Registration, Signed, TransactionHeader, registration_payload,
    transaction_payload,
};
use stela_protocol::{FORMAT_VERSION, Message, Nonce, hash, pb};

use super::*;
use crate::fixture::{VALIDITY, World, answer, channel, contract_name, soon};

const PACKAGE: Hash32 = Hash32([5; 32]);
const START_MS: u64 = 1_700_000_000_000;
const WINDOW_MS: u64 = 300_000;

/// Two hospitals, and a chain that grows.
struct Story {
    world: Arc<World>,
    config: ChannelConfig,
    user: Arc<Credentials>,
    peer_a: Arc<Credentials>,
    peer_b: Credentials,
    doctor: Arc<Credentials>,
    blocks: Vec<CheckedBlock>,
    /// What stands for a random id in the golden text.
    names: Vec<(String, String)>,
}

/// Start, end, and the keys that were found between, with their versions.
type Range<'a> = (&'a str, &'a str, Vec<(&'a str, (u64, u32))>);

#[derive(Default)]
struct Call<'a> {
    function: &'a str,
    made_ms: u64,
    reads: Vec<(&'a str, Option<(u64, u32)>)>,
    ranges: Vec<Range<'a>>,
    /// A value, or a deletion.
    writes: Vec<(&'a str, bool)>,
    package: Option<Hash32>,
    expires_at_ms: Option<u64>,
}

impl Story {
    fn new() -> Self {
        let mut world = World::new();
        let other = OrgId::new("HospitalB").unwrap();
        let authority = CertificateAuthority::create(&other, VALIDITY).unwrap();
        let issue = |name: &str, role: &str| {
            let subject = Subject {
                common_name: name.to_owned(),
                role: role.to_owned(),
                attributes: BTreeMap::new(),
                validity: VALIDITY,
            };
            authority.issue(&subject).unwrap()
        };
        let (peer_b, doctor) = (issue("peer0", "peer"), issue("doctor", "practitioner"));
        let doctor = Arc::new(doctor);
        world.config.organizations.push(pb::Organization {
            id: other.to_string(),
            root_certificate: Bytes::copy_from_slice(authority.root_der()),
            ..Default::default()
        });
        world.config.contracts.push(pb::ContractDefinition {
            name: contract_name().to_string(),
            version: "1".to_owned(),
            package_hash: PACKAGE.to_bytes(),
            endorsement_policy: "AND('HospitalA.peer','HospitalB.peer')".to_owned(),
            ..Default::default()
        });
        world.config.certificates = [&world.peer.certificate, &peer_b.certificate]
            .map(|certificate| certificate.der().clone())
            .to_vec();
        let config = ChannelConfig::from_pb(world.config.clone()).unwrap();
        let genesis = stela_protocol::config::genesis(&world.config, START_MS).unwrap();
        let (user, peer_a) = (world.user.clone(), world.peer.clone());
        let mut story = Self {
            world: Arc::new(world),
            config,
            user,
            peer_a,
            peer_b,
            doctor,
            blocks: vec![checked(genesis, vec![ValidationCode::Valid])],
            names: Vec::new(),
        };
        story.name_credentials();
        let registrations = [story.user.clone(), story.doctor.clone()];
        let envelopes = registrations.iter().map(|c| register(c)).collect();
        story.block(envelopes, &[ValidationCode::Valid; 2]);
        story
    }

    fn name_credentials(&mut self) {
        let short =
            |credentials: &Credentials| credentials.fingerprint().to_string()[..12].to_owned();
        self.names = vec![
            (short(&self.user), "USER".to_owned()),
            (short(&self.doctor), "DOCTOR".to_owned()),
            (short(&self.peer_a), "PEER-A".to_owned()),
            (short(&self.peer_b), "PEER-B".to_owned()),
        ];
    }

    /// Adds a block; one a second.
    fn block(&mut self, envelopes: Vec<Bytes>, codes: &[ValidationCode]) {
        let last = &self.blocks.last().unwrap().block;
        let number = last.header.number.next();
        let mut block = Block::new(
            channel(),
            number,
            last.hash,
            BlockNumber(0),
            START_MS + 1_000 * number.0,
            envelopes,
        );
        let signed = [0, 1].map(|index| self.world.header_signature(index, &block));
        block.signatures = signed.to_vec();
        self.blocks.push(checked(block, codes.to_vec()));
    }

    fn call(&mut self, name: &str, by: &str, endorsers: &[&str], call: Call<'_>) -> Bytes {
        let creator = match by {
            "DOCTOR" => self.doctor.clone(),
            _ => self.user.clone(),
        };
        let mut nonce = [0; 24];
        nonce[..name.len()].copy_from_slice(name.as_bytes());
        let header = TransactionHeader {
            channel: channel(),
            nonce: Nonce(nonce),
            creator: creator.fingerprint(),
            timestamp_ms: START_MS + call.made_ms,
        };
        self.names.push((header.id().to_string(), name.to_owned()));
        let proposal = Proposal {
            header,
            contract: contract_name(),
            function: call.function.to_owned(),
            arguments: Vec::new(),
            side: Vec::new(),
        };
        let (proposal, result) = (proposal.encode(), result(&call));
        let message = hash::endorsement_message(&proposal, &result);
        let endorsements = endorsers.iter().map(|who| {
            let (peer, message) = match *who {
                "A" => (&*self.peer_a, message.clone()),
                "B" => (&self.peer_b, message.clone()),
                "B of something else" => (&self.peer_b, b"something else".to_vec()),
                _ => (&*self.doctor, message.clone()),
            };
            pb::Endorsement {
                endorser: peer.fingerprint().to_bytes(),
                signature: Bytes::copy_from_slice(&peer.sign(domain::ENDORSEMENT, &message)),
            }
        });
        let payload = transaction_payload(proposal, result, endorsements.collect());
        seal(&creator, payload)
    }

    /// The words about a transaction, looked for in pages of so many blocks.
    fn words(&self, block: usize, index: u32, page: usize) -> String {
        let own = &self.blocks[block];
        let mut inquiry = Inquiry::begin(own, index, self.config.clone()).unwrap();
        let mut end = block + 1;
        loop {
            let start = end.saturating_sub(page);
            inquiry.add(&self.blocks[start..end]);
            if start == 0 || !inquiry.wants_more() {
                break;
            }
            end = start;
        }
        let explanation = Explanation {
            transaction: TransactionId([0; 32]),
            fate: Fate::Committed(Box::new(inquiry.finish())),
        };
        self.print(&explanation)
    }

    fn print(&self, explanation: &Explanation) -> String {
        let key = |_: &ContractName, key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let time = |ms: u64| format!("T+{}", ms.saturating_sub(START_MS));
        let style = Style {
            key: &key,
            time: &time,
        };
        let mut text = explanation.lines(&style).join("\n");
        let json = explanation.json(&style).to_string();
        assert!(!text.contains("secret") && !json.contains("secret"));
        for (id, name) in &self.names {
            text = text.replace(id, name);
        }
        text
    }

    /// The same words whatever the size of the pages.
    fn check(&self, block: usize, index: u32, expected: &str) {
        for page in [1, 2, 3, 100] {
            assert_eq!(self.words(block, index, page), expected, "pages of {page}");
        }
    }
}

fn checked(block: Block, codes: Vec<ValidationCode>) -> CheckedBlock {
    CheckedBlock {
        block,
        codes,
        state_hash: Hash32::ZERO,
    }
}

fn seal(creator: &Credentials, payload: Bytes) -> Bytes {
    let signature = creator.sign(domain::ENVELOPE, &payload);
    transaction::envelope(Signed {
        bytes: payload,
        signature,
    })
}

fn register(credentials: &Credentials) -> Bytes {
    let header = TransactionHeader {
        channel: channel(),
        nonce: Nonce([9; 24]),
        creator: credentials.fingerprint(),
        timestamp_ms: START_MS,
    };
    let certificate = credentials.certificate.der().clone();
    let registration = Registration {
        header,
        certificate,
    };
    seal(credentials, registration_payload(&registration))
}

fn height((block, transaction): (u64, u32)) -> pb::Height {
    pb::Height { block, transaction }
}

fn result(call: &Call<'_>) -> Bytes {
    let key = |key: &str| Bytes::copy_from_slice(key.as_bytes());
    let reads = call.reads.iter().map(|(name, read)| pb::Read {
        key: key(name),
        height: read.map(height),
    });
    let ranges = call.ranges.iter().map(|(start, end, found)| {
        let found = found
            .iter()
            .map(|(key, place)| (key.as_bytes(), height(*place).into()));
        pb::RangeRead {
            start: key(start),
            end: key(end),
            results_hash: hash::range_results(found).to_bytes(),
        }
    });
    let writes = call.writes.iter().map(|(name, deleted)| pb::Write {
        key: key(name),
        read: 0,
        change: Some(match deleted {
            true => pb::write::Change::Delete(true),
            false => pb::write::Change::Value(Bytes::from_static(b"secret")),
        }),
    });
    pb::Result {
        version: FORMAT_VERSION,
        package_hash: call.package.unwrap_or(PACKAGE).to_bytes(),
        reads: reads.collect(),
        ranges: ranges.collect(),
        writes: writes.collect(),
        expires_at_ms: call.expires_at_ms.map(|at| START_MS + at),
        ..Default::default()
    }
    .encode_to_vec()
    .into()
}

fn put<'a>(function: &'a str, key: &'a str) -> Call<'a> {
    Call {
        function,
        writes: vec![(key, false)],
        ..Call::default()
    }
}

const VALID: ValidationCode = ValidationCode::Valid;
const MVCC: ValidationCode = ValidationCode::MvccReadConflict;
const PHANTOM: ValidationCode = ValidationCode::PhantomReadConflict;

#[test]
fn a_valid_transaction() {
    let mut story = Story::new();
    let call = story.call("TX1", "USER", &["A", "B"], put("open", "door"));
    story.block(vec![call], &[VALID]);
    story.check(
        2,
        0,
        "VALID in block 2, index 0, at T+2000\n\
         calls healthcare/open by HospitalA practitioner (USER)\n\
         it took effect\n\
         wrote door\n\
         endorsed by HospitalA peer (PEER-A) and HospitalB peer (PEER-B)\n\
         what to do: nothing",
    );
}

#[test]
fn a_read_that_was_changed_names_who_changed_it() {
    let mut story = Story::new();
    let first = story.call("TX1", "USER", &["A", "B"], put("open", "door"));
    let other = story.call("TX2", "USER", &["A", "B"], put("open", "window"));
    story.block(vec![first, other], &[VALID; 2]);
    let closed = story.call("TX3", "DOCTOR", &["A", "B"], put("close", "door"));
    story.block(vec![closed], &[VALID]);
    let not_valid = story.call("TX4", "DOCTOR", &["A", "B"], put("close", "window"));
    let late = story.call(
        "TX5",
        "USER",
        &["A", "B"],
        Call {
            function: "paint",
            made_ms: 2_500,
            reads: vec![("door", Some((2, 0))), ("window", Some((2, 1)))],
            ..put("paint", "door")
        },
    );
    story.block(vec![not_valid, late], &[MVCC, MVCC]);
    story.check(
        4,
        1,
        "MVCC_READ_CONFLICT in block 4, index 1, at T+4000\n\
         calls healthcare/paint by HospitalA practitioner (USER)\n\
         read door as block 2, index 0 had left it; since then\n\
         \u{20} changed in block 3, index 0, by transaction TX3 (close), made by HospitalB \
         practitioner (DOCTOR)\n\
         what to do: make the call again: it will be endorsed on the state as it is now; nothing of \
         this one took effect",
    );
}

#[test]
fn two_that_make_the_same_key_in_one_block() {
    let mut story = Story::new();
    let make = |story: &mut Story, name: &str, by: &str| {
        let call = Call {
            reads: vec![("door", None)],
            made_ms: 1_500,
            ..put("make", "door")
        };
        story.call(name, by, &["A", "B"], call)
    };
    let (first, second) = (
        make(&mut story, "TX1", "DOCTOR"),
        make(&mut story, "TX2", "USER"),
    );
    story.block(vec![first, second], &[VALID, MVCC]);
    story.check(
        2,
        1,
        "MVCC_READ_CONFLICT in block 2, index 1, at T+2000\n\
         calls healthcare/make by HospitalA practitioner (USER)\n\
         read door when it did not exist; since then\n\
         \u{20} changed in block 2, index 0, by transaction TX1 (make), made by HospitalB \
         practitioner (DOCTOR)\n\
         what to do: make the call again: it will be endorsed on the state as it is now; nothing of \
         this one took effect",
    );
}

#[test]
fn a_key_that_was_deleted_and_one_made_again() {
    let mut story = Story::new();
    let made = story.call("TX1", "USER", &["A", "B"], put("make", "door"));
    story.block(vec![made], &[VALID]);
    let gone = Call {
        writes: vec![("door", true)],
        ..put("remove", "door")
    };
    let gone = story.call("TX2", "DOCTOR", &["A", "B"], gone);
    story.block(vec![gone], &[VALID]);
    let read = |read| Call {
        reads: vec![("door", read)],
        made_ms: 2_500,
        ..put("paint", "door")
    };
    let late = story.call("TX3", "USER", &["A", "B"], read(Some((2, 0))));
    let fresh = story.call("TX4", "USER", &["A", "B"], put("make", "door"));
    let after = story.call("TX5", "USER", &["A", "B"], read(None));
    story.block(vec![late, fresh, after], &[MVCC, VALID, MVCC]);
    let words = story.words(4, 0, 2);
    assert!(
        words.contains("  deleted in block 3, index 0, by transaction TX2"),
        "{words}"
    );
    assert!(!words.contains("TX1"), "{words}");
    let words = story.words(4, 2, 2);
    assert!(
        words.contains("  changed in block 4, index 1, by transaction TX4"),
        "{words}"
    );
    assert!(!words.contains("TX2"), "{words}");
}

#[test]
fn a_range_that_was_changed_is_rolled_back_to_what_was_read() {
    let mut story = Story::new();
    for (name, key) in [("TX1", "room-1"), ("TX2", "room-2")] {
        let call = story.call(name, "USER", &["A", "B"], put("make", key));
        story.block(vec![call], &[VALID]);
    }
    let third = story.call("TX3", "DOCTOR", &["A", "B"], put("make", "room-3"));
    let elsewhere = story.call("TX4", "DOCTOR", &["A", "B"], put("make", "stairs"));
    story.block(vec![third, elsewhere], &[VALID; 2]);
    let list = Call {
        function: "list",
        ranges: vec![
            // As it was read, and so not named.
            ("corridor-", "corridor.", vec![]),
            (
                "room-",
                "room.",
                vec![("room-1", (2, 0)), ("room-2", (3, 0))],
            ),
        ],
        ..Call::default()
    };
    let list = story.call("TX5", "USER", &["A", "B"], list);
    story.block(vec![list], &[PHANTOM]);
    story.check(
        5,
        0,
        "PHANTOM_READ_CONFLICT in block 5, index 0, at T+5000\n\
         calls healthcare/list by HospitalA practitioner (USER)\n\
         read the range from room- on; since then\n\
         \u{20} changed room-3 in block 4, index 0, by transaction TX3 (make), made by HospitalB \
         practitioner (DOCTOR)\n\
         what to do: make the call again: it will be endorsed on the state as it is now; nothing of \
         this one took effect",
    );
}

#[test]
fn endorsements_that_are_missing_or_of_something_else() {
    let mut story = Story::new();
    let failure = ValidationCode::EndorsementPolicyFailure;
    let call = |story: &mut Story, name: &str, endorsers: &[&str]| {
        story.call(name, "USER", endorsers, put("open", "door"))
    };
    let one = call(&mut story, "TX1", &["A"]);
    let other = call(&mut story, "TX2", &["A", "B of something else"]);
    let twice = call(&mut story, "TX3", &["A", "A", "DOCTOR"]);
    story.block(vec![one, other, twice], &[failure; 3]);
    story.check(
        2,
        0,
        "ENDORSEMENT_POLICY_FAILURE in block 2, index 0, at T+2000\n\
         calls healthcare/open by HospitalA practitioner (USER)\n\
         the policy asks for OutOf(2, 'HospitalA.peer', 'HospitalB.peer')\n\
         \u{20} endorsed by HospitalA peer (PEER-A)\n\
         missing: an endorsement of HospitalB\n\
         what to do: make the call again; if it fails alike, ask the organizations named above \
         about their peers (`stela doctor`)",
    );
    let words = story.words(2, 1, 5);
    assert!(
        words.contains("the endorsement by HospitalB peer (PEER-B) does not count: the signature"),
        "{words}"
    );
    assert!(
        words.contains("missing: an endorsement of HospitalB"),
        "{words}"
    );
    let words = story.words(2, 2, 5);
    assert!(
        words.contains("(PEER-A) does not count: the same key"),
        "{words}"
    );
    assert!(
        words.contains("endorsed by HospitalB practitioner (DOCTOR)"),
        "{words}"
    );
    assert!(
        words.contains("missing: an endorsement of HospitalB"),
        "{words}"
    );
}

#[test]
fn an_endorser_that_registered_too_late() {
    let mut story = Story::new();
    let stranger = story.doctor.clone();
    story.blocks.truncate(1);
    let user = register(&story.user);
    story.block(vec![user], &[VALID]);
    let call = story.call("TX1", "USER", &["A", "DOCTOR"], put("open", "door"));
    let envelopes = vec![register(&stranger), call];
    story.block(
        envelopes,
        &[VALID, ValidationCode::EndorsementPolicyFailure],
    );
    let words = story.words(2, 1, 5);
    assert!(
        words.contains("certificate DOCTOR does not count: the channel did not know"),
        "{words}"
    );
}

#[test]
fn times_packages_and_certificates() {
    let mut story = Story::new();
    let early = Call {
        made_ms: 1,
        ..put("open", "door")
    };
    let early = story.call("TX1", "USER", &["A", "B"], early);
    let package = Call {
        package: Some(Hash32([6; 32])),
        ..put("open", "door")
    };
    let package = story.call("TX2", "USER", &["A", "B"], package);
    let stranger = CertificateAuthority::create(&OrgId::new("HospitalA").unwrap(), VALIDITY);
    let subject = Subject {
        common_name: "x".to_owned(),
        role: "practitioner".to_owned(),
        attributes: BTreeMap::new(),
        validity: VALIDITY,
    };
    let stranger = register(&stranger.unwrap().issue(&subject).unwrap());
    let kept_back = Call {
        made_ms: 500,
        expires_at_ms: Some(1_500),
        ..put("open", "door")
    };
    let kept_back = story.call("TX3", "USER", &["A", "B"], kept_back);
    let codes = [
        ValidationCode::Expired,
        ValidationCode::ExpiredChaincode,
        ValidationCode::InvalidRegistration,
        ValidationCode::NilEnvelope,
        ValidationCode::ExpiredResult,
    ];
    let garbage = Bytes::from_static(b"\xff");
    story.block(vec![early, package, stranger, garbage, kept_back], &codes);
    let has = |index: u32, expected: &str| {
        let words = story.words(2, index, 5);
        assert!(words.contains(expected), "{words}");
    };
    has(
        0,
        "made at T+1, which is 1 s before the block's time; 300 s are allowed",
    );
    has(
        1,
        &format!(
            "ran package {}, the channel defines {PACKAGE}",
            Hash32([6; 32])
        ),
    );
    has(2, "the certificate is not accepted: certificate");
    has(3, "the envelope cannot be decoded");
    has(
        4,
        "what its endorsers found was valid before T+1500, the block's time is T+2000",
    );
    has(4, "make the call again: what held when it was endorsed");
}

#[test]
fn what_is_not_committed() {
    let story = Story::new();
    let print = |made_ms: Option<u64>| {
        let uncommitted = Uncommitted {
            height: 3,
            newest_ms: START_MS,
            now_ms: START_MS + 400_000,
            window_ms: WINDOW_MS,
            made_ms,
        };
        story.print(&Explanation {
            transaction: TransactionId([0; 32]),
            fate: Fate::Uncommitted(uncommitted),
        })
    };
    let starts = |made_ms, expected: &str| {
        let words = print(made_ms);
        assert!(
            words.starts_with("not committed: it is in none of the 3 blocks"),
            "{words}"
        );
        assert!(
            words.lines().nth(1).unwrap().starts_with(expected),
            "{words}"
        );
    };
    starts(None, "unknown");
    starts(Some(START_MS + 99_999), "expired");
    starts(Some(START_MS + 100_000), "pending");
}

#[tokio::test]
async fn it_is_asked_of_a_peer_and_its_blocks_are_checked() {
    let mut story = Story::new();
    for name in ["TX1", "TX2", "TX3"] {
        let call = story.call(name, "DOCTOR", &["A", "B"], put("open", "door"));
        story.block(vec![call], &[VALID]);
    }
    let late = Call {
        reads: vec![("door", Some((2, 0)))],
        ..put("paint", "door")
    };
    let late = story.call("TX4", "USER", &["A", "B"], late);
    let fill = ["TX5", "TX6"].map(|name| story.call(name, "USER", &["A", "B"], put("open", name)));
    let [one, two] = fill;
    // The test peer says of whatever is submitted that it is in block 5 at index 2.
    story.block(vec![one, two, late.clone()], &[VALID, VALID, MVCC]);
    let peer = story.world.peer().await;
    let answers = story.blocks.iter().map(|checked| pb::BlocksResponse {
        codes: checked.codes.iter().map(|code| *code as u8).collect(),
        ..answer(&checked.block)
    });
    peer.state.lock().blocks = answers.collect();
    peer.state.lock().submitted = vec![late.clone()];
    let network = story.world.network(&[&peer.address]);
    let id = network.transaction(late).unwrap().id();
    let options = ExplainOptions {
        trusted: story.world.configuration(),
        patience: Duration::from_secs(1),
        made_ms: None,
    };
    let explanation = soon(network.explain(id, options.clone(), |_| {}))
        .await
        .unwrap();
    let words = story.print(&explanation);
    assert!(words.contains("by transaction TX2"), "{words}");
    assert!(words.contains("by transaction TX3"), "{words}");

    // A block that too few orderers signed is not believed.
    for block in &mut peer.state.lock().blocks {
        block.block.as_mut().unwrap().signatures.truncate(1);
    }
    let refused = soon(network.explain(id, options, |_| {}))
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        ExplainError::Blocks(crate::BlocksError::Quorum(_))
    ));
}
