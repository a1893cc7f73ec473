//! Blobs that the ledger names and that are not here yet.
//!
//! One file per blob, named by its CID, with one line of text, version 1:
//!
//! | Word | Content |
//! |---|---|
//! | 1 | `1` |
//! | 2 | `permanent` or `leased` |
//! | 3 | end of the lease, milliseconds since 1970, in decimal; absent if permanent |

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use stela_ipfs::{Cid, PinKind};

use crate::files::Folder;
use crate::limits::{WANTED_MAX, WANTED_PAUSE_MS_MAX, WANTED_PAUSE_MS_MIN, WHY_CHARS_MAX};
use crate::pb;

const FILE_BYTES_MAX: u64 = 64;

/// The wanted blobs of one node.
pub(crate) struct Wanted {
    folder: Folder,
    entries: Mutex<BTreeMap<Cid, Entry>>,
}

#[derive(Debug, Clone)]
struct Entry {
    kind: PinKind,
    due_ms: u64,
    pause_ms: u64,
    in_flight: bool,
    tries: u64,
    why: String,
}

impl Entry {
    fn new(kind: PinKind) -> Self {
        Self {
            kind,
            due_ms: 0,
            pause_ms: WANTED_PAUSE_MS_MIN,
            in_flight: false,
            tries: 0,
            why: String::new(),
        }
    }
}

impl Wanted {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let mut entries = BTreeMap::new();
        for (name, text) in folder.read(FILE_BYTES_MAX)? {
            match (name.parse(), parse(&text)) {
                (Ok(cid), Some(kind)) => drop(entries.insert(cid, Entry::new(kind))),
                // Rather keep a blob for too long than lose it.
                (Ok(cid), None) => drop(entries.insert(cid, Entry::new(PinKind::Permanent))),
                (Err(_), _) => tracing::warn!(file = name, "not a CID; it is ignored"),
            }
        }
        Ok(Self {
            folder,
            entries: Mutex::new(entries),
        })
    }

    /// Remembers, on disk, that a blob should be here. The longer of two terms counts.
    pub(crate) fn want(&self, cid: Cid, kind: PinKind) -> io::Result<()> {
        let mut entries = self.entries.lock();
        let old = entries.get(&cid).map(|entry| entry.kind);
        let kind = old.map_or(kind, |old| longer(old, kind));
        if old == Some(kind) {
            return Ok(());
        }
        if old.is_none() && entries.len() >= WANTED_MAX {
            return Err(io::Error::other(
                "more than WANTED_MAX blobs are not here yet",
            ));
        }
        self.folder.write(&cid.to_string(), &line(kind))?;
        entries.entry(cid).or_insert_with(|| Entry::new(kind)).kind = kind;
        Ok(())
    }

    /// Takes blobs that are due; each is out until it is [`done`](Self::done) or
    /// [`failed`](Self::failed), and no more than `out_max` are at a time.
    pub(crate) fn take_due(&self, now_ms: u64, out_max: usize) -> Vec<(Cid, PinKind)> {
        let mut entries = self.entries.lock();
        let count = out_max.saturating_sub(entries.values().filter(|e| e.in_flight).count());
        let due = entries
            .iter_mut()
            .filter(|(_, e)| !e.in_flight && e.due_ms <= now_ms);
        let due = due.take(count).map(|(cid, entry)| {
            entry.in_flight = true;
            (*cid, entry.kind)
        });
        due.collect()
    }

    /// The blob is kept as `kind` says; if more was wanted meanwhile, it is due again.
    pub(crate) fn done(&self, cid: &Cid, kind: PinKind) -> io::Result<()> {
        let mut entries = self.entries.lock();
        match entries.get_mut(cid) {
            Some(entry) if entry.kind != kind => *entry = Entry::new(entry.kind),
            Some(_) => {
                self.folder.remove(&cid.to_string())?;
                entries.remove(cid);
            }
            None => {}
        }
        Ok(())
    }

    /// The blob did not come: it is tried again after a pause that doubles. Answers how often it
    /// was tried.
    pub(crate) fn failed(&self, cid: &Cid, now_ms: u64, why: &str) -> u64 {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(cid) else {
            return 0;
        };
        entry.in_flight = false;
        entry.due_ms = now_ms.saturating_add(entry.pause_ms);
        entry.pause_ms = entry.pause_ms.saturating_mul(2).min(WANTED_PAUSE_MS_MAX);
        entry.tries += 1;
        entry.why = why.chars().take(WHY_CHARS_MAX).collect();
        entry.tries
    }

    /// The blob need not come any more.
    pub(crate) fn forget(&self, cid: &Cid) -> io::Result<()> {
        let mut entries = self.entries.lock();
        if entries.contains_key(cid) {
            self.folder.remove(&cid.to_string())?;
            entries.remove(cid);
        }
        Ok(())
    }

    pub(crate) fn contains(&self, cid: &Cid) -> bool {
        self.entries.lock().contains_key(cid)
    }

    /// What is not here yet, those tried most often first and no more than so many; and how many
    /// there are.
    pub(crate) fn list(&self, count_max: usize) -> (Vec<pb::Missing>, u64) {
        let entries = self.entries.lock();
        let mut list: Vec<_> = entries.iter().collect();
        list.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.tries));
        let missing = list.iter().take(count_max).map(|(cid, entry)| pb::Missing {
            cid: cid.to_string(),
            permanent: entry.kind == PinKind::Permanent,
            tries: entry.tries,
            why: entry.why.clone(),
        });
        (missing.collect(), list.len() as u64)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

