//! Why a node does not start, or a channel is not joined.

use std::path::PathBuf;

use stela_identity::AuthorityError;
use stela_identity::tls::TlsError;
use stela_protocol::{ChannelId, ErrorCode, Fingerprint, OrgId, RpcError};
use stela_store::StoreError;

use crate::chain::ChainFault;
use crate::channel::ChannelError;
use crate::driver::StartError;
use crate::limits::CHANNELS_MAX;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its certificate or key.
    #[error("the identity in {folder}: {source}", folder = folder.display())]
    Identity {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: AuthorityError,
    },
    /// A certificate of another organization than the settings name.
    #[error("the certificate in {folder} is of {found}, the settings say {expected}", folder = folder.display())]
    Organization {
        /// The folder.
        folder: PathBuf,
        /// The organization in the certificate.
        found: OrgId,
        /// The organization in the settings.
        expected: OrgId,
    },
    /// Its TLS certificate, key or root.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// A root certificate.
    #[error("{file}: {why}", file = file.display())]
    Root {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The data folder.
    #[error("{folder}: {source}", folder = folder.display())]
    Data {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A channel that was joined.
    #[error("channel {channel}: {source}")]
    Channel {
        /// The channel.
        channel: ChannelId,
        /// What is wrong.
        source: JoinError,
    },
}

/// Why a channel was not joined or opened.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Block 0 describes no channel.
    #[error(transparent)]
    Genesis(#[from] ChannelError),
    /// Block 0 is of another channel than the request.
    #[error("the request is for channel {requested}, the block is of {found}")]
    OtherChannel {
        /// The channel in the request.
        requested: ChannelId,
        /// The channel in the block.
        found: ChannelId,
    },
    /// A channel with this name and another block 0 is here.
    #[error("channel {0} was joined before with another genesis block")]
    OtherGenesis(ChannelId),
    /// The configuration does not name this node.
    #[error(
        "the configuration of channel {channel} has no orderer with certificate {certificate}; an \
         orderer that was added later joins with the configuration in force"
    )]
    NotAnOrderer {
        /// The channel.
        channel: ChannelId,
        /// This node's certificate.
        certificate: Fingerprint,
    },
    /// The configuration names another TLS certificate, so no other orderer would listen.
    #[error(
        "the configuration of channel {channel} names TLS certificate {configured} for orderer \
         {orderer}, this node has {found}"
    )]
    OtherTls {
        /// The channel.
        channel: ChannelId,
        /// This node's number there.
        orderer: u64,
        /// The fingerprint in the configuration.
        configured: Fingerprint,
        /// This node's.
        found: Fingerprint,
    },
    /// Too many channels.
    #[error("this orderer has {CHANNELS_MAX} channels already, which is the limit")]
    TooMany,
    /// The roots in the configuration.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The chain could not be opened.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// The database could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused a thread, or the chain could not be read.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The node is stopping.
    #[error("this orderer is stopping")]
    Stopping,
}

impl From<JoinError> for RpcError {
    fn from(error: JoinError) -> Self {
        let code = match error {
            JoinError::Genesis(_) | JoinError::OtherChannel { .. } | JoinError::Tls(_) => {
                ErrorCode::Malformed
            }
            JoinError::OtherGenesis(_)
            | JoinError::NotAnOrderer { .. }
            | JoinError::OtherTls { .. } => ErrorCode::Forbidden,
            JoinError::TooMany => ErrorCode::TooLarge,
            JoinError::Chain(_) | JoinError::Store(_) => ErrorCode::Damaged,
            JoinError::Start(_) => ErrorCode::Internal,
            JoinError::Stopping => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
