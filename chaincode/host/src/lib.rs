//! Runs untrusted contracts in WebAssembly.
//!
//! [`Runtime::install`] checks and compiles a package, [`Contract::invoke`] runs it over a
//! [`StateView`] and returns what an endorser signs: the read-write set, the answer and the events.
//! This crate names no gRPC and no database; it has no clock but the backstop's, and nothing of it
//! reaches a contract.
//!
//! # Why every peer finds the same
//! A contract's only imports are those of `chaincode.wit`; there is no WASI. NaNs are
//! canonicalized; threads, 64-bit memories, SIMD and every proposal that is not needed are off.
//! Fuel is counted by instruction and by byte moved, so the limit falls on the same instruction
//! everywhere. What may differ from machine to machine (the epoch deadline, the depth of the native
//! stack) can only refuse an answer, never change one.
//!
//! # Why a contract cannot harm the peer
//! Every invocation has a fresh instance, from a pool whose memory is cleared between uses. Memory,
//! tables, stack, fuel, host calls, keys, values, ranges, events, log lines and the answer are
//! bounded ([`RuntimeLimits`]). Whatever ends an invocation early, nothing of it remains: writes
//! exist only in the [`Execution`] that success returns. Compilation is bounded in size and time,
//! and can be done by another process that shares the cache's folder ([`Runtime::precompile`]).

mod abort;
mod bindings;
mod cache;
mod compile;
mod contract;
mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod invocation;
pub mod limits;
mod package;
mod recorder;
mod runtime;
mod view;

pub use cache::CacheError;
pub use contract::{Contract, InvokeError};
pub use invocation::{
    AbsenceCall, Caller, ContractError, Execution, Invocation, LogLevel, LogLine, Mode,
};
pub use limits::RuntimeLimits;
pub use package::{PackageError, componentize};
pub use runtime::{InstallError, Runtime, RuntimeError};
pub use view::{KeyVersion, StateError, StateView};
