//! Consents as FHIR resources.

use std::path::PathBuf;

use clap::Args;
use stela_consent::{Actor, Id, Policy};
use time::UtcOffset;

/// A consent as FHIR R4 has it, with what the document itself does not say.
#[derive(Debug, Args)]
pub(crate) struct Imported {
    /// The resource, JSON; `-` reads it from standard input.
    pub(crate) file: PathBuf,
    /// What a reference in it means, such as `Organization/f001=HospitalB`; repeatable.
    ///
    /// An organization's name, ROLE@ORGANIZATION or a certificate's fingerprint for an actor; an id
    /// for the patient, a record or a study. Needed for references to resources of some server;
    /// what `stela consent export` writes says by itself whom it means.
    #[arg(long = "means", value_parser = meaning, value_name = "REFERENCE=WHAT")]
    pub(crate) meanings: Vec<(String, Meant)>,
    /// The terms that the patient was offered, to which an R4 consent of the policy OPTIN assents.
    #[arg(long, value_name = "POLICY")]
    pub(crate) offered: Option<Policy>,
    /// How far ahead of UTC clocks are where the consent was given, such as +01:00, for dates
    /// without a time.
    #[arg(long, value_parser = offset, default_value = "+00:00", value_name = "OFFSET",
        allow_hyphen_values = true)]
    pub(crate) zone: UtcOffset,
    /// The patient, for a delegate; without it, the user herself.
    #[arg(long)]
    pub(crate) patient: Option<Id>,
    /// Show what would be granted; do not grant it. Nothing is asked of the network.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Somebody who reads.
    Actor(Actor),
    /// The patient, a record or a study.
    Id(Id),
}

fn meaning(text: &str) -> Result<(String, Meant), String> {
    // A reference may have an equals sign in it, what it means has none.
    let (reference, what) = text.rsplit_once('=').ok_or("expected REFERENCE=WHAT")?;
    if reference.is_empty() {
        return Err("expected REFERENCE=WHAT".to_owned());
    }
    let meant = match what.parse::<Id>() {
        Ok(id) => Meant::Id(id),
        Err(_) => Meant::Actor(actor(what)?),
    };
    Ok((reference.to_owned(), meant))
}

/// As for an investigator, or an organization.
fn actor(text: &str) -> Result<Actor, String> {
    match super::care::actor(text) {
        Ok(actor) => Ok(actor),
        Err(error) if text.contains('@') => Err(error),
        Err(_) => match text.parse() {
            Ok(organization) => Ok(Actor::Organization(organization)),
            Err(error) => Err(format!("{error}")),
        },
    }
}

fn offset(text: &str) -> Result<UtcOffset, String> {
    let rule = || "expected an offset such as +01:00".to_owned();
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => return Err(rule()),
    };
    let number = |text: &str| match text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<i8>().map_err(|_| rule()),
        false => Err(rule()),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(rule)?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 14 || minutes > 59 {
        return Err(rule());
    }
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).map_err(|_| rule())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_consent::{Hex, Role};

    #[test]
    fn what_references_mean_is_told_by_what_it_is() {
        let check = |text: &str, expect: Meant| {
            let (reference, meant) = meaning(text).unwrap();
            assert_eq!((reference.as_str(), meant), ("X/1?a=b", expect), "{text}");
        };
        let organization: stela_consent::Organization = "HospitalB".parse().unwrap();
        check("X/1?a=b=HospitalB", {
            Meant::Actor(Actor::Organization(organization.clone()))
        });
        check("X/1?a=b=practitioner@HospitalB", {
            Meant::Actor(Actor::RoleAt(organization, Role::Practitioner))
        });
        let fingerprint = format!("X/1?a=b={}", "ab".repeat(32));
        check(&fingerprint, Meant::Actor(Actor::Identity(Hex([0xab; 32]))));
        let id = format!("X/1?a=b={}", "cd".repeat(16));
        check(&id, Meant::Id(Hex([0xcd; 16])));
        for wrong in [
            "",
            "HospitalB",
            "=HospitalB",
            "X=",
            "X=nurse@HospitalB",
            "X=a b",
        ] {
            assert!(meaning(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets_are_signed_hours_and_minutes() {
        let check = |text: &str, seconds: i32| {
            assert_eq!(offset(text).unwrap().whole_seconds(), seconds, "{text}");
        };
        check("+00:00", 0);
        check("-03:30", -(3 * 60 + 30) * 60);
        check("+14:00", 14 * 3600);
        for wrong in [
            "", "1", "01:00", "+1:00", "+0100", "+15:00", "+01:60", "+a1:00", "-é:00",
        ] {
            assert!(offset(wrong).is_err(), "{wrong}");
        }
    }
}
