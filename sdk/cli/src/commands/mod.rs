//! One file for each thing that can be asked.

mod admin;
mod ca;
mod channel;
mod consent;
mod events;
mod record;
mod register;
mod storage;

use std::path::Path;

use clap::CommandFactory;

use crate::arguments::{Arguments, Command};
use crate::output::Output;
use crate::profile::Profile;

pub(crate) async fn run(arguments: Arguments, output: &Output) -> anyhow::Result<()> {
    let load = || Profile::load(Path::new(&arguments.profile));
    match arguments.command {
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "stela", &mut std::io::stdout());
            Ok(())
        }
        Command::Ca(command) => ca::run(command, output),
        Command::Whoami => register::whoami(&load()?, output),
        Command::Register => register::register(&load()?, output).await,
        Command::Record(command) => record::run(&load()?, command, output).await,
        Command::Consent(command) => consent::run(&load()?, command, output).await,
        Command::Share { record, version } => {
            consent::share(&load()?, record, version, output).await
        }
        Command::Audit { patient } => consent::audit(&load()?, patient, output).await,
        Command::Channel(command) => channel::run(&load()?, command, output).await,
        Command::Tx(command) => channel::transaction(&load()?, command, output).await,
        Command::Events { from, count } => events::follow(&load()?, from, count, output).await,
        Command::Admin(command) => admin::run(&load()?, command, output).await,
        Command::Storage(command) => storage::run(&load()?, command, output).await,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the command line is a driver: it owns the clock"
)]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
