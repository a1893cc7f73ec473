//! The decisions as a table: consents, a request that differs from the plain one, the answer.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use stela_consent::{
    Category, Confidentiality, Consent, Fingerprint, Id, Purpose, Reason, RecordFacts, Request,
    Requester, Role, SensitivityLabel, Status, decide, grantees,
};

/// The plain request: a practitioner of HospitalB asks for a normal clinical note, for treatment.
struct Ask {
    organization: &'static str,
    role: Role,
    fingerprint: Fingerprint,
    purpose: Purpose,
    time_ms: u64,
    record: RecordFacts,
}

impl Ask {
    fn plain() -> Self {
        Self {
            organization: "HospitalB",
            role: Role::Practitioner,
            fingerprint: stela_consent::Hex([0xf1; 32]),
            purpose: Purpose::Treat,
            time_ms: 500,
            record: RecordFacts {
                id: stela_consent::Hex([0xa1; 16]),
                category: Category::ClinicalNote,
                confidentiality: Confidentiality::Normal,
                labels: Vec::new(),
                date_ms: Some(1000),
            },
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            requester: Requester {
                fingerprint: self.fingerprint,
                organization: self.organization,
                role: self.role,
            },
            purpose: self.purpose,
            time_ms: self.time_ms,
            record: &self.record,
        }
    }
}

fn id(index: usize) -> Id {
    format!("{index:032x}").parse().unwrap()
}

/// A body is the JSON of a consent without its id; one that starts with `!` was revoked.
fn consents(bodies: &[&str]) -> Vec<(Consent, Status)> {
    let parse = |(index, body): (usize, &&str)| {
        let (status, body) = match body.strip_prefix('!') {
            Some(body) => (Status::Inactive, body),
            None => (Status::Active, *body),
        };
        let json = format!("{{\"id\":\"{}\",{body}}}", id(index));
        let consent = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"));
        (consent, status)
    };
    bodies.iter().enumerate().map(parse).collect()
}

#[track_caller]
fn check(bodies: &[&str], change: impl FnOnce(&mut Ask), expected: &str) {
    let mut ask = Ask::plain();
    change(&mut ask);
    let consents = consents(bodies);
    let decision = decide(&ask.request(), consents.iter().map(|(c, s)| (c, *s)));
    let word = if decision.permit { "permit" } else { "deny" };
    let actual = match (&decision.consent, &decision.provision) {
        (Some(consent), Some(path)) => {
            let index = (0..bodies.len()).find(|i| id(*i) == *consent).unwrap();
            let path: String = path.iter().map(|i| format!("/{i}")).collect();
            format!("{word} {index}{path}")
        }
        _ => format!("{word} {}", decision.reason),
    };
    assert_eq!(actual, expected, "{bodies:?}");
}

const PLAIN: &str = r#""type":"permit","purpose":["TREAT"]"#;
const TO_B: &str = r#""type":"permit","actor":{"org":"HospitalB"},"purpose":["TREAT"]"#;
const TO_ROLE: &str =
    r#""type":"permit","actor":{"org":"HospitalB","role":"practitioner"},"purpose":["TREAT"]"#;
const DENY: &str = r#""type":"deny""#;
const DENY_B: &str = r#""type":"deny","actor":{"org":"HospitalB"}"#;

fn as_is(_: &mut Ask) {}

