//! Every bound of a storage node, by name.

use std::time::Duration;

/// Bytes of one request: a certificate and a few names.
pub const REQUEST_BYTES_MAX: usize = 32 << 10;
/// How far the timestamp of a request may lie from the node's clock, either way.
pub const REQUEST_WINDOW_MS: u64 = 300_000;
/// Requests remembered so that none is served twice.
pub const REPLAYS_MAX: usize = 100_000;
/// Characters of a peer id.
pub const PEER_ID_CHARS_MAX: usize = 128;
/// Characters of a CID.
pub const CID_CHARS_MAX: usize = 128;
/// Bytes of the configuration file.
pub const CONFIG_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the file with the genesis block.
pub const GENESIS_BYTES_MAX: u64 = stela_protocol::limits::MESSAGE_BYTES_MAX as u64;
/// Bytes of the payload of an event that is looked into.
pub const EVENT_BYTES_MAX: usize = stela_protocol::limits::EVENT_BYTES_MAX;

/// How long an admitted node may stay in the swarm without asking again: one hour.
pub const ADMISSION_MS: u64 = 3_600_000;
/// Nodes that one identity may have in the swarm; a further one takes the place of the one that
/// asked longest ago.
pub const ADMITTED_PER_IDENTITY_MAX: usize = 4;
/// Nodes that members may have in the swarm together; the rest of the allow-list is for storage
/// nodes.
pub const ADMITTED_MAX: usize = stela_ipfs::limits::MEMBERS_MAX - STORAGE_NODES_MAX;
/// Storage nodes of a channel that are allowed into the swarm.
pub const STORAGE_NODES_MAX: usize = 256;

/// How long an upload is kept for a record that names it: seven days.
pub const LEASE_MS: u64 = 7 * 24 * 3_600_000;
/// How long a submitted record is kept for its review, from the time of its block: ninety days.
pub const REVIEW_LEASE_MS: u64 = 90 * 24 * 3_600_000;
/// Bytes that one identity may have under lease.
pub const LEASED_BYTES_PER_IDENTITY: u64 = 16 << 30;
/// Bytes that one organization may have under lease.
pub const LEASED_BYTES_PER_ORGANIZATION: u64 = 128 << 30;
/// Leases that one identity may have.
pub const LEASES_PER_IDENTITY: usize = 10_000;
/// Leases that a node keeps.
pub const LEASES_MAX: usize = 100_000;

/// Blobs that one identity may have fetched at a time.
pub const HOLDS_PER_IDENTITY_MAX: usize = 8;
/// Blobs that are fetched for callers at a time.
pub const HOLDS_MAX: usize = 64;
/// How long the root of a blob may take to arrive.
pub const ROOT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a blob may take to arrive, beside what its size adds.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a blob that add a second to the time it may take.
pub const FETCH_BYTES_PER_SECOND_MIN: u64 = 1 << 20;

/// Blobs that the ledger names and that are not here yet.
pub const WANTED_MAX: usize = 1_000_000;
/// Wanted blobs that are fetched at a time.
pub const WANTED_IN_FLIGHT_MAX: usize = 8;
/// The first pause before a wanted blob that nobody had is looked for again.
pub const WANTED_PAUSE_MS_MIN: u64 = 2_000;
/// The longest of these pauses: five minutes.
pub const WANTED_PAUSE_MS_MAX: u64 = 300_000;

/// How often leases, admissions and wanted blobs are looked through.
pub const TICK: Duration = Duration::from_secs(1);
/// The pause before the channel's configuration is asked for again when it was not there.
pub const CONFIG_PAUSE: Duration = Duration::from_millis(200);
/// How often unpinned blocks are collected.
pub const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);
/// How old an unpinned block must be to be collected: longer than any upload takes.
pub const COLLECT_AGE_MS: u64 = 24 * 3_600_000;
/// How often every kept blob is read again and compared with its CID, unless configured otherwise.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How fast they are read at most, unless configured otherwise: 2.7 TB in a day.
pub const CHECK_BYTES_PER_SECOND: u64 = 32 << 20;
/// How long a reading rests when nothing is due.
pub const CHECK_PAUSE: Duration = Duration::from_secs(30);
/// Pins that a reading takes from the list at a time.
pub const CHECK_BATCH: usize = 1024;
/// Blobs after which a reading writes down how far it has come.
pub const CHECK_SAVE_BLOBS: u32 = 64;
/// How often what is kept is compared with what the ledger names, from its beginning on.
pub const COMPARE_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How long after its start a node does so for the first time.
pub const COMPARE_FIRST: Duration = Duration::from_secs(600);
/// Tries after which a blob that the ledger names counts as lost.
pub const ABSENT_TRIES: u64 = 4;
/// Times that a blob is fetched and read again until it is whole: a damaged tree node hides what is
/// below it.
pub const MEND_ROUNDS_MAX: usize = 8;
/// Losses that are remembered.
pub const FINDINGS_MAX: usize = 10_000;
/// Nodes that are remembered as having mended one loss: those that gave most.
pub const GIVERS_MAX: usize = 16;
/// Losses in one report.
pub const REPORT_FINDINGS_MAX: usize = 1_000;
/// Missing blobs in one report.
pub const REPORT_WANTED_MAX: usize = 1_000;
/// Characters of the reason for which a blob did not come.
pub const WHY_CHARS_MAX: usize = 200;
/// Bytes of a report.
pub const REPORT_BYTES_MAX: usize = 4 << 20;
/// The pause before a stream of events that ended for good is asked for again.
pub const EVENTS_PAUSE: Duration = Duration::from_secs(5);
/// How long the node's own registration may take before it is tried again.
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one call of a client may take, other than a hold.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client asks how far a hold is.
pub const HOLD_POLL: Duration = Duration::from_millis(500);
/// Which part of the time a node may be asked, the question itself included: one in so many.
pub const HOLD_POLL_PART: u32 = 20;
/// How often it is asked at least.
pub const HOLD_POLL_MAX: Duration = Duration::from_secs(5);
/// How long a node that holds a blob may go without a byte of it arriving before its caller gives
/// it up. Flushing what has arrived is not counted.
pub const HOLD_STALLED: Duration = Duration::from_secs(60);
