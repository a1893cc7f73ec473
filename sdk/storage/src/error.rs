//! What can go wrong, one type per operation.

use stela_client::ConnectError;
use stela_identity::{CertificateError, IdentityError};
use stela_ipfs::{Cid, FetchError, PeerId, StoreError};
use stela_protocol::transaction::TransactionError;
use stela_protocol::{ChannelId, ErrorCode, OrgId, RpcError};

use crate::upload::{Failure, Holder};

/// A request was not accepted, whatever it asks for.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The certificate is none.
    #[error("the caller's certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The channel's membership does not vouch for the certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signature does not fit the request.
    #[error("the signature does not fit the request")]
    Signature,
    /// The request cannot be understood.
    #[error("the request cannot be understood: {0}")]
    Malformed(String),
    /// The head of the request is not well formed.
    #[error("the head of the request: {0}")]
    Header(#[from] TransactionError),
    /// Signed under another certificate than it carries.
    #[error("the request names another certificate than it carries")]
    OtherCreator,
    /// Meant for another channel.
    #[error("the request is for channel {actual}, this node serves {expected}")]
    OtherChannel {
        /// The node's channel.
        expected: ChannelId,
        /// The request's channel.
        actual: ChannelId,
    },
    /// Meant for another storage node.
    #[error("the request is for another storage node, this one is {0}")]
    OtherNode(PeerId),
    /// The timestamp lies outside the window around the node's clock.
    #[error("the request was made {off_ms} ms from now; check the clocks")]
    Expired {
        /// How far from the node's clock.
        off_ms: u64,
    },
    /// The same request was served before.
    #[error("the request was made before")]
    Replayed,
    /// More requests than can be remembered ([`crate::limits::REPLAYS_MAX`]).
    #[error("more requests than can be served now")]
    Crowded,
}

impl RequestError {
    /// Whether a new request may be accepted later.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Certificate(_) | Self::Malformed(_) | Self::Header(_) | Self::OtherCreator => {
                ErrorCode::Malformed
            }
            Self::Identity(_) => ErrorCode::UnknownIdentity,
            Self::Signature => ErrorCode::BadSignature,
            Self::OtherChannel { .. } => ErrorCode::UnknownChannel,
            Self::OtherNode(_) => ErrorCode::Forbidden,
            Self::Expired { .. } => ErrorCode::Expired,
            Self::Replayed => ErrorCode::Replayed,
            Self::Crowded => ErrorCode::Overloaded,
        }
    }
}

/// A node was not let into the swarm.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The request was not accepted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not a peer id.
    #[error("not a libp2p peer id")]
    PeerId,
    /// As many nodes as may be admitted.
    #[error("{peer} is not admitted: ADMITTED_MAX nodes are in the swarm already")]
    Full {
        /// Who asked to be admitted.
        peer: PeerId,
    },
}

impl AdmitError {
    /// Whether asking again later can help.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Request(error) => error.code(),
            Self::PeerId => ErrorCode::Malformed,
            Self::Full { .. } => ErrorCode::Overloaded,
        }
    }
}

/// A blob is not held. If it was leased before, it still is.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The request was not accepted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not a CID.
    #[error("not a CID")]
    Cid,
    /// The caller's role may not upload.
    #[error("the role {role} may not have blobs held")]
    Role {
        /// The caller's role.
        role: String,
    },
    /// The caller or her organization has as much under lease as she may.
    #[error("{cid} is not held: {limit} is used up")]
    Quota {
        /// The blob.
        cid: Cid,
        /// The name of the limit.
        limit: &'static str,
    },
    /// As many blobs are being fetched as may be.
    #[error("{cid} is not held: {limit} blobs are being fetched; try again")]
    Busy {
        /// The blob.
        cid: Cid,
        /// The name of the limit.
        limit: &'static str,
    },
    /// The blob has another size than the caller said.
    #[error("{cid} has {actual} bytes, not {declared}")]
    Size {
        /// The blob.
        cid: Cid,
        /// What the caller said.
        declared: u64,
        /// What it is.
        actual: u64,
    },
    /// The blob did not arrive.
    #[error("{cid} did not arrive: {source}")]
    Fetch {
        /// The blob.
        cid: Cid,
        /// Why not.
        source: Box<FetchError>,
    },
    /// The lease could not be written down.
    #[error("the lease of {cid} cannot be written: {source}")]
    Disk {
        /// The blob.
        cid: Cid,
        /// Why not.
        source: std::io::Error,
    },
}

impl HoldError {
    /// Whether asking again later can help.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Request(error) => error.code(),
            Self::Cid => ErrorCode::Malformed,
            Self::Role { .. } => ErrorCode::Forbidden,
            Self::Quota { .. } | Self::Size { .. } => ErrorCode::TooLarge,
            Self::Busy { .. } => ErrorCode::Overloaded,
            Self::Fetch { source, .. } => fetch_code(source),
            Self::Disk { source, .. } => disk_code(source),
        }
    }
}

