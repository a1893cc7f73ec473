//! Pinned roots, one file each under the root's CID.
//!
//! | Offset | Bytes | Content |
//! |---|---|---|
//! | 0 | 1 | Format version, 1 |
//! | 1 | 1 | Kind: 0 permanent, 1 leased |
//! | 2 | 8 | End of the lease in milliseconds since 1970, big endian; 0 if permanent |
//! | 10 | 4 | First bytes of SHA-256 over the CID's bytes and offsets 0 to 9 |
//!
//! A file that does not read so is taken for a permanent pin of the CID in its name: rather keep a
//! blob for too long than lose it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};
use parking_lot::Mutex;

use super::file::{self, Durability, FileWriter, io};
use crate::blob::{Pin, PinKind};
use crate::block;
use crate::error::{PinError, StoreError};
use crate::limits::PINS_MAX;

const VERSION: u8 = 1;
pub(crate) const RECORD_BYTES: usize = 14;

/// The pins of one node. All calls that change something block the thread.
pub(crate) struct PinStore {
    folder: PathBuf,
    writer: FileWriter,
    durability: Durability,
    pins: Mutex<BTreeMap<Cid, PinKind>>,
}

impl PinStore {
    pub(crate) fn open(
        folder: PathBuf,
        writer: FileWriter,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        file::create_folder(&folder)?;
        let mut pins = BTreeMap::new();
        for path in file::list(&folder)? {
            match cid_of_path(&path) {
                Some(cid) => drop(pins.insert(cid, read(&path, &cid)?)),
                None => tracing::warn!(path = %path.display(), "a pin's name is no CID"),
            }
        }
        Ok(Self {
            folder,
            writer,
            durability,
            pins: Mutex::new(pins),
        })
    }

    /// Sets a pin. One that is there is never weakened: permanent stays permanent, and the later
    /// end of two leases counts.
    pub(crate) fn set(&self, cid: &Cid, kind: PinKind) -> Result<(), PinError> {
        let mut pins = self.pins.lock();
        let old = pins.get(cid).copied();
        if old.is_none() && pins.len() >= PINS_MAX {
            return Err(PinError::Full { pins_max: PINS_MAX });
        }
        let kind = old.map_or(kind, |old| old.stronger(kind));
        if old != Some(kind) {
            self.writer
                .write(&self.path(cid), &encode(cid, kind), self.durability)?;
            pins.insert(*cid, kind);
        }
        Ok(())
    }

    /// Removes a pin; false if there was none.
    pub(crate) fn remove(&self, cid: &Cid) -> Result<bool, StoreError> {
        let mut pins = self.pins.lock();
        if !pins.contains_key(cid) {
            return Ok(false);
        }
        let path = self.path(cid);
        fs::remove_file(&path).map_err(|error| io("remove", &path, error))?;
        if self.durability == Durability::Flushed {
            file::flush(&self.folder)?;
        }
        pins.remove(cid);
        Ok(true)
    }

    pub(crate) fn get(&self, cid: &Cid) -> Option<PinKind> {
        self.pins.lock().get(cid).copied()
    }

    pub(crate) fn list(&self) -> Vec<Pin> {
        self.pins
            .lock()
            .iter()
            .map(|(cid, kind)| Pin {
                cid: *cid,
                kind: *kind,
            })
            .collect()
    }

    fn path(&self, cid: &Cid) -> PathBuf {
        self.folder.join(cid.to_string())
    }
}

fn cid_of_path(path: &Path) -> Option<Cid> {
    let name = path.file_name()?.to_str()?;
    let cid = block::parse(&name.parse().ok()?).ok()?;
    (cid.to_string() == name).then_some(cid)
}

fn read(path: &Path, cid: &Cid) -> Result<PinKind, StoreError> {
    let record = fs::read(path).map_err(|error| io("read", path, error))?;
    Ok(decode(cid, &record).unwrap_or_else(|| {
        tracing::warn!(%cid, "a pin's file is damaged; it counts as permanent");
        PinKind::Permanent
    }))
}

