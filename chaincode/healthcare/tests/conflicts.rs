//! Many transactions about one patient at the same time: which of them conflict.

use std::collections::BTreeSet;

use super::support::{CID, CONSENT, Clinic, HOUR_MS, PATIENT, id, submission, to_b, with};
use serde_json::{Value, json};
use stela_consent::Hex;
use stela_guest::{Caller, Conflict, Endorsed};

/// What a transaction of the test is, and what it was endorsed to do.
struct Work {
    kind: &'static str,
    endorsed: Endorsed,
}

/// Endorses over one state.
struct Bench {
    clinic: Clinic,
    work: Vec<Work>,
    made: u32,
}

fn name(kind: u8, n: usize) -> Hex<16> {
    let mut bytes = [kind; 16];
    bytes[15] = u8::try_from(n).unwrap();
    Hex(bytes)
}

fn person(organization: &str, role: &str, n: usize) -> Caller {
    let mut fingerprint = [0x40; 32];
    fingerprint[0] = u8::try_from(role.len()).unwrap();
    fingerprint[31] = u8::try_from(n).unwrap();
    Caller::new(organization, role, fingerprint)
}

fn window(clinic: &Clinic, n: usize) -> Value {
    let end = clinic.ledger.time_ms();
    json!({
        "record": name(0x60, n), "version": 1, "patient": id(PATIENT), "cid": CID,
        "category": "vital-signs", "confidentiality": "N", "header": "00ff",
        "commitment": "cd".repeat(32), "first": 1, "last": 10, "count": 10,
        "start": end, "end": end, "root": "ab".repeat(32), "alerts": 1,
    })
}

fn version(record: Hex<16>) -> Value {
    json!({"patient": id(PATIENT), "record": record, "version": 1})
}

const RECORDS: usize = 20;
const DEVICES: usize = 25;

impl Bench {
    /// Confirmed records, a standing consent and bound devices.
    fn new() -> Self {
        let mut bench = Self {
            clinic: Clinic::new(),
            work: Vec::new(),
            made: 0,
        };
        let (author, officer) = (bench.clinic.author.clone(), bench.clinic.officer.clone());
        for n in 0..RECORDS {
            let submitted = with(submission(1), "record", json!(name(0x20, n)));
            bench.commit(&author, "submit_record", &submitted);
            let confirmed = json!({"record": name(0x20, n), "version": 1});
            bench.commit(&officer, "confirm_record", &confirmed);
        }
        let consent = with(to_b(), "id", json!(id(CONSENT)));
        let patient = bench.clinic.patient.clone();
        bench.commit(&patient, "grant_consent", &consent);
        for n in 0..DEVICES {
            let device = Hex(person("HospitalA", "device", n).fingerprint);
            let bound = json!({"patient": id(PATIENT), "device": device});
            bench.commit(&author, "bind_device", &bound);
        }
        bench
    }

    fn endorsed(&mut self, caller: &Caller, function: &str, argument: &Value) -> Endorsed {
        self.made += 1;
        let mut side = [0; 32];
        side[..4].copy_from_slice(&self.made.to_be_bytes());
        let argument = argument.to_string();
        self.clinic
            .ledger
            .endorse(caller, function, &[argument.as_bytes()], &[side])
            .unwrap_or_else(|error| panic!("{function} {argument}: {error}"))
    }

    fn commit(&mut self, caller: &Caller, function: &str, argument: &Value) {
        let endorsed = self.endorsed(caller, function, argument);
        self.clinic.ledger.commit(&endorsed).unwrap();
    }

    fn add(&mut self, kind: &'static str, caller: &Caller, function: &str, argument: &Value) {
        let endorsed = self.endorsed(caller, function, argument);
        self.work.push(Work { kind, endorsed });
    }

