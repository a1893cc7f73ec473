//! The beginning of the flow: who asks, and whom.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use stela_identity::{Certificate, Credentials};
use stela_protocol::hash::domain;
use stela_protocol::transaction::{RequestHeader, Signed, TransactionHeader};
use stela_protocol::{ChannelId, Fingerprint, Message, pb};

use crate::endpoints::Endpoints;
use crate::error::ConnectError;
use crate::network::Network;
use crate::options::{GatewayOptions, Timeouts};
use crate::sources::Sources;

/// A client identity together with the peers that serve it. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

impl Gateway {
    /// Prepares the connections; each is made when it is first needed, so that a peer that is down
    /// is the business of the call that needs it. Needs a Tokio runtime around it.
    ///
    /// # Errors
    /// [`ConnectError`] when the endpoints or the TLS settings cannot be used at all.
    pub fn connect(options: GatewayOptions) -> Result<Self, ConnectError> {
        let inner = Inner {
            endpoints: Endpoints::connect(&options.endpoints, &options.tls)?,
            signer: Signer {
                credentials: options.credentials,
                sources: options.sources,
            },
            timeouts: options.timeouts,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// One of the channels that the peers have joined. Whether they have shows in its first call.
    pub fn network(&self, channel: ChannelId) -> Network {
        Network::new(self.inner.clone(), channel)
    }

    /// The certificate in whose name everything is asked.
    pub fn certificate(&self) -> &Certificate {
        &self.inner.signer.credentials.certificate
    }

    /// The fingerprint of [`certificate`](Self::certificate).
    pub fn fingerprint(&self) -> Fingerprint {
        self.inner.signer.fingerprint()
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("identity", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) endpoints: Endpoints,
    pub(crate) signer: Signer,
    pub(crate) timeouts: Timeouts,
}

/// Who signs, when, and with which nonces.
pub(crate) struct Signer {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) sources: Sources,
}

impl Signer {
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.credentials.certificate.fingerprint()
    }

    /// The head of a new transaction.
    pub(crate) fn header(&self, channel: &ChannelId) -> TransactionHeader {
        TransactionHeader {
            channel: channel.clone(),
            nonce: self.sources.nonce(),
            creator: self.fingerprint(),
            timestamp_ms: self.sources.now_ms(),
        }
    }

    /// The head of a new request for `method`.
    pub(crate) fn request_header(&self, channel: &ChannelId, method: &str) -> pb::RequestHeader {
        RequestHeader {
            header: self.header(channel),
            method: method.to_owned(),
        }
        .to_pb()
    }

    pub(crate) fn sign(&self, domain: &[u8], bytes: Bytes) -> Signed {
        let signature = self.credentials.sign(domain, &bytes);
        Signed { bytes, signature }
    }

    /// Signs a request that is not a proposal.
    pub(crate) fn request(&self, message: &impl Message) -> pb::SignedBytes {
        self.sign(domain::REQUEST, message.encode_to_vec().into())
            .into()
    }
}
