//! A patient as the ledger knows her: by a random id.

use fhirkit::r4::Patient;
use stela_consent::{Id, Organization};

use crate::reference::{self, PATIENT};

/// The patient and the organization that registered her. There is nothing else to say: no name, no
/// birth date, no address.
pub fn patient(id: &Id, registered_by: &Organization) -> Patient {
    Patient {
        id: Some(id.to_string()),
        identifier: vec![reference::identifier(PATIENT, id.to_string())],
        active: Some(true.into()),
        managing_organization: Some(reference::organization(registered_by)),
        ..Patient::default()
    }
}
