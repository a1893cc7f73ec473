//! The evaluator against a slow, literal reading of its documentation.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod naive;

use naive::reference;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use stela_consent::{
    Actor, Category, Confidentiality, Consent, Hex, Id, Organization, Period, Provision,
    ProvisionType, Purpose, RecordFacts, Request, Requester, Role, SensitivityLabel, Status,
    decide,
};

const PURPOSES: [Purpose; 5] = [
    Purpose::Treat,
    Purpose::EmergencyTreat,
    Purpose::BreakGlass,
    Purpose::Coordination,
    Purpose::Research,
];
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

fn actor() -> impl Strategy<Value = Option<Actor>> {
    let organization =
        || select(&ORGANIZATIONS[..]).prop_map(|o| o.parse::<Organization>().unwrap());
    prop_oneof![
        Just(None),
        (0u8..2).prop_map(|b| Some(Actor::Identity(Hex([b; 32])))),
        (organization(), select(&ROLES[..])).prop_map(|(o, r)| Some(Actor::RoleAt(o, r))),
        organization().prop_map(|o| Some(Actor::Organization(o))),
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
        categories in prop_oneof![2 => Just(Vec::new()), 1 => subsequence(&CATEGORIES[..], 1..=2)],
        period in prop_oneof![2 => Just(None), 1 => period()],
        data_period in prop_oneof![2 => Just(None), 1 => period()],
        records in prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(record_id(), 1)],
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

fn consent() -> impl Strategy<Value = (Consent, Status)> {
    use ProvisionType::{Deny, Permit};
    let pair = |base: ProvisionType, exception: ProvisionType| {
        let exceptions = proptest::collection::vec(provision(exception), 0..3);
        (provision(base), exceptions)
    };
    let status = prop_oneof![4 => Just(Status::Active), 1 => Just(Status::Inactive)];
    (prop_oneof![pair(Permit, Deny), pair(Deny, Permit)], status).prop_map(
        |((base, exceptions), status)| {
            (
                Consent::new(Hex([0; 16]), base, exceptions).unwrap(),
                status,
            )
        },
    )
}

prop_compose! {
    fn ask()(
        fingerprint in 0u8..2,
        organization in select(&ORGANIZATIONS[..]),
        role in select(&ROLES[..]),
        purpose in select(&PURPOSES[..]),
        time_ms in 0u64..4,
        id in record_id(),
        category in select(&CATEGORIES[..]),
        confidentiality in select(&LEVELS[..]),
        labels in subsequence(&LABELS[..], 0..=2),
        date_ms in proptest::option::of(0u64..4),
    ) -> (Requester<'static>, Purpose, u64, RecordFacts) {
        let requester = Requester { fingerprint: Hex([fingerprint; 32]), organization, role };
        (requester, purpose, time_ms, RecordFacts { id, category, confidentiality, labels, date_ms })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_evaluator_agrees_with_the_reference(
        (requester, purpose, time_ms, record) in ask(),
        consents in proptest::collection::vec(consent(), 0..5),
    ) {
        let request = Request { requester, purpose, time_ms, record: &record };
        let decision = decide(&request, consents.iter().map(|(c, s)| (c, *s)));
        prop_assert_eq!(decision.permit, reference(&request, &consents));
        prop_assert_eq!(decision.consent.is_some(), decision.provision.is_some());
    }

    #[test]
    fn a_general_deny_beside_a_permit_only_ever_takes_away(
        (requester, purpose, time_ms, record) in ask(),
        consents in proptest::collection::vec(consent(), 0..4),
    ) {
        let request = Request { requester, purpose, time_ms, record: &record };
        let before = decide(&request, consents.iter().map(|(c, s)| (c, *s)));
        let deny = Consent::new(Hex([9; 16]), Provision::deny(), Vec::new()).unwrap();
        let with = consents.iter().map(|(c, s)| (c, *s)).chain([(&deny, Status::Active)]);
        prop_assert!(before.permit || !decide(&request, with).permit);
    }

    #[test]
    fn a_consent_keeps_its_json((consent, _) in consent()) {
        let json = serde_json::to_string(&consent).unwrap();
        prop_assert_eq!(serde_json::from_str::<Consent>(&json).unwrap(), consent);
    }
}
