//! Bitswap 1.2, the protocol by which IPFS nodes exchange blocks.
//!
//! | Module | Does |
//! |---|---|
//! | [`message`] | The message and its bytes |
//! | [`frame`] | Length-prefixed messages on a stream |
//! | [`handler`] | One connection: many inbound streams, one outbound |
//! | [`outbox`] | What waits to be sent to one peer; survives the loss of a connection |
//! | [`server`] | What peers want of us; pure |
//! | [`client`] | What we want of peers; pure, its time counted in ticks |
//! | [`behaviour`] | Joins these for libp2p |
//!
//! Source: <https://specs.ipfs.tech/bitswap-protocol/>. What a peer sends is hashed before anybody
//! looks at it; a block's name is always the result of that hash, never what the peer calls it.

mod behaviour;
pub(crate) mod client;
pub(crate) mod frame;
mod handler;
pub(crate) mod message;
mod outbox;
pub(crate) mod server;

pub(crate) use self::behaviour::{Behaviour, Event};
pub(crate) use self::server::{Found, Lookup};
