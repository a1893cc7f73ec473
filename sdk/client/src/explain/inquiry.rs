//! What is gathered from blocks until the cause of a verdict is known.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use stela_identity::{Certificate, Identity, Msp};
use stela_protocol::config::ChannelConfig;
use stela_protocol::transaction::{Body, Envelope, Transaction};
use stela_protocol::{Fingerprint, Height, TransactionId, ValidationCode};

use super::{Change, Committed, Party};
use crate::blocks::CheckedBlock;

/// The transaction that is asked about.
pub(super) struct Target {
    pub(super) code: ValidationCode,
    pub(super) height: Height,
    pub(super) time_ms: u64,
    /// Nothing when it cannot be decoded.
    pub(super) envelope: Option<Envelope>,
}

impl Target {
    /// The call, if it is one.
    pub(super) fn transaction(&self) -> Option<&Transaction> {
        match &self.envelope.as_ref()?.body {
            Body::Transaction(transaction) => Some(transaction),
            _ => None,
        }
    }

    /// When it says that it was made.
    pub(super) fn made_ms(&self) -> Option<u64> {
        Some(self.envelope.as_ref()?.header().timestamp_ms)
    }
}

/// A committed change of a key that the transaction read, alone or in a range.
pub(super) struct Written {
    pub(super) key: Bytes,
    pub(super) height: Height,
    pub(super) transaction: TransactionId,
    pub(super) function: String,
    pub(super) creator: Fingerprint,
    pub(super) deleted: bool,
}

/// Everything gathered so far, from the transaction's own block downwards.
pub(super) struct Inquiry {
    pub(super) config: ChannelConfig,
    pub(super) msp: Option<Msp>,
    pub(super) target: Target,
    /// In the order of the chain.
    pub(super) written: Vec<Written>,
    /// Certificates that the channel knew before the transaction's block.
    pub(super) known: BTreeMap<Fingerprint, Identity>,
    /// The lowest block seen, and its time.
    pub(super) lowest: (u64, u64),
    looked_at: u64,
}

impl Inquiry {
    /// Begins with the block that has the transaction; nothing when it has no such transaction.
    pub(super) fn begin(own: &CheckedBlock, index: u32, config: ChannelConfig) -> Option<Self> {
        let at = index as usize;
        let header = &own.block.header;
        let target = Target {
            code: *own.codes.get(at)?,
            height: Height {
                block: header.number.0,
                transaction: index,
            },
            time_ms: header.time_ms,
            envelope: Envelope::decode(own.block.envelopes.get(at)?.clone()).ok(),
        };
        let msp = Msp::from_config(&config).ok();
        let mut inquiry = Self {
            msp,
            target,
            written: Vec::new(),
            known: BTreeMap::new(),
            lowest: (header.number.0, header.time_ms),
            looked_at: 0,
            config,
        };
        for der in inquiry.config.certificates.clone() {
            inquiry.know(&der);
        }
        Some(inquiry)
    }

    /// Whether the transaction has this id. One that cannot be decoded has none.
    pub(super) fn is_about(&self, id: &TransactionId) -> bool {
        let header = self.target.envelope.as_ref().map(Envelope::header);
        header.is_none_or(|header| header.id() == *id)
    }

    fn know(&mut self, der: &[u8]) {
        let admitted = Certificate::from_der(der)
            .ok()
            .and_then(|certificate| self.msp.as_ref()?.admit(&certificate).ok());
        if let Some(identity) = admitted {
            self.known.insert(identity.fingerprint, identity);
        }
    }

    /// Takes the blocks before those that it has seen, in their order.
    pub(super) fn add(&mut self, page: &[CheckedBlock]) {
        let mut written = Vec::new();
        for checked in page {
            let number = checked.block.header.number.0;
            for (index, (bytes, code)) in
                (0..).zip(checked.block.envelopes.iter().zip(&checked.codes))
            {
                let height = Height {
                    block: number,
                    transaction: index,
                };
                if *code == ValidationCode::Valid
                    && let Ok(envelope) = Envelope::decode(bytes.clone())
                {
                    self.take(height, envelope, &mut written);
                }
            }
        }
        written.append(&mut self.written);
        self.written = written;
        self.looked_at += page.len() as u64;
        if let Some(first) = page.first() {
            let header = &first.block.header;
            self.lowest = (header.number.0, header.time_ms);
        }
    }

    fn take(&mut self, height: Height, envelope: Envelope, written: &mut Vec<Written>) {
        match envelope.body {
            // A registration counts from the next block on.
            Body::Registration(registration) if height.block < self.target.height.block => {
                self.know(&registration.certificate);
            }
            Body::Transaction(transaction) if height < self.target.height => {
                written.extend(self.relevant(height, &transaction));
            }
            _ => {}
        }
    }

