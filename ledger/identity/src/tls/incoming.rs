//! Accepting connections.
//!
//! Handshakes run beside one another, each against a deadline, so that a slow client delays nobody;
//! how many run and how many connections stand is bounded.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use stela_protocol::{Fingerprint, OrgId, hash};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tower::layer::util::{Identity, Stack};
use tower::util::MapResponseLayer;

use super::answers::typed;
use super::settings::ALPN;
use super::verify::Verifier;
use super::{TlsSettings, organization_of};
use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX,
    HEADER_BYTES_MAX, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_MAX,
};

type Typed = MapResponseLayer<fn(Response<Body>) -> Response<Body>>;

/// A gRPC server with this crate's limits, to which services are added. Serve it with
/// `serve_with_incoming_shutdown` and a [`TlsIncoming`]. Every error that it answers carries an
/// `ErrorDetail`, those of the transport too.
pub fn server() -> Server<Stack<Typed, Identity>> {
    let typed: fn(Response<Body>) -> Response<Body> = typed;
    Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .layer(MapResponseLayer::new(typed))
}

/// Who is at the other end of a connection. A service finds it in its request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerTls {
    /// The organization, one of whose TLS roots signed the certificate.
    pub organization: OrgId,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// Where the connection comes from.
    pub address: SocketAddr,
}

impl PeerTls {
    fn of(connection: &ServerConnection, address: SocketAddr) -> io::Result<Self> {
        let refused = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        if connection.alpn_protocol() != Some(ALPN) {
            return Err(refused("the client does not speak HTTP/2"));
        }
        let leaf = connection
            .peer_certificates()
            .and_then(|chain| chain.first());
        let leaf = leaf.ok_or_else(|| refused("the client showed no certificate"))?;
        let organization =
            organization_of(leaf).map_err(|_| refused("the client names no organization"))?;
        Ok(Self {
            organization,
            fingerprint: hash::fingerprint(leaf),
            address,
        })
    }
}

/// A connection whose other end has proved who it is.
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: PeerTls,
    trusted: WatchStream<Arc<Verifier>>,
    /// One of the connections that may stand.
    _slot: OwnedSemaphorePermit,
}

impl TlsConnection {
    /// Who is at the other end.
    pub fn peer(&self) -> &PeerTls {
        &self.peer
    }

    /// Fails when the other end is not trusted any more; wakes whoever reads when that changes.
    fn check_trust(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Poll::Ready(Some(verifier)) = Pin::new(&mut self.trusted).poll_next(cx) {
            let chain = self.stream.get_ref().1.peer_certificates();
            if !verifier.still_accepts(chain.unwrap_or_default()) {
                let organization = &self.peer.organization;
                tracing::info!(%organization, fingerprint = %self.peer.fingerprint, "cut off");
                let why = "the certificate of the other end is not accepted any more";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
        }
        Ok(())
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = PeerTls;

    fn connect_info(&self) -> PeerTls {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_trust(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The connections that a listener accepts, after their handshakes. It accepts until dropped.
pub struct TlsIncoming {
    connections: mpsc::Receiver<TlsConnection>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsIncoming {
    /// Starts to accept. Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(listener: TcpListener, settings: TlsSettings) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (ready, connections) = mpsc::channel(1);
        let acceptor = Acceptor {
            settings,
            ready,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        };
        let accepting = tokio::spawn(acceptor.run(listener));
        Ok(Self {
            connections,
            address,
            accepting,
        })
    }

    /// Where the listener listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Stream for TlsIncoming {
    type Item = io::Result<TlsConnection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections
            .poll_recv(cx)
            .map(|connection| connection.map(Ok))
    }
}

impl Drop for TlsIncoming {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Acceptor {
    settings: TlsSettings,
    ready: mpsc::Sender<TlsConnection>,
    handshakes: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else {
                return;
            };
            let Ok(turn) = self.handshakes.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, address)) => {
                    tokio::spawn(self.clone().admit(stream, address, slot, turn));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn admit(
        self,
        stream: TcpStream,
        address: SocketAddr,
        slot: OwnedSemaphorePermit,
        turn: OwnedSemaphorePermit,
    ) {
        // From before the handshake on, so that no change is missed.
        let trusted = self.settings.changes();
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(stream, address));
        let result = tokio::select! {
            result = handshake => result,
            () = self.ready.closed() => return,
        };
        drop(turn);
        match result {
            Ok(Ok((stream, peer))) => {
                let connection = TlsConnection {
                    stream,
                    peer,
                    trusted,
                    _slot: slot,
                };
                // Nobody is left to take it when the server has stopped.
                let _ = self.ready.send(connection).await;
            }
            Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> io::Result<(TlsStream<TcpStream>, PeerTls)> {
        stream.set_nodelay(true)?;
        let acceptor = TlsAcceptor::from(self.settings.server_config());
        let stream = acceptor.accept(stream).await?;
        let peer = PeerTls::of(stream.get_ref().1, address)?;
        Ok((stream, peer))
    }
}
