//! One channel of a peer, from its blocks to its erasable side items.
//!
//! Invariants:
//! - A block is committed whole, with everything that it changes, in one durable batch.
//! - Blocks follow one another without a gap; each continues the header before it.
//! - The height that a snapshot reports is read inside it.
//! - Why a channel was halted stays until the ledger is rebuilt: a rebuilt one is another store, and
//!   the reason is not copied.
//! - After a write has failed nothing more is written: what the disk holds is not known until the
//!   store is opened again.

mod compare;
mod notes;
mod read;
mod rebuild;
mod records;
mod side;
mod usage;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use stela_protocol::limits::ORGANIZATIONS_MAX;
use stela_protocol::{ChannelId, Hash32, Height, key};

pub use self::compare::{Difference, Found, compare};
use self::notes::NoteIndex;
pub use self::notes::{NoteCopy, copy_notes, damaged_notes};
pub use self::read::{LedgerRead, SideRecords, StateSnapshot};
pub use self::rebuild::{SideCopy, SideFault, SideFinding, check_side, copy_side};
pub(crate) use self::records::PendingSide;
pub use self::records::{
    BlockCommit, CertificateRecord, Committed, Halt, HaltCause, Head, HistoryEntry, MissingSide,
    Note, SidePromise, SideRecord, SideState, StateWrite, StoredBlock, TransactionRecord,
    VersionedValue,
};
use self::side::Arriving;
use self::usage::Usage;
pub use self::walk::{Change, Changes, StateEntries, StateEntry};
use crate::error::StoreError;
use crate::kv::{Durability, Kv, KvRead, WriteBatch};
use crate::layout;
use crate::limits::HALT_REASON_BYTES_MAX;

/// One channel of a peer. It can be shared; commits and changes of side items and notes take turns.
pub struct PeerLedger {
    kv: Arc<dyn Kv>,
    head: RwLock<Head>,
    /// What the family `notes` holds. It is changed under the writer's lock only.
    notes: RwLock<NoteIndex>,
    /// Held while anything is written.
    writer: Mutex<Writer>,
    /// Side items that are written by whoever has the writer next.
    arriving: Mutex<Vec<Arc<Arriving>>>,
}

struct Writer {
    stopped: bool,
    /// What the family `pending` holds.
    usage: Usage,
}

impl PeerLedger {
    /// Opens the ledger of `channel` in a store that was opened with [`layout::FAMILIES`], or
    /// begins it in an empty one.
    ///
    /// # Errors
    /// [`StoreError::Channel`] or [`StoreError::Format`] when the data is not this ledger's.
    pub fn open(kv: Arc<dyn Kv>, channel: &ChannelId) -> Result<Self, StoreError> {
        claim(kv.as_ref(), channel)?;
        let head = read::read_head(kv.as_ref())?;
        let notes = NoteIndex::read(kv.as_ref())?;
        let writer = Writer {
            stopped: false,
            usage: side::count_pending(kv.as_ref())?,
        };
        Ok(Self {
            kv,
            head: RwLock::new(head),
            notes: RwLock::new(notes),
            writer: Mutex::new(writer),
            arriving: Mutex::default(),
        })
    }

    /// How far the ledger has come.
    pub fn head(&self) -> Head {
        *self.head.read()
    }

    /// Everything at the present height.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn snapshot(&self) -> Result<StateSnapshot, StoreError> {
        StateSnapshot::new(self.kv.snapshot())
    }

    /// Commits a block durably, with everything that it changes, or nothing.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`], [`StoreError::PreviousHash`] and [`StoreError::Inconsistent`]
    /// when the block does not fit: then nothing was changed. Any other error stops the ledger.
    pub fn commit(&self, commit: BlockCommit) -> Result<Committed, StoreError> {
        let mut writer = self.writer.lock();
        check(&self.head(), &commit)?;
        let head = Head {
            height: commit.number.next().0,
            header_hash: commit.header_hash,
            state_hash: commit.state_hash,
            last_config: commit.last_config,
            time_ms: commit.time_ms,
        };
        let mut batch = WriteBatch::new();
        put_block(&mut batch, &commit, &head);
        put_state(&mut batch, &commit);
        self.put_certificates(&mut batch, &commit)?;
        let settled = self.settle_promises(&mut batch, &commit)?;
        let settled_notes = self.settle_notes(&mut batch, &commit);
        self.write(&mut writer, batch)?;
        self.forget_notes(&settled_notes);
        for pending in &settled.arrived {
            writer.usage.remove(pending);
        }
        *self.head.write() = head;
        Ok(Committed {
            head,
            missing_side: settled.missing,
        })
    }

    /// Notes durably why the channel is no longer served. The first reason stays.
    ///
    /// # Errors
    /// What the disk says.
    pub fn halt(&self, halt: &Halt) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        if self.halted()?.is_some() {
            return Ok(());
        }
        let mut what = halt.what.clone();
        what.truncate(what.floor_char_boundary(HALT_REASON_BYTES_MAX));
        let halt = Halt {
            what,
            ..halt.clone()
        };
        let mut batch = WriteBatch::new();
        batch.put(layout::META, layout::HALT_KEY, layout::encode_halt(&halt));
        self.write(&mut writer, batch)
    }

    /// Prepares for being closed: the next opening has no log of writes to read again.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after a write has failed, else what the disk says.
    pub fn flush(&self) -> Result<(), StoreError> {
        let writer = self.writer.lock();
        match writer.stopped {
            true => Err(StoreError::Stopped),
            false => self.kv.flush(),
        }
    }

    /// Writes durably; after a failure nothing more is written.
    fn write(&self, writer: &mut Writer, batch: WriteBatch) -> Result<(), StoreError> {
        if writer.stopped {
            return Err(StoreError::Stopped);
        }
        let result = self.kv.write(batch, Durability::Synced);
        writer.stopped = result.as_ref().is_err_and(|error| !error.is_retryable());
        result
    }

    fn put_certificates(
        &self,
        batch: &mut WriteBatch,
        commit: &BlockCommit,
    ) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        for (fingerprint, der) in &commit.certificates {
            if !seen.insert(fingerprint) || self.certificate(fingerprint)?.is_some() {
                continue;
            }
            let record = CertificateRecord {
                from: commit.number.next(),
                der: der.clone(),
            };
            let value = layout::encode_certificate(&record);
            batch.put(layout::CERTIFICATES, fingerprint.to_bytes(), value);
        }
        Ok(())
    }
}

