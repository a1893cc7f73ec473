//! What listeners are told. Payloads are JSON and carry ids only.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id};
use stela_guest::{ContractError, Ledger, json};

use crate::value::Cid;

/// `patient.registered`: [`PatientEvent`].
pub const PATIENT_REGISTERED: &str = "patient.registered";
/// `record.submitted`: [`RecordEvent`].
pub const RECORD_SUBMITTED: &str = "record.submitted";
/// `record.amended`: [`AmendEvent`].
pub const RECORD_AMENDED: &str = "record.amended";
/// `record.reviewed`, when an officer confirms a version and more are asked for: [`RecordEvent`].
pub const RECORD_REVIEWED: &str = "record.reviewed";
/// `record.confirmed`: [`ReviewEvent`].
pub const RECORD_CONFIRMED: &str = "record.confirmed";
/// `record.rejected`: [`ReviewEvent`].
pub const RECORD_REJECTED: &str = "record.rejected";
/// `record.erased`: [`EraseEvent`].
pub const RECORD_ERASED: &str = "record.erased";
/// `erasure.requested`: [`ErasureEvent`].
pub const ERASURE_REQUESTED: &str = "erasure.requested";
/// `erasure.declined`: [`ErasureEvent`].
pub const ERASURE_DECLINED: &str = "erasure.declined";
/// `erasure.proposed`, as unlawful, to the privacy officers of other organizations:
/// [`ErasureEvent`].
pub const ERASURE_PROPOSED: &str = "erasure.proposed";
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
/// `patient.rebinding`, an alert: [`RebindingEvent`].
pub const PATIENT_REBINDING: &str = "patient.rebinding";
/// `patient.rebinding-cancelled`: [`CertificateEvent`].
pub const PATIENT_REBINDING_CANCELLED: &str = "patient.rebinding-cancelled";
/// `certificate.added`: [`CertificateEvent`].
pub const CERTIFICATE_ADDED: &str = "certificate.added";
/// `certificate.removed`: [`CertificateEvent`].
pub const CERTIFICATE_REMOVED: &str = "certificate.removed";
/// `delegate.named`: [`DelegationEvent`].
pub const DELEGATE_NAMED: &str = "delegate.named";
/// `delegation.ended`: [`DelegationEvent`].
pub const DELEGATION_ENDED: &str = "delegation.ended";
/// `delegation.activated`, an alert: [`DelegationEvent`].
pub const DELEGATION_ACTIVATED: &str = "delegation.activated";
/// `key.registered`, an owner's first encryption key: [`KeyEvent`].
pub const KEY_REGISTERED: &str = "key.registered";
/// `key.rotated`, another one in its place: [`KeyEvent`].
pub const KEY_ROTATED: &str = "key.rotated";
/// `consent.requested`: [`ConsentRequestEvent`].
pub const CONSENT_REQUESTED: &str = "consent.requested";
/// `consent.request-answered`: [`ConsentRequestEvent`].
pub const CONSENT_REQUEST_ANSWERED: &str = "consent.request-answered";
/// `consent.request-withdrawn`: [`ConsentRequestEvent`].
pub const CONSENT_REQUEST_WITHDRAWN: &str = "consent.request-withdrawn";
/// `emergency.accessed`, for the patient, her privacy officers and whoever is on call with the
/// key: [`EmergencyEvent`].
pub const EMERGENCY_ACCESSED: &str = "emergency.accessed";
/// `emergency.reviewed`: [`EmergencyEvent`].
pub const EMERGENCY_REVIEWED: &str = "emergency.reviewed";
/// `study.registered`: [`StudyEvent`].
pub const STUDY_REGISTERED: &str = "study.registered";
/// `study.ended`, before its time: [`StudyEvent`].
pub const STUDY_ENDED: &str = "study.ended";
/// `study.enrolled`, which does not say whom: [`StudyEvent`].
pub const STUDY_ENROLLED: &str = "study.enrolled";
/// `study.withdrawn`, which does not say who: [`StudyEvent`].
pub const STUDY_WITHDRAWN: &str = "study.withdrawn";
/// `device.bound`: [`DeviceEvent`].
pub const DEVICE_BOUND: &str = "device.bound";
/// `device.released`: [`DeviceEvent`].
pub const DEVICE_RELEASED: &str = "device.released";
/// `vital-signs.gap`, observations of the device are missing: [`WindowEvent`].
pub const VITAL_SIGNS_GAP: &str = "vital-signs.gap";
/// `vital-signs.alert`, a value outside the patient's thresholds: [`WindowEvent`].
pub const VITAL_SIGNS_ALERT: &str = "vital-signs.alert";

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

/// About an amendment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmendEvent {
    /// The patient.
    pub patient: Id,
    /// The record.
    pub record: Id,
    /// The new version.
    pub version: u32,
    /// The version that it replaces once it is confirmed; none when none was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u32>,
}

/// About the erasure of a record that did not happen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureEvent {
    /// The patient.
    pub patient: Id,
    /// The record.
    pub record: Id,
}

/// About an erased record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseEvent {
    /// The patient.
    pub patient: Id,
    /// The record.
    pub record: Id,
    /// Where the ciphertexts of its versions were: to let go. At most
    /// [`crate::limits::VERSIONS_MAX`]; one that another record names is left out, so that nobody
    /// takes a blob from others by naming it in a record of her own.
    pub cids: Vec<Cid>,
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

/// About a certificate of a patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEvent {
    /// The patient.
    pub patient: Id,
    /// The certificate.
    pub certificate: Fingerprint,
}

/// About a certificate that is to be a patient's in place of those that she lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebindingEvent {
    /// The patient.
    pub patient: Id,
    /// The certificate.
    pub certificate: Fingerprint,
    /// From when on it counts, unless it is cancelled before.
    pub from: u64,
}

/// About a delegation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationEvent {
    /// The patient.
    pub patient: Id,
    /// The delegate's certificate.
    pub delegate: Fingerprint,
    /// The delegation.
    pub delegation: Id,
    /// From when on it counts, when that is known and it was not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

/// About an encryption key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEvent {
    /// Its owner's certificate.
    pub certificate: Fingerprint,
    /// The owner's patient id, when the owner is a patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<Id>,
}

/// About a request for consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRequestEvent {
    /// The patient.
    pub patient: Id,
    /// The request.
    pub request: Id,
    /// The consent that was granted in answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Id>,
}

/// About an emergency access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyEvent {
    /// The patient.
    pub patient: Id,
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// The transaction that permitted it.
    pub request: Hex<32>,
}

/// About a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyEvent {
    /// The study.
    pub study: Id,
}

/// About a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEvent {
    /// The patient.
    pub patient: Id,
    /// The device's certificate.
    pub device: Fingerprint,
}

/// About a window of observations: neither a value nor a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowEvent {
    /// The patient.
    pub patient: Id,
    /// The record that is the window.
    pub record: Id,
    /// The device's certificate.
    pub device: Fingerprint,
}

pub(crate) fn set<T: Serialize>(
    ledger: &mut dyn Ledger,
    name: &str,
    payload: &T,
) -> Result<(), ContractError> {
    ledger.set_event(name, &json::encode(payload)?);
    Ok(())
}