    /// Two hundred transactions, endorsed before any of them is committed.
    fn fill(&mut self) {
        let (patient, author, officer) = (
            self.clinic.patient.clone(),
            self.clinic.author.clone(),
            self.clinic.officer.clone(),
        );
        for n in 0..25 {
            let consent = with(to_b(), "id", json!(name(0x30, n)));
            self.add("grant", &patient, "grant_consent", &consent);
            let submitted = with(submission(1), "record", json!(name(0x50, n)));
            self.add("submission", &author, "submit_record", &submitted);
            let access = with(version(name(0x20, n % RECORDS)), "purpose", json!("TREAT"));
            let reader = person("HospitalB", "practitioner", n);
            self.add("access by consent", &reader, "request_access", &access);
            let own = with(access.clone(), "purpose", json!("PATRQT"));
            self.add("access of her own", &patient, "request_access", &own);
            let broken = with(
                version(name(0x20, n % RECORDS)),
                "reason",
                json!("disaster"),
            );
            let stranger = person("HospitalC", "practitioner", 0);
            self.add("emergency", &stranger, "break_glass", &broken);
            let asked = json!({
                "patient": id(PATIENT), "request": name(0x70, n), "reason": "referral",
                "expires": self.clinic.ledger.time_ms() + HOUR_MS,
                "consent": {
                    "id": name(0x71, n), "type": "permit", "purpose": ["TREAT"],
                    "actor": {"id": Hex(reader.fingerprint)},
                },
            });
            self.add("request for consent", &reader, "request_consent", &asked);
        }
        for n in 0..DEVICES {
            let request = window(&self.clinic, n);
            let device = person("HospitalA", "device", n);
            self.add("window", &device, "submit_window", &request);
        }
        let denied = with(version(name(0x20, 0)), "purpose", json!("HRESCH"));
        for n in 0..10 {
            let stranger = person("HospitalC", "practitioner", n);
            let kept_back = self.endorsed(&stranger, "request_access", &denied);
            let (function, note) = kept_back.outcome.on_absence.unwrap();
            let note: Value = serde_json::from_slice(&note).unwrap();
            let peer = person("HospitalB", "peer", 0);
            self.add("note of a deny", &peer, &function, &note);
        }
        // One of each pair that conflicts, and two that only look alike.
        let device = person("HospitalA", "device", 0);
        let next = with(window(&self.clinic, DEVICES), "first", json!(11));
        let next = with(next, "last", json!(20));
        self.add("window", &device, "submit_window", &next);
        let released = json!({"patient": id(PATIENT), "device": Hex(device.fingerprint)});
        self.add("release", &author, "release_device", &released);
        let amended = with(submission(2), "record", json!(name(0x20, 1)));
        self.add("amendment", &author, "amend_record", &amended);
        self.add("amendment", &author, "amend_record", &amended);
        let of_one = version(name(0x20, 2));
        self.add("sharing of keys", &patient, "share_keys", &of_one);
        self.add("sharing of keys", &patient, "share_keys", &of_one);
        self.add(
            "sharing of keys",
            &patient,
            "share_keys",
            &version(name(0x20, 1)),
        );
        let revoked = json!({"patient": id(PATIENT), "consent": id(CONSENT)});
        self.add("revocation", &patient, "revoke_consent", &revoked);
        let taken = with(submission(1), "record", json!(name(0x50, 0)));
        self.add("submission", &author, "submit_record", &taken);
        let other_officer = person("HospitalA", "records-officer", 1);
        for officer in [officer, other_officer] {
            let shared = version(name(0x20, 4));
            self.add("sharing by an officer", &officer, "share_keys", &shared);
        }
        while self.work.len() < 200 {
            let n = self.work.len() - 100;
            let consent = with(to_b(), "id", json!(name(0x32, n)));
            self.add("grant", &patient, "grant_consent", &consent);
        }
    }
}

/// Whether a transaction wrote what another one had read.
fn touches(work: &Work, conflict: &Conflict, end: &[u8]) -> bool {
    let mut keys = work.endorsed.outcome.writes.keys();
    match conflict {
        Conflict::Read { key } => keys.any(|written| written == key),
        Conflict::Range { start } => {
            keys.any(|written| start.as_slice() <= written.as_slice() && written.as_slice() < end)
        }
        Conflict::Expired => false,
    }
}

/// Commits everything in an order that the seed shuffles; the pairs that conflicted: what was
/// committed, and what therefore was not.
fn conflicts(seed: u64) -> (usize, BTreeSet<(&'static str, &'static str)>) {
    let mut bench = Bench::new();
    bench.fill();
    assert_eq!(bench.work.len(), 200);
    let mut state = seed;
    for place in (1..bench.work.len()).rev() {
        // Knuth's MMIX generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).unwrap() % (place + 1);
        bench.work.swap(place, other);
    }
    let (mut committed, mut pairs) = (Vec::new(), BTreeSet::new());
    for work in bench.work {
        let Err(conflict) = bench.clinic.ledger.commit(&work.endorsed) else {
            committed.push(work);
            continue;
        };
        let mut end = match &conflict {
            Conflict::Range { start } => start.clone(),
            _ => Vec::new(),
        };
        // A prefix ends in a zero byte; with a one in its place it is the first key behind.
        if let Some(last) = end.last_mut() {
            *last = 1;
        }
        let causes = committed
            .iter()
            .filter(|earlier| touches(earlier, &conflict, &end));
        let causes: Vec<_> = causes.map(|earlier| (earlier.kind, work.kind)).collect();
        assert!(!causes.is_empty(), "seed {seed}: {conflict:?}");
        pairs.extend(causes);
    }
    (committed.len(), pairs)
}

/// The table *Conflicts* in the crate's documentation.
const DOCUMENTED: [(&str, &str); 11] = [
    ("grant", "access by consent"),
    ("amendment", "access by consent"),
    ("amendment", "access of her own"),
    ("amendment", "emergency"),
    ("amendment", "amendment"),
    ("amendment", "sharing of keys"),
    ("sharing of keys", "sharing of keys"),
    ("sharing by an officer", "sharing by an officer"),
    ("submission", "submission"),
    ("window", "window"),
    ("release", "window"),
];

#[test]
fn only_the_documented_pairs_conflict() {
    let mut seen = BTreeSet::new();
    for seed in 0..8 {
        let (committed, pairs) = conflicts(seed);
        for pair in &pairs {
            assert!(DOCUMENTED.contains(pair), "seed {seed}: {pair:?}");
        }
        // At most the accesses by consent and one of each other pair.
        assert!(committed >= 200 - 25 - 10, "seed {seed}: {committed}");
        seen.extend(pairs);
    }
    assert_eq!(seen, BTreeSet::from(DOCUMENTED));
}

#[test]
fn a_revocation_undoes_an_access_that_it_should_have_ended() {
    let mut bench = Bench::new();
    let patient = bench.clinic.patient.clone();
    let access = with(version(name(0x20, 0)), "purpose", json!("TREAT"));
    let reader = person("HospitalB", "practitioner", 0);
    let endorsed = bench.endorsed(&reader, "request_access", &access);
    let revoked = json!({"patient": id(PATIENT), "consent": id(CONSENT)});
    bench.commit(&patient, "revoke_consent", &revoked);
    let conflict = bench.clinic.ledger.commit(&endorsed);
    assert!(matches!(conflict, Err(Conflict::Range { .. })));
}
