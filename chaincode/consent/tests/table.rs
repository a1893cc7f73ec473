//! The decisions as tables (`decisions.txt`), and what consents look like.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use stela_consent::{
    Broader, Category, Confidentiality, Consent, ConsentError, Decision, Field, Fingerprint, Hex,
    Id, Policy, Purpose, Reason, RecordFacts, Request, Requester, ResearchCategory, Role, Scope,
    Status, decide, emergency, grantees,
};

const TABLES: &str = include_str!("decisions.txt");

/// The lines of a table.
fn table(title: &str) -> impl Iterator<Item = &'static str> {
    let (_, after) = TABLES
        .split_once(&format!("== {title}\n"))
        .unwrap_or_else(|| panic!("no table {title}"));
    let end = after.find("\n== ").unwrap_or(after.len());
    after[..end]
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Consents by name, the request, the answer.
type Case = [&'static str; 3];

fn cases(title: &str) -> impl Iterator<Item = Case> {
    table(title).map(|line| {
        let (question, answer) = line.split_once(" -> ").unwrap();
        let (names, changes) = question.split_once('|').unwrap();
        [names, changes, answer].map(str::trim)
    })
}

/// The plain request: a practitioner of HospitalB asks for a normal clinical note, for treatment.
struct Ask {
    organization: &'static str,
    role: Role,
    fingerprint: Fingerprint,
    purpose: Purpose,
    study: Option<Id>,
    time_ms: u64,
    record: RecordFacts,
}

impl Ask {
    fn plain() -> Self {
        Self {
            organization: "HospitalB",
            role: Role::Practitioner,
            fingerprint: Hex([0xf1; 32]),
            purpose: Purpose::Treat,
            study: None,
            time_ms: 500,
            record: RecordFacts {
                id: Hex([0xa1; 16]),
                category: Category::ClinicalNote,
                confidentiality: Confidentiality::Normal,
                labels: Vec::new(),
                date_ms: Some(1000),
            },
        }
    }

    fn with(changes: &'static str) -> Self {
        let mut ask = Self::plain();
        for change in changes.split_whitespace() {
            let (field, value) = change.split_once('=').unwrap();
            match field {
                "org" => ask.organization = value,
                "role" => ask.role = value.parse().unwrap(),
                "id" => ask.fingerprint = value.repeat(32).parse().unwrap(),
                "for" => ask.purpose = value.parse().unwrap(),
                "study" => ask.study = Some(filled(value).parse().unwrap()),
                "at" => ask.time_ms = value.parse().unwrap(),
                "level" => ask.record.confidentiality = value.parse().unwrap(),
                "labels" => {
                    ask.record.labels = value.split(',').map(|l| l.parse().unwrap()).collect();
                }
                "category" => ask.record.category = value.parse().unwrap(),
                "date" => ask.record.date_ms = value.parse().ok(),
                "record" => ask.record.id = value.repeat(16).parse().unwrap(),
                _ => panic!("no field {field}"),
            }
        }
        ask
    }

    fn requester(&self) -> Requester<'_> {
        Requester {
            fingerprint: self.fingerprint,
            organization: self.organization,
            role: self.role,
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            requester: self.requester(),
            purpose: self.purpose,
            study: self.study,
            time_ms: self.time_ms,
            record: &self.record,
        }
    }
}

fn filled(text: &str) -> String {
    text.replace("$me", &"f1".repeat(32))
        .replace("$record", &"a1".repeat(16))
        .replace("$s", &"5a".repeat(16))
        .replace("$t", &"5b".repeat(16))
}

fn id(index: usize) -> Id {
    format!("{index:032x}").parse().unwrap()
}

fn parsed(index: usize, body: &str) -> Result<Consent, serde_json::Error> {
    let json = format!("{{\"id\":\"{}\",{}}}", id(index), filled(body));
    serde_json::from_str(&json)
}

