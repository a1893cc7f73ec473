//! Side items: erasable data that travels beside transactions.
//!
//! An item comes as pending, before its transaction is ordered. The commit of the transaction makes
//! it committed; if the item is not here by then, it becomes missing until somebody supplies it.
//! Pending items that waited too long are removed. Erasing removes the bytes from the files.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use stela_protocol::limits::{ORGANIZATIONS_MAX, SALT_BYTES, SIDE_BYTES_MAX};
use stela_protocol::{Hash32, hash};

use super::read::LedgerRead;
use super::records::{BlockCommit, MissingSide, SidePromise, SideRecord, SideState};
use super::{PeerLedger, Settled, key_of};
use crate::error::StoreError;
use crate::kv::{Direction, KvRead, WriteBatch, scan};
use crate::layout;
use crate::limits::{SIDE_PENDING_MAX, SIDE_PURGE_BATCH};

impl PeerLedger {
    /// Keeps an item, durably, until its transaction is committed. If that has happened already
    /// and the item was missing, it is committed at once; if the item is here, nothing changes.
    /// The record's `state` is not looked at.
    ///
    /// # Errors
    /// [`StoreError::SideMismatch`] when the item does not fit its commitment,
    /// [`StoreError::SideFull`] when too many wait, else what the disk says.
    pub fn side_put_pending(&self, record: SideRecord) -> Result<(), StoreError> {
        check_item(&record)?;
        let mut writer = self.writer.lock();
        if self.side_get(&record.commitment)?.is_some() {
            return Ok(());
        }
        if let Some(missing) = self.missing(&record.commitment)? {
            let batch = supply(missing, record);
            return self.write(&mut writer, batch);
        }
        if self.pending.load(Ordering::Relaxed) >= SIDE_PENDING_MAX {
            return Err(StoreError::SideFull(SIDE_PENDING_MAX));
        }
        let record = SideRecord {
            state: SideState::Pending,
            ..record
        };
        let mut batch = WriteBatch::new();
        let index = layout::pending_key(record.received_ms, &record.commitment);
        batch.put(layout::PENDING, index, layout::encode_bytes(&[]));
        batch.put(
            layout::SIDE,
            key_of(&record.commitment),
            layout::encode_side(&record),
        );
        self.write(&mut writer, batch)?;
        self.pending.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Fills in an item that a committed transaction promises and that was missing.
    ///
    /// # Errors
    /// [`StoreError::SideNotMissing`] when none waits for it, so also after it was erased;
    /// [`StoreError::SideMismatch`] when it is another item; else what the disk says.
    pub fn side_supply(
        &self,
        commitment: &Hash32,
        salt: Bytes,
        payload: Bytes,
        received_ms: u64,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let missing = self
            .missing(commitment)?
            .ok_or(StoreError::SideNotMissing(*commitment))?;
        let record = SideRecord {
            commitment: *commitment,
            state: SideState::Committed,
            transaction: missing.transaction,
            received_ms,
            organizations: missing.organizations.clone(),
            salt,
            payload,
        };
        check_item(&record)?;
        self.write(&mut writer, supply(missing, record))
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
            let mut batch = WriteBatch::new();
            for (key, _) in &page {
                let (_, commitment) = layout::decode_pending(key)?;
                batch.delete(layout::PENDING, key.clone());
                batch.delete(layout::SIDE, key_of(&commitment));
            }
            if page.is_empty() {
                return Ok(purged);
            }
            self.write(&mut writer, batch)?;
            self.pending.fetch_sub(page.len(), Ordering::Relaxed);
            purged += page.len();
        }
    }

    /// Erases an item: it is gone for every reader when the call returns, and its bytes are gone
    /// from the files of the store, as [`Kv::erase`](crate::Kv::erase) says. A missing item is no
    /// longer waited for. Says whether there was anything; the call may be repeated.
    ///
    /// # Errors
    /// What the disk says.
    pub fn side_erase(&self, commitment: &Hash32) -> Result<bool, StoreError> {
        let mut writer = self.writer.lock();
        let found = self.side_get(commitment)?;
        let waited_for = self.missing(commitment)?.is_some();
        let mut batch = WriteBatch::new();
        batch.delete(layout::SIDE, key_of(commitment));
        batch.delete(layout::MISSING, key_of(commitment));
        let pending = found
            .as_ref()
            .filter(|record| record.state == SideState::Pending);
        if let Some(record) = pending {
            batch.delete(
                layout::PENDING,
                layout::pending_key(record.received_ms, commitment),
            );
        }
        self.write(&mut writer, batch)?;
        self.pending
            .fetch_sub(usize::from(pending.is_some()), Ordering::Relaxed);
        drop(writer);
        self.kv.erase(layout::SIDE, &[commitment.as_ref()])?;
        Ok(found.is_some() || waited_for)
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
            .filter(|promise| seen.insert(promise.commitment))
        {
            match self.side_get(&promise.commitment)? {
                Some(record) if record.state == SideState::Committed => {}
                Some(record) => {
                    make_committed(batch, record, promise);
                    settled.arrived += 1;
                }
                None => {
                    put_missing(batch, commit, promise);
                    settled.missing.push(promise.commitment);
                }
            }
        }
        Ok(settled)
    }

    fn missing(&self, commitment: &Hash32) -> Result<Option<MissingSide>, StoreError> {
        let found = self.kv.get(layout::MISSING, &commitment.0)?;
        found
            .map(|value| layout::decode_missing(&commitment.0, value))
            .transpose()
    }
}

pub(super) fn count_pending(reader: &dyn KvRead) -> Result<usize, StoreError> {
    scan(reader, layout::PENDING, Vec::new(), None)
        .try_fold(0, |count, entry| entry.map(|_| count + 1))
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

/// The transaction of a pending item is the one that was committed, whoever sent the item.
fn make_committed(batch: &mut WriteBatch, record: SideRecord, promise: &SidePromise) {
    batch.delete(
        layout::PENDING,
        layout::pending_key(record.received_ms, &record.commitment),
    );
    let record = SideRecord {
        state: SideState::Committed,
        transaction: promise.transaction,
        organizations: promise.organizations.clone(),
        ..record
    };
    batch.put(
        layout::SIDE,
        key_of(&record.commitment),
        layout::encode_side(&record),
    );
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
        key_of(&promise.commitment),
        layout::encode_missing(&missing),
    );
}

fn supply(missing: MissingSide, record: SideRecord) -> WriteBatch {
    let record = SideRecord {
        state: SideState::Committed,
        transaction: missing.transaction,
        organizations: missing.organizations,
        ..record
    };
    let mut batch = WriteBatch::new();
    batch.delete(layout::MISSING, key_of(&record.commitment));
    batch.put(
        layout::SIDE,
        key_of(&record.commitment),
        layout::encode_side(&record),
    );
    batch
}
