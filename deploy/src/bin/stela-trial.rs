//! Two trials on networks of their own: the doctor's, which breaks one in ten ways and looks at what
//! `stela doctor` and `stela tx explain` say; and that of rights, in which patients, officers and
//! administrators do what the demonstration does not tell.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use futures::TryFutureExt;
use stela_consent::Hex;
use stela_deploy::network::Network;
use stela_deploy::process::{program, stopwatch};
use stela_deploy::rights_trial::{RightsTrial, cast};
use stela_deploy::trial::Trial;
use stela_deploy::users;
use tracing::Level;

/// Makes a network of three hospitals on this machine, breaks it in ten ways, one after the other,
/// and checks that `stela doctor` names each with its cure and nothing else, and that
/// `stela tx explain` names the transaction behind a conflict. On a second network patients, officers
/// and administrators do what the demonstration does not tell, and every answer and what is committed
/// is checked.
///
/// The first one needs libfaketime and user namespaces.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the networks go; what an earlier run left there is removed.
    #[arg(long, default_value = "target/trial")]
    out: PathBuf,
    /// The contract's WebAssembly module, as deploy/build-contract.sh makes it.
    #[arg(long)]
    contract: PathBuf,
    /// Only one of the two.
    #[arg(long)]
    only: Option<Which>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// The doctor's.
    Doctor,
    /// That of rights.
    Rights,
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
    let module = std::fs::read(&arguments.contract)
        .with_context(|| format!("cannot read {}", arguments.contract.display()))?;
    let package = stela_deploy::package(&module)?;
    if arguments.only != Some(Which::Rights) {
        doctor(&arguments.out, &package).await?;
    }
    if arguments.only != Some(Which::Doctor) {
        rights(&arguments.out.join("rights"), &package).await?;
    }
    Ok(())
}

async fn doctor(out: &Path, package: &[u8]) -> anyhow::Result<()> {
    let started = stopwatch();
    let folder = emptied(&out.join("network"))?;
    let everybody = users::everybody(Hex(rand::random()));
    let mut network = Network::create(&folder, package, &everybody, &step).await?;
    Trial::new(&mut network, &|line| println!("{line}"))
        .run()
        .await?;
    network.stop()?;
    took("The doctor's trial", started.elapsed().as_secs_f64());
    Ok(())
}

async fn rights(out: &Path, package: &[u8]) -> anyhow::Result<()> {
    let started = stopwatch();
    let out = emptied(out)?;
    std::fs::create_dir_all(out.join("documents"))?;
    let out = out.canonicalize()?;
    let patients = [Hex(rand::random()), Hex(rand::random())];
    let folder = out.join("network");
    let mut network = Network::create_unrecorded(&folder, package, &cast(patients), &step).await?;
    let documents = out.join("documents");
    RightsTrial::new(&network, documents, patients, &|line| println!("{line}"))
        .run(package)
        .await?;
    network.stop()?;
    took("The trial of rights", started.elapsed().as_secs_f64());
    Ok(())
}

fn step(step: &str) {
    println!("       {step}");
}

fn took(what: &str, seconds: f64) {
    println!("{what} took {seconds:.0} s.");
}

/// A folder that is not there any more, if it was.
fn emptied(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(folder.to_owned())
}
