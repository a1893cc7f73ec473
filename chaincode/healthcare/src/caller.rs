//! The caller, as the contract's rules speak about callers.

use stela_consent::{Fingerprint, Hex, Id, Organization, Requester, Role};
use stela_guest::{ContractError, Invocation, Ledger, Mode};

/// A caller with a role that this contract knows.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) organization: Organization,
    pub(crate) role: Role,
    /// For patients and devices: which patient the certificate is bound to.
    pub(crate) patient: Option<Id>,
}

impl Caller {
    pub(crate) fn of(ledger: &dyn Ledger) -> Result<Self, ContractError> {
        let caller = &ledger.invocation().caller;
        let role = caller.role.parse().map_err(|_| {
            ContractError::forbidden("your certificate has no role that this contract knows")
        })?;
        let organization = caller.organization.parse().map_err(|_| {
            ContractError::forbidden("your organization's name is not one this contract can keep")
        })?;
        let patient = caller.attribute("patient").map(str::parse).transpose();
        Ok(Self {
            fingerprint: Hex(caller.fingerprint),
            organization,
            role,
            patient: patient.map_err(|_| {
                ContractError::forbidden("the patient id in your certificate is malformed")
            })?,
        })
    }

    /// Whether the certificate says that the caller is this patient. Any organization can issue
    /// such a certificate: [`crate::patient::is`] is what counts.
    pub(crate) fn claims_patient(&self, patient: &Id) -> bool {
        self.role == Role::Patient && self.patient.as_ref() == Some(patient)
    }

    /// Whether the caller answers for the records or the privacy of this organization.
    pub(crate) fn is_officer_of(&self, organization: &Organization) -> bool {
        matches!(self.role, Role::RecordsOfficer | Role::PrivacyOfficer)
            && self.organization == *organization
    }

    pub(crate) fn requester(&self) -> Requester<'_> {
        Requester {
            fingerprint: self.fingerprint,
            organization: self.organization.as_str(),
            role: self.role,
        }
    }
}

/// Refuses to answer in a transaction what is too large to be part of one.
pub(crate) fn must_be_question(ledger: &dyn Ledger) -> Result<(), ContractError> {
    match ledger.invocation().mode {
        Mode::Evaluate => Ok(()),
        Mode::Endorse => Err(ContractError::new(
            "evaluate-only",
            "this is told to a question, and is no part of a transaction",
        )),
    }
}

pub(crate) fn transaction(invocation: &Invocation) -> Hex<32> {
    Hex(invocation.transaction_id)
}
