//! A clinic on a mock ledger: three organizations, their people, one patient.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stela_consent::Id;
use stela_guest::{Caller, ContractError, Ledger, MockLedger, Outcome};
use stela_healthcare::answer::{AccessDecision, AuditEntry, Page, RecordVersion};

pub type Invoke = fn(&mut dyn Ledger, &str, &[Vec<u8>]) -> Result<Vec<u8>, ContractError>;

pub const CID: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
pub const HOUR_MS: u64 = 3_600_000;

pub fn id(n: u8) -> Id {
    stela_consent::Hex([n; 16])
}

pub const PATIENT: u8 = 0x11;
pub const OTHER_PATIENT: u8 = 0x12;
pub const RECORD: u8 = 0x21;
pub const CONSENT: u8 = 0x31;

pub struct Clinic {
    pub ledger: MockLedger<Invoke>,
    pub patient: Caller,
    pub author: Caller,
    pub officer: Caller,
    pub privacy: Caller,
    pub reader: Caller,
    pub stranger: Caller,
    transactions: u32,
}

impl Clinic {
    /// Nobody is registered yet.
    pub fn empty() -> Self {
        let patient = id(PATIENT).to_string();
        Self {
            ledger: MockLedger::new(crate::invoke as Invoke),
            patient: Caller::new("HospitalA", "patient", [1; 32])
                .with_attribute("patient", &patient),
            author: Caller::new("HospitalA", "practitioner", [2; 32]),
            officer: Caller::new("HospitalA", "records-officer", [3; 32]),
            privacy: Caller::new("HospitalA", "privacy-officer", [4; 32]),
            reader: Caller::new("HospitalB", "practitioner", [5; 32]),
            stranger: Caller::new("HospitalC", "practitioner", [6; 32]),
            transactions: 0,
        }
    }

    /// The patient is registered.
    pub fn new() -> Self {
        let mut clinic = Self::empty();
        let patient = clinic.patient.clone();
        clinic.ok(
            &patient,
            "register_patient",
            json!({"patient": id(PATIENT)}),
        );
        clinic
    }

    /// One record is submitted.
    pub fn with_pending() -> Self {
        let mut clinic = Self::new();
        let author = clinic.author.clone();
        clinic.ok(&author, "submit_record", submission(1));
        clinic
    }

    /// One record is confirmed.
    pub fn with_record() -> Self {
        let mut clinic = Self::with_pending();
        clinic.confirm(1);
        clinic
    }

    /// One record is confirmed, and practitioners of HospitalB may read it for treatment.
    pub fn with_consent() -> Self {
        let mut clinic = Self::with_record();
        clinic.grant(CONSENT, to_b());
        clinic
    }

    /// Submits; each transaction has a side commitment of its own.
    pub fn submit(
        &mut self,
        caller: &Caller,
        function: &str,
        argument: &Value,
    ) -> Result<Outcome, ContractError> {
        self.transactions += 1;
        let mut side = [[0; 32]];
        side[0][..4].copy_from_slice(&self.transactions.to_be_bytes());
        let argument = argument.to_string();
        self.ledger
            .submit_with_side(caller, function, &[argument.as_bytes()], &side)
    }

    #[track_caller]
    pub fn ok(&mut self, caller: &Caller, function: &str, argument: Value) -> Outcome {
        self.submit(caller, function, &argument)
            .unwrap_or_else(|error| panic!("{function} {argument}: {error}"))
    }

    /// Expects a refusal with this code and, if given, this field.
    #[track_caller]
    pub fn refused(&mut self, caller: &Caller, function: &str, argument: Value, expected: &str) {
        let before = self.ledger.state().clone();
        let error = match self.submit(caller, function, &argument) {
            Err(error) => error,
            Ok(_) => panic!("{function} {argument} was not refused"),
        };
        let actual = match &error.field {
            Some(field) => format!("{} {field}", error.code),
            None => error.code.clone(),
        };
        assert_eq!(actual, expected, "{error}");
        assert_eq!(&before, self.ledger.state());
    }

