//! What must be true at the end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use stela_protocol::block::Block;
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{BlockNumber, Height, TransactionId, ValidationCode};
use stela_store::{LedgerRead, StateSnapshot};

use crate::contract;
use crate::limits::COUNTERS;
use crate::world::World;

impl World {
    /// Whether everybody runs, has everything, and every client was served since the storm.
    pub(crate) fn is_settled(&self) -> bool {
        let newest = self.witness.newest();
        let ordered = self.orderers.iter().all(|orderer| {
            let view = orderer.view();
            view.is_some_and(|view| view.head.0 == newest && view.deliverable.0 == newest)
        });
        let validated = self.validators.iter().all(|validator| {
            let head = validator.head();
            head.is_some_and(|head| head.height == newest + 1)
        });
        ordered && validated && self.clients.iter().all(|client| client.served)
    }

    /// Why it is not settled.
    pub(crate) fn unsettled(&self) -> String {
        let orderers: Vec<_> = self.orderers.iter().map(|orderer| orderer.view()).collect();
        let heads = self.validators.iter().map(|validator| validator.head());
        let heights: Vec<_> = heads.map(|head| head.map(|head| head.height)).collect();
        let served: Vec<bool> = self.clients.iter().map(|client| client.served).collect();
        let newest = self.witness.newest();
        format!(
            "newest block {newest}, validators at {heights:?}, clients served {served:?}, \
             orderers {orderers:?}"
        )
    }

    /// Checks everything that must be true when it is.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let quorum = self.consortium.channel.config().orderer_quorum;
        self.witness.check(quorum)?;
        self.check_blocks(quorum)?;
        let first = self.validators[0].snapshot()?;
        let expect = Expected::of(&first)?;
        for validator in &self.validators {
            let snapshot = validator.snapshot()?;
            expect.check(&snapshot)?;
            for (id, told) in self.witness.acknowledgements() {
                let found = snapshot.transaction(id)?;
                ensure!(
                    found.as_ref() == Some(told),
                    "{id} was acknowledged as {told:?}, and a validator has {found:?}"
                );
            }
        }
        let acknowledged = self.witness.acknowledgements().len() as u64;
        self.tally.insert("acknowledged", acknowledged);
        self.tally.insert("blocks", self.witness.newest());
        for (code, count) in expect.codes {
            *self.tally.entry(code).or_default() += count;
        }
        Ok(())
    }

    fn check_blocks(&self, quorum: usize) -> anyhow::Result<()> {
        for number in 0..=self.witness.newest() {
            let expect = self.witness.block(number);
            for orderer in &self.orderers {
                let found = orderer.committed(number)?;
                ensure!(
                    expect == Some(&found),
                    "an orderer has another block {number}"
                );
                let signatures = orderer.signatures(number)?;
                ensure!(
                    number == 0 || signatures >= quorum,
                    "an orderer has {signatures} signatures of block {number}"
                );
            }
            for validator in &self.validators {
                let stored = validator.snapshot()?.block(BlockNumber(number))?;
                let stored = stored.with_context(|| format!("block {number} is missing"))?;
                let found = Block::decode(stored.block)?.hash;
                ensure!(
                    expect == Some(&found),
                    "a validator has another block {number}"
                );
            }
        }
        Ok(())
    }
}

/// What follows from blocks and verdicts alone, counted without the code that applies them.
struct Expected {
    counters: BTreeMap<String, u64>,
    entries: BTreeSet<String>,
    places: BTreeMap<TransactionId, Height>,
    codes: BTreeMap<&'static str, u64>,
}

impl Expected {
    fn of(snapshot: &StateSnapshot) -> anyhow::Result<Self> {
        let mut expect = Self {
            counters: BTreeMap::new(),
            entries: BTreeSet::new(),
            places: BTreeMap::new(),
            codes: BTreeMap::new(),
        };
        for number in 1..snapshot.head().height {
            let stored = snapshot.block(BlockNumber(number))?;
            let stored = stored.with_context(|| format!("block {number} is missing"))?;
            let envelopes = Block::decode(stored.block)?.envelopes;
            ensure!(
                envelopes.len() == stored.codes.len(),
                "block {number} lacks verdicts"
            );
            for ((transaction, envelope), code) in (0..).zip(envelopes).zip(stored.codes) {
                *expect.codes.entry(code.name()).or_default() += 1;
                if code == ValidationCode::Valid {
                    let height = Height {
                        block: number,
                        transaction,
                    };
                    expect.add(&Envelope::decode(envelope)?, height)?;
                }
            }
        }
        Ok(expect)
    }

    fn add(&mut self, envelope: &Envelope, height: Height) -> anyhow::Result<()> {
        let id = envelope.header().id();
        let before = self.places.insert(id, height);
        ensure!(
            before.is_none(),
            "{id} was applied twice: {before:?} and {height}"
        );
        let Body::Transaction(transaction) = &envelope.body else {
            return Ok(());
        };
        let proposal = &transaction.proposal;
        if let ("add", Some(counter)) = (proposal.function.as_str(), proposal.arguments.first()) {
            let counter = String::from_utf8(counter.to_vec())?;
            *self.counters.entry(counter).or_default() += 1;
        }
        if proposal.function != "count" {
            self.entries.insert(contract::entry_of(&id));
        }
        Ok(())
    }

    fn check(&self, snapshot: &StateSnapshot) -> anyhow::Result<()> {
        for counter in 0..COUNTERS {
            let expect = self.counters.get(&contract::counter_key(counter));
            let (expect, found) = (
                expect.copied().unwrap_or(0),
                contract::counter(snapshot, counter)?,
            );
            ensure!(
                expect == found,
                "counter {counter} is {found}, and {expect} were added"
            );
        }
        let entries: BTreeSet<String> = contract::entries(snapshot)?.into_iter().collect();
        ensure!(
            entries == self.entries,
            "the entries are not those of the valid transactions"
        );
        for (id, height) in &self.places {
            let found = snapshot.transaction(id)?;
            ensure!(
                found.as_ref().is_some_and(|found| found.height == *height),
                "{id} is at {height}, and the index says {found:?}"
            );
        }
        Ok(())
    }
}
