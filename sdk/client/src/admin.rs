//! What an organization's administrators ask of its own peers and orderers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use stela_identity::Credentials;
use stela_identity::tls::TlsSettings;
use stela_protocol::block::Block;
use stela_protocol::config::{self, ConfigError};
use stela_protocol::hash::domain;
use stela_protocol::limits::{MESSAGE_BYTES_MAX, PACKAGE_BYTES_MAX};
use stela_protocol::pb::admin_client::AdminClient;
use stela_protocol::{ChannelId, Hash32, IdError, Message, OrgId, RpcError, hash, pb};
use tonic::transport::Channel;

use crate::endpoints::{self, unary};
use crate::error::{AdminError, ConnectError};
use crate::gateway::Signer;
use crate::limits::{CHANNELS_MAX, PACKAGES_MAX};
use crate::options::{Endpoint, Timeouts};
use crate::sources::Sources;

/// The channel that a request names when it concerns none, because its header must name one.
const NO_CHANNEL: &str = "node";

/// What an [`Admin`] is connected with.
#[derive(Clone)]
pub struct AdminOptions {
    /// The node.
    pub endpoint: Endpoint,
    /// The own TLS identity and the roots of the members.
    pub tls: TlsSettings,
    /// An administrator of the node's organization.
    pub credentials: Arc<Credentials>,
    /// How long things may take; [`Timeouts::request`] and [`Timeouts::install`] count.
    pub timeouts: Timeouts,
    /// Clock and randomness.
    pub sources: Sources,
}

impl AdminOptions {
    /// With the default timeouts, the system's clock and the system's randomness.
    pub fn new(endpoint: Endpoint, tls: TlsSettings, credentials: Arc<Credentials>) -> Self {
        let (timeouts, sources) = (Timeouts::default(), Sources::default());
        Self {
            endpoint,
            tls,
            credentials,
            timeouts,
            sources,
        }
    }
}

/// An administrator's connection to one peer or orderer. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    client: AdminClient<Channel>,
    address: String,
    signer: Arc<Signer>,
    timeouts: Timeouts,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its organization.
    pub organization: OrgId,
    /// Its name.
    pub name: String,
    /// The channels it has joined.
    pub channels: Vec<ChannelStatus>,
    /// The hashes of the contract packages installed; none on an orderer.
    pub packages: Vec<Hash32>,
}

/// Where a node stands on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelStatus {
    /// The channel.
    pub channel: ChannelId,
    /// How many blocks it has.
    pub height: u64,
    /// The hash of the newest block's header.
    pub header_hash: Hash32,
    /// The state hash after it; peers only.
    pub state_hash: Option<Hash32>,
    /// The orderer that leads; orderers only, and only if one is known.
    pub leader: Option<u64>,
    /// The Raft term; 0 on peers.
    pub term: u64,
    /// The node's own number; orderers only.
    pub orderer: Option<u64>,
    /// Why the channel is not served, as the node says; peers only, and only when it is not.
    pub halted: Option<String>,
    /// How many requests a peer has endorsed that nobody has submitted yet and that it will record
    /// itself if that stays so; 0 on orderers.
    pub unrecorded: u64,
}

impl Admin {
    /// Prepares the connection; it is made when it is first needed. Needs a Tokio runtime around
    /// it.
    ///
    /// # Errors
    /// [`ConnectError`] when the address or the TLS settings cannot be used at all.
    pub fn connect(options: AdminOptions) -> Result<Self, ConnectError> {
        let channel = endpoints::channel(&options.endpoint, &options.tls)?;
        let client = AdminClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let signer = Signer {
            credentials: options.credentials,
            sources: options.sources,
        };
        Ok(Self {
            client,
            address: options.endpoint.address,
            signer: Arc::new(signer),
            timeouts: options.timeouts,
        })
    }

    /// Has the node join the channel of a genesis block (encoded). Whoever asks vouches for it.
    ///
    /// # Errors
    /// [`AdminError`] when the block is none, or the node refuses.
    pub async fn join(&self, genesis: Bytes) -> Result<(), AdminError> {
        self.join_with(genesis, Bytes::new()).await
    }

