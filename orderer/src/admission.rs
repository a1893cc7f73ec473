//! Which envelopes may be ordered. What is refused here never enters a block; what is admitted is
//! validated again by every peer, with the block's time instead of this orderer's clock.

use std::sync::Arc;

use bytes::Bytes;
use stela_identity::config_update::{self, ConfigUpdateError};
use stela_identity::{
    Certificate, CertificateError, CombinedVerifier, Identity, IdentityCache, IdentityError,
    SignatureToVerify,
};
use stela_protocol::config_update::ConfigUpdate;
use stela_protocol::transaction::{
    Body, Envelope, Registration, Signed, TransactionError, TransactionHeader,
};
use stela_protocol::{ChannelId, ErrorCode, Fingerprint, RpcError, hash};
use stela_store::StoreError;
use tokio::sync::watch;

use crate::blocks::Blocks;
use crate::channel::Channel;
use crate::configurations::InForce;
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
    /// A change of the configuration that would not be valid now.
    #[error("the configuration of channel {channel} is not changed: {source}")]
    ConfigUpdate {
        /// The channel.
        channel: ChannelId,
        /// Why not.
        source: Box<ConfigUpdateError>,
    },
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
            Self::ConfigUpdate { .. } => ErrorCode::ConfigRefused,
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
    in_force: watch::Receiver<Arc<InForce>>,
    blocks: Blocks,
    /// Of those that a block has made known.
    identities: IdentityCache,
    verifier: CombinedVerifier,
}

impl Admission {
    /// For a channel under whatever configuration is in force, with the certificates in its
    /// database.
    pub fn new(in_force: watch::Receiver<Arc<InForce>>, blocks: Blocks) -> Self {
        Self {
            in_force,
            blocks,
            identities: IdentityCache::default(),
            verifier: CombinedVerifier::default(),
        }
    }

    /// Admits an envelope that a client sent.
    ///
    /// # Errors
    /// [`AdmissionError`] says why not.
    pub fn admit(&self, bytes: Bytes, now_ms: u64) -> Result<Admitted, AdmissionError> {
        let (admitted, claim) = self.examine(bytes, now_ms)?;
        if let Some(claim) = claim {
            let signed = claim.signed.as_message();
            let verified = signed
                .key
                .verify(signed.domain, signed.message, signed.signature);
            claim.judge(verified.is_ok())?;
        }
        Ok(admitted)
    }

    /// The same, with the signatures of envelopes that come at the same time verified together.
    ///
    /// # Errors
    /// [`AdmissionError`] says why not.
    pub async fn admit_together(
        &self,
        bytes: Bytes,
        now_ms: u64,
    ) -> Result<Admitted, AdmissionError> {
        let (admitted, claim) = self.examine(bytes, now_ms)?;
        if let Some(claim) = claim {
            let verified = self.verifier.verify(claim.signed.clone()).await;
            claim.judge(verified.is_ok())?;
        }
        Ok(admitted)
    }

    /// All but the signature, which is left to be verified unless it was.
    fn examine(
        &self,
        bytes: Bytes,
        now_ms: u64,
    ) -> Result<(Admitted, Option<Claim>), AdmissionError> {
        let channel = self.channel();
        let envelope = parse(&channel, bytes.clone(), now_ms)?;
        let identity = match &envelope.body {
            Body::Registration(registration) => Self::registrant(&channel, registration, now_ms)?,
            Body::Transaction(transaction) => {
                let creator = &transaction.proposal.header.creator;
                self.creator(&channel, creator, now_ms)?
            }
            Body::Config(update) => {
                check_update(&channel, &envelope.signed, update, now_ms)?;
                return Ok((Admitted::parsed(&envelope, bytes), None));
            }
        };
        let signed = SignatureToVerify {
            key: identity.public_key,
            domain: hash::domain::ENVELOPE,
            message: envelope.signed.bytes.clone(),
            signature: envelope.signed.signature,
        };
        let creator = identity.fingerprint;
        let claim = Claim { creator, signed };
        Ok((Admitted::parsed(&envelope, bytes), Some(claim)))
    }

    /// Admits an envelope that another orderer of the channel forwarded. That orderer has admitted
    /// it, so the signature is not verified a second time; an orderer that does not keep to this
    /// could as well put the envelope into a block of its own, where every peer refuses it. A
    /// change of the configuration is: it is rare, and has a block of its own.
    ///
    /// # Errors
    /// [`AdmissionError`] says why not.
    pub fn admit_forwarded(&self, bytes: Bytes, now_ms: u64) -> Result<Admitted, AdmissionError> {
        let channel = self.channel();
        let envelope = parse(&channel, bytes.clone(), now_ms)?;
        if let Body::Config(update) = &envelope.body {
            check_update(&channel, &envelope.signed, update, now_ms)?;
        }
        Ok(Admitted::parsed(&envelope, bytes))
    }

    fn channel(&self) -> Arc<Channel> {
        self.in_force.borrow().channel.clone()
    }

    fn registrant(
        channel: &Channel,
        registration: &Registration,
        now_ms: u64,
    ) -> Result<Arc<Identity>, AdmissionError> {
        let certificate = Certificate::from_der(&registration.certificate)?;
        // Not through the cache: it holds only what a block has made known.
        Ok(Arc::new(channel.msp().validate(&certificate, now_ms)?))
    }

    fn creator(
        &self,
        channel: &Channel,
        fingerprint: &Fingerprint,
        now_ms: u64,
    ) -> Result<Arc<Identity>, AdmissionError> {
        let msp = channel.msp();
        if let Some(identity) = self.identities.known(fingerprint, msp.sequence()) {
            identity.check_time(now_ms)?;
            return Ok(identity);
        }
        let Some(der) = self.blocks.certificate(fingerprint)? else {
            return Err(AdmissionError::UnknownCreator(*fingerprint));
        };
        Ok(self
            .identities
            .validate(msp, &Certificate::from_der(&der)?, now_ms)?)
    }
}

/// That somebody signed an envelope.
struct Claim {
    creator: Fingerprint,
    signed: SignatureToVerify,
}

impl Claim {
    fn judge(&self, valid: bool) -> Result<(), AdmissionError> {
        match valid {
            true => Ok(()),
            false => Err(AdmissionError::BadSignature(self.creator)),
        }
    }
}

/// A change of the configuration may be larger than the channel's envelopes, or a channel could
/// shut itself off from ever being changed.
fn parse(channel: &Channel, bytes: Bytes, now_ms: u64) -> Result<Envelope, AdmissionError> {
    let limits = &channel.config().limits;
    let (actual, limit) = (bytes.len(), limits.envelope_bytes_max);
    let envelope = Envelope::decode(bytes)?;
    if actual > limit && !matches!(envelope.body, Body::Config(_)) {
        return Err(AdmissionError::TooLarge {
            channel: channel.id().clone(),
            actual,
            limit,
        });
    }
    check_header(envelope.header(), channel.id(), now_ms, limits.window_ms)?;
    Ok(envelope)
}

fn check_update(
    channel: &Channel,
    signed: &Signed,
    update: &ConfigUpdate,
    now_ms: u64,
) -> Result<(), AdmissionError> {
    let checked = config_update::check(channel.configuration(), signed, update, now_ms);
    checked
        .map(drop)
        .map_err(|error| AdmissionError::ConfigUpdate {
            channel: channel.id().clone(),
            source: Box::new(error),
        })
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
