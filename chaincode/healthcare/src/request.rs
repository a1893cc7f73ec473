//! What each function takes: field by field, unknown ones are refused.

use serde::{Deserialize, Serialize};
use stela_consent::{
    Category, Confidentiality, Consent, Fingerprint, Hex, Id, Organization, Purpose, Role,
    SensitivityLabel,
};

use crate::value::{Cid, HeaderText, PublicKeyText, RejectReason, State};

macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }
    };
}

request! {
    /// `register_patient`.
    RegisterPatient {
        /// The caller's own id, as in her certificate.
        patient: Id,
    }
}

request! {
    /// `register_encryption_key`.
    RegisterEncryptionKey {
        /// The encoded X-Wing public key in base64 with padding. A later one replaces it.
        key: PublicKeyText,
    }
}

request! {
    /// `encryption_keys`: exactly one of `fingerprint`; `organization` with `role`; `patient`.
    EncryptionKeys {
        /// One certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<Fingerprint>,
        /// An organization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        organization: Option<Organization>,
        /// A role there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
        /// A patient.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

request! {
    /// `submit_record` and `amend_record`. The proposal carries exactly one side commitment, to the
    /// list of wrapped keys; this is stored as it is and never changes.
    SubmitRecord {
        /// The record's id.
        record: Id,
        /// 1 for a new record, one more than the newest for an amendment.
        version: u32,
        /// Whom it is about.
        patient: Id,
        /// Where the ciphertext is: a CIDv1 in base32.
        cid: Cid,
        /// What kind of record it is.
        category: Category,
        /// How confidential.
        confidentiality: Confidentiality,
        /// What makes it sensitive.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        labels: Vec<SensitivityLabel>,
        /// When what it reports took place, at most
        /// [`DATE_AHEAD_MS_MAX`](crate::limits::DATE_AHEAD_MS_MAX) after the transaction's time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        date: Option<u64>,
        /// The public header of the encryption, in hexadecimal.
        header: HeaderText,
        /// The commitment to the key.
        commitment: Hex<32>,
    }
}

request! {
    /// `confirm_record`.
    ConfirmRecord {
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
    }
}

request! {
    /// `reject_record`.
    RejectRecord {
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
        /// Why; there is no free text.
        reason: RejectReason,
    }
}

/// `grant_consent`: the consent itself; its patient is the caller.
pub type GrantConsent = Consent;

request! {
    /// `revoke_consent`.
    RevokeConsent {
        /// The patient.
        patient: Id,
        /// The consent's id.
        consent: Id,
    }
}

request! {
    /// `list_consents`.
    ListConsents {
        /// The patient.
        patient: Id,
        /// A record about her of which the caller is an author.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Id>,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

request! {
    /// `share_keys`. The proposal carries exactly one side commitment, to the list of wrapped keys.
    ShareKeys {
        /// The patient.
        patient: Id,
        /// The record's id.
        record: Id,
        /// The version whose key is wrapped.
        version: u32,
        /// For an officer who answers an emergency: whose permit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reader: Option<Fingerprint>,
    }
}

request! {
    /// `request_access`.
    RequestAccess {
        /// The patient.
        patient: Id,
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
        /// Why.
        purpose: Purpose,
        /// For which study. Then `patient` is her pseudonym in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        study: Option<Id>,
    }
}

request! {
    /// `read_grant`.
    ReadGrant {
        /// The patient; for a permit for a study, her pseudonym in it.
        patient: Id,
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
        /// The transaction that permitted; without it, the caller's newest permit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Hex<32>>,
    }
}

request! {
    /// `get_record`.
    GetRecord {
        /// The record's id.
        record: Id,
        /// The version; without it, the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    }
}

request! {
    /// `record_history`.
    RecordHistory {
        /// The record's id.
        record: Id,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

request! {
    /// `list_records`.
    ListRecords {
        /// The patient.
        patient: Id,
        /// For callers to whom a consent must open the records: why. Without it `TREAT`, or the
        /// first of the study's purposes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        /// For which study. Then `patient` is her pseudonym in it, and `author` is not stated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        study: Option<Id>,
        /// Only this kind of record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<Category>,
        /// Only records with this label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<SensitivityLabel>,
        /// Only what took place at this time or later; what states no date counts when it was
        /// submitted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Only what took place before this time, later than `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        /// Only what this certificate submitted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        author: Option<Fingerprint>,
        /// Only what this organization submitted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        organization: Option<Organization>,
        /// Only what stands there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<State>,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

impl ListRecords {
    /// All records of a patient that the contract shows to the caller.
    pub fn of(patient: Id) -> Self {
        Self {
            patient,
            purpose: None,
            study: None,
            category: None,
            label: None,
            from: None,
            to: None,
            author: None,
            organization: None,
            state: None,
            limit: None,
            bookmark: None,
        }
    }
}

request! {
    /// `audit_trail`.
    AuditTrail {
        /// The patient.
        patient: Id,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

mod device;
mod emergency;
mod erasure;
mod rights;
mod study;

pub use device::*;
pub use emergency::*;
pub use erasure::*;
pub use rights::*;
pub use study::*;
mod people;
pub use people::*;
