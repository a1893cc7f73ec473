//! Every bound of this crate, by name. What a peer can make this node hold is the product of the
//! limits below; nothing that comes from the network grows past them.

use std::time::Duration;

/// Largest block that is stored, sent or accepted (the bound that bitswap's own specification
/// asks implementations to keep to).
pub const BLOCK_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest bitswap message, without its length prefix.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of bitswap messages that one connection may have in memory on the receiving side.
pub const INBOUND_BYTES_PER_CONNECTION_MAX: usize = 16 * 1024 * 1024;
/// Bitswap streams that a peer may hold open towards us on one connection. Kubo opens one for
/// each reply, so a single one would throttle it to a crawl.
pub const INBOUND_STREAMS_PER_CONNECTION_MAX: usize = 128;
/// Time in which the body of a message must have arrived once its length has.
pub const FRAME_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a message must have left once its writing has begun.
pub const FRAME_WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Streams on which a message is tried before its connection is given up.
pub const SEND_ATTEMPTS_MAX: u32 = 3;

/// Entries of one received want list.
pub const ENTRIES_PER_MESSAGE_MAX: usize = 8192;
/// Blocks in one received message.
pub const BLOCKS_PER_MESSAGE_MAX: usize = 2048;
/// Presences (have, do not have) in one received message.
pub const PRESENCES_PER_MESSAGE_MAX: usize = 16_384;
/// Bytes of a CID on the wire.
pub const CID_BYTES_MAX: usize = 64;

/// Blocks that one peer may want of us at a time; further entries of its want list are ignored.
pub const WANTS_PER_PEER_MAX: usize = 4096;
/// Disk lookups that one peer may have running.
pub const LOOKUPS_PER_PEER_MAX: usize = 8;
/// Disk lookups that run for all peers together.
pub const LOOKUPS_MAX: usize = 16;
/// Bytes queued for a peer above which nothing more is read from disk for it.
pub const OUTBOX_BYTES_HIGH: usize = 2 * 1024 * 1024;
/// Messages handed to a connection that it has not finished writing.
pub const OUTBOX_IN_FLIGHT_MAX: usize = 4;

/// Blocks that this node asks the network for at a time.
pub const WANTS_MAX: usize = 1024;
/// DHT queries that callers of this node may have running.
pub const QUERIES_MAX: usize = 256;
/// Pinned roots that are announced to the DHT at a time.
pub const ANNOUNCEMENTS_IN_FLIGHT_MAX: usize = 16;
/// Blocks fetched or cancelled lately, remembered so that a late duplicate is not held against
/// the peer that sends it.
pub const RECENT_BLOCKS_MAX: usize = 4096;
/// Times that a peer may send what was not asked for, or what cannot be decoded, before it is
/// disconnected and not asked any more…
pub const STRIKES_MAX: u32 = 4;

/// How often the driver looks at its clock; the time-outs of bitswap are counted in these.
pub const TICK: Duration = Duration::from_millis(250);
/// Ticks that a peer has for sending a block it was asked for (10 s).
pub const ASK_TICKS: u64 = 40;
/// …and ticks after which one of these times is forgiven (10 min).
pub const STRIKE_TICKS: u64 = 2400;
/// Ticks after which a block that nobody had is asked for again everywhere (2 s).
pub const RETRY_TICKS: u64 = 8;
/// Ticks before a member that could not be reached is dialled again, at first (1 s)…
pub const REDIAL_TICKS_MIN: u64 = 4;
/// …and at most (1 min).
pub const REDIAL_TICKS_MAX: u64 = 240;

/// Members on the allow-list.
pub const MEMBERS_MAX: usize = 1024;
/// Addresses kept for one peer.
pub const ADDRESSES_PER_PEER_MAX: usize = 8;
/// Bytes of one address.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Connections in both directions, including those being negotiated.
pub const CONNECTIONS_MAX: u32 = 256;
/// Connections with one peer (both sides may dial at the same moment).
pub const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Inbound connections that have not finished their handshake.
pub const PENDING_INBOUND_MAX: u32 = 64;
/// Time for the private-network, Noise and Yamux handshakes together.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the listeners to come up when a node starts.
pub const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that one DHT query may take.
pub const DHT_QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands waiting for the network driver.
pub const COMMANDS_MAX: usize = 256;

