//! Bounds on what an orderer keeps, sends and waits for. What the network formats allow is in
//! [`stela_protocol::limits`].

use std::time::Duration;

// ------------------------------------------------------------------------------------- consensus

/// How long a tick of Raft's logical clock lasts.
pub const TICK: Duration = Duration::from_millis(75);
/// Ticks without a leader's word before an election; each node draws its own number below twice this.
pub const ELECTION_TICKS: usize = 10;
/// Ticks after which an orderer that led before its restart asks for votes, and asks again while
/// there is no leader.
pub const CAMPAIGN_AGAIN_TICKS: u64 = 2;
/// Ticks after its restart until which it does.
pub const CAMPAIGN_AGAIN_TICKS_MAX: u64 = 4 * ELECTION_TICKS as u64;
/// Ticks between two heartbeats of a leader.
pub const HEARTBEAT_TICKS: usize = 2;
/// Bytes of entries in one append message, unless a single entry is larger.
pub const APPEND_BYTES_MAX: u64 = 1 << 20;
/// Append messages under way to one follower.
pub const APPENDS_IN_FLIGHT_MAX: usize = 8;
/// Bytes of entries that are proposed and not committed.
pub const UNCOMMITTED_BYTES_MAX: u64 = 32 << 20;
/// Bytes of committed entries that are applied in one go, unless a single one is larger.
pub const APPLY_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the newest entries that are kept in memory for followers and for being applied.
pub const ENTRY_CACHE_BYTES_MAX: usize = 32 << 20;
/// Entries in one Raft message.
pub const ENTRIES_PER_MESSAGE_MAX: usize = 10_000;
/// Blocks that are proposed and not applied.
pub const BLOCKS_IN_FLIGHT_MAX: usize = 1;
/// Milliseconds from one block to the next for each envelope of the first one beyond one.
pub const CUT_PAUSE_PER_ENVELOPE_MS: u64 = 1;
/// The longest of these pauses.
pub const CUT_PAUSE_MS_MAX: u64 = 40;

// ----------------------------------------------------------------------- compaction and catching up

/// Entries of Raft's log that are kept at least behind the newest deliverable block, for orderers
/// that are slow or were away; at most twice as many are. Whoever needs an older one fetches blocks
/// instead. A node's settings may say another number.
pub const ENTRIES_KEPT: u64 = 10_000;
/// The fewest that a node's settings may say.
pub const ENTRIES_KEPT_MIN: u64 = 8;
/// Ticks after which blocks that were asked for and did not come are asked for somewhere else.
pub const FETCH_AGAIN_TICKS: u64 = 20;
/// Bytes of the blocks in one answer, unless a single one is larger.
pub const FETCH_BYTES_MAX: usize = 1 << 20;
/// Blocks in one answer.
pub const FETCH_BLOCKS_MAX: usize = 1_024;
/// Ticks without a leader after which an orderer asks the others for blocks: it may have been
/// removed, or everybody it knows of may be gone.
pub const LEADERLESS_FETCH_TICKS: u64 = 4 * ELECTION_TICKS as u64;
/// Ticks for which an orderer that was removed still answers the others.
pub const REMOVED_LINGER_TICKS: u64 = 40;
/// Earlier configurations of one channel that are kept in memory.
pub const CONFIGURATIONS_KEPT_MAX: usize = 16;
/// Ticks after which a follower that did not acknowledge a snapshot is sent the newest one.
pub const SNAPSHOT_AGAIN_TICKS: u64 = 40;

// ------------------------------------------------------------------------------------- envelopes

/// Envelopes that wait on one channel to be ordered.
pub const PENDING_ENVELOPES_MAX: usize = 50_000;
/// Bytes of the envelopes that wait on one channel to be ordered.
pub const PENDING_BYTES_MAX: usize = 64 << 20;
/// Transaction ids of committed blocks that are remembered against duplicates.
pub const COMMITTED_IDS_MAX: usize = 200_000;
/// Ticks after which an envelope that was forwarded and not seen in a block is forwarded again.
pub const FORWARD_AGAIN_TICKS: u64 = 20;
/// Envelopes that are forwarded in one tick because they were not seen in a block.
pub const FORWARDS_PER_TICK_MAX: usize = 512;
/// Ticks between two looks for envelopes whose time has passed.
pub const EXPIRE_EVERY_TICKS: u64 = 16;

// ------------------------------------------------------------------------------------ signatures

/// How far ahead of the newest applied block signatures are kept.
pub const EARLY_SIGNATURE_BLOCKS_MAX: u64 = 64;
/// Blocks whose signatures one request asks for.
pub const SIGNATURE_REQUEST_BLOCKS_MAX: usize = 256;
/// Signatures in one message.
pub const SIGNATURES_PER_MESSAGE_MAX: usize = 4_096;

// -------------------------------------------------------------------------------------- transport

/// Messages of other orderers that wait for one channel.
pub const CONSENSUS_QUEUE_MAX: usize = 1_024;
/// Envelopes of clients that wait to be taken into one channel's queue.
pub const SUBMIT_QUEUE_MAX: usize = 1_024;
/// Inputs that a channel takes in before it writes and sends.
pub const INPUTS_PER_TURN_MAX: usize = 1_024;
/// Messages that wait for the connection to one orderer.
pub const LINK_QUEUE_MAX: usize = 1_024;
/// Bytes of the messages that wait for the connection to one orderer.
pub const LINK_QUEUE_BYTES_MAX: usize = 96 << 20;
/// Messages handed to an open stream and not yet taken by it.
pub const LINK_STREAM_MAX: usize = 16;
/// The pause before connecting again.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that the stream between orderers adds to a Raft message.
pub const CONSENSUS_FRAME_BYTES: usize = 1 << 10;
/// Bytes of a `Broadcast` request: more than any envelope, so that one that is too large gets a
/// typed answer.
pub const BROADCAST_BYTES_MAX: usize = 2 * stela_protocol::limits::ENVELOPE_BYTES_MAX;
/// Bytes of an `Admin` request.
pub const ADMIN_BYTES_MAX: usize = stela_protocol::limits::MESSAGE_BYTES_MAX;

// --------------------------------------------------------------------------------------- delivery

/// Blocks that are read ahead for one stream.
pub const DELIVER_AHEAD_MAX: usize = 4;
/// Streams of blocks on one channel.
pub const DELIVER_STREAMS_MAX: usize = 256;
/// Of these, streams of one organization.
pub const DELIVER_STREAMS_PER_ORGANIZATION_MAX: usize = 64;
/// Of these, streams under one TLS certificate.
pub const DELIVER_STREAMS_PER_CERTIFICATE_MAX: usize = 8;

// --------------------------------------------------------------------------------- administration

/// How far an administrator's clock may be off.
pub const ADMIN_WINDOW_MS: u64 = 5 * 60 * 1000;
/// Requests of administrators that are remembered against replay.
pub const ADMIN_NONCES_MAX: usize = 10_000;
/// Channels of one orderer.
pub const CHANNELS_MAX: usize = 64;
/// How long a stop waits for channels and connections.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 64 << 10;

/// Bytes of the cache of decompressed blocks of the databases of all channels: what is read again is
/// what was written last, and that is in memory anyway.
pub const BLOCK_CACHE_BYTES: usize = 16 << 20;
