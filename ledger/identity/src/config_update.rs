//! Whether a change of a channel's configuration is valid: one pure answer for orderers, peers and
//! clients, from the configuration in force, the block's time, and the envelope alone.
//!
//! | Rule | Why |
//! |---|---|
//! | update and change are of the channel | what was signed for one channel is worth nothing on another |
//! | its timestamp lies in the window around the block's time | as for every transaction |
//! | its creator is an `admin` of a member, valid at the block's time, and signed it | only administrators make everybody verify the rest |
//! | the base is the configuration in force, the sequence the next one | it counts once, and never on top of what its signers did not see |
//! | the new configuration is canonically encoded, and sound | nothing in it is hidden from those who sign, and no node falls over it |
//! | at most one orderer is added or removed | Raft's rule for safe changes: two majorities always meet |
//! | an orderer's number is never given again, and stays with its organization | an orderer's vote is bound to its number |
//! | the signatures satisfy the policy *in force* | no policy is lowered without satisfying it |
//!
//! A signature counts if its certificate is accepted by the configuration in force, valid at the
//! block's time, and its key has not counted before. A change that is valid is in force from the
//! next block on.

use std::collections::BTreeSet;
use std::fmt;

use stela_protocol::block::Block;
use stela_protocol::config::ChannelConfig;
use stela_protocol::config_update::{ConfigChange, ConfigSignature, ConfigUpdate};
use stela_protocol::hash::domain;
use stela_protocol::policy::{ADMIN, Signer};
use stela_protocol::transaction::{Body, Envelope, Signed};
use stela_protocol::{BlockNumber, ChannelId, Fingerprint, Message, OrgId, pb};

use crate::certificate::{Certificate, CertificateError};
use crate::configuration::{Configuration, ConfigurationError};
use crate::keys::PublicKey;
use crate::msp::{Identity, IdentityError};

/// Why a change of the configuration is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigUpdateError {
    /// Made for another channel.
    #[error("the change is for channel {found}, not for {expected}")]
    Channel {
        /// The channel that it names.
        found: ChannelId,
        /// The channel in force.
        expected: ChannelId,
    },
    /// Its timestamp is too far from the time.
    #[error(
        "its timestamp {timestamp_ms} ms is more than {window_ms} ms from {time_ms} ms: submit it \
         again"
    )]
    Expired {
        /// By the creator's clock.
        timestamp_ms: u64,
        /// The block's time.
        time_ms: u64,
        /// How far they may differ.
        window_ms: u64,
    },
    /// Its creator is nobody who may submit it.
    #[error("its creator: {0}")]
    Creator(SignerError),
    /// Its creator does not administrate.
    #[error("its creator {0} is not an administrator")]
    NotAdmin(Fingerprint),
    /// It was made for another configuration than the one in force.
    #[error(
        "it was made for another configuration than {sequence}, which is in force: propose it \
         again"
    )]
    Base {
        /// The number of the configuration in force.
        sequence: u64,
    },
    /// Its number is not the next one.
    #[error("the new configuration has number {found}, the next one is {expected}")]
    Sequence {
        /// The number that it has.
        found: u64,
        /// The number that it should have.
        expected: u64,
    },
    /// Its encoding is not the only one, so it may hold what nobody was shown.
    #[error("the new configuration is not canonically encoded")]
    NotCanonical,
    /// The new configuration is not sound.
    #[error("the new configuration: {0}")]
    Unsound(#[from] ConfigurationError),
    /// More than one orderer comes or goes.
    #[error("{added} orderers are added and {removed} removed: only one at a time")]
    TooManyOrderers {
        /// How many come.
        added: usize,
        /// How many go.
        removed: usize,
    },
    /// The number of a new orderer was given before.
    #[error("orderer {orderer} is new, but numbers up to {ever} were given before")]
    NumberReused {
        /// The number.
        orderer: u64,
        /// The highest that was ever given.
        ever: u64,
    },
    /// It forgets which numbers were given.
    #[error("numbers of orderers up to {expected} were given, it says {found}")]
    NumbersForgotten {
        /// The highest that it knows.
        found: u64,
        /// The highest that was ever given.
        expected: u64,
    },
    /// An orderer changes its organization under its number.
    #[error("orderer {0} cannot move to another organization: remove it, and add a new number")]
    OrdererMoved(u64),
    /// Too few administrators signed it.
    #[error("the signatures do not satisfy {policy}: {}", .signers)]
    Policy {
        /// The policy in force.
        policy: String,
        /// Who signed.
        signers: Signers,
    },
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is not accepted now.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signature is not the certificate's.
    #[error("the signature is not that of certificate {0}")]
    Signature(Fingerprint),
    /// The key has signed already, under this certificate or another one.
    #[error("the key of certificate {0} has signed already")]
    Again(Fingerprint),
}