    #[track_caller]
    pub fn ask<T: DeserializeOwned>(&self, caller: &Caller, function: &str, argument: Value) -> T {
        let text = argument.to_string();
        let outcome = self
            .ledger
            .evaluate(caller, function, &[text.as_bytes()])
            .unwrap_or_else(|error| panic!("{function} {argument}: {error}"));
        serde_json::from_slice(&outcome.payload).unwrap()
    }

    #[track_caller]
    pub fn ask_refused(&self, caller: &Caller, function: &str, argument: Value, expected: &str) {
        let text = argument.to_string();
        let error = self
            .ledger
            .evaluate(caller, function, &[text.as_bytes()])
            .expect_err("a refusal");
        assert_eq!(error.code, expected, "{function} {argument}: {error}");
    }

    #[track_caller]
    pub fn confirm(&mut self, version: u32) -> Outcome {
        let officer = self.officer.clone();
        self.ok(
            &officer,
            "confirm_record",
            json!({"record": id(RECORD), "version": version}),
        )
    }

    #[track_caller]
    pub fn grant(&mut self, consent: u8, mut body: Value) -> Outcome {
        body["id"] = json!(id(consent));
        let patient = self.patient.clone();
        self.ok(&patient, "grant_consent", body)
    }

    #[track_caller]
    pub fn revoke(&mut self, consent: u8) -> Outcome {
        let patient = self.patient.clone();
        self.ok(
            &patient,
            "revoke_consent",
            json!({"patient": id(PATIENT), "consent": id(consent)}),
        )
    }

    #[track_caller]
    pub fn request(&mut self, caller: &Caller, version: u32, purpose: &str) -> AccessDecision {
        let outcome = self.ok(caller, "request_access", access(version, purpose));
        serde_json::from_slice(&outcome.payload).unwrap()
    }

    /// `permit basis` or `deny reason`.
    #[track_caller]
    pub fn decision(&mut self, caller: &Caller, version: u32, purpose: &str) -> String {
        let decision = serde_json::to_value(self.request(caller, version, purpose)).unwrap();
        let word = |field: &str| decision[field].as_str().unwrap().to_owned();
        match word("decision").as_str() {
            "permit" => format!("permit {}", word("basis")),
            _ => format!("deny {}", word("reason")),
        }
    }

    #[track_caller]
    pub fn record(&self, caller: &Caller, version: u32) -> RecordVersion {
        let argument = json!({"record": id(RECORD), "version": version});
        self.ask(caller, "get_record", argument)
    }

    /// The newest entry of a trail of any length.
    #[track_caller]
    pub fn trail_end(&self, caller: &Caller) -> AuditEntry {
        let mut argument = json!({"patient": id(PATIENT), "limit": 200});
        let mut newest = None;
        loop {
            let page: Page<AuditEntry> = self.ask(caller, "audit_trail", argument.clone());
            newest = page.entries.last().cloned().or(newest);
            match page.bookmark {
                Some(bookmark) => argument["bookmark"] = json!(bookmark),
                None => return newest.unwrap(),
            }
        }
    }

    #[track_caller]
    pub fn trail(&self, caller: &Caller) -> Vec<AuditEntry> {
        let argument = json!({"patient": id(PATIENT), "limit": 200});
        self.ask::<Page<AuditEntry>>(caller, "audit_trail", argument)
            .entries
    }
}

pub fn submission(version: u32) -> Value {
    json!({
        "record": id(RECORD),
        "version": version,
        "patient": id(PATIENT),
        "cid": CID,
        "category": "patient-summary",
        "confidentiality": "N",
        "header": "00ff",
        "commitment": "cd".repeat(32),
    })
}

pub fn access(version: u32, purpose: &str) -> Value {
    json!({
        "patient": id(PATIENT),
        "record": id(RECORD),
        "version": version,
        "purpose": purpose,
    })
}

pub fn to_b() -> Value {
    json!({
        "type": "permit",
        "actor": {"org": "HospitalB", "role": "practitioner"},
        "purpose": ["TREAT"],
    })
}

/// The same object with one field set; `null` takes it away.
pub fn with(mut object: Value, field: &str, value: Value) -> Value {
    let fields = object.as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value);
    }
    object
}
