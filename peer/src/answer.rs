//! How errors of the layers below become answers.

use stela_identity::IdentityError;
use stela_protocol::transaction::TransactionError;
use stela_protocol::{ErrorCode, IdError, RpcError};
use stela_store::StoreError;

/// What is answered when a message cannot be understood or exceeds a limit.
pub(crate) fn malformed(error: TransactionError) -> RpcError {
    let code = match error {
        TransactionError::TooLarge { .. } => ErrorCode::TooLarge,
        _ => ErrorCode::Malformed,
    };
    RpcError::new(code, error.to_string())
}

/// What is answered when a name or a hash in a request is not one.
pub(crate) fn bad_id(error: IdError) -> RpcError {
    RpcError::new(ErrorCode::Malformed, error.to_string())
}

/// What is answered when a message of the request cannot be decoded.
pub(crate) fn undecodable(what: &str, error: &prost::DecodeError) -> RpcError {
    RpcError::new(
        ErrorCode::Malformed,
        format!("the {what} cannot be decoded: {error}"),
    )
}

/// What is answered when the ledger cannot be read or written.
pub(crate) fn store(error: StoreError) -> RpcError {
    let code = match &error {
        error if error.is_retryable() => ErrorCode::Overloaded,
        StoreError::Corrupt { .. } => ErrorCode::Damaged,
        StoreError::Limit { .. } => ErrorCode::TooLarge,
        StoreError::SideMismatch(_) => ErrorCode::Malformed,
        StoreError::Stopped => ErrorCode::Unavailable,
        _ => ErrorCode::Internal,
    };
    RpcError::new(code, error.to_string())
}

/// What is answered when a known certificate is not valid now, or is not accepted.
pub(crate) fn identity(error: &IdentityError) -> RpcError {
    RpcError::new(ErrorCode::Forbidden, error.to_string())
}

/// What is answered when a signature does not fit.
pub(crate) fn bad_signature(what: &str) -> RpcError {
    RpcError::new(
        ErrorCode::BadSignature,
        format!("the signature of the {what} is not valid"),
    )
}

/// What is answered when a thread of this program fell.
pub(crate) fn fallen() -> RpcError {
    RpcError::new(
        ErrorCode::Internal,
        "the request was given up by a fault of this node",
    )
}
