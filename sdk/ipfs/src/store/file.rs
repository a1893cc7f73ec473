//! Files that are either whole or absent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;

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
            Durability::Flushed => flush_folder(parent(target)),
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

/// Flushes the names in a folder.
pub(super) fn flush_folder(path: &Path) -> Result<(), StoreError> {
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

/// Turns a system error into one that names the path.
pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}
