//! A peer that is killed again and again, at any moment of its commits.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stela_protocol::hash::{self, domain};
use stela_protocol::pb;
use support::process::endorsed_note;
use support::*;

/// How often the peer is killed.
const ROUNDS: u64 = 25;
/// Blocks that are there for the peer in each round, so that it is busy with commits.
const BLOCKS_PER_ROUND: usize = 40;
/// After at most so many milliseconds of commits it is killed.
const KILL_AFTER_MS_MAX: u64 = 60;

/// What a client has, who follows events and is killed herself from time to time.
#[derive(Default)]
struct Follower {
    /// What she has done for good, in order.
    done: Mutex<Vec<Bytes>>,
    /// Her checkpoint on disk, written after the work: it may be one event behind it.
    saved: Mutex<Option<pb::Checkpoint>>,
    finished: AtomicBool,
    streams: AtomicU64,
}

impl Follower {
    /// Follows until everything is done, and begins again from the checkpoint after each break.
    async fn follow(&self, client: &Client, mut random: StdRng) {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while !self.finished.load(Ordering::Relaxed) {
            pause.tick().await;
            // A peer that is down, or not back yet, is asked again.
            let _ = self.read(client, &mut random).await;
        }
    }

    async fn read(&self, client: &Client, random: &mut StdRng) -> Option<()> {
        let after = *self.saved.lock();
        let request = pb::EventsRequest {
            header: Some(client.request_header("Events")),
            contract: "notes".to_owned(),
            after,
            start_block: 1,
        };
        let signed = client.sign(domain::REQUEST, &request);
        let mut stream = answer(client.gateway().events(signed).await).ok()?;
        self.streams.fetch_add(1, Ordering::Relaxed);
        loop {
            // She looks up now and then whether she is wanted any more.
            let next = tokio::time::timeout(Duration::from_millis(200), stream.message()).await;
            let event = match next {
                Err(_) if self.finished.load(Ordering::Relaxed) => return None,
                Err(_) => continue,
                Ok(event) => event.ok()??,
            };
            let checkpoint = event.checkpoint.unwrap();
            let place = |c: &pb::Checkpoint| (c.block, c.transaction, c.event);
            assert!(
                after.is_none_or(|after| place(&checkpoint) > place(&after)),
                "an event from before the checkpoint"
            );
            self.done.lock().push(event.payload);
            if random.random_bool(0.02) {
                // Killed after the work and before the checkpoint is saved.
                return None;
            }
            *self.saved.lock() = Some(checkpoint);
        }
    }
}

/// The peer's state is that of one that was never killed, and a client who follows its events from
/// her checkpoint has each of them at least once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_killed_at_any_moment_loses_nothing_and_its_events_go_on() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let wish = Wish {
        organizations: vec!["A", "B"],
        policy: "'A.peer'",
        orderers: vec![vec![1]],
    };
    let mut network = Network::start(wish).await;
    let client = network.member("A", "client").await;
    let package = hash::package(&contract::package());
    let mut process = network.as_process("A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    let follower = Arc::new(Follower::default());
    let following = {
        let (follower, client) = (follower.clone(), client.clone());
        let random = StdRng::seed_from_u64(random.random());
        tokio::spawn(async move { follower.follow(&client, random).await })
    };
    let mut written = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..BLOCKS_PER_ROUND {
            let count = random.random_range(1..4_usize);
            let texts = written.len()..written.len() + count;
            let envelopes = texts.map(|number| {
                let text = Bytes::from(format!("note {number}"));
                let envelope = endorsed_note(&network, &client, &package, &text);
                written.push(text);
                envelope
            });
            let envelopes = envelopes.collect();
            network.chain.append_block(envelopes);
        }
        let before = height(&client).await;
        until("the peer commits", || async {
            height(&client).await > before || height(&client).await == network.chain.height()
        })
        .await;
        // The moment of the fault, drawn at random; nothing is waited for.
        let after_ms = random.random_range(0..KILL_AFTER_MS_MAX);
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        process.kill();
        process = network.homes["A"].spawn(network.addresses["A"]);
    }
    let expected = written;
    until("the peer has caught up", || async {
        height(&client).await == network.chain.height()
    })
    .await;
    until("all events have come", || async {
        follower.done.lock().last() == expected.last()
    })
    .await;
    follower.finished.store(true, Ordering::Relaxed);
    following.await.unwrap();
    let mut done = std::mem::take(&mut *follower.done.lock());
    let times = done.len();
    // One may come again after a break, next to itself.
    done.dedup();
    assert_eq!(done, expected, "seed {seed}");
    let streams = follower.streams.load(Ordering::Relaxed);
    assert!(times - expected.len() <= streams as usize, "seed {seed}");
    let at_b = network.client_of("A", "B", client.credentials.clone());
    until("the other peer has caught up", || async {
        height(&at_b).await == network.chain.height()
    })
    .await;
    let (killed, never) = (client.info().await.unwrap(), at_b.info().await.unwrap());
    assert_eq!(killed, never, "seed {seed}");
    process.kill();
    let (code, words) = network.homes["A"].offline(&["verify"]);
    assert_eq!(code, Some(0), "seed {seed}: {words}");
}

/// How many blocks a peer has; none while it does not answer.
async fn height(client: &Client) -> u64 {
    client.info().await.map_or(0, |info| info.height)
}
