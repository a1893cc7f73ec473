//! The people of the demonstration: roles, no names.

use std::collections::BTreeMap;

use crate::materials::User;
use crate::topology::ORGANIZATIONS;

fn user(organization: &'static str, name: &'static str, role: &'static str) -> User {
    User {
        organization,
        name,
        role,
        attributes: BTreeMap::new(),
    }
}

/// The author of the record.
pub fn author() -> User {
    user("HospitalA", "practitioner", "practitioner")
}

/// Who reviews it.
pub fn officer() -> User {
    user("HospitalA", "records-officer", "records-officer")
}

/// Who is given a consent.
pub fn reader() -> User {
    user("HospitalB", "practitioner", "practitioner")
}

/// Who is not.
pub fn stranger() -> User {
    user("HospitalC", "practitioner", "practitioner")
}

/// The records officer of a hospital that takes no part; the verifier looks through her gateway.
pub fn observer() -> User {
    user("HospitalC", "records-officer", "records-officer")
}

/// The patient, under a random id.
pub fn patient(id: stela_consent::Id) -> User {
    let attributes = BTreeMap::from([("patient".to_owned(), id.to_string())]);
    User {
        attributes,
        ..user("HospitalA", "patient", "patient")
    }
}

/// Who asks the patient for a consent.
pub fn consultant() -> User {
    user("HospitalC", "practitioner-2", "practitioner")
}

/// Who breaks the glass.
pub fn physician() -> User {
    user("HospitalC", "emergency-physician", "practitioner")
}

/// Who reviews that, at the patient's hospital.
pub fn privacy_officer() -> User {
    user("HospitalA", "privacy-officer", "privacy-officer")
}

/// The privacy officer who registers the study.
pub fn sponsor() -> User {
    user("HospitalB", "privacy-officer", "privacy-officer")
}

/// Who investigates in the study.
pub fn investigator() -> User {
    user("HospitalB", "researcher", "researcher")
}

/// Another patient of the same hospital, whose vital signs are monitored too.
pub fn second_patient(id: stela_consent::Id) -> User {
    User {
        name: "patient-2",
        ..patient(id)
    }
}

/// A second practitioner at each hospital; they are there to try things with.
fn colleagues() -> impl Iterator<Item = User> {
    let colleague = |organization| user(organization, "practitioner-2", "practitioner");
    ORGANIZATIONS.into_iter().map(colleague)
}

/// Everybody who takes part in the demonstration, with the patient and the second one.
pub fn cast([first, second]: [stela_consent::Id; 2]) -> Vec<User> {
    let mut cast = everybody(first);
    cast.extend([
        physician(),
        privacy_officer(),
        sponsor(),
        investigator(),
        second_patient(second),
    ]);
    cast
}

/// The people of any network, with this patient.
pub fn everybody(id: stela_consent::Id) -> Vec<User> {
    let other_officer = user("HospitalB", "records-officer", "records-officer");
    let mut everybody = vec![
        author(),
        officer(),
        reader(),
        stranger(),
        observer(),
        patient(id),
        other_officer,
    ];
    everybody.extend(colleagues());
    everybody
}
