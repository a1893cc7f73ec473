//! What was found lost, and what became of it.
//!
//! One file per blob, named by its CID, with one line of text, version 1:
//!
//! | Word | Content |
//! |---|---|
//! | 1 | `1` |
//! | 2 | when it was found, milliseconds since 1970, in decimal |
//! | 3 | `damaged` (a check found it), `absent` (the ledger names it, and nobody gave it for a while) or `unkept` (the ledger names it, and nothing kept it) |
//! | 4, 5 | blocks missing, and those among them that were damaged, in decimal |
//! | 6 | `open`, `mended` or `hopeless` |
//! | 7 | if mended or hopeless: when |
//! | 8, 9 | if mended: blocks and bytes that were brought |
//! | 10 | if mended: from whom, `PEER=BLOCKS` with commas between, or `-` where that is not known |
//!
//! A file that does not read so counts as an open finding of its blob.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use stela_ipfs::{Cid, Fetched, PeerId};

use crate::files::Folder;
use crate::limits::{FINDINGS_MAX, GIVERS_MAX};

const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Something that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) found_ms: u64,
    pub(crate) cause: Cause,
    pub(crate) missing: u64,
    pub(crate) damaged: u64,
    pub(crate) outcome: Outcome,
}

/// How it was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A check found blocks that are damaged or gone.
    Damaged,
    /// The ledger names the blob, and nobody gave it for a while.
    Absent,
    /// The ledger names the blob, and nothing kept it here.
    Unkept,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is still lost.
    Open,
    /// It is here again.
    Mended { at_ms: u64, fetched: Fetched },
    /// It can never be here: the blob itself is at fault.
    Hopeless { at_ms: u64 },
}

impl Cause {
    const ALL: [Self; 3] = [Self::Damaged, Self::Absent, Self::Unkept];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Absent => "absent",
            Self::Unkept => "unkept",
        }
    }
}

impl Outcome {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Mended { .. } => "mended",
            Self::Hopeless { .. } => "hopeless",
        }
    }
}

/// The findings of one node.
pub(crate) struct Findings {
    folder: Folder,
    findings: Mutex<BTreeMap<Cid, Finding>>,
}

