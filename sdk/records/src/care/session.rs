//! One user at one gateway.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stela_client::{Contract, Network, Proposal, SideData, Submitted};
use stela_consent::Id;
use stela_healthcare::PublicKeyText;
use stela_healthcare::answer::Done;
use stela_healthcare::request::{RegisterEncryptionKey, RegisterPatient};
use stela_ipfs::{BlobStore, Node};
use stela_protocol::{ContractName, OrgId};
use stela_storage::{StorageEndpoint, Uploader};

use super::error::LedgerError;
use super::kept::{KeptError, Reads};
use super::progress::Progress;
use super::uploads::{Upload, Uploads};
use crate::keys::EncryptionKeyPair;
use crate::limits::{AGREEMENT_ATTEMPTS_MAX, AGREEMENT_PAUSE};

/// What a session is made of.
pub struct SessionOptions {
    /// The channel, as the user's gateway sees it.
    pub network: Network,
    /// The channel as peers of other organizations see it: a key is wrapped for somebody only if
    /// they name the same encryption key for her as the user's gateway does.
    pub witness: Network,
    /// The name of the healthcare contract on it.
    pub contract: ContractName,
    /// The user's organization.
    pub organization: OrgId,
    /// The other organizations whose records officers may be asked to review what she submits.
    pub reviewers: Vec<OrgId>,
    /// SHA-256 of her certificate.
    pub fingerprint: stela_protocol::Fingerprint,
    /// Her encryption keys, the published half among them.
    pub encryption: Arc<EncryptionKeyPair>,
    /// Her other key pairs, which open what was wrapped for them: those before, and one that is
    /// about to be published.
    pub others: Vec<EncryptionKeyPair>,
    /// Her own IPFS node, for this session's transfers alone: when the session ends, every block
    /// and every pin goes that no unfinished transfer needs.
    pub node: Node,
    /// Talks to storage nodes in the user's name.
    pub uploader: Uploader,
    /// The storage nodes of the channel, the own organization's first.
    pub storages: Vec<StorageEndpoint>,
    /// How many organizations must hold a ciphertext before its record is submitted.
    pub holders_min: usize,
    /// How long a fetch may take, beside what the size of a blob adds.
    pub fetch: Duration,
    /// Where is kept what transfers that are interrupted need to be resumed.
    pub transfers: PathBuf,
    /// Who is told how far transfers are.
    pub progress: Arc<dyn Progress>,
}

/// One user at one gateway; cheap to share by reference.
pub struct Session {
    pub(super) options: SessionOptions,
    pub(super) contract: Contract,
    pub(super) witness: Contract,
    pub(super) uploads: Uploads,
    pub(super) reads: Reads,
}

impl Session {
    /// Opens a session; nothing is asked of the network yet.
    ///
    /// # Errors
    /// [`KeptError`] when the folder for transfers cannot be used.
    pub fn new(options: SessionOptions) -> Result<Self, KeptError> {
        let contract = options.network.contract(options.contract.clone());
        let witness = options.witness.contract(options.contract.clone());
        Ok(Self {
            uploads: Uploads::open(&options.transfers)?,
            reads: Reads::open(&options.transfers)?,
            options,
            contract,
            witness,
        })
    }

    /// The channel.
    pub fn network(&self) -> &Network {
        &self.options.network
    }

    /// The user's own IPFS node.
    pub fn node(&self) -> &Node {
        &self.options.node
    }

    /// Ends the session's IPFS node in good order. The ciphertexts that passed through it are
    /// removed from this machine, but for those of unfinished uploads and reads: storage nodes hold
    /// those that count.
    pub async fn close(self) {
        if let Err(error) = self.collect().await {
            tracing::warn!(%error, "ciphertexts that passed through this node are still here");
        }
        self.options.node.shutdown().await;
    }

    async fn collect(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let node = &self.options.node;
        let uploads: Result<Vec<_>, _> =
            self.uploads.list()?.into_iter().map(|u| u.upload).collect();
        // What an upload needs is not known while its file cannot be read; then nothing is unpinned.
        if let Ok(uploads) = uploads {
            let needed: Vec<_> = uploads.iter().filter_map(Upload::cid).collect();
            for pin in node.pins().await? {
                if !needed.contains(&pin.cid) {
                    node.unpin(&pin.cid).await?;
                }
            }
        }
        let now_ms = now_ms();
        // The system may date a file a few milliseconds back.
        let before_ms = self.reads.since_ms(now_ms)?;
        let before_ms = before_ms.map_or(now_ms, |since_ms| since_ms.saturating_sub(1_000));
        node.collect_garbage(before_ms).await?;
        Ok(())
    }

    /// Every key pair that may open something for this user, the newest first.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &EncryptionKeyPair> + Clone {
        std::iter::once(&*self.options.encryption).chain(&self.options.others)
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

    /// Makes a patient known on the channel; her certificate must name this id. That she is known
    /// already is no error.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn register_patient(&self, patient: Id) -> Result<(), LedgerError> {
        let request = RegisterPatient { patient };
        match self
            .submit_json::<_, Done>("register_patient", &request, None)
            .await
        {
            Err(error) if error.is_refusal("already-exists") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Makes a transaction of one JSON argument of which nothing but the transaction is of interest.
    pub(super) async fn submit_done<R: Serialize>(
        &self,
        function: &'static str,
        request: &R,
    ) -> Result<Submitted, LedgerError> {
        let (Done {}, submitted) = self.submit_json(function, request, None).await?;
        Ok(submitted)
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
        ask(&self.contract, function, request).await
    }
}

impl Session {
    /// Asks the user's gateway and the witness, and answers what both say: one peer alone could
    /// show another document. One of them may be a block behind, so they are asked again for a
    /// while.
    pub(super) async fn ask_both<R: Serialize, A: DeserializeOwned + PartialEq>(
        &self,
        function: &'static str,
        request: &R,
    ) -> Result<A, LedgerError> {
        let mut last = LedgerError::Disputed;
        for _ in 0..AGREEMENT_ATTEMPTS_MAX {
            let answer: A = self.ask(function, request).await?;
            match ask::<R, A>(&self.witness, function, request).await {
                Ok(same) if same == answer => return Ok(answer),
                Ok(_) => last = LedgerError::Disputed,
                Err(error) => last = error,
            }
            tokio::time::sleep(AGREEMENT_PAUSE).await;
        }
        Err(last)
    }
}

pub(super) async fn ask<R: Serialize, A: DeserializeOwned>(
    contract: &Contract,
    function: &'static str,
    request: &R,
) -> Result<A, LedgerError> {
    let argument =
        serde_json::to_vec(request).map_err(|source| LedgerError::Answer { function, source })?;
    let payload = contract.evaluate(function, [argument]).await?;
    serde_json::from_slice(&payload).map_err(|source| LedgerError::Answer { function, source })
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