pub(crate) fn encode(cid: &Cid, kind: PinKind) -> [u8; RECORD_BYTES] {
    let (kind, until_ms) = match kind {
        PinKind::Permanent => (0, 0),
        PinKind::Leased { until_ms } => (1, until_ms),
    };
    let mut record = [0; RECORD_BYTES];
    record[0] = VERSION;
    record[1] = kind;
    record[2..10].copy_from_slice(&until_ms.to_be_bytes());
    let check = check(cid, &record[..10]);
    record[10..].copy_from_slice(&check);
    record
}

pub(crate) fn decode(cid: &Cid, record: &[u8]) -> Option<PinKind> {
    let record = <[u8; RECORD_BYTES]>::try_from(record).ok()?;
    let until_ms = u64::from_be_bytes(record[2..10].try_into().ok()?);
    let kind = match (record[0], record[1], until_ms) {
        (VERSION, 0, 0) => PinKind::Permanent,
        (VERSION, 1, until_ms) => PinKind::Leased { until_ms },
        _ => return None,
    };
    (check(cid, &record[..10]) == record[10..]).then_some(kind)
}

fn check(cid: &Cid, record: &[u8]) -> [u8; 4] {
    let hash = Code::Sha2_256.digest(&[&cid.to_bytes()[..], record].concat());
    let mut check = [0; 4];
    check.copy_from_slice(&hash.digest()[..4]);
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::raw_cid;

    fn open(folder: &Path) -> PinStore {
        let writer = FileWriter::open(folder.join("temp")).expect("a writer");
        PinStore::open(folder.join("pins"), writer, Durability::Flushed).expect("a store")
    }

    #[test]
    fn golden_bytes() {
        let cid = raw_cid(b"hello world");
        let check = |kind, expect: &str| {
            assert_eq!(data_encoding::HEXLOWER.encode(&encode(&cid, kind)), expect);
        };
        check(PinKind::Permanent, "01000000000000000000b10ff1e2");
        check(
            PinKind::Leased {
                until_ms: 1_700_000_000_000,
            },
            "01010000018bcfe568008a8c7c93",
        );
    }

    #[test]
    fn a_pin_is_never_weakened() {
        let folder = tempfile::tempdir().expect("a folder");
        let pins = open(folder.path());
        let cid = raw_cid(b"hello world");
        let check = |set, expect| {
            pins.set(&cid, set).expect("a pin");
            assert_eq!(pins.list(), [Pin { cid, kind: expect }]);
            assert_eq!(open(folder.path()).list(), [Pin { cid, kind: expect }]);
        };
        let lease = |until_ms| PinKind::Leased { until_ms };
        check(lease(10), lease(10));
        check(lease(5), lease(10));
        check(lease(20), lease(20));
        check(PinKind::Permanent, PinKind::Permanent);
        check(lease(30), PinKind::Permanent);
        assert!(pins.remove(&cid).expect("a removal"));
        assert!(!pins.remove(&cid).expect("a removal"));
        assert!(open(folder.path()).list().is_empty());
    }

    #[test]
    fn a_damaged_pin_is_kept_as_permanent() {
        let folder = tempfile::tempdir().expect("a folder");
        let cid = raw_cid(b"hello world");
        for position in 0..RECORD_BYTES {
            open(folder.path())
                .set(&cid, PinKind::Leased { until_ms: 10 })
                .expect("a pin");
            let path = folder.path().join("pins").join(cid.to_string());
            let mut record = encode(&cid, PinKind::Leased { until_ms: 10 });
            record[position] ^= 1;
            fs::write(&path, record).expect("a write");
            let expect = Pin {
                cid,
                kind: PinKind::Permanent,
            };
            assert_eq!(open(folder.path()).list(), [expect], "byte {position}");
        }
    }

    proptest! {
        #[test]
        fn records_survive_the_round_trip(until_ms: u64) {
            let cid = raw_cid(b"hello world");
            let kind = PinKind::Leased { until_ms };
            prop_assert_eq!(decode(&cid, &encode(&cid, kind)), Some(kind));
        }

        #[test]
        fn arbitrary_records_never_panic(record: Vec<u8>) {
            let _ = decode(&raw_cid(b"hello world"), &record);
        }
    }
}
