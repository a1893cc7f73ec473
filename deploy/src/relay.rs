//! Stands before every port of the network: records what crosses it, both ways, byte for byte, or
//! holds back what one node sends to another.
//!
//! Everybody dials the public address of a node; the relay passes the bytes on to where the node
//! listens. It needs no privilege, unlike a packet capture or a firewall.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

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

/// Who sends nothing to whom now, by the titles of nodes.
#[derive(Debug, Default)]
pub struct Cuts(watch::Sender<BTreeSet<(String, String)>>);

impl Cuts {
    /// From now on exactly these directions, from and to, carry nothing. What is sent is held, as
    /// the system would hold and send again what a network loses; it arrives when the direction
    /// carries again, unless somebody has lost patience.
    pub fn set(&self, cuts: BTreeSet<(String, String)>) {
        self.0.send_replace(cuts);
    }

    fn gate(&self, from: String, to: String) -> Gate {
        Gate {
            cuts: self.0.subscribe(),
            direction: (from, to),
        }
    }
}

/// One direction of one connection.
struct Gate {
    cuts: watch::Receiver<BTreeSet<(String, String)>>,
    direction: (String, String),
}

impl Gate {
    async fn open(&mut self) {
        let direction = &self.direction;
        // When nobody can cut any more, nothing is.
        let _gone = self.cuts.wait_for(|cuts| !cuts.contains(direction)).await;
    }
}

/// Says which node has dialled: given the dialler's address and the one that it dialled.
pub type Dialler = Arc<dyn Fn(SocketAddr, SocketAddr) -> Option<String> + Send + Sync>;

/// Passes on what comes to every port until it is dropped, without recording, and holds back what
/// `cuts` says. Connections of others than nodes always carry. The ports go by the titles of their
/// nodes.
///
/// # Errors
/// When a public address is taken.
pub async fn pass_on(
    ports: Vec<(String, Port)>,
    cuts: Arc<Cuts>,
    dialler: Dialler,
) -> anyhow::Result<tokio::task::JoinSet<()>> {
    let mut tasks = tokio::task::JoinSet::new();
    for (title, port) in ports {
        let listener = TcpListener::bind(port.public)
            .await
            .with_context(|| format!("{} is taken; start again", port.public))?;
        let (cuts, dialler) = (cuts.clone(), dialler.clone());
        tasks.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, from)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let gates = dialler(from, port.public).map(|other| {
                    [
                        cuts.gate(other.clone(), title.clone()),
                        cuts.gate(title.clone(), other),
                    ]
                });
                let [out, back] = match gates {
                    Some([out, back]) => [Side::gated(out), Side::gated(back)],
                    None => [Side::default(), Side::default()],
                };
                connections.spawn(async move {
                    // A connection that breaks is the business of its two ends.
                    let _broken = pass(stream, port, out, back).await;
                });
            }
        });
    }
    Ok(tasks)
}

/// What happens to the bytes of one direction on their way.
#[derive(Default)]
struct Side {
    tape: Option<Arc<Tape>>,
    gate: Option<Gate>,
}

impl Side {
    fn recorded(tape: &Arc<Tape>) -> Self {
        Self {
            tape: Some(tape.clone()),
            gate: None,
        }
    }

    fn gated(gate: Gate) -> Self {
        Self {
            tape: None,
            gate: Some(gate),
        }
    }

    async fn carry(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some(gate) = &mut self.gate {
            gate.open().await;
        }
        match &self.tape {
            Some(tape) => tape.record(bytes).await,
            None => Ok(()),
        }
    }
}

async fn serve(listener: TcpListener, port: Port, tape: PathBuf) -> anyhow::Result<()> {
    let out = Tape::create(&tape.with_extension("in")).await?;
    let back = Tape::create(&tape.with_extension("out")).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (out, back) = (Side::recorded(&out), Side::recorded(&back));
        tokio::spawn(async move {
            // A connection that breaks is the business of its two ends.
            let _broken = pass(stream, port, out, back).await;
        });
    }
}

async fn pass(from: TcpStream, port: Port, out: Side, back: Side) -> std::io::Result<()> {
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
    mut side: Side,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        side.carry(&buffer[..count]).await?;
        to.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::POLL;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _gone = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    /// Whether a byte comes back at once.
    async fn answers(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        let answer = tokio::time::timeout(8 * POLL, stream.read_exact(&mut byte));
        answer.await.is_ok_and(|read| read.is_ok())
    }

    #[tokio::test]
    async fn a_direction_that_is_cut_carries_nothing_until_it_is_healed() {
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = Port {
            listen: echo().await,
            public: public.local_addr().unwrap(),
        };
        drop(public);
        let cuts = Arc::new(Cuts::default());
        let dialler: Dialler = Arc::new(|_, _| Some("a".to_owned()));
        let ports = vec![("b".to_owned(), port)];
        let _relay = pass_on(ports, cuts.clone(), dialler).await.unwrap();
        let mut stream = TcpStream::connect(port.public).await.unwrap();
        let cut = |from: &str, to: &str| BTreeSet::from([(from.to_owned(), to.to_owned())]);

        stream.write_all(b"1").await.unwrap();
        assert!(answers(&mut stream).await);
        for direction in [cut("a", "b"), cut("b", "a")] {
            cuts.set(direction);
            stream.write_all(b"2").await.unwrap();
            assert!(!answers(&mut stream).await);
            cuts.set(BTreeSet::new());
            assert!(answers(&mut stream).await);
        }
        cuts.set(cut("b", "c"));
        stream.write_all(b"3").await.unwrap();
        assert!(answers(&mut stream).await);
    }
}