/// A full disk is worth another try, at this node later or at another one now.
fn disk_code(error: &std::io::Error) -> ErrorCode {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ErrorCode::Overloaded
        }
        _ => ErrorCode::Internal,
    }
}

fn fetch_code(error: &FetchError) -> ErrorCode {
    match error {
        error if error.disk().is_some_and(StoreError::is_full) => ErrorCode::Overloaded,
        FetchError::Stopped => ErrorCode::Unavailable,
        FetchError::TooLarge { .. } => ErrorCode::TooLarge,
        FetchError::Malformed { .. } => ErrorCode::Malformed,
        error if error.is_retryable() => ErrorCode::Unavailable,
        _ => ErrorCode::Internal,
    }
}

/// A report was not given.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The request was not accepted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The caller does not administer this node.
    #[error("only an administrator of the node's own organization is told what it keeps")]
    Forbidden,
    /// The disk failed.
    #[error("what is kept cannot be listed: {0}")]
    Disk(#[source] StoreError),
}

impl ReportError {
    /// Whether asking again later can help.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Request(error) => error.code(),
            Self::Forbidden => ErrorCode::Forbidden,
            Self::Disk(_) => ErrorCode::Internal,
        }
    }
}

macro_rules! into_rpc {
    ($($type:ty),*) => {
        $(impl From<$type> for RpcError {
            fn from(error: $type) -> Self {
                Self::new(error.code(), error.to_string())
            }
        })*
    };
}

into_rpc!(RequestError, AdmitError, HoldError, ReportError);

/// A storage node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] ConnectError),
    /// The node refused or failed.
    #[error("{procedure} at the storage node of {organization}: {source}")]
    Rpc {
        /// Whose node.
        organization: OrgId,
        /// What was asked.
        procedure: &'static str,
        /// What it answered.
        source: RpcError,
    },
    /// Its IPFS node cannot be reached.
    #[error("the storage node of {organization} cannot be reached in the swarm: {source}")]
    Swarm {
        /// Whose node.
        organization: OrgId,
        /// Why not.
        source: Box<stela_ipfs::ConnectError>,
    },
    /// It has no address in the swarm, or the own node's allow-list is full.
    #[error("the storage node of {organization} cannot be reached in the swarm: {why}")]
    NoWay {
        /// Whose node.
        organization: OrgId,
        /// Why not.
        why: &'static str,
    },
    /// It stopped to fetch the blob half way, or does not answer.
    #[error("the storage node of {organization} went no further than {here} of {bytes} bytes")]
    Stalled {
        /// Whose node.
        organization: OrgId,
        /// Bytes that it had.
        here: u64,
        /// Bytes of the blob.
        bytes: u64,
    },
}

impl CallError {
    /// Whether asking again can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Endpoint(error) => error.is_retryable(),
            Self::Rpc { source, .. } => source.is_retryable(),
            Self::Swarm { source, .. } => source.is_retryable(),
            Self::NoWay { .. } => false,
            Self::Stalled { .. } => true,
        }
    }
}

/// An upload is not acknowledged. Asking again is safe: whoever holds the blob says so at once.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The channel names too few organizations with storage.
    #[error("{needed} organizations must hold the blob, {known} have storage nodes")]
    TooFew {
        /// How many must hold it.
        needed: usize,
        /// How many there are.
        known: usize,
    },
    /// Too few organizations hold it.
    #[error(
        "{cid} is held by {} of the {needed} organizations needed ({}); {}",
        .holders.len(), names(.holders), reasons(.failures)
    )]
    NotHeld {
        /// The blob.
        cid: Cid,
        /// How many organizations must hold it.
        needed: usize,
        /// Who holds it.
        holders: Vec<Holder>,
        /// Who does not, and why.
        failures: Vec<Failure>,
    },
}

impl UploadError {
    /// Whether trying again can help: enough of those who failed may yet succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TooFew { .. } => false,
            Self::NotHeld {
                needed,
                holders,
                failures,
                ..
            } => {
                let retryable = failures.iter().filter(|f| f.error.is_retryable());
                let mut organizations: Vec<_> = retryable
                    .map(|f| &f.organization)
                    .chain(holders.iter().map(|h| &h.organization))
                    .collect();
                organizations.sort();
                organizations.dedup();
                organizations.len() >= *needed
            }
        }
    }
}

fn names(holders: &[Holder]) -> String {
    let names: Vec<_> = holders
        .iter()
        .map(|holder| holder.organization.as_str())
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn reasons(failures: &[Failure]) -> String {
    let reasons: Vec<_> = failures
        .iter()
        .map(|failure| failure.error.to_string())
        .collect();
    reasons.join("; ")
}
