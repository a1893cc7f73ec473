//! A change of a channel's configuration, on its way from administrator to administrator.
//!
//! It is a file, JSON, that is made once and signed by each, offline, in any order; nothing in it is
//! secret. Whoever signs sees what would change, because the configuration that it is made for is
//! in it.
//!
//! | Field | What |
//! |---|---|
//! | `stela_channel_update` | the format's version, 1 |
//! | `base` | the encoded `ChannelConfig` that it is made for |
//! | `change` | the encoded `ConfigChange`, which is what is signed |
//! | `signatures` | for each signer her `certificate` (DER) and her `signature` |
//!
//! Bytes are in base64.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stela_identity::config_update::{self, SignerError, Signers};
use stela_identity::{Configuration, Credentials};
use stela_protocol::config_update::{ConfigChange, ConfigSignature, ConfigUpdate};
use stela_protocol::hash::domain;
use stela_protocol::limits::{CONFIG_SIGNATURES_MAX, SIGNATURE_BYTES};
use stela_protocol::transaction::{Signed, TransactionHeader, config_payload, envelope};
use stela_protocol::{Message, pb};

use crate::commit::CommitStatus;
use crate::error::ChannelUpdateError;
use crate::limits::UPDATE_FILE_BYTES_MAX;
use crate::network::Network;
use crate::transaction::submit_and_wait;

/// The version of the file.
const FILE_VERSION: u32 = 1;

/// A change that is sound for the configuration that it is made for, with the signatures that it
/// has so far.
#[derive(Debug, Clone)]
pub struct ChannelUpdate {
    base: Arc<Configuration>,
    new: Arc<Configuration>,
    change: ConfigChange,
    change_bytes: Bytes,
    signatures: Vec<ConfigSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    stela_channel_update: u32,
    base: String,
    change: String,
    signatures: Vec<FileSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSignature {
    certificate: String,
    signature: String,
}

impl ChannelUpdate {
    /// Proposes `config` in place of the one in force. Its number, and the numbers that orderers
    /// ever had, are set here.
    ///
    /// # Errors
    /// [`ChannelUpdateError`] when nothing would change, or a rule is broken.
    pub fn propose(
        base: Arc<Configuration>,
        config: pb::ChannelConfig,
        description: &str,
    ) -> Result<Self, ChannelUpdateError> {
        let unchanged = pb::ChannelConfig::decode(base.bytes().clone())
            .map(|config| config_update::change(&base, config, description));
        let change = config_update::change(&base, config, description);
        if unchanged.is_ok_and(|unchanged| unchanged == change) {
            return Err(ChannelUpdateError::Nothing);
        }
        Self::new(base, change.encode(), Vec::new())
    }

