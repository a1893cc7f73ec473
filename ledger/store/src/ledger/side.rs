//! Side items: erasable data that travels beside transactions.
//!
//! An item comes as pending, before its transaction is ordered. The commit of the transaction makes
//! it committed; if the item is not here by then, it becomes missing until somebody supplies it.
//! Pending items that waited too long are removed. Erasing removes the bytes from the files.
//!
//! An item belongs to one transaction. A commitment is on the ledger for everybody to read, so
//! another transaction can repeat it; that transaction neither gets nor touches the item.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use stela_protocol::limits::{ORGANIZATIONS_MAX, SALT_BYTES, SIDE_BYTES_MAX};
use stela_protocol::{Fingerprint, Hash32, TransactionId, hash, key};

use super::read::LedgerRead;
use super::records::{BlockCommit, MissingSide, PendingSide, SidePromise, SideRecord, SideState};
use super::usage::{Share, Usage};
use super::{PeerLedger, Settled, Writer};
use crate::error::StoreError;
use crate::kv::{Direction, KvRead, WriteBatch, scan, scan_by};
use crate::layout;
use crate::limits::{SIDE_PAGE_ENTRIES, SIDE_PURGE_BATCH};

/// Items that wait for the writer.
#[derive(Debug)]
pub(super) struct Arriving {
    creator: Fingerprint,
    records: Vec<SideRecord>,
    /// What became of them.
    outcome: OnceLock<Result<(), StoreError>>,
}

impl PeerLedger {
    /// Keeps the items of one proposal of `creator`, durably, until their transaction is
    /// committed: all of them or none. If that has happened already and an item was missing, it is
    /// committed at once; an item of the same transaction that is here is not changed. The
    /// records' `state` is not looked at.
    ///
    /// # Errors
    /// [`StoreError::SideMismatch`] when an item does not fit its commitment,
    /// [`StoreError::SideFull`] when too much waits, else what the disk says.
    pub fn side_put_pending(
        &self,
        creator: Fingerprint,
        records: Vec<SideRecord>,
    ) -> Result<(), StoreError> {
        records.iter().try_for_each(check_item)?;
        let own = Arc::new(Arriving {
            creator,
            records,
            outcome: OnceLock::new(),
        });
        self.arriving.lock().push(own.clone());
        let mut writer = self.writer.lock();
        // Whoever had the writer before may have written these, too.
        if own.outcome.get().is_none() {
            let together = std::mem::take(&mut *self.arriving.lock());
            self.write_arriving(&mut writer, &together);
        }
        own.outcome
            .get()
            .cloned()
            .unwrap_or(Err(StoreError::Stopped))
    }

    /// Writes what arrived together, so that one fsync does for all of it.
    fn write_arriving(&self, writer: &mut Writer, together: &[Arc<Arriving>]) {
        let mut batch = WriteBatch::new();
        let mut seen = BTreeSet::new();
        let mut added = Vec::new();
        for arriving in together {
            match self.add_items(&mut batch, &mut seen, writer, arriving) {
                Ok(more) => added.push((arriving, more)),
                Err(error) => drop(arriving.outcome.set(Err(error))),
            }
        }
        let written = match batch.is_empty() {
            true => Ok(()),
            false => self.write(writer, batch),
        };
        for (arriving, more) in added {
            if written.is_err() {
                writer.usage.withdraw(&arriving.creator, more);
            }
            // It has no outcome yet: each arrives once.
            let _ = arriving.outcome.set(written.clone());
        }
    }

    /// Adds the items of one creator, all or none, and counts them as hers.
    fn add_items(
        &self,
        batch: &mut WriteBatch,
        seen: &mut BTreeSet<(Hash32, TransactionId)>,
        writer: &mut Writer,
        arriving: &Arriving,
    ) -> Result<Share, StoreError> {
        let (mut own, mut more) = (WriteBatch::new(), Share::default());
        let mut new = BTreeSet::new();
        for record in &arriving.records {
            let id = (record.commitment, record.transaction);
            if !seen.contains(&id) && new.insert(id) {
                self.add_item(&mut own, &mut more, arriving.creator, record.clone())?;
            }
        }
        writer.usage.check(&arriving.creator, more)?;
        writer.usage.add(arriving.creator, more);
        batch.append(own);
        seen.append(&mut new);
        Ok(more)
    }

