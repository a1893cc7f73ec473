//! What a user's machine keeps of transfers that are not finished, so that they can be resumed.
//!
//! | In the folder | Content |
//! |---|---|
//! | `uploads/RECORD-VERSION` | a version that is encrypted and not yet submitted ([`super::uploads`]) |
//! | `reads/RECORD-VERSION` | a version of which blocks were fetched: `1`, a space, when that began in milliseconds since 1970, a line end |
//!
//! The ciphertext itself lies in the user's IPFS node: of an upload under a pin, of a read without
//! one. Every file appears whole and durable, with mode 0600.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use stela_consent::Id;
use tempfile::{Builder, NamedTempFile};

use crate::keys::file;
use crate::limits::{READ_KEPT_MS, READS_MAX};

const TEMPORARY: &str = ".new-";
const READ_BYTES_MAX: u64 = 64;

/// What is kept of a transfer cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no such unfinished upload.
    #[error("no upload of record {record} is unfinished on this machine")]
    Unknown {
        /// The record that was asked for.
        record: Id,
    },
    /// Others than the owner have access to the file.
    #[error("{} has mode {mode:04o}; it must be readable by its owner only (chmod 600)", path.display())]
    PermissionsTooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file was written by another version of this software.
    #[error("{} has the unknown version {version}", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u8,
    },
    /// The file is damaged.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The file says that it is about another record or version than its name.
    #[error("{} is about another record than its name says", path.display())]
    OtherRecord {
        /// The file.
        path: PathBuf,
    },
    /// The upload belongs to another user, or to this one on another channel: her key pair does
    /// not open the record's key under this label.
    #[error("the upload of record {record} was begun by another user or on another channel")]
    OtherUser {
        /// The record.
        record: Id,
    },
    /// As many uploads are unfinished as may be.
    #[error("{uploads_max} uploads are unfinished on this machine; finish or drop one")]
    Full {
        /// The limit.
        uploads_max: usize,
    },
}

/// A record and one of its versions.
pub(super) type Name = (Id, u32);

/// A folder of small private files, named by record and version.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, creating it if needed, and removes what an interrupted write left.
    pub(super) fn open(path: PathBuf) -> Result<Self, KeptError> {
        fs::create_dir_all(&path).map_err(|error| failed("create", &path, error))?;
        let folder = Self(path);
        for path in folder.paths()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(TEMPORARY) {
                remove(&path)?;
            }
        }
        Ok(folder)
    }

    pub(super) fn path(&self, (record, version): Name) -> PathBuf {
        self.0.join(format!("{record}-{version}"))
    }

    /// The names of the files that are here; others are not looked at.
    pub(super) fn names(&self) -> Result<Vec<Name>, KeptError> {
        let paths = self.paths()?;
        let mut names: Vec<Name> = paths.iter().filter_map(|path| name_of(path)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// At most `bytes_max` bytes of a file that only its owner can read; `None` if it is not here.
    pub(super) fn read(&self, name: Name, bytes_max: u64) -> Result<Option<Vec<u8>>, KeptError> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| failed("open", &path, error))?,
        };
        let mode = file::mode(&file).map_err(|error| failed("look at", &path, error))?;
        if mode & 0o077 != 0 {
            return Err(KeptError::PermissionsTooOpen { path, mode });
        }
        let mut bytes = Vec::new();
        file.take(bytes_max)
            .read_to_end(&mut bytes)
            .map_err(|error| failed("read", &path, error))?;
        Ok(Some(bytes))
    }

    /// Writes a file, replacing what is there, in one step that is durable.
    pub(super) fn write(&self, name: Name, bytes: &[u8]) -> Result<(), KeptError> {
        let path = self.path(name);
        let written = || -> io::Result<()> {
            let mut temporary: NamedTempFile =
                Builder::new().prefix(TEMPORARY).tempfile_in(&self.0)?;
            file::restrict_to_owner(temporary.as_file())?;
            temporary.write_all(bytes)?;
            temporary.as_file().sync_all()?;
            temporary.persist(&path).map_err(|refused| refused.error)?;
            file::sync_directory(&self.0)
        };
        written().map_err(|error| failed("write", &path, error))
    }

    /// Removes a file; false if there was none.
    pub(super) fn remove(&self, name: Name) -> Result<bool, KeptError> {
        let removed = remove(&self.path(name))?;
        let synced = file::sync_directory(&self.0);
        synced.map_err(|error| failed("flush", &self.0, error))?;
        Ok(removed)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, KeptError> {
        let entries = fs::read_dir(&self.0).map_err(|error| failed("list", &self.0, error))?;
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(|error| failed("list", &self.0, error))
    }
}

fn name_of(path: &Path) -> Option<Name> {
    let name = path.file_name()?.to_str()?;
    let (record, version) = name.split_once('-')?;
    let parsed: Name = (record.parse().ok()?, version.parse().ok()?);
    (format!("{}-{}", parsed.0, parsed.1) == name).then_some(parsed)
}