impl LedgerRead for PeerLedger {
    fn reader(&self) -> &dyn KvRead {
        self.kv.as_ref()
    }
}

/// Writes the channel's name into an empty store, and checks it in any other.
fn claim(kv: &dyn Kv, channel: &ChannelId) -> Result<(), StoreError> {
    let name = channel.as_str().as_bytes();
    let Some(found) = kv.get(layout::META, layout::CHANNEL_KEY)? else {
        let mut batch = WriteBatch::new();
        batch.put(
            layout::META,
            layout::CHANNEL_KEY,
            layout::encode_bytes(name),
        );
        return kv.write(batch, Durability::Synced);
    };
    let found = layout::decode_bytes("the channel's name", found)?;
    if found == name {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&found).into_owned();
    Err(StoreError::Channel {
        found,
        expected: channel.to_string(),
    })
}

fn check(head: &Head, commit: &BlockCommit) -> Result<(), StoreError> {
    let number = commit.number;
    if number.0 != head.height {
        let expected = stela_protocol::BlockNumber(head.height);
        return Err(StoreError::OutOfOrder {
            expected,
            found: number,
        });
    }
    if commit.previous_hash != head.header_hash {
        let (expected, found) = (head.header_hash, commit.previous_hash);
        return Err(StoreError::PreviousHash {
            number,
            expected,
            found,
        });
    }
    match contradiction(head, commit) {
        None => Ok(()),
        Some(what) => Err(StoreError::Inconsistent { number, what }),
    }
}

fn contradiction(head: &Head, commit: &BlockCommit) -> Option<&'static str> {
    let known = |index: u32| (index as usize) < commit.codes.len();
    let valid = |index: u32| {
        commit
            .codes
            .get(index as usize)
            .is_some_and(|code| code.is_valid())
    };
    let checks = [
        (
            commit.time_ms < head.time_ms,
            "its time is before its predecessor's",
        ),
        (
            head.height == 0 && commit.config.is_none(),
            "block 0 has no configuration",
        ),
        (
            commit.transactions.iter().any(|(_, index)| !known(*index)),
            "an indexed transaction has no verdict",
        ),
        (
            commit.writes.iter().any(|w| !valid(w.index)),
            "a write of an invalid transaction",
        ),
        (
            commit.writes.iter().any(|w| key::check(&w.key).is_err()),
            "a key that is not allowed",
        ),
        (
            commit
                .side
                .iter()
                .any(|p| p.organizations.len() > ORGANIZATIONS_MAX),
            "a side item for too many organizations",
        ),
    ];
    checks
        .into_iter()
        .find(|(wrong, _)| *wrong)
        .map(|(_, what)| what)
}

fn put_block(batch: &mut WriteBatch, commit: &BlockCommit, head: &Head) {
    let key = layout::number_key(commit.number);
    batch.put(
        layout::BLOCKS,
        key.clone(),
        layout::encode_bytes(&commit.block),
    );
    batch.put(
        layout::CODES,
        key,
        layout::encode_codes(&commit.state_hash, &commit.codes),
    );
    batch.put(layout::META, layout::HEAD_KEY, layout::encode_head(head));
    if let Some(config) = &commit.config {
        batch.put(
            layout::META,
            layout::CONFIG_KEY,
            layout::encode_bytes(config),
        );
    }
    for (id, index) in &commit.transactions {
        let height = Height {
            block: commit.number.0,
            transaction: *index,
        };
        let code = commit.codes[*index as usize];
        let record = TransactionRecord {
            height,
            code,
            time_ms: commit.time_ms,
        };
        batch.put(
            layout::TRANSACTIONS,
            id.to_bytes(),
            layout::encode_transaction(&record),
        );
    }
}

fn put_state(batch: &mut WriteBatch, commit: &BlockCommit) {
    for write in &commit.writes {
        let height = Height {
            block: commit.number.0,
            transaction: write.index,
        };
        let key = layout::state_key(&write.namespace, &write.key);
        match &write.value {
            Some(value) => batch.put(layout::STATE, key, layout::encode_state(height, value)),
            None => batch.delete(layout::STATE, key),
        }
        let key = layout::history_key(&write.namespace, &write.key, height);
        let entry = layout::encode_history(write.value.is_none(), &write.transaction);
        batch.put(layout::HISTORY, key, entry);
    }
}

/// What a commit does to side items.
#[derive(Default)]
struct Settled {
    /// Pending items that are committed now.
    arrived: Vec<PendingSide>,
    /// Promised items that are not here.
    missing: Vec<Hash32>,
}

#[cfg(test)]
mod derived_tests;
#[cfg(test)]
mod tests;
