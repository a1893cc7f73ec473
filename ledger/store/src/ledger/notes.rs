//! Notes of calls that this peer makes itself when a transaction that it endorsed does not come.
//!
//! A note is here before the endorsement leaves the peer. The block that commits its transaction as
//! valid removes it in the same batch; otherwise it stays until the call that it asks for was made.

use std::collections::BTreeMap;

use bytes::Bytes;
use stela_protocol::limits::NAME_BYTES_MAX;
use stela_protocol::{ContractName, Fingerprint, TransactionId};

use super::PeerLedger;
use super::read::LedgerRead;
use super::records::{BlockCommit, Note};
use crate::error::StoreError;
use crate::kv::{Durability, Kv, KvRead, WriteBatch, scan};
use crate::layout;
use crate::limits::{NOTE_ARGUMENT_BYTES_MAX, NOTES_MAX, NOTES_PER_REQUESTER_MAX};

/// A function of a contract, as a requester called it.
type Called = (ContractName, String);

/// What is known of the notes without reading them.
#[derive(Debug, Default)]
pub(super) struct NoteIndex {
    notes: BTreeMap<TransactionId, Entry>,
    /// How many notes there are of each requester; those without any are not listed.
    requesters: BTreeMap<Fingerprint, usize>,
    /// How many notes calls of each function have left.
    functions: BTreeMap<Called, usize>,
}

#[derive(Debug)]
struct Entry {
    due_ms: u64,
    requester: Fingerprint,
    called: Called,
}

impl NoteIndex {
    pub(super) fn read(reader: &dyn KvRead) -> Result<Self, StoreError> {
        let mut index = Self::default();
        for entry in scan(reader, layout::NOTES, Vec::new(), None) {
            let (key, value) = entry?;
            index.add(&layout::decode_note(&key, value)?);
        }
        Ok(index)
    }

    fn has_room(&self, requester: &Fingerprint) -> bool {
        let own = self.requesters.get(requester).copied().unwrap_or_default();
        own < NOTES_PER_REQUESTER_MAX && self.notes.len() < NOTES_MAX
    }

    fn add(&mut self, note: &Note) {
        let called = (note.contract.clone(), note.called.clone());
        *self.requesters.entry(note.requester).or_default() += 1;
        *self.functions.entry(called.clone()).or_default() += 1;
        let entry = Entry {
            due_ms: note.due_ms,
            requester: note.requester,
            called,
        };
        self.notes.insert(note.transaction, entry);
    }

    fn remove(&mut self, transaction: &TransactionId) {
        let Some(gone) = self.notes.remove(transaction) else {
            return;
        };
        decrement(&mut self.requesters, &gone.requester);
        decrement(&mut self.functions, &gone.called);
    }
}

fn decrement<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl PeerLedger {
    /// Keeps notes durably, all of them in one write, and says of each whether it is kept: not when
    /// there is no room for it. A transaction that has a note already, or that is committed as
    /// valid, needs none.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when one of them is too large, else what the disk says.
    pub fn note_put(&self, notes: &[Note]) -> Result<Vec<bool>, StoreError> {
        notes.iter().try_for_each(check_note)?;
        let mut writer = self.writer.lock();
        let settled = notes.iter().map(|note| self.is_valid(&note.transaction));
        let settled = settled.collect::<Result<Vec<bool>, _>>()?;
        let mut batch = WriteBatch::new();
        let mut added = Vec::new();
        let mut kept = Vec::with_capacity(notes.len());
        let mut index = self.notes.write();
        for (note, settled) in notes.iter().zip(settled) {
            let id = note.transaction;
            if settled || index.notes.contains_key(&id) {
                kept.push(true);
                continue;
            }
            let room = index.has_room(&note.requester);
            kept.push(room);
            if room {
                index.add(note);
                added.push(id);
                batch.put(layout::NOTES, id.to_bytes(), layout::encode_note(note));
            }
        }
        drop(index);
        if batch.is_empty() {
            return Ok(kept);
        }
        let written = self.write(&mut writer, batch);
        if written.is_err() {
            self.forget_notes(&added);
        }
        written.map(|()| kept)
    }

    fn is_valid(&self, id: &TransactionId) -> Result<bool, StoreError> {
        let record = self.transaction(id)?;
        Ok(record.is_some_and(|record| record.code.is_valid()))
    }

    /// A note.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or is damaged.
    pub fn note(&self, transaction: &TransactionId) -> Result<Option<Note>, StoreError> {
        let found = self.kv.get(layout::NOTES, &transaction.0)?;
        found
            .map(|value| layout::decode_note(&transaction.0, value))
            .transpose()
    }

    /// How many notes there are.
    pub fn notes_count(&self) -> usize {
        self.notes.read().notes.len()
    }

    /// The transactions whose notes are due by then, in ascending order.
    pub fn notes_due(&self, by_ms: u64) -> Vec<TransactionId> {
        let index = self.notes.read();
        let due = index.notes.iter().filter(|(_, note)| note.due_ms <= by_ms);
        due.map(|(id, _)| *id).collect()
    }

    /// Whether this requester may call a function now: calls of it have left no notes here, or
    /// there is room for another one of hers. It does not depend on what the call would find.
    pub fn admits(&self, requester: &Fingerprint, contract: &ContractName, function: &str) -> bool {
        let index = self.notes.read();
        if index.notes.is_empty() {
            return true;
        }
        let called = (contract.clone(), function.to_owned());
        !index.functions.contains_key(&called) || index.has_room(requester)
    }

    /// Removes a note durably, if it is there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn note_remove(&self, transaction: &TransactionId) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let mut batch = WriteBatch::new();
        batch.delete(layout::NOTES, transaction.to_bytes());
        self.write(&mut writer, batch)?;
        self.notes.write().remove(transaction);
        Ok(())
    }

    /// Removes the notes of a block's valid transactions; says of which.
    pub(super) fn settle_notes(
        &self,
        batch: &mut WriteBatch,
        commit: &BlockCommit,
    ) -> Vec<TransactionId> {
        let index = self.notes.read();
        let valid = |index: &u32| {
            let code = commit.codes.get(*index as usize);
            code.is_some_and(|code| code.is_valid())
        };
        let settled = commit.transactions.iter().filter_map(|(id, at)| {
            let noted = index.notes.contains_key(id) && valid(at);
            noted.then_some(*id)
        });
        let settled: Vec<TransactionId> = settled.collect();
        for id in &settled {
            batch.delete(layout::NOTES, id.to_bytes());
        }
        settled
    }

    pub(super) fn forget_notes(&self, settled: &[TransactionId]) {
        if settled.is_empty() {
            return;
        }
        let mut index = self.notes.write();
        settled.iter().for_each(|id| index.remove(id));
    }
}

