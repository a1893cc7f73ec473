//! Every bound of this crate; those of the network are in [`stela_protocol::limits`].

use std::time::Duration;

/// Endpoints of one gateway.
pub const ENDPOINTS_MAX: usize = 16;
/// Commitments that one call asks for; longer lists are asked for in several calls.
pub const SIDE_ITEMS_PER_CALL_MAX: usize = stela_protocol::limits::SIDE_ITEMS_MAX;
/// Channels that a node's status may list.
pub const CHANNELS_MAX: usize = 1024;
/// Packages that a node's status may list.
pub const PACKAGES_MAX: usize = 4096;
/// Changes through which a configuration is followed at once.
pub const CONFIG_CHANGES_MAX: usize = 65_536;
/// Bytes of a file with a proposed change of a configuration.
pub const UPDATE_FILE_BYTES_MAX: usize = 8 << 20;
/// Bytes of a file with a receipt.
pub const RECEIPT_FILE_BYTES_MAX: usize = 32 << 20;
/// Hashes of the path from a transaction to the root over its block.
pub const RECEIPT_PATH_MAX: usize = 32;
/// How long one call waits for another configuration.
pub const CONFIG_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a checkpoint file.
pub const CHECKPOINT_BYTES_MAX: u64 = 512;
/// Blocks that are read together when a transaction is explained.
pub const EXPLAIN_PAGE: u64 = 64;
/// Blocks that are looked at to explain one transaction.
pub const EXPLAIN_BLOCKS_MAX: u64 = 20_000;
/// Changes of one key or range that are named; the newest ones.
pub const EXPLAIN_CHANGES_MAX: usize = 4;
/// Transactions that are undone to find out what a range held.
pub const EXPLAIN_ROLLBACKS_MAX: usize = 1_000;
/// Attempts in a row that bring no block, after which a bounded stream of blocks gives up.
pub const BLOCK_ATTEMPTS_MAX: u32 = 8;
/// The first pause before something is tried again.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// The longest pause before something is tried again.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// How much longer than a server may wait with its answer the client waits for it.
pub const ANSWER_GRACE: Duration = Duration::from_secs(2);
