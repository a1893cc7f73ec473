//! Key pairs in files that only their owner can read.

use super::{EncryptionKeyError, EncryptionKeyPair};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// A key file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file of that name exists. It is never overwritten: the key in it may be the only one that
    /// opens some record.
    #[error("{} exists already; a key file is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner have access to the file.
    #[error("{} has mode {mode:04o}; a key file must be readable by its owner only (chmod 600)", path.display())]
    PermissionsTooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file holds no key pair that this version can read.
    #[error("{} cannot be used: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: EncryptionKeyError,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
}

impl KeyFileError {
    /// Whether the same call can succeed later without a change by the user.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted)
    }
}

impl EncryptionKeyPair {
    /// Writes the key pair to a new file at `path` with mode 0600. The file appears complete and
    /// durable, or not at all.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let io_error = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        let directory = parent(path);
        let mut temporary = NamedTempFile::new_in(directory).map_err(io_error)?;
        restrict_to_owner(temporary.as_file()).map_err(io_error)?;
        temporary.write_all(&*self.encode()).map_err(io_error)?;
        temporary.as_file().sync_all().map_err(io_error)?;
        temporary
            .persist_noclobber(path)
            .map_err(|refused| match refused.error.kind() {
                io::ErrorKind::AlreadyExists => KeyFileError::Exists {
                    path: path.to_owned(),
                },
                _ => io_error(refused.error),
            })?;
        sync_directory(directory).map_err(io_error)
    }

    /// Reads a key pair from `path`, after a check that only its owner has access to the file.
    ///
    /// # Errors
    /// [`KeyFileError`], all but [`KeyFileError::Exists`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let io_error = |source| KeyFileError::Io {
            path: path.to_owned(),
            source,
        };
        // The checks are on the opened file, so that it cannot be exchanged in between.
        let file = File::open(path).map_err(io_error)?;
        check_file(&file, path)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::ENCODED_BYTES + 1));
        let limit = Self::ENCODED_BYTES as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(io_error)?;
        Self::decode(&bytes).map_err(|source| KeyFileError::Invalid {
            path: path.to_owned(),
            source,
        })
    }
}

/// The directory that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes a rename in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}

/// Sets mode 0600, whatever the process's umask and the temporary file's default are.
pub(crate) fn restrict_to_owner(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

fn check_file(file: &File, path: &Path) -> Result<(), KeyFileError> {
    let metadata = file.metadata().map_err(|source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mode = mode_of(&metadata);
    if mode & 0o077 != 0 {
        return Err(KeyFileError::PermissionsTooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// The permission bits of a file.
pub(crate) fn mode(file: &File) -> io::Result<u32> {
    file.metadata().map(|metadata| mode_of(&metadata))
}

/// Where there are no such bits, the file is taken for its owner's.
fn mode_of(metadata: &std::fs::Metadata) -> u32 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        metadata.permissions().mode() & 0o7777
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        0o600
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> EncryptionKeyPair {
        EncryptionKeyPair::from_seed(&[7; 32])
    }

    fn saved() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("patient.key");
        pair().save(&path).expect("saves");
        (directory, path)
    }

    #[test]
    fn a_saved_key_is_loaded_again() {
        let (directory, path) = saved();
        let loaded = EncryptionKeyPair::load(&path).expect("loads");
        assert_eq!(loaded.encode(), pair().encode());
        let files = std::fs::read_dir(directory.path()).expect("lists").count();
        assert_eq!(files, 1, "no temporary file stays behind");
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let (directory, path) = saved();
        let other = EncryptionKeyPair::from_seed(&[8; 32]);
        assert!(matches!(
            other.save(&path),
            Err(KeyFileError::Exists { .. })
        ));
        assert_eq!(
            EncryptionKeyPair::load(&path).expect("loads").encode(),
            pair().encode()
        );
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("lists").count(),
            1
        );
    }

    #[cfg(unix)]
    #[test]
    fn others_cannot_read_it_and_it_is_refused_if_they_could() {
        use std::os::unix::fs::PermissionsExt;
        let (_directory, path) = saved();
        let mode = std::fs::metadata(&path)
            .expect("exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        for open in [0o640, 0o604, 0o620, 0o601, 0o644, 0o777] {
            let permissions = std::fs::Permissions::from_mode(open);
            std::fs::set_permissions(&path, permissions).expect("own file");
            let refused = EncryptionKeyPair::load(&path).err();
            assert!(
                matches!(refused, Some(KeyFileError::PermissionsTooOpen { mode, .. }) if mode == open)
            );
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("own file");
        assert!(EncryptionKeyPair::load(&path).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn damaged_and_other_files_are_refused() {
        let (directory, path) = saved();
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes.push(0);
        std::fs::write(&path, &bytes).expect("writes");
        let refused = EncryptionKeyPair::load(&path).err();
        let expected = EncryptionKeyError::Length {
            bytes: 75,
            expected: 74,
        };
        assert!(
            matches!(refused, Some(KeyFileError::Invalid { source, .. }) if source == expected)
        );
        let refused = EncryptionKeyPair::load(directory.path()).err();
        assert!(matches!(refused, Some(KeyFileError::NotAFile { .. })));
        let refused = EncryptionKeyPair::load(&directory.path().join("none")).err();
        assert!(matches!(refused, Some(KeyFileError::Io { .. })));
    }
}
