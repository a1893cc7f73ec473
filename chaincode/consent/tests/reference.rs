//! The evaluator against a slow, literal reading of its documentation.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod naive;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use naive::{Answer, reference};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use stela_consent::{
    Actor, Category, Confidentiality, Consent, Hex, Id, Organization, Period, Policy, Provision,
    ProvisionType, Purpose, RecordFacts, Request, Requester, ResearchCategory, Role,
    SensitivityLabel, Status, decide, emergency,
};

const PURPOSES: [Purpose; 6] = [
    Purpose::Treat,
    Purpose::EmergencyTreat,
    Purpose::BreakGlass,
    Purpose::Coordination,
    Purpose::Research,
    Purpose::DiseaseResearch,
];
const RESEARCH: [Purpose; 2] = [Purpose::Research, Purpose::DiseaseResearch];
const LABELS: [SensitivityLabel; 3] = [
    SensitivityLabel::Psychiatry,
    SensitivityLabel::Hiv,
    SensitivityLabel::SubstanceUse,
];
const CATEGORIES: [Category; 2] = [Category::ClinicalNote, Category::Laboratory];
const LEVELS: [Confidentiality; 4] = [
    Confidentiality::Low,
    Confidentiality::Normal,
    Confidentiality::Restricted,
    Confidentiality::VeryRestricted,
];
const ROLES: [Role; 3] = [Role::Practitioner, Role::Researcher, Role::Patient];
const ORGANIZATIONS: [&str; 2] = ["A", "B"];

fn record_id() -> impl Strategy<Value = Id> {
    (0u8..2).prop_map(|b| Hex([b; 16]))
}

fn study() -> impl Strategy<Value = Id> {
    (0x50u8..0x52).prop_map(|b| Hex([b; 16]))
}

fn actor() -> impl Strategy<Value = Option<Actor>> {
    let organization =
        || select(&ORGANIZATIONS[..]).prop_map(|o| o.parse::<Organization>().unwrap());
    prop_oneof![
        Just(None),
        (0u8..2).prop_map(|b| Some(Actor::Identity(Hex([b; 32])))),
        (organization(), select(&ROLES[..])).prop_map(|(o, r)| Some(Actor::RoleAt(o, r))),
        organization().prop_map(|o| Some(Actor::Organization(o))),
        select(&ROLES[..]).prop_map(|r| Some(Actor::Role(r))),
    ]
}

fn period() -> impl Strategy<Value = Option<Period>> {
    (proptest::option::of(0u64..4), proptest::option::of(0u64..4))
        .prop_map(|(start, end)| Period::new(start, end).ok())
}

prop_compose! {
    fn provision(kind: ProvisionType)(
        actor in actor(),
        purposes in subsequence(&PURPOSES[..], 1..=2),
        no_purpose in any::<bool>(),
        level in proptest::option::of(select(&LEVELS[..])),
        labels in prop_oneof![Just(Vec::new()), subsequence(&LABELS[..], 1..=3)],
        categories in prop_oneof![3 => Just(Vec::new()), 1 => subsequence(&CATEGORIES[..], 1..=2)],
        period in prop_oneof![3 => Just(None), 1 => period()],
        data_period in prop_oneof![3 => Just(None), 1 => period()],
        records in prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(record_id(), 1)],
    ) -> Provision {
        let permit = kind == ProvisionType::Permit;
        Provision {
            kind, actor,
            purposes: if no_purpose && !permit { Vec::new() } else { purposes },
            ceiling: level.filter(|_| permit),
            floor: level.filter(|_| !permit),
            labels, categories, period, data_period, records,
        }
    }
}

prop_compose! {
    /// A provision of a research consent.
    fn of_research(kind: ProvisionType)(
        provision in provision(kind),
        study in study(),
        purposes in subsequence(&RESEARCH[..], 1..=2),
        any_actor in any::<bool>(),
    ) -> Provision {
        let keeps = any_actor && kind == ProvisionType::Deny;
        let actor = if keeps { provision.actor } else { Some(Actor::Study(study)) };
        Provision { actor, purposes, ..provision }
    }
}

