//! Making connections.

use std::io;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use stela_protocol::{Fingerprint, OrgId};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::settings::ALPN;
use super::{TlsError, TlsSettings};
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, HANDSHAKE_TIMEOUT, HEADER_BYTES_MAX,
    KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES,
};

/// What a client knows about its server beforehand. Any member's certificate may name any host, so
/// whoever means a node of a certain organization says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The server's organization.
    pub organization: Option<OrgId>,
    /// SHA-256 of the server's certificate.
    pub fingerprint: Option<Fingerprint>,
    /// The name that the server's certificate has, if it is not the host that is dialled.
    pub server_name: Option<String>,
}

impl Expected {
    /// A node of this organization.
    pub fn of(organization: &OrgId) -> Self {
        Self {
            organization: Some(organization.clone()),
            ..Self::default()
        }
    }
}

/// Where a node answers: `host:port`, the host a DNS name, an IPv4 address, or an IPv6 address in
/// square brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    /// [`TlsError::Address`].
    pub fn new(text: &str) -> Result<Self, TlsError> {
        let error = || TlsError::Address(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse::<u16>().map_err(|_| error())?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|h| h.contains(':'))
                .ok_or_else(error)?,
            None if host.contains(':') => return Err(error()),
            None => host,
        };
        ServerName::try_from(bare).map_err(|_| error())?;
        Ok(Self {
            host: bare.to_owned(),
            port,
        })
    }

    fn uri(&self) -> Result<Uri, TlsError> {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        // The scheme is for HTTP's headers only: what goes over the wire is TLS, by `dial`.
        let uri = format!("http://{host}:{}", self.port);
        uri.parse()
            .map_err(|_| TlsError::Address(self.host.clone()))
    }
}

/// A gRPC channel to a node. It connects when it is first used, and again whenever the connection
/// is lost, each time with the settings then in force.
///
/// # Errors
/// [`TlsError::Address`] when the address or the expected name cannot be one. Everything else shows
/// when the channel is used.
pub fn connect(
    settings: &TlsSettings,
    address: &str,
    expected: Expected,
) -> Result<Channel, TlsError> {
    let address = Address::new(address)?;
    server_name(&address, &expected)?;
    let endpoint = Endpoint::from(address.uri()?)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let settings = settings.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let (settings, address, expected) = (settings.clone(), address.clone(), expected.clone());
        async move { dial(&settings, &address, &expected).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// One TLS connection to a node, for protocols other than gRPC.
///
/// # Errors
/// When the node cannot be reached, or is not who is expected. Whether the node accepts *us* shows
/// only when something is read from it: that is how TLS 1.3 works.
pub async fn dial(
    settings: &TlsSettings,
    address: &Address,
    expected: &Expected,
) -> io::Result<TlsStream<TcpStream>> {
    let refused = |error: TlsError| io::Error::new(io::ErrorKind::InvalidInput, error);
    let name = server_name(address, expected).map_err(refused)?;
    let config = settings.client_config(expected).map_err(refused)?;
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
    tcp.set_nodelay(true)?;
    let handshake = TlsConnector::from(config).connect(name, tcp);
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
        .await
        .map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")
        })??;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the node does not speak HTTP/2",
        ));
    }
    Ok(stream)
}

fn server_name(address: &Address, expected: &Expected) -> Result<ServerName<'static>, TlsError> {
    let name = expected.server_name.as_ref().unwrap_or(&address.host);
    ServerName::try_from(name.clone()).map_err(|_| TlsError::Address(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, host: &str, port: u16| {
            let address = Address::new(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert!(address.uri().is_ok());
        };
        check(
            "peer0.hospital-a.example:7051",
            "peer0.hospital-a.example",
            7051,
        );
        check("127.0.0.1:1", "127.0.0.1", 1);
        check("[::1]:65535", "::1", 65535);
        let bad = [
            "",
            "host",
            "host:",
            "host:65536",
            ":1",
            "::1:1",
            "[::1:1",
            "[host]:1",
            "a/b:1",
        ];
        for text in bad {
            assert!(
                matches!(Address::new(text), Err(TlsError::Address(_))),
                "{text:?}"
            );
        }
    }
}
