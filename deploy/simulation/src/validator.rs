//! A validator: the real validation and commit path of a peer on a disk in memory.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use stela_identity::Credentials;
use stela_peer::NotTaken;
use stela_peer::validation::BlockRefused;
use stela_protocol::block::Block;
use stela_protocol::hash::{domain, endorsement_message};
use stela_protocol::transaction::Proposal;
use stela_protocol::{Message, OrgId, TransactionId, pb};
use stela_store::{Head, LedgerRead, MemoryKv, StateSnapshot, TransactionRecord, layout};

use crate::contract;
use crate::message::Endorsed;

/// One peer's machine: its disk, and the process that may run on it.
pub(crate) struct Validator {
    organization: OrgId,
    credentials: Arc<Credentials>,
    kv: Arc<MemoryKv>,
    process: Option<stela_peer::Validator>,
    /// The orderer that it follows.
    pub(crate) source: usize,
    /// When it last got a block, or turned to another orderer.
    pub(crate) since_ms: u64,
}

/// What came of a block.
pub(crate) enum Taken {
    Committed(Box<Block>),
    /// It comes too late or too early.
    OutOfPlace,
    /// The process ended, because its disk refused.
    Ended,
}

impl Validator {
    pub(crate) fn new(credentials: Arc<Credentials>) -> Self {
        Self {
            organization: credentials.certificate.organization().clone(),
            credentials,
            kv: Arc::new(MemoryKv::new(layout::FAMILIES)),
            process: None,
            source: 0,
            since_ms: 0,
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Starts the process, which joins the channel or finds that it has.
    pub(crate) fn start(&mut self, genesis: &Block) -> anyhow::Result<()> {
        let (kv, id) = (self.kv.clone(), &genesis.header.channel);
        let opened = stela_peer::Validator::open(kv.clone(), id, &self.organization)?;
        self.process = Some(match opened {
            Some(validator) => validator,
            None => stela_peer::Validator::join(kv, genesis, &self.organization)?,
        });
        Ok(())
    }

    pub(crate) fn crash(&mut self, spared: usize) {
        self.process = None;
        self.kv = Arc::new(self.kv.crash_keeping(spared));
    }

    pub(crate) fn head(&self) -> Option<Head> {
        Some(self.process.as_ref()?.ledger().head())
    }

    /// Takes a block that came from an orderer.
    pub(crate) fn take(&mut self, bytes: Bytes, disk_is_full: bool) -> anyhow::Result<Taken> {
        let process = self.process.as_ref().context("it does not run")?;
        let message = pb::Block::decode(bytes)?;
        let number = Block::from_pb(message.clone())?.header.number;
        let expected = process.ledger().head().height;
        self.kv.set_failing(disk_is_full);
        let taken = process.take(message);
        self.kv.set_failing(false);
        match taken {
            Ok(block) => Ok(Taken::Committed(Box::new(block))),
            Err(NotTaken::Refused(BlockRefused::Block(_))) if number.0 != expected => {
                Ok(Taken::OutOfPlace)
            }
            Err(NotTaken::Store(error)) if disk_is_full && !error.is_retryable() => {
                Ok(Taken::Ended)
            }
            Err(error) => Err(error).with_context(|| format!("block {number}")),
        }
    }

    /// Runs a proposal's contract and signs the result; nothing when the contract cannot be run.
    pub(crate) fn endorse(&self, proposal_bytes: &Bytes) -> anyhow::Result<Endorsed> {
        let proposal = Proposal::decode(proposal_bytes.clone())?;
        let result = contract::run(&proposal, &self.snapshot()?)?;
        let message = endorsement_message(proposal_bytes, &result);
        let signature = self.credentials.sign(domain::ENDORSEMENT, &message);
        Ok(Endorsed {
            transaction: proposal.header.id(),
            result,
            endorsement: pb::Endorsement {
                endorser: self.credentials.fingerprint().to_bytes(),
                signature: Bytes::copy_from_slice(&signature),
            },
        })
    }

    /// What became of a transaction, as `CommitStatus` answers it.
    pub(crate) fn status(&self, id: &TransactionId) -> anyhow::Result<Option<TransactionRecord>> {
        let process = self.process.as_ref().context("it does not run")?;
        process.check_sound()?;
        Ok(process.ledger().transaction(id)?)
    }

    pub(crate) fn snapshot(&self) -> anyhow::Result<StateSnapshot> {
        let process = self.process.as_ref().context("it does not run")?;
        Ok(process.ledger().snapshot()?)
    }
}
