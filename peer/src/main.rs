//! The program `stela-peer`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use stela_health::{LastWords, causes};
use stela_peer::offline::{self, OfflineError, RebuildOptions};
use stela_peer::{Clock, Config, Peer, PeerError, Surroundings};
use stela_protocol::ChannelId;
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

#[derive(Args)]
struct Offline {
    /// The configuration file of the peer, which must not be running.
    #[arg(long, value_name = "FILE", env = "STELA_PEER_CONFIG")]
    config: PathBuf,
    /// One channel; without it, all of them.
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelId>,
}

#[derive(Subcommand)]
enum Command {
    /// Derives everything from the stored blocks again, compares it with what is stored, and
    /// changes nothing. Exit code 3 when something is wrong.
    Verify {
        #[command(flatten)]
        offline: Offline,
    },
    /// Derives state, history and indexes from the stored blocks again, and replaces what there
    /// was. Side items stay.
    Rebuild {
        #[command(flatten)]
        offline: Offline,
        /// When a block is damaged, keep those before it and fetch the others from the orderers.
        #[arg(long)]
        refetch: bool,
        /// When verdicts or state hashes differ from what was stored, take what is found now.
        #[arg(long)]
        accept_differences: bool,
    },
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
    let done = match arguments.command {
        Some(Command::Compile { cache, package }) => return compile(&cache, &package),
        Some(Command::Verify { offline }) => verify(offline),
        Some(Command::Rebuild {
            offline,
            refetch,
            accept_differences,
        }) => rebuild(
            offline,
            RebuildOptions {
                refetch,
                accept_differences,
            },
        ),
        None => run(arguments.serve.config).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("stela-peer: {}", causes(error.as_ref()));
        ExitCode::from(exit_code(&error))
    })
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<PeerError>() {
        return error.exit_code();
    }
    if let Some(error) = error.downcast_ref::<OfflineError>() {
        return error.exit_code();
    }
    match error.downcast_ref::<stela_peer::ConfigFileError>() {
        Some(_) => 2,
        None => 1,
    }
}

fn compile(cache: &Path, package: &Path) -> ExitCode {
    let (code, words) = stela_peer::compile(cache, package);
    if code != 0 {
        eprintln!("{words}");
    }
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn load(path: &Path) -> anyhow::Result<Config> {
    let config = Config::load(path)?;
    start_logging(&config.log)?;
    Ok(config)
}

fn verify(offline: Offline) -> anyhow::Result<ExitCode> {
    let config = load(&offline.config)?;
    let verified = offline::verify(&config, offline.channel.as_ref())?;
    for channel in &verified {
        println!("{channel}");
    }
    let sound = verified.iter().all(|channel| channel.problems.is_empty());
    Ok(match sound {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(3),
    })
}

fn rebuild(offline: Offline, options: RebuildOptions) -> anyhow::Result<ExitCode> {
    let config = load(&offline.config)?;
    for channel in offline::rebuild(&config, offline.channel.as_ref(), options)? {
        println!("{channel}");
    }
    Ok(ExitCode::SUCCESS)
}

fn run(config: Option<PathBuf>) -> anyhow::Result<()> {
    let path = config.context("which configuration? say --config FILE")?;
    let config = load(&path)?;
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
        last_words.say(Clock::system().now_ms(), &causes(error.as_ref()));
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
