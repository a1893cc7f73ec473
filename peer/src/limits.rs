//! Bounds on what a peer keeps, runs and waits for.

use std::time::Duration;

/// Channels that one peer joins.
pub const CHANNELS_MAX: usize = 64;
/// Packages that one peer has installed.
pub const PACKAGES_MAX: usize = 256;
/// Bytes of a configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the node's name.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Proposals that wait for a free thread to run on; more are refused as overload.
pub const PROPOSALS_WAITING_MAX: usize = 1_024;
/// Calls of clients that one gateway works on (questions, proposals, submissions that wait for their
/// verdict) before it refuses further questions and proposals as overload. Submissions are taken beyond.
pub const CLIENT_CALLS_MAX: usize = 512;
/// How long the compiler may work on one package before it is killed.
pub const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of what the compiler may say when it fails.
pub const COMPILER_WORDS_BYTES_MAX: usize = 1_000;

/// Requests that wait for a transaction to be committed, on one channel.
pub const COMMIT_WAITERS_MAX: usize = 50_000;
/// The longest that one request waits for a transaction.
pub const COMMIT_WAIT_MS_MAX: u32 = 120_000;
/// Signatures that are remembered as valid until they come back in a block, on one channel.
pub const VERIFIED_MAX: usize = 1 << 16;
/// Streams of events and blocks, on one channel.
pub const STREAMS_MAX: usize = 1_024;
/// Events that wait in one stream for a slow reader.
pub const STREAM_EVENTS: usize = 64;
/// Blocks that wait in one stream for a slow reader.
pub const STREAM_BLOCKS: usize = 2;
/// Nonces of requests that are remembered for the window, on one channel.
pub const REPLAYS_MAX: usize = 100_000;
/// How far the timestamp of an administrator's request may lie from the node's clock.
pub const ADMIN_WINDOW_MS: u64 = 300_000;
/// Bytes of side items in one answer; the frame of the message still fits beside them.
pub const SIDE_ANSWER_BYTES_MAX: usize = 8 << 20;

/// How long the gateway works on one request for endorsements.
pub const ENDORSE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one other peer may take to endorse or to keep side items.
pub const REMOTE_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the next one is asked as well, while the first request goes on.
pub const HEDGE_AFTER: Duration = Duration::from_secs(1);
/// How long an organization that failed or was slow is asked after the others.
pub const TROUBLE_FORGOTTEN: Duration = Duration::from_secs(15);
/// Organizations that are remembered as such.
pub const TROUBLED_MAX: usize = 256;
/// Requests that were answered while side items were still on their way to further organizations;
/// beyond, those have to fetch them.
pub const SIDE_SENDS_MAX: usize = 32;
/// Bytes of one organization's words when endorsements cannot be had.
pub const FAILURE_WORDS_BYTES_MAX: usize = 400;
/// How many blocks an endorser may be behind another one, or ahead of this peer, to be waited for.
pub const CATCH_UP_BLOCKS_MAX: u64 = 1_000;
/// How long a peer that seems to be behind is asked again.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(5);
/// The first pause before a peer that seems to be behind is asked again.
pub const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);
/// The longest of these pauses.
pub const CATCH_UP_PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long one orderer may take to accept an envelope.
pub const BROADCAST_TIMEOUT: Duration = Duration::from_secs(5);

/// Without a block for so long, the next orderer is asked: this one might be cut off.
pub const DELIVER_IDLE: Duration = Duration::from_secs(20);
/// How long an orderer may take to begin a stream of blocks.
pub const DELIVER_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after every orderer has failed.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// The longest of these pauses.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// How long the peer waits for its own registration before it sends it again.
pub const REGISTRATION_WAIT: Duration = Duration::from_secs(5);

/// Missing side items that are looked at together.
pub const SIDE_FETCH_ITEMS: usize = 16;
/// How often the missing side items are looked through when nothing new is missing.
pub const SIDE_FETCH_INTERVAL: Duration = Duration::from_secs(30);
/// Missing side items, asked for in vain, that are remembered with a pause of their own.
pub const SIDE_FETCHES_MAX: usize = 10_000;
/// The longest pause before a missing side item is asked for again.
pub const SIDE_FETCH_PAUSE_MAX: Duration = Duration::from_secs(120);
/// How often side items are looked for that can no longer be committed.
pub const SIDE_PURGE_INTERVAL: Duration = Duration::from_secs(30);
/// After how many windows of the channel a side item is given up by this node's clock alone.
pub const SIDE_IDLE_WINDOWS: u64 = 4;

/// How long behind its window a transaction that was endorsed may still come, in milliseconds: in a
/// block that is under way, or by a clock that is behind this node's.
pub const NOTE_GRACE_MS: u64 = 2_000;
/// In how many places the endorsers of one transaction wait until they call in its place.
pub const NOTE_STAGGERS: u64 = 8;
/// How long the next place waits longer, in milliseconds.
pub const NOTE_STAGGER_MS: u64 = 500;
/// How often the notes are looked through for those that are due.
pub const NOTES_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a call that a note asked for may take to be committed.
pub const NOTE_COMMIT_WAIT: Duration = Duration::from_secs(10);
/// The first pause after such a call has failed.
pub const NOTE_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest of these pauses.
pub const NOTE_PAUSE_MAX: Duration = Duration::from_secs(120);

/// Heights whose state hash is remembered to compare it with what others report.
pub const RECENT_STATES_MAX: usize = 4_096;
/// How far ahead of this peer a reported height may lie to be remembered.
pub const CLAIMS_AHEAD_MAX: u64 = 1_024;

/// State hashes from before a restart that are remembered for comparison.
pub const STATES_AT_START: usize = 256;
/// How often the state hash is compared with a peer of every other organization.
pub const COMPARISON_INTERVAL: Duration = Duration::from_secs(30);
/// Organizations whose peers are asked for their state hash at the same time.
pub const COMPARISONS_AT_ONCE: usize = 8;
/// How long another peer may take to tell its state hash.
pub const COMPARISON_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of blocks and state that the scrub looks at before it pauses.
pub const SCRUB_STEP_BYTES: usize = 4 << 20;
/// Entries of the state that the scrub reads together; each may be large.
pub const SCRUB_STEP_ENTRIES: usize = 64;
/// How long the scrub pauses between two steps.
pub const SCRUB_PAUSE: Duration = Duration::from_secs(1);
/// How long the scrub rests when it has looked at everything.
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(3_600);
/// Differences that a check of a whole ledger names.
pub const DIFFERENCES_MAX: usize = 100;
/// After how many replayed blocks a word is said about the progress.
pub const REPLAY_PROGRESS_BLOCKS: u64 = 1_000;

/// Keys whose versions are read together when a block is validated.
pub const VERSIONS_PER_READ: usize = 256;
/// Keys of a range that are read together when a block is validated.
pub const RANGE_PAGE: usize = 256;
/// Certificates that are read together.
pub const CERTIFICATES_PER_READ: usize = 1_000;
/// Signatures below which a batch is not shared among threads.
pub const SIGNATURES_PER_THREAD_MIN: usize = 32;

/// How long a stopping peer waits for what it has begun.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
