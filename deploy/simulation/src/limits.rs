//! How long and how large a simulation is. Times are simulated milliseconds.

/// When every simulation begins.
pub const START_MS: u64 = 1_800_000_000_000;
/// The shortest storm.
pub const STORM_MS_MIN: u64 = 6_000;
/// The longest storm.
pub const STORM_MS_MAX: u64 = 12_000;
/// After the last fault everything has to be as it should within this time.
pub const CALM_MS_MAX: u64 = 40_000;
/// How often it is looked whether everything is as it should be.
pub const LOOK_EVERY_MS: u64 = 250;

/// The channel's transaction window.
pub const WINDOW_MS: u64 = 60_000;
/// How far a machine's clock is off at most, either way. With a leader's clock as the block's time,
/// honest transactions are in the window as long as twice this is less than the window.
pub const CLOCK_OFF_MS_MAX: u64 = 25_000;
/// Transactions of a block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 8;

/// In how many simulations the orderers' logs are so short that whoever falls behind fetches
/// blocks.
pub const SHORT_LOG_PER_MILLE: u64 = 500;
/// Entries that such a log keeps at most.
pub const SHORT_LOG_ENTRIES_MAX: u64 = 12;

/// How often the weather may change.
pub const CHANGE_EVERY_MS: u64 = 500;
/// The longest that a message is under way when the network is slow.
pub const SPIKE_MS_MAX: u64 = 2_000;
/// The shortest time until a crashed machine starts again.
pub const DOWN_MS_MIN: u64 = 100;
/// The longest.
pub const DOWN_MS_MAX: u64 = 4_000;
/// The longest that a machine stands still.
pub const PAUSE_MS_MAX: u64 = 3_000;
/// Unsynced writes that a crash may spare.
pub const SPARED_WRITES_MAX: u64 = 3;

/// How often a validator asks for blocks.
pub const POLL_EVERY_MS: u64 = 90;
/// Without a new block for so long, a validator asks another orderer.
pub const SOURCE_PATIENCE_MS: u64 = 1_200;
/// The longest between two actions of a client.
pub const CLIENT_PAUSE_MS_MAX: u64 = 240;
/// Calls that a client has open at a time.
pub const OPEN_CALLS_MAX: usize = 8;
/// How long a client waits for endorsements.
pub const ENDORSE_PATIENCE_MS: u64 = 1_500;
/// How long a client goes on with one transaction.
pub const COMMIT_PATIENCE_MS: u64 = 15_000;
/// Old envelopes that a client keeps to send them once more.
pub const OLD_ENVELOPES_MAX: usize = 32;
/// Counters that all clients add to.
pub const COUNTERS: u64 = 3;
/// Entries that the contract can have; no simulation makes so many.
pub const ENTRIES_MAX: usize = 10_000;
/// Entries at the end of a log in which a signed block is looked for.
pub const LOG_TAIL_ENTRIES: usize = 64;
/// Steps that one orderer takes on end before it is taken for caught in a circle.
pub const STEPS_MAX: usize = 10_000;
