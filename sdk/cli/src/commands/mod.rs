//! One file for each thing that can be asked.

mod access;
mod admin;
mod ca;
mod channel;
mod completions;
mod consent;
mod device;
mod emergency;
mod events;
mod explain;
mod export;
mod key;
mod notifications;
mod patient;
mod people;
mod receipt;
mod record;
mod register;
mod storage;
mod study;
mod update;

use std::path::Path;

use crate::arguments::{Arguments, Command};
use crate::doctor;
use crate::interrupt;
use crate::output::Output;
use crate::profile::Profile;

pub(crate) use explain::{parse_time, readable};
pub(crate) use update::Named;

pub(crate) async fn run(arguments: Arguments, output: &Output) -> anyhow::Result<()> {
    // Commands about records bring their transfers in order when they are interrupted.
    let ends_by_itself = matches!(arguments.command, Command::Record(_));
    let work = dispatch(arguments, output);
    match ends_by_itself {
        true => work.await,
        false => interrupt::or(work).await,
    }
}

async fn dispatch(arguments: Arguments, output: &Output) -> anyhow::Result<()> {
    let load = || Profile::load(Path::new(&arguments.profile));
    match arguments.command {
        Command::Completions { shell } => {
            completions::print(shell, &arguments.profile);
            Ok(())
        }
        Command::Ca(command) => ca::run(command, output),
        Command::Doctor { genesis, config } => {
            let request = doctor::Request {
                profile: &arguments.profile,
                genesis,
                config,
            };
            doctor::run(request, output).await
        }
        Command::Whoami => register::whoami(&load()?, output),
        Command::Register => register::register(&load()?, output).await,
        Command::Record(command) => record::run(&load()?, command, output).await,
        Command::Consent(command) => consent::run(&load()?, command, output).await,
        Command::Patient(command) => people::patient(&load()?, command, output).await,
        Command::Delegate(command) => people::delegate(&load()?, command, output).await,
        Command::Key(command) => key::run(&load()?, command, output).await,
        Command::Emergency(command) => emergency::run(&load()?, command, output).await,
        Command::Study(command) => study::run(&load()?, command, output).await,
        Command::Device(command) => {
            device::run(Path::new(&arguments.profile), command, output).await
        }
        Command::Access(command) => access::run(&load()?, command, output).await,
        Command::Share { record, version } => {
            consent::share(&load()?, record, version, output).await
        }
        Command::Audit { patient } => consent::audit(&load()?, patient, output).await,
        Command::Notifications { follow, from } => {
            notifications::run(&load()?, follow, from, output).await
        }
        Command::Receipt(command) => receipt::run(&arguments.profile, command, output).await,
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
