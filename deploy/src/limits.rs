//! Bounds of the launcher and the demo.

use std::time::Duration;

/// How long a process may take until it answers.
pub const READY: Duration = Duration::from_secs(60);
/// How long a process may take to end after it was asked to.
pub const STOP: Duration = Duration::from_secs(10);
/// How long a peer may take to have the blocks that another one has.
pub const CATCH_UP: Duration = Duration::from_secs(30);
/// How long one command of the demo may take.
pub const COMMAND: Duration = Duration::from_secs(120);
/// How often a condition is looked at while it is waited for.
pub const POLL: Duration = Duration::from_millis(25);
/// Bytes that the wire recorder keeps of each port; what comes later is passed on unrecorded.
pub const WIRE_BYTES_MAX: u64 = 256 << 20;
/// How far back the certificates of a new network are valid, against clocks that differ.
pub const CLOCK_SKEW_MS: u64 = 5 * 60 * 1000;
/// How long certificates of a demonstration network are valid.
pub const VALIDITY_MS: u64 = 30 * 24 * 3600 * 1000;
/// The channel's transaction window.
pub const WINDOW_MS: u64 = 5 * 60 * 1000;
/// The most resident memory that a client and a storage node may take with a large study, in bytes.
pub const LARGE_MEMORY_BYTES_MAX: u64 = 100_000_000;
/// Bytes of a study that add a second to the time that one command may take with it.
pub const LARGE_BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// The smallest study: one that has enough blocks to be interrupted in their midst.
pub const LARGE_BYTES_MIN: u64 = 32 << 20;
/// The largest study that is sent a second time to be interrupted.
pub const LARGE_INTERRUPTED_BYTES_MAX: u64 = 256 << 20;
/// How often the memory of a running command is looked at.
pub const LARGE_SAMPLE: Duration = Duration::from_millis(10);

/// Clients of the fault harness that write.
pub const FAULT_WRITERS: usize = 4;
/// The pause of each between two calls.
pub const FAULT_CLIENT_PAUSE: Duration = Duration::from_millis(60);
/// How long a peer may take to answer a client of the fault harness.
pub const FAULT_ANSWER: Duration = Duration::from_secs(4);
/// How long such a client waits for a commit; a transaction not seen by then is not counted.
pub const FAULT_COMMIT: Duration = Duration::from_secs(30);
/// How long a network may take after a fault until everything is as it should be.
pub const FAULT_RECOVERY: Duration = Duration::from_secs(40);
/// How long it is looked at a node that runs on damaged data.
pub const FAULT_DAMAGED: Duration = Duration::from_secs(4);
/// Acknowledged transactions about which such a peer is asked.
pub const FAULT_STATUSES: usize = 10;
/// Acknowledgements after a fault that show that the network works again.
pub const FAULT_PROGRESS: usize = 5;
/// How long a record that was being submitted during a fault is waited for after the checks.
pub const FAULT_SUBMIT: Duration = Duration::from_secs(15);
