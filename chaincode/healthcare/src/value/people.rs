//! The codes of delegates and of requests for consent.

use serde::{Deserialize, Serialize};
use stela_consent::Purpose;

/// In which right somebody acts for a patient: HL7 `v3-RoleCode`. What each may see is in
/// the crate's documentation, *Delegates*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DelegateKind {
    /// A guardian, such as a parent of a minor.
    #[serde(rename = "GUARD")]
    Guardian,
    /// A power of attorney, which ends with the patient's capacity to decide.
    #[serde(rename = "POWATT")]
    PowerOfAttorney,
    /// A power of attorney for health care, which goes on when she cannot decide any more.
    #[serde(rename = "HPOWATT")]
    HealthcarePower,
    /// A durable power of attorney, which goes on when she cannot decide any more.
    #[serde(rename = "DPOWATT")]
    DurablePower,
    /// The executor of her estate, who acts after her death alone.
    #[serde(rename = "EXCEST")]
    Executor,
}

impl DelegateKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Guardian,
        Self::PowerOfAttorney,
        Self::HealthcarePower,
        Self::DurablePower,
        Self::Executor,
    ];

    /// The purpose (HL7 `v3-ActReason`) for which such a delegate asks for access: `FAMRQT` for a
    /// guardian, `PWATRNY` under a power of attorney, and `PATRQT` for an executor, for whom the
    /// code system has nothing narrower.
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Guardian => Purpose::FamilyRequest,
            Self::PowerOfAttorney | Self::HealthcarePower | Self::DurablePower => {
                Purpose::PowerOfAttorney
            }
            Self::Executor => Purpose::PatientRequest,
        }
    }
}

/// What a delegate may do for a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DelegateScope {
    /// Grant and revoke consents, answer requests for them, share record keys with those to whom
    /// consents open them, and join and leave studies.
    Consent,
    /// Read her records.
    Read,
    /// Use her rights: audit trail, delegates and certificates, and stopping a rebinding.
    Rights,
}

impl DelegateScope {
    /// Every scope.
    pub const ALL: &'static [Self] = &[Self::Consent, Self::Read, Self::Rights];

    /// The code as it is written.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Read => "read",
            Self::Rights => "rights",
        }
    }
}

/// Why a consent is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsentReason {
    /// The patient comes for the first time.
    NewPatient,
    /// She was referred.
    Referral,
    /// She asked for a second opinion.
    SecondOpinion,
    /// Her care moves to another place.
    Transfer,
    /// Care that was begun goes on.
    FollowUp,
    /// Several people care for her at once.
    Coordination,
    /// A study wants to enrol her.
    Study,
    /// What was done is to be paid.
    Payment,
    /// What was done is to be checked.
    Quality,
}

impl ConsentReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::NewPatient,
        Self::Referral,
        Self::SecondOpinion,
        Self::Transfer,
        Self::FollowUp,
        Self::Coordination,
        Self::Study,
        Self::Payment,
        Self::Quality,
    ];
}

/// How a patient answers a request for consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// She consents, to all of it or to a part.
    Approve,
    /// She does not.
    Decline,
}

/// Where a request for consent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestState {
    /// It waits for an answer.
    Open,
    /// It was approved.
    Approved,
    /// It was declined.
    Declined,
    /// Who asked took it back.
    Withdrawn,
    /// Nobody answered in time.
    Expired,
}
