//! Where the reading of everything that is kept stands. Pure but for the file that remembers it.
//!
//! A round goes through all pins in the order of their CIDs, and the next one begins an interval
//! after it began. Two files, with one line of text each, version 1:
//!
//! | File | Words |
//! |---|---|
//! | `round` | `1`, when the round began, the last CID that was read (`-`: none yet), blobs, blocks, bytes, blobs with losses, blocks lost |
//! | `last` | `1`, when the last complete round began, when it ended, and the same five numbers |
//!
//! A file that does not read so is taken for none: the round begins anew.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use stela_ipfs::{Cid, Pin};

use crate::files::Folder;
use crate::limits::{CHECK_BATCH, CHECK_SAVE_BLOBS};

const FILE_BYTES_MAX: u64 = 512;
const ROUND: &str = "round";
const LAST: &str = "last";

/// What a round has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) blobs: u64,
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// Blobs of which something was missing or damaged.
    pub(crate) lost_blobs: u64,
    /// Blocks that were.
    pub(crate) lost_blocks: u64,
}

/// A round that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) started_ms: u64,
    pub(crate) after: Option<Cid>,
    pub(crate) counts: Counts,
}

/// A round that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) started_ms: u64,
    pub(crate) ended_ms: u64,
    pub(crate) counts: Counts,
}

/// The rounds of one node.
pub(crate) struct Sweep {
    folder: Folder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    round: Option<Round>,
    last: Option<Done>,
    queue: VecDeque<Pin>,
    unsaved: u32,
}

impl Sweep {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let mut state = State::default();
        for (name, text) in folder.read(FILE_BYTES_MAX)? {
            match &name[..] {
                ROUND => state.round = parse_round(&text),
                LAST => state.last = parse_last(&text),
                _ => tracing::warn!(file = name, "not of a check; it is ignored"),
            }
        }
        Ok(Self {
            folder,
            state: Mutex::new(state),
        })
    }

    /// The running round and the last complete one.
    pub(crate) fn rounds(&self) -> (Option<Round>, Option<Done>) {
        let state = self.state.lock();
        (state.round, state.last)
    }

    /// Begins a round if one is due, and says whether one is going on.
    pub(crate) fn begin(&self, now_ms: u64, interval_ms: u64) -> bool {
        let mut state = self.state.lock();
        let due_ms = state
            .last
            .map_or(0, |last| last.started_ms.saturating_add(interval_ms));
        if state.round.is_none() && now_ms >= due_ms {
            state.queue.clear();
            state.round = Some(Round {
                started_ms: now_ms,
                after: None,
                counts: Counts::default(),
            });
        }
        state.round.is_some()
    }

    /// Whether the pins that were handed in have all been given out.
    pub(crate) fn is_out(&self) -> bool {
        self.state.lock().queue.is_empty()
    }

    /// Takes those of all pins, in the order of their CIDs, that come next.
    pub(crate) fn refill(&self, pins: Vec<Pin>) {
        let mut state = self.state.lock();
        let after = state.round.and_then(|round| round.after);
        let ahead = pins.into_iter().filter(|pin| Some(pin.cid) > after);
        state.queue = ahead.take(CHECK_BATCH).collect();
    }

    /// The next pin to read, or `None` when the round is complete.
    pub(crate) fn next(&self, now_ms: u64) -> io::Result<Option<Pin>> {
        let mut state = self.state.lock();
        if let Some(pin) = state.queue.pop_front() {
            return Ok(Some(pin));
        }
        let Some(round) = state.round else {
            return Ok(None);
        };
        let done = Done {
            started_ms: round.started_ms,
            ended_ms: now_ms,
            counts: round.counts,
        };
        self.folder.write(LAST, &line_of_last(&done))?;
        self.folder.remove(ROUND)?;
        (state.last, state.round) = (Some(done), None);
        tracing::info!(counts = ?done.counts, "everything that is kept has been read");
        Ok(None)
    }

    /// Takes back a pin that could not be read now.
    pub(crate) fn put_back(&self, pin: Pin) {
        self.state.lock().queue.push_front(pin);
    }

    /// Notes what was read, and now and then writes down how far the round has come.
    pub(crate) fn note(&self, cid: Cid, read: Counts) -> io::Result<()> {
        let mut state = self.state.lock();
        let Some(round) = &mut state.round else {
            return Ok(());
        };
        round.after = Some(cid);
        round.counts.add(read);
        let line = line_of_round(round);
        state.unsaved += 1;
        if state.unsaved >= CHECK_SAVE_BLOBS || read.lost_blobs > 0 {
            self.folder.write(ROUND, &line)?;
            state.unsaved = 0;
        }
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, more: Self) {
        self.blobs += more.blobs;
        self.blocks += more.blocks;
        self.bytes += more.bytes;
        self.lost_blobs += more.lost_blobs;
        self.lost_blocks += more.lost_blocks;
    }

    fn words(&self) -> String {
        let Self {
            blobs,
            blocks,
            bytes,
            lost_blobs,
            lost_blocks,
        } = self;
        format!("{blobs} {blocks} {bytes} {lost_blobs} {lost_blocks}")
    }

    fn parse(words: &[&str]) -> Option<Self> {
        let numbers: Option<Vec<u64>> = words.iter().map(|word| word.parse().ok()).collect();
        let [blobs, blocks, bytes, lost_blobs, lost_blocks] = numbers?[..] else {
            return None;
        };
        Some(Self {
            blobs,
            blocks,
            bytes,
            lost_blobs,
            lost_blocks,
        })
    }
}