    fn add_item(
        &self,
        batch: &mut WriteBatch,
        more: &mut Share,
        creator: Fingerprint,
        record: SideRecord,
    ) -> Result<(), StoreError> {
        let (commitment, transaction) = (&record.commitment, &record.transaction);
        if let Some(missing) = self.side_missing_of(commitment, transaction)? {
            supply(batch, missing, record, SideState::Committed);
            return Ok(());
        }
        match self.side_of(commitment, transaction)? {
            // The proposal proves what the fetched item did not.
            Some(here) if here.state == SideState::Fetched => put_item(
                batch,
                &SideRecord {
                    state: SideState::Committed,
                    ..here
                },
            ),
            Some(_) => {}
            None => {
                let pending = pending_of(&record, creator);
                more.items += 1;
                more.bytes += pending.bytes;
                put_pending(batch, &pending, record);
            }
        }
        Ok(())
    }

    /// Fills in an item that a committed transaction promises and that was missing, with what was
    /// fetched by its commitment. If another committed transaction has brought the same item here,
    /// the missing one is only no longer waited for: a copy would say nothing more.
    ///
    /// # Errors
    /// [`StoreError::SideNotMissing`] when none waits for it, so also after it was erased;
    /// [`StoreError::SideMismatch`] when it is another item; else what the disk says.
    pub fn side_supply(
        &self,
        commitment: &Hash32,
        transaction: &TransactionId,
        salt: Bytes,
        payload: Bytes,
        received_ms: u64,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let missing = self
            .side_missing_of(commitment, transaction)?
            .ok_or(StoreError::SideNotMissing(*commitment))?;
        let record = SideRecord {
            commitment: *commitment,
            state: SideState::Fetched,
            transaction: *transaction,
            received_ms,
            organizations: missing.organizations.clone(),
            salt,
            payload,
        };
        check_item(&record)?;
        let mut batch = WriteBatch::new();
        match self.side_get(commitment).next().transpose()? {
            Some(_) => batch.delete(layout::MISSING, layout::side_key(commitment, transaction)),
            None => supply(&mut batch, missing, record, SideState::Fetched),
        }
        self.write(&mut writer, batch)
    }

    /// Removes pending items that came before `received_before_ms`, and says how many.
    ///
    /// # Errors
    /// What the disk says.
    pub fn side_purge_pending(&self, received_before_ms: u64) -> Result<usize, StoreError> {
        let end = received_before_ms.to_be_bytes();
        let mut purged = 0;
        loop {
            let mut writer = self.writer.lock();
            let direction = Direction::Forward;
            let page = self.kv.range(
                layout::PENDING,
                &[],
                Some(&end),
                SIDE_PURGE_BATCH,
                direction,
            )?;
            if page.is_empty() {
                return Ok(purged);
            }
            let page = page
                .into_iter()
                .map(|(key, value)| layout::decode_pending(&key, value))
                .collect::<Result<Vec<_>, _>>()?;
            let mut batch = WriteBatch::new();
            for pending in &page {
                let key = layout::side_key(&pending.commitment, &pending.transaction);
                batch.delete(layout::PENDING, index_of(pending));
                batch.delete(layout::SIDE, key);
            }
            self.write(&mut writer, batch)?;
            page.iter().for_each(|gone| writer.usage.remove(gone));
            purged += page.len();
        }
    }

    /// Erases an item, of whichever transactions: it is gone for every reader when the call
    /// returns, and its bytes are gone from the files of the store, as
    /// [`Kv::erase`](crate::Kv::erase) says. A missing item is no longer waited for. Says whether
    /// there was anything; the call may be repeated.
    ///
    /// # Errors
    /// What the disk says.
    pub fn side_erase(&self, commitment: &Hash32) -> Result<bool, StoreError> {
        let mut writer = self.writer.lock();
        let mut batch = WriteBatch::new();
        let mut gone = Vec::new();
        let start = commitment.0.to_vec();
        let end = key::prefix_end(&start);
        let items = scan_by(
            self.reader(),
            layout::SIDE,
            start.clone(),
            end.clone(),
            SIDE_PAGE_ENTRIES,
        );
        for entry in items {
            let (key, value) = entry?;
            let record = layout::decode_side(&key, value)?;
            gone.extend(self.pending_entry(&record)?);
            batch.delete(layout::SIDE, key);
        }
        for entry in scan(self.reader(), layout::MISSING, start, end) {
            batch.delete(layout::MISSING, entry?.0);
        }
        for pending in &gone {
            batch.delete(layout::PENDING, index_of(pending));
        }
        let found = !batch.is_empty();
        self.write(&mut writer, batch)?;
        gone.iter().for_each(|pending| writer.usage.remove(pending));
        drop(writer);
        // All keys of the item begin with its commitment.
        self.kv.erase(layout::SIDE, &[commitment.as_ref()])?;
        Ok(found)
    }

