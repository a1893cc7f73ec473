//! What is refused, where, and why.

use std::fmt;

use fhirkit::r4::{OperationOutcome, OperationOutcomeIssue};
use stela_consent::ConsentError;

use crate::limits::ELEMENT_CHARS_MAX;

/// A document that is not taken over. It names the first element that stood in the way and never
/// repeats what the document says there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{element}: {reason}")]
pub struct Refusal {
    /// The element, as a FHIRPath: `Consent.provision.actor[0].role`.
    pub element: String,
    /// Why.
    pub reason: Reason,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It has more bytes than are read.
    #[error("the document is too large")]
    TooLarge,
    /// It is no JSON, or no resource of the kind that was asked for as R4 defines it.
    #[error("this is not valid FHIR R4")]
    NotR4,
    /// An element that R4 leaves out at will, and that is needed here.
    #[error("this is needed")]
    Missing,
    /// The consent is a draft, was rejected, or is no longer in force.
    #[error("only an active consent is taken over")]
    NotActive,
    /// A code or a code system that is not known here.
    #[error("this code is not known")]
    UnknownCode,
    /// A policy that is not known here.
    #[error("this policy is not known")]
    UnknownPolicy,
    /// An extension that is not known here: it might change who may read.
    #[error("extensions are not understood")]
    Extension,
    /// A reference to somebody or something that the caller does not know.
    #[error("it is not known whom or what this means")]
    Unresolved,
    /// An assent to terms that stand in no resource, and the caller has named no terms that were
    /// offered.
    #[error("it is not known which terms this assents to")]
    UnknownTerms,
    /// More than the terms that were offered.
    #[error("this goes beyond the terms that were offered")]
    BeyondTerms,
    /// A consent for a ready-made policy that says something else.
    #[error("this is not what the policy says")]
    NotThePolicy,
    /// Something that a consent here cannot say.
    #[error("consents here cannot say this")]
    NotExpressible,
    /// A date that lies outside what can be kept, or a period that ends before it starts.
    #[error("this date or period cannot be kept")]
    Time,
    /// The consent that would come out is not well formed.
    #[error(transparent)]
    Consent(#[from] ConsentError),
}

impl Reason {
    pub(crate) fn at(self, element: impl fmt::Display) -> Refusal {
        let mut element = element.to_string();
        // A path has names from the standard, and one from the document when that is unknown.
        let known = |c: char| c.is_ascii_alphanumeric() || ".[]_".contains(c);
        let end = element.find(|c| !known(c)).unwrap_or(element.len());
        element.truncate(end.min(ELEMENT_CHARS_MAX));
        Refusal {
            element,
            reason: self,
        }
    }

    /// The code of the value set `issue-type`.
    fn issue_type(&self) -> &'static str {
        match self {
            Self::TooLarge => "too-long",
            Self::NotR4 => "structure",
            Self::Missing => "required",
            Self::UnknownCode => "code-invalid",
            Self::Extension => "extension",
            Self::Unresolved => "not-found",
            Self::Time => "value",
            Self::NotActive | Self::BeyondTerms | Self::NotThePolicy | Self::Consent(_) => {
                "business-rule"
            }
            Self::UnknownPolicy | Self::UnknownTerms | Self::NotExpressible => "not-supported",
        }
    }
}

impl Refusal {
    /// The refusal as FHIR's own answer.
    pub fn outcome(&self) -> OperationOutcome {
        OperationOutcome {
            issue: vec![OperationOutcomeIssue {
                severity: Some("error".into()),
                code: Some(self.reason.issue_type().into()),
                diagnostics: Some(self.reason.to_string().into()),
                expression: vec![self.element.clone().into()],
                ..OperationOutcomeIssue::default()
            }],
            ..OperationOutcome::default()
        }
    }
}

/// The result of reading.
pub(crate) type Read<T> = Result<T, Refusal>;
