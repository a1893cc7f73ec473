//! Some hundred seeds, and that a seed is the same each time.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

use std::collections::BTreeMap;

use stela_simulation::{Outcome, simulate};

/// Seeds that have found something, with what it was. What a seed does changes with the simulation;
/// each of these faults has a test of its own where it was mended.
const FOUND: &[(u64, &str)] = &[
    (460, "a fetched block was signed before it was durable"),
    (
        1615,
        "the same, with the block before it short of signatures",
    ),
];

fn play(seed: u64) -> Outcome {
    simulate(seed, false).unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn a_seed_is_the_same_byte_for_byte() {
    for seed in [1, 77, 4_711] {
        let (one, two) = (play(seed), play(seed));
        assert_eq!(one, two, "seed {seed}");
        assert_ne!(one.trace, play(seed + 1).trace);
    }
}

#[test]
fn no_promise_is_broken_under_any_seed() {
    let mut total = BTreeMap::new();
    for seed in 1..=150 {
        for (what, count) in play(seed).tally {
            *total.entry(what).or_insert(0) += count;
        }
    }
    println!("{total:#?}");
    // A storm that does nothing finds nothing.
    for what in [
        "VALID",
        "MVCC_READ_CONFLICT",
        "PHANTOM_READ_CONFLICT",
        "ENDORSEMENT_POLICY_FAILURE",
        "DUPLICATE_TXID",
        "acknowledged",
        "answers with fetched blocks",
        "blocks out of place",
        "clock jumps",
        "crashes",
        "envelopes refused",
        "full disks",
        "leaders",
        "lost messages",
        "outages",
        "partitions",
        "pauses",
        "repeated messages",
        "snapshots",
    ] {
        assert!(total.get(what).is_some_and(|count| *count > 0), "no {what}");
    }
}

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, what) in FOUND {
        println!("seed {seed}: {what}");
        play(*seed);
    }
}
