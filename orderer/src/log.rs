//! Raft's log on a [`Kv`], which is also where the blocks are.
//!
//! The log only reads: it stages what is to be written in a batch, and takes it for written when
//! its caller says so. Its start moves on: entries before it are Raft's no longer, and whoever needs
//! one gets a snapshot, which is nothing but the [`Start`]. Blocks before it are read by number.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use stela_store::{Direction, Kv, StoreError, WriteBatch};

use crate::layout::{
    self, CONF_STATE, HARD_STATE, LOG, META, START, Start, TERMS, corrupt, decode_entry,
    decode_hard_state, decode_numbers, encode_entry, encode_hard_state, encode_numbers,
};
use crate::limits::ENTRY_CACHE_BYTES_MAX;

/// The log of one channel.
pub struct Log {
    kv: Arc<dyn Kv>,
    hard_state: HardState,
    conf_state: ConfState,
    start: Start,
    newest: Option<Start>,
    last_index: u64,
    terms: Terms,
    cache: Cache,
    unreadable: RefCell<Option<StoreError>>,
}

impl Log {
    /// Opens the log that is in `kv`.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read or its parts do not fit together.
    pub fn open(kv: Arc<dyn Kv>) -> Result<Self, StoreError> {
        let meta = |key| {
            kv.get(META, key)?
                .ok_or_else(|| corrupt("the state of raft is missing"))
        };
        let hard_state = decode_hard_state(meta(HARD_STATE)?)?;
        let voters = decode_numbers("conf_state", meta(CONF_STATE)?)?;
        // Raft falls over a voter 0, and over one that is listed twice.
        if voters.first().is_none_or(|first| *first == 0) || !voters.is_sorted_by(|a, b| a < b) {
            return Err(corrupt("conf_state"));
        }
        let start = Start::decode(meta(START)?)?;
        let last = kv.range(LOG, &[], None, 1, Direction::Backward)?;
        let last_index = last.first().map_or(Ok(0), |(key, _)| layout::number(key))?;
        let last_index = last_index.max(start.index);
        let terms = Terms::read(kv.as_ref(), &start)?;
        let counts_on = last_index < u64::MAX;
        if !counts_on || hard_state.commit > last_index || terms.of(last_index) > hard_state.term {
            return Err(corrupt(
                "the log ends before what it had committed, or never",
            ));
        }
        if hard_state.commit < start.index {
            return Err(corrupt("the log starts after what it had committed"));
        }
        Ok(Self {
            kv,
            hard_state,
            conf_state: conf_state(voters),
            start,
            newest: None,
            last_index,
            terms,
            cache: Cache::default(),
            unreadable: RefCell::default(),
        })
    }

    /// Whether Raft got every entry that it asked for. If not, it went on with fewer, and nothing of
    /// what it says since may be sent, written or applied.
    ///
    /// # Errors
    /// [`StoreError`] says which entry could not be read first.
    pub fn check_read(&self) -> Result<(), StoreError> {
        self.unreadable.borrow().clone().map_or(Ok(()), Err)
    }

    /// Reads every committed entry behind `applied`, so that damage is found at the start.
    ///
    /// # Errors
    /// [`StoreError`] says which one is.
    pub fn check_unapplied(&self, applied: u64) -> Result<(), StoreError> {
        (applied..self.hard_state.commit).try_for_each(|index| self.entry(index + 1).map(drop))
    }

    /// Term, vote and commit index as last staged.
    pub fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    /// Where it starts.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The newest point at which the log could start. Who was not a voter yet at its start gets
    /// this one: Raft takes no snapshot that does not name its receiver.
    pub fn set_newest(&mut self, newest: Start) {
        self.newest = Some(newest);
    }

    /// The term of an entry that is in the log, or the newest one before its start.
    pub fn term_of(&self, index: u64) -> Option<u64> {
        (self.start.index..=self.last_index)
            .contains(&index)
            .then(|| self.terms.of(index))
    }

    /// Adds to `batch` that the log starts at `start`, an entry that is applied. Nothing but the
    /// account of terms is removed.
    pub fn stage_start(&mut self, start: Start, batch: &mut WriteBatch) {
        batch.put(META, START, start.encode());
        batch.delete_range(TERMS, layout::key(0), layout::key(start.index + 1));
        self.terms.start_at(&start);
        self.start = start;
    }

