//! Patients.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Organization};
use stela_guest::{ContractError, Ledger, json};

use crate::answer::{AuditKind, Done};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::event::{self, PatientEvent};
use crate::keys;
use crate::request::RegisterPatient;

/// What the state keeps of a patient.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patient {
    /// The organization that enrolled her.
    #[serde(rename = "org")]
    pub(crate) organization: Organization,
    /// The certificate with which she registered.
    #[serde(rename = "by")]
    pub(crate) certificate: Fingerprint,
}

pub(crate) fn register(
    ledger: &mut dyn Ledger,
    request: RegisterPatient,
) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    must_claim(&caller, &request.patient)?;
    let key = keys::patient(&request.patient)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("patient"));
    }
    let patient = request.patient;
    audit::write(ledger, &patient, Stored::by(AuditKind::Registered, &caller))?;
    event::set(ledger, event::PATIENT_REGISTERED, &PatientEvent { patient })?;
    let entry = Patient {
        organization: caller.organization,
        certificate: caller.fingerprint,
    };
    ledger.put(&key, &json::encode(&entry)?);
    Ok(Done {})
}

/// Whether the caller is this patient herself: the certificate says so, and it is of the
/// organization that registered her. A renewed certificate of that organization is as good.
pub(crate) fn is(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<bool, ContractError> {
    Ok(caller.claims_patient(patient)
        && caller.is_patient(patient, &load(ledger, patient)?.organization))
}

/// Refuses everybody but this patient herself.
pub(crate) fn must_be(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<(), ContractError> {
    must_claim(caller, patient)?;
    must_be_home(caller, &load(ledger, patient)?.organization)
}

/// Refuses a certificate for the patient from another organization than hers.
pub(crate) fn must_be_home(caller: &Caller, home: &Organization) -> Result<(), ContractError> {
    if caller.organization == *home {
        Ok(())
    } else {
        Err(ContractError::forbidden(
            "your certificate is not from the organization that registered the patient",
        )
        .at("patient"))
    }
}

fn must_claim(caller: &Caller, patient: &Id) -> Result<(), ContractError> {
    if caller.claims_patient(patient) {
        Ok(())
    } else {
        Err(ContractError::forbidden("only the patient herself may do this").at("patient"))
    }
}

/// A registered patient.
pub(crate) fn load(ledger: &dyn Ledger, patient: &Id) -> Result<Patient, ContractError> {
    let value = ledger
        .get(&keys::patient(patient)?)
        .ok_or_else(|| ContractError::not_found("patient"))?;
    json::stored("patient", &value)
}
