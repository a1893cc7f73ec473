//! Whether a block and its transactions are valid, and what they change.
//!
//! Everything here is decided from the block, the configuration in force and a snapshot of the
//! ledger at the block before. There is no clock and no randomness, and nothing is written: every
//! peer that validates the same block finds the same verdicts, writes and state hash.
//!
//! The first check that a transaction fails is its verdict. In order:
//!
//! | Check | Verdict |
//! |---|---|
//! | it can be decoded | as [`TransactionError::code`] says |
//! | it is of this channel | `TARGET_CHAIN_NOT_FOUND` |
//! | its timestamp lies in the window around the block's time | `EXPIRED` |
//! | its creator is known since an earlier block, valid at the block's time, and signed it | `BAD_CREATOR_SIGNATURE` |
//! | its id is new, in the ledger and in the block; a configuration counts once by what it is based on | `DUPLICATE_TXID` |
//! | a registered certificate is acceptable at the block's time | `INVALID_REGISTRATION` |
//! | a change of the configuration is alone in its block and valid ([`config_update`]) | `INVALID_CONFIG_TRANSACTION` |
//! | its contract is defined | `INVALID_CHAINCODE` |
//! | the package that ran, and the settings that it ran under, are the defined ones | `EXPIRED_CHAINCODE` |
//! | the block's time is before the result's expiry, if it has one | `EXPIRED_RESULT` |
//! | its endorsements satisfy the contract's policy | `ENDORSEMENT_POLICY_FAILURE` |
//! | what it read is unchanged, earlier writes of the block included | `MVCC_READ_CONFLICT` |
//! | the ranges that it read have the same keys and versions | `PHANTOM_READ_CONFLICT` |
//!
//! An id is taken by the first transaction with a valid signature of its creator, whatever its
//! verdict is.
//!
//! A block is judged by the configuration before it, also the one that changes it.
//!
//! [`TransactionError::code`]: stela_protocol::transaction::TransactionError::code

mod header;
mod mvcc;
mod recount;
mod signatures;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use stela_identity::{Certificate, Configuration, config_update};
use stela_protocol::block::{Block, BlockHeader};
use stela_protocol::config::{self, ChannelConfig, ConfigError};
use stela_protocol::transaction::{Body, Envelope, Transaction, TransactionHeader};
use stela_protocol::{Hash32, OrgId, TransactionId, ValidationCode, hash};
use stela_store::{BlockCommit, LedgerRead, SidePromise, StateSnapshot, StateWrite, StoreError};

pub use self::header::{BlockRefused, Tip, check_block};
use self::mvcc::Overlay;
pub(crate) use self::recount::state_hash;
use crate::membership::Membership;

/// By what a block is judged.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The configuration in force before the block.
    pub membership: &'a Membership,
    /// Whose peer this is. It decides only which side items have to be kept here.
    pub organization: &'a OrgId,
}

/// Judges the transactions of a block that [`check_block`] has accepted, and says what it changes.
/// `snapshot` is the ledger before the block.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be read. An invalid transaction is no error.
pub fn validate(
    rules: &Rules<'_>,
    block: &Block,
    snapshot: &StateSnapshot,
) -> Result<BlockCommit, StoreError> {
    let config = rules.membership.config();
    let mut candidates: Vec<Candidate> = block.envelopes.iter().map(Candidate::decode).collect();
    for candidate in &mut candidates {
        candidate.check_header(config, &block.header);
    }
    signatures::check_creators(
        rules.membership,
        block.header.time_ms,
        &mut candidates,
        snapshot,
    )?;
    check_duplicates(&mut candidates, snapshot)?;
    for candidate in &mut candidates {
        candidate.check_body(rules.membership, block);
    }
    signatures::check_endorsements(
        rules.membership,
        block.header.time_ms,
        &mut candidates,
        snapshot,
    )?;
    let overlay = mvcc::check(block.header.number, &mut candidates, snapshot)?;
    Ok(commit(
        rules,
        block,
        &candidates,
        &overlay,
        &snapshot.head().state_hash,
    ))
}

