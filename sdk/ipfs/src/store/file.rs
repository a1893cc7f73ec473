//! Files that are either whole or absent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::StoreError;
use crate::limits::FLUSHES_AT_ONCE;

/// Whether a write survives a power failure once it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// File and folder are flushed.
    Flushed,
    /// The operating system writes when it likes.
    Buffered,
}

/// Writes whole files through one temporary folder.
#[derive(Clone)]
pub(crate) struct FileWriter {
    temp: PathBuf,
    next: Arc<AtomicU64>,
}

impl FileWriter {
    /// Opens the temporary folder and removes what an interrupted node left in it.
    pub(crate) fn open(temp: PathBuf) -> Result<Self, StoreError> {
        create_folder(&temp)?;
        for path in list(&temp)? {
            fs::remove_file(&path).map_err(|error| io("remove", &path, error))?;
        }
        Ok(Self {
            temp,
            next: Arc::default(),
        })
    }

    /// Puts `data` under `target`, replacing what is there, in one step.
    pub(crate) fn write(
        &self,
        target: &Path,
        data: &[u8],
        durability: Durability,
    ) -> Result<(), StoreError> {
        let temp = self
            .temp
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let written = write_new(&temp, data, durability)
            .map_err(|error| io("write", &temp, error))
            .and_then(|()| rename(&temp, target));
        if written.is_err() {
            let _ = fs::remove_file(&temp);
        }
        written?;
        match durability {
            Durability::Flushed => flush(parent(target)),
            Durability::Buffered => Ok(()),
        }
    }
}

fn write_new(path: &Path, data: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(data)?;
    if durability == Durability::Flushed {
        file.sync_all()?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folder(parent(to))?;
            fs::rename(from, to).map_err(|error| io("write", to, error))
        }
        result => result.map_err(|error| io("write", to, error)),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

pub(super) fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|error| io("create", path, error))
}

/// Flushes all these files or folders, several at a time: each waits for the disk on its own, and file
/// systems write what waits together at once. Every one of them is flushed when this succeeds.
pub(super) fn flush_all(paths: &[PathBuf]) -> Result<(), StoreError> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), StoreError> {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            flush(path)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others = 1..paths.len().min(FLUSHES_AT_ONCE);
        let others: Vec<_> = others
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let own = work();
        let ended = others.into_iter().map(|other| {
            let ended = other.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // Everybody is waited for, whoever failed.
        ended.fold(own, Result::and)
    })
}

/// Flushes a file, or the names in a folder.
pub(super) fn flush(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| io("flush", path, error))
}

/// The paths in a folder.
pub(super) fn list(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(path).map_err(|error| io("list", path, error))?;
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(|error| io("list", path, error))
}

/// Turns a system error into one that names the path. A full disk is one of its own: leases that end
/// make room.
pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full { action, path }
        }
        _ => StoreError::Io {
            action,
            path,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_an_error_of_its_own() {
        // A device on which every write finds the disk full.
        let full = Path::new("/dev/full");
        let writing = File::options().write(true).open(full);
        let error = writing
            .and_then(|mut file| file.write_all(b"block"))
            .map_err(|error| io("write", full, error))
            .expect_err("it is full");
        assert!(error.is_full() && error.is_retryable(), "{error:?}");
        assert_eq!(
            error.to_string(),
            "cannot write /dev/full: the disk is full"
        );
    }

    #[test]
    fn a_file_that_cannot_be_flushed_is_an_error_wherever_it_stands() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = 3 * FLUSHES_AT_ONCE;
        let paths: Vec<PathBuf> = (0..count)
            .map(|n| folder.path().join(n.to_string()))
            .collect();
        for path in &paths {
            fs::write(path, b"block").expect("a file");
        }
        flush_all(&[]).expect("nothing to do");
        flush_all(&paths).expect("all are here");
        for missing in [0, FLUSHES_AT_ONCE, count - 1] {
            fs::remove_file(&paths[missing]).expect("a removal");
            let refused = flush_all(&paths).expect_err("one is gone");
            assert!(
                matches!(&refused, StoreError::Io { path, .. } if *path == paths[missing]),
                "{refused:?}"
            );
            fs::write(&paths[missing], b"block").expect("a file");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = FileWriter::open(folder.path().join("temp")).expect("a writer");
        let target = folder.path().join("target");
        let write = || writer.write(&target, b"block", Durability::Flushed);
        fs::remove_dir(folder.path().join("temp")).expect("a removal");
        assert!(matches!(write(), Err(StoreError::Io { .. })));
        assert!(!target.exists());
        fs::create_dir(folder.path().join("temp")).expect("a folder");
        fs::create_dir(&target).expect("a folder in the way");
        fs::write(target.join("something"), b"").expect("a file");
        assert!(write().is_err());
        assert!(
            list(&folder.path().join("temp"))
                .expect("a list")
                .is_empty()
        );
        assert!(target.is_dir());
    }
}
