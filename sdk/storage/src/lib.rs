//! A hospital's storage node: an application of the SDK that keeps the encrypted records that the
//! ledger names.
//!
//! It has a node in the consortium's private swarm: an embedded one, or an IPFS daemon beside it. Members upload by asking
//! several storage nodes to fetch a blob from their own node and to hold it under a lease
//! ([`Uploader`]); the committed and confirmed record that names the blob makes it permanent
//! ([`events`]). The node sees ciphertext only, and holds no key.
//!
//! What holds:
//! - A hold is acknowledged once the whole blob is verified and on the disk.
//! - The swarm lets in the storage nodes of the channel's configuration and the nodes that a member
//!   vouches for, for a limited time, and nobody else.
//! - A confirmed record is remembered on disk before the event's checkpoint is, and fetched until
//!   it is here: an event is never lost, and dealing with it twice changes nothing.
//! - An erased record's blobs are unpinned, and what the ledger said of them before does not bring
//!   them back; the next collection removes their blocks. Nothing else on the ledger makes a node
//!   forget a blob: a rejected record's lease runs out, because another record may name the same
//!   blob.
//! - Everything that is kept is read again within a configured time, no faster than configured; what
//!   was lost is brought from other nodes and remembered until it is, and afterwards ([`report`]).
//! - Time is passed in; the clock is read by [`stela_client::Sources`] alone.
//!
//! | In the data folder | Content |
//! |---|---|
//! | `ipfs/` | the embedded node ([`stela_ipfs`]), or `kubo/`, what is remembered for a daemon |
//! | `leases/` | who pays for which lease ([`leases`]) |
//! | `wanted/` | what should be here and is not yet ([`wanted`]) |
//! | `erased/` | what the ledger let go (`erased.rs`) |
//! | `check/` | how far the reading of everything that is kept has come (`sweep.rs`) |
//! | `findings/` | what was found lost, and what became of it (`findings.rs`) |
//! | `checkpoint` | the last event that was dealt with |
//! | `configuration` | the newest configuration of the channel that was followed ([`configuration`]) |
//! | `last-words` | why the node had to stop ([`stela_health`]) |

mod admission;
pub mod client;
pub mod config;
pub mod configuration;
mod erased;
pub mod error;
pub mod events;
mod files;
mod findings;
pub mod follower;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod health;
pub mod leases;
pub mod limits;
pub mod membership;
pub mod report;
mod request;
pub mod service;
mod sweep;
pub mod upkeep;
pub mod upload;
pub mod wanted;

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

/// The generated messages and services; their documentation is in the `.proto` file.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod pb {
    tonic::include_proto!("stela.storage.v1");
}

pub use client::{NodeStatus, StorageClient, StorageEndpoint};
pub use config::{Blobs, Checking, Config, Replication};
pub use error::{AdmitError, CallError, HoldError, ReportError, RequestError, UploadError};
pub use health::HealthNode;
pub use leases::Quotas;
pub use membership::Membership;
pub use report::Report;
pub use service::{Parts, StorageNode, StorageService};
pub use upload::{Failure, Holder, Holders, Uploader};

/// The domain of the signatures on requests to a storage node.
pub const REQUEST_DOMAIN: &[u8] = b"stela/v1/storage-request\0";
