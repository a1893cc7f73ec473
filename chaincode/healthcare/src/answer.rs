//! What each function answers.

use serde::{Deserialize, Serialize};
use stela_consent::{
    Category, Confidentiality, Consent, Fingerprint, Hex, Id, Organization, Purpose, Role,
    SensitivityLabel, Status,
};

use crate::value::{Basis, Cid, HeaderText, PublicKeyText, RejectReason, State};

macro_rules! answer {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }
    };
}

answer! {
    /// What functions answer that only write.
    Done {}
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// What to send for the next part, when there may be one; that one may be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookmark: Option<String>,
}

answer! {
    /// A published encryption key.
    EncryptionKey {
        /// Its owner's certificate.
        fingerprint: Fingerprint,
        /// The owner's organization.
        organization: Organization,
        /// The owner's role.
        role: Role,
        /// The owner's patient id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
        /// The encoded X-Wing public key in base64.
        key: PublicKeyText,
        /// When it was published.
        time: u64,
    }
}

answer! {
    /// A consent and whether it stands.
    FiledConsent {
        /// The consent.
        consent: Consent,
        /// Whether it was revoked.
        status: Status,
        /// When it was revoked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revoked: Option<u64>,
    }
}

/// Permit or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Access is permitted.
    Permit,
    /// Access is denied.
    Deny,
}

answer! {
    /// A decision about access, as the transaction records it.
    AccessDecision {
        /// Permit or deny.
        decision: Verdict,
        /// The transaction that records it: what `read_grant` takes.
        request: Hex<32>,
        /// What it rests on.
        basis: Basis,
        /// The consent that decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Id>,
        /// The provision in it: empty for the base provision, `[i]` for exception `i`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provision: Option<Vec<u8>>,
        /// Why: `permitted`, or a code of [`stela_consent::Reason`] or of [`crate::Refusal`].
        reason: String,
        /// The delegation, when it rests on one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delegation: Option<Id>,
        /// When a permit ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<u64>,
    }
}

answer! {
    /// What the holder of a permit needs to read.
    ReadGrant {
        /// The transaction that permitted.
        request: Hex<32>,
        /// Why the record may be read.
        purpose: Purpose,
        /// When the permit ends.
        expires: u64,
        /// The study for which it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        study: Option<Id>,
        /// For a study: who the patient is, when her consent lets the study know (`RSREID`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
        /// The version's metadata.
        record: RecordVersion,
    }
}

answer! {
    /// One version of a record.
    RecordVersion {
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
        /// The newest version.
        latest: u32,
        /// Where this one stands.
        state: State,
        /// Why it was rejected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<RejectReason>,
        /// The version that it replaced, or that it replaces once it is confirmed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<u32>,
        /// The version that replaced it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced_by: Option<u32>,
        /// How the record was erased.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        erased: Option<Tombstone>,
        /// Whom it is about; for who reads for a study, her pseudonym in it.
        patient: Id,
        /// The author's certificate; for who reads for a study, zeros when it is the patient's own
        /// or her device's.
        author: Fingerprint,
        /// The author's organization.
        organization: Organization,
        /// When it was submitted.
        submitted: u64,
        /// Where the ciphertext is.
        cid: Cid,
        /// What kind of record it is.
        category: Category,
        /// How confidential.
        confidentiality: Confidentiality,
        /// What makes it sensitive.
        labels: Vec<SensitivityLabel>,
        /// When what it reports took place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        date: Option<u64>,
        /// The public header of the encryption.
        header: HeaderText,
        /// The commitment to the key.
        commitment: Hex<32>,
        /// For a device's window of observations: what anchors it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<Window>,
        /// Commitments to the lists of wrapped keys; none once the record is erased.
        wraps: Vec<Hex<32>>,
    }
}

