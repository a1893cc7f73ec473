//! Starts and ends a whole Stela network on one machine.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use stela_deploy::network::{self, Network};
use stela_deploy::process::Interrupts;

/// Starts and ends a whole Stela network on one machine: three hospitals, each with an orderer, a
/// peer and a storage node.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a network in a new folder, start it, and leave it running.
    Up {
        /// The folder; it must be empty or absent.
        folder: PathBuf,
        /// The contract: a WebAssembly module or component.
        #[arg(long)]
        contract: PathBuf,
    },
    /// End the processes of the network in this folder.
    Down {
        /// The folder.
        folder: PathBuf,
    },
    /// Make a contract package (a component) of a WebAssembly module.
    Package {
        /// The module.
        module: PathBuf,
        /// Where the package goes.
        package: PathBuf,
    },
    /// Record what crosses the ports; the launcher starts this by itself.
    #[command(hide = true)]
    Record {
        /// The ports, as JSON.
        ports: PathBuf,
        /// Where the recordings go.
        folder: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stela-network: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up { folder, contract } => {
            let interrupts = Interrupts::new()?;
            let module = std::fs::read(&contract)
                .with_context(|| format!("cannot read {}", contract.display()))?;
            let package = stela_deploy::package(&module)?;
            let users = stela_deploy::users::everybody(stela_consent::Hex(rand::random()));
            let network = Network::create(&folder, &package, &users, &|step| eprintln!("{step}"));
            let network = interrupts.or(network).await?;
            println!("{}", network.folder().display());
            network.keep()
        }
        Command::Down { folder } => {
            let ended = network::down(&folder)?;
            eprintln!("ended {} processes", ended.len());
            Ok(())
        }
        Command::Package { module, package } => {
            let bytes = std::fs::read(&module)
                .with_context(|| format!("cannot read {}", module.display()))?;
            std::fs::write(&package, stela_deploy::package(&bytes)?)
                .with_context(|| format!("cannot write {}", package.display()))
        }
        Command::Record { ports, folder } => network::record(&ports, &folder).await,
    }
}
