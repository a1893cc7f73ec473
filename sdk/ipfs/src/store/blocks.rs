//! Blocks on disk, hashed again whenever they are read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use cid::Cid;
use parking_lot::RwLock;

use super::file::{self, Durability, FileWriter, io};
use crate::block::{Block, Digest};
use crate::error::StoreError;
use crate::limits::BLOCK_BYTES_MAX;

/// The blocks of one node. All calls block the thread.
pub(crate) struct BlockStore {
    folder: PathBuf,
    damaged: PathBuf,
    writer: FileWriter,
    /// Taken for reading while a block is put, for writing while one is removed: a block that is
    /// found unneeded cannot be put again between that finding and its removal.
    removal: RwLock<()>,
}

impl BlockStore {
    pub(super) fn open(
        folder: PathBuf,
        damaged: PathBuf,
        writer: FileWriter,
    ) -> Result<Self, StoreError> {
        file::create_folder(&folder)?;
        file::create_folder(&damaged)?;
        Ok(Self {
            folder,
            damaged,
            writer,
            removal: RwLock::new(()),
        })
    }

    /// The bytes of a block, as [`block`](Self::block) finds it.
    pub(crate) fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        Ok(self.block(cid)?.map(Block::into_data))
    }

    /// The block, or `None` if it is not here. Bytes without the block's hash are never returned:
    /// the file is moved away and [`StoreError::Damaged`] is the answer, once.
    pub(crate) fn block(&self, cid: &Cid) -> Result<Option<Block>, StoreError> {
        let digest = Digest::of_cid(cid)?;
        let path = self.path(&digest);
        let data = match read(&path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path, error)),
        };
        if let Some(block) = Block::verify(cid, data.into())? {
            return Ok(Some(block));
        }
        self.quarantine(&digest)?;
        Err(StoreError::Damaged { cid: *cid })
    }

    /// The size of the block's file, or `None` if it is not here. The bytes are not looked at.
    pub(crate) fn bytes(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        let path = self.path(&Digest::of_cid(cid)?);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("look at", &path, error)),
        }
    }

    /// Stores a block whose hash the caller has verified. One that is here already is only marked
    /// as written now, so that it counts as recent.
    pub(crate) fn put(&self, cid: &Cid, data: &[u8]) -> Result<(), StoreError> {
        if data.len() > BLOCK_BYTES_MAX {
            return Err(StoreError::BlockTooLarge { bytes: data.len() });
        }
        let digest = Digest::of_cid(cid)?;
        let path = self.path(&digest);
        let _guard = self.removal.read();
        if self.bytes(cid)? == Some(data.len() as u64) {
            return touch(&path);
        }
        self.writer.write(&path, data, Durability::Buffered)?;
        self.forget_damage(&digest)
    }

    /// Flushes blocks, then the folders that name them, to the disk.
    pub(super) fn flush(&self, cids: &[Cid]) -> Result<(), StoreError> {
        let paths = cids.iter().map(|cid| Ok(self.path(&Digest::of_cid(cid)?)));
        let paths: Vec<PathBuf> = paths.collect::<Result<_, StoreError>>()?;
        let parents = paths.iter().filter_map(|path| path.parent());
        let folders: BTreeSet<PathBuf> = parents
            .chain([&*self.folder])
            .map(Path::to_path_buf)
            .collect();
        file::flush_all(&paths)?;
        file::flush_all(&Vec::from_iter(folders))
    }

    /// The blocks found damaged and not replaced since, as raw CIDs of their hashes.
    pub(crate) fn damaged(&self) -> Result<Vec<Cid>, StoreError> {
        let paths = file::list(&self.damaged)?;
        let digests = paths.iter().filter_map(|path| digest_of_path(path));
        Ok(digests.map(Digest::to_raw_cid).collect())
    }

    /// Calls `visit` with the digest of every block here.
    pub(super) fn for_each(
        &self,
        mut visit: impl FnMut(Digest) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for folder in file::list(&self.folder)? {
            for path in file::list(&folder)? {
                digest_of_path(&path).map_or(Ok(()), &mut visit)?;
            }
        }
        Ok(())
    }

    /// Removes a block if it was last written before `before`, and returns its size.
    pub(super) fn remove_if_older(
        &self,
        digest: &Digest,
        before: Option<SystemTime>,
    ) -> Result<Option<u64>, StoreError> {
        let path = self.path(digest);
        let _guard = self.removal.write();
        let metadata = fs::metadata(&path).map_err(|error| io("look at", &path, error))?;
        let written = metadata
            .modified()
            .map_err(|error| io("look at", &path, error))?;
        if before.is_some_and(|before| written >= before) {
            return Ok(None);
        }
        fs::remove_file(&path).map_err(|error| io("remove", &path, error))?;
        Ok(Some(metadata.len()))
    }

    /// Removes what is kept of a block that was found damaged.
    pub(super) fn forget_damage(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.damaged_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn quarantine(&self, digest: &Digest) -> Result<(), StoreError> {
        let _guard = self.removal.write();
        let (from, to) = (self.path(digest), self.damaged_path(digest));
        tracing::warn!(block = ?digest, "a block on disk does not have its hash");
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("move", &from, error)),
            _ => Ok(()),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.file_name();
        let shard = &name[name.len() - 3..name.len() - 1];
        self.folder.join(shard).join(format!("{name}.data"))
    }

    fn damaged_path(&self, digest: &Digest) -> PathBuf {
        self.damaged.join(format!("{}.data", digest.file_name()))
    }
}

