//! The store on disk: RocksDB.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor,
    CompactOptions, DB, DBCompressionType, DBRecoveryMode, Error, ErrorKind, FlushOptions,
    IteratorMode, Options, ReadOptions, Snapshot, WriteOptions,
};

use crate::error::StoreError;
use crate::kv::{
    Direction, Durability, Family, Kv, KvRead, Operation, WriteBatch, check_keys, check_limit,
};
use crate::limits::{
    BLOCK_CACHE_BYTES, INFO_LOG_BYTES_MAX, MEMTABLE_FILTER_RATIO, WAL_BYTES_MAX, WRITE_BUFFER_BYTES,
};

/// What all databases of a process share: one cache, so that its size is the process's.
#[derive(Clone)]
pub struct RocksSettings {
    cache: Cache,
}

impl RocksSettings {
    /// Settings with a cache of `cache_bytes` for decompressed blocks, indexes and filters.
    pub fn new(cache_bytes: usize) -> Self {
        Self {
            cache: Cache::new_lru_cache(cache_bytes),
        }
    }

    fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        // A torn record at the end of the log is a write that never returned. Damage before the
        // end is refused: whoever lost synced writes must not go on as if they had never been.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_max_total_wal_size(WAL_BYTES_MAX);
        options.set_bytes_per_sync(1 << 20);
        options.set_max_background_jobs(2);
        // Each database has one writer.
        options.set_allow_concurrent_memtable_write(false);
        options.set_max_open_files(512);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
        options
    }

    fn family(&self) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_block_size(16 << 10);
        table.set_bloom_filter(10.0, false);
        table.set_format_version(5);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        // Most keys that are looked up are not there, such as the ids of new transactions.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_RATIO);
        options.set_level_compaction_dynamic_level_bytes(true);
        options
    }
}

impl Default for RocksSettings {
    fn default() -> Self {
        Self::new(BLOCK_CACHE_BYTES)
    }
}

/// A store on disk. Every block that is read is checked against its checksum.
pub struct RocksKv {
    db: Arc<DB>,
    families: Vec<Family>,
}

impl RocksKv {
    /// Opens the database in the folder `path`, or makes one, with these column families.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Corrupt`] when it is
    /// damaged, else what the disk says.
    pub fn open(
        path: &Path,
        families: &[Family],
        settings: &RocksSettings,
    ) -> Result<Self, StoreError> {
        let io = |error: std::io::Error| io_error("open", error.to_string());
        std::fs::create_dir_all(path).map_err(io)?;
        let descriptor = |name: &Family| ColumnFamilyDescriptor::new(*name, settings.family());
        let db =
            DB::open_cf_descriptors(&settings.database(), path, families.iter().map(descriptor))
                .map_err(|error| open_error(path, error))?;
        Ok(Self {
            db: Arc::new(db),
            families: families.to_vec(),
        })
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            db: &self.db,
            snapshot: None,
        }
    }
}

/// Reads of the newest state, or of a snapshot.
struct Reader<'a> {
    db: &'a DB,
    snapshot: Option<&'a Snapshot<'a>>,
}

impl Reader<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        if let Some(snapshot) = self.snapshot {
            options.set_snapshot(snapshot);
        }
        options
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self
            .db
            .get_cf_opt(handle(self.db, family)?, key, &self.options());
        Ok(found
            .map_err(|error| rocks_error("get", error))?
            .map(Bytes::from))
    }

    fn multi_get(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        check_keys(keys)?;
        let family = handle(self.db, family)?;
        let keys = keys.iter().copied();
        let found = self
            .db
            .batched_multi_get_cf_opt(family, keys, false, &self.options());
        found
            .into_iter()
            .map(|result| match result {
                Ok(value) => Ok(value.map(|value| Bytes::copy_from_slice(&value))),
                Err(error) => Err(rocks_error("multi_get", error)),
            })
            .collect()
    }

    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        check_limit(limit)?;
        let family = handle(self.db, family)?;
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let mut options = self.options();
        options.set_iterate_lower_bound(start);
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        let mode = match direction {
            Direction::Forward => IteratorMode::Start,
            Direction::Backward => IteratorMode::End,
        };
        self.db
            .iterator_cf_opt(family, options, mode)
            .take(limit)
            .map(|entry| match entry {
                Ok((key, value)) => Ok((Bytes::from(key), Bytes::from(value))),
                Err(error) => Err(rocks_error("range", error)),
            })
            .collect()
    }
}

