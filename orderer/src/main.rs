//! `stela-orderer`: one orderer of a Stela network.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use stela_health::{LastWords, causes};
use stela_orderer::driver::now_ms;
use stela_orderer::limits::STOP_TIMEOUT;
use stela_orderer::node::{Node, OpenError};
use stela_orderer::settings::Settings;
use stela_orderer::{init_logging, services};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Orders the envelopes of a Stela network into blocks, together with the other orderers.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 stopped as asked, 2 wrong arguments, 3 wrong configuration file, \
                  4 unusable certificate or key, 5 the data cannot be opened, 6 the address cannot \
                  be listened on, 7 a fault while running (a disk error, for example); nothing \
                  that was not on the disk was acknowledged."
)]
struct Arguments {
    /// The configuration file; `orderer.example.toml` explains it.
    #[arg(long, env = "STELA_ORDERER_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

const WRONG_CONFIGURATION: u8 = 3;
const UNUSABLE_IDENTITY: u8 = 4;
const UNUSABLE_DATA: u8 = 5;
const CANNOT_LISTEN: u8 = 6;
const FAULT: u8 = 7;

/// Why the process ends, and what it tells whoever started it.
struct Failure {
    code: u8,
    error: anyhow::Error,
}

fn failure(code: u8) -> impl Fn(anyhow::Error) -> Failure {
    move |error| Failure { code, error }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, error }) => {
            eprintln!("stela-orderer: {}", causes(error.as_ref()));
            ExitCode::from(code)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let wrong = failure(WRONG_CONFIGURATION);
    let settings = Settings::load(&arguments.config).map_err(|error| wrong(error.into()))?;
    init_logging(settings.log.format, &settings.log.filter)
        .map_err(|why| wrong(anyhow::anyhow!(why)))?;
    let runtime = Runtime::new()
        .context("no runtime")
        .map_err(failure(FAULT))?;
    let mut last_words = LastWords::open(&settings.data_dir);
    let result = runtime.block_on(serve(settings, &mut last_words));
    if let Err(Failure { error, .. }) = &result {
        last_words.say(now_ms(), &causes(error.as_ref()));
    }
    // What is still under way is a stream that nobody waits for.
    runtime.shutdown_timeout(STOP_TIMEOUT);
    result
}

async fn serve(settings: Settings, last_words: &mut LastWords) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let (faults, mut faulty) = mpsc::unbounded_channel();
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| failure(FAULT)(e.into()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| failure(FAULT)(e.into()))?;
    let listen = settings.listen;
    let node = Node::open(settings, stop.clone(), faults).map_err(open_failure)?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))
        .map_err(failure(CANNOT_LISTEN))?;
    tracing::info!(node = node.origin(), %listen, "ready");
    last_words.clear();

    let server = services::serve(node.clone(), listener);
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.map_err(|error| failure(FAULT)(error.into())),
        Some(fault) = faulty.recv() => {
            let error = anyhow::Error::from(fault).context("stopped, because a channel cannot go on");
            return Err(failure(FAULT)(error));
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(node = node.origin(), "stopping");
    stop.cancel();
    if tokio::time::timeout(STOP_TIMEOUT, server).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    close(node).await;
    Ok(())
}

/// Waits until all channels have written what they were writing.
async fn close(node: Arc<Node>) {
    let threads = tokio::task::spawn_blocking(move || node.join_threads());
    if tokio::time::timeout(STOP_TIMEOUT, threads).await.is_err() {
        tracing::warn!("some channels did not stop in time");
    }
}

fn open_failure(error: OpenError) -> Failure {
    let code = match error {
        OpenError::Identity { .. }
        | OpenError::Organization { .. }
        | OpenError::Tls(_)
        | OpenError::Root { .. } => UNUSABLE_IDENTITY,
        OpenError::Data { .. } | OpenError::Channel { .. } => UNUSABLE_DATA,
    };
    failure(code)(error.into())
}
