//! Content-addressed storage of encrypted records on IPFS: the trait [`BlobStore`], an embedded
//! [`Node`] that implements it in this process, and a [`KuboNode`] that implements it through the
//! RPC interface of an IPFS daemon beside it.
//!
//! The node lives in a private swarm: it talks to nobody without the swarm's pre-shared key
//! ([`SwarmKey`]), and to nobody who is not on its allow-list ([`Member`]). It exchanges blocks by
//! bitswap 1.2 and finds them through a Kademlia DHT, as any IPFS node does; its blobs are what
//! `ipfs add --cid-version=1 --raw-leaves` makes of the same bytes and the same chunk size.
//!
//! What holds, whatever peers, disks and power do:
//! - No byte is returned or served that was not hashed and compared with its CID, when it came
//!   from the network and again when it came from the disk.
//! - What is pinned is on the disk in full before [`BlobStore::pin`] returns, and is not collected.
//! - Everything a peer can make this node hold is bounded by [`limits`].
//!
//! The crate knows nothing of encryption and nothing of ledgers. It is never told what a blob
//! means, and gives every member of the swarm any block it asks for: confidentiality is the
//! business of whoever encrypts before storing.
//!
//! | Module | Does |
//! |---|---|
//! | [`blob`], [`reader`] | The trait and the readers it gives |
//! | [`node`], [`config`] | The embedded node |
//! | [`kubo`] | A daemon's RPC interface, and what keeps it honest |
//! | `import`, `fetch`, `walk`, `check` | Bytes to blocks, blocks from anywhere, blocks to bytes, blocks compared with their names |
//! | `net`, `bitswap` | The network and the exchange of blocks |
//! | `store` | The disk: blocks, pins, collection |
//! | `dag`, `block`, `wire` | Parsing and naming of blocks; pure |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use stela_ipfs::{BlobStore, Node, NodeConfig, PinKind, generate_swarm_key};
//!
//! let node = Node::start(NodeConfig::new("/var/lib/hospital/ipfs", generate_swarm_key())).await?;
//! let cid = node.put(&mut &b"ciphertext"[..]).await?;
//! node.pin(&cid, PinKind::Permanent).await?;
//! let mut reader = node.get(&cid, Duration::from_secs(30)).await?;
//! while let Some(bytes) = reader.chunk().await? {
//!     println!("{} bytes", bytes.len());
//! }
//! # Ok(())
//! # }
//! ```

#![allow(
    clippy::result_large_err,
    reason = "errors carry the CIDs they are about, 96 bytes each, and none is on a hot path"
)]

mod bitswap;
pub mod blob;
mod block;
mod check;
pub mod config;
mod dag;
pub mod error;
mod fetch;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod import;
pub mod kubo;
pub mod limits;
mod net;
pub mod node;
pub mod reader;
mod store;
mod swarm_key;
mod walk;
mod wire;

pub use cid::Cid;
pub use libp2p::{Multiaddr, PeerId};

pub use crate::blob::{BlobStat, BlobStore, Fetched, Pin, PinKind, PinningNode, Verification};
pub use crate::block::UnsupportedCid;
pub use crate::config::{DhtProtocol, Member, NodeConfig, NodeLimits};
pub use crate::dag::DagError;
pub use crate::error::{
    CollectError, ConnectError, DhtError, FetchError, PinError, PutError, StartError, StoreError,
};
pub use crate::kubo::{ApiUrl, KuboConfig, KuboError, KuboNode};
pub use crate::node::{Node, NodeStats};
pub use crate::reader::BlobReader;
pub use crate::store::Collected;
pub use crate::swarm_key::{SwarmKey, SwarmKeyError, generate_swarm_key};