/// Keys that this node provides in the DHT.
pub const PROVIDED_KEYS_MAX: usize = 1_000_000;
/// Provider records kept for one other peer; its oldest makes room for its newest.
pub const PROVIDER_RECORDS_PER_PEER_MAX: usize = 131_072;
/// Providers kept for one key.
pub const PROVIDERS_PER_KEY_MAX: usize = 20;
/// Bytes of a DHT key.
pub const DHT_KEY_BYTES_MAX: usize = 64;
/// How long a provider record is valid.
pub const PROVIDER_RECORD_TTL: Duration = Duration::from_secs(48 * 3600);
/// How often provided keys are announced again.
pub const PROVIDER_INTERVAL: Duration = Duration::from_secs(12 * 3600);

/// Links of one tree node.
pub const LINKS_PER_NODE_MAX: usize = 8192;
/// Levels of a tree. With this crate's own 174 links per node, four hold 200 TB.
pub const TREE_DEPTH_MAX: usize = 16;
/// Links per tree node that this node writes; the number that Kubo uses.
pub const LINKS_PER_NODE: usize = 174;
/// Largest chunk that may be configured.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Default chunk: one encrypted chunk of a record is one block.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Default of the largest blob that is written or fetched whole.
pub const BLOB_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Default number of blocks that a read has in flight.
pub const WINDOW_BLOCKS: usize = 32;
/// Default number of bytes that a read has in flight.
pub const WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Files that are flushed to the disk at a time before a pin is written.
pub const FLUSHES_AT_ONCE: usize = 8;
/// Pins that one node keeps.
pub const PINS_MAX: usize = PROVIDED_KEYS_MAX;

/// Largest key file (swarm key, identity) that is read.
pub const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Requests to a daemon that run at a time.
pub const KUBO_CALLS_MAX: usize = 16;
/// Time for a connection to a daemon, its TLS handshake included.
pub const KUBO_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an answer of a daemon that does not depend on the size of a blob or on other nodes.
pub const KUBO_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a daemon that is being sent a blob must take some of it, and in which it must
/// answer once it has all.
pub const KUBO_ADD_TIMEOUT: Duration = Duration::from_secs(120);
/// Time that a daemon is given to look on its own disk, where it would otherwise ask other nodes.
pub const KUBO_LOCAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a daemon to set a pin over blocks that it has…
pub const KUBO_PIN_TIMEOUT: Duration = Duration::from_secs(120);
/// …beside a second for so many blocks of the blob.
pub const KUBO_PIN_BLOCKS_PER_SECOND: u64 = 200;
/// Time for a daemon to collect garbage.
pub const KUBO_COLLECT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes of a JSON answer of a daemon.
pub const KUBO_JSON_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the body of an error.
pub const KUBO_ERROR_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one line, where a daemon answers with many.
pub const KUBO_LINE_BYTES_MAX: usize = 64 * 1024;
/// Lines of such an answer.
pub const KUBO_LINES_MAX: usize = 10_000_000;
/// Characters of what a daemon says that get into an error.
pub const KUBO_MESSAGE_CHARS_MAX: usize = 200;
/// Bytes of the headers of an answer.
pub const KUBO_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Connections to a daemon that are kept open without being used, and for how long.
pub const KUBO_IDLE_MAX: usize = 8;
/// See [`KUBO_IDLE_MAX`]. Shorter than the five seconds after which servers in Node close theirs.
pub const KUBO_IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Chunks of a blob that are on their way to a daemon at a time.
pub const KUBO_CHUNKS_IN_FLIGHT: usize = 4;
/// Blocks that a walk over a blob looks at at a time.
pub const KUBO_LOOKS_MAX: usize = 8;
/// How often the connections of a daemon with the members are looked at.
pub const KUBO_REDIAL: Duration = Duration::from_secs(15);
/// Bytes of the files with the authorization and with the authorities of TLS.
pub const KUBO_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Characters of a CID that a daemon writes.
pub const CID_CHARS_MAX: usize = 128;
