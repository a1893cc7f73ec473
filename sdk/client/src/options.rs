//! What a gateway is connected with.

use std::sync::Arc;
use std::time::Duration;

use stela_identity::Credentials;
use stela_identity::tls::TlsSettings;
use stela_protocol::OrgId;

use crate::sources::Sources;

/// Where a node answers, and whose it is: its TLS certificate must be of that organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The organization that runs it.
    pub organization: OrgId,
    /// `host:port`.
    pub address: String,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// One evaluation at one endpoint.
    pub evaluate: Duration,
    /// One round of endorsements at one endpoint.
    pub endorse: Duration,
    /// Handing one envelope to one endpoint; what is waited there for its verdict comes on top.
    pub submit: Duration,
    /// Any other question, and the opening of a stream.
    pub request: Duration,
    /// Installing a package, which the peer compiles.
    pub install: Duration,
    /// The deadline of [`Contract::submit`](crate::Contract::submit) for the commit.
    pub commit: Duration,
    /// How long a peer is asked to wait for a commit before it answers "not yet".
    pub commit_poll: Duration,
    /// After how long without a commit an envelope is submitted again.
    pub resubmit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            evaluate: Duration::from_secs(30),
            endorse: Duration::from_secs(30),
            submit: Duration::from_secs(10),
            request: Duration::from_secs(10),
            install: Duration::from_secs(180),
            commit: Duration::from_secs(60),
            commit_poll: Duration::from_secs(5),
            resubmit: Duration::from_secs(5),
        }
    }
}

/// What a [`Gateway`](crate::Gateway) is connected with.
#[derive(Clone)]
pub struct GatewayOptions {
    /// Peers that may serve as the gateway. The first one that answers is used until it fails.
    pub endpoints: Vec<Endpoint>,
    /// The own TLS identity and the roots of the members.
    pub tls: TlsSettings,
    /// Who signs.
    pub credentials: Arc<Credentials>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Clock and randomness.
    pub sources: Sources,
}

impl GatewayOptions {
    /// With the default timeouts, the system's clock and the system's randomness.
    pub fn new(endpoints: Vec<Endpoint>, tls: TlsSettings, credentials: Arc<Credentials>) -> Self {
        Self {
            endpoints,
            tls,
            credentials,
            timeouts: Timeouts::default(),
            sources: Sources::default(),
        }
    }
}