    /// The same for an orderer that the genesis block does not name, because it was added later:
    /// with the configuration in force (an encoded `ChannelConfig`), in which it finds the others.
    ///
    /// # Errors
    /// As [`Admin::join`].
    pub async fn join_with(&self, genesis: Bytes, current: Bytes) -> Result<(), AdminError> {
        let block = Block::decode(genesis.clone()).map_err(ConfigError::Block)?;
        let (_, config) = config::from_genesis(&block)?;
        let header = self.signer.request_header(&config.channel, "Join");
        let request = self.request(&pb::JoinRequest {
            header: Some(header),
            genesis,
            config: current,
        });
        let mut client = self.client.clone();
        self.answer(
            "Join",
            unary(self.timeouts.request, client.join(request)).await,
        )?;
        Ok(())
    }

    /// Installs a contract package on a peer and returns the hash that the configuration names.
    ///
    /// # Errors
    /// [`AdminError`] when the package is too large, or the node refuses it.
    pub async fn install(&self, package: Bytes) -> Result<Hash32, AdminError> {
        if package.len() > PACKAGE_BYTES_MAX {
            return Err(AdminError::PackageTooLarge {
                bytes: package.len(),
            });
        }
        let package_hash = hash::package(&package);
        let header = self.signer.request_header(&no_channel(), "Install");
        let request = self.request(&pb::InstallRequest {
            header: Some(header),
            package,
        });
        let mut client = self.client.clone();
        self.answer(
            "Install",
            unary(self.timeouts.install, client.install(request)).await,
        )?;
        Ok(package_hash)
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// [`AdminError`] when the node refuses, or answers something that cannot be.
    pub async fn status(&self) -> Result<NodeStatus, AdminError> {
        let header = self.signer.request_header(&no_channel(), "Status");
        let request = self.request(&pb::StatusRequest {
            header: Some(header),
        });
        let mut client = self.client.clone();
        let answer = self.answer(
            "Status",
            unary(self.timeouts.request, client.status(request)).await,
        )?;
        if answer.channels.len() > CHANNELS_MAX || answer.packages.len() > PACKAGES_MAX {
            return Err(self.format("it exceeds CHANNELS_MAX or PACKAGES_MAX".to_owned()));
        }
        node_status(answer).map_err(|error| self.format(error.to_string()))
    }

    fn request(&self, message: &impl Message) -> pb::AdminRequest {
        let signed = self
            .signer
            .sign(domain::ADMIN, message.encode_to_vec().into());
        pb::AdminRequest {
            payload: signed.bytes,
            signature: Bytes::copy_from_slice(&signed.signature),
            certificate: self.signer.credentials.certificate.der().clone(),
        }
    }

    fn answer<T>(
        &self,
        procedure: &'static str,
        answer: Result<T, RpcError>,
    ) -> Result<T, AdminError> {
        let address = self.address.clone();
        answer.map_err(|source| AdminError::Rpc {
            address,
            procedure,
            source,
        })
    }

    fn format(&self, why: String) -> AdminError {
        AdminError::Format {
            address: self.address.clone(),
            why,
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn no_channel() -> ChannelId {
    ChannelId::new(NO_CHANNEL).expect("the constant is a valid name")
}

fn node_status(answer: pb::StatusResponse) -> Result<NodeStatus, IdError> {
    Ok(NodeStatus {
        organization: OrgId::new(&answer.organization)?,
        name: answer.name,
        channels: answer
            .channels
            .iter()
            .map(channel_status)
            .collect::<Result<_, _>>()?,
        packages: answer
            .packages
            .iter()
            .map(|hash| Hash32::from_slice(hash))
            .collect::<Result<_, _>>()?,
    })
}

fn channel_status(status: &pb::ChannelStatus) -> Result<ChannelStatus, IdError> {
    let some = |number: u64| (number != 0).then_some(number);
    let state_hash = (!status.state_hash.is_empty()).then_some(&status.state_hash);
    Ok(ChannelStatus {
        channel: ChannelId::new(&status.channel)?,
        height: status.height,
        header_hash: Hash32::from_slice(&status.header_hash)?,
        state_hash: state_hash
            .map(|hash| Hash32::from_slice(hash))
            .transpose()?,
        leader: some(status.leader),
        term: status.term,
        orderer: some(status.orderer),
        halted: (!status.halted.is_empty()).then(|| status.halted.clone()),
        unrecorded: status.unrecorded,
    })
}