self_cell::self_cell!(
    /// A snapshot together with the database that it needs to stay open.
    struct OwnedSnapshot {
        owner: Arc<DB>,
        #[covariant]
        dependent: Snapshot,
    }
);

impl OwnedSnapshot {
    fn read<T>(&self, read: impl FnOnce(Reader<'_>) -> T) -> T {
        self.with_dependent(|db, snapshot| {
            read(Reader {
                db,
                snapshot: Some(snapshot),
            })
        })
    }
}

impl KvRead for OwnedSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|reader| reader.get(family, key))
    }

    fn multi_get(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.read(|reader| reader.multi_get(family, keys))
    }

    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.read(|reader| reader.range(family, start, end, limit, direction))
    }
}

impl KvRead for RocksKv {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.reader().get(family, key)
    }

    fn multi_get(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.reader().multi_get(family, keys)
    }

    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.reader().range(family, start, end, limit, direction)
    }
}

impl Kv for RocksKv {
    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(OwnedSnapshot::new(self.db.clone(), |db| db.snapshot()))
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        let mut native = rocksdb::WriteBatch::default();
        for operation in &batch.operations {
            add(&self.db, &mut native, operation)?;
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.db
            .write_opt(native, &options)
            .map_err(|error| rocks_error("write", error))
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families: Result<Vec<_>, _> =
            self.families.iter().map(|f| handle(&self.db, f)).collect();
        self.db
            .flush_cfs_opt(&families?, &options)
            .map_err(|error| rocks_error("flush", error))
    }

    fn erase(&self, family: Family, keys: &[&[u8]]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        for key in keys {
            batch.delete(family, Bytes::copy_from_slice(key));
        }
        self.write(batch, Durability::Synced)?;
        // All families are flushed, because the log with the values goes only when none needs it.
        self.flush()?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        let handle = handle(&self.db, family)?;
        for key in keys {
            // Up to the first key that does not begin with this one.
            let end = stela_protocol::key::prefix_end(key);
            self.db
                .compact_range_cf_opt(handle, Some(*key), end.as_deref(), &options);
        }
        Ok(())
    }
}

fn handle<'a>(db: &'a DB, family: &str) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(family)
        .ok_or_else(|| StoreError::UnknownFamily(family.to_owned()))
}

fn add(db: &DB, batch: &mut rocksdb::WriteBatch, operation: &Operation) -> Result<(), StoreError> {
    match operation {
        Operation::Put { family, key, value } => batch.put_cf(handle(db, family)?, key, value),
        Operation::Delete { family, key } => batch.delete_cf(handle(db, family)?, key),
        Operation::DeleteRange { family, start, end } => {
            batch.delete_range_cf(handle(db, family)?, start, end);
        }
    }
    Ok(())
}

fn open_error(path: &Path, error: Error) -> StoreError {
    let text = error.as_ref();
    if text.contains("lock file") || text.contains("lock hold by current process") {
        return StoreError::Locked {
            path: path.display().to_string(),
        };
    }
    rocks_error("open", error)
}

fn rocks_error(operation: &'static str, error: Error) -> StoreError {
    let kind = error.kind();
    let reason = error.into_string();
    match kind {
        ErrorKind::Corruption => StoreError::corrupt(reason),
        ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut | ErrorKind::Incomplete => {
            StoreError::Busy { operation, reason }
        }
        _ => io_error(operation, reason),
    }
}

