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
/// The smallest study, of which parts can be read.
pub const LARGE_BYTES_MIN: u64 = 1_000_000;
/// Sizes in one run.
pub const LARGE_SIZES_MAX: usize = 16;
/// Bytes of a study over which the parts of each step are measured alone.
pub const LARGE_ALONE_BYTES_MAX: u64 = 256 << 20;
/// Ranges of a study that are read at random.
pub const LARGE_RANGES: usize = 8;
/// Bytes of each of them.
pub const LARGE_RANGE_BYTES: u64 = 64 << 10;
/// Bytes from the beginning that are read to see when the first one is there.
pub const LARGE_HEAD_BYTES: u64 = 16 << 20;
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

/// Patients of the benchmark who grant consents, each through a connection of her own.
pub const BENCH_PATIENTS: usize = 32;
/// Records of the benchmark that are asked for, each of another patient.
pub const BENCH_RECORDS: usize = 32;
/// Practitioners of the benchmark who ask for them. A peer keeps at most 64 notes about each whose
/// denials are on their way.
pub const BENCH_READERS: usize = 64;
/// Practitioners of the benchmark who submit records.
pub const BENCH_AUTHORS: usize = 16;
/// Patients of the benchmark for whom clients contend, one after the other.
pub const BENCH_CONTENDED: usize = 24;
/// Calls about one of them: so few that her consents stay below those that a decision can take into
/// account.
pub const BENCH_CONTENDED_CALLS: u64 = 1_000;
/// Calls under way while the benchmark prepares its ledger.
pub const BENCH_PREPARING: usize = 32;
/// How long one step of the preparation is tried.
pub const BENCH_PREPARE: Duration = Duration::from_secs(30);
/// Calls in flight when clients contend for one patient.
pub const BENCH_IN_FLIGHT_CONTENDED: usize = 16;
/// Calls under way at a given rate; those that come beyond are counted as not made.
pub const BENCH_OPEN_MAX: usize = 20_000;
/// The part by which the rate must grow for the search to go on.
pub const BENCH_GAIN_MIN: f64 = 0.05;
/// How long a client of the benchmark waits for a verdict.
pub const BENCH_COMMIT: Duration = Duration::from_secs(60);
/// How long a client whose call was refused as overload waits before it makes the next.
pub const BENCH_REFUSED_PAUSE: Duration = Duration::from_millis(20);
/// How long peers may take after a run until all have the same state and all events are told.
pub const BENCH_SETTLE: Duration = Duration::from_secs(60);
/// Transactions on which the parts of one are measured alone.
pub const BENCH_STAGE_TRANSACTIONS_MAX: usize = 10_000;
/// The least processor time in microseconds in which a part is measured: the system counts it in
/// hundredths of a second.
pub const BENCH_STAGE_CPU_US_MIN: u64 = 500_000;
/// Requests by which it is measured what a call from one process to another costs.
pub const BENCH_ASKED: u64 = 10_000;

/// Calls in flight while it is measured what growth costs: enough to saturate two processors.
pub const GROWTH_IN_FLIGHT: usize = 128;
/// The smallest state and the shortest ledger that are measured when they grow tenfold.
pub const GROWTH_STEPS_FIRST: u64 = 10_000;
/// Bytes of the values while keys become more: about those of a consent.
pub const GROWTH_VALUE_BYTES: usize = 300;
/// Entries of each size while values become larger: many more than calls are in flight.
pub const GROWTH_VALUE_ENTRIES: u64 = 2_000;
/// Clients that replace entries, each through connections of its own.
pub const GROWTH_CLIENTS: usize = 32;
/// Transactions under way that write new entries.
pub const GROWTH_FILLING: usize = 8;
/// Bytes that such a transaction writes: below the channel's limit for an envelope.
pub const GROWTH_FILL_BYTES_MAX: usize = 384 << 10;
/// How long nodes' folders must keep their size until their databases count as in order.
pub const GROWTH_SETTLED: Duration = Duration::from_secs(3);
/// How long that may take.
pub const GROWTH_SETTLE: Duration = Duration::from_secs(30 * 60);
/// About what a consent grant takes on the disk of a node, in bytes.
pub const GROWTH_CONSENT_BYTES: usize = 1_500;
/// How long calls are made until it is looked how long the ledger is: all calls of one run are in
/// memory.
pub const GROWTH_LOAD: Duration = Duration::from_secs(20);
/// How often a peer that starts is asked whether it serves.
pub const GROWTH_POLL: Duration = Duration::from_millis(5);
