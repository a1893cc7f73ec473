//! Runs a whole Stela network on one machine: what the demo, the verifier and the tests share.
//!
//! [`materials`] makes every key, certificate and configuration file; [`network`] starts the
//! processes, joins them to the channel and ends them; [`relay`] stands before every port and
//! records what crosses the wire; [`story`] is the demonstration, which leaves [`evidence`];
//! [`verify`] looks at it from outside, with [`canary`] searching files for plaintext. [`trial`]
//! breaks a network in ten ways and looks at what `stela doctor` says.

pub mod canary;
pub mod cli;
pub mod evidence;
pub mod limits;
pub mod materials;
pub mod network;
pub mod process;
pub mod relay;
pub mod report;
pub mod story;
pub mod topology;
pub mod trial;
pub mod users;
pub mod verify;

use anyhow::Context;

/// Makes a contract package of what the compiler gave: a component, from a core module.
///
/// # Errors
/// When the bytes are no module of a contract.
pub fn package(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    stela_host::componentize(module).context("this is no WebAssembly module of a contract")
}
