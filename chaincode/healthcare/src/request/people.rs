//! Requests about a patient's certificates, her delegates, and consents asked of her.

use serde::{Deserialize, Serialize};
use stela_consent::{Consent, Fingerprint, Id};

use crate::value::{Answer, ConsentReason, DelegateKind, DelegateScope};

request! {
    /// `add_certificate`, `remove_certificate`, `rebind_patient` and `cancel_rebinding`.
    OwnCertificate {
        /// The patient.
        patient: Id,
        /// SHA-256 of the certificate.
        certificate: Fingerprint,
    }
}

request! {
    /// `list_certificates`.
    ListCertificates {
        /// The patient.
        patient: Id,
    }
}

request! {
    /// `name_delegate`.
    NameDelegate {
        /// The patient.
        patient: Id,
        /// The delegation's id.
        delegation: Id,
        /// Whose certificate may act for her.
        delegate: Fingerprint,
        /// In which right.
        kind: DelegateKind,
        /// What for: at least one, none twice.
        scope: Vec<DelegateScope>,
        /// When it ends; for a guardian of a minor when she comes of age.
        until: u64,
    }
}

request! {
    /// `end_delegation` and `activate_delegation`.
    Delegation {
        /// The patient.
        patient: Id,
        /// The delegate's certificate.
        delegate: Fingerprint,
        /// The delegation's id.
        delegation: Id,
    }
}

request! {
    /// `list_delegates`.
    ListDelegates {
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

request! {
    /// `grant_consent_for`.
    GrantConsentFor {
        /// The patient.
        patient: Id,
        /// The consent.
        consent: Consent,
    }
}

request! {
    /// `encryption_key_history`.
    EncryptionKeyHistory {
        /// The owner's certificate.
        fingerprint: Fingerprint,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

request! {
    /// `request_consent`. The proposal may carry one side commitment, to an encrypted note for the
    /// patient.
    RequestConsent {
        /// The patient.
        patient: Id,
        /// The request's id.
        request: Id,
        /// The consent that is asked for: a permit for the caller, for her role at her
        /// organization, for her organization, or for a study.
        consent: Consent,
        /// Why; free text is in the note.
        reason: ConsentReason,
        /// Until when it can be answered.
        expires: u64,
    }
}

request! {
    /// `answer_consent_request`.
    AnswerConsentRequest {
        /// The patient.
        patient: Id,
        /// The request.
        request: Id,
        /// Her answer.
        decision: Answer,
        /// What she consents to, within what was asked for; without it, all of that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Consent>,
    }
}

request! {
    /// `withdraw_consent_request`.
    WithdrawConsentRequest {
        /// The patient.
        patient: Id,
        /// The request.
        request: Id,
    }
}

request! {
    /// `list_consent_requests`.
    ListConsentRequests {
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
