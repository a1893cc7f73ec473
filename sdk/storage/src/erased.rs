//! Blobs of erased records: what the ledger named once and has let go.
//!
//! One file per blob, named by its CID, with one line of text, version 1:
//!
//! | Word | Content |
//! |---|---|
//! | 1 | `1` |
//! | 2 to 4 | block, transaction and event of the erasure, in decimal |

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use stela_client::Checkpoint;
use stela_ipfs::Cid;
use stela_protocol::BlockNumber;

use crate::files::Folder;

const FILE_BYTES_MAX: u64 = 64;

/// The erased blobs that this node was told of.
pub(crate) struct Erased {
    folder: Folder,
    entries: Mutex<BTreeMap<Cid, Checkpoint>>,
}

impl Erased {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let mut entries = BTreeMap::new();
        for (name, text) in folder.read(FILE_BYTES_MAX)? {
            match name.parse().ok().zip(parse(&text)) {
                Some((cid, at)) => drop(entries.insert(cid, at)),
                None => tracing::warn!(file = name, "not an erased blob; it is ignored"),
            }
        }
        Ok(Self {
            folder,
            entries: Mutex::new(entries),
        })
    }

    /// Remembers, on disk, that the ledger let a blob go.
    pub(crate) fn erase(&self, cid: Cid, at: Checkpoint) -> io::Result<()> {
        self.folder.write(&cid.to_string(), &line(at))?;
        self.entries.lock().insert(cid, at);
        Ok(())
    }

    /// Whether the ledger let the blob go after it named it there.
    pub(crate) fn is_over(&self, cid: &Cid, named: Checkpoint) -> bool {
        self.entries.lock().get(cid).is_some_and(|at| named <= *at)
    }

    pub(crate) fn contains(&self, cid: &Cid) -> bool {
        self.entries.lock().contains_key(cid)
    }

    /// Another record names the blob since.
    pub(crate) fn forget(&self, cid: &Cid) -> io::Result<()> {
        if self.contains(cid) {
            self.folder.remove(&cid.to_string())?;
            self.entries.lock().remove(cid);
        }
        Ok(())
    }
}

fn line(at: Checkpoint) -> String {
    format!("1 {at}\n")
}

fn parse(text: &str) -> Option<Checkpoint> {
    match text.strip_suffix('\n')?.split(' ').collect::<Vec<_>>()[..] {
        ["1", block, transaction, event] => Some(Checkpoint {
            block: BlockNumber(block.parse().ok()?),
            transaction: transaction.parse().ok()?,
            event: event.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

    fn at(block: u64) -> Checkpoint {
        Checkpoint {
            block: BlockNumber(block),
            transaction: 2,
            event: 0,
        }
    }

    #[test]
    fn what_was_let_go_is_known_after_a_restart_until_it_is_named_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Erased::open(folder.path().to_path_buf()).unwrap();
        let cid: Cid = CID.parse().unwrap();
        open().erase(cid, at(7)).unwrap();
        let erased = open();
        assert!(erased.is_over(&cid, at(6)) && erased.is_over(&cid, at(7)));
        assert!(!erased.is_over(&cid, at(8)));
        erased.forget(&cid).unwrap();
        assert!(!erased.contains(&cid) && !open().contains(&cid));
        erased.forget(&cid).unwrap();
    }

    #[test]
    fn golden_files_and_damaged_ones() {
        assert_eq!(line(at(7)), "1 7 2 0\n");
        assert_eq!(parse("1 7 2 0\n"), Some(at(7)));
        for damaged in [
            "",
            "1 7 2 0",
            "2 7 2 0\n",
            "1 7 2\n",
            "1 7 2 0 9\n",
            "1 a 2 0\n",
        ] {
            assert_eq!(parse(damaged), None, "{damaged}");
        }
    }
}
