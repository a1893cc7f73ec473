//! Compiled contracts on disk.
//!
//! | Part of a file | Bytes |
//! |---|---|
//! | SHA-256 of the rest | 32 |
//! | what the engine compiled | the rest |
//!
//! A file's name is the package's hash and the engine's compatibility hash, so another version or
//! configuration of the engine never meets it. Compiled code is trusted like the peer's own: the
//! folder must belong to the peer's user and be closed to everybody else. The checksum finds torn
//! and flipped bytes, not an attacker, who would have to be the peer's user already.

use std::fs::{self, DirBuilder, Metadata};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stela_protocol::Hash32;
use wasmtime::Engine;

const CHECKSUM_BYTES: usize = 32;

/// Why the cache's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be made or looked at.
    #[error("the folder {folder} for compiled contracts cannot be used: {source}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// Others could put code there that the peer would run.
    #[error(
        "the folder {0} for compiled contracts must belong to the peer's user and be closed to \
         others (chmod 700)"
    )]
    NotPrivate(PathBuf),
}

/// A private folder with compiled contracts.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    engine: String,
}

impl Cache {
    /// Opens the folder, making it when it is not there.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, CacheError> {
        let io = |source| CacheError::Io {
            folder: folder.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io)?;
        let own = tempfile::tempfile_in(folder).and_then(|file| file.metadata());
        let found = fs::symlink_metadata(folder).map_err(io)?;
        if !is_private(&found, &own.map_err(io)?) {
            return Err(CacheError::NotPrivate(folder.to_owned()));
        }
        Ok(Self {
            folder: folder.to_owned(),
            engine: compatibility(engine),
        })
    }

    fn path(&self, package: &Hash32) -> PathBuf {
        self.folder.join(format!("{package}-{}.cwasm", self.engine))
    }

    /// What was stored for a package; a damaged file is as good as none.
    pub(crate) fn load(&self, package: &Hash32) -> Option<Vec<u8>> {
        let path = self.path(package);
        let mut file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%package, %error, "a compiled contract cannot be read");
                return None;
            }
        };
        let sound = file
            .split_at_checked(CHECKSUM_BYTES)
            .is_some_and(|(checksum, code)| checksum == Sha256::digest(code).as_slice());
        if !sound {
            tracing::warn!(%package, "a compiled contract is damaged and will be compiled again");
            return None;
        }
        Some(file.split_off(CHECKSUM_BYTES))
    }

    /// Stores what was compiled. That it cannot be stored costs time at the next start, no more.
    pub(crate) fn store(&self, package: &Hash32, code: &[u8]) {
        if let Err(error) = self.try_store(package, code) {
            tracing::warn!(%package, %error, "a compiled contract cannot be stored");
        }
    }

    fn try_store(&self, package: &Hash32, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.persist(self.path(package))?;
        Ok(())
    }
}

fn is_private(folder: &Metadata, own: &Metadata) -> bool {
    folder.is_dir() && folder.uid() == own.uid() && folder.mode() & 0o077 == 0
}

fn compatibility(engine: &Engine) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hex::encode(&hasher.0.finalize()[..8])
}

/// The standard library's hasher changes between versions and has 64 bits.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn cache(folder: &Path) -> Result<Cache, CacheError> {
        Cache::open(folder, &Engine::default())
    }

    #[test]
    fn damaged_files_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder.path().join("new")).unwrap();
        let package = Hash32([1; 32]);
        assert_eq!(cache.load(&package), None);
        cache.store(&package, b"code");
        assert_eq!(cache.load(&package).as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.load(&Hash32([2; 32])), None);
        let sound = fs::read(cache.path(&package)).unwrap();
        for position in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[position] ^= 1;
            fs::write(cache.path(&package), &flipped).unwrap();
            assert_eq!(cache.load(&package), None, "byte {position}");
            fs::write(cache.path(&package), &sound[..position]).unwrap();
            assert_eq!(cache.load(&package), None, "torn at {position}");
        }
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            cache(folder.path()),
            Err(CacheError::NotPrivate(_))
        ));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(cache(folder.path()).is_ok());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(matches!(cache(&link), Err(CacheError::NotPrivate(_))));
    }
}
