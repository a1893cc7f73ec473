//! What an invocation reads, writes and says, within its limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stela_protocol::limits::KEY_BYTES_MAX;
use stela_protocol::{FORMAT_VERSION, Hash32, Height, hash, key, pb};

use crate::abort::Abort;
use crate::invocation::{AbsenceCall, LogLevel, LogLine};
use crate::limits::{RANGE_READ_ENTRIES, RuntimeLimits};
use crate::view::{KeyVersion, StateView};

/// A value at least this long that equals an argument is replaced by a reference to it.
const REFERENCE_BYTES_MIN: usize = 32;

/// A page of a range, as the contract sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<(Bytes, Bytes)>,
    pub(crate) next: Option<Vec<u8>>,
}

/// A part of a key's history, as the contract sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) versions: Vec<KeyVersion>,
    pub(crate) next: Option<Height>,
}

/// What an invocation that succeeded leaves.
pub(crate) struct Recorded {
    pub(crate) result: pb::Result,
    pub(crate) on_absence: Option<AbsenceCall>,
    pub(crate) logs: Vec<LogLine>,
}

pub(crate) struct Recorder<'v> {
    view: &'v dyn StateView,
    limits: Arc<RuntimeLimits>,
    /// Every key that was read one by one; the view is asked once.
    reads: BTreeMap<Vec<u8>, Option<(Bytes, Height)>>,
    ranges: Vec<pb::RangeRead>,
    range_results: u64,
    history_results: u64,
    writes: BTreeMap<Vec<u8>, Option<Bytes>>,
    events: Vec<pb::ContractEvent>,
    expires_at_ms: Option<u64>,
    on_absence: Option<AbsenceCall>,
    logs: Vec<LogLine>,
    host_calls: u64,
    read_bytes: u64,
    write_bytes: u64,
}

impl<'v> Recorder<'v> {
    pub(crate) fn new(view: &'v dyn StateView, limits: Arc<RuntimeLimits>) -> Self {
        Self {
            view,
            limits,
            reads: BTreeMap::new(),
            ranges: Vec::new(),
            range_results: 0,
            history_results: 0,
            writes: BTreeMap::new(),
            events: Vec::new(),
            expires_at_ms: None,
            on_absence: None,
            logs: Vec::new(),
            host_calls: 0,
            read_bytes: 0,
            write_bytes: 0,
        }
    }

    /// Counts a call of the host.
    pub(crate) fn call(&mut self) -> Result<(), Abort> {
        self.host_calls += 1;
        Abort::check("host calls", self.host_calls, self.limits.host_calls)
    }

