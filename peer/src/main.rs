//! The program `stela-peer`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use stela_health::LastWords;
use stela_peer::{Clock, Config, Peer, PeerError, Surroundings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The peer of an organization: endorses, validates, keeps the ledger, and serves clients.
///
/// It stops cleanly on SIGTERM and SIGINT. Exit codes: 0 stopped as told, 1 failed, 2 the command
/// line, the configuration or its files need attention, 3 the data or the disk does.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Args)]
struct Serve {
    /// The configuration file (TOML); see peer.example.toml.
    #[arg(long, value_name = "FILE", required = true, env = "STELA_PEER_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Compiles a package; the peer calls this itself, so that it can be killed.
    #[command(hide = true)]
    Compile {
        /// The folder for what is compiled.
        #[arg(long)]
        cache: PathBuf,
        /// The package.
        package: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Compile { cache, package }) = arguments.command {
        let (code, words) = stela_peer::compile(&cache, &package);
        if code != 0 {
            eprintln!("{words}");
        }
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    match run(arguments.serve.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stela-peer: {error:#}");
            let known = error.downcast_ref::<PeerError>();
            let config = error.downcast_ref::<stela_peer::ConfigFileError>();
            ExitCode::from(known.map_or(if config.is_some() { 2 } else { 1 }, PeerError::exit_code))
        }
    }
}

fn run(config: Option<PathBuf>) -> anyhow::Result<()> {
    let path = config.context("which configuration? say --config FILE")?;
    let config = Config::load(&path)?;
    start_logging(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

fn start_logging(filter: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) => filter,
        Err(_) => filter.to_owned(),
    };
    let filter = EnvFilter::try_new(&filter).context("what to log")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A line that cannot be written (the disk is full, nobody reads) is lost, and only that.
        .log_internal_errors(false)
        .init();
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let compiler = std::env::current_exe().context("where this program is")?;
    let surroundings = Surroundings {
        clock: Clock::system(),
        compiler: Some(compiler),
    };
    let mut last_words = LastWords::open(&config.data);
    let ended = run_until_told(config, surroundings, &mut last_words).await;
    if let Err(error) = &ended {
        last_words.say(Clock::system().now_ms(), &format!("{error:#}"));
    }
    ended
}

async fn run_until_told(
    config: Config,
    surroundings: Surroundings,
    last_words: &mut LastWords,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let peer = Peer::start(config, surroundings).await?;
    last_words.clear();
    let node = peer.stopper();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        node.stop();
    });
    peer.ended().await?;
    Ok(())
}