    /// Makes promised items committed, or missing.
    pub(super) fn settle_promises(
        &self,
        batch: &mut WriteBatch,
        commit: &BlockCommit,
    ) -> Result<Settled, StoreError> {
        let mut settled = Settled::default();
        let mut seen = BTreeSet::new();
        for promise in commit
            .side
            .iter()
            .filter(|promise| seen.insert((promise.commitment, promise.transaction)))
        {
            match self.side_of(&promise.commitment, &promise.transaction)? {
                Some(record) if record.state == SideState::Pending => {
                    settled.arrived.extend(self.pending_entry(&record)?);
                    make_committed(batch, record, promise);
                }
                Some(_) => {}
                None => {
                    put_missing(batch, commit, promise);
                    settled.missing.push(promise.commitment);
                }
            }
        }
        Ok(settled)
    }

    /// The entry of an item in the index of those that wait; nothing if it does not wait.
    fn pending_entry(&self, record: &SideRecord) -> Result<Option<PendingSide>, StoreError> {
        if record.state != SideState::Pending {
            return Ok(None);
        }
        let key = layout::pending_key(record.received_ms, &record.commitment, &record.transaction);
        let found = self.kv.get(layout::PENDING, &key)?;
        let found = found.ok_or_else(|| StoreError::corrupt("a pending item without its entry"))?;
        layout::decode_pending(&key, found).map(Some)
    }
}

pub(super) fn count_pending(reader: &dyn KvRead) -> Result<Usage, StoreError> {
    let mut usage = Usage::default();
    for entry in scan(reader, layout::PENDING, Vec::new(), None) {
        let (key, value) = entry?;
        let pending = layout::decode_pending(&key, value)?;
        let (items, bytes) = (1, pending.bytes);
        usage.add(pending.creator, Share { items, bytes });
    }
    Ok(usage)
}

fn check_item(record: &SideRecord) -> Result<(), StoreError> {
    let limit = |what, asked, limit| match asked <= limit {
        true => Ok(()),
        false => Err(StoreError::Limit { what, asked, limit }),
    };
    limit("bytes of a side item", record.payload.len(), SIDE_BYTES_MAX)?;
    limit("bytes of a salt", record.salt.len(), SALT_BYTES)?;
    limit(
        "organizations of a side item",
        record.organizations.len(),
        ORGANIZATIONS_MAX,
    )?;
    if hash::side_commitment(&record.salt, &record.payload) == record.commitment {
        Ok(())
    } else {
        Err(StoreError::SideMismatch(record.commitment))
    }
}

fn pending_of(record: &SideRecord, creator: Fingerprint) -> PendingSide {
    PendingSide {
        commitment: record.commitment,
        transaction: record.transaction,
        received_ms: record.received_ms,
        creator,
        bytes: record.salt.len() + record.payload.len(),
    }
}

fn index_of(pending: &PendingSide) -> Bytes {
    layout::pending_key(
        pending.received_ms,
        &pending.commitment,
        &pending.transaction,
    )
}

fn put_item(batch: &mut WriteBatch, record: &SideRecord) {
    let key = layout::side_key(&record.commitment, &record.transaction);
    batch.put(layout::SIDE, key, layout::encode_side(record));
}

fn put_pending(batch: &mut WriteBatch, pending: &PendingSide, record: SideRecord) {
    let entry = layout::encode_pending(pending);
    batch.put(layout::PENDING, index_of(pending), entry);
    let state = SideState::Pending;
    put_item(batch, &SideRecord { state, ..record });
}

/// For whom the item is, the committed transaction says.
fn make_committed(batch: &mut WriteBatch, record: SideRecord, promise: &SidePromise) {
    batch.delete(
        layout::PENDING,
        layout::pending_key(record.received_ms, &record.commitment, &record.transaction),
    );
    let record = SideRecord {
        state: SideState::Committed,
        organizations: promise.organizations.clone(),
        ..record
    };
    put_item(batch, &record);
}

fn put_missing(batch: &mut WriteBatch, commit: &BlockCommit, promise: &SidePromise) {
    let missing = MissingSide {
        commitment: promise.commitment,
        transaction: promise.transaction,
        block: commit.number,
        organizations: promise.organizations.clone(),
    };
    batch.put(
        layout::MISSING,
        layout::side_key(&promise.commitment, &promise.transaction),
        layout::encode_missing(&missing),
    );
}

fn supply(batch: &mut WriteBatch, missing: MissingSide, record: SideRecord, state: SideState) {
    let key = layout::side_key(&missing.commitment, &missing.transaction);
    batch.delete(layout::MISSING, key);
    let record = SideRecord {
        state,
        organizations: missing.organizations,
        ..record
    };
    put_item(batch, &record);
}