    pub(crate) fn get(&mut self, key: Vec<u8>) -> Result<Option<Bytes>, Abort> {
        key::check(&key)?;
        if let Some(known) = self.reads.get(&key) {
            return Ok(known.as_ref().map(|(value, _)| value.clone()));
        }
        let entries = self.reads.len() as u64 + 1;
        Abort::check("keys read", entries, self.limits.set_entries)?;
        let found = self.view.get(&key)?;
        let value = found.as_ref().map(|(value, _)| value.clone());
        self.count_read(key.len() + value.as_ref().map_or(0, Bytes::len))?;
        self.reads.insert(key, found);
        Ok(value)
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Abort> {
        Abort::check(
            "bytes of a value",
            value.len() as u64,
            self.limits.value_bytes as u64,
        )?;
        self.write(key, Some(value.into()))
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) -> Result<(), Abort> {
        self.write(key, None)
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Bytes>) -> Result<(), Abort> {
        key::check(&key)?;
        self.write_bytes += (key.len() + value.as_ref().map_or(0, Bytes::len)) as u64;
        Abort::check("bytes written", self.write_bytes, self.limits.write_bytes)?;
        self.writes.insert(key, value);
        let entries = self.writes.len() as u64;
        Abort::check("keys written", entries, self.limits.set_entries)
    }

    /// Reads a page. What is recorded ends behind the page's last key when the page is full, so that
    /// nothing behind it, which the contract did not see, can conflict.
    pub(crate) fn range(
        &mut self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: u32,
    ) -> Result<Page, Abort> {
        check_bound(&start)?;
        check_bound(&end)?;
        if start >= end || limit == 0 {
            return Err(Abort::Range);
        }
        let ranges = self.ranges.len() as u64 + 1;
        Abort::check("ranges read", ranges, self.limits.ranges)?;
        let limit = limit.min(self.limits.range_entries) as usize;
        let found = self.read_range(&start, &end, limit)?;
        let next = found
            .last()
            .filter(|_| found.len() == limit)
            .map(|(last, _, _)| [last.as_ref(), &[0]].concat())
            .filter(|next| *next < end);
        let keys = found.iter().map(|(key, _, height)| (key.as_ref(), *height));
        self.ranges.push(pb::RangeRead {
            start: start.into(),
            end: next.clone().unwrap_or(end).into(),
            results_hash: hash::range_results(keys).to_bytes(),
        });
        let entries = found.into_iter().map(|(key, value, _)| (key, value));
        Ok(Page {
            entries: entries.collect(),
            next,
        })
    }

    /// Reads a range little by little, so that no more is in memory than the contract may read.
    fn read_range(
        &mut self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, Abort> {
        let mut found: Vec<(Bytes, Bytes, Height)> = Vec::new();
        let mut start = start.to_vec();
        while found.len() < limit {
            let wanted = RANGE_READ_ENTRIES.min(limit - found.len());
            let page = self.view.range(&start, end, wanted)?;
            self.range_results += page.len() as u64;
            let results = self.range_results;
            Abort::check("entries of ranges", results, self.limits.range_results)?;
            let bytes = page.iter().map(|(key, value, _)| key.len() + value.len());
            self.count_read(bytes.sum())?;
            let full = page.len() == wanted;
            found.extend(page);
            match found.last().filter(|_| full) {
                Some((last, _, _)) => start = [last.as_ref(), &[0]].concat(),
                None => break,
            }
        }
        Ok(found)
    }

    /// Reads a part of a key's history. Nothing of it is recorded: whoever endorses never gets here.
    pub(crate) fn history(
        &mut self,
        key: &[u8],
        before: Option<Height>,
        limit: u32,
    ) -> Result<Part, Abort> {
        key::check(key)?;
        if limit == 0 {
            return Err(Abort::Range);
        }
        let limit = limit.min(self.limits.history_entries);
        // Counted before they are read, as if the part were full.
        self.history_results += u64::from(limit);
        let results = self.history_results;
        Abort::check("changes of keys", results, self.limits.history_results)?;
        let limit = limit as usize;
        let versions = self.view.history(key, before, limit)?;
        let value = |version: &KeyVersion| version.value.as_ref().map_or(0, Bytes::len);
        self.count_read(versions.iter().map(value).sum())?;
        let next = versions.last().filter(|_| versions.len() == limit);
        Ok(Part {
            next: next.map(|last| last.height),
            versions,
        })
    }

    fn count_read(&mut self, bytes: usize) -> Result<(), Abort> {
        self.read_bytes += bytes as u64;
        Abort::check("bytes read", self.read_bytes, self.limits.read_bytes)
    }

    pub(crate) fn set_event(&mut self, name: String, payload: Vec<u8>) -> Result<(), Abort> {
        let limits = &self.limits;
        Abort::check("events", self.events.len() as u64 + 1, limits.events)?;
        Abort::check(
            "bytes of an event's name",
            name.len() as u64,
            limits.event_name_bytes as u64,
        )?;
        Abort::check(
            "bytes of an event",
            payload.len() as u64,
            limits.event_bytes as u64,
        )?;
        self.events.push(pb::ContractEvent {
            name,
            payload: payload.into(),
        });
        Ok(())
    }

    /// Of several times the earliest counts.
    pub(crate) fn expire_at(&mut self, time_ms: u64) {
        let earliest = self.expires_at_ms.map_or(time_ms, |at| at.min(time_ms));
        self.expires_at_ms = Some(earliest);
    }

    /// The last call counts.
    pub(crate) fn on_absence(&mut self, function: String, argument: Vec<u8>) -> Result<(), Abort> {
        if function.is_empty() {
            return Err(Abort::AbsenceFunction);
        }
        Abort::check(
            "bytes of the function that is called in absence",
            function.len() as u64,
            self.limits.absence_function_bytes as u64,
        )?;
        Abort::check(
            "bytes of the argument of a call in absence",
            argument.len() as u64,
            self.limits.absence_argument_bytes as u64,
        )?;
        self.on_absence = Some(AbsenceCall {
            function,
            argument: argument.into(),
        });
        Ok(())
    }

    pub(crate) fn log(&mut self, level: LogLevel, message: &str) -> Result<&LogLine, Abort> {
        let lines = self.logs.len() as u64 + 1;
        Abort::check("log lines", lines, self.limits.log_lines)?;
        self.logs.push(LogLine {
            level,
            message: printable(message, self.limits.log_line_bytes),
        });
        Ok(&self.logs[self.logs.len() - 1])
    }

    /// What the endorser signs, and what is for this peer alone.
    pub(crate) fn finish(
        self,
        package_hash: &Hash32,
        arguments: &[Bytes],
        payload: Vec<u8>,
    ) -> Recorded {
        let places: BTreeMap<Vec<u8>, u32> = self.reads.keys().cloned().zip(1..).collect();
        let reads = self.reads.into_iter().map(|(key, found)| pb::Read {
            key: key.into(),
            height: found.map(|(_, height)| height.into()),
        });
        let writes = self.writes.into_iter().map(|(key, value)| {
            let change = Some(change(value, arguments));
            // A key that was read is not repeated.
            match places.get(&key) {
                Some(read) => pb::Write {
                    read: *read,
                    change,
                    ..pb::Write::default()
                },
                None => pb::Write {
                    key: key.into(),
                    change,
                    ..pb::Write::default()
                },
            }
        });
        let result = pb::Result {
            version: FORMAT_VERSION,
            package_hash: package_hash.to_bytes(),
            response: Some(pb::Response {
                payload: payload.into(),
            }),
            reads: reads.collect(),
            ranges: self.ranges,
            writes: writes.collect(),
            events: self.events,
            expires_at_ms: self.expires_at_ms,
        };
        Recorded {
            result,
            on_absence: self.on_absence,
            logs: self.logs,
        }
    }
}

fn change(value: Option<Bytes>, arguments: &[Bytes]) -> pb::write::Change {
    let Some(value) = value else {
        return pb::write::Change::Delete(true);
    };
    let argument = arguments
        .iter()
        .position(|argument| value.len() >= REFERENCE_BYTES_MIN && *argument == value);
    match argument.and_then(|index| u32::try_from(index).ok()) {
        Some(index) => pb::write::Change::Argument(index),
        None => pb::write::Change::Value(value),
    }
}

/// The bound of a range may be one byte longer than a key: the start of the page behind it.
fn check_bound(bound: &[u8]) -> Result<(), Abort> {
    Abort::check(
        "bytes of a range's bound",
        bound.len() as u64,
        KEY_BYTES_MAX as u64 + 1,
    )
}

/// A line cannot forge other lines, nor grow without bound.
pub(crate) fn printable(text: &str, bytes_max: usize) -> String {
    let cut = &text[..text.floor_char_boundary(bytes_max)];
    cut.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use stela_protocol::TransactionId;

    use super::*;
    use crate::view::StateError;

    struct Rows(Vec<(&'static str, &'static str)>);

    const HEIGHT: Height = Height {
        block: 3,
        transaction: 1,
    };

    impl StateView for Rows {
        fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
            let row = self.0.iter().find(|(k, _)| k.as_bytes() == key);
            Ok(row.map(|(_, value)| (Bytes::from_static(value.as_bytes()), HEIGHT)))
        }

        fn range(
            &self,
            start: &[u8],
            end: &[u8],
            limit: usize,
        ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
            let inside = self
                .0
                .iter()
                .filter(|(k, _)| start <= k.as_bytes() && k.as_bytes() < end);
            let row = |(key, value): &(&'static str, &'static str)| {
                let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
                (bytes(key), bytes(value), HEIGHT)
            };
            Ok(inside.take(limit).map(row).collect())
        }

        /// Every key was written in each block up to the third.
        fn history(
            &self,
            _: &[u8],
            before: Option<Height>,
            limit: usize,
        ) -> Result<Vec<KeyVersion>, StateError> {
            let blocks = (0..=HEIGHT.block).rev();
            let older = blocks.filter(|block| before.is_none_or(|before| *block < before.block));
            let version = |block| KeyVersion {
                height: Height { block, ..HEIGHT },
                transaction: TransactionId([7; 32]),
                time_ms: block,
                value: (block > 0).then(|| Bytes::from_static(b"12345")),
            };
            Ok(older.take(limit).map(version).collect())
        }
    }

    fn rows() -> Rows {
        Rows(vec![("a", "1"), ("b", "2"), ("c", "3")])
    }

    fn recorder(view: &Rows) -> Recorder<'_> {
        Recorder::new(view, Arc::new(RuntimeLimits::default()))
    }