fn io_error(operation: &'static str, reason: String) -> StoreError {
    if reason.contains("No space left on device") {
        return StoreError::Full { operation };
    }
    StoreError::Io { operation, reason }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::suite;

    fn open(path: &Path) -> Result<RocksKv, StoreError> {
        RocksKv::open(path, suite::FAMILIES, &RocksSettings::new(1 << 20))
    }

    fn put(key: &[u8], value: &[u8]) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(suite::A, key.to_vec(), value.to_vec());
        batch
    }

    #[test]
    fn it_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let count = std::cell::Cell::new(0);
        suite::run(|| {
            count.set(count.get() + 1);
            open(&folder.path().join(count.get().to_string())).unwrap()
        });
    }

    #[test]
    fn what_was_synced_is_there_after_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path())
            .unwrap()
            .write(put(b"k", b"v"), Durability::Synced)
            .unwrap();
        assert_eq!(
            open(folder.path())
                .unwrap()
                .get(suite::A, b"k")
                .unwrap()
                .unwrap(),
            "v"
        );
    }

    #[test]
    fn a_database_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let _owner = open(folder.path()).unwrap();
        assert!(matches!(
            open(folder.path()),
            Err(StoreError::Locked { .. })
        ));
    }

    #[test]
    fn a_snapshot_outlives_the_store_it_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(folder.path()).unwrap();
        kv.write(put(b"k", b"v"), Durability::Buffered).unwrap();
        let snapshot = kv.snapshot();
        drop(kv);
        assert_eq!(snapshot.get(suite::A, b"k").unwrap().unwrap(), "v");
    }

    /// Flips a byte in the middle of each file that `choose` chooses.
    fn damage(folder: &Path, choose: impl Fn(&str) -> bool) -> usize {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let chosen = entries.filter(|path| choose(&path.file_name().unwrap().to_string_lossy()));
        let mut damaged = 0;
        for path in chosen {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 0x40;
                std::fs::write(&path, bytes).unwrap();
                damaged += 1;
            }
        }
        damaged
    }

    #[test]
    fn a_flipped_byte_in_a_table_is_an_error_and_not_another_value() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(folder.path()).unwrap();
        kv.write(put(b"k", &suite::noise(64 << 10)), Durability::Synced)
            .unwrap();
        kv.flush().unwrap();
        drop(kv);
        assert!(damage(folder.path(), |name| name.ends_with(".sst")) > 0);
        let read = open(folder.path()).and_then(|kv| kv.get(suite::A, b"k"));
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
    }

    #[test]
    fn a_flipped_byte_in_the_log_is_an_error_and_not_a_loss() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(folder.path()).unwrap();
        for key in 0..64_u8 {
            kv.write(put(&[key], &suite::noise(4096)), Durability::Synced)
                .unwrap();
        }
        drop(kv);
        assert!(damage(folder.path(), |name| name.ends_with(".log")) > 0);
        assert!(matches!(
            open(folder.path()),
            Err(StoreError::Corrupt { .. })
        ));
    }

    #[test]
    fn after_a_flush_no_log_is_left_to_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let log_bytes = || -> u64 {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let logs = entries
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
            logs.map(|log| log.metadata().unwrap().len()).sum()
        };
        let kv = open(folder.path()).unwrap();
        for (key, family) in [(b"k", suite::A), (b"l", suite::B)] {
            let mut batch = WriteBatch::new();
            batch.put(family, key.to_vec(), suite::noise(256));
            kv.write(batch, Durability::Buffered).unwrap();
        }
        assert!(log_bytes() > 0);
        kv.flush().unwrap();
        drop(kv);
        assert_eq!(log_bytes(), 0);
        let kv = open(folder.path()).unwrap();
        for (key, family) in [(b"k", suite::A), (b"l", suite::B)] {
            assert_eq!(kv.get(family, key).unwrap().unwrap(), suite::noise(256));
        }
    }

    fn files_with(folder: &Path, needle: &[u8]) -> usize {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        // A file may go while the folder is read; then it holds nothing.
        let contents = entries.filter_map(|path| std::fs::read(path).ok());
        contents
            .filter(|bytes| bytes.windows(needle.len()).any(|w| w == needle))
            .count()
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "files are removed in the background: a deadline"
    )]
    fn erased_bytes_leave_every_file() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(folder.path()).unwrap();
        let secret = suite::noise(256);
        let kept: Vec<u8> = suite::noise(512).split_off(256);
        kv.write(put(b"gone", &secret), Durability::Synced).unwrap();
        kv.flush().unwrap();
        kv.write(put(b"kept", &kept), Durability::Synced).unwrap();
        kv.write(put(b"gone-too", &secret), Durability::Synced)
            .unwrap();
        assert!(
            files_with(folder.path(), &secret) > 0,
            "the search finds nothing at all"
        );
        // What begins with an erased key leaves too, if it was deleted before.
        kv.write(put(b"gone-before", &secret), Durability::Synced)
            .unwrap();
        kv.flush().unwrap();
        let mut batch = WriteBatch::new();
        batch.delete(suite::A, b"gone-before".as_slice());
        kv.write(batch, Durability::Synced).unwrap();
        kv.erase(suite::A, &[b"gone", b"gone-too"]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while files_with(folder.path(), &secret) > 0 {
            assert!(Instant::now() < deadline, "the bytes are still there");
            std::thread::yield_now();
        }
        assert_eq!(kv.get(suite::A, b"gone"), Ok(None));
        assert_eq!(kv.get(suite::A, b"kept").unwrap().unwrap(), kept);
    }
}
