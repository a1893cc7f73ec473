//! What a server on this crate's transport answers to what is none of its messages. For the tests of
//! orderers and peers, which are such servers.

use stela_protocol::{ErrorCode, Message, RpcError};
use tonic::transport::Channel;

/// How a procedure refuses a message that need not be one of its own; the error must be typed.
pub async fn refused(
    channel: Channel,
    path: &'static str,
    message: impl Message + 'static,
) -> ErrorCode {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    let codec = tonic_prost::ProstCodec::<_, ()>::default();
    let status = client
        .unary(tonic::Request::new(message), path, codec)
        .await
        .unwrap_err();
    assert!(!status.details().is_empty(), "{status}");
    RpcError::from(status).code
}