    #[test]
    fn the_set_is_sorted_and_each_key_is_there_once() {
        let view = rows();
        let mut recorder = recorder(&view);
        for key in ["b", "zz", "a", "b"] {
            recorder.get(key.into()).unwrap();
        }
        recorder.put("y".into(), b"first".to_vec()).unwrap();
        recorder.put("x".into(), vec![7; 40]).unwrap();
        recorder.put("y".into(), b"last".to_vec()).unwrap();
        recorder.delete("a".into()).unwrap();
        let arguments = [Bytes::from_static(b"last"), Bytes::from(vec![7; 40])];
        let result = recorder
            .finish(&Hash32([9; 32]), &arguments, b"{}".to_vec())
            .result;
        let reads: Vec<_> = result
            .reads
            .iter()
            .map(|r| (&r.key[..], r.height.is_some()))
            .collect();
        assert_eq!(reads, [(&b"a"[..], true), (b"b", true), (b"zz", false)]);
        let writes: Vec<_> = result
            .writes
            .iter()
            .map(|w| (&w.key[..], w.read, w.change.clone()))
            .collect();
        let last = Bytes::from_static(b"last");
        // "a" was read: it is the first of the reads.
        assert_eq!(
            writes,
            [
                (&b""[..], 1, Some(pb::write::Change::Delete(true))),
                (b"x", 0, Some(pb::write::Change::Argument(1))),
                (b"y", 0, Some(pb::write::Change::Value(last))),
            ]
        );
    }