/// What became of each signature of a change, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers(Vec<Result<Identity, SignerError>>);

impl Signers {
    /// Judges the signatures of a change by the configuration in force.
    pub fn of(
        current: &Configuration,
        change: &[u8],
        signatures: &[ConfigSignature],
        time_ms: u64,
    ) -> Self {
        let mut keys: BTreeSet<PublicKey> = BTreeSet::new();
        let judge = |signature: &ConfigSignature| {
            let identity = signer(current, change, signature, time_ms)?;
            if !keys.insert(identity.public_key) {
                return Err(SignerError::Again(identity.fingerprint));
            }
            Ok(identity)
        };
        Self(signatures.iter().map(judge).collect())
    }

    /// Each signature's signer, or why it does not count.
    pub fn verdicts(&self) -> &[Result<Identity, SignerError>] {
        &self.0
    }

    /// Those who count.
    pub fn valid(&self) -> impl Iterator<Item = &Identity> {
        self.0.iter().flatten()
    }

    /// Whether they are enough to change this configuration.
    pub fn satisfy(&self, current: &Configuration) -> bool {
        let signers: Vec<Signer> = self.valid().map(Identity::as_signer).collect();
        current.config().admin_policy.is_satisfied(&signers)
    }
}

impl fmt::Display for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nobody signed");
        }
        for (index, verdict) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            match verdict {
                Ok(identity) => {
                    let (organization, role) = (&identity.organization, &identity.role);
                    write!(f, "{separator}{organization}.{role} signed")?;
                }
                Err(error) => write!(f, "{separator}{error}")?,
            }
        }
        Ok(())
    }
}

/// Whether an update is valid in a block of this time, under the configuration in force before it.
/// Returns the configuration that is in force after it. `signed` is the envelope's payload, which
/// holds the update, with its creator's signature.
///
/// # Errors
/// [`ConfigUpdateError`] names the first rule that it breaks.
pub fn check(
    current: &Configuration,
    signed: &Signed,
    update: &ConfigUpdate,
    time_ms: u64,
) -> Result<Configuration, ConfigUpdateError> {
    check_channel(current, &update.header.channel)?;
    let window_ms = current.config().limits.window_ms;
    if !update.header.is_within(time_ms, window_ms) {
        let timestamp_ms = update.header.timestamp_ms;
        return Err(ConfigUpdateError::Expired {
            timestamp_ms,
            time_ms,
            window_ms,
        });
    }
    check_creator(current, signed, update, time_ms)?;
    let new = check_change(current, &update.change)?;
    let signers = Signers::of(current, &update.change_bytes, &update.signatures, time_ms);
    if !signers.satisfy(current) {
        let policy = current.config().admin_policy.to_string();
        return Err(ConfigUpdateError::Policy { policy, signers });
    }
    Ok(new)
}

/// Everything about a change but who signed and submits it: what whoever is asked to sign it wants
/// to know. Returns the configuration that it would put into force.
///
/// # Errors
/// [`ConfigUpdateError`] names the first rule that it breaks.
pub fn check_change(
    current: &Configuration,
    change: &ConfigChange,
) -> Result<Configuration, ConfigUpdateError> {
    check_channel(current, &change.channel)?;
    let sequence = current.config().sequence;
    if change.base != current.hash() {
        return Err(ConfigUpdateError::Base { sequence });
    }
    let canonical = pb::ChannelConfig::decode(change.config.clone())
        .is_ok_and(|config| config.encode_to_vec() == change.config);
    if !canonical {
        return Err(ConfigUpdateError::NotCanonical);
    }
    let new = Configuration::new(change.config.clone())?;
    check_channel(current, &new.config().channel)?;
    let (found, expected) = (new.config().sequence, sequence.saturating_add(1));
    if found != expected {
        return Err(ConfigUpdateError::Sequence { found, expected });
    }
    check_orderers(current.config(), new.config())?;
    Ok(new)
}

fn check_channel(current: &Configuration, found: &ChannelId) -> Result<(), ConfigUpdateError> {
    let expected = &current.config().channel;
    if found == expected {
        return Ok(());
    }
    Err(ConfigUpdateError::Channel {
        found: found.clone(),
        expected: expected.clone(),
    })
}