impl Findings {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let mut findings = BTreeMap::new();
        for (name, text) in folder.read(FILE_BYTES_MAX)? {
            let Ok(cid) = name.parse() else {
                tracing::warn!(file = name, "not a CID; it is ignored");
                continue;
            };
            findings.insert(cid, parse(&text).unwrap_or(Finding::unreadable()));
        }
        Ok(Self {
            folder,
            findings: Mutex::new(findings),
        })
    }

    /// Writes down a loss. One that is open already keeps the time at which it was found.
    pub(crate) fn found(&self, cid: Cid, mut finding: Finding) -> io::Result<()> {
        let mut findings = self.findings.lock();
        if let Some(old) = findings.get(&cid)
            && old.outcome == Outcome::Open
        {
            finding.found_ms = old.found_ms;
            finding.cause = old.cause;
            finding.missing = finding.missing.max(old.missing);
            finding.damaged = finding.damaged.max(old.damaged);
        } else if !findings.contains_key(&cid) {
            self.make_room(&mut findings)?;
        }
        self.keep(&mut findings, cid, finding)
    }

    /// Notes that a blob is here; says whether it had been found lost.
    pub(crate) fn mended(&self, cid: &Cid, now_ms: u64, fetched: &Fetched) -> io::Result<bool> {
        let mut givers: Vec<_> = fetched.from.iter().collect();
        givers.sort_by_key(|(_, blocks)| std::cmp::Reverse(**blocks));
        let from = givers.into_iter().take(GIVERS_MAX);
        let fetched = Fetched {
            from: from.map(|(peer, blocks)| (*peer, *blocks)).collect(),
            ..*fetched
        };
        let at_ms = now_ms;
        self.settle(cid, Outcome::Mended { at_ms, fetched })
    }

    /// Notes that a blob can never be here.
    pub(crate) fn hopeless(&self, cid: &Cid, now_ms: u64) -> io::Result<bool> {
        self.settle(cid, Outcome::Hopeless { at_ms: now_ms })
    }

    /// Whether a blob was found lost and is not mended.
    pub(crate) fn is_open(&self, cid: &Cid) -> bool {
        let findings = self.findings.lock();
        findings
            .get(cid)
            .is_some_and(|it| it.outcome == Outcome::Open)
    }

    /// Forgets the loss of a blob that need not be here any more.
    pub(crate) fn forget(&self, cid: &Cid) -> io::Result<()> {
        let mut findings = self.findings.lock();
        if findings.contains_key(cid) {
            self.folder.remove(&cid.to_string())?;
            findings.remove(cid);
        }
        Ok(())
    }

    /// All findings, what is still lost first, then the newest first; and how many are open.
    pub(crate) fn list(&self) -> (Vec<(Cid, Finding)>, usize) {
        let findings = self.findings.lock();
        let mut list: Vec<_> = findings
            .iter()
            .map(|(cid, finding)| (*cid, finding.clone()))
            .collect();
        list.sort_by_key(|(_, finding)| {
            let settled = matches!(finding.outcome, Outcome::Mended { .. });
            (settled, std::cmp::Reverse(finding.found_ms))
        });
        let open = list.iter().filter(|(_, f)| f.outcome == Outcome::Open);
        let open = open.count();
        (list, open)
    }

    fn settle(&self, cid: &Cid, outcome: Outcome) -> io::Result<bool> {
        let mut findings = self.findings.lock();
        match findings.get(cid) {
            Some(finding) if finding.outcome == Outcome::Open => {
                let finding = Finding {
                    outcome,
                    ..finding.clone()
                };
                self.keep(&mut findings, *cid, finding)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn keep(
        &self,
        findings: &mut BTreeMap<Cid, Finding>,
        cid: Cid,
        finding: Finding,
    ) -> io::Result<()> {
        self.folder.write(&cid.to_string(), &line(&finding))?;
        findings.insert(cid, finding);
        Ok(())
    }

    /// Forgets the oldest of those that are not open.
    fn make_room(&self, findings: &mut BTreeMap<Cid, Finding>) -> io::Result<()> {
        if findings.len() < FINDINGS_MAX {
            return Ok(());
        }
        let settled = findings
            .iter()
            .filter(|(_, finding)| finding.outcome != Outcome::Open);
        let oldest = settled.min_by_key(|(_, finding)| finding.found_ms);
        let Some(oldest) = oldest.map(|(cid, _)| *cid) else {
            return Err(io::Error::other("more than FINDINGS_MAX blobs are lost"));
        };
        self.folder.remove(&oldest.to_string())?;
        findings.remove(&oldest);
        Ok(())
    }
}

impl Finding {
    fn unreadable() -> Self {
        Self {
            found_ms: 0,
            cause: Cause::Damaged,
            missing: 0,
            damaged: 0,
            outcome: Outcome::Open,
        }
    }
}

fn line(finding: &Finding) -> String {
    let Finding {
        found_ms,
        cause,
        missing,
        damaged,
        outcome,
    } = finding;
    let rest = match outcome {
        Outcome::Open => String::new(),
        Outcome::Hopeless { at_ms } => format!(" {at_ms}"),
        Outcome::Mended { at_ms, fetched } => {
            let from = fetched.from.iter().map(|(peer, n)| format!("{peer}={n}"));
            let from = from.collect::<Vec<_>>().join(",");
            let from = if from.is_empty() { "-" } else { &from };
            format!(" {at_ms} {} {} {from}", fetched.blocks, fetched.bytes)
        }
    };
    let (cause, outcome) = (cause.as_str(), outcome.as_str());
    format!("1 {found_ms} {cause} {missing} {damaged} {outcome}{rest}\n")
}

fn parse(text: &str) -> Option<Finding> {
    let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
    let ["1", found_ms, cause, missing, damaged, outcome @ ..] = &words[..] else {
        return None;
    };
    let outcome = match outcome {
        ["open"] => Outcome::Open,
        ["hopeless", at_ms] => Outcome::Hopeless {
            at_ms: at_ms.parse().ok()?,
        },
        ["mended", at_ms, blocks, bytes, from] => Outcome::Mended {
            at_ms: at_ms.parse().ok()?,
            fetched: Fetched {
                blocks: blocks.parse().ok()?,
                bytes: bytes.parse().ok()?,
                from: parse_from(from)?,
            },
        },
        _ => return None,
    };
    Some(Finding {
        found_ms: found_ms.parse().ok()?,
        cause: Cause::ALL.into_iter().find(|it| it.as_str() == *cause)?,
        missing: missing.parse().ok()?,
        damaged: damaged.parse().ok()?,
        outcome,
    })
}

fn parse_from(text: &str) -> Option<BTreeMap<PeerId, u64>> {
    if text == "-" {
        return Some(BTreeMap::new());
    }
    let entries = text.split(',').map(|entry| {
        let (peer, blocks) = entry.split_once('=')?;
        Some((peer.parse().ok()?, blocks.parse().ok()?))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cid(n: u32) -> Cid {
        let hash = stela_protocol::hash::package(&n.to_be_bytes());
        let bytes = [&[1, 0x55, 0x12, 32], &hash.0[..]].concat();
        Cid::try_from(&bytes[..]).unwrap()
    }

    fn lost(found_ms: u64) -> Finding {
        Finding {
            found_ms,
            cause: Cause::Damaged,
            missing: 3,
            damaged: 2,
            outcome: Outcome::Open,
        }
    }

    fn fetched() -> Fetched {
        let peer = "12D3KooWGC6TvWhfagifX6bfMLS6TL7RhjCp5Q2bUkxgLtGVjCSm";
        Fetched {
            blocks: 3,
            bytes: 70,
            from: BTreeMap::from([(peer.parse().unwrap(), 3)]),
        }
    }

    #[test]
    fn a_loss_is_remembered_until_it_is_mended_and_then_too() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Findings::open(folder.path().to_path_buf()).unwrap();
        let findings = open();
        assert!(!findings.mended(&cid(1), 5, &fetched()).unwrap());
        findings.found(cid(1), lost(10)).unwrap();
        findings.found(cid(1), lost(20)).unwrap();
        findings.found(cid(2), lost(30)).unwrap();
        assert_eq!(open().list().1, 2);
        assert_eq!(
            open().list().0[1],
            (cid(1), lost(10)),
            "the first finding counts"
        );

        let findings = open();
        assert!(findings.mended(&cid(1), 40, &fetched()).unwrap());
        assert!(!findings.mended(&cid(1), 50, &fetched()).unwrap());
        assert!(findings.hopeless(&cid(2), 60).unwrap());
        let (list, open_now) = open().list();
        assert_eq!(open_now, 0);
        let outcome = Outcome::Mended {
            at_ms: 40,
            fetched: fetched(),
        };
        let mended = Finding {
            outcome,
            ..lost(10)
        };
        assert_eq!(list[1], (cid(1), mended));
        assert_eq!(list[0].1.outcome, Outcome::Hopeless { at_ms: 60 });
        // Lost again: a new finding.
        findings.found(cid(1), lost(70)).unwrap();
        assert_eq!(open().list().0[0], (cid(1), lost(70)));
    }

    #[test]
    fn what_is_mended_makes_room_and_what_is_lost_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let findings = Findings::open(folder.path().to_path_buf()).unwrap();
        {
            let mut all = findings.findings.lock();
            for n in 0..FINDINGS_MAX as u32 {
                all.insert(cid(n), lost(u64::from(n)));
            }
        }
        assert!(findings.found(cid(u32::MAX), lost(1)).is_err());
        findings.mended(&cid(7), 1, &fetched()).unwrap();
        findings.found(cid(u32::MAX), lost(1)).unwrap();
        let all = findings.findings.lock();
        assert!(!all.contains_key(&cid(7)) && all.len() == FINDINGS_MAX);
    }

    #[test]
    fn golden_files_and_damaged_ones() {
        let check = |finding: Finding, expect: &str| {
            assert_eq!(line(&finding), expect);
            assert_eq!(parse(expect), Some(finding));
        };
        check(lost(10), "1 10 damaged 3 2 open\n");
        let at_ms = 11;
        check(
            Finding {
                cause: Cause::Absent,
                outcome: Outcome::Hopeless { at_ms },
                ..lost(10)
            },
            "1 10 absent 3 2 hopeless 11\n",
        );
        let unknown = Fetched {
            from: BTreeMap::new(),
            ..fetched()
        };
        for (fetched, from) in [
            (
                fetched(),
                "12D3KooWGC6TvWhfagifX6bfMLS6TL7RhjCp5Q2bUkxgLtGVjCSm=3",
            ),
            (unknown, "-"),
        ] {
            check(
                Finding {
                    cause: Cause::Unkept,
                    outcome: Outcome::Mended { at_ms, fetched },
                    ..lost(10)
                },
                &format!("1 10 unkept 3 2 mended 11 3 70 {from}\n"),
            );
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(cid(1).to_string()), "1 10 dam").unwrap();
        let findings = Findings::open(folder.path().to_path_buf()).unwrap();
        assert_eq!(findings.list(), (vec![(cid(1), Finding::unreadable())], 1));
    }
}