fn digest_of_path(path: &Path) -> Option<Digest> {
    Digest::of_file_name(path.file_name()?.to_str()?.strip_suffix(".data")?)
}

/// Reads a file, but no further than a block can be long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // One byte more, so that the end is found without growing.
    let bytes = file.metadata()?.len().min(BLOCK_BYTES_MAX as u64) + 1;
    let mut data = Vec::with_capacity(bytes as usize);
    file.take(BLOCK_BYTES_MAX as u64 + 1)
        .read_to_end(&mut data)?;
    Ok(data)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the age of a file is the disk's business; nothing that is agreed upon depends on it"
)]
fn touch(path: &Path) -> Result<(), StoreError> {
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .map_err(|error| io("mark", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::raw_cid;

    fn store(folder: &Path) -> BlockStore {
        let writer = FileWriter::open(folder.join("temp")).expect("a writer");
        BlockStore::open(folder.join("blocks"), folder.join("damaged"), writer).expect("a store")
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let shards = file::list(&folder.join("blocks")).expect("a list");
        shards
            .iter()
            .flat_map(|shard| file::list(shard).expect("a list"))
            .collect()
    }

    #[test]
    fn the_layout_is_that_of_kubo() {
        let folder = tempfile::tempdir().expect("a folder");
        store(folder.path())
            .put(&raw_cid(b"hello world"), b"hello world")
            .expect("a block");
        let expect = "CIQLSTJHXGJU2PQIUUXFFV62PWV7VREE57RXUU4A52IIR55M4LX432I";
        let path = folder
            .path()
            .join("blocks")
            .join(&expect[52..54])
            .join(format!("{expect}.data"));
        assert_eq!(expect.len(), 55);
        assert_eq!(files(folder.path()), [path]);
        assert!(
            file::list(&folder.path().join("temp"))
                .expect("a list")
                .is_empty()
        );
    }

    #[test]
    fn a_flipped_byte_is_noticed_and_never_returned() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        let cid = raw_cid(b"hello world");
        store.put(&cid, b"hello world").expect("a block");
        assert_eq!(
            store.get(&cid).expect("a read").as_deref(),
            Some(&b"hello world"[..])
        );

        fs::write(&files(folder.path())[0], b"hellp world").expect("a write");
        assert!(
            matches!(store.get(&cid), Err(StoreError::Damaged { cid: damaged }) if damaged == cid)
        );
        assert_eq!(store.get(&cid).expect("a read"), None);
        assert_eq!(store.bytes(&cid).expect("a look"), None);
        assert_eq!(store.damaged().expect("a list"), [cid]);

        store.put(&cid, b"hello world").expect("a block");
        assert_eq!(
            store.get(&cid).expect("a read").as_deref(),
            Some(&b"hello world"[..])
        );
        assert!(store.damaged().expect("a list").is_empty());
    }

    #[test]
    fn a_grown_or_truncated_file_is_damaged_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        let cid = raw_cid(b"hello world");
        for damage in [vec![], b"hello".to_vec(), vec![0; BLOCK_BYTES_MAX + 2]] {
            store.put(&cid, b"hello world").expect("a block");
            fs::write(&files(folder.path())[0], &damage).expect("a write");
            assert!(matches!(store.get(&cid), Err(StoreError::Damaged { .. })));
        }
    }

    #[test]
    fn too_large_a_block_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = vec![0; BLOCK_BYTES_MAX + 1];
        let error = store(folder.path()).put(&raw_cid(&data), &data);
        assert!(matches!(error, Err(StoreError::BlockTooLarge { .. })));
    }
}
