//! A patient's story in which every function of the contract is called once with arguments such as
//! a client sends them, on a ledger that already holds something.

use serde_json::{Value, json};
use stela_healthcare::limits::PUBLIC_KEY_BYTES;

/// 2026-01-01T00:00:00Z, when the story begins; each step is a second later.
pub(super) const START_MS: u64 = 1_767_225_600_000;
const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;
/// Consents of the patient beside those of the story.
const CONSENTS: u8 = 8;
/// Records of the patient beside that of the story, each confirmed.
const RECORDS: u8 = 8;
/// Accesses to the record before its own are measured.
const ACCESSES: u8 = 16;

/// Stands for the transaction that broke the glass, which is known only when it was made.
pub(super) const BROKEN_GLASS: &str = "the transaction that broke the glass";

const CID: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52z";

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Patient,
    Author,
    Officer,
    SecondOfficer,
    Privacy,
    Reader,
    Emergency,
    Researcher,
    Sponsor,
    Delegate,
    Device,
    Peer,
}

impl Who {
    /// Organization, role, and the byte of which the certificate's fingerprint is made.
    pub(super) fn certificate(self) -> (&'static str, &'static str, u8) {
        match self {
            Self::Patient => ("HospitalA", "patient", 0x01),
            Self::Author => ("HospitalA", "practitioner", 0x03),
            Self::Officer => ("HospitalA", "records-officer", 0x04),
            Self::SecondOfficer => ("HospitalA", "records-officer", 0x05),
            Self::Privacy => ("HospitalA", "privacy-officer", 0x06),
            Self::Reader => ("HospitalB", "practitioner", 0x08),
            Self::Delegate => ("HospitalB", "patient", 0x09),
            Self::Emergency => ("HospitalC", "practitioner", 0x0a),
            Self::Researcher => ("HospitalC", "researcher", 0x0b),
            Self::Sponsor => ("HospitalC", "privacy-officer", 0x0c),
            Self::Device => ("HospitalA", "device", 0x0d),
            Self::Peer => ("HospitalB", "peer", 0x0e),
        }
    }

    /// Whether the certificate names the patient.
    pub(super) fn is_hers(self) -> bool {
        matches!(self, Self::Patient | Self::Device)
    }

    fn fingerprint(self) -> String {
        fingerprint(self.certificate().2)
    }
}

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) who: Who,
    pub(super) function: &'static str,
    pub(super) argument: Value,
    /// When it is made.
    pub(super) time_ms: u64,
    /// Whether it is a question, of which nothing is ordered.
    pub(super) is_question: bool,
    /// Whether it is measured; others only bring the ledger so far.
    pub(super) is_measured: bool,
}

/// The patient's id.
pub(super) fn patient() -> String {
    id(0x11)
}

fn id(n: u8) -> String {
    format!("{n:02x}").repeat(16)
}

