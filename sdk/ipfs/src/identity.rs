//! The private key that makes a node who it is.
//!
//! The file is libp2p's protobuf encoding of an Ed25519 private key, as Kubo keeps it in its
//! configuration (there in base 64). It is created with mode 0600, and refused when anybody but
//! its owner may read it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use libp2p::identity::Keypair;
use zeroize::Zeroizing;

use crate::error::StartError;
use crate::limits::KEY_FILE_BYTES_MAX;

const MODE: u32 = 0o600;

/// Reads the identity, or makes one if there is none.
pub(crate) fn open(path: &Path) -> Result<Keypair, StartError> {
    let result = match File::open(path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Err(error) => Err(error),
    };
    result.map_err(|error| StartError::Identity {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}

fn read(file: File) -> io::Result<Keypair> {
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other("others may read it: set its mode to 0600"));
    }
    let mut encoded = Zeroizing::new(Vec::new());
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut encoded)?;
    Keypair::from_protobuf_encoding(&encoded)
        .map_err(|_| io::Error::other("it does not hold a private key"))
}

fn create(path: &Path) -> io::Result<Keypair> {
    let keypair = Keypair::generate_ed25519();
    let encoded = keypair
        .to_protobuf_encoding()
        .map(Zeroizing::new)
        .map_err(io::Error::other)?;
    let temp = path.with_extension("new");
    // A file left by an interrupted start may be replaced: its key was never used.
    match std::fs::remove_file(&temp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&temp)?;
    file.write_all(&encoded)?;
    file.sync_all()?;
    std::fs::rename(&temp, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(keypair)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn the_file_is_private_and_gives_the_same_identity_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity");
        let first = open(&path).expect("an identity").public();
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(open(&path).expect("an identity").public(), first);
    }

    #[test]
    fn a_readable_or_broken_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity");
        open(&path).expect("an identity");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("a mode");
        assert!(matches!(open(&path), Err(StartError::Identity { .. })));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
        fs::write(&path, b"not a key").expect("a write");
        assert!(matches!(open(&path), Err(StartError::Identity { .. })));
    }
}