    /// Adds to `batch` that a snapshot takes the place of the whole log. Entries after `applied`
    /// are removed: they are not committed, or their blocks are here already.
    pub fn stage_snapshot(&mut self, start: Start, applied: u64, batch: &mut WriteBatch) {
        batch.delete_range(LOG, layout::key(applied + 1), layout::key(u64::MAX));
        batch.delete_range(TERMS, layout::key(0), layout::key(u64::MAX));
        batch.put(META, START, start.encode());
        batch.put(META, CONF_STATE, encode_numbers(&start.voters));
        self.conf_state = conf_state(start.voters.clone());
        self.terms = Terms::default();
        self.terms.start_at(&start);
        self.cache = Cache::default();
        self.last_index = start.index;
        self.newest = None;
        self.start = start;
    }

    /// Adds to `batch` who takes part in Raft from now on.
    pub fn stage_conf_state(&mut self, mut state: ConfState, batch: &mut WriteBatch) {
        state.voters.sort_unstable();
        batch.put(META, CONF_STATE, encode_numbers(&state.voters));
        self.conf_state = state;
    }

    /// Adds a new hard state to `batch`.
    pub fn stage_hard_state(&mut self, state: HardState, batch: &mut WriteBatch) {
        batch.put(META, HARD_STATE, encode_hard_state(&state));
        self.hard_state = state;
    }

    /// Adds `entries` to `batch`. They replace what the log has from the first one's index on,
    /// which is never a committed entry.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it would be, or when there would be a gap.
    pub fn stage(&self, entries: &[Entry], batch: &mut WriteBatch) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        if first.index <= self.hard_state.commit || first.index > self.last_index + 1 {
            return Err(corrupt(format!(
                "raft appends entry {} out of place",
                first.index
            )));
        }
        for index in last.index + 1..=self.last_index {
            batch.delete(LOG, layout::key(index));
        }
        for start in self.terms.starts_from(first.index) {
            batch.delete(TERMS, layout::key(start));
        }
        let mut term = self.terms.of(first.index - 1);
        for entry in entries {
            if entry.term != term {
                batch.put(
                    TERMS,
                    layout::key(entry.index),
                    encode_numbers(&[entry.term]),
                );
                term = entry.term;
            }
            batch.put(LOG, layout::key(entry.index), encode_entry(entry));
        }
        Ok(())
    }

    /// What was staged has been written.
    pub fn written(&mut self, entries: Vec<Entry>) {
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.terms.truncate(first.index);
            self.last_index = last.index;
        }
        for entry in entries {
            self.terms.push(entry.index, entry.term);
            self.cache.push(entry);
        }
    }

    fn entry(&self, index: u64) -> Result<Entry, StoreError> {
        if let Some(entry) = self.cache.get(index) {
            return Ok(entry.clone());
        }
        let value = self.kv.get(LOG, &index.to_be_bytes())?;
        let value = value.ok_or_else(|| corrupt(format!("entry {index} of the log is missing")))?;
        let entry = decode_entry(index, value)?;
        if entry.term != self.terms.of(index) {
            return Err(corrupt(format!(
                "entry {index} of the log has another term than its term"
            )));
        }
        Ok(entry)
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.conf_state.clone(),
        ))
    }

    /// Raft ends the process when it is told that an entry cannot be read. So those before it are
    /// the answer, and [`check_read`](Log::check_read) tells.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last_index + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for index in low..high {
            let entry = match self.entry(index) {
                Ok(entry) => entry,
                Err(error) => {
                    self.unreadable.borrow_mut().get_or_insert(error);
                    break;
                }
            };
            bytes += entry.data.len() as u64;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.start.index {
            return Err(StorageError::Compacted.into());
        }
        self.term_of(index)
            .ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last_index)
    }

    fn snapshot(&self, _: u64, to: u64) -> raft::Result<Snapshot> {
        let points = [Some(&self.start), self.newest.as_ref()];
        let mut points = points.into_iter().flatten();
        let point = points.find(|point| point.index > 0 && point.voters.contains(&to));
        let unavailable = StorageError::SnapshotTemporarilyUnavailable;
        point.map(snapshot_of).ok_or(unavailable.into())
    }
}

