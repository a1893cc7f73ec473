//! Consents out and in again, and what is refused.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use stela_consent::{
    Actor, Category, Confidentiality, Consent, Hex, Id, Period, Policy, Provision, ProvisionType,
    Purpose, ResearchCategory, Role, SensitivityLabel, Status,
};
use stela_fhir::consent::{self, Context};
use stela_fhir::{Reason, r4};
use support::{context, organization};

const PATIENT: Id = Hex([0x77; 16]);

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 16]>().prop_map(Hex)
}

fn actor() -> impl Strategy<Value = Option<Actor>> {
    let name = || select(&["HospitalA", "Clinic-2"][..]).prop_map(organization);
    let role = || select(Role::ALL);
    prop_oneof![
        Just(None),
        any::<[u8; 32]>().prop_map(|bytes| Some(Actor::Identity(Hex(bytes)))),
        (name(), role()).prop_map(|(name, role)| Some(Actor::RoleAt(name, role))),
        name().prop_map(|name| Some(Actor::Organization(name))),
        role().prop_map(|role| Some(Actor::Role(role))),
    ]
}

/// Up to the year 9999.
fn period() -> impl Strategy<Value = Option<Period>> {
    let time = || proptest::option::of(0u64..253_402_300_799_999);
    (time(), time()).prop_map(|(start, end)| Period::new(start, end).ok())
}

prop_compose! {
    fn provision(kind: ProvisionType)(
        actor in actor(),
        purposes in subsequence(Purpose::ALL, 1..5),
        silent in any::<bool>(),
        level in proptest::option::of(select(Confidentiality::ALL)),
        labels in subsequence(SensitivityLabel::ALL, 0..4),
        categories in subsequence(Category::ALL, 0..4),
        period in period(),
        data_period in period(),
        records in proptest::collection::vec(id(), 0..3),
    ) -> Provision {
        let permit = kind == ProvisionType::Permit;
        Provision {
            kind, actor,
            purposes: if silent && !permit { Vec::new() } else { purposes },
            ceiling: level.filter(|_| permit),
            floor: level.filter(|_| !permit),
            labels, categories, period, data_period, records,
        }
    }
}

fn pair() -> impl Strategy<Value = (Provision, Vec<Provision>)> {
    use ProvisionType::{Deny, Permit};
    let pair = |base, exception| {
        let exceptions = proptest::collection::vec(provision(exception), 0..4);
        (provision(base), exceptions)
    };
    prop_oneof![pair(Permit, Deny), pair(Deny, Permit)]
}

fn any_consent() -> impl Strategy<Value = Consent> {
    let privacy = (id(), pair())
        .prop_map(|(id, (base, exceptions))| Consent::new(id, base, exceptions).unwrap());
    let purposes = [Purpose::Research, Purpose::DiseaseResearch];
    let research = (id(), pair(), id(), select(ResearchCategory::ALL)).prop_map(
        move |(id, (base, exceptions), study, category)| {
            let within = |one: Provision| Provision {
                actor: Some(Actor::Study(study)),
                purposes: purposes.to_vec(),
                ..one
            };
            let exceptions = exceptions.into_iter().map(within).collect();
            Consent::for_research(id, category, within(base), exceptions).unwrap()
        },
    );
    let policy = (select(Policy::ALL), id()).prop_map(|(policy, id)| policy.consent(id));
    prop_oneof![4 => privacy, 2 => research, 1 => policy]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_consent_comes_back_as_it_was(consent in any_consent()) {
        let resource = consent::export(&PATIENT, &consent, Status::Active).unwrap();
        let bytes = stela_fhir::write(&resource);
        let read: r4::Consent = stela_fhir::read(&bytes).unwrap();
        prop_assert_eq!(&read, &resource);
        let (patient, back) = consent::import(&read, consent.id(), &context()).unwrap();
        prop_assert_eq!(patient, format!("Patient/{PATIENT}"));
        prop_assert_eq!(back, consent);
    }

    #[test]
    fn a_revoked_consent_does_not_come_back(consent in any_consent()) {
        let resource = consent::export(&PATIENT, &consent, Status::Inactive).unwrap();
        let refusal = consent::import(&resource, consent.id(), &context()).unwrap_err();
        prop_assert_eq!(refusal.reason, Reason::NotActive);
    }
}

/// A consent in R4's own words, with these elements beside the ones that every consent has.
fn r4_consent(rest: &str) -> String {
    format!(
        r#"{{"resourceType":"Consent","status":"active","scope":{{"coding":[{{"system":
        "http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},
        "category":[{{"coding":[{{"system":"http://loinc.org","code":"59284-0"}}]}}],
        "patient":{{"reference":"Patient/1"}},{rest}}}"#
    )
}