    fn new(
        base: Arc<Configuration>,
        change_bytes: Bytes,
        signatures: Vec<ConfigSignature>,
    ) -> Result<Self, ChannelUpdateError> {
        let change = ConfigChange::decode(change_bytes.clone())
            .map_err(|error| ChannelUpdateError::Format(error.to_string()))?;
        let new = Arc::new(config_update::check_change(&base, &change)?);
        Ok(Self {
            base,
            new,
            change,
            change_bytes,
            signatures,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ChannelUpdateError`] when it is something else, or the change in it breaks a rule.
    pub fn from_json(text: &[u8]) -> Result<Self, ChannelUpdateError> {
        let format = |why: String| ChannelUpdateError::Format(why);
        if text.len() > UPDATE_FILE_BYTES_MAX {
            return Err(format("it is too large".to_owned()));
        }
        let file: File = serde_json::from_slice(text).map_err(|error| format(error.to_string()))?;
        if file.stela_channel_update != FILE_VERSION {
            let version = file.stela_channel_update;
            return Err(format(format!("version {version} is not known here")));
        }
        if file.signatures.len() > CONFIG_SIGNATURES_MAX {
            return Err(format("it has too many signatures".to_owned()));
        }
        let base = Arc::new(Configuration::new(bytes("base", &file.base)?)?);
        let signatures = file.signatures.iter().map(FileSignature::read);
        let signatures = signatures.collect::<Result<_, _>>()?;
        Self::new(base, bytes("change", &file.change)?, signatures)
    }

    /// The file.
    pub fn to_json(&self) -> String {
        let file = File {
            stela_channel_update: FILE_VERSION,
            base: STANDARD.encode(self.base.bytes()),
            change: STANDARD.encode(&self.change_bytes),
            signatures: self.signatures.iter().map(FileSignature::of).collect(),
        };
        let mut text = serde_json::to_string_pretty(&file).expect("it holds numbers and text only");
        text.push('\n');
        text
    }

    /// The configuration that it is made for. Whether it is the one in force, whoever signs has to
    /// know: see [`Network::configuration`].
    pub fn base(&self) -> &Configuration {
        &self.base
    }

    /// The configuration that it would put into force.
    pub fn configuration(&self) -> &Configuration {
        &self.new
    }

    /// Why, in the words of whoever proposed it.
    pub fn description(&self) -> &str {
        &self.change.description
    }

    /// Who has signed it, each with the verdict at a time.
    pub fn signers(&self, at_ms: u64) -> Signers {
        Signers::of(&self.base, &self.change_bytes, &self.signatures, at_ms)
    }

    /// Whether enough administrators have signed it for a block of this time.
    pub fn is_satisfied(&self, at_ms: u64) -> bool {
        self.signers(at_ms).satisfy(&self.base)
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// [`ChannelUpdateError::Signer`] when it would not count, at this time or because the same key
    /// has signed.
    pub fn sign(
        &mut self,
        credentials: &Credentials,
        at_ms: u64,
    ) -> Result<(), ChannelUpdateError> {
        let signature = ConfigSignature {
            certificate: credentials.certificate.der().clone(),
            signature: credentials.sign(domain::CONFIG, &self.change_bytes),
        };
        self.add(signature, at_ms)
    }

    fn add(&mut self, signature: ConfigSignature, at_ms: u64) -> Result<(), ChannelUpdateError> {
        self.signatures.push(signature);
        let signers = self.signers(at_ms);
        if let Some(Err(error)) = signers.verdicts().last() {
            self.signatures.pop();
            return Err(error.clone().into());
        }
        Ok(())
    }

    /// The envelope in which an administrator submits it.
    pub(crate) fn seal(&self, header: TransactionHeader, submitter: &Credentials) -> Bytes {
        let bytes = config_payload(&ConfigUpdate {
            header,
            certificate: submitter.certificate.der().clone(),
            change_bytes: self.change_bytes.clone(),
            change: self.change.clone(),
            signatures: self.signatures.clone(),
        });
        let signature = submitter.sign(domain::ENVELOPE, &bytes);
        envelope(Signed { bytes, signature })
    }

    /// Takes over the signatures of a copy that somebody else has signed. Says how many were new.
    ///
    /// # Errors
    /// [`ChannelUpdateError`] when it is not the same change, or a signature does not count.
    pub fn merge(&mut self, other: &Self, at_ms: u64) -> Result<usize, ChannelUpdateError> {
        if self.change_bytes != other.change_bytes {
            return Err(ChannelUpdateError::Different);
        }
        let mut added = 0;
        for signature in &other.signatures {
            match self.add(signature.clone(), at_ms) {
                Ok(()) => added += 1,
                Err(ChannelUpdateError::Signer(SignerError::Again(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(added)
    }
}

impl Network {
    /// Submits a change in the gateway's name, who has to be an administrator, and waits until it
    /// is committed. It is in force from the next block on.
    ///
    /// # Errors
    /// [`ChannelUpdateError`] when it is refused, does not count, or is not seen in time.
    pub async fn submit_update(
        &self,
        update: &ChannelUpdate,
        deadline: Duration,
    ) -> Result<CommitStatus, ChannelUpdateError> {
        let info = self.info().await?;
        if info.config_bytes != update.base.bytes() {
            let (base, sequence) = (update.base.config().sequence, info.config.sequence);
            return Err(ChannelUpdateError::Outdated { base, sequence });
        }
        let signer = &self.inner.signer;
        let header = signer.header(&self.channel);
        let id = header.id();
        let envelope = update.seal(header, &signer.credentials);
        let status = submit_and_wait(self, id, &envelope, deadline).await?;
        Ok(status.valid()?)
    }
}

impl FileSignature {
    fn of(signature: &ConfigSignature) -> Self {
        Self {
            certificate: STANDARD.encode(&signature.certificate),
            signature: STANDARD.encode(signature.signature),
        }
    }

    fn read(&self) -> Result<ConfigSignature, ChannelUpdateError> {
        let signature = bytes("signature", &self.signature)?;
        let signature: [u8; SIGNATURE_BYTES] = signature.as_ref().try_into().map_err(|_| {
            ChannelUpdateError::Format(format!("a signature has {SIGNATURE_BYTES} bytes"))
        })?;
        Ok(ConfigSignature {
            certificate: bytes("certificate", &self.certificate)?,
            signature,
        })
    }
}

fn bytes(what: &str, text: &str) -> Result<Bytes, ChannelUpdateError> {
    let decoded = STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|error| ChannelUpdateError::Format(format!("{what}: {error}")))
}
