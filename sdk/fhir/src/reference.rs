//! Who and what references mean.
//!
//! What is written here names people, organizations, studies and records by `identifier`, in
//! systems of this ledger (`urn:stela:…`), which mean the same in every document. Other documents
//! may refer to resources of some server; whom those mean, only the caller can say.

use std::collections::BTreeMap;

use fhirkit::r4::{Identifier, Reference};
use stela_consent::{Actor, Fingerprint, Id, Organization};

use crate::code::{no_extension, optional_text, text};
use crate::refusal::{Read, Reason};

/// The patient ids of the ledger.
pub const PATIENT: &str = "urn:stela:patient";
/// Fingerprints of certificates.
pub const CERTIFICATE: &str = "urn:stela:certificate";
/// Names of member organizations.
pub const ORGANIZATION: &str = "urn:stela:organization";
/// Names of channels.
pub const CHANNEL: &str = "urn:stela:channel";
/// Ids of studies.
pub const STUDY: &str = "urn:stela:study";
/// Ids of records.
pub const RECORD: &str = "urn:stela:record";

/// What the references of a document mean, by their text (`Organization/f001`).
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// People, organizations, roles at organizations.
    pub actors: BTreeMap<String, Actor>,
    /// Records.
    pub records: BTreeMap<String, Id>,
    /// Studies.
    pub studies: BTreeMap<String, Id>,
}

pub(crate) fn literal(reference: String) -> Reference {
    Reference {
        reference: Some(reference.into()),
        ..Reference::default()
    }
}

pub(crate) fn identified(kind: Option<&str>, system: &str, value: String) -> Reference {
    Reference {
        type_: kind.map(Into::into),
        identifier: Some(Box::new(identifier(system, value))),
        ..Reference::default()
    }
}

pub(crate) fn identifier(system: &str, value: String) -> Identifier {
    Identifier {
        system: Some(system.into()),
        value: Some(value.into()),
        ..Identifier::default()
    }
}

pub(crate) fn patient(patient: &Id) -> Reference {
    literal(format!("Patient/{patient}"))
}

pub(crate) fn certificate(fingerprint: &Fingerprint) -> Reference {
    identified(None, CERTIFICATE, fingerprint.to_string())
}

pub(crate) fn organization(organization: &Organization) -> Reference {
    identified(Some("Organization"), ORGANIZATION, organization.to_string())
}

pub(crate) fn study(study: &Id) -> Reference {
    identified(Some("ResearchStudy"), STUDY, study.to_string())
}

/// The id of a record's version as a resource.
pub(crate) fn document_id(record: &Id, version: u32) -> String {
    format!("{record}.{version}")
}

pub(crate) fn document(record: &Id, version: u32) -> Reference {
    literal(format!(
        "DocumentReference/{}",
        document_id(record, version)
    ))
}

/// The two ways in which a reference names something.
pub(crate) enum Target<'a> {
    /// By the address of a resource.
    Literal(&'a str),
    /// By system and value.
    Identified(&'a str, &'a str),
}

/// What a reference names. Its type and its display add nothing to either way.
pub(crate) fn target<'a>(reference: &'a Reference, element: &str) -> Read<Target<'a>> {
    no_extension(&reference.extension, element)?;
    let address = optional_text(&reference.reference, format_args!("{element}.reference"))?;
    match (address, &reference.identifier) {
        (Some(address), None) => Ok(Target::Literal(address)),
        (None, Some(identifier)) => {
            let element = format!("{element}.identifier");
            no_extension(&identifier.extension, &element)?;
            let system = text(&identifier.system, format_args!("{element}.system"))?;
            let value = text(&identifier.value, format_args!("{element}.value"))?;
            Ok(Target::Identified(system, value))
        }
        (None, None) => Err(Reason::Missing.at(element)),
        (Some(_), Some(_)) => Err(Reason::NotExpressible.at(element)),
    }
}

impl Known {
    pub(crate) fn record(&self, reference: &Reference, element: &str) -> Read<Id> {
        self.id(reference, RECORD, &self.records, element)
    }

    pub(crate) fn study(&self, reference: &Reference, element: &str) -> Read<Id> {
        self.id(reference, STUDY, &self.studies, element)
    }

    fn id(
        &self,
        reference: &Reference,
        own: &str,
        known: &BTreeMap<String, Id>,
        element: &str,
    ) -> Read<Id> {
        match target(reference, element)? {
            Target::Literal(address) => known.get(address).copied(),
            Target::Identified(system, value) if system == own => value.parse().ok(),
            Target::Identified(..) => None,
        }
        .ok_or_else(|| Reason::Unresolved.at(element))
    }
}
