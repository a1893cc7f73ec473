//! What the tests share.

use stela_consent::{Actor, Hex, Organization, Policy};
use stela_fhir::consent::Context;
use stela_fhir::reference::Known;
use time::UtcOffset;

pub(crate) fn organization(name: &str) -> Organization {
    name.parse().unwrap()
}

/// A consortium that offers care, payment and operations by everybody, and knows some references.
pub(crate) fn context() -> Context {
    let good_health = Actor::Organization(organization("GoodHealth"));
    let actors = [
        ("Organization/f001", good_health),
        ("Practitioner/f204", Actor::Identity(Hex([0xf2; 32]))),
        ("Practitioner/13", Actor::Identity(Hex([0x13; 32]))),
    ];
    Context {
        known: Known {
            actors: actors
                .into_iter()
                .map(|(text, actor)| (text.to_owned(), actor))
                .collect(),
            ..Known::default()
        },
        offered: Some(Policy::AllNormal),
        zone: UtcOffset::UTC,
    }
}