fn research() -> impl Strategy<Value = Consent> {
    use ProvisionType::{Deny, Permit};
    let pair = |base, exception| {
        let exceptions = proptest::collection::vec(of_research(exception), 0..3);
        (of_research(base), exceptions)
    };
    (
        prop_oneof![2 => pair(Permit, Deny), 1 => pair(Deny, Permit)],
        select(ResearchCategory::ALL),
    )
        .prop_map(|((base, exceptions), category)| {
            Consent::for_research(Hex([0; 16]), category, base, exceptions).unwrap()
        })
}

fn privacy() -> impl Strategy<Value = Consent> {
    use ProvisionType::{Deny, Permit};
    let pair = |base: ProvisionType, exception: ProvisionType| {
        let exceptions = proptest::collection::vec(provision(exception), 0..3);
        (provision(base), exceptions)
    };
    prop_oneof![pair(Permit, Deny), pair(Deny, Permit)]
        .prop_map(|(base, exceptions)| Consent::new(Hex([0; 16]), base, exceptions).unwrap())
}

fn consent() -> impl Strategy<Value = (Consent, Status)> {
    let status = prop_oneof![4 => Just(Status::Active), 1 => Just(Status::Inactive)];
    let policy = select(Policy::ALL).prop_map(|policy| policy.consent(Hex([0; 16])));
    (
        prop_oneof![5 => privacy(), 5 => research(), 1 => policy],
        status,
    )
}

#[derive(Debug)]
struct Ask {
    requester: Requester<'static>,
    purpose: Purpose,
    study: Option<Id>,
    time_ms: u64,
    record: RecordFacts,
}

impl Ask {
    fn request(&self) -> Request<'_> {
        Request {
            requester: self.requester,
            purpose: self.purpose,
            study: self.study,
            time_ms: self.time_ms,
            record: &self.record,
        }
    }
}

prop_compose! {
    fn ask()(
        fingerprint in 0u8..2,
        organization in select(&ORGANIZATIONS[..]),
        role in select(&ROLES[..]),
        (study, purpose) in prop_oneof![
            2 => (Just(None), select(&PURPOSES[..])),
            // Often, because most consents tie with one for a study, and a tie denies.
            4 => (study().prop_map(Some), select(&RESEARCH[..])),
            1 => (proptest::option::of(study()), select(&PURPOSES[..])),
        ],
        time_ms in 0u64..4,
        id in record_id(),
        category in select(&CATEGORIES[..]),
        confidentiality in prop_oneof![Just(Confidentiality::Normal), select(&LEVELS[..])],
        labels in prop_oneof![Just(Vec::new()), subsequence(&LABELS[..], 0..=2)],
        date_ms in proptest::option::of(0u64..4),
    ) -> Ask {
        let requester = Requester { fingerprint: Hex([fingerprint; 32]), organization, role };
        let record = RecordFacts { id, category, confidentiality, labels, date_ms };
        Ask { requester, purpose, study, time_ms, record }
    }
}

prop_compose! {
    /// How a consent is changed: to which field, and from which other consent it is taken.
    fn change()(other in prop_oneof![privacy(), research()], field in 0u8..10, pick in any::<Index>())
        -> (Consent, u8, Index) { (other, field, pick) }
}

/// The consent with one field as the other one has it, where that is well formed.
fn changed(consent: &Consent, (other, field, pick): &(Consent, u8, Index)) -> Consent {
    let mut provision = consent.provision().clone();
    let mut exceptions = consent.exceptions().to_vec();
    let mut category = consent.research();
    let theirs = other.provision().clone();
    match field {
        0 => provision.purposes = theirs.purposes,
        1 => provision.ceiling = theirs.ceiling,
        2 => provision.labels = theirs.labels,
        3 => provision.categories = theirs.categories,
        4 => provision.period = theirs.period,
        5 => provision.data_period = theirs.data_period,
        6 => provision.records = theirs.records,
        7 => category = other.research(),
        8 if !exceptions.is_empty() => drop(exceptions.remove(pick.index(exceptions.len()))),
        _ => exceptions.extend(other.exceptions().iter().cloned()),
    }
    let made = match category {
        None => Consent::new(consent.id(), provision, exceptions),
        Some(category) => Consent::for_research(consent.id(), category, provision, exceptions),
    };
    made.unwrap_or_else(|_| consent.clone())
}

fn permits(consent: &Consent, ask: &Ask) -> bool {
    decide(&ask.request(), [(consent, Status::Active)]).permit
}