fn remove(path: &Path) -> Result<bool, KeptError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other
            .map(|()| true)
            .map_err(|error| failed("remove", path, error)),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> KeptError {
    KeptError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The reads that are not finished.
#[derive(Debug, Clone)]
pub(super) struct Reads(Folder);

impl Reads {
    pub(super) fn open(transfers: &Path) -> Result<Self, KeptError> {
        Folder::open(transfers.join("reads")).map(Self)
    }

    /// Notes that blocks of a version are being fetched, from `now_ms` on unless an earlier attempt
    /// began before. The oldest reads make room.
    pub(super) fn begin(&self, name: Name, now_ms: u64) -> Result<(), KeptError> {
        let mut all = self.all(now_ms)?;
        if all.iter().any(|(known, _)| *known == name) {
            return Ok(());
        }
        all.sort_unstable_by_key(|(_, since_ms)| *since_ms);
        for (oldest, _) in all.iter().take((all.len() + 1).saturating_sub(READS_MAX)) {
            self.0.remove(*oldest)?;
        }
        self.0.write(name, format!("1 {now_ms}\n").as_bytes())
    }

    pub(super) fn end(&self, name: Name) -> Result<(), KeptError> {
        self.0.remove(name).map(drop)
    }

    /// Since when blocks of unfinished reads have come in; those that nobody took up again in time,
    /// and files that cannot be read, are forgotten.
    pub(super) fn since_ms(&self, now_ms: u64) -> Result<Option<u64>, KeptError> {
        let all = self.all(now_ms)?;
        Ok(all.into_iter().map(|(_, since_ms)| since_ms).min())
    }

    fn all(&self, now_ms: u64) -> Result<Vec<(Name, u64)>, KeptError> {
        let mut all = Vec::new();
        for name in self.0.names()? {
            let since_ms = self
                .0
                .read(name, READ_BYTES_MAX)?
                .and_then(|line| since(&line));
            match since_ms {
                Some(since_ms) if now_ms < since_ms.saturating_add(READ_KEPT_MS) => {
                    all.push((name, since_ms));
                }
                _ => drop(self.0.remove(name)?),
            }
        }
        Ok(all)
    }
}

fn since(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    text.strip_prefix("1 ")?.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_consent::Hex;

    fn name(n: u8) -> Name {
        (Hex([n; 16]), 1)
    }

    #[test]
    fn a_read_is_remembered_until_it_ends_or_nobody_takes_it_up() {
        let folder = tempfile::tempdir().unwrap();
        let reads = || Reads::open(folder.path()).unwrap();
        reads().begin(name(1), 1_000).unwrap();
        reads().begin(name(1), 9_000).unwrap();
        reads().begin(name(2), 2_000).unwrap();
        assert_eq!(reads().since_ms(9_000).unwrap(), Some(1_000));
        reads().end(name(1)).unwrap();
        assert_eq!(reads().since_ms(9_000).unwrap(), Some(2_000));
        assert_eq!(reads().since_ms(2_000 + READ_KEPT_MS).unwrap(), None);
        assert_eq!(reads().since_ms(0).unwrap(), None, "it was forgotten");
    }

    #[test]
    fn the_oldest_read_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let reads = Reads::open(folder.path()).unwrap();
        for n in 0..=READS_MAX as u8 {
            reads.begin(name(n), 100 - u64::from(n)).unwrap();
        }
        let names = reads.0.names().unwrap();
        assert_eq!(names.len(), READS_MAX);
        assert!(!names.contains(&name(READS_MAX as u8 - 1)), "the oldest");
    }

    #[test]
    fn a_read_has_its_form_and_a_damaged_one_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let reads = Reads::open(folder.path()).unwrap();
        reads.begin(name(1), 1_700_000_000_000).unwrap();
        let path = reads.0.path(name(1));
        assert_eq!(fs::read(&path).unwrap(), b"1 1700000000000\n");
        for damage in ["", "2 5\n", "1 5", "1 x\n", "1 5 6\n"] {
            fs::write(&path, damage).unwrap();
            assert_eq!(reads.since_ms(5).unwrap(), None, "{damage:?}");
            assert!(!path.exists());
            reads.begin(name(1), 5).unwrap();
        }
    }

    #[test]
    fn what_an_interrupted_write_left_is_removed_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let files = Folder::open(folder.path().to_owned()).unwrap();
        files.write(name(1), b"a").unwrap();
        fs::write(folder.path().join(".new-x"), b"half").unwrap();
        fs::write(folder.path().join("README"), b"mine").unwrap();
        let files = Folder::open(folder.path().to_owned()).unwrap();
        assert_eq!(files.names().unwrap(), [name(1)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(files.remove(name(1)).unwrap());
        assert!(!files.remove(name(1)).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let files = Folder::open(folder.path().to_owned()).unwrap();
        files.write(name(1), b"a").unwrap();
        let path = files.path(name(1));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = files.read(name(1), 9).unwrap_err();
        assert!(matches!(
            refused,
            KeptError::PermissionsTooOpen { mode: 0o640, .. }
        ));
    }
}
