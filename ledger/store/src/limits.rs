//! Bounds on what is read, kept and cached.

/// Entries that one call of `range` may ask for.
pub const RANGE_ENTRIES_MAX: usize = 10_000;
/// Entries that a scan reads at a time.
pub const SCAN_PAGE_ENTRIES: usize = 512;
/// Entries of two stores that are read at a time while they are compared; each may be large.
pub const COMPARE_PAGE_ENTRIES: usize = 64;
/// Keys that one call of `multi_get` may ask for.
pub const MULTI_GET_KEYS_MAX: usize = 100_000;
/// Side items that wait for their transaction, on one channel.
pub const SIDE_PENDING_MAX: usize = 100_000;
/// Bytes of the side items that wait for their transaction, on one channel.
pub const SIDE_PENDING_BYTES_MAX: usize = 1 << 30;
/// Side items that wait for transactions of one creator, on one channel.
pub const SIDE_PENDING_PER_CREATOR_MAX: usize = 10_000;
/// Bytes of the side items that wait for transactions of one creator, on one channel.
pub const SIDE_PENDING_PER_CREATOR_BYTES_MAX: usize = 128 << 20;
/// Side items with one commitment that are read at a time; each may be large.
pub const SIDE_PAGE_ENTRIES: usize = 4;
/// Notes of calls that this peer makes when transactions do not come, on one channel.
pub const NOTES_MAX: usize = 4_096;
/// Such notes about transactions of one requester. Each stands until its transaction is committed,
/// or its window has passed and the call was made, so no more are left in a window.
pub const NOTES_PER_REQUESTER_MAX: usize = 64;
/// Bytes of the argument of such a call.
pub const NOTE_ARGUMENT_BYTES_MAX: usize = 4 << 10;
/// Bytes of the reason that is kept when a channel is halted.
pub const HALT_REASON_BYTES_MAX: usize = 1_000;
/// Bytes of keys and values that are copied in one batch into a ledger that is rebuilt.
pub const COPY_BATCH_BYTES: usize = 4 << 20;
/// Pending side items that are removed in one batch.
pub const SIDE_PURGE_BATCH: usize = 1_000;
/// Bytes of the cache of decompressed blocks, shared by all databases of a process.
pub const BLOCK_CACHE_BYTES: usize = 128 << 20;
/// Bytes of writes that a column family gathers in memory before they become a file.
pub const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Bytes of the write-ahead log of one database before the oldest writes are flushed. Whoever was
/// killed reads so many again before it serves: about a second's work.
pub const WAL_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one of RocksDB's own text logs; two are kept.
pub const INFO_LOG_BYTES_MAX: usize = 1 << 20;
/// The part of a family's memory for writes that a filter over its keys takes.
pub const MEMTABLE_FILTER_RATIO: f64 = 0.02;
