//! The command `stela`.
//!
//! `arguments` says what can be asked, `profile` who asks and of whom, `session` connects, and each
//! file of `commands` does one thing; `doctor` finds out what is wrong. `output` prints it, as text or
//! as JSON; `transfer` shows how far a record is on its way.

mod arguments;
mod commands;
mod configuration;
mod doctor;
mod failure;
mod interrupt;
mod limits;
mod output;
mod profile;
mod session;
mod transfer;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use output::Output;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = if arguments.verbose { "info" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("STELA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A line that cannot be written (the disk is full, nobody reads) is lost, and only that.
        .log_internal_errors(false)
        .init();
    let output = Output::new(arguments.json);
    let outcome = commands::run(arguments, &output).await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, &output),
    }
}