fn check_note(note: &Note) -> Result<(), StoreError> {
    let limit = |what, asked, limit| match asked <= limit {
        true => Ok(()),
        false => Err(StoreError::Limit { what, asked, limit }),
    };
    let argument = note.argument.len();
    limit(
        "bytes of a note's argument",
        argument,
        NOTE_ARGUMENT_BYTES_MAX,
    )?;
    for function in [&note.called, &note.function] {
        limit("bytes of a function's name", function.len(), NAME_BYTES_MAX)?;
    }
    Ok(())
}

/// What became of the notes when a ledger was rebuilt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoteCopy {
    /// Notes that were taken over.
    pub copied: usize,
    /// Damaged notes, which are lost.
    pub lost: usize,
}

/// Takes the notes of `from` over into `to`, a ledger that was rebuilt, durably. Those of
/// transactions that are committed there as valid are not needed any more.
///
/// # Errors
/// [`StoreError`] when one of them cannot be read or written.
pub fn copy_notes(from: &dyn KvRead, to: &dyn Kv) -> Result<NoteCopy, StoreError> {
    let mut copy = NoteCopy::default();
    let mut batch = WriteBatch::new();
    for entry in scan(from, layout::NOTES, Vec::new(), None) {
        let (key, value) = entry?;
        if layout::decode_note(&key, value.clone()).is_err() {
            copy.lost += 1;
            continue;
        }
        let record = to.get(layout::TRANSACTIONS, &key)?;
        let record = record.map(layout::decode_transaction).transpose()?;
        if !record.is_some_and(|record| record.code.is_valid()) {
            copy.copied += 1;
            batch.put(layout::NOTES, key, value);
        }
    }
    to.write(batch, Durability::Synced)?;
    Ok(copy)
}

