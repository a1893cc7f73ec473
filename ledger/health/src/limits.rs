//! Bounds on what a node says of itself, and from when on its disk is a finding.

use std::time::Duration;

/// Free bytes for a node's data folder below which its disk will soon be full: 2 GiB.
pub const DISK_FREE_LOW_BYTES: u64 = 2 << 30;
/// Free bytes below which it counts as full: the next flush of a database may not fit.
pub const DISK_FREE_NONE_BYTES: u64 = 64 << 20;
/// Bytes of the file that is kept for a node's last words.
pub const LAST_WORDS_BYTES: usize = 4 << 10;
/// How long a node waits for its file system to say how much is free.
pub const DISK_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a request about a node's health.
pub const REQUEST_BYTES_MAX: usize = 1 << 10;
