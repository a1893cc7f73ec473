//! Durable storage.
//!
//! [`kv`] is an ordered key-value store with column families, snapshots and atomic batches. It has
//! two implementations that answer alike: [`RocksKv`] on disk, and [`MemoryKv`] for simulations,
//! which can also lose what was not synced. [`ledger`] keeps one channel of a peer on top of it:
//! blocks, verdicts, versioned state, history, indexes and erasable side items; [`layout`] is the
//! table of every key and value.
//!
//! This crate has no clock, no network and no async runtime. It validates no transaction: what it
//! is told to commit, it commits whole or not at all.

mod buffered;
pub mod error;
pub mod kv;
pub mod layout;
pub mod ledger;
pub mod limits;
mod memory;
mod rocks;
#[cfg(test)]
mod suite;

pub use buffered::BufferedKv;
pub use error::StoreError;
pub use kv::{Direction, Durability, Family, Kv, KvRead, Scan, WriteBatch, scan};
pub use ledger::{
    BlockCommit, CertificateRecord, Change, Changes, Committed, Difference, Found, Halt, HaltCause,
    Head, HistoryEntry, LedgerRead, MissingSide, Note, NoteCopy, PeerLedger, SideCopy, SideFault,
    SideFinding, SidePromise, SideRecord, SideRecords, SideState, StateEntries, StateEntry,
    StateSnapshot, StateWrite, StoredBlock, TransactionRecord, VersionedValue, check_side, compare,
    copy_notes, copy_side, damaged_notes,
};
pub use memory::MemoryKv;
pub use rocks::{RocksKv, RocksSettings};