/// The snapshot that says where a log starts. Its data names the block; what the block holds is
/// fetched by number.
pub fn snapshot_of(start: &Start) -> Snapshot {
    let metadata = SnapshotMetadata {
        conf_state: Some(conf_state(start.voters.clone())).into(),
        index: start.index,
        term: start.term,
        ..Default::default()
    };
    Snapshot {
        data: start.encode(),
        metadata: Some(metadata).into(),
        ..Default::default()
    }
}

/// What a snapshot says, if its parts say the same.
pub fn start_in(snapshot: &Snapshot) -> Option<Start> {
    let start = Start::decode(snapshot.data.clone()).ok()?;
    (start.index > 0 && snapshot_of(&start) == *snapshot).then_some(start)
}

fn conf_state(voters: Vec<u64>) -> ConfState {
    ConfState {
        voters,
        ..Default::default()
    }
}

/// Where terms begin: ascending pairs of a term's first index and the term, the first one for the
/// newest entry before the log's start. There are few, one for each election since then, so that no
/// entry needs to be read to know its term.
#[derive(Default)]
struct Terms(Vec<(u64, u64)>);

impl Terms {
    fn read(kv: &dyn Kv, start: &Start) -> Result<Self, StoreError> {
        let mut terms = Self::default();
        terms.start_at(start);
        // Not through `scan`, which wants a `KvRead`; a page is more than there ever are at a time.
        let mut next = layout::key(start.index + 1).to_vec();
        loop {
            let page = kv.range(TERMS, &next, None, TERMS_PAGE, Direction::Forward)?;
            for (key, value) in &page {
                let [term] = decode_numbers("a term", value.clone())?[..] else {
                    return Err(corrupt("a term"));
                };
                terms.0.push((layout::number(key)?, term));
            }
            match page.last() {
                Some((key, _)) if page.len() == TERMS_PAGE => next = [key, &[0][..]].concat(),
                _ => return Ok(terms),
            }
        }
    }

    /// Forgets what is before the start, but for its own term.
    fn start_at(&mut self, start: &Start) {
        let after = self.0.partition_point(|(first, _)| *first <= start.index);
        self.0.drain(..after);
        if start.index > 0 {
            self.0.insert(0, (start.index, start.term));
        }
    }

    fn of(&self, index: u64) -> u64 {
        let after = self.0.partition_point(|(start, _)| *start <= index);
        after.checked_sub(1).map_or(0, |at| self.0[at].1)
    }

    fn starts_from(&self, index: u64) -> impl Iterator<Item = u64> {
        let at = self.0.partition_point(|(start, _)| *start < index);
        self.0[at..].iter().map(|(start, _)| *start)
    }

    fn truncate(&mut self, index: u64) {
        let at = self.0.partition_point(|(start, _)| *start < index);
        self.0.truncate(at);
    }

    fn push(&mut self, index: u64, term: u64) {
        if self.0.last().map_or(0, |(_, last)| *last) != term {
            self.0.push((index, term));
        }
    }
}

const TERMS_PAGE: usize = 512;