    #[test]
    fn a_full_page_ends_behind_its_last_key() {
        let view = rows();
        let mut recorder = recorder(&view);
        let mut page =
            |start: &str, limit| recorder.range(start.into(), "d".into(), limit).unwrap();
        let first = page("a", 2);
        assert_eq!(first.entries.len(), 2);
        assert_eq!(first.next.as_deref(), Some(&b"b\0"[..]));
        assert_eq!(page("b\0", 2).next, None);
        assert_eq!(page("a", 3).next.as_deref(), Some(&b"c\0"[..]));
        assert_eq!(page("a", 4).next, None);
        let result = recorder.finish(&Hash32::ZERO, &[], Vec::new()).result;
        let ends: Vec<_> = result.ranges.iter().map(|r| &r.end[..]).collect();
        assert_eq!(ends, [&b"b\0"[..], b"d", b"c\0", b"d"]);
        let keys = [(&b"a"[..], HEIGHT), (&b"b"[..], HEIGHT)];
        assert_eq!(
            result.ranges[0].results_hash,
            hash::range_results(keys).to_bytes()
        );
    }

    #[test]
    fn a_range_is_the_same_however_it_is_read_and_no_longer_than_validation_reads_again() {
        let keys: Vec<String> = (0..100).map(|number| format!("k{number:03}")).collect();
        let rows = keys.iter().map(|key| (&*key.clone().leak(), "v"));
        let view = Rows(rows.collect());
        let mut wide = recorder(&view);
        for limit in [1, 31, 32, 33, 64, 99, 100, 101, 1_000] {
            let page = wide.range("k".into(), "l".into(), limit).unwrap();
            let expected = 100.min(limit as usize);
            assert_eq!(page.entries.len(), expected);
            let next = (limit <= 100).then(|| format!("{}\0", keys[expected - 1]).into_bytes());
            assert_eq!(page.next, next, "{limit}");
        }
        let limits = RuntimeLimits {
            ranges: 3,
            range_results: 150,
            ..RuntimeLimits::default()
        };
        let limits = Arc::new(limits);
        let limit = |what, max| Err(Abort::Limit { what, max });
        let mut narrow = Recorder::new(&view, limits.clone());
        let mut range = |limit| narrow.range("k".into(), "l".into(), limit).map(drop);
        assert_eq!((range(100), range(50)), (Ok(()), Ok(())));
        assert_eq!(range(1), limit("entries of ranges", 150));
        let mut few = Recorder::new(&view, limits);
        let mut range = || few.range("x".into(), "y".into(), 1).map(drop);
        assert_eq!((range(), range(), range()), (Ok(()), Ok(()), Ok(())));
        assert_eq!(range(), limit("ranges read", 3));
    }

    #[test]
    fn a_history_comes_in_parts_and_leaves_no_trace_in_the_set() {
        let view = rows();
        let limits = RuntimeLimits {
            history_entries: 2,
            history_results: 9,
            read_bytes: 20,
            ..RuntimeLimits::default()
        };
        let mut recorder = Recorder::new(&view, Arc::new(limits));
        let mut part = |before, limit| recorder.history(b"a", before, limit);
        let blocks = |part: &Part| -> Vec<u64> {
            let versions = part.versions.iter();
            versions.map(|version| version.height.block).collect()
        };
        let first = part(None, 9).unwrap();
        assert_eq!(blocks(&first), [3, 2]);
        let rest = part(first.next, 9).unwrap();
        assert_eq!(blocks(&rest), [1, 0]);
        assert_eq!(rest.versions[1].value, None);
        let end = part(rest.next, 9).unwrap();
        assert_eq!((end.versions.len(), end.next), (0, None));
        assert_eq!(part(None, 0), Err(Abort::Range));
        let (what, max) = ("bytes read", 20);
        assert_eq!(part(None, 9), Err(Abort::Limit { what, max }));
        let (what, max) = ("changes of keys", 9);
        assert_eq!(part(None, 9), Err(Abort::Limit { what, max }));
        assert!(matches!(recorder.history(b"", None, 1), Err(Abort::Key(_))));
        let result = recorder.finish(&Hash32::ZERO, &[], Vec::new()).result;
        assert!(result.reads.is_empty() && result.ranges.is_empty());
    }