fn line_of_round(round: &Round) -> String {
    let after = round
        .after
        .map_or_else(|| "-".to_owned(), |cid| cid.to_string());
    format!("1 {} {after} {}\n", round.started_ms, round.counts.words())
}

fn parse_round(text: &str) -> Option<Round> {
    let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
    let ["1", started_ms, after, counts @ ..] = &words[..] else {
        return None;
    };
    Some(Round {
        started_ms: started_ms.parse().ok()?,
        after: match *after {
            "-" => None,
            cid => Some(cid.parse().ok()?),
        },
        counts: Counts::parse(counts)?,
    })
}

fn line_of_last(done: &Done) -> String {
    let counts = done.counts.words();
    format!("1 {} {} {counts}\n", done.started_ms, done.ended_ms)
}

fn parse_last(text: &str) -> Option<Done> {
    let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
    let ["1", started_ms, ended_ms, counts @ ..] = &words[..] else {
        return None;
    };
    Some(Done {
        started_ms: started_ms.parse().ok()?,
        ended_ms: ended_ms.parse().ok()?,
        counts: Counts::parse(counts)?,
    })
}

#[cfg(test)]
mod tests {
    use stela_ipfs::PinKind;

    use super::*;

    const INTERVAL_MS: u64 = 1_000;

    fn cid(n: u32) -> Cid {
        let hash = stela_protocol::hash::package(&n.to_be_bytes());
        let bytes = [&[1, 0x55, 0x12, 32], &hash.0[..]].concat();
        Cid::try_from(&bytes[..]).unwrap()
    }

    fn pins(count: u32) -> Vec<Pin> {
        let kind = PinKind::Permanent;
        let mut pins: Vec<Pin> = (0..count).map(|n| Pin { cid: cid(n), kind }).collect();
        pins.sort_by_key(|pin| pin.cid);
        pins
    }

    fn next(sweep: &Sweep, now_ms: u64, all: &[Pin]) -> Option<Pin> {
        if !sweep.begin(now_ms, INTERVAL_MS) {
            return None;
        }
        if sweep.is_out() {
            sweep.refill(all.to_vec());
        }
        sweep.next(now_ms).unwrap()
    }

    fn read(lost: u64) -> Counts {
        Counts {
            blobs: 1,
            blocks: 2,
            bytes: 10,
            lost_blobs: lost.min(1),
            lost_blocks: lost,
        }
    }

    #[test]
    fn a_round_reads_every_pin_once_and_the_next_begins_after_the_interval() {
        let folder = tempfile::tempdir().unwrap();
        let sweep = Sweep::open(folder.path().to_path_buf()).unwrap();
        let all = pins(CHECK_BATCH as u32 + 3);
        for round_ms in [5_000, 6_000] {
            for pin in &all {
                assert_eq!(next(&sweep, round_ms, &all), Some(*pin));
                sweep.note(pin.cid, read(0)).unwrap();
            }
            assert_eq!(next(&sweep, round_ms + 7, &all), None);
            assert_eq!(next(&sweep, round_ms + INTERVAL_MS - 1, &all), None);
            let (running, last) = sweep.rounds();
            let last = last.unwrap();
            assert_eq!(running, None);
            assert_eq!(last.ended_ms, round_ms + 7);
            assert_eq!(last.counts.blobs, all.len() as u64);
            let restarted = Sweep::open(folder.path().to_path_buf()).unwrap();
            assert_eq!(restarted.rounds(), (None, Some(last)));
        }
    }

    #[test]
    fn a_round_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Sweep::open(folder.path().to_path_buf()).unwrap();
        let all = pins(CHECK_SAVE_BLOBS + 10);
        let next = |sweep: &Sweep| next(sweep, 5, &all);
        let sweep = open();
        for _ in 0..CHECK_SAVE_BLOBS + 1 {
            let pin = next(&sweep).unwrap();
            sweep.note(pin.cid, read(0)).unwrap();
        }
        // The last one was not written down, and is read again; the others are not.
        let sweep = open();
        assert_eq!(next(&sweep), Some(all[CHECK_SAVE_BLOBS as usize]));
        let counted = sweep.rounds().0.unwrap().counts.blobs;
        assert_eq!(counted, u64::from(CHECK_SAVE_BLOBS));
        // A loss is written down at once.
        sweep
            .note(all[CHECK_SAVE_BLOBS as usize].cid, read(3))
            .unwrap();
        let sweep = open();
        assert_eq!(sweep.rounds().0.unwrap().counts.lost_blocks, 3);
        assert_eq!(next(&sweep), Some(all[CHECK_SAVE_BLOBS as usize + 1]));
    }

    #[test]
    fn golden_files_and_damaged_ones() {
        let round = Round {
            started_ms: 7,
            after: Some(cid(1)),
            counts: read(4),
        };
        let line = format!("1 7 {} 1 2 10 1 4\n", cid(1));
        assert_eq!(line_of_round(&round), line);
        assert_eq!(parse_round(&line), Some(round));
        let fresh = Round {
            after: None,
            ..round
        };
        assert_eq!(parse_round(&line_of_round(&fresh)), Some(fresh));
        let done = Done {
            started_ms: 7,
            ended_ms: 9,
            counts: read(0),
        };
        assert_eq!(line_of_last(&done), "1 7 9 1 2 10 0 0\n");
        assert_eq!(parse_last("1 7 9 1 2 10 0 0\n"), Some(done));
        for bad in [
            "",
            "1 7",
            "2 7 9 1 2 10 0 0\n",
            "1 7 9 1 2 10 0\n",
            "1 7 9 1 2 10 0 x\n",
        ] {
            assert_eq!((parse_round(bad), parse_last(bad)), (None, None), "{bad}");
        }
    }
}
