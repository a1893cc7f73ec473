//! Which envelopes may be ordered. What is refused here never enters a block; what is admitted is
//! validated again by every peer, with the block's time instead of this orderer's clock.

use std::sync::Arc;

use bytes::Bytes;
use stela_identity::{Certificate, CertificateError, Identity, IdentityCache, IdentityError};
use stela_protocol::transaction::{
    Body, Envelope, Registration, TransactionError, TransactionHeader,
};
use stela_protocol::{ChannelId, ErrorCode, Fingerprint, RpcError, hash};
use stela_store::StoreError;

use crate::blocks::Blocks;
use crate::channel::Channel;
use crate::pending::Admitted;

/// Why an envelope was refused.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// Larger than the channel allows.
    #[error("the envelope has {actual} bytes, channel {channel} allows {limit}")]
    TooLarge {
        /// The channel.
        channel: ChannelId,
        /// Bytes of the envelope.
        actual: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// It cannot be understood.
    #[error(transparent)]
    Malformed(#[from] TransactionError),
    /// Configurations are not changed this way.
    #[error("channel {0} takes no configuration: its configuration is that of block 0")]
    Config(ChannelId),
    /// Made for another channel.
    #[error("the envelope is for channel {found}, not for {expected}")]
    WrongChannel {
        /// The channel in the envelope.
        found: ChannelId,
        /// The channel that it was sent to.
        expected: ChannelId,
    },
    /// Its time is too far from this orderer's.
    #[error(
        "the envelope's time {timestamp_ms} ms is more than {window_ms} ms from {now_ms} ms; \
         check the clock and sign it again"
    )]
    Expired {
        /// By the creator's clock.
        timestamp_ms: u64,
        /// By this orderer's clock.
        now_ms: u64,
        /// How far they may differ.
        window_ms: u64,
    },
    /// The channel does not know the creator's certificate.
    #[error("certificate {0} is not registered on this channel")]
    UnknownCreator(Fingerprint),
    /// The certificate is no member's.
    #[error("the creator's certificate is not acceptable: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate identifies nobody here and now.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signature is not the creator's.
    #[error("the signature of the envelope is not that of certificate {0}")]
    BadSignature(Fingerprint),
    /// The registry could not be read.
    #[error("the registry of certificates cannot be read: {0}")]
    Store(#[from] StoreError),
}

impl AdmissionError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } | Self::Malformed(TransactionError::TooLarge { .. }) => {
                ErrorCode::TooLarge
            }
            Self::Malformed(_) | Self::WrongChannel { .. } => ErrorCode::Malformed,
            Self::Config(_) => ErrorCode::Forbidden,
            Self::Expired { .. } => ErrorCode::Expired,
            Self::UnknownCreator(_) | Self::Certificate(_) | Self::Identity(_) => {
                ErrorCode::UnknownIdentity
            }
            Self::BadSignature(_) => ErrorCode::BadSignature,
            Self::Store(_) => ErrorCode::Damaged,
        }
    }

    /// Whether the same envelope may be admitted later.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

impl From<AdmissionError> for RpcError {
    fn from(error: AdmissionError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Decides about the envelopes of one channel. Needs no lock: many calls run at a time.
pub struct Admission {
    channel: Arc<Channel>,
    blocks: Blocks,
    identities: IdentityCache,
}

impl Admission {
    /// For a channel, with the certificates in its database.
    pub fn new(channel: Arc<Channel>, blocks: Blocks) -> Self {
        Self {
            channel,
            blocks,
            identities: IdentityCache::default(),
        }
    }

    /// Admits an envelope that a client sent.
    ///
    /// # Errors
    /// [`AdmissionError`] says why not.
    pub fn admit(&self, bytes: Bytes, now_ms: u64) -> Result<Admitted, AdmissionError> {
        let (envelope, admitted) = self.parse(bytes, now_ms)?;
        let identity = match &envelope.body {
            Body::Registration(registration) => self.registrant(registration, now_ms)?,
            Body::Transaction(transaction) => {
                self.creator(&transaction.proposal.header.creator, now_ms)?
            }
            Body::Config(_) => return Err(AdmissionError::Config(self.channel.id().clone())),
        };
        let signed = &envelope.signed;
        identity
            .verify(hash::domain::ENVELOPE, &signed.bytes, &signed.signature)
            .map_err(|_| AdmissionError::BadSignature(identity.fingerprint))?;
        Ok(admitted)
    }

    /// Admits an envelope that another orderer of the channel forwarded. That orderer has admitted
    /// it, so the signature is not verified a second time; an orderer that does not keep to this
    /// could as well put the envelope into a block of its own, where every peer refuses it.
    ///
    /// # Errors
    /// [`AdmissionError`] says why not.
    pub fn admit_forwarded(&self, bytes: Bytes, now_ms: u64) -> Result<Admitted, AdmissionError> {
        Ok(self.parse(bytes, now_ms)?.1)
    }

    fn parse(&self, bytes: Bytes, now_ms: u64) -> Result<(Envelope, Admitted), AdmissionError> {
        let limits = &self.channel.config.limits;
        let channel = self.channel.id();
        let (actual, limit) = (bytes.len(), limits.envelope_bytes_max);
        if actual > limit {
            return Err(AdmissionError::TooLarge {
                channel: channel.clone(),
                actual,
                limit,
            });
        }
        let envelope = Envelope::decode(bytes.clone())?;
        let header = envelope.header();
        if matches!(envelope.body, Body::Config(_)) {
            return Err(AdmissionError::Config(channel.clone()));
        }
        check_header(header, channel, now_ms, limits.window_ms)?;
        let admitted = Admitted::new(header.id(), header.timestamp_ms, bytes);
        Ok((envelope, admitted))
    }

    fn registrant(
        &self,
        registration: &Registration,
        now_ms: u64,
    ) -> Result<Arc<Identity>, AdmissionError> {
        let certificate = Certificate::from_der(&registration.certificate)?;
        Ok(self
            .identities
            .validate(&self.channel.msp, &certificate, now_ms)?)
    }

    fn creator(
        &self,
        fingerprint: &Fingerprint,
        now_ms: u64,
    ) -> Result<Arc<Identity>, AdmissionError> {
        // An identity that was only admitted for a registration is not known until a block says so.
        let Some(der) = self.blocks.certificate(fingerprint)? else {
            return Err(AdmissionError::UnknownCreator(*fingerprint));
        };
        let msp = &self.channel.msp;
        if let Some(identity) = self.identities.known(fingerprint, msp.sequence()) {
            identity.check_time(now_ms)?;
            return Ok(identity);
        }
        Ok(self
            .identities
            .validate(msp, &Certificate::from_der(&der)?, now_ms)?)
    }
}

fn check_header(
    header: &TransactionHeader,
    expected: &ChannelId,
    now_ms: u64,
    window_ms: u64,
) -> Result<(), AdmissionError> {
    if header.channel != *expected {
        let (found, expected) = (header.channel.clone(), expected.clone());
        return Err(AdmissionError::WrongChannel { found, expected });
    }
    if !header.is_within(now_ms, window_ms) {
        let timestamp_ms = header.timestamp_ms;
        return Err(AdmissionError::Expired {
            timestamp_ms,
            now_ms,
            window_ms,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
