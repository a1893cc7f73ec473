//! Orderers, validators and clients in one process, from one seed.
//!
//! What runs is the real thing: the orderers' chain with its Raft, admission, queue, cutter,
//! signatures and log, the peers' validation and commit path, and the stores' twin in memory. Keys
//! and signatures are real. What a seed chooses is only what these are given from outside: the
//! time, what the network loses, repeats, delays and reorders, who cannot reach whom, when a
//! machine crashes and what its disk had not synced, when a disk is full, and what clients do. The
//! contract is run natively ([`contract`](self), three functions), not in WebAssembly, and there is
//! no gateway between a client, the endorsers and the orderers.
//!
//! There is no thread, no clock and no other randomness, so a seed gives the same events, byte for
//! byte, on every machine: their running hash says so.
//!
//! | After every step | At the end |
//! |---|---|
//! | one hash for each block number, wherever it is committed | all of these blocks are on all orderers and validators |
//! | one state hash at each height | counters and entries are those of the valid transactions, once each |
//! | an orderer's signature leaves only when the block is durable there | no quorum has signed another block |
//! | one verdict for each acknowledged transaction | every validator has that verdict |
//! | a forged envelope is not admitted | a validator that joins late finds the same states |
//! | nobody stops but for a crash or a full disk | everybody has caught up and serves, soon after the last fault |

mod check;
mod client;
mod consortium;
mod contract;
pub mod limits;
mod message;
mod orderer;
mod place;
mod random;
mod trace;
mod validator;
mod weather;
mod witness;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::consortium::new_certificates;
use self::limits::{CALM_MS_MAX, LOOK_EVERY_MS, START_MS, STORM_MS_MAX, STORM_MS_MIN};
use self::world::World;

/// What a seed did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The running hash over everything that happened.
    pub trace: [u8; 32],
    /// One line for each event, if they were asked for.
    pub lines: Vec<String>,
    /// How often each kind of thing happened.
    pub tally: BTreeMap<&'static str, u64>,
}

/// Something that must not happen.
#[derive(Debug, Clone, thiserror::Error)]
#[error("seed {seed}, {after_ms} ms after the start: {what}")]
pub struct Violation {
    /// The seed that finds it again.
    pub seed: u64,
    /// Simulated milliseconds.
    pub after_ms: u64,
    /// What.
    pub what: String,
    /// What happened before, if it was asked for.
    pub lines: Vec<String>,
}

/// Runs one seed.
///
/// # Errors
/// [`Violation`] says which promise was broken, a panic in a node among them.
pub fn simulate(seed: u64, with_lines: bool) -> Result<Outcome, Violation> {
    let violation = |after_ms, what, lines| Violation {
        seed,
        after_ms,
        what,
        lines,
    };
    let mut world = World::new(seed, with_lines)
        .map_err(|error| violation(0, format!("{error:#}"), Vec::new()))?;
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut world)));
    let after_ms = world.now - START_MS;
    let (trace, lines) = world.trace.finish();
    match played {
        Ok(Ok(())) => Ok(Outcome {
            trace,
            lines,
            tally: world.tally,
        }),
        Ok(Err(error)) => Err(violation(after_ms, format!("{error:#}"), lines)),
        Err(panic) => Err(violation(after_ms, words(panic.as_ref()), lines)),
    }
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let storm_ms = world.random.between(STORM_MS_MIN, STORM_MS_MAX);
    world.run(world.now + storm_ms)?;
    world.calm_down();
    let deadline = world.now + CALM_MS_MAX;
    while !world.is_settled() {
        if world.now >= deadline {
            anyhow::bail!("no rest after the storm: {}", world.unsettled());
        }
        world.run(world.now + LOOK_EVERY_MS)?;
    }
    world.check()
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a node fell: {}", text.unwrap_or("without a word"))
}
