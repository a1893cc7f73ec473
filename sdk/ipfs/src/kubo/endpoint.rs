//! Where a daemon is, and the connections to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::KuboError;
use crate::limits::{KUBO_CONNECT_TIMEOUT, KUBO_FILE_BYTES_MAX};

/// Where a daemon answers: `http://127.0.0.1:5001` or `https://ipfs.hospital-a.example`. Plain HTTP
/// goes no further than this machine, unless that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    tls: bool,
    host: String,
    port: u16,
    /// Whether plain HTTP may leave this machine.
    anywhere: bool,
}

impl ApiUrl {
    /// Reads an address. With `plain_anywhere`, plain HTTP may go to other machines: whoever is
    /// between can then read which blobs are kept, and can withhold them.
    ///
    /// # Errors
    /// [`KuboError::Address`], which does not repeat the text: it might hold a password.
    pub fn parse(text: &str, plain_anywhere: bool) -> Result<Self, KuboError> {
        let uri: Uri = text
            .parse()
            .map_err(|_| KuboError::Address("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(KuboError::Address("it begins with http:// or https://")),
        };
        let authority = uri
            .authority()
            .ok_or(KuboError::Address("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(KuboError::Address(
                "a user or a password does not belong into it; name a file with the authorization",
            ));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return Err(KuboError::Address("nothing follows the host and the port"));
        }
        let url = Self {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 5001 }),
            anywhere: plain_anywhere,
        };
        if !tls && !plain_anywhere && !url.is_local_name() {
            return Err(KuboError::Address(
                "plain HTTP leaves this machine; use https:// or allow it explicitly",
            ));
        }
        Ok(url)
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    fn is_local_name(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// Addresses to connect to. A name that is said to be local and resolves to somewhere else is
    /// not followed there.
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = lookup_host((self.host.as_str(), self.port)).await?;
        let anywhere = self.tls || self.anywhere;
        let addresses: Vec<_> = found
            .filter(|address| anywhere || address.ip().is_loopback())
            .collect();
        if addresses.is_empty() {
            return Err(io::Error::other("the name has no address that is allowed"));
        }
        Ok(addresses)
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Reads the file with a daemon's authorization: the value of the header of that name, such as
/// `Bearer …`, in one line. Nobody but its owner may be able to read it.
pub(super) fn authorization(path: &Path) -> Result<HeaderValue, KuboError> {
    use std::os::unix::fs::PermissionsExt;
    let wrong = |why: String| KuboError::File {
        what: path.display().to_string(),
        why,
    };
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong("others may read it: set its mode to 0600".into()));
    }
    let text = Zeroizing::new(read(path)?);
    let mut value = HeaderValue::from_bytes(text.trim_ascii())
        .map_err(|_| wrong("it is not one line of text".into()))?;
    if value.is_empty() {
        return Err(wrong("it is empty".into()));
    }
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path) -> Result<Vec<u8>, KuboError> {
    use std::io::Read;
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(KUBO_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| KuboError::File {
        what: path.display().to_string(),
        why: error.to_string(),
    })
}