fn fingerprint(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

#[derive(Default)]
struct Story {
    steps: Vec<Step>,
    waited_ms: u64,
}

impl Story {
    fn push(
        &mut self,
        who: Who,
        function: &'static str,
        argument: Value,
        (is_question, is_measured): (bool, bool),
    ) {
        let seconds = self.steps.len() as u64;
        self.steps.push(Step {
            who,
            function,
            argument,
            time_ms: START_MS + self.waited_ms + seconds * SECOND_MS,
            is_question,
            is_measured,
        });
    }

    /// A measured transaction.
    fn call(&mut self, who: Who, function: &'static str, argument: Value) {
        self.push(who, function, argument, (false, true));
    }

    /// A measured question.
    fn ask(&mut self, who: Who, function: &'static str, argument: Value) {
        self.push(who, function, argument, (true, true));
    }

    /// A transaction that is not measured.
    fn before(&mut self, who: Who, function: &'static str, argument: Value) {
        self.push(who, function, argument, (false, false));
    }

    fn now_ms(&self) -> u64 {
        START_MS + self.waited_ms + self.steps.len() as u64 * SECOND_MS
    }
}

fn submission(record: u8, version: u32) -> Value {
    let last = char::from(b'a' + record % 26);
    json!({
        "record": id(record),
        "version": version,
        "patient": patient(),
        "cid": format!("{CID}{last}"),
        "category": "laboratory",
        "confidentiality": "N",
        "labels": ["HIV"],
        "date": START_MS - DAY_MS,
        "header": "5a".repeat(72),
        "commitment": "cd".repeat(32),
    })
}

fn consent(n: u8) -> Value {
    json!({
        "id": id(n),
        "type": "permit",
        "actor": {"org": "HospitalB", "role": "practitioner"},
        "purpose": ["TREAT"],
        "label": ["HIV"],
    })
}

fn access(version: u32, purpose: &str) -> Value {
    json!({"patient": patient(), "record": id(0x21), "version": version, "purpose": purpose})
}

fn of_patient() -> Value {
    json!({"patient": patient()})
}

/// An encoded public key, all of its bytes 1.
fn encryption_key() -> Value {
    json!({"key": "AQEB".repeat(PUBLIC_KEY_BYTES / 3)})
}

/// The steps, in order.
pub(super) fn steps() -> Vec<Step> {
    let mut story = Story::default();
    registers(&mut story);
    writes_and_reads(&mut story);
    names_others(&mut story);
    breaks_the_glass(&mut story);
    takes_part_in_a_study(&mut story);
    sends_vital_signs(&mut story);
    knows_and_erases(&mut story);
    story.steps
}

fn registers(story: &mut Story) {
    story.call(Who::Patient, "register_patient", of_patient());
    story.call(Who::Author, "register_encryption_key", encryption_key());
    for who in [Who::Patient, Who::Officer, Who::Reader] {
        story.before(who, "register_encryption_key", encryption_key());
    }
    story.ask(Who::Author, "encryption_keys", of_patient());
    let own = json!({"fingerprint": Who::Author.fingerprint()});
    story.ask(Who::Author, "encryption_key_history", own);
}

fn writes_and_reads(story: &mut Story) {
    for n in 0..RECORDS {
        let (record, version) = (0xa0 + n, json!({"record": id(0xa0 + n), "version": 1}));
        story.before(Who::Author, "submit_record", submission(record, 1));
        story.before(Who::Officer, "confirm_record", version);
    }
    for n in 0..CONSENTS {
        story.before(Who::Patient, "grant_consent", consent(0xb0 + n));
    }
    let version = |n: u32| json!({"record": id(0x21), "version": n});
    story.call(Who::Author, "submit_record", submission(0x21, 1));
    story.call(Who::Officer, "confirm_record", version(1));
    story.call(Who::Patient, "grant_consent", consent(0x31));
    for _ in 0..ACCESSES {
        story.before(Who::Reader, "request_access", access(1, "TREAT"));
    }
    story.call(Who::Reader, "request_access", access(1, "TREAT"));
    let grant = json!({"patient": patient(), "record": id(0x21), "version": 1});
    story.ask(Who::Reader, "read_grant", grant.clone());
    story.call(Who::Patient, "share_keys", grant);
    story.call(Who::Author, "amend_record", submission(0x21, 2));
    let mut rejection = version(2);
    rejection["reason"] = json!("incomplete");
    story.call(Who::SecondOfficer, "reject_record", rejection);
    story.ask(Who::Patient, "get_record", version(1));
    story.ask(Who::Author, "record_history", json!({"record": id(0x21)}));
    let list = json!({"patient": patient(), "purpose": "TREAT", "category": "laboratory"});
    story.ask(Who::Reader, "list_records", list);
    story.ask(Who::Patient, "list_consents", of_patient());
    let revocation = json!({"patient": patient(), "consent": id(0xb0)});
    story.call(Who::Patient, "revoke_consent", revocation);
    story.ask(Who::Patient, "audit_trail", of_patient());
}

fn names_others(story: &mut Story) {
    let asked = json!({
        "patient": patient(),
        "request": id(0x51),
        "consent": consent(0x52),
        "reason": "referral",
        "expires": story.now_ms() + DAY_MS,
    });
    let mut withdrawn = asked.clone();
    withdrawn["request"] = json!(id(0x53));
    withdrawn["consent"] = consent(0x54);
    story.call(Who::Reader, "request_consent", asked);
    story.ask(Who::Patient, "list_consent_requests", of_patient());
    let answer = json!({"patient": patient(), "request": id(0x51), "decision": "approve"});
    story.call(Who::Patient, "answer_consent_request", answer);
    story.before(Who::Reader, "request_consent", withdrawn);
    let withdrawal = json!({"patient": patient(), "request": id(0x53)});
    story.call(Who::Reader, "withdraw_consent_request", withdrawal);
    delegates(story);
    certificates(story);
}

fn delegates(story: &mut Story) {
    let naming = |delegation: u8, kind: &str, until: u64| {
        json!({
            "patient": patient(),
            "delegation": id(delegation),
            "delegate": Who::Delegate.fingerprint(),
            "kind": kind,
            "scope": ["consent", "read", "rights"],
            "until": until,
        })
    };
    let delegation = |n: u8| {
        let delegate = Who::Delegate.fingerprint();
        json!({"patient": patient(), "delegate": delegate, "delegation": id(n)})
    };
    let until_ms = story.now_ms() + 30 * DAY_MS;
    story.call(
        Who::Patient,
        "name_delegate",
        naming(0x61, "HPOWATT", until_ms),
    );
    story.ask(Who::Patient, "list_delegates", of_patient());
    let granted = json!({"patient": patient(), "consent": consent(0x62)});
    story.call(Who::Delegate, "grant_consent_for", granted);
    story.call(Who::Patient, "end_delegation", delegation(0x61));
    story.before(
        Who::Patient,
        "name_delegate",
        naming(0x63, "EXCEST", until_ms),
    );
    story.call(Who::Privacy, "activate_delegation", delegation(0x63));
}

fn certificates(story: &mut Story) {
    let certificate = |n: u8| json!({"patient": patient(), "certificate": fingerprint(n)});
    story.call(Who::Patient, "add_certificate", certificate(0x71));
    story.ask(Who::Patient, "list_certificates", of_patient());
    story.call(Who::Patient, "remove_certificate", certificate(0x71));
    story.call(Who::Privacy, "rebind_patient", certificate(0x02));
    story.call(Who::Privacy, "cancel_rebinding", certificate(0x02));
}

fn breaks_the_glass(story: &mut Story) {
    let mut emergency = access(1, "BTG");
    emergency["reason"] = json!("life-threatening");
    if let Some(fields) = emergency.as_object_mut() {
        fields.remove("purpose");
    }
    story.call(Who::Emergency, "break_glass", emergency);
    story.ask(Who::Privacy, "list_emergencies", of_patient());
    let review = json!({
        "patient": patient(),
        "request": BROKEN_GLASS,
        "practitioner": Who::Emergency.fingerprint(),
        "finding": "justified",
    });
    story.call(Who::Privacy, "review_emergency", review);
    let note = json!({
        "patient": patient(),
        "record": id(0x21),
        "version": 1,
        "purpose": "HMARKT",
        "requester": Who::Reader.fingerprint(),
        "organization": "HospitalB",
        "role": "practitioner",
        "transaction": fingerprint(0x99),
        "time": START_MS,
        "reason": "purpose",
        "basis": "consent",
    });
    story.call(Who::Peer, "note_denied_access", note);
}

fn takes_part_in_a_study(story: &mut Story) {
    let study = json!({"study": id(0x81)});
    let terms = json!({
        "study": id(0x81),
        "purposes": ["HRESCH"],
        "ceiling": "N",
        "labels": ["HIV"],
        "categories": ["laboratory"],
        "end": START_MS + 365 * DAY_MS,
        "approval": fingerprint(0xee),
    });
    let researchers = json!({
        "study": id(0x81),
        "researcher": {"org": "HospitalC", "role": "researcher"},
    });
    story.call(Who::Sponsor, "register_study", terms);
    story.call(Who::Sponsor, "add_investigator", researchers.clone());
    let consent = json!({
        "id": id(0x82),
        "type": "permit",
        "scope": "research",
        "research": "RSDID",
        "actor": {"study": id(0x81)},
        "purpose": ["HRESCH"],
        "label": ["HIV"],
    });
    story.before(Who::Patient, "grant_consent", consent);
    let enrolment = json!({"study": id(0x81), "pseudonym": id(0x83)});
    story.call(Who::Patient, "enrol", enrolment);
    story.ask(Who::Researcher, "get_study", study.clone());
    story.ask(Who::Researcher, "study_records", study.clone());
    story.ask(Who::Researcher, "study_cohort", study.clone());
    story.call(Who::Patient, "withdraw_from_study", study.clone());
    story.call(Who::Sponsor, "remove_investigator", researchers);
    story.call(Who::Sponsor, "end_study", study);
}

fn sends_vital_signs(story: &mut Story) {
    let device = json!({"patient": patient(), "device": Who::Device.fingerprint()});
    story.call(Who::Author, "bind_device", device.clone());
    let now_ms = story.now_ms();
    let window = json!({
        "record": id(0x91),
        "version": 1,
        "patient": patient(),
        "cid": format!("{CID}z"),
        "category": "vital-signs",
        "confidentiality": "N",
        "header": "5a".repeat(72),
        "commitment": "cd".repeat(32),
        "first": 1,
        "last": 60,
        "count": 60,
        "start": now_ms - 60 * SECOND_MS,
        "end": now_ms,
        "root": fingerprint(0xaa),
        "alerts": 1,
    });
    story.call(Who::Device, "submit_window", window);
    story.ask(Who::Author, "device_status", of_patient());
    story.call(Who::Author, "release_device", device);
}

fn knows_and_erases(story: &mut Story) {
    story.ask(Who::Author, "concerns", json!({"record": id(0x21)}));
    let accounting = json!({"patient": patient(), "from": START_MS, "all": true});
    story.ask(Who::Patient, "accounting", accounting);
    story.ask(Who::Patient, "readers", of_patient());
    let record = json!({"patient": patient(), "record": id(0x21)});
    story.call(Who::Patient, "request_erasure", record.clone());
    let mut declined = record.clone();
    declined["reason"] = json!("retention");
    story.call(Who::Privacy, "decline_erasure", declined);
    story.before(Who::Patient, "request_erasure", record);
    story.ask(Who::Patient, "erasures", of_patient());
    let erasure = json!({"record": id(0x21), "reason": "patient-request"});
    story.call(Who::Privacy, "erase_record", erasure);
}