/// What block 0 changes: it puts its configuration into force and makes the certificates in it
/// known. Returns the configuration as it travelled, too.
///
/// # Errors
/// [`ConfigError`] when it is not the first block of a channel.
pub fn genesis(block: &Block) -> Result<(BlockCommit, Bytes), ConfigError> {
    let (bytes, config) = config::from_genesis(block)?;
    let codes = vec![ValidationCode::Valid];
    let header = &block.header;
    let state_hash = hash::state(&Hash32::ZERO, header.number, &block.hash, &codes, []);
    let known = |der: &Bytes| (hash::fingerprint(der), der.clone());
    let commit = BlockCommit {
        number: header.number,
        previous_hash: header.previous_hash,
        header_hash: block.hash,
        time_ms: header.time_ms,
        last_config: header.last_config,
        block: block.to_pb().encode_to_vec().into(),
        codes,
        state_hash,
        writes: Vec::new(),
        transactions: Vec::new(),
        certificates: config.certificates.iter().map(known).collect(),
        side: Vec::new(),
        config: Some(bytes.clone()),
    };
    Ok((commit, bytes))
}

/// A transaction under examination.
struct Candidate {
    envelope: Option<Envelope>,
    /// The creator's certificate if it travels in the envelope, and can be read.
    certificate: Option<Certificate>,
    /// What a valid change puts into force.
    configuration: Option<Configuration>,
    /// The first check that it failed.
    verdict: Option<ValidationCode>,
    /// Whether its creator's signature is valid.
    signed: bool,
    /// Whether it takes its id.
    takes_id: bool,
}

impl Candidate {
    fn decode(bytes: &Bytes) -> Self {
        let (envelope, verdict) = match Envelope::decode(bytes.clone()) {
            Ok(envelope) => (Some(envelope), None),
            Err(error) => (None, Some(error.code())),
        };
        let certificate = match envelope.as_ref().map(|envelope| &envelope.body) {
            Some(Body::Registration(body)) => Certificate::from_der(&body.certificate).ok(),
            Some(Body::Config(update)) => Certificate::from_der(&update.certificate).ok(),
            _ => None,
        };
        Self {
            envelope,
            certificate,
            configuration: None,
            verdict,
            signed: false,
            takes_id: false,
        }
    }

    /// Records a failed check, unless an earlier one failed.
    fn fail(&mut self, code: ValidationCode) {
        self.verdict.get_or_insert(code);
    }

    fn is_open(&self) -> bool {
        self.verdict.is_none()
    }

    fn code(&self) -> ValidationCode {
        self.verdict.unwrap_or(ValidationCode::Valid)
    }

    fn header(&self) -> Option<&TransactionHeader> {
        self.envelope.as_ref().map(Envelope::header)
    }

    fn id(&self) -> Option<TransactionId> {
        self.header().map(TransactionHeader::id)
    }

    fn is_config(&self) -> bool {
        let envelope = self.envelope.as_ref();
        envelope.is_some_and(|envelope| matches!(envelope.body, Body::Config(_)))
    }

    fn transaction(&self) -> Option<&Transaction> {
        match self.envelope.as_ref().map(|envelope| &envelope.body) {
            Some(Body::Transaction(transaction)) => Some(transaction),
            _ => None,
        }
    }

    /// The call, unless a check has failed.
    fn open_transaction(&self) -> Option<&Transaction> {
        self.transaction().filter(|_| self.is_open())
    }

    fn check_header(&mut self, config: &ChannelConfig, block: &BlockHeader) {
        let Some(header) = self.header() else { return };
        if header.channel != config.channel {
            self.fail(ValidationCode::TargetChainNotFound);
        } else if !header.is_within(block.time_ms, config.limits.window_ms) {
            self.fail(ValidationCode::Expired);
        }
    }

    fn check_body(&mut self, membership: &Membership, block: &Block) {
        let Some(envelope) = &self.envelope else {
            return;
        };
        let time_ms = block.header.time_ms;
        let failed = match &envelope.body {
            Body::Config(update) if block.is_config() => {
                let current = membership.configuration();
                let new = config_update::check(current, &envelope.signed, update, time_ms);
                self.configuration = new.ok();
                let failed = self.configuration.is_none();
                failed.then_some(ValidationCode::InvalidConfigTransaction)
            }
            Body::Config(_) => Some(ValidationCode::InvalidConfigTransaction),
            Body::Registration(_) => check_registration(membership, &self.certificate, time_ms),
            Body::Transaction(transaction) => {
                check_contract(membership.config(), transaction, time_ms)
            }
        };
        if let Some(code) = failed {
            self.fail(code);
        }
    }
}

