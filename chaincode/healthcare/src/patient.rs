//! Patients.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Organization};
use stela_guest::{ContractError, Ledger, json};

use crate::answer::{AuditKind, Done};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::certificate::{self, Standing};
use crate::delegate;
use crate::event::{self, PatientEvent};
use crate::keys;
use crate::request::RegisterPatient;
use crate::value::DelegateScope;

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
    certificate::register(ledger, &caller, &patient)?;
    let entry = Patient {
        organization: caller.organization,
        certificate: caller.fingerprint,
    };
    ledger.put(&key, &json::encode(&entry)?);
    Ok(Done {})
}

/// In whose right a caller acts for a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acting {
    /// She is the patient.
    Herself,
    /// The patient, or for a guardian her organization, named the caller.
    Delegate {
        /// The delegation.
        delegation: Id,
        /// When it ends.
        until_ms: u64,
    },
}

impl Acting {
    /// The delegation, for audit entries.
    pub(crate) fn delegation(self) -> Option<Id> {
        match self {
            Self::Herself => None,
            Self::Delegate { delegation, .. } => Some(delegation),
        }
    }
}

/// In whose right the caller may do what `scope` covers for this patient, if in any.
pub(crate) fn may(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
    scope: DelegateScope,
) -> Result<Option<Acting>, ContractError> {
    if is(ledger, caller, patient)? {
        return Ok(Some(Acting::Herself));
    }
    let delegation = delegate::standing(ledger, caller, patient, scope)?;
    Ok(delegation.map(|delegation| Acting::Delegate {
        delegation: delegation.id(),
        until_ms: delegation.until_ms(),
    }))
}

/// The same for a transaction, which can be committed only while the delegation lasts.
///
/// # Errors
/// `forbidden`, at `delegation.scope`, `delegation.until` or `delegation.from` for a delegate who
/// goes beyond it, otherwise at `patient`.
pub(crate) fn acting(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: &Id,
    scope: DelegateScope,
) -> Result<Acting, ContractError> {
    let Some(acting) = may(ledger, caller, patient, scope)? else {
        return Err(refusal(ledger, caller, patient, scope)?);
    };
    if let Acting::Delegate { until_ms, .. } = acting {
        ledger.expire_at(until_ms);
    }
    Ok(acting)
}

/// Why a caller to whom [`may`] answers nothing may not do this.
pub(crate) fn refusal(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
    scope: DelegateScope,
) -> Result<ContractError, ContractError> {
    if let Some(beyond) = delegate::refusal(ledger, caller, patient, scope)? {
        return Ok(beyond);
    }
    if caller.claims_patient(patient) {
        must_be(ledger, caller, patient)?;
    }
    let rule = "only the patient, or a delegate of hers, may do this";
    Ok(ContractError::forbidden(rule).at("patient"))
}

/// Whether the caller is this patient herself: the certificate says so, is of the organization
/// that registered her, and is one of those that she authorised.
pub(crate) fn is(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<bool, ContractError> {
    let claims = caller.claims_patient(patient);
    Ok(claims && certificate::standing(ledger, caller, patient)?.is_some())
}

/// How the caller's certificate is this patient's; refuses everybody else.
pub(crate) fn must_be(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<Standing, ContractError> {
    must_claim(caller, patient)?;
    if let Some(standing) = certificate::standing(ledger, caller, patient)? {
        return Ok(standing);
    }
    must_be_home(caller, &load(ledger, patient)?.organization)?;
    let rule = "the patient has not authorised your certificate, or a rebinding to it waits";
    Err(ContractError::forbidden(rule).at("patient"))
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
