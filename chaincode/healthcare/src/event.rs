//! What listeners are told. Payloads are JSON and carry ids only.

use serde::{Deserialize, Serialize};
use stela_consent::Id;
use stela_guest::{ContractError, Ledger, json};

use crate::value::Cid;

/// `patient.registered`: [`PatientEvent`].
pub const PATIENT_REGISTERED: &str = "patient.registered";
/// `record.submitted`, for amendments too: [`RecordEvent`].
pub const RECORD_SUBMITTED: &str = "record.submitted";
/// `record.confirmed`: [`ReviewEvent`].
pub const RECORD_CONFIRMED: &str = "record.confirmed";
/// `record.rejected`: [`ReviewEvent`].
pub const RECORD_REJECTED: &str = "record.rejected";
/// `consent.granted`: [`ConsentEvent`].
pub const CONSENT_GRANTED: &str = "consent.granted";
/// `consent.revoked`: [`ConsentEvent`].
pub const CONSENT_REVOKED: &str = "consent.revoked";
/// `keys.shared`: [`RecordEvent`].
pub const KEYS_SHARED: &str = "keys.shared";
/// `access.permitted`: [`RecordEvent`].
pub const ACCESS_PERMITTED: &str = "access.permitted";
/// `access.denied`: [`RecordEvent`].
pub const ACCESS_DENIED: &str = "access.denied";

/// About a patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatientEvent {
    /// The patient.
    pub patient: Id,
}

/// About a consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentEvent {
    /// The patient.
    pub patient: Id,
    /// The consent.
    pub consent: Id,
}

/// About a version of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordEvent {
    /// The patient.
    pub patient: Id,
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
}

/// About a reviewed version of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewEvent {
    /// The patient.
    pub patient: Id,
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// Where its ciphertext is: to keep for good when confirmed, to let go when rejected.
    pub cid: Cid,
}

pub(crate) fn set<T: Serialize>(
    ledger: &mut dyn Ledger,
    name: &str,
    payload: &T,
) -> Result<(), ContractError> {
    ledger.set_event(name, &json::encode(payload)?);
    Ok(())
}
