//! Errors as they cross a service boundary.

use prost::Message;
use tonic::{Code, Status};

use crate::difference::ResultDifference;
use crate::pb;

/// What kind of thing went wrong; a stable word that programs may compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the words say it; `as_str` is what travels")]
pub enum ErrorCode {
    /// The request cannot be understood.
    Malformed,
    /// A limit was exceeded.
    TooLarge,
    /// The timestamp lies outside the window.
    Expired,
    /// The same request was made before.
    Replayed,
    /// A signature does not fit.
    BadSignature,
    /// The caller's certificate is not known here.
    UnknownIdentity,
    /// The caller may not do this.
    Forbidden,
    UnknownChannel,
    UnknownContract,
    UnknownTransaction,
    NotInstalled,
    /// A change of the configuration that would be invalid.
    ConfigRefused,
    /// The contract refused the call.
    ContractRefused,
    /// The contract broke a limit or fell.
    ContractFailed,
    /// Not enough endorsers could be reached.
    EndorsersUnavailable,
    /// The endorsers found different results.
    EndorsementMismatch,
    /// No orderer took the envelope.
    OrdererUnavailable,
    /// There is more to do than can be done now.
    Overloaded,
    /// Requests of this caller were endorsed and not submitted, and are not recorded yet.
    TooManyUnrecorded,
    /// What was asked for was pruned or never existed.
    OutOfRange,
    /// It did not happen in time.
    Timeout,
    /// The node is stopping or not yet ready.
    Unavailable,
    /// The node found its own disk or state wrong and stopped serving.
    Damaged,
    /// A fault of this program.
    Internal,
}

impl ErrorCode {
    const ALL: [Self; 24] = [
        Self::Malformed,
        Self::TooLarge,
        Self::Expired,
        Self::Replayed,
        Self::BadSignature,
        Self::UnknownIdentity,
        Self::Forbidden,
        Self::UnknownChannel,
        Self::UnknownContract,
        Self::UnknownTransaction,
        Self::NotInstalled,
        Self::ConfigRefused,
        Self::ContractRefused,
        Self::ContractFailed,
        Self::EndorsersUnavailable,
        Self::EndorsementMismatch,
        Self::OrdererUnavailable,
        Self::Overloaded,
        Self::TooManyUnrecorded,
        Self::OutOfRange,
        Self::Timeout,
        Self::Unavailable,
        Self::Damaged,
        Self::Internal,
    ];

    /// The word that travels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::Replayed => "replayed",
            Self::BadSignature => "bad_signature",
            Self::UnknownIdentity => "unknown_identity",
            Self::Forbidden => "forbidden",
            Self::UnknownChannel => "unknown_channel",
            Self::UnknownContract => "unknown_contract",
            Self::UnknownTransaction => "unknown_transaction",
            Self::NotInstalled => "not_installed",
            Self::ConfigRefused => "config_refused",
            Self::ContractRefused => "contract_refused",
            Self::ContractFailed => "contract_failed",
            Self::EndorsersUnavailable => "endorsers_unavailable",
            Self::EndorsementMismatch => "endorsement_mismatch",
            Self::OrdererUnavailable => "orderer_unavailable",
            Self::Overloaded => "overloaded",
            Self::TooManyUnrecorded => "too_many_unrecorded",
            Self::OutOfRange => "out_of_range",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Damaged => "damaged",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::EndorsersUnavailable
                | Self::EndorsementMismatch
                | Self::OrdererUnavailable
                | Self::Overloaded
                | Self::TooManyUnrecorded
                | Self::Timeout
                | Self::Unavailable
        )
    }

    fn grpc(self) -> Code {
        match self {
            Self::Malformed | Self::TooLarge => Code::InvalidArgument,
            Self::BadSignature | Self::UnknownIdentity => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::Replayed => Code::AlreadyExists,
            Self::UnknownChannel | Self::UnknownContract | Self::UnknownTransaction => {
                Code::NotFound
            }
            Self::Expired | Self::NotInstalled | Self::ConfigRefused | Self::ContractRefused => {
                Code::FailedPrecondition
            }
            Self::EndorsementMismatch => Code::Aborted,
            Self::ContractFailed | Self::Overloaded | Self::TooManyUnrecorded => {
                Code::ResourceExhausted
            }
            Self::OutOfRange => Code::OutOfRange,
            Self::Timeout => Code::DeadlineExceeded,
            Self::EndorsersUnavailable | Self::OrdererUnavailable | Self::Unavailable => {
                Code::Unavailable
            }
            Self::Damaged => Code::DataLoss,
            Self::Internal => Code::Internal,
        }
    }
}

