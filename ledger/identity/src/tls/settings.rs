//! What connections are made with, replaceable while the node runs.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use stela_protocol::OrgId;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::verify::{Clients, Server, Verifier, provider};
use super::{Expected, TlsError, TlsIdentity, TlsRoots};

/// The one protocol above TLS: HTTP/2.
pub(super) const ALPN: &[u8] = b"h2";

/// The node's own certificate and whom it trusts. Copies share them: what is replaced through one
/// holds for all, from the next handshake on. A connection that was accepted is cut as soon as its
/// other end is not trusted any more.
#[derive(Clone)]
pub struct TlsSettings {
    shared: Arc<RwLock<State>>,
    /// Tells the connections that stand whom to trust from now on.
    trusted: watch::Sender<Arc<Verifier>>,
}

struct State {
    identity: TlsIdentity,
    verifier: Arc<Verifier>,
    server: Arc<ServerConfig>,
}

impl TlsSettings {
    /// Settings with this certificate and these roots.
    ///
    /// # Errors
    /// [`TlsError`] when the key does not belong to the certificate or a root is not sound.
    pub fn new(identity: TlsIdentity, roots: &TlsRoots) -> Result<Self, TlsError> {
        let verifier = Arc::new(Verifier::new(roots)?);
        let state = State::new(identity, verifier.clone())?;
        Ok(Self {
            shared: Arc::new(RwLock::new(state)),
            trusted: watch::Sender::new(verifier),
        })
    }

    /// From now on shows another certificate: renewal without a pause.
    ///
    /// # Errors
    /// As [`TlsSettings::new`]; then nothing changes.
    pub fn replace_identity(&self, identity: TlsIdentity) -> Result<(), TlsError> {
        let mut state = self.shared.write();
        *state = State::new(identity, state.verifier.clone())?;
        Ok(())
    }

    /// From now on trusts others: a changed configuration.
    ///
    /// # Errors
    /// As [`TlsSettings::new`]; then nothing changes.
    pub fn replace_roots(&self, roots: &TlsRoots) -> Result<(), TlsError> {
        let verifier = Arc::new(Verifier::new(roots)?);
        let mut state = self.shared.write();
        *state = State::new(state.identity.clone(), verifier.clone())?;
        self.trusted.send_replace(verifier);
        Ok(())
    }

    /// Whom to trust after each change from now on.
    pub(super) fn changes(&self) -> WatchStream<Arc<Verifier>> {
        WatchStream::from_changes(self.trusted.subscribe())
    }

    /// The organization whose certificate is shown.
    pub fn organization(&self) -> OrgId {
        self.shared.read().identity.organization().clone()
    }

    /// What a server is configured with at this moment.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.shared.read().server.clone()
    }

    /// What a client who expects this of its server is configured with at this moment.
    ///
    /// # Errors
    /// [`TlsError`] when the library refuses.
    pub fn client_config(&self, expected: &Expected) -> Result<Arc<ClientConfig>, TlsError> {
        let (verifier, identity) = {
            let state = self.shared.read();
            (state.verifier.clone(), state.identity.clone())
        };
        let server = Server {
            verifier,
            expected: expected.clone(),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(server))
            .with_client_auth_cert(identity.chain(), identity.key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl State {
    fn new(identity: TlsIdentity, verifier: Arc<Verifier>) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Clients(verifier.clone())))
            .with_single_cert(identity.chain(), identity.key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            identity,
            verifier,
            server: Arc::new(config),
        })
    }
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsSettings({:?})", self.shared.read().identity)
    }
}