fn identity(kind: &str) -> String {
    let fingerprint = "f1".repeat(32);
    let purpose = if kind == "permit" {
        r#","purpose":["TREAT"]"#
    } else {
        ""
    };
    format!(r#""type":"{kind}","actor":{{"id":"{fingerprint}"}}{purpose}"#)
}

#[test]
fn nothing_means_deny() {
    check(&[], as_is, "deny no-consent");
    check(
        &[DENY_B],
        |a| a.organization = "HospitalC",
        "deny no-consent",
    );
}

#[test]
fn actors() {
    check(&[PLAIN], as_is, "permit 0");
    check(&[TO_B], as_is, "permit 0");
    check(&[TO_ROLE], as_is, "permit 0");
    check(&[&identity("permit")], as_is, "permit 0");
    check(&[TO_B], |a| a.organization = "HospitalC", "deny actor");
    check(&[TO_B], |a| a.organization = "HospitalBB", "deny actor");
    check(&[TO_B], |a| a.role = Role::Researcher, "permit 0");
    check(&[TO_ROLE], |a| a.role = Role::Researcher, "deny actor");
    check(&[TO_ROLE], |a| a.organization = "HospitalC", "deny actor");
    let other = |a: &mut Ask| a.fingerprint = stela_consent::Hex([0xf2; 32]);
    check(&[&identity("permit")], other, "deny actor");
}

#[test]
fn an_organization_is_its_workforce() {
    for role in [
        Role::Patient,
        Role::Device,
        Role::Admin,
        Role::Peer,
        Role::Client,
    ] {
        check(&[TO_B], |a| a.role = role, "deny actor");
    }
    for role in [
        Role::Patient,
        Role::Device,
        Role::Admin,
        Role::Peer,
        Role::Client,
    ] {
        check(&[PLAIN], |a| a.role = role, "deny actor");
        let by_name = identity("permit");
        check(&[&by_name], |a| a.role = role, "permit 0");
        check(&[&by_name, DENY_B], |a| a.role = role, "permit 0");
        check(&[DENY_B], |a| a.role = role, "deny 0");
        check(&[DENY], |a| a.role = role, "deny 0");
    }
    let to_devices =
        r#""type":"permit","actor":{"org":"HospitalB","role":"device"},"purpose":["TREAT"]"#;
    check(&[to_devices], |a| a.role = Role::Device, "permit 0");
}

#[test]
fn purposes_match_by_subsumption() {
    check(
        &[PLAIN],
        |a| a.purpose = Purpose::EmergencyTreat,
        "permit 0",
    );
    check(&[PLAIN], |a| a.purpose = Purpose::BreakGlass, "permit 0");
    check(&[PLAIN], |a| a.purpose = Purpose::Coordination, "permit 0");
    check(&[PLAIN], |a| a.purpose = Purpose::Research, "deny purpose");
    check(&[PLAIN], |a| a.purpose = Purpose::Marketing, "deny purpose");
    let emergency = r#""type":"permit","purpose":["ETREAT"]"#;
    check(&[emergency], as_is, "deny purpose");
    check(
        &[emergency],
        |a| a.purpose = Purpose::BreakGlass,
        "permit 0",
    );
    let two = r#""type":"permit","purpose":["HRESCH","TREAT"]"#;
    check(&[two], |a| a.purpose = Purpose::DiseaseResearch, "permit 0");
    check(&[two], |a| a.purpose = Purpose::Payment, "deny purpose");
}

#[test]
fn periods_include_their_start_and_not_their_end() {
    let period = r#""type":"permit","purpose":["TREAT"],"period":[400,600]"#;
    check(&[period], |a| a.time_ms = 399, "deny not-yet-valid");
    check(&[period], |a| a.time_ms = 400, "permit 0");
    check(&[period], |a| a.time_ms = 599, "permit 0");
    check(&[period], |a| a.time_ms = 600, "deny expired");
    let open = r#""type":"permit","purpose":["TREAT"],"period":[null,600]"#;
    check(&[open], |a| a.time_ms = 0, "permit 0");
    let open = r#""type":"permit","purpose":["TREAT"],"period":[400,null]"#;
    check(&[open], |a| a.time_ms = u64::MAX, "permit 0");
    let deny = r#""type":"deny","period":[400,600]"#;
    check(&[PLAIN, deny], |a| a.time_ms = 600, "permit 0");
    check(
        &[deny, r#""type":"permit","purpose":["HRESCH"]"#],
        as_is,
        "deny 0",
    );
}

#[test]
fn confidentiality_is_a_ceiling_for_permits_and_a_floor_for_denies() {
    let restricted = |a: &mut Ask| a.record.confidentiality = Confidentiality::Restricted;
    let very = |a: &mut Ask| a.record.confidentiality = Confidentiality::VeryRestricted;
    check(&[PLAIN], restricted, "deny confidentiality");
    let up_to_r = r#""type":"permit","purpose":["TREAT"],"max":"R""#;
    check(&[up_to_r], restricted, "permit 0");
    check(&[up_to_r], very, "deny confidentiality");
    let up_to_l = r#""type":"permit","purpose":["TREAT"],"max":"L""#;
    check(&[up_to_l], as_is, "deny confidentiality");
    let from_v = r#""type":"deny","min":"V""#;
    check(&[up_to_r, from_v], restricted, "permit 0");
    let up_to_v = r#""type":"permit","purpose":["TREAT"],"max":"V""#;
    check(&[up_to_v], very, "permit 0");
    check(
        &[
            up_to_v,
            r#""type":"deny","min":"V","category":["clinical-note"]"#,
        ],
        very,
        "deny 1",
    );
}

#[test]
fn every_label_must_be_covered() {
    use SensitivityLabel::{Hiv, Psychiatry};
    let psychiatric = |a: &mut Ask| a.record.labels = vec![Psychiatry];
    let both = |a: &mut Ask| a.record.labels = vec![Psychiatry, Hiv];
    check(&[PLAIN], psychiatric, "deny label");
    let psy = r#""type":"permit","purpose":["TREAT"],"label":["PSY"]"#;
    check(&[psy], psychiatric, "permit 0");
    check(&[psy], as_is, "permit 0");
    check(&[psy], both, "deny label");
    let psy_hiv = r#""type":"permit","purpose":["TREAT"],"label":["HIV","PSY","SUD"]"#;
    check(&[psy_hiv], both, "permit 0");
    let deny_hiv = r#""type":"deny","label":["HIV"]"#;
    check(&[PLAIN, deny_hiv], as_is, "permit 0");
    check(&[psy, deny_hiv], psychiatric, "permit 0");
    check(&[PLAIN, deny_hiv], both, "deny 1");
    check(
        &[
            psy_hiv,
            r#""type":"deny","actor":{"org":"HospitalB"},"label":["HIV"]"#,
        ],
        both,
        "deny 1",
    );
}

#[test]
fn categories_dates_and_named_records() {
    let laboratory = r#""type":"permit","purpose":["TREAT"],"category":["laboratory"]"#;
    check(&[laboratory], as_is, "deny category");
    check(
        &[laboratory],
        |a| a.record.category = Category::Laboratory,
        "permit 0",
    );
    let dated = r#""type":"permit","purpose":["TREAT"],"data":[1000,2000]"#;
    check(&[dated], as_is, "permit 0");
    check(
        &[dated],
        |a| a.record.date_ms = Some(2000),
        "deny data-period",
    );
    check(&[dated], |a| a.record.date_ms = None, "deny data-period");
    let deny_dated = r#""type":"deny","data":[1000,2000]"#;
    check(&[PLAIN, deny_dated], |a| a.record.date_ms = None, "deny 1");
    check(
        &[PLAIN, deny_dated],
        |a| a.record.date_ms = Some(1),
        "permit 0",
    );
    let named = format!(
        r#""type":"permit","purpose":["TREAT"],"record":["{}"]"#,
        "a1".repeat(16)
    );
    check(&[&named], as_is, "permit 0");
    check(&[&named], |a| a.record.id = id(7), "deny record");
}

#[test]
fn the_most_specific_wins_and_a_tie_denies() {
    check(&[DENY, TO_B], as_is, "permit 1");
    check(&[TO_B, DENY], as_is, "permit 0");
    check(&[DENY_B, &identity("permit")], as_is, "permit 1");
    check(&[TO_B, &identity("deny")], as_is, "deny 1");
    check(&[TO_B, DENY_B], as_is, "permit 0");
    let deny_treat = r#""type":"deny","actor":{"org":"HospitalB"},"purpose":["TREAT"]"#;
    check(&[TO_B, deny_treat], as_is, "deny 1");
    check(&[deny_treat, TO_ROLE], as_is, "permit 1");
    // About different things: neither exceeds the other.
    check(
        &[TO_B, r#""type":"deny","category":["clinical-note"]"#],
        as_is,
        "deny 1",
    );
    let deny_emergency = r#""type":"deny","purpose":["ETREAT"]"#;
    check(&[TO_B, deny_emergency], as_is, "permit 0");
    check(
        &[TO_B, deny_emergency],
        |a| a.purpose = Purpose::BreakGlass,
        "deny 1",
    );
    let permit_glass = r#""type":"permit","actor":{"org":"HospitalB"},"purpose":["BTG"]"#;
    check(
        &[deny_emergency, permit_glass],
        |a| a.purpose = Purpose::BreakGlass,
        "permit 1",
    );
    // A third provision may exceed the deny even where another permit does not.
    let all = r#""type":"permit","actor":{"org":"HospitalB"},"purpose":["TREAT"],"category":["clinical-note"]"#;
    check(
        &[TO_B, r#""type":"deny","category":["clinical-note"]"#, all],
        as_is,
        "permit 2",
    );
    // Among equals the first one is named.
    check(&[TO_B, TO_B], as_is, "permit 0");
    check(&[DENY, DENY], as_is, "deny 0");
}

#[test]
fn exceptions_apply_within_their_base_and_stand_in_its_place() {
    let but_notes = r#""type":"permit","actor":{"org":"HospitalB"},"purpose":["TREAT"],
        "except":[{"type":"deny","category":["imaging"]},{"type":"deny","category":["clinical-note"]}]"#;
    check(&[but_notes], as_is, "deny 0/1");
    check(
        &[but_notes],
        |a| a.record.category = Category::Imaging,
        "deny 0/0",
    );
    check(
        &[but_notes],
        |a| a.record.category = Category::Exam,
        "permit 0",
    );
    let but_emergency = r#""type":"deny","actor":{"org":"HospitalB"},
        "except":[{"type":"permit","purpose":["ETREAT"]}]"#;
    check(&[but_emergency], as_is, "deny 0");
    check(
        &[but_emergency],
        |a| a.purpose = Purpose::BreakGlass,
        "permit 0/0",
    );
    let elsewhere = |a: &mut Ask| {
        a.purpose = Purpose::BreakGlass;
        a.organization = "HospitalC";
    };
    check(&[but_emergency], elsewhere, "deny no-consent");
    // The exception is as specific as base and exception together.
    check(&[TO_B, but_notes], as_is, "deny 1/1");
    check(
        &[but_notes, TO_B],
        |a| a.record.category = Category::Exam,
        "permit 0",
    );
    let within = r#""type":"permit","purpose":["TREAT"],"period":[0,450],
        "except":[{"type":"deny","category":["clinical-note"]}]"#;
    check(&[within, TO_B], as_is, "permit 1");
}

#[test]
fn a_revoked_consent_does_not_stand() {
    let revoked = format!("!{TO_B}");
    check(&[&revoked], as_is, "deny revoked");
    check(&[&revoked, TO_ROLE], as_is, "permit 1");
    check(&[&revoked], |a| a.organization = "HospitalC", "deny actor");
    let revoked_deny = format!("!{DENY_B}");
    check(&[&revoked_deny, TO_B], as_is, "permit 1");
}

#[test]
fn the_reason_is_the_closest_miss() {
    let expired =
        r#""type":"permit","actor":{"org":"HospitalB"},"purpose":["TREAT"],"period":[0,1]"#;
    let other = r#""type":"permit","actor":{"org":"HospitalC"},"purpose":["TREAT"]"#;
    check(&[other, expired], as_is, "deny expired");
    check(&[expired, other], as_is, "deny expired");
}

#[test]
fn a_permit_says_until_when() {
    let ask = Ask::plain();
    let until = |body: &str| {
        let consents = consents(&[body]);
        decide(&ask.request(), consents.iter().map(|(c, s)| (c, *s))).until_ms
    };
    assert_eq!(until(PLAIN), None);
    assert_eq!(
        until(r#""type":"permit","purpose":["TREAT"],"period":[0,900]"#),
        Some(900)
    );
    let earliest = r#""type":"deny","period":[0,900],
        "except":[{"type":"permit","purpose":["TREAT"],"period":[0,800]}]"#;
    assert_eq!(until(earliest), Some(800));
}

#[test]
fn grantees_are_those_whom_a_standing_permit_may_let_in() {
    let revoked = format!("!{}", identity("permit"));
    let research =
        r#""type":"permit","actor":{"org":"Institute","role":"researcher"},"purpose":["HRESCH"]"#;
    let expired = r#""type":"permit","actor":{"org":"Old"},"purpose":["TREAT"],"period":[0,1]"#;
    let consents = consents(&[TO_B, TO_B, PLAIN, DENY_B, &revoked, research, expired]);
    let ask = Ask::plain();
    let found = grantees(&ask.record, 500, consents.iter().map(|(c, s)| (c, *s)));
    let found: Vec<String> = found
        .into_iter()
        .map(|a| serde_json::to_string(a).unwrap())
        .collect();
    assert_eq!(
        found,
        [
            r#"{"org":"Institute","role":"researcher"}"#,
            r#"{"org":"HospitalB"}"#
        ]
    );
}

#[test]
fn what_is_not_well_formed_is_refused() {
    let refuse = |body: &str, expected: &str| {
        let json = format!("{{\"id\":\"{}\",{body}}}", id(0));
        let error = serde_json::from_str::<Consent>(&json)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{body}: {error}");
    };
    refuse(r#""type":"permit""#, "at least one purpose");
    refuse(
        r#""type":"permit","purpose":["CURIOSITY"]"#,
        "unknown purpose code",
    );
    refuse(
        r#""type":"permit","purpose":["TREAT"],"label":["psy"]"#,
        "unknown sensitivity label",
    );
    refuse(
        r#""type":"permit","purpose":["TREAT"],"max":"X""#,
        "unknown confidentiality",
    );
    refuse(
        r#""type":"permit","purpose":["TREAT"],"min":"V""#,
        "min is for denies",
    );
    refuse(r#""type":"deny","max":"R""#, "max is for permits");
    refuse(r#""type":"deny","note":"free text""#, "unknown field");
    refuse(r#""type":"deny","except":[{"type":"deny"}]"#, "other type");
    refuse(
        r#""type":"deny","except":[{"type":"permit"}]"#,
        "at least one purpose",
    );
    refuse(
        r#""type":"deny","except":[{"type":"permit","purpose":["TREAT"],"except":[]}]"#,
        "unknown field",
    );
    refuse(r#""type":"deny","period":[5,5]"#, "start < end");
    refuse(r#""type":"deny","period":[null,null]"#, "start < end");
    refuse(
        r#""type":"deny","actor":{"role":"practitioner"}"#,
        "an actor is",
    );
    refuse(
        r#""type":"deny","actor":{"org":"A","role":"nurse"}"#,
        "unknown role",
    );
    refuse(
        r#""type":"deny","actor":{"org":"../A"}"#,
        "an organization is",
    );
    refuse(r#""type":"deny","record":["A1"]"#, "32 lower-case");
    refuse(r#""type":"allow""#, "unknown variant");
    let many = [r#"{"type":"permit","purpose":["TREAT"]}"#; 9].join(",");
    refuse(&format!(r#""type":"deny","except":[{many}]"#), "at most 8");
}

#[test]
fn a_realistic_consent_is_short_and_keeps_its_form() {
    let json = r#"{"id":"00112233445566778899aabbccddeeff","type":"permit","actor":{"org":"HospitalB","role":"practitioner"},"purpose":["TREAT"],"max":"R","label":["PSY"],"category":["clinical-note"],"period":[1700000000000,1731536000000]}"#;
    let consent: Consent = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&consent).unwrap(), json);
    assert!(json.len() <= 250, "{}", json.len());
}

#[test]
fn reasons_read_as_sentences() {
    assert_eq!(Reason::Expired.explanation(), "the consent has expired");
}
