//! What every Stela node must agree on, byte for byte.
//!
//! Wire formats ([`pb`], generated from `proto/stela/v1`), the parsed forms that cannot be invalid
//! ([`transaction`], [`block`], [`config`], [`config_update`]), hashing with domain separation ([`hash`]), RFC 6962
//! Merkle trees ([`merkle`]), signature policies in Fabric's syntax ([`policy`]), composite keys
//! ([`key`]), validation codes and limits.
//!
//! This crate has no clock, no randomness, no I/O and no async runtime. It does not verify
//! signatures: it says over which bytes they are made.

pub mod block;
pub mod config;
pub mod config_update;
pub mod difference;
pub mod error;
pub mod hash;
pub mod ids;
pub mod key;
pub mod limits;
pub mod merkle;
pub mod policy;
pub mod transaction;
mod validation;

pub use error::{ErrorCode, RpcError};
pub use ids::{
    BlockNumber, ChannelId, ContractName, Fingerprint, Hash32, Height, IdError, Nonce, OrgId,
    TransactionId,
};
pub use validation::{UnknownCode, ValidationCode};

/// The version of every hashed format written today.
pub const FORMAT_VERSION: u32 = 1;

/// The generated messages and services; their documentation is in the `.proto` files.
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
    tonic::include_proto!("stela.v1");
}

pub use prost::Message;