/// An error as a service answers it and as its client gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", if .origin.is_empty() { String::new() } else { format!(" (said by {origin})") })]
pub struct RpcError {
    /// What kind.
    pub code: ErrorCode,
    /// What happened and what to do, for a person; carries no secret and no health data.
    pub message: String,
    /// The node that said it, `Organization/name`; empty when it was found here.
    pub origin: String,
    /// In what endorsers differ, for [`ErrorCode::EndorsementMismatch`].
    pub differences: Box<[ResultDifference]>,
}

impl RpcError {
    /// An error found here.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            origin: String::new(),
            differences: Box::default(),
        }
    }

    /// The same error with what endorsers differ in.
    #[must_use]
    pub fn with_differences(mut self, differences: Vec<ResultDifference>) -> Self {
        self.differences = differences.into();
        self
    }

    /// The same error, said by `origin` unless another node said it first.
    #[must_use]
    pub fn from_origin(mut self, origin: &str) -> Self {
        if self.origin.is_empty() {
            origin.clone_into(&mut self.origin);
        }
        self
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }
}

impl From<RpcError> for pb::ErrorDetail {
    fn from(error: RpcError) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            retryable: error.is_retryable(),
            message: error.message,
            origin: error.origin,
            differences: error.differences.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        let code = error.code.grpc();
        let detail = pb::ErrorDetail::from(error);
        Self::with_details(code, detail.message.clone(), detail.encode_to_vec().into())
    }
}

/// An error that this program does not know by its code is a fault of the other one.
impl From<pb::ErrorDetail> for RpcError {
    fn from(detail: pb::ErrorDetail) -> Self {
        let mut known = ErrorCode::ALL.into_iter();
        let code = known.find(|code| code.as_str() == detail.code);
        Self {
            code: code.unwrap_or(ErrorCode::Internal),
            message: detail.message,
            origin: detail.origin,
            differences: ResultDifference::all(detail.differences).into(),
        }
    }
}

impl From<&Status> for RpcError {
    fn from(status: &Status) -> Self {
        let known = |detail: &pb::ErrorDetail| {
            let mut codes = ErrorCode::ALL.into_iter();
            codes.any(|code| code.as_str() == detail.code)
        };
        let detail = pb::ErrorDetail::decode(status.details());
        if let Some(detail) = detail.ok().filter(known) {
            return detail.into();
        }
        let code = match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Unknown => ErrorCode::Unavailable,
            Code::DeadlineExceeded => ErrorCode::Timeout,
            Code::ResourceExhausted | Code::OutOfRange => ErrorCode::TooLarge,
            Code::Unimplemented | Code::InvalidArgument => ErrorCode::Malformed,
            Code::PermissionDenied | Code::Unauthenticated => ErrorCode::Forbidden,
            _ => ErrorCode::Internal,
        };
        Self::new(code, status.message())
    }
}

impl From<Status> for RpcError {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_wire() {
        for code in ErrorCode::ALL {
            let error = RpcError::new(code, "what and why").from_origin("HospitalA/peer0");
            assert_eq!(RpcError::from(Status::from(error.clone())), error);
            assert_eq!(RpcError::from(pb::ErrorDetail::from(error.clone())), error);
        }
    }

    #[test]
    fn a_status_of_another_program_is_still_an_error() {
        let error = RpcError::from(Status::unavailable("connection refused"));
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "connection refused");
    }
}
