//! A network with an IPFS daemon, as `deploy/interop.sh` runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use futures::TryFutureExt;
use stela_deploy::interop::{self, Installed};
use stela_deploy::process::{program, stopwatch};
use tracing::Level;

/// Makes a network of three hospitals on this machine, of which one keeps its blobs in js-ipfs, and
/// checks that records go their whole way through it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Node.js.
    #[arg(long, value_name = "PROGRAM")]
    node: PathBuf,
    /// Where js-ipfs is installed with deploy/interop/daemon.mjs beside it.
    #[arg(long, value_name = "FOLDER")]
    js_ipfs: PathBuf,
    /// Where network and daemon go; what an earlier run left there is removed.
    #[arg(long, default_value = "target/interop")]
    out: PathBuf,
    /// The contract's WebAssembly module; without it, the one built beside this program.
    #[arg(long)]
    contract: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    program(
        "stela-interop",
        Level::WARN,
        run(Arguments::parse()).map_ok(|()| true),
    )
    .await
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let started = stopwatch();
    let module = stela_deploy::contract_module(arguments.contract.as_deref())?;
    let package = stela_deploy::package(&std::fs::read(module)?)?;
    if arguments.out.exists() {
        std::fs::remove_dir_all(&arguments.out)?;
    }
    std::fs::create_dir_all(&arguments.out)?;
    let installed = Installed {
        node: arguments.node,
        folder: arguments.js_ipfs,
    };
    let out = arguments.out.canonicalize()?;
    interop::run(&out, &package, &installed, &|line| println!("{line}")).await?;
    println!("It took {:.0} s.", started.elapsed().as_secs_f64());
    Ok(())
}
