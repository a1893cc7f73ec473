//! Answers about a patient's certificates, her delegates, and consents asked of her.

use serde::{Deserialize, Serialize};
use stela_consent::{Consent, Fingerprint, Hex, Id, Organization, Role};

use crate::value::{ConsentReason, DelegateKind, DelegateScope, PublicKeyText, RequestState};

answer! {
    /// A certificate of a patient.
    FiledCertificate {
        /// SHA-256 of the certificate.
        certificate: Fingerprint,
        /// The certificate that added it; for the first one itself, for a rebinding the officer's.
        by: Fingerprint,
        /// When it was added.
        time: u64,
        /// For a rebinding: from when on it counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Whether it counts now.
        counts: bool,
    }
}

answer! {
    /// A patient's certificates: all of them, there are only a few.
    Certificates {
        /// The certificates.
        certificates: Vec<FiledCertificate>,
    }
}

answer! {
    /// A delegation.
    FiledDelegation {
        /// Its id.
        delegation: Id,
        /// The delegate's certificate.
        delegate: Fingerprint,
        /// In which right.
        kind: DelegateKind,
        /// What for.
        scope: Vec<DelegateScope>,
        /// From when on it counts; absent for an executor's that was not activated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// When it ends.
        until: u64,
        /// Who named the delegate.
        by: Fingerprint,
        /// Their role.
        role: Role,
        /// When.
        time: u64,
        /// Whether it counts now.
        counts: bool,
    }
}

answer! {
    /// One change of a published encryption key.
    EncryptionKeyChange {
        /// The block with the transaction that made it.
        block: u64,
        /// The transaction's place in the block.
        index: u32,
        /// The transaction.
        transaction: Hex<32>,
        /// The block's time.
        time: u64,
        /// The encoded X-Wing public key in base64; absent when the key was taken away with its
        /// owner's certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<PublicKeyText>,
    }
}

answer! {
    /// A request for consent.
    FiledConsentRequest {
        /// The request's id.
        request: Id,
        /// The consent that is asked for.
        consent: Consent,
        /// Why.
        reason: ConsentReason,
        /// Until when it can be answered.
        expires: u64,
        /// Who asks.
        by: Fingerprint,
        /// Their organization.
        organization: Organization,
        /// Their role.
        role: Role,
        /// When they asked.
        time: u64,
        /// The commitment to the encrypted note beside the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Hex<32>>,
        /// Where it stands.
        state: RequestState,
        /// When it was answered or withdrawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answered: Option<u64>,
        /// The consent that was granted in answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        granted: Option<Id>,
    }
}