const OPT_IN: &str = r#""policyRule":{"coding":[{"system":
    "http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTIN"}]}"#;
const OPT_OUT: &str = r#""policyRule":{"coding":[{"system":
    "http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTOUT"}]}"#;

/// `LEVEL:R`, `LABEL:PSY`, `FOR:TREAT`, `TO:Organization/f001` as the JSON that they stand for.
fn filled(text: &str) -> String {
    let coding = |system: &str, code: &str| {
        format!(r#"{{"system":"http://terminology.hl7.org/CodeSystem/{system}","code":"{code}"}}"#)
    };
    let mut filled = String::new();
    for word in text.split_inclusive([' ', ',', ']']) {
        let end = word.len() - usize::from(word.ends_with([' ', ',', ']']));
        let (word, rest) = word.split_at(end);
        let open = word.rfind('[').map_or(0, |at| at + 1);
        let (before, word) = word.split_at(open);
        filled.push_str(before);
        filled.push_str(&match word.split_once(':') {
            Some(("LEVEL", code)) => coding("v3-Confidentiality", code),
            Some(("LABEL", code)) => coding("v3-ActCode", code),
            Some(("FOR", code)) => coding("v3-ActReason", code),
            Some(("TO", whom)) => format!(
                r#"{{"role":{{"coding":[{}]}},"reference":{{"reference":"{whom}"}}}}"#,
                coding("v3-ParticipationType", "PRCP")
            ),
            _ => word.to_owned(),
        });
        filled.push_str(rest);
    }
    filled
}

fn imported_with(rest: &str, context: &Context) -> Result<String, String> {
    let resource: r4::Consent = stela_fhir::read(r4_consent(&filled(rest)).as_bytes())
        .map_err(|refusal| format!("{} {:?}", refusal.element, refusal.reason))?;
    consent::import(&resource, Hex([0; 16]), context)
        .map(|(_, consent)| without_id(&consent))
        .map_err(|refusal| format!("{} {:?}", refusal.element, refusal.reason))
}

fn without_id(consent: &Consent) -> String {
    let json = serde_json::to_string(consent).unwrap();
    let start = r#"{"id":"00000000000000000000000000000000","#;
    let rest = json.strip_prefix(start).unwrap();
    rest.strip_suffix('}').unwrap().to_owned()
}

#[track_caller]
fn check(rest: &str, expected: &str) {
    let actual = imported_with(rest, &context()).unwrap_or_else(|refusal| refusal);
    assert_eq!(actual, expected, "{rest}");
}

const TERMS: &str = r#""type":"permit","purpose":["TREAT","HPAYMT","HOPERAT","PUBHLTH","PATRQT"]"#;

#[test]
fn an_opt_in_is_the_terms_within_the_root_provision() {
    check(OPT_IN, TERMS);
    let with = |root: &str| format!(r#"{OPT_IN},"provision":{{{root}}}"#);
    check(
        &with(r#""purpose":[FOR:ETREAT]"#),
        r#""type":"permit","purpose":["ETREAT"]"#,
    );
    check(
        &with(r#""type":"permit","actor":[TO:Organization/f001]"#),
        &TERMS.replace(r#""permit","#, r#""permit","actor":{"org":"GoodHealth"},"#),
    );
    check(
        &with(r#""securityLabel":[LEVEL:L]"#),
        &format!(r#"{TERMS},"max":"L""#),
    );
    check(
        &with(r#""securityLabel":[LEVEL:V]"#),
        &format!(r#"{TERMS},"max":"N""#),
    );
    check(
        &with(r#""provision":[{"type":"deny","actor":[TO:Practitioner/f204]}]"#),
        &format!(
            r#"{TERMS},"except":[{{"type":"deny","actor":{{"id":"{}"}}}}]"#,
            "f2".repeat(32)
        ),
    );
    check(
        &with(r#""purpose":[FOR:HRESCH]"#),
        "Consent.provision.purpose BeyondTerms",
    );
    check(
        &with(r#""securityLabel":[LABEL:PSY]"#),
        "Consent.provision.securityLabel NotExpressible",
    );
    check(
        &with(r#""type":"deny""#),
        "Consent.provision.type NotExpressible",
    );
}

#[test]
fn an_opt_in_may_be_to_clinicians_only() {
    let clinicians = Context {
        offered: Some(Policy::BasicNormal),
        ..context()
    };
    let with = |actor: &str| format!(r#"{OPT_IN},"provision":{{"actor":[{actor}]}}"#);
    let to = |actor: &str| imported_with(&with(actor), &clinicians);
    assert_eq!(
        to("TO:Organization/f001").unwrap(),
        r#""type":"permit","actor":{"org":"GoodHealth","role":"practitioner"},"purpose":["TREAT"]"#
    );
    assert_eq!(
        to("TO:Practitioner/f204").unwrap_err(),
        "Consent.provision.actor BeyondTerms"
    );
    let nothing_offered = Context {
        offered: Some(Policy::BreakGlassOnly),
        ..context()
    };
    assert_eq!(
        imported_with(OPT_IN, &nothing_offered).unwrap_err(),
        "Consent.policyRule UnknownTerms"
    );
}

#[test]
fn an_opt_out_denies_and_its_exceptions_say_what_they_open() {
    check(OPT_OUT, r#""type":"deny""#);
    let with = |root: &str| format!(r#"{OPT_OUT},"provision":{{{root}}}"#);
    check(
        &with(r#""actor":[TO:Organization/f001],"securityLabel":[LABEL:SUD,LABEL:HIV]"#),
        r#""type":"deny","actor":{"org":"GoodHealth"},"label":["SUD","HIV","OPIOIDUD"]"#,
    );
    check(&with(r#""securityLabel":[LEVEL:V]"#), r#""type":"deny""#);
    // Everything up to restricted, but not what is very restricted: no deny here says that.
    check(
        &with(r#""securityLabel":[LEVEL:R]"#),
        "Consent.provision.securityLabel NotExpressible",
    );
    let except = |one: &str| with(&format!(r#""provision":[{{"type":"permit",{one}}}]"#));
    check(
        &except(r#""purpose":[FOR:TREAT],"securityLabel":[LEVEL:R]"#),
        r#""type":"deny","except":[{"type":"permit","purpose":["TREAT"],"max":"R"}]"#,
    );
    check(
        &except(r#""purpose":[FOR:TREAT]"#),
        "Consent.provision.provision[0].securityLabel Missing",
    );
    check(
        &except(r#""securityLabel":[LEVEL:R]"#),
        "Consent.provision.provision[0].purpose Missing",
    );
    check(
        &with(r#""provision":[{"type":"deny"}]"#),
        "Consent.provision.provision[0].type NotExpressible",
    );
    check(
        &except(r#""purpose":[FOR:TREAT],"securityLabel":[LEVEL:N],"provision":[{"type":"deny"}]"#),
        "Consent.provision.provision[0].provision NotExpressible",
    );
}

#[test]
fn a_ready_made_policy_is_itself_or_refused() {
    let policy = |code: &str, rest: &str| {
        format!(r#""policy":[{{"uri":"https://profiles.ihe.net/ITI/PCF/{code}"}}]{rest}"#)
    };
    for one in Policy::ALL {
        check(
            &policy(one.code(), ""),
            &without_id(&one.consent(Hex([0; 16]))),
        );
    }
    check(
        &policy(
            "Policy-deny",
            r#","provision":{"type":"deny","actor":[TO:Organization/f001]}"#,
        ),
        "Consent.provision NotThePolicy",
    );
    check(
        &policy("Policy-deny", r#","provision":{}"#),
        "Consent.provision.type Missing",
    );
    check(
        &policy("Policy-other", ""),
        "Consent.policy[0].uri UnknownPolicy",
    );
    check(
        r#""policy":[{"uri":"http://example.org/policy"}],"provision":{"type":"deny"}"#,
        "Consent.policy[0].uri UnknownPolicy",
    );
}

#[test]
fn what_is_not_understood_is_refused() {
    let with = |root: &str| format!(r#"{OPT_OUT},"provision":{{{root}}}"#);
    let extension = r#"[{"url":"http://example.org/x","valueBoolean":true}]"#;
    check(
        &format!(r#"{OPT_OUT},"extension":{extension}"#),
        "Consent.extension Extension",
    );
    check(
        &format!(r#"{OPT_OUT},"modifierExtension":{extension}"#),
        "Consent.modifierExtension Extension",
    );
    check(
        &with(&format!(r#""extension":{extension}"#)),
        "Consent.provision.extension Extension",
    );
    check(
        &with(&format!(r#""modifierExtension":{extension}"#)),
        "Consent.provision.modifierExtension Extension",
    );
    check(
        &with(&format!(
            r#""type":"deny","_type":{{"extension":{extension}}}"#
        )),
        "Consent.provision.type Extension",
    );
    check(
        &with(r#""purpose":[FOR:TREAT,FOR:CURIOSITY]"#),
        "Consent.provision.purpose[1] UnknownCode",
    );
    check(
        &with(r#""purpose":[{"system":"http://example.org/purposes","code":"TREAT"}]"#),
        "Consent.provision.purpose[0] UnknownCode",
    );
    check(
        &with(r#""purpose":[{"code":"TREAT"}]"#),
        "Consent.provision.purpose[0].system Missing",
    );
    check(
        &with(r#""securityLabel":[LABEL:SPI]"#),
        "Consent.provision.securityLabel[0] UnknownCode",
    );
    check(
        &with(r#""actor":[TO:Group/1]"#),
        "Consent.provision.actor[0].reference Unresolved",
    );
    check(
        &with(r##""actor":[TO:#role]"##),
        "Consent.provision.actor[0].reference Unresolved",
    );
    check(
        &with(r#""actor":[TO:Organization/f001,TO:Practitioner/f204]"#),
        "Consent.provision.actor NotExpressible",
    );
    check(
        &with(r#""class":[{"system":"http://hl7.org/fhir/resource-types","code":"Observation"}]"#),
        "Consent.provision.class[0] UnknownCode",
    );
    check(
        &with(r#""code":[{"text":"anything"}]"#),
        "Consent.provision.code NotExpressible",
    );
    check(
        &with(r#""data":[{"meaning":"instance","reference":{"reference":"Observation/1"}}]"#),
        "Consent.provision.data[0].reference Unresolved",
    );
    check(
        &with(r#""period":{"start":"2020-01-02","end":"2020-01-01"}"#),
        "Consent.provision.period Time",
    );
    check(
        &format!(r#"{OPT_OUT},"implicitRules":"http://example.org""#),
        "Consent.implicitRules NotExpressible",
    );
    check(
        &format!(r#"{OPT_OUT},"verification":[{{"verified":false}}]"#),
        "Consent.verification NotExpressible",
    );
    check(
        &format!(r#"{OPT_OUT},"policy":[{{"uri":"urn:stela:policy:consent"}}]"#),
        "Consent.policy NotExpressible",
    );
    check(r#""dateTime":"2020""#, "Consent.policy Missing");
    // What R4 does not know, or not in this form, is no resource at all.
    check(
        &format!(r#"{OPT_OUT},"provisions":[]"#),
        "Consent.provisions NotR4",
    );
    check(&with(r#""type":["deny"]"#), "Consent.provision.type NotR4");
    check(
        &with(r#""type":"deny","type":"permit""#),
        "Consent.provision.type NotR4",
    );
}

#[test]
fn a_contained_role_is_read_only_when_it_says_nothing_else() {
    let with = |role: &str| {
        format!(
            r##""contained":[{{"resourceType":"PractitionerRole","id":"r",{role}"code":[{{"coding":
            [{{"system":"urn:stela:role","code":"researcher"}}]}}]}}],{OPT_OUT},
            "provision":{{"actor":[TO:#r]}}"##
        )
    };
    check(&with(""), r#""type":"deny","actor":{"role":"researcher"}"#);
    check(
        &with(r#""period":{"end":"2020"},"#),
        "Consent.provision.actor[0].reference Unresolved",
    );
    check(
        &with(r#""organization":{"reference":"Organization/f001"},"#),
        "Consent.provision.actor[0].reference Unresolved",
    );
}

#[test]
fn a_refusal_repeats_nothing_of_the_document() {
    let secret = "Jane-Roe-1970-01-01";
    for rest in [
        format!(r#"{OPT_OUT},"{secret}":1"#),
        format!(r#"{OPT_OUT},"dateTime":"{secret}""#),
        format!(r#"{OPT_OUT},"provision":{{"actor":[TO:{secret}]}}"#),
        format!(r#""policy":[{{"uri":"{secret}"}}]"#),
    ] {
        let bytes = r4_consent(&filled(&rest)).into_bytes();
        let refusal = match stela_fhir::read::<r4::Consent>(&bytes) {
            Err(refusal) => refusal,
            Ok(resource) => consent::import(&resource, Hex([0; 16]), &context()).unwrap_err(),
        };
        let outcome = stela_fhir::write(&refusal.outcome());
        let text = format!(
            "{refusal} {refusal:?} {}",
            String::from_utf8(outcome).unwrap()
        );
        assert!(!text.contains("1970") && !text.contains("Roe"), "{text}");
    }
    let huge = vec![b' '; stela_fhir::limits::DOCUMENT_BYTES_MAX + 1];
    let refusal = stela_fhir::read::<r4::Consent>(&huge).unwrap_err();
    assert_eq!(refusal.reason, Reason::TooLarge);
}