answer! {
    /// One record in a list: its newest version, or its active one for those who see it by consent.
    RecordSummary {
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
        /// Where it stands.
        state: State,
        /// The author's certificate.
        author: Fingerprint,
        /// The submitting organization.
        organization: Organization,
        /// When it was submitted.
        submitted: u64,
        /// What kind of record it is.
        category: Category,
        /// How confidential.
        confidentiality: Confidentiality,
        /// What makes it sensitive.
        labels: Vec<SensitivityLabel>,
        /// When what it reports took place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        date: Option<u64>,
    }
}

/// What an audit entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditKind {
    /// The patient was registered.
    Registered,
    /// A version of a record was submitted.
    Submitted,
    /// An amendment of a record was submitted.
    Amended,
    /// An officer confirmed a version, and more are asked for.
    Reviewed,
    /// It was confirmed.
    Confirmed,
    /// It was rejected.
    Rejected,
    /// The patient asked for the erasure of a record.
    ErasureRequested,
    /// It was declined.
    ErasureDeclined,
    /// A privacy officer proposed the erasure of a record as unlawful.
    ErasureProposed,
    /// The record was erased.
    Erased,
    /// The patient granted a consent.
    ConsentGranted,
    /// The patient revoked it.
    ConsentRevoked,
    /// Wrapped keys were added to a version.
    KeysShared,
    /// An access was permitted.
    AccessPermitted,
    /// An access was denied.
    AccessDenied,
    /// A practitioner broke the glass.
    EmergencyAccessed,
    /// That was reviewed.
    EmergencyReviewed,
    /// The patient joined a study.
    StudyJoined,
    /// She left it.
    StudyLeft,
    /// A device was bound to her.
    DeviceBound,
    /// It was released.
    DeviceReleased,
    /// A certificate of the patient was added.
    CertificateAdded,
    /// It was removed.
    CertificateRemoved,
    /// A certificate is to be the patient's in place of those that she lost.
    Rebinding,
    /// It is not.
    RebindingCancelled,
    /// An encryption key of the patient took the place of another.
    KeyRotated,
    /// A delegate was named.
    DelegateNamed,
    /// The delegation was ended.
    DelegationEnded,
    /// An executor's delegation was activated.
    DelegationActivated,
    /// The patient was asked for a consent.
    ConsentRequested,
    /// She declined.
    ConsentDeclined,
    /// Who asked took it back.
    ConsentRequestWithdrawn,
}

answer! {
    /// One entry of a patient's audit trail.
    AuditEntry {
        /// What it is about.
        event: AuditKind,
        /// When the transaction was made.
        time: u64,
        /// The transaction.
        transaction: Hex<32>,
        /// Who did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Fingerprint>,
        /// Their organization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        organization: Option<Organization>,
        /// Their role.
        role: Role,
        /// The record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Id>,
        /// Its version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// The consent that was granted or revoked, or that decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Id>,
        /// The provision that decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provision: Option<Vec<u8>>,
        /// What a decision rests on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        basis: Option<Basis>,
        /// Why access was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        /// Why it was decided so, why a version was rejected, why the glass was broken, or what the
        /// review of that found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The delegation that was named, ended or activated, or under which a delegate acted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delegation: Option<Id>,
        /// The other certificate that it is about: one that was added, removed or rebound, a
        /// delegate's, that of the owner of a key, that of the reader of a reviewed emergency, or a
        /// device's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<Fingerprint>,
        /// The request for consent that was made, answered or withdrawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent_request: Option<Id>,
        /// The study for which access was asked, or that the patient joined or left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        study: Option<Id>,
        /// The transaction that permitted a reviewed emergency.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Hex<32>>,
        /// For a denied access that its requester did not have committed: the organization whose
        /// peer noted it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        noted_by: Option<Organization>,
    }
}

mod device;
mod emergency;
mod erasure;
mod review;
mod rights;
mod study;

pub use device::*;
pub use emergency::*;
pub use erasure::*;
pub use review::*;
pub use rights::*;
pub use study::*;
mod people;
pub use people::*;
