//! What anybody ever saw. It remembers outside of all nodes, and says when two things that were
//! seen contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use stela_protocol::{Hash32, TransactionId};
use stela_store::{Head, TransactionRecord};

/// The memory of a whole simulation.
#[derive(Default)]
pub(crate) struct Witness {
    /// Of every block that was committed anywhere, its hash.
    history: BTreeMap<u64, Hash32>,
    /// At every height that a ledger reached, its state.
    states: BTreeMap<u64, Hash32>,
    /// Who signed which header.
    signed: BTreeMap<(u64, Hash32), BTreeSet<usize>>,
    /// What clients were told.
    acknowledged: BTreeMap<TransactionId, TransactionRecord>,
    /// The newest block that could be delivered anywhere.
    deliverable: u64,
}

impl Witness {
    /// A block is committed somewhere.
    pub(crate) fn committed(&mut self, number: u64, hash: Hash32) -> anyhow::Result<()> {
        let known = *self.history.entry(number).or_insert(hash);
        ensure!(
            known == hash,
            "two histories: block {number} is {known} and {hash}"
        );
        Ok(())
    }

    /// A block is deliverable somewhere.
    pub(crate) fn deliverable(&mut self, number: u64) {
        self.deliverable = self.deliverable.max(number);
    }

    /// A ledger has come so far.
    pub(crate) fn reached(&mut self, head: &Head) -> anyhow::Result<()> {
        let (height, state) = (head.height, head.state_hash);
        let known = *self.states.entry(height).or_insert(state);
        ensure!(
            known == state,
            "two states at height {height}: {known} and {state}"
        );
        self.committed(height - 1, head.header_hash)
    }

    /// An orderer let its signature of a header out.
    pub(crate) fn signed(&mut self, orderer: usize, number: u64, hash: Hash32) {
        self.signed
            .entry((number, hash))
            .or_default()
            .insert(orderer);
    }

    /// A client was told what became of its transaction.
    pub(crate) fn acknowledged(
        &mut self,
        id: TransactionId,
        record: TransactionRecord,
    ) -> anyhow::Result<()> {
        let known = *self.acknowledged.entry(id).or_insert(record);
        ensure!(
            known == record,
            "{id} was acknowledged as {known:?} and as {record:?}"
        );
        Ok(())
    }

    pub(crate) fn acknowledgements(
        &self,
    ) -> impl ExactSizeIterator<Item = (&TransactionId, &TransactionRecord)> {
        self.acknowledged.iter()
    }

    /// The number of the newest block that was committed anywhere.
    pub(crate) fn newest(&self) -> u64 {
        self.history
            .last_key_value()
            .map_or(0, |(number, _)| *number)
    }

    pub(crate) fn block(&self, number: u64) -> Option<&Hash32> {
        self.history.get(&number)
    }

    /// Nothing that was deliverable is missing, and no quorum has signed what was lost.
    pub(crate) fn check(&self, quorum: usize) -> anyhow::Result<()> {
        for number in 0..=self.deliverable {
            ensure!(
                self.history.contains_key(&number),
                "block {number} was delivered and nobody has committed it"
            );
        }
        for ((number, hash), signers) in &self.signed {
            let kept = self.history.get(number) == Some(hash);
            ensure!(
                kept || signers.len() < quorum,
                "a quorum has signed {hash} as block {number}, which it is not"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_protocol::{Height, ValidationCode};

    const ONE: Hash32 = Hash32([1; 32]);
    const OTHER: Hash32 = Hash32([2; 32]);

    #[test]
    fn a_second_history_is_noticed() {
        let mut witness = Witness::default();
        witness.committed(1, ONE).unwrap();
        witness.committed(1, ONE).unwrap();
        assert!(witness.committed(1, OTHER).is_err());
    }

    #[test]
    fn a_second_state_is_noticed() {
        let mut witness = Witness::default();
        let head = |state_hash| Head {
            height: 2,
            state_hash,
            ..Head::EMPTY
        };
        witness.reached(&head(ONE)).unwrap();
        assert!(witness.reached(&head(OTHER)).is_err());
    }

    #[test]
    fn a_quorum_for_a_lost_block_and_a_lost_delivery_are_noticed() {
        let mut witness = Witness::default();
        witness.committed(0, ONE).unwrap();
        witness.signed(0, 0, OTHER);
        witness.check(2).unwrap();
        witness.signed(1, 0, OTHER);
        assert!(witness.check(2).is_err());
        witness.check(3).unwrap();
        witness.deliverable(1);
        assert!(witness.check(3).is_err());
    }

    #[test]
    fn a_second_verdict_is_noticed() {
        let mut witness = Witness::default();
        let record = |block| TransactionRecord {
            height: Height {
                block,
                transaction: 0,
            },
            code: ValidationCode::Valid,
            time_ms: 1,
        };
        witness
            .acknowledged(TransactionId([1; 32]), record(1))
            .unwrap();
        assert!(
            witness
                .acknowledged(TransactionId([1; 32]), record(2))
                .is_err()
        );
    }
}