    #[test]
    fn a_write_is_not_seen_by_a_read() {
        let view = rows();
        let mut recorder = recorder(&view);
        recorder.put("a".into(), b"new".to_vec()).unwrap();
        assert_eq!(
            recorder.get("a".into()).unwrap().as_deref(),
            Some(&b"1"[..])
        );
        let page = recorder.range("a".into(), "b".into(), 9).unwrap();
        assert_eq!(page.entries[0].1, "1");
    }

    #[test]
    fn what_exceeds_a_limit_is_refused() {
        let view = rows();
        let mut limits = RuntimeLimits {
            host_calls: 1,
            set_entries: 2,
            write_bytes: 10,
            value_bytes: 8,
            read_bytes: 6,
            events: 1,
            event_bytes: 2,
            log_lines: 1,
            ..RuntimeLimits::default()
        };
        let mut r = Recorder::new(&view, Arc::new(limits.clone()));
        let limit = |what, max| Err(Abort::Limit { what, max });
        assert!(r.call().is_ok());
        assert_eq!(r.call(), limit("host calls", 1));
        assert_eq!(r.put("k".into(), vec![0; 9]), limit("bytes of a value", 8));
        assert!(r.put("k".into(), vec![0; 8]).is_ok());
        assert_eq!(r.put("k".into(), vec![0; 1]), limit("bytes written", 10));
        assert_eq!(r.range("a".into(), "d".into(), 4).map(drop), Ok(()));
        assert_eq!(r.get("a".into()).map(drop), limit("bytes read", 6));
        assert!(r.set_event("e".into(), vec![0; 2]).is_ok());
        assert_eq!(r.set_event("e".into(), vec![]), limit("events", 1));
        assert!(r.log(LogLevel::Info, "x").is_ok());
        assert_eq!(r.log(LogLevel::Info, "x").map(drop), limit("log lines", 1));
        limits.read_bytes = 100;
        let mut r = Recorder::new(&view, Arc::new(limits));
        assert!(r.get("a".into()).is_ok() && r.get("b".into()).is_ok());
        assert_eq!(r.get("c".into()).map(drop), limit("keys read", 2));
        assert_eq!(
            r.set_event("e".into(), vec![0; 3]),
            limit("bytes of an event", 2)
        );
        assert!(matches!(r.get(Vec::new()), Err(Abort::Key(_))));
        assert!(matches!(
            r.put(vec![1; KEY_BYTES_MAX + 1], vec![]),
            Err(Abort::Key(_))
        ));
        assert_eq!(r.range("b".into(), "b".into(), 1), Err(Abort::Range));
        assert_eq!(r.range("a".into(), "b".into(), 0), Err(Abort::Range));
    }

    #[test]
    fn the_earliest_expiry_and_the_last_call_in_absence_count() {
        let view = rows();
        let finish = |recorder: Recorder<'_>| recorder.finish(&Hash32::ZERO, &[], Vec::new());
        let nothing = finish(recorder(&view));
        assert_eq!(nothing.result.expires_at_ms, None);
        assert_eq!(nothing.on_absence, None);
        let mut recorder = recorder(&view);
        for time_ms in [7, 5, 9] {
            recorder.expire_at(time_ms);
        }
        for function in ["first", "last"] {
            recorder
                .on_absence(function.into(), b"{}".to_vec())
                .unwrap();
        }
        let recorded = finish(recorder);
        assert_eq!(recorded.result.expires_at_ms, Some(5));
        let call = recorded.on_absence.unwrap();
        assert_eq!(
            (call.function.as_str(), &call.argument[..]),
            ("last", &b"{}"[..])
        );
        // The call is no part of what is signed.
        let without = pb::Result {
            expires_at_ms: Some(5),
            ..nothing.result
        };
        assert_eq!(recorded.result, without);
    }

    #[test]
    fn a_log_line_is_one_short_line() {
        assert_eq!(printable("a\nb\u{1b}[31m", 100), "a b [31m");
        assert_eq!(printable("ééé", 3), "é");
    }
}