fn longer(one: PinKind, two: PinKind) -> PinKind {
    match (one, two) {
        (PinKind::Leased { until_ms: one }, PinKind::Leased { until_ms: two }) => PinKind::Leased {
            until_ms: one.max(two),
        },
        _ => PinKind::Permanent,
    }
}

pub(crate) fn line(kind: PinKind) -> String {
    match kind {
        PinKind::Permanent => "1 permanent\n".to_owned(),
        PinKind::Leased { until_ms } => format!("1 leased {until_ms}\n"),
    }
}

pub(crate) fn parse(text: &str) -> Option<PinKind> {
    match text.strip_suffix('\n')?.split(' ').collect::<Vec<_>>()[..] {
        ["1", "permanent"] => Some(PinKind::Permanent),
        ["1", "leased", until_ms] => Some(PinKind::Leased {
            until_ms: until_ms.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

    fn cid() -> Cid {
        CID.parse().unwrap()
    }

    #[test]
    fn what_is_wanted_is_wanted_after_a_restart_and_until_it_is_here() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Wanted::open(folder.path().to_path_buf()).unwrap();
        let lease = PinKind::Leased { until_ms: 7 };
        open().want(cid(), lease).unwrap();
        let wanted = open();
        assert_eq!(wanted.take_due(0, 9), [(cid(), lease)]);
        assert_eq!(wanted.take_due(0, 9), [], "it is being fetched");
        // The confirmation comes while the blob is being fetched for the submission.
        wanted.want(cid(), PinKind::Permanent).unwrap();
        wanted.want(cid(), lease).unwrap();
        wanted.done(&cid(), lease).unwrap();
        assert_eq!(open().take_due(0, 9), [(cid(), PinKind::Permanent)]);
        assert_eq!(wanted.take_due(0, 9), [(cid(), PinKind::Permanent)]);
        wanted.done(&cid(), PinKind::Permanent).unwrap();
        assert_eq!((wanted.len(), open().len()), (0, 0));
    }

    #[test]
    fn pauses_double() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = Wanted::open(folder.path().to_path_buf()).unwrap();
        wanted.want(cid(), PinKind::Permanent).unwrap();
        let mut now_ms = 0;
        for pause_ms in [2_000, 4_000, 8_000] {
            assert_eq!(wanted.take_due(now_ms, 9).len(), 1);
            wanted.failed(&cid(), now_ms, "nobody has it");
            assert_eq!(wanted.take_due(now_ms + pause_ms - 1, 9).len(), 0);
            now_ms += pause_ms;
        }
    }

    #[test]
    fn golden_files_and_damaged_ones() {
        for kind in [PinKind::Permanent, PinKind::Leased { until_ms: 12 }] {
            assert_eq!(parse(&line(kind)), Some(kind));
        }
        assert_eq!(line(PinKind::Leased { until_ms: 12 }), "1 leased 12\n");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CID), "1 lea").unwrap();
        std::fs::write(folder.path().join("else"), "1 permanent\n").unwrap();
        let wanted = Wanted::open(folder.path().to_path_buf()).unwrap();
        assert_eq!(wanted.take_due(0, 9), [(cid(), PinKind::Permanent)]);
    }
}
