//! The peer of an organization.
//!
//! In the order in which a transaction passes: `gateway` collects endorsements for a client and
//! hands her envelope to the orderers; `endorser` runs the contract on a snapshot and signs;
//! `blocks` fetches blocks, [`validation`] judges them, `channel` commits them and tells who
//! waits. `admin` joins channels and installs packages, `registration` makes the peer's own
//! certificate known, `notes` records what was endorsed and is not submitted, `reconciliation` fetches side items that are missing, `comparison` and `alarm`
//! compare the state with the other peers', `scrub` looks whether what is stored is still what was
//! written, `health` says how this peer is, and [`offline`] verifies and rebuilds a ledger.
//!
//! Invariants:
//! - [`validation`] has no clock, no network and writes nothing.
//! - A block is committed whole or not at all; when it cannot be, the node ends.
//! - A channel that was halted is not served before its ledger was rebuilt.
//! - Nothing is answered to a caller who has not signed what she asks, except to other nodes, and to
//!   members how this peer is, over mutual TLS.
//! - What a contract wants to be recorded in any case is on the disk before its endorsement leaves
//!   this peer.
//! - Side items leave this peer only to organizations that their commitment names.

mod admin;
mod alarm;
mod answer;
mod backoff;
mod blocks;
mod calls;
mod channel;
mod clock;
mod comparison;
pub mod config;
mod contracts;
mod endorser;
mod gateway;
mod health;
mod integrity;
pub mod limits;
pub mod membership;
mod node;
mod notes;
mod notify;
pub mod offline;
mod orderers;
mod peer;
mod reconciliation;
mod registration;
mod remotes;
mod replays;
mod requests;
mod scrub;
pub mod validation;
mod validator;
mod verified;
mod versions;
mod workers;

pub use channel::{ChannelError, NotTaken};
pub use clock::Clock;
pub use config::{Config, ConfigFileError};
pub use contracts::{PackagesError, compile};
pub use peer::{Peer, PeerError, Stopper, Surroundings};
pub use validator::Validator;
