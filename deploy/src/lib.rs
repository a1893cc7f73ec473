//! Runs a whole Stela network on one machine: what the demo, the verifier and the tests share.
//!
//! [`materials`] makes every key, certificate and configuration file; [`network`] starts the
//! processes, joins them to the channel and ends them; [`relay`] stands before every port and
//! records what crosses the wire; [`story`] is the demonstration, which leaves [`evidence`];
//! [`verify`] looks at it from outside, with [`canary`] searching files for plaintext. [`large`]
//! measures what a study of gigabytes costs, and interrupts it wherever it can; [`faults`] does harm
//! to such a network while clients use it, and checks what must hold; [`trial`] breaks a network in
//! ten ways and looks at what `stela doctor` says; [`rights_trial`] does what the demonstration does
//! not tell, and [`commands`] finds what no run has done; [`interop`] is a network in which a storage
//! node keeps its blobs in an IPFS daemon; [`costs`] measures what each function of the contract costs,
//! [`bench`] how fast a ledger is and what it uses, and [`growth`] how that changes as it grows.

pub mod bench;
pub mod canary;
pub mod cli;
pub mod commands;
pub mod costs;
pub mod evidence;
pub mod faults;
pub mod growth;
pub mod interop;
pub mod large;
pub mod limits;
pub mod materials;
pub mod network;
pub mod process;
pub mod relay;
pub mod report;
pub mod rights_trial;
pub mod story;
pub mod topology;
pub mod trial;
pub mod users;
pub mod verify;

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Makes a contract package of what the compiler gave: a component, from a core module.
///
/// # Errors
/// When the bytes are no module of a contract.
pub fn package(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    stela_host::componentize(module).context("this is no WebAssembly module of a contract")
}

/// The contract's module: the one that is named, or the one built beside the running program.
///
/// # Errors
/// When there is none, with what to run to get it.
pub fn contract_module(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => built_module(topology::CONTRACT),
    }
}

/// The module of the contract `chaincode/NAME` that is built beside the running program.
///
/// # Errors
/// When there is none, with what to run to get it.
pub fn built_module(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut folders = own.ancestors().skip(1).take(3);
    folders
        .find_map(|folder| {
            let path = folder.join("contracts").join(format!("{name}.wasm"));
            path.is_file().then_some(path)
        })
        .with_context(|| {
            format!("the contract is not built; run ./deploy/build-contract.sh {name}")
        })
}