/// How many consents the evaluator and the reference are compared on.
const CONSENTS: usize = 100_000;
const CONSENTS_PER_ASK: usize = 5;

/// A runner whose seed is printed; `STELA_SEED` gives the same one again.
fn runner(cases: usize) -> TestRunner {
    let seed = match std::env::var("STELA_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(0),
    };
    println!("seed {seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
}

#[test]
fn the_evaluator_agrees_with_the_reference() {
    let consents = proptest::collection::vec(consent(), CONSENTS_PER_ASK);
    let answers = RefCell::new(BTreeMap::new());
    runner(CONSENTS / CONSENTS_PER_ASK)
        .run(&(ask(), consents), |(ask, consents)| {
            for count in [1, 2, 3, CONSENTS_PER_ASK] {
                let consents = &consents[..count];
                let expected = reference(&ask.request(), consents);
                let decision = decide(&ask.request(), consents.iter().map(|(c, s)| (c, *s)));
                let de_identified = decision.research == Some(ResearchCategory::DeIdentified);
                let answer = match (decision.permit, &decision.consent) {
                    (true, _) => Answer::Permit { de_identified },
                    (false, Some(_)) => Answer::Deny,
                    (false, None) => Answer::Nothing,
                };
                prop_assert_eq!(answer, expected);
                prop_assert_eq!(decision.consent.is_some(), decision.provision.is_some());
                prop_assert!(
                    ask.study.is_none() || !decision.permit || decision.research.is_some()
                );
                *answers
                    .borrow_mut()
                    .entry(format!("{answer:?}"))
                    .or_insert(0usize) += 1;
            }
            Ok(())
        })
        .unwrap();
    let answers = answers.into_inner();
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert!(answers.values().all(|n| *n > CONSENTS / 100), "{answers:?}");
}

#[test]
fn a_consent_within_another_permits_nothing_more() {
    let strategy = (
        prop_oneof![privacy(), research()],
        proptest::collection::vec(change(), 1..4),
        proptest::collection::vec(ask(), 20),
    );
    let within = Cell::new([0usize; 2]);
    runner(CONSENTS / 20)
        .run(&strategy, |(asked, changes, asks)| {
            let own = changes
                .iter()
                .fold(asked.clone(), |own, one| changed(&own, one));
            let [mut different, mut opened] = within.get();
            if own.is_within(&asked).is_ok() {
                different += usize::from(own != asked);
                for ask in &asks {
                    opened += usize::from(permits(&own, ask));
                    prop_assert!(!permits(&own, ask) || permits(&asked, ask));
                }
            }
            within.set([different, opened]);
            Ok(())
        })
        .unwrap();
    let [different, opened] = within.get();
    assert!(different > 100 && opened > 100, "{different} {opened}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_permit_is_within_itself((consent, _) in consent()) {
        let permit = consent.provision().kind == ProvisionType::Permit;
        prop_assert_eq!(consent.is_within(&consent).is_ok(), permit);
    }

    #[test]
    fn breaking_the_glass_agrees_with_the_reference(
        ask in ask(),
        consents in proptest::collection::vec(consent(), 0..5),
    ) {
        let given = consents.iter().map(|(c, s)| (c, *s));
        let decision = emergency(ask.requester, &ask.record, ask.time_ms, given);
        prop_assert_eq!(decision.permit, naive::emergency(&ask.request(), &consents));
        prop_assert_eq!(decision.permit, decision.consent.is_none());
    }

    #[test]
    fn a_general_deny_beside_a_permit_only_ever_takes_away(
        ask in ask(),
        consents in proptest::collection::vec(consent(), 0..4),
    ) {
        let before = decide(&ask.request(), consents.iter().map(|(c, s)| (c, *s)));
        let deny = Consent::new(Hex([9; 16]), Provision::deny(), Vec::new()).unwrap();
        let with = consents.iter().map(|(c, s)| (c, *s)).chain([(&deny, Status::Active)]);
        prop_assert!(before.permit || !decide(&ask.request(), with).permit);
    }

    #[test]
    fn a_consent_keeps_its_json((consent, _) in consent()) {
        let json = serde_json::to_string(&consent).unwrap();
        prop_assert_eq!(serde_json::from_str::<Consent>(&json).unwrap(), consent);
    }
}
