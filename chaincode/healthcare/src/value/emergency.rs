//! The codes of emergency access and of refusals that no consent gives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stela_consent::Reason;

use super::TextError;

/// Why the glass is broken; what there is to say about it stands in the encrypted justification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmergencyReason {
    /// Her life is at risk.
    LifeThreatening,
    /// She cannot answer, and what she has decides about her treatment.
    Unresponsive,
    /// Treatment cannot wait until she, or who acts for her, can be asked.
    UrgentTreatment,
    /// Somebody else is in danger.
    HarmToOthers,
    /// A disaster, in which there is no time to ask anybody.
    Disaster,
}

impl EmergencyReason {
    /// Every one.
    pub const ALL: &'static [Self] = &[
        Self::LifeThreatening,
        Self::Unresponsive,
        Self::UrgentTreatment,
        Self::HarmToOthers,
        Self::Disaster,
    ];
}

/// What the review of an emergency access found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// There was reason to break the glass.
    Justified,
    /// There was none.
    Unjustified,
}

impl Finding {
    /// Every one.
    pub const ALL: &'static [Self] = &[Self::Justified, Self::Unjustified];
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $explanation:literal;)+) => {
        /// Why access is denied when it is not for the consents to say.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Refusal {
            $($(#[$doc])* $variant,)+
        }

        impl Refusal {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it is written.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The reason as a sentence for a person.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => $explanation,)+
                }
            }
        }
    };
}

refusals! {
    /// An earlier emergency access waits longer for its review than it may.
    ReviewOverdue = "review-overdue",
        "an earlier emergency access has not been reviewed in time";
    /// The study is over.
    StudyEnded = "study-ended", "the study has ended";
    /// The requester is no investigator of the study.
    NotInvestigator = "not-investigator", "you are no investigator of the study";
    /// The purpose is none of the study's.
    StudyPurpose = "study-purpose", "the study is not for this purpose";
    /// The record is more confidential than the study may see, has a label or is of a category that
    /// it may not.
    StudyScope = "study-scope", "the study does not extend to this record";
    /// No patient takes part in the study under this pseudonym, or the record is not about her.
    NotEnrolled = "not-enrolled", "the record is about nobody with this pseudonym in the study";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// Why access is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DenyReason {
    /// The consents say so; every reason but the one that permits.
    Consents(Reason),
    /// It is not for them to say.
    Refusal(Refusal),
}

impl DenyReason {
    /// The code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Consents(reason) => reason.code(),
            Self::Refusal(refusal) => refusal.code(),
        }
    }

    /// The reason as a sentence for a person.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Consents(reason) => reason.explanation(),
            Self::Refusal(refusal) => refusal.explanation(),
        }
    }
}

impl FromStr for DenyReason {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refusal = Refusal::ALL.iter().find(|one| one.code() == text);
        let consents = text.parse().ok().filter(|one| *one != Reason::Permitted);
        consents
            .map(Self::Consents)
            .or(refusal.copied().map(Self::Refusal))
            .ok_or(TextError("expected the code of a reason to deny"))
    }
}

impl TryFrom<String> for DenyReason {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<DenyReason> for String {
    fn from(reason: DenyReason) -> Self {
        reason.code().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_to_deny_is_a_code_that_denies() {
        for code in ["actor", "revoked", "review-overdue", "not-enrolled"] {
            assert_eq!(code.parse::<DenyReason>().unwrap().code(), code);
        }
        for bad in ["", "permitted", "because", "Actor"] {
            assert!(bad.parse::<DenyReason>().is_err(), "{bad}");
        }
    }
}
