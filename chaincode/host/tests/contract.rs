//! The contract's tests, with every invocation both natively and in WebAssembly.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "../../healthcare/tests/mod.rs"]
mod contract;
mod support;
mod twin;

use twin::invoke;