fn check_registration(
    membership: &Membership,
    certificate: &Option<Certificate>,
    time_ms: u64,
) -> Option<ValidationCode> {
    let accepted = certificate
        .as_ref()
        .is_some_and(|certificate| membership.validate(certificate, time_ms).is_ok());
    (!accepted).then_some(ValidationCode::InvalidRegistration)
}

fn check_contract(
    config: &ChannelConfig,
    transaction: &Transaction,
    time_ms: u64,
) -> Option<ValidationCode> {
    let result = &transaction.result;
    let Some(defined) = config.contracts.get(&transaction.proposal.contract) else {
        return Some(ValidationCode::InvalidChaincode);
    };
    if defined.package_with_settings != result.package_hash {
        return Some(ValidationCode::ExpiredChaincode);
    }
    let expired = result.expires_at_ms.is_some_and(|at_ms| time_ms >= at_ms);
    expired.then_some(ValidationCode::ExpiredResult)
}

fn check_duplicates(
    candidates: &mut [Candidate],
    ledger: &dyn LedgerRead,
) -> Result<(), StoreError> {
    let signed: Vec<(usize, TransactionId)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.signed)
        .filter_map(|(index, candidate)| Some((index, candidate.id()?)))
        .collect();
    let ids: Vec<TransactionId> = signed.iter().map(|(_, id)| *id).collect();
    let mut taken = BTreeSet::new();
    for ((index, id), record) in signed.into_iter().zip(ledger.transactions(&ids)?) {
        let candidate = &mut candidates[index];
        if record.is_none() && taken.insert(id) {
            candidate.takes_id = true;
        } else if !candidate.is_config() {
            candidate.fail(ValidationCode::DuplicateTxid);
        }
    }
    Ok(())
}

fn commit(
    rules: &Rules<'_>,
    block: &Block,
    candidates: &[Candidate],
    overlay: &Overlay,
    previous_state: &Hash32,
) -> BlockCommit {
    let codes: Vec<ValidationCode> = candidates.iter().map(Candidate::code).collect();
    let number = block.header.number;
    let state_hash = hash::state(
        previous_state,
        number,
        &block.hash,
        &codes,
        overlay.changes(),
    );
    let mut commit = BlockCommit {
        number,
        previous_hash: block.header.previous_hash,
        header_hash: block.hash,
        time_ms: block.header.time_ms,
        last_config: block.header.last_config,
        block: block.to_pb().encode_to_vec().into(),
        codes,
        state_hash,
        writes: Vec::new(),
        transactions: Vec::new(),
        certificates: Vec::new(),
        side: Vec::new(),
        config: None,
    };
    for (index, candidate) in (0..).zip(candidates) {
        if let Some(id) = candidate.id().filter(|_| candidate.takes_id) {
            commit.transactions.push((id, index));
        }
        if candidate.is_open() {
            apply(rules, &mut commit, index, candidate);
        }
    }
    commit
}

/// Adds what a valid transaction changes.
fn apply(rules: &Rules<'_>, commit: &mut BlockCommit, index: u32, candidate: &Candidate) {
    let known = |certificate: &Certificate| (certificate.fingerprint(), certificate.der().clone());
    if let Some(configuration) = &candidate.configuration {
        let listed = configuration.certificates();
        commit.certificates.extend(listed.iter().map(known));
        commit.config = Some(configuration.bytes().clone());
        return;
    }
    commit
        .certificates
        .extend(candidate.certificate.iter().map(known));
    let Some(transaction) = candidate.transaction() else {
        return;
    };
    let id = transaction.proposal.header.id();
    commit
        .writes
        .extend(transaction.result.writes.iter().map(|write| StateWrite {
            namespace: transaction.proposal.contract.clone(),
            key: write.key.clone(),
            value: write.value.clone(),
            index,
            transaction: id,
        }));
    let side = transaction.proposal.side.iter();
    let kept = side.filter(|side| side.organizations.contains(rules.organization));
    commit.side.extend(kept.map(|side| SidePromise {
        commitment: side.commitment,
        transaction: id,
        organizations: side.organizations.clone(),
    }));
}
