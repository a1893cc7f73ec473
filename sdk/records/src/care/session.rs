//! One user at one gateway.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stela_client::{Contract, Network, Proposal, SideData, Submitted};
use stela_consent::Id;
use stela_healthcare::PublicKeyText;
use stela_healthcare::answer::Done;
use stela_healthcare::request::{RegisterEncryptionKey, RegisterPatient};
use stela_ipfs::Node;
use stela_protocol::{ContractName, OrgId};
use stela_storage::{StorageEndpoint, Uploader};

use super::error::LedgerError;
use crate::keys::EncryptionKeyPair;

/// What a session is made of.
pub struct SessionOptions {
    /// The channel, as the user's gateway sees it.
    pub network: Network,
    /// The name of the healthcare contract on it.
    pub contract: ContractName,
    /// The user's organization.
    pub organization: OrgId,
    /// SHA-256 of her certificate.
    pub fingerprint: stela_protocol::Fingerprint,
    /// Her encryption keys.
    pub encryption: Arc<EncryptionKeyPair>,
    /// Her own IPFS node.
    pub node: Node,
    /// Talks to storage nodes in the user's name.
    pub uploader: Uploader,
    /// The storage nodes of the channel, the own organization's first.
    pub storages: Vec<StorageEndpoint>,
    /// How many organizations must hold a ciphertext before its record is submitted.
    pub holders_min: usize,
    /// How long a fetch may take.
    pub fetch: Duration,
}

/// One user at one gateway; cheap to share by reference.
pub struct Session {
    pub(super) options: SessionOptions,
    pub(super) contract: Contract,
}

impl Session {
    /// Opens a session; nothing is asked of the network yet.
    pub fn new(options: SessionOptions) -> Self {
        let contract = options.network.contract(options.contract.clone());
        Self { options, contract }
    }

    /// The channel.
    pub fn network(&self) -> &Network {
        &self.options.network
    }

    /// The user's own IPFS node.
    pub fn node(&self) -> &Node {
        &self.options.node
    }

    /// Ends the session's IPFS node in good order.
    pub async fn close(self) {
        self.options.node.shutdown().await;
    }

    /// Publishes the encryption key, so that record keys can be wrapped for this user. A later one
    /// replaces it.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn register_encryption_key(&self) -> Result<Submitted, LedgerError> {
        let encoded = self.options.encryption.public().encode();
        let key = PublicKeyText::try_from(data_encoding::BASE64.encode(&encoded));
        let key = key.map_err(|_| LedgerError::Answer {
            function: "register_encryption_key",
            source: serde::ser::Error::custom("the contract takes keys of another length"),
        })?;
        self.submit_json::<_, Done>(
            "register_encryption_key",
            &RegisterEncryptionKey { key },
            None,
        )
        .await
        .map(|(_, submitted)| submitted)
    }

    /// Makes a patient known on the channel; her certificate must name this id.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn register_patient(&self, patient: Id) -> Result<Submitted, LedgerError> {
        self.submit_json::<_, Done>("register_patient", &RegisterPatient { patient }, None)
            .await
            .map(|(_, submitted)| submitted)
    }

    /// Makes a transaction of one JSON argument, with side data beside it.
    pub(super) async fn submit_json<R: Serialize, A: DeserializeOwned>(
        &self,
        function: &'static str,
        request: &R,
        side: Option<SideData>,
    ) -> Result<(A, Submitted), LedgerError> {
        let mut builder = self.contract.proposal(function).json(request);
        if let Some(side) = side {
            builder = builder.side(side);
        }
        let proposal: Proposal = builder.build()?;
        let submitted = self.contract.submit_proposal(&proposal).await?;
        let answer = serde_json::from_slice(&submitted.response);
        let answer = answer.map_err(|source| LedgerError::Answer { function, source })?;
        Ok((answer, submitted))
    }

    /// Asks the contract a question; nothing is written.
    pub(super) async fn ask<R: Serialize, A: DeserializeOwned>(
        &self,
        function: &'static str,
        request: &R,
    ) -> Result<A, LedgerError> {
        let argument = serde_json::to_vec(request)
            .map_err(|source| LedgerError::Answer { function, source })?;
        let payload = self.contract.evaluate(function, [argument]).await?;
        serde_json::from_slice(&payload).map_err(|source| LedgerError::Answer { function, source })
    }
}

/// The time by which a client chooses recipients; the contract judges consents by its own.
#[allow(
    clippy::disallowed_methods,
    reason = "an SDK session is a driver: it owns the clock"
)]
pub(super) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
