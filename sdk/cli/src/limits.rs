//! Bounds of what the command line waits for and looks at, and from when on something is a finding.

use std::time::Duration;

/// How long the doctor waits for one node to accept a connection, TLS included.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the doctor waits for one node's answer.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long the doctor looks at heights and the leader again: longer than a peer is normally
/// behind its orderer.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(1_500);
/// Nodes that the doctor asks at a time.
pub(crate) const ASKED_AT_ONCE: usize = 64;
/// A clock that is so much off is worth a warning.
pub(crate) const CLOCK_OFF_WARNING_MS: u64 = 2_000;
/// A clock that is so much off is wrong.
pub(crate) const CLOCK_OFF_FAILED_MS: u64 = 60_000;
/// A certificate that ends within this time is worth a warning: fourteen days.
pub(crate) const CERTIFICATE_SOON_MS: u64 = 14 * 24 * 3_600_000;
/// Bytes of a node's configuration file that the doctor reads.
pub(crate) const NODE_FILE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a file with the proof of an observation, or with thresholds, that is read.
pub(crate) const PROOF_BYTES_MAX: u64 = 1 << 20;
/// Simulated devices that work at a time.
pub(crate) const DEVICES_AT_ONCE: usize = 16;
/// Bytes of a genesis block that the doctor reads.
pub(crate) const GENESIS_BYTES_MAX: u64 = stela_protocol::limits::MESSAGE_BYTES_MAX as u64;
/// Bytes of the contents of records in one export, which is made in memory.
pub(crate) const EXPORT_CONTENT_BYTES_MAX: usize = 256 << 20;
