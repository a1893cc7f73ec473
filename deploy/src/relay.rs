//! Stands before every port of the network and records what crosses it, both ways, byte for byte.
//!
//! Everybody dials the public address of a node; the recorder passes the bytes on to where the
//! node listens. It needs no privilege, unlike a packet capture.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::limits::WIRE_BYTES_MAX;
use crate::topology::Port;

/// Bytes passed on at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Where the bytes of one port go.
struct Tape {
    file: Mutex<File>,
    recorded: AtomicU64,
}

impl Tape {
    async fn create(path: &Path) -> anyhow::Result<Arc<Self>> {
        let file = File::options().create(true).append(true).open(path).await?;
        Ok(Arc::new(Self {
            file: Mutex::new(file),
            recorded: AtomicU64::new(0),
        }))
    }

    async fn record(&self, bytes: &[u8]) -> std::io::Result<()> {
        let before = self
            .recorded
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before >= WIRE_BYTES_MAX {
            return Ok(());
        }
        let mut file = self.file.lock().await;
        file.write_all(bytes).await?;
        file.flush().await
    }
}

/// Records every port in `folder` until the process ends.
///
/// # Errors
/// When a public address is taken or the folder cannot be written.
pub async fn run(ports: Vec<(String, Port)>, folder: PathBuf) -> anyhow::Result<()> {
    tokio::fs::create_dir_all(&folder).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for (name, port) in ports {
        let listener = TcpListener::bind(port.public)
            .await
            .with_context(|| format!("{} is taken; start again", port.public))?;
        tasks.spawn(serve(listener, port, folder.join(name)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn serve(listener: TcpListener, port: Port, tape: PathBuf) -> anyhow::Result<()> {
    let out = Tape::create(&tape.with_extension("in")).await?;
    let back = Tape::create(&tape.with_extension("out")).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (out, back) = (out.clone(), back.clone());
        tokio::spawn(async move {
            // A connection that breaks is the business of its two ends.
            let _broken = pass(stream, port, out, back).await;
        });
    }
}

async fn pass(from: TcpStream, port: Port, out: Arc<Tape>, back: Arc<Tape>) -> std::io::Result<()> {
    let to = TcpStream::connect(port.listen).await?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let (from_read, from_write) = from.into_split();
    let (to_read, to_write) = to.into_split();
    // Each direction ends by itself and closes its half, as TCP would.
    tokio::try_join!(
        copy(from_read, to_write, out),
        copy(to_read, from_write, back)
    )?;
    Ok(())
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    tape: Arc<Tape>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        tape.record(&buffer[..count]).await?;
        to.write_all(&buffer[..count]).await?;
    }
}