    /// What a transaction changed of that which the target read.
    fn relevant(&self, height: Height, transaction: &Transaction) -> Vec<Written> {
        let Some(target) = self.target.transaction() else {
            return Vec::new();
        };
        if target.proposal.contract != transaction.proposal.contract {
            return Vec::new();
        }
        let read = |key: &Bytes| match self.target.code {
            ValidationCode::MvccReadConflict => {
                let reads = &target.result.reads;
                reads.binary_search_by(|(read, _)| read.cmp(key)).is_ok()
            }
            ValidationCode::PhantomReadConflict => {
                let mut ranges = target.result.ranges.iter();
                ranges.any(|range| range.start <= *key && *key < range.end)
            }
            _ => false,
        };
        let writes = transaction.result.writes.iter();
        writes
            .filter(|write| read(&write.key))
            .map(|write| Written {
                key: write.key.clone(),
                height,
                transaction: transaction.proposal.header.id(),
                function: transaction.proposal.function.clone(),
                creator: transaction.proposal.header.creator,
                deleted: write.value.is_none(),
            })
            .collect()
    }

    /// Whether earlier blocks can still tell something.
    pub(super) fn wants_more(&self) -> bool {
        self.lowest.0 > 1 && (!self.is_settled() || self.names_strangers())
    }

    fn is_settled(&self) -> bool {
        let Some(transaction) = self.target.transaction() else {
            return true;
        };
        match self.target.code {
            ValidationCode::MvccReadConflict => {
                let mut reads = transaction.result.reads.iter();
                reads.all(|(key, version)| self.is_read_settled(key, *version))
            }
            // What a range held shows only from the beginning on.
            ValidationCode::PhantomReadConflict => false,
            _ => true,
        }
    }

    /// A version is settled by any later change, or when its own block has been seen. That a key did
    /// not exist is settled by any change, or when blocks are seen that are too old for the change
    /// to have come after the read.
    fn is_read_settled(&self, key: &Bytes, version: Option<Height>) -> bool {
        let mut writes = self.written.iter().filter(|written| written.key == *key);
        match version {
            Some(version) => {
                writes.any(|written| written.height > version) || self.lowest.0 <= version.block
            }
            None => writes.next().is_some() || self.is_before_the_read(),
        }
    }

    fn is_before_the_read(&self) -> bool {
        let window_ms = self.config.limits.window_ms;
        let made_ms = self.target.made_ms().unwrap_or_default();
        self.lowest.1 < made_ms.saturating_sub(2 * window_ms)
    }

    /// Whether somebody is named whose certificate has not been found.
    fn names_strangers(&self) -> bool {
        let cause = self.cause();
        let mut named: BTreeSet<Fingerprint> = cause.named();
        named.extend(self.creator());
        named.iter().any(|one| !self.known.contains_key(one))
    }

    fn creator(&self) -> Option<Fingerprint> {
        let envelope = self.target.envelope.as_ref()?;
        match &envelope.body {
            // It names itself.
            Body::Registration(_) => None,
            _ => Some(envelope.header().creator),
        }
    }

    pub(super) fn party(&self, fingerprint: Fingerprint) -> Party {
        let identity = self.known.get(&fingerprint);
        let who = identity.map(|identity| (identity.organization.clone(), identity.role.clone()));
        Party { fingerprint, who }
    }

    pub(super) fn change(&self, written: &Written) -> Change {
        Change {
            key: written.key.clone(),
            height: written.height,
            transaction: written.transaction,
            function: written.function.clone(),
            creator: self.party(written.creator),
            deleted: written.deleted,
        }
    }

    /// What was found out.
    pub(super) fn finish(&self) -> Committed {
        let creator = match self.target.envelope.as_ref().map(|envelope| &envelope.body) {
            Some(Body::Registration(registration)) => {
                let certificate = Certificate::from_der(&registration.certificate).ok();
                Some(Party {
                    fingerprint: registration.header.creator,
                    who: certificate.map(|c| (c.organization().clone(), c.role().to_owned())),
                })
            }
            _ => self.creator().map(|creator| self.party(creator)),
        };
        let call = self.target.transaction().map(|transaction| {
            let proposal = &transaction.proposal;
            (proposal.contract.clone(), proposal.function.clone())
        });
        Committed {
            code: self.target.code,
            height: self.target.height,
            time_ms: self.target.time_ms,
            creator,
            call,
            cause: self.cause(),
            looked_at: self.looked_at,
            complete: self.lowest.0 <= 1,
        }
    }
}
