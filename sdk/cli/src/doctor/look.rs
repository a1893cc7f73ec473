//! Asks all nodes at once, each within a deadline, and again a moment later.

use futures::StreamExt;
use futures::stream;
use stela_client::{Endpoint, Health, NodeHealth, Sources, Timeouts};
use stela_identity::tls::{self, Expected, ProbeError, Refusal, Shown, TlsSettings};
use stela_protocol::config::ChannelConfig;
use stela_protocol::{ChannelId, ErrorCode, Fingerprint, OrgId};

use crate::limits::{ASK_TIMEOUT, ASKED_AT_ONCE, LOOK_AGAIN, PROBE_TIMEOUT};

/// Where a node answers, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) organization: OrgId,
    pub(super) address: String,
}

/// What a node is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Peer,
    Orderer {
        id: u64,
        certificate: bytes::Bytes,
        tls: Fingerprint,
    },
    Storage,
}

impl Kind {
    /// The role in its certificate.
    pub(super) fn role(&self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Orderer { .. } => "orderer",
            Self::Storage => "storage",
        }
    }
}

/// A node as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) at: Address,
    pub(super) kind: Kind,
    /// What the configuration calls it, if it does.
    pub(super) name: Option<String>,
}

/// Why a node did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nobody is there.
    Unreachable(String),
    /// Its TLS certificate is refused here.
    Node(Refusal),
    /// It refuses the profile's TLS certificate.
    Own(Refusal),
    /// It answers, but no such question.
    Refused {
        code: Option<ErrorCode>,
        words: String,
    },
}

/// What was seen of a node.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) target: Target,
    /// What its TLS certificate says, if it was accepted.
    pub(super) shown: Option<Shown>,
    /// What it said of itself.
    pub(super) first: Result<NodeHealth, Silence>,
    /// What it said a moment later.
    pub(super) second: Option<NodeHealth>,
}

impl Seen {
    /// `HospitalA/peer0`, or what is known of it.
    pub(super) fn title(&self) -> String {
        let organization = &self.target.at.organization;
        let said = self.first.as_ref().ok().map(|health| &health.name);
        match (said.or(self.target.name.as_ref()), &self.target.kind) {
            (Some(name), _) => format!("{organization}/{name}"),
            (None, Kind::Orderer { id, .. }) => format!("{organization}/orderer number {id}"),
            (None, kind) => format!(
                "{organization}/{} at {}",
                kind.role(),
                self.target.at.address
            ),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.target.at.address
    }
}

/// Every node that a configuration names: peers, orderers, storage nodes.
pub(super) fn targets(config: &ChannelConfig) -> Vec<Target> {
    let organizations = config.organizations.values();
    let at = |organization: &OrgId, address: &str| Address {
        organization: organization.clone(),
        address: address.to_owned(),
    };
    let peers = organizations.clone().flat_map(|o| {
        o.peers.iter().map(move |peer| Target {
            at: at(&o.id, &peer.address),
            kind: Kind::Peer,
            name: Some(peer.name.clone()),
        })
    });
    let orderers = config.orderers.values().map(|orderer| Target {
        at: at(&orderer.organization, &orderer.address),
        kind: Kind::Orderer {
            id: orderer.id,
            certificate: orderer.certificate.clone(),
            tls: orderer.tls_fingerprint,
        },
        name: None,
    });
    let storage = organizations.flat_map(|o| {
        o.storage.iter().map(move |node| Target {
            at: at(&o.id, &node.api),
            kind: Kind::Storage,
            name: None,
        })
    });
    peers.chain(orderers).chain(storage).collect()
}

/// How to ask.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) tls: TlsSettings,
    pub(super) channel: ChannelId,
    pub(super) sources: Sources,
}

impl Asker {
    /// What the profile's peers say, with the configuration.
    pub(super) async fn with_config(&self, peers: &[Address]) -> Vec<NodeHealth> {
        let asked = peers.iter().map(|at| async move {
            let health = self.connect(at).ok()?;
            health.check(&self.channel, true).await.ok()
        });
        let answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        answers.filter_map(std::future::ready).collect().await
    }

    /// Looks at every node twice.
    pub(super) async fn look(&self, targets: Vec<Target>, said: impl Fn()) -> Vec<Seen> {
        let first = targets.into_iter().map(|target| async {
            let seen = self.look_once(target).await;
            said();
            seen
        });
        let seen: Vec<Seen> = stream::iter(first).buffered(ASKED_AT_ONCE).collect().await;
        tokio::time::sleep(LOOK_AGAIN).await;
        let second = seen.into_iter().map(|seen| self.look_again(seen));
        stream::iter(second).buffered(ASKED_AT_ONCE).collect().await
    }

    async fn look_once(&self, target: Target) -> Seen {
        let (shown, first) = match self.probe(&target.at).await {
            Ok(shown) => (Some(shown), self.ask(&target.at).await),
            Err(silence) => (None, Err(silence)),
        };
        Seen {
            target,
            shown,
            first,
            second: None,
        }
    }

    async fn look_again(&self, mut seen: Seen) -> Seen {
        if seen.first.is_ok() {
            seen.second = self.ask(&seen.target.at).await.ok();
        }
        seen
    }

    async fn probe(&self, at: &Address) -> Result<Shown, Silence> {
        let address = tls::Address::new(&at.address)
            .map_err(|error| Silence::Unreachable(error.to_string()))?;
        let expected = Expected::of(&at.organization);
        let probe = tls::probe(&self.tls, &address, &expected);
        match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(shown)) => Ok(shown),
            Ok(Err(ProbeError::Node(refusal))) => Err(Silence::Node(refusal)),
            Ok(Err(ProbeError::Own(refusal))) => Err(Silence::Own(refusal)),
            Ok(Err(error)) => Err(Silence::Unreachable(error.to_string())),
            Err(_) => {
                let words = format!("nobody answers within {} s", PROBE_TIMEOUT.as_secs());
                Err(Silence::Unreachable(words))
            }
        }
    }

    async fn ask(&self, at: &Address) -> Result<NodeHealth, Silence> {
        let refused = |code, words| Silence::Refused { code, words };
        let health = self
            .connect(at)
            .map_err(|error| refused(None, error.to_string()))?;
        let answer = health.check(&self.channel, false).await;
        answer.map_err(|error| {
            let code = match &error {
                stela_client::HealthError::Rpc { source, .. } => Some(source.code),
                stela_client::HealthError::Format { .. } => None,
            };
            refused(code, error.to_string())
        })
    }

    fn connect(&self, at: &Address) -> Result<Health, stela_client::ConnectError> {
        let endpoint = Endpoint {
            organization: at.organization.clone(),
            address: at.address.clone(),
        };
        let timeouts = Timeouts {
            request: ASK_TIMEOUT,
            ..Timeouts::default()
        };
        Health::connect(&endpoint, &self.tls, timeouts, self.sources.clone())
    }
}
