//! The doctor's trial: makes a network, breaks it in ten ways, and looks at what `stela doctor` and
//! `stela tx explain` say.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use futures::TryFutureExt;
use stela_deploy::network::Network;
use stela_deploy::process::{program, stopwatch};
use stela_deploy::trial::Trial;
use stela_deploy::users;
use tracing::Level;

/// Makes a network of three hospitals on this machine, breaks it in ten ways, one after the other,
/// and checks that `stela doctor` names each with its cure and nothing else, and that
/// `stela tx explain` names the transaction behind a conflict.
///
/// Needs libfaketime and user namespaces.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the network goes; what an earlier run left there is removed.
    #[arg(long, default_value = "target/trial")]
    out: PathBuf,
    /// The contract's WebAssembly module, as deploy/build-contract.sh makes it.
    #[arg(long)]
    contract: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    program(
        "stela-trial",
        Level::WARN,
        run(Arguments::parse()).map_ok(|()| true),
    )
    .await
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let started = stopwatch();
    let module = std::fs::read(&arguments.contract)
        .with_context(|| format!("cannot read {}", arguments.contract.display()))?;
    let package = stela_deploy::package(&module)?;
    let folder = arguments.out.join("network");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let everybody = users::everybody(stela_consent::Hex(rand::random()));
    let mut network = Network::create(&folder, &package, &everybody, &|step| {
        println!("       {step}");
    })
    .await?;
    Trial::new(&mut network, &|line| println!("{line}"))
        .run()
        .await?;
    network.stop()?;
    println!(
        "The doctor's trial took {:.0} s.",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