/// How many notes cannot be read.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub fn damaged_notes(reader: &dyn KvRead) -> Result<usize, StoreError> {
    let mut damaged = 0;
    for entry in scan(reader, layout::NOTES, Vec::new(), None) {
        let (key, value): (Bytes, Bytes) = entry?;
        damaged += usize::from(layout::decode_note(&key, value).is_err());
    }
    Ok(damaged)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stela_protocol::ValidationCode;

    use super::*;
    use crate::ledger::tests::{channel, contract, genesis, next, rocks};
    use crate::memory::MemoryKv;

    fn id(number: usize) -> TransactionId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        TransactionId(id)
    }

    fn note(number: usize, requester: u8) -> Note {
        Note {
            transaction: id(number),
            requester: Fingerprint([requester; 32]),
            contract: contract(),
            called: "ask".to_owned(),
            function: "note".to_owned(),
            argument: Bytes::from_static(b"{}"),
            due_ms: 100 + number as u64,
            endorser: Fingerprint([9; 32]),
            signature: [8; 64],
        }
    }

    fn memory() -> Arc<MemoryKv> {
        Arc::new(MemoryKv::new(layout::FAMILIES))
    }

    fn open(kv: Arc<dyn Kv>) -> PeerLedger {
        PeerLedger::open(kv, &channel()).unwrap()
    }

    fn commit(ledger: &PeerLedger, transactions: &[(TransactionId, u32)]) {
        let commit = BlockCommit {
            transactions: transactions.to_vec(),
            ..next(ledger)
        };
        ledger.commit(commit).unwrap();
    }

    #[test]
    fn a_note_survives_a_crash_and_is_due_in_its_time() {
        let kv = memory();
        let ledger = open(kv.clone());
        let notes = [note(1, 1), note(2, 1)];
        assert_eq!(ledger.note_put(&notes), Ok(vec![true, true]));
        let ledger = open(Arc::new(kv.crash()));
        assert_eq!(ledger.note(&id(1)), Ok(Some(note(1, 1))));
        assert_eq!(ledger.notes_due(100), []);
        assert_eq!(ledger.notes_due(101), [id(1)]);
        assert_eq!(ledger.notes_due(u64::MAX), [id(1), id(2)]);
        ledger.note_remove(&id(1)).unwrap();
        ledger.note_remove(&id(1)).unwrap();
        assert_eq!(ledger.notes_due(u64::MAX), [id(2)]);
        assert_eq!(ledger.note(&id(1)), Ok(None));
    }

    #[test]
    fn only_a_valid_transaction_settles_its_note() {
        let folder = tempfile::tempdir().unwrap();
        for kv in [memory() as Arc<dyn Kv>, Arc::new(rocks(folder.path()))] {
            let ledger = open(kv.clone());
            genesis(&ledger);
            ledger.note_put(&[note(1, 1), note(2, 1)]).unwrap();
            // The third verdict of a test's block is not valid.
            commit(&ledger, &[(id(1), 0), (id(2), 2)]);
            assert_eq!(ledger.notes_due(u64::MAX), [id(2)]);
            // Endorsed once more behind its block: there is nothing left to be noted.
            assert_eq!(ledger.note_put(&[note(1, 1)]), Ok(vec![true]));
            assert_eq!(open(kv).notes_due(u64::MAX), [id(2)]);
        }
        assert!(!ValidationCode::BadPayload.is_valid());
    }

    #[test]
    fn one_requester_cannot_take_the_room_of_all_and_all_are_bounded() {
        let ledger = open(memory());
        let ask = |requester: u8| ledger.admits(&Fingerprint([requester; 32]), &contract(), "ask");
        let hers: Vec<Note> = (0..=NOTES_PER_REQUESTER_MAX).map(|n| note(n, 1)).collect();
        assert!(ask(1));
        let kept = ledger.note_put(&hers).unwrap();
        assert_eq!(kept.iter().filter(|kept| !**kept).count(), 1);
        assert!(!kept[NOTES_PER_REQUESTER_MAX]);
        assert!(!ask(1) && ask(2));
        assert!(ledger.admits(&Fingerprint([1; 32]), &contract(), "other"));
        ledger.note_remove(&id(0)).unwrap();
        assert!(ask(1));
        let others = (0..NOTES_MAX).map(|n| note(1_000 + n, 2 + (n / 60) as u8));
        let kept = ledger.note_put(&others.collect::<Vec<_>>()).unwrap();
        let kept = kept.iter().filter(|kept| **kept).count();
        assert_eq!(kept, NOTES_MAX - (NOTES_PER_REQUESTER_MAX - 1));
        assert!(!ask(1) && !ask(255));
    }

    #[test]
    fn what_is_too_large_is_no_note() {
        let ledger = open(memory());
        let large = Note {
            argument: vec![0; NOTE_ARGUMENT_BYTES_MAX + 1].into(),
            ..note(1, 1)
        };
        let long = Note {
            function: "f".repeat(NAME_BYTES_MAX + 1),
            ..note(2, 1)
        };
        for note in [large, long] {
            let refused = ledger.note_put(&[note]);
            assert!(
                matches!(refused, Err(StoreError::Limit { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(ledger.notes_due(u64::MAX), []);
    }

    #[test]
    fn a_rebuilt_ledger_has_the_notes_that_still_stand() {
        let (old, new) = (memory(), memory());
        let ledger = open(old.clone());
        ledger
            .note_put(&[note(1, 1), note(2, 1), note(3, 1)])
            .unwrap();
        let mut batch = WriteBatch::new();
        batch.put(
            layout::NOTES,
            id(3).to_bytes(),
            Bytes::from_static(b"\x01?"),
        );
        old.write(batch, Durability::Synced).unwrap();
        let rebuilt = open(new.clone());
        genesis(&rebuilt);
        commit(&rebuilt, &[(id(1), 0), (id(2), 2)]);
        drop(rebuilt);
        assert_eq!(damaged_notes(old.as_ref()), Ok(1));
        let copy = copy_notes(old.as_ref(), new.as_ref()).unwrap();
        assert_eq!((copy.copied, copy.lost), (1, 1));
        let rebuilt = open(Arc::new(new.crash()));
        assert_eq!(rebuilt.notes_due(u64::MAX), [id(2)]);
    }
}
