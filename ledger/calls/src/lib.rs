//! Many calls over one gRPC stream.
//!
//! A unary call of gRPC opens a stream of HTTP/2 of its own, with headers and trailers each way. The
//! few procedures that run once or more for each transaction share a stream here, and what is ready at
//! the same time shares a record of TLS and a system call. Answers come in any order. Neither side can
//! make the other hold more than [`CALLS_BYTES_MAX`](limits::CALLS_BYTES_MAX) bytes of calls and one
//! more: beyond that it is not read from.
//!
//! [`Calls`] is the caller's end, [`CallsService`] the other one.

mod caller;
pub mod limits;
mod service;
#[cfg(test)]
mod tests;

pub use caller::Calls;
pub use service::{Callee, CallsService, reply};