/// The newest entries without a gap, up to [`ENTRY_CACHE_BYTES_MAX`] bytes.
#[derive(Default)]
struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Cache {
    fn get(&self, index: u64) -> Option<&Entry> {
        let first = self.entries.front()?.index;
        self.entries
            .get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn push(&mut self, entry: Entry) {
        while let Some(last) = self.entries.pop_back_if(|last| last.index >= entry.index) {
            self.bytes -= last.data.len();
        }
        if self
            .entries
            .back()
            .is_some_and(|last| last.index + 1 != entry.index)
        {
            *self = Self::default();
        }
        self.bytes += entry.data.len();
        self.entries.push_back(entry);
        while self.bytes > ENTRY_CACHE_BYTES_MAX
            && let Some(first) = self.entries.pop_front()
        {
            self.bytes -= first.data.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::FAMILIES;
    use bytes::Bytes;
    use stela_protocol::{BlockNumber, Hash32};
    use stela_store::{Durability, KvRead, MemoryKv};

    fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
        let entry = |(at, term): (usize, &u64)| Entry {
            index: first + at as u64,
            term: *term,
            data: vec![at as u8; 10].into(),
            ..Default::default()
        };
        terms.iter().enumerate().map(entry).collect()
    }

    fn start(index: u64, term: u64) -> Start {
        Start {
            index,
            term,
            number: BlockNumber(index),
            hash: Hash32([7; 32]),
            voters: vec![1, 2, 3],
        }
    }

    fn new_kv() -> Arc<MemoryKv> {
        let kv = Arc::new(MemoryKv::new(FAMILIES));
        let mut batch = WriteBatch::new();
        let state = HardState {
            term: 9,
            ..Default::default()
        };
        batch.put(META, HARD_STATE, encode_hard_state(&state));
        batch.put(META, CONF_STATE, encode_numbers(&[1, 2, 3]));
        batch.put(META, START, start(0, 0).encode());
        kv.write(batch, Durability::Synced).unwrap();
        kv
    }

    fn append(kv: &Arc<MemoryKv>, log: &mut Log, entries: Vec<Entry>) {
        let mut batch = WriteBatch::new();
        log.stage(&entries, &mut batch).unwrap();
        kv.write(batch, Durability::Synced).unwrap();
        log.written(entries);
    }

    fn read(log: &Log, low: u64, high: u64, bytes_max: u64) -> Vec<(u64, u64)> {
        let context = GetEntriesContext::empty(false);
        let found = log.entries(low, high, bytes_max, context).unwrap();
        found
            .iter()
            .map(|entry| (entry.index, entry.term))
            .collect()
    }

    /// The log and the one that is opened from the same store answer alike.
    fn check(kv: &Arc<MemoryKv>, log: &Log, terms: &[u64]) {
        check_from(kv, log, (0, 0), terms);
    }

    /// `before` is the newest entry before the start.
    fn check_from(kv: &Arc<MemoryKv>, log: &Log, before: (u64, u64), terms: &[u64]) {
        let reopened = Log::open(kv.clone()).unwrap();
        for log in [log, &reopened] {
            let (first, last) = (before.0 + 1, before.0 + terms.len() as u64);
            assert_eq!(log.first_index().unwrap(), first);
            assert_eq!(log.last_index().unwrap(), last);
            let expect: Vec<_> = (first..).zip(terms.iter().copied()).collect();
            assert_eq!(read(log, first, last + 1, u64::MAX), expect);
            for (index, term) in expect {
                assert_eq!(log.term(index).unwrap(), term);
            }
            assert_eq!(log.term(before.0).unwrap(), before.1);
            assert!(log.term(last + 1).is_err());
            let compacted = log.entries(before.0, last + 1, None, GetEntriesContext::empty(false));
            assert_eq!(compacted, Err(StorageError::Compacted.into()));
        }
    }

    fn commit(kv: &Arc<MemoryKv>, log: &mut Log, commit: u64) {
        let mut batch = WriteBatch::new();
        let state = HardState {
            term: 9,
            commit,
            ..Default::default()
        };
        log.stage_hard_state(state, &mut batch);
        kv.write(batch, Durability::Synced).unwrap();
    }

    #[test]
    fn its_start_moves_and_no_entry_is_removed() {
        let kv = new_kv();
        let mut log = Log::open(kv.clone()).unwrap();
        append(&kv, &mut log, entries(1, &[1, 1, 2, 2, 4, 4]));
        commit(&kv, &mut log, 5);
        let unavailable = Err(StorageError::SnapshotTemporarilyUnavailable.into());
        assert_eq!(log.snapshot(0, 1), unavailable);
        for (index, term, rest) in [(3, 2, &[2, 4, 4][..]), (5, 4, &[4])] {
            let mut batch = WriteBatch::new();
            log.stage_start(start(index, term), &mut batch);
            kv.write(batch, Durability::Synced).unwrap();
            check_from(&kv, &log, (index, term), rest);
            let snapshot = log.snapshot(0, 1).unwrap();
            assert_eq!(start_in(&snapshot), Some(start(index, term)));
        }
        append(&kv, &mut log, entries(6, &[4, 9]));
        check_from(&kv, &log, (5, 4), &[4, 9]);
        // Whoever came after the start gets a later point, when there is one that names it.
        assert_eq!(log.snapshot(0, 4), unavailable);
        let newest = Start {
            voters: vec![1, 2, 3, 4],
            ..start(6, 4)
        };
        log.set_newest(newest.clone());
        assert_eq!(start_in(&log.snapshot(0, 4).unwrap()), Some(newest));
        assert_eq!(start_in(&log.snapshot(0, 1).unwrap()), Some(start(5, 4)));
        let kept = kv.range(LOG, &[], None, 9, Direction::Forward).unwrap();
        assert_eq!(kept.len(), 7);
    }

    #[test]
    fn a_snapshot_takes_the_place_of_what_is_not_applied() {
        let kv = new_kv();
        let mut log = Log::open(kv.clone()).unwrap();
        append(&kv, &mut log, entries(1, &[1, 1, 2, 2]));
        let mut batch = WriteBatch::new();
        log.stage_snapshot(start(9, 5), 2, &mut batch);
        kv.write(batch, Durability::Synced).unwrap();
        commit(&kv, &mut log, 9);
        check_from(&kv, &log, (9, 5), &[]);
        append(&kv, &mut log, entries(10, &[5, 6]));
        check_from(&kv, &log, (9, 5), &[5, 6]);
        let kept = kv.range(LOG, &[], None, 9, Direction::Forward).unwrap();
        let kept: Vec<_> = kept.iter().map(|(key, _)| layout::number(key)).collect();
        assert_eq!(kept, [Ok(1), Ok(2), Ok(10), Ok(11)]);
        assert!(Log::open(kv).unwrap().initial_state().is_ok());
    }

    #[test]
    fn a_snapshot_whose_parts_differ_is_none() {
        let good = snapshot_of(&start(9, 5));
        assert!(start_in(&good).is_some());
        let mut other = good.clone();
        other.mut_metadata().index = 8;
        assert_eq!(start_in(&other), None);
        let mut other = good.clone();
        other.mut_metadata().mut_conf_state().learners = vec![4];
        assert_eq!(start_in(&other), None);
        let mut other = good;
        other.data = Bytes::from_static(b"nothing");
        assert_eq!(start_in(&other), None);
    }

    #[test]
    fn it_grows_and_its_end_is_replaced() {
        let kv = new_kv();
        let mut log = Log::open(kv.clone()).unwrap();
        check(&kv, &log, &[]);
        append(&kv, &mut log, entries(1, &[1, 1, 2, 2, 4]));
        check(&kv, &log, &[1, 1, 2, 2, 4]);
        append(&kv, &mut log, entries(4, &[3]));
        check(&kv, &log, &[1, 1, 2, 3]);
        append(&kv, &mut log, entries(3, &[5, 5, 6]));
        check(&kv, &log, &[1, 1, 5, 5, 6]);
    }

    #[test]
    fn reads_are_bounded_but_never_empty() {
        let kv = new_kv();
        let mut log = Log::open(kv.clone()).unwrap();
        append(&kv, &mut log, entries(1, &[1; 6]));
        for log in [&log, &Log::open(kv.clone()).unwrap()] {
            assert_eq!(read(log, 2, 7, 0), [(2, 1)]);
            assert_eq!(read(log, 2, 7, 25), [(2, 1), (3, 1)]);
            assert!(
                log.entries(5, 8, None, GetEntriesContext::empty(false))
                    .is_err()
            );
        }
    }

    #[test]
    fn what_is_committed_is_never_replaced() {
        let kv = new_kv();
        let mut log = Log::open(kv.clone()).unwrap();
        append(&kv, &mut log, entries(1, &[1, 1, 1]));
        let state = HardState {
            term: 9,
            commit: 2,
            ..Default::default()
        };
        log.stage_hard_state(state, &mut WriteBatch::new());
        let stage = |first| log.stage(&entries(first, &[2]), &mut WriteBatch::new());
        assert!(stage(2).is_err() && stage(5).is_err());
        assert!(stage(3).is_ok() && stage(4).is_ok());
    }

    #[test]
    fn a_log_that_lost_its_end_is_refused() {
        let kv = new_kv();
        let mut log = Log::open(kv.clone()).unwrap();
        append(&kv, &mut log, entries(1, &[1, 1]));
        let mut batch = WriteBatch::new();
        log.stage_hard_state(
            HardState {
                term: 9,
                commit: 2,
                ..Default::default()
            },
            &mut batch,
        );
        batch.delete(LOG, layout::key(2));
        kv.write(batch, Durability::Synced).unwrap();
        assert!(matches!(Log::open(kv), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_left_out_and_told() {
        let of_another_term = encode_entry(&entries(3, &[2])[0]);
        for damaged in [Bytes::from_static(b"damaged"), of_another_term] {
            let kv = new_kv();
            let mut log = Log::open(kv.clone()).unwrap();
            append(&kv, &mut log, entries(1, &[1, 1, 1, 1]));
            let log = Log::open(kv.clone()).unwrap();
            let mut batch = WriteBatch::new();
            batch.put(LOG, layout::key(3), damaged);
            kv.write(batch, Durability::Synced).unwrap();
            assert_eq!(read(&log, 4, 5, u64::MAX), [(4, 1)]);
            assert_eq!(log.check_read(), Ok(()));
            assert_eq!(read(&log, 1, 5, u64::MAX), [(1, 1), (2, 1)]);
            let found = log.check_read();
            assert!(matches!(found, Err(StoreError::Corrupt { .. })));
            assert!(read(&log, 3, 5, u64::MAX).is_empty());
        }
    }

    #[test]
    fn a_committed_entry_that_is_missing_is_found_before_raft_asks_for_it() {
        let kv = new_kv();
        let mut log = Log::open(kv.clone()).unwrap();
        append(&kv, &mut log, entries(1, &[1, 1, 1]));
        let mut batch = WriteBatch::new();
        let state = HardState {
            term: 9,
            commit: 3,
            ..Default::default()
        };
        log.stage_hard_state(state, &mut batch);
        kv.write(batch, Durability::Synced).unwrap();
        assert!(Log::open(kv.clone()).unwrap().check_unapplied(0).is_ok());
        let mut batch = WriteBatch::new();
        batch.delete(LOG, layout::key(2));
        kv.write(batch, Durability::Synced).unwrap();
        let damaged = Log::open(kv).unwrap();
        let found = damaged.check_unapplied(0);
        assert!(matches!(found, Err(StoreError::Corrupt { .. })));
        assert!(damaged.check_unapplied(2).is_ok());
    }

    #[test]
    fn voters_that_raft_would_fall_over_are_refused() {
        for voters in [&[][..], &[0, 1], &[1, 1], &[2, 1]] {
            let kv = new_kv();
            let mut batch = WriteBatch::new();
            batch.put(META, CONF_STATE, encode_numbers(voters));
            kv.write(batch, Durability::Synced).unwrap();
            assert!(matches!(Log::open(kv), Err(StoreError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_log_that_cannot_be_counted_on_is_refused() {
        let kv = new_kv();
        let mut batch = WriteBatch::new();
        batch.put(LOG, layout::key(u64::MAX), layout::encode_bytes(&[0; 9]));
        kv.write(batch, Durability::Synced).unwrap();
        assert!(matches!(Log::open(kv), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn the_cache_holds_the_newest_without_a_gap() {
        let mut cache = Cache::default();
        entries(1, &[1, 1, 1])
            .into_iter()
            .for_each(|entry| cache.push(entry));
        entries(3, &[2])
            .into_iter()
            .for_each(|entry| cache.push(entry));
        assert_eq!((cache.get(3).unwrap().term, cache.bytes), (2, 30));
        let mut large = entries(4, &[2]);
        large[0].data = vec![0; ENTRY_CACHE_BYTES_MAX - 15].into();
        large.into_iter().for_each(|entry| cache.push(entry));
        assert!(cache.get(2).is_none() && cache.get(3).is_some() && cache.get(5).is_none());
    }
}