fn check_creator(
    current: &Configuration,
    signed: &Signed,
    update: &ConfigUpdate,
    time_ms: u64,
) -> Result<(), ConfigUpdateError> {
    let creator = identify(current, &update.certificate, time_ms);
    let creator = creator.map_err(ConfigUpdateError::Creator)?;
    let fingerprint = creator.fingerprint;
    if creator.role != ADMIN {
        return Err(ConfigUpdateError::NotAdmin(fingerprint));
    }
    creator
        .verify(domain::ENVELOPE, &signed.bytes, &signed.signature)
        .map_err(|_| ConfigUpdateError::Creator(SignerError::Signature(fingerprint)))
}

/// Who made a signature of a change, if it is valid.
fn signer(
    current: &Configuration,
    change: &[u8],
    signature: &ConfigSignature,
    time_ms: u64,
) -> Result<Identity, SignerError> {
    let identity = identify(current, &signature.certificate, time_ms)?;
    identity
        .verify(domain::CONFIG, change, &signature.signature)
        .map_err(|_| SignerError::Signature(identity.fingerprint))?;
    Ok(identity)
}

fn identify(current: &Configuration, der: &[u8], time_ms: u64) -> Result<Identity, SignerError> {
    let certificate = Certificate::from_der(der)?;
    Ok(current.msp().validate(&certificate, time_ms)?)
}

fn check_orderers(old: &ChannelConfig, new: &ChannelConfig) -> Result<(), ConfigUpdateError> {
    let missing = |from: &ChannelConfig, of: &ChannelConfig| -> Vec<u64> {
        let numbers = of.orderers.keys().copied();
        numbers
            .filter(|id| !from.orderers.contains_key(id))
            .collect()
    };
    let (added, removed) = (missing(old, new), missing(new, old));
    if added.len() + removed.len() > 1 {
        let (added, removed) = (added.len(), removed.len());
        return Err(ConfigUpdateError::TooManyOrderers { added, removed });
    }
    let ever = old.orderers_ever;
    if let Some(&orderer) = added.iter().find(|id| **id <= ever) {
        return Err(ConfigUpdateError::NumberReused { orderer, ever });
    }
    if new.orderers_ever < ever {
        let (found, expected) = (new.orderers_ever, ever);
        return Err(ConfigUpdateError::NumbersForgotten { found, expected });
    }
    let organization = |config: &ChannelConfig, id: &u64| -> Option<OrgId> {
        config.orderers.get(id).map(|o| o.organization.clone())
    };
    let moved = new.orderers.keys().find(|id| {
        let before = organization(old, id);
        before.is_some() && before != organization(new, id)
    });
    moved.map_or(Ok(()), |id| Err(ConfigUpdateError::OrdererMoved(*id)))
}

/// A header that names another block than the newest one with a valid configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block {number} names {found} as its last configuration, which is {expected}")]
pub struct WrongLastConfig {
    /// The block.
    pub number: BlockNumber,
    /// The number in its header.
    pub found: BlockNumber,
    /// The number that it has to be.
    pub expected: BlockNumber,
}

/// The configuration that a block puts into force, if it does; `last` is the last configuration in
/// the header of the block before it. Also checks what the block's own header says about that. Who
/// signed the block is not asked here: that is judged by `current`, too.
///
/// # Errors
/// [`WrongLastConfig`] when the header says something else.
pub fn follow(
    current: &Configuration,
    last: BlockNumber,
    block: &Block,
) -> Result<Option<Configuration>, WrongLastConfig> {
    let new = in_block(current, block);
    let (number, found) = (block.header.number, block.header.last_config);
    let expected = if new.is_some() { number } else { last };
    if found != expected {
        return Err(WrongLastConfig {
            number,
            found,
            expected,
        });
    }
    Ok(new)
}

/// A change stands alone in its block, or it is not valid.
fn in_block(current: &Configuration, block: &Block) -> Option<Configuration> {
    if !block.is_config() {
        return None;
    }
    let envelope = Envelope::decode(block.envelopes.first()?.clone()).ok()?;
    let Body::Config(update) = &envelope.body else {
        return None;
    };
    check(current, &envelope.signed, update, block.header.time_ms).ok()
}

/// Makes what administrators sign: `config` in place of the configuration in force. The number and
/// the numbers that orderers ever had are set here.
pub fn change(
    current: &Configuration,
    mut config: pb::ChannelConfig,
    description: &str,
) -> ConfigChange {
    config.sequence = current.config().sequence.saturating_add(1);
    let highest = config.orderers.iter().map(|orderer| orderer.id).max();
    let ever = current.config().orderers_ever;
    config.orderers_ever = highest.map_or(ever, |highest| highest.max(ever));
    ConfigChange {
        channel: current.config().channel.clone(),
        base: current.hash(),
        config: config.encode_to_vec().into(),
        description: description.to_owned(),
    }
}

#[cfg(test)]
mod tests;