/// What TLS with a daemon is set up with: the authorities in a PEM file and no others.
fn tls(path: &Path) -> Result<Arc<ClientConfig>, KuboError> {
    let wrong = |why: &str| KuboError::File {
        what: path.display().to_string(),
        why: why.to_owned(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
        let certificate = certificate.map_err(|_| wrong("it is no PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| wrong("a certificate in it is not sound"))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| wrong("TLS 1.3 is not to be had"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Makes connections to one daemon, whatever it is asked for.
#[derive(Clone)]
pub(super) struct Connector {
    url: Arc<ApiUrl>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Connector {
    pub(super) fn new(url: ApiUrl, authorities: Option<&Path>) -> Result<Self, KuboError> {
        let tls = match (url.tls, authorities) {
            (false, _) => None,
            (true, Some(path)) => {
                let name = ServerName::try_from(url.host.clone())
                    .map_err(|_| KuboError::Address("the host is no name for TLS"))?;
                Some((tls(path)?, name))
            }
            (true, None) => {
                return Err(KuboError::Address(
                    "https:// needs the file with the authority of its certificate",
                ));
            }
        };
        let url = Arc::new(url);
        Ok(Self { url, tls })
    }

    async fn connect(self) -> io::Result<TokioIo<Link>> {
        let addresses = self.url.resolve().await?;
        let stream = TcpStream::connect(&addresses[..]).await?;
        stream.set_nodelay(true)?;
        let link: Box<dyn Io> = match self.tls {
            None => Box::new(stream),
            Some((config, name)) => {
                Box::new(TlsConnector::from(config).connect(name, stream).await?)
            }
        };
        Ok(TokioIo::new(Link(link)))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Link>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = timeout(KUBO_CONNECT_TIMEOUT, self.clone().connect());
        Box::pin(async move {
            connecting
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection, with or without TLS.
pub(super) struct Link(Box<dyn Io>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        let check = |text: &str, expect: Result<&str, &str>| {
            let parsed = ApiUrl::parse(text, false);
            match (parsed, expect) {
                (Ok(url), Ok(expect)) => assert_eq!(url.to_string(), expect),
                (Err(error), Err(expect)) => {
                    assert!(error.to_string().contains(expect), "{text}: {error}");
                    assert!(!error.is_retryable());
                }
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        };
        check("http://127.0.0.1:5001", Ok("http://127.0.0.1:5001"));
        check("http://127.8.9.1", Ok("http://127.8.9.1:5001"));
        check("http://localhost:9/", Ok("http://localhost:9"));
        check("http://[::1]:5001", Ok("http://[::1]:5001"));
        check("https://ipfs.example", Ok("https://ipfs.example:443"));
        check("http://ipfs.example:5001", Err("leaves this machine"));
        check("http://192.168.1.2:5001", Err("leaves this machine"));
        check("http://127.0.0.1.example", Err("leaves this machine"));
        check("http://[::ffff:8.8.8.8]:5001", Err("leaves this machine"));
        check("/ip4/127.0.0.1/tcp/5001", Err("http://"));
        check("ftp://127.0.0.1", Err("http://"));
        check("http://127.0.0.1:5001/api/v0", Err("nothing follows"));
        check("http://127.0.0.1:5001/?token=x", Err("nothing follows"));
        check("http://127.0.0.1:5001#x", Err("nothing follows"));
        assert!(ApiUrl::parse("http://ipfs.example:5001", true).is_ok());
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        for text in [
            "http://me:hunter2@127.0.0.1:5001",
            "https://hunter2@x.example",
        ] {
            let error = ApiUrl::parse(text, true).expect_err("a password");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_local_name_is_not_followed_elsewhere() {
        let mut url = ApiUrl::parse("http://127.0.0.1:1", false).expect("an address");
        url.host = "192.0.2.1".to_owned();
        assert!(url.resolve().await.is_err());
        url.anywhere = true;
        assert!(url.resolve().await.is_ok());
    }

    #[test]
    fn the_authorization_is_private_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authorization");
        std::fs::write(&path, "Bearer hunter2\n").expect("a file");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("a mode");
        };
        mode(0o640);
        let error = authorization(&path).expect_err("others may read it");
        assert!(error.to_string().contains("0600"), "{error}");
        mode(0o600);
        let value = authorization(&path).expect("a value");
        assert_eq!(value.as_bytes(), b"Bearer hunter2");
        assert!(!format!("{value:?}").contains("hunter2"));
        for bad in ["", "two\nlines"] {
            std::fs::write(&path, bad).expect("a file");
            assert!(authorization(&path).is_err());
        }
    }

    #[test]
    fn tls_needs_an_authority() {
        let url = || ApiUrl::parse("https://ipfs.example", false).expect("an address");
        assert!(matches!(
            Connector::new(url(), None),
            Err(KuboError::Address(_))
        ));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authority.pem");
        std::fs::write(&path, "no certificate").expect("a file");
        assert!(matches!(
            Connector::new(url(), Some(&path)),
            Err(KuboError::File { .. })
        ));
    }
}
