//! What a node keeps on disk.
//!
//! | Path | Content |
//! |---|---|
//! | `lock` | Locked while a node runs; empty |
//! | `identity` | The node's private key, mode 0600 ([`crate::identity`]) |
//! | `blocks/XX/NAME.data` | One block. `NAME` is its multihash in base 32, `XX` the two letters before the last, as in Kubo's own store |
//! | `damaged/NAME.data` | A block whose bytes no longer had its hash, kept for whoever investigates until it is good again or collected |
//! | `pins/CID` | One pinned root ([`pins`]) |
//! | `temp/` | Files being written; emptied at start |
//!
//! Every file appears under its name in one step: it is written in `temp` and renamed. A pin is
//! only written once all its blocks, and the folders that name them, are flushed to the disk.

pub(crate) mod blocks;
mod collect;
mod file;
pub(crate) mod pins;
mod survey;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cid::Cid;
use parking_lot::Mutex;

pub(crate) use self::blocks::BlockStore;
pub use self::collect::Collected;
pub(crate) use self::file::{Durability, FileWriter};
pub(crate) use self::pins::PinStore;
pub(crate) use self::survey::{Depth, Look, Step, Survey, SurveyError, Walk};
use crate::blob::{Pin, PinKind};
use crate::block::{self, Digest};
use crate::error::{CollectError, PinError, StartError, StoreError};

/// The folder of one node, locked for as long as this lives.
pub(crate) struct Store {
    pub(crate) blocks: BlockStore,
    pins: PinStore,
    /// Held while the set of pinned blocks changes or is being relied upon.
    maintenance: Mutex<()>,
    durability: Durability,
}

/// The lock on a node's folder; released when dropped.
pub(crate) struct FolderLock(#[expect(dead_code, reason = "held for its lock")] File);

/// Takes the folder, creating it if needed.
pub(crate) fn lock(folder: &Path) -> Result<FolderLock, StartError> {
    file::create_folder(folder)?;
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|error| file::io("create", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(_) => Err(StartError::Locked {
            path: folder.to_path_buf(),
        }),
    }
}

impl Store {
    /// Opens the store in a folder that the caller has locked.
    pub(crate) fn open(folder: &Path, fsync: bool) -> Result<Self, StoreError> {
        let durability = if fsync {
            Durability::Flushed
        } else {
            Durability::Buffered
        };
        let writer = FileWriter::open(folder.join("temp"))?;
        let blocks = BlockStore::open(
            folder.join("blocks"),
            folder.join("damaged"),
            writer.clone(),
        )?;
        let pins = PinStore::open(folder.join("pins"), writer, durability)?;
        Ok(Self {
            blocks,
            pins,
            maintenance: Mutex::new(()),
            durability,
        })
    }

    /// Walks the blocks of a file that are here.
    pub(crate) fn survey(&self, root: &Cid, depth: Depth) -> Result<Survey, SurveyError> {
        survey::survey(&self.blocks, root, depth)
    }

    /// Looks at one block of a walk.
    pub(crate) fn look(&self, step: &Step, depth: Depth) -> Result<Look, StoreError> {
        survey::look(&self.blocks, step, depth)
    }

    /// Pins a root whose blocks are all here, after flushing them to the disk.
    pub(crate) fn pin(&self, root: &Cid, kind: PinKind) -> Result<(), PinError> {
        let _guard = self.maintenance.lock();
        let survey = self
            .survey(root, Depth::Presence)
            .map_err(|error| match error {
                SurveyError::Disk(error) => PinError::Disk(error),
                SurveyError::Malformed { reason, .. } => PinError::Malformed {
                    root: *root,
                    reason,
                },
            })?;
        if let Some(missing) = survey.missing.first() {
            return Err(PinError::Incomplete {
                root: *root,
                missing: *missing,
            });
        }
        if self.durability == Durability::Flushed {
            self.blocks.flush(&survey.blocks)?;
        }
        self.pins.set(root, kind)
    }

    /// Removes a pin; false if there was none.
    pub(crate) fn unpin(&self, root: &Cid) -> Result<bool, StoreError> {
        let _guard = self.maintenance.lock();
        self.pins.remove(root)
    }

    pub(crate) fn pinned(&self, root: &Cid) -> Option<PinKind> {
        self.pins.get(root)
    }

    pub(crate) fn pins(&self) -> Vec<Pin> {
        self.pins.list()
    }

    /// Removes the leases that have ended and returns their roots.
    pub(crate) fn expire(&self, now_ms: u64) -> Result<Vec<Cid>, StoreError> {
        let _guard = self.maintenance.lock();
        let ended = self.pins.list().into_iter().filter(|pin| match pin.kind {
            PinKind::Leased { until_ms } => until_ms <= now_ms,
            PinKind::Permanent => false,
        });
        let roots: Vec<Cid> = ended.map(|pin| pin.cid).collect();
        for root in &roots {
            self.pins.remove(root)?;
        }
        Ok(roots)
    }

    /// Removes every block that no pin needs and that was last written before `before_ms`
    /// (milliseconds since 1970).
    pub(crate) fn collect(&self, before_ms: u64) -> Result<Collected, CollectError> {
        let _guard = self.maintenance.lock();
        let mut keep = HashSet::new();
        for pin in self.pins.list() {
            keep.extend(self.needed(&pin.cid)?);
        }
        let before = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(before_ms));
        Ok(collect::collect(&self.blocks, &keep, before)?)
    }

    /// The blocks that a pinned root needs. Where a tree node is missing, nobody knows what lies
    /// below it, so there is no answer.
    fn needed(&self, root: &Cid) -> Result<Vec<Digest>, CollectError> {
        let survey = self
            .survey(root, Depth::Presence)
            .map_err(|error| match error {
                SurveyError::Disk(error) => CollectError::Disk(error),
                SurveyError::Malformed { reason, .. } => CollectError::Malformed {
                    root: *root,
                    reason,
                },
            })?;
        match survey.missing.iter().find(|cid| !block::is_raw(cid)) {
            Some(missing) => Err(CollectError::Incomplete {
                root: *root,
                missing: *missing,
            }),
            None => Ok(survey.digests().collect()),
        }
    }
}

/// Where the identity lies in a node's folder.
pub(crate) fn identity_path(folder: &Path) -> PathBuf {
    folder.join("identity")
}