fn named(index: usize, name: &str) -> Consent {
    if let Ok(policy) = name.parse::<Policy>() {
        return policy.consent(id(index));
    }
    let (_, body) = table("consents")
        .map(|line| line.split_once(" = ").unwrap())
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no consent {name}"));
    parsed(index, body).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn consents(names: &str) -> Vec<(Consent, Status)> {
    let read = |(index, name): (usize, &str)| match name.strip_prefix('!') {
        Some(name) => (named(index, name), Status::Inactive),
        None => (named(index, name), Status::Active),
    };
    names.split_whitespace().enumerate().map(read).collect()
}

fn words(decision: &Decision) -> String {
    let word = if decision.permit { "permit" } else { "deny" };
    match (&decision.consent, &decision.provision) {
        (Some(consent), Some(path)) => {
            let index = (0..16).find(|i| id(*i) == *consent).unwrap();
            let path: String = path.iter().map(|i| format!("/{i}")).collect();
            format!("{word} {index}{path}")
        }
        _ => format!("{word} {}", decision.reason),
    }
}

fn decided(names: &str, changes: &'static str) -> Decision {
    let consents = consents(names);
    let ask = Ask::with(changes);
    decide(&ask.request(), consents.iter().map(|(c, s)| (c, *s)))
}

#[track_caller]
fn check(title: &str) {
    for [names, changes, expected] in cases(title) {
        let answer = words(&decided(names, changes));
        assert_eq!(answer, expected, "{names} | {changes}");
    }
}

#[test]
fn the_tables_are_long_and_nothing_stands_in_them_twice() {
    let titles = TABLES.lines().filter_map(|line| line.strip_prefix("== "));
    let mut all: Vec<Case> = titles
        .filter(|title| !["consents", "emergencies"].contains(title))
        .flat_map(cases)
        .collect();
    assert!(all.len() >= 200, "{}", all.len());
    all.sort_unstable();
    assert!(all.is_sorted_by(|one, next| one < next));
    assert!(cases("emergencies").count() >= 25);
}

#[test]
fn nothing_means_deny() {
    check("nothing");
}

#[test]
fn actors() {
    check("actors");
}

#[test]
fn an_organization_is_its_workforce() {
    check("workforce");
}

#[test]
fn purposes_match_by_subsumption() {
    check("purposes");
}

#[test]
fn periods_include_their_start_and_not_their_end() {
    check("periods");
}

#[test]
fn confidentiality_is_a_ceiling_for_permits_and_a_floor_for_denies() {
    check("levels");
}

#[test]
fn every_label_must_be_covered() {
    check("labels");
}

#[test]
fn categories_dates_and_named_records() {
    check("records");
}

#[test]
fn the_most_specific_wins_and_a_tie_denies() {
    check("specificity");
}

#[test]
fn exceptions_apply_within_their_base_and_stand_in_its_place() {
    check("exceptions");
}

#[test]
fn a_revoked_consent_does_not_stand() {
    check("revoked");
}

#[test]
fn the_reason_is_the_closest_miss() {
    check("closest");
}

#[test]
fn a_study_is_opened_by_its_own_permits_alone() {
    check("studies");
}

#[test]
fn ready_made_policies_say_what_ihe_says() {
    check("policies");
}

#[test]
fn breaking_the_glass_stops_at_a_deny_for_very_restricted_records() {
    for [names, changes, expected] in cases("emergencies") {
        let consents = consents(names);
        let ask = Ask::with(changes);
        let given = consents.iter().map(|(c, s)| (c, *s));
        let decision = emergency(ask.requester(), &ask.record, ask.time_ms, given);
        assert_eq!(words(&decision), expected, "{names} | {changes}");
    }
}

#[test]
fn a_decision_for_a_study_says_in_which_form_it_gets_the_record() {
    let form = |names: &str, changes| {
        let decision = decided(names, changes);
        assert!(decision.permit, "{names}");
        decision.research.map(ResearchCategory::code)
    };
    let for_s = "study=$s for=HRESCH";
    assert_eq!(form("s", for_s), Some("RSDID"));
    assert_eq!(form("s-reid", for_s), Some("RSREID"));
    assert_eq!(form("only-s", for_s), Some("RSREID"));
    // Whichever was given first, of two that say the same the one that gives less decides.
    assert_eq!(form("s s-reid", for_s), Some("RSDID"));
    assert_eq!(form("s-reid s", for_s), Some("RSDID"));
    assert_eq!(form("s s-reid-named", for_s), Some("RSREID"));
    assert_eq!(form("s-reid !s", for_s), Some("RSREID"));
    assert_eq!(form("treat s", ""), None);
}

#[test]
fn a_permit_says_until_when() {
    let until = |body: &str| {
        let consent = parsed(0, body).unwrap();
        decide(&Ask::plain().request(), [(&consent, Status::Active)]).until_ms
    };
    assert_eq!(until(r#""type":"permit","purpose":["TREAT"]"#), None);
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
    let names = "treat-b treat-b treat treat-practitioner deny-b !treat-me expired-b \
                 treat-b-practitioner s s-until-400 only-s t";
    let consents = consents(names);
    let ask = Ask::plain();
    let found = grantees(&ask.record, 500, consents.iter().map(|(c, s)| (c, *s)));
    let found: Vec<String> = found
        .into_iter()
        .map(|a| serde_json::to_string(a).unwrap())
        .collect();
    let expected = [
        r#"{"org":"HospitalB","role":"practitioner"}"#,
        r#"{"org":"HospitalB"}"#,
        r#"{"study":"$s"}"#,
        r#"{"study":"$t"}"#,
    ];
    assert_eq!(found, expected.map(filled));
}

#[test]
fn what_is_not_well_formed_is_refused() {
    let refuse = |body: &str, expected: &str| {
        let error = parsed(0, body).unwrap_err().to_string();
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
    refuse(r#""type":"deny","actor":{}"#, "an actor is");
    refuse(
        r#""type":"deny","actor":{"id":"$me","role":"practitioner"}"#,
        "an actor is",
    );
    refuse(
        r#""type":"deny","actor":{"org":"A","study":"$s"}"#,
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
fn scopes_and_studies_go_together() {
    let refuse = |body: &str, expected: ConsentError| {
        let error = parsed(0, body).unwrap_err().to_string();
        assert!(error.starts_with(&expected.to_string()), "{body}: {error}");
    };
    let research = |rest: &str| format!(r#""scope":"research","research":"RSDID",{rest}"#);
    let study = r#""actor":{"study":"$s"},"purpose":["HRESCH"]"#;
    refuse(
        &format!(r#""type":"permit",{study}"#),
        ConsentError::StudyOutsideResearch,
    );
    refuse(
        &format!(r#""type":"deny",{study}"#),
        ConsentError::StudyOutsideResearch,
    );
    refuse(
        &format!(r#""type":"deny","except":[{{"type":"permit",{study}}}]"#),
        ConsentError::StudyOutsideResearch,
    );
    refuse(
        &research(r#""type":"permit","purpose":["HRESCH"]"#),
        ConsentError::ResearchWithoutStudy,
    );
    refuse(
        &research(r#""type":"permit","actor":{"org":"A"},"purpose":["HRESCH"]"#),
        ConsentError::ResearchWithoutStudy,
    );
    refuse(
        &research(
            r#""type":"deny","purpose":["HRESCH"],"except":[{"type":"permit","purpose":["DSRCH"]}]"#,
        ),
        ConsentError::ResearchWithoutStudy,
    );
    refuse(
        &research(r#""type":"permit","actor":{"study":"$s"},"purpose":["HRESCH","TREAT"]"#),
        ConsentError::ResearchPurpose,
    );
    refuse(
        &research(r#""type":"permit","actor":{"study":"$s"},"purpose":["CLINTRL"]"#),
        ConsentError::ResearchPurpose,
    );
    refuse(&research(r#""type":"deny""#), ConsentError::ResearchPurpose);
    refuse(
        &format!(r#""scope":"research","type":"permit",{study}"#),
        ConsentError::ResearchCategory,
    );
    refuse(
        r#""research":"RSDID","type":"deny""#,
        ConsentError::ResearchCategory,
    );
    refuse(
        r#""scope":"patient-privacy","research":"RSREID","type":"deny""#,
        ConsentError::ResearchCategory,
    );
    let other = parsed(0, r#""scope":"treatment","type":"deny""#).unwrap_err();
    assert!(other.to_string().contains("unknown scope"), "{other}");
    let stated = parsed(0, r#""scope":"patient-privacy","type":"deny""#).unwrap();
    assert_eq!(stated, parsed(0, r#""type":"deny""#).unwrap());
    assert_eq!(named(0, "s").scope(), Scope::Research);
    assert_eq!(stated.scope(), Scope::PatientPrivacy);
}

#[test]
fn a_policy_is_exactly_what_it_says() {
    for policy in Policy::ALL {
        let consent = policy.consent(id(3));
        assert_eq!(consent.policy(), Some(*policy));
        let json = serde_json::to_string(&consent).unwrap();
        assert_eq!(serde_json::from_str::<Consent>(&json).unwrap(), consent);
        // Without the name it is an ordinary consent that means the same.
        let plain = json.replace(&format!(r#""policy":"{policy}","#), "");
        let plain: Consent = serde_json::from_str(&plain).unwrap();
        assert_eq!(
            (plain.policy(), plain.provision()),
            (None, consent.provision())
        );
        assert_eq!(plain.exceptions(), consent.exceptions());
    }
    let refuse = |body: &str| {
        let error = parsed(0, body).unwrap_err().to_string();
        let expected = ConsentError::NotThePolicy.to_string();
        assert!(error.starts_with(&expected), "{body}: {error}");
    };
    refuse(r#""policy":"Policy-deny","type":"deny","actor":{"org":"A"}"#);
    refuse(r#""policy":"Policy-deny","type":"permit","purpose":["TREAT"]"#);
    refuse(r#""policy":"Policy-basic-normal","type":"permit","purpose":["TREAT"]"#);
    refuse(r#""policy":"Policy-break-glass-only","type":"deny""#);
    let unknown = parsed(0, r#""policy":"Policy-all","type":"deny""#).unwrap_err();
    assert!(unknown.to_string().contains("unknown policy"), "{unknown}");
    let deny = r#"{"id":"00000000000000000000000000000003","policy":"Policy-deny","type":"deny"}"#;
    let written = serde_json::to_string(&Policy::Deny.consent(id(3))).unwrap();
    assert_eq!(written, deny);
}

#[test]
fn an_approved_permit_is_no_broader_than_the_one_asked_for() {
    let asked = r#""type":"permit","actor":{"org":"A"},"purpose":["TREAT","HPAYMT"],"max":"R",
        "label":["HIV","PSY"],"category":["exam","imaging"],"period":[100,200],"data":[10,null],
        "record":["$record","$s"],"except":[{"type":"deny","label":["PSY"]}]"#;
    let within = |change: (&str, &str)| {
        assert!(asked.contains(change.0), "{}", change.0);
        let own = parsed(1, &asked.replace(change.0, change.1)).unwrap();
        own.is_within(&parsed(0, asked).unwrap())
    };
    let except = r#","except":[{"type":"deny","label":["PSY"]}]"#;
    let narrower = [
        ("", ""),
        (r#""TREAT","HPAYMT""#, r#""BTG","COC""#),
        (r#""max":"R","#, r#""max":"M","#),
        (r#""max":"R","#, ""),
        (r#""HIV","PSY""#, r#""PSY""#),
        (r#""label":["HIV","PSY"],"#, ""),
        (r#""exam","imaging""#, r#""imaging""#),
        ("[100,200]", "[101,199]"),
        ("[10,null]", "[10,11]"),
        (r#""$record","$s""#, r#""$s""#),
        (
            except,
            r#","except":[{"type":"deny","record":["$s"]},{"type":"deny","label":["PSY"]}]"#,
        ),
    ];
    for change in narrower {
        assert_eq!(within(change), Ok(()), "{change:?}");
    }
    let broader = [
        (r#"{"org":"A"}"#, r#"{"org":"B"}"#, Field::Actor),
        (r#""actor":{"org":"A"},"#, "", Field::Actor),
        (
            r#"{"org":"A"}"#,
            r#"{"org":"A","role":"practitioner"}"#,
            Field::Actor,
        ),
        (
            r#""TREAT","HPAYMT""#,
            r#""TREAT","HOPERAT""#,
            Field::Purpose,
        ),
        (r#""max":"R""#, r#""max":"V""#, Field::Max),
        (r#""HIV","PSY""#, r#""HIV","SUD""#, Field::Label),
        (
            r#""exam","imaging""#,
            r#""exam","genetics""#,
            Field::Category,
        ),
        (r#""category":["exam","imaging"],"#, "", Field::Category),
        ("[100,200]", "[99,200]", Field::Period),
        ("[100,200]", "[100,201]", Field::Period),
        ("[100,200]", "[100,null]", Field::Period),
        ("[100,200]", "[null,200]", Field::Period),
        (r#""period":[100,200],"#, "", Field::Period),
        ("[10,null]", "[9,null]", Field::Data),
        (r#""data":[10,null],"#, "", Field::Data),
        (r#""$record","$s""#, r#""$record","$t""#, Field::Record),
        (
            r#""record":["$record","$s"],"#,
            r#""record":[],"#,
            Field::Record,
        ),
        (except, "", Field::Except),
        (
            except,
            r#","except":[{"type":"deny","label":["PSY"],"min":"V"}]"#,
            Field::Except,
        ),
    ];
    for (from, to, field) in broader {
        assert_eq!(within((from, to)), Err(Broader(field)), "{from} {to}");
    }
    let compare = |own: &str, asked: &str| named(1, own).is_within(&named(0, asked));
    assert_eq!(compare("deny", "deny"), Err(Broader(Field::Type)));
    assert_eq!(compare("deny", "treat"), Err(Broader(Field::Type)));
    assert_eq!(compare("emergency", "treat"), Ok(()));
    assert_eq!(compare("s", "s-reid"), Ok(()));
    assert_eq!(compare("s-reid", "s"), Err(Broader(Field::Research)));
    assert_eq!(compare("s", "research"), Err(Broader(Field::Scope)));
    assert_eq!(compare("t", "s"), Err(Broader(Field::Actor)));
}

#[test]
fn a_realistic_consent_is_short_and_keeps_its_form() {
    let json = r#"{"id":"00112233445566778899aabbccddeeff","type":"permit","actor":{"org":"HospitalB","role":"practitioner"},"purpose":["TREAT"],"max":"R","label":["PSY"],"category":["clinical-note"],"period":[1700000000000,1731536000000]}"#;
    let consent: Consent = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&consent).unwrap(), json);
    assert!(json.len() <= 250, "{}", json.len());
    let json = r#"{"id":"00112233445566778899aabbccddeeff","scope":"research","research":"RSDID","type":"permit","actor":{"study":"ffeeddccbbaa99887766554433221100"},"purpose":["DSRCH"]}"#;
    let consent: Consent = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&consent).unwrap(), json);
}

#[test]
fn reasons_read_as_sentences() {
    assert_eq!(Reason::Expired.explanation(), "the consent has expired");
}
