//! What the transport refuses by itself, answered as everything else is.

use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};

use stela_protocol::{ErrorCode, RpcError};

/// Gives a refusal of the transport (a frame over the limit, bytes that are no such message, an
/// unknown procedure) the `ErrorDetail` that every error has. Its gRPC code stays.
pub(super) fn typed(mut answer: Response<Body>) -> Response<Body> {
    let refused = Status::from_header_map(answer.headers())
        .filter(|status| status.code() != Code::Ok && status.details().is_empty());
    if let Some(refused) = refused {
        let detail = Status::from(meaning(&refused)).details().to_vec();
        let typed = Status::with_details(refused.code(), refused.message(), detail.into());
        // Headers that cannot be written leave the bare refusal, which is an error all the same.
        let _ = typed.add_header(answer.headers_mut());
    }
    answer
}

/// To the transport it is an internal error that a request cannot be decoded; services always say
/// what they mean by a detail of their own.
fn meaning(refused: &Status) -> RpcError {
    let mut error = RpcError::from(refused);
    if refused.code() == Code::Internal {
        error.code = ErrorCode::Malformed;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: Status) -> RpcError {
        let code = status.code();
        let answer = typed(status.into_http());
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), code);
        assert!(!status.details().is_empty());
        RpcError::from(status)
    }

    #[test]
    fn refusals_of_the_transport_get_a_detail() {
        let check = |status: Status, code| {
            let message = status.message().to_owned();
            let error = answered(status);
            assert_eq!((error.code, error.message), (code, message));
        };
        let too_large = "decoded message length too large";
        check(Status::out_of_range(too_large), ErrorCode::TooLarge);
        check(Status::internal("no such field"), ErrorCode::Malformed);
        check(Status::unimplemented(""), ErrorCode::Malformed);
    }

    #[test]
    fn what_a_service_said_stays_as_it_is() {
        let error = RpcError::new(ErrorCode::Internal, "why").from_origin("HospitalA/peer0");
        assert_eq!(answered(error.clone().into()), error);
        let good = typed(Response::new(Body::empty()));
        assert!(good.headers().is_empty());
    }
}
