//! The contract's tests, natively.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "mod.rs"]
mod contract;

use stela_healthcare::invoke;
