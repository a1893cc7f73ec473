//! The ordering service.
//!
//! An envelope passes [`admission`], waits in [`pending`], is cut into a block ([`cutter`]) by the
//! leader and ordered by Raft; the [`chain`] applies it, gathers the orderers' signatures and makes
//! it deliverable. All of that is a state machine without clock, network or thread, which a
//! [`driver`] feeds; [`node`] holds the channels of one process, [`links`] connects it to the other
//! orderers, and [`services`] are what others call.
//!
//! Raft's log *is* the block store ([`layout`]): there is one durable copy of a block's bytes, and
//! what is committed is never deleted. The log's start moves on; whoever has fallen behind it
//! fetches blocks and verifies them. Each block is judged by the configuration before it
//! ([`configurations`]), and a change of the configuration adds and removes orderers.
//!
//! Ordering tolerates crashes, not lies: a minority of orderers may be down, but an orderer that
//! signs what it should not is found out by nobody here. Peers verify everything else.

pub mod admission;
pub mod blocks;
pub mod chain;
pub mod channel;
pub mod codec;
pub mod configurations;
pub mod cutter;
pub mod driver;
pub mod layout;
pub mod limits;
pub mod links;
pub mod log;
mod logging;
pub mod node;
pub mod pending;
pub mod services;
pub mod settings;
mod signatures;
mod streams;

pub use logging::{init as init_logging, raft_logger};

#[cfg(test)]
#[path = "../tests/consortium/mod.rs"]
mod consortium;
