//! How much room a folder's file system has.

use std::io;
use std::path::Path;

use crate::limits::{DISK_FREE_LOW_BYTES, DISK_FREE_NONE_BYTES};

/// How much room is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// None to go on with: less than [`DISK_FREE_NONE_BYTES`].
    None,
    /// Little: less than [`DISK_FREE_LOW_BYTES`].
    Low,
    /// Enough.
    Enough,
}

impl Room {
    /// What so many free bytes are.
    pub fn of(free_bytes: u64) -> Self {
        match free_bytes {
            0..DISK_FREE_NONE_BYTES => Self::None,
            DISK_FREE_NONE_BYTES..DISK_FREE_LOW_BYTES => Self::Low,
            _ => Self::Enough,
        }
    }
}

/// Bytes that an ordinary user may still write to the file system of this folder.
///
/// # Errors
/// What the system said.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(folder)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Free MiB as members are told: rounded down to a power of two, so that nobody can follow from it
/// what an organization stores.
pub(crate) fn coarse_mib(free_bytes: u64) -> u64 {
    match (free_bytes >> 20).checked_ilog2() {
        Some(exponent) => 1 << exponent,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_coarse_and_on_the_same_side_of_the_limits() {
        for (bytes, mib) in [
            (0, 0),
            (1 << 19, 0),
            (1 << 20, 1),
            (63 << 20, 32),
            (64 << 20, 64),
            ((2 << 30) - 1, 1024),
            (3 << 30, 2048),
            (u64::MAX, 1 << 43),
        ] {
            assert_eq!(coarse_mib(bytes), mib, "{bytes}");
            assert_eq!(Room::of(mib << 20), Room::of(bytes), "{bytes}");
        }
    }

    #[test]
    fn a_folder_has_room_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert!(free_bytes(&folder.path().join("none")).is_err());
    }
}
