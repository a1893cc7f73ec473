//! A real process whose disk is full: it stops, says so in one line, and has acknowledged nothing
//! that it could not keep.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

mod consortium;
mod network;

use bytes::Bytes;
use consortium::{CHANNEL, registration, sign, transaction};
use network::{Network, wait_for};
use stela_orderer::driver::now_ms;
use stela_protocol::block::Block;

const FAULT: i32 = 7;
/// Less than the transactions of this test take up.
const FILE_BYTES_MAX: u64 = 1 << 20;
const LIMITED: usize = 1;

async fn order(network: &Network, through: usize, envelopes: &[Bytes]) {
    for envelope in envelopes {
        network.broadcast_patiently(through, envelope).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_orderer_and_loses_nothing_that_was_acknowledged() {
    let mut network = Network::start(3).await;
    network.join_all().await;
    let member = network.organization_of(0).member("member", "practitioner");
    let mut envelopes = vec![sign(registration(CHANNEL, &member, now_ms()), &member)];
    order(&network, 0, &envelopes).await;
    network.blocks_with(LIMITED, &envelopes).await;

    network.processes[LIMITED].take().unwrap().kill();
    let before = network.log(LIMITED).len();
    network.launch_limited(LIMITED, FILE_BYTES_MAX);
    let mut stream = wait_for("the orderer to deliver", async || {
        network.deliver(LIMITED, 0).await.ok()
    })
    .await;

    // Whatever it delivers is acknowledged: until its disk is full.
    let acknowledged = tokio::spawn(async move {
        let mut blocks: Vec<Block> = Vec::new();
        while let Ok(Some(block)) = stream.message().await {
            blocks.push(Block::from_pb(block).unwrap());
        }
        blocks
    });
    for _ in 0..40 {
        let envelope = sign(transaction(CHANNEL, &member, now_ms(), 60_000), &member);
        network.broadcast_patiently(0, &envelope).await;
        envelopes.push(envelope);
    }
    let ended = network.processes[LIMITED].take().unwrap().exit().await;
    let said = network.log(LIMITED)[before..].to_owned();
    assert_eq!(ended.code(), Some(FAULT), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("cannot go on") && last.contains("write failed"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    let acknowledged = acknowledged.await.unwrap();
    assert!(acknowledged.len() > 1);

    // The others go on; and it does, when its disk has room.
    let elsewhere = network.blocks_with(2, &envelopes).await;
    network.relaunch(LIMITED).await;
    let blocks = network.blocks_with(LIMITED, &envelopes).await;
    for block in acknowledged.iter().chain(&blocks) {
        let number = block.header.number.0 as usize;
        assert!(
            elsewhere
                .get(number)
                .is_none_or(|same| same.hash == block.hash)
        );
        assert_eq!(blocks[number].hash, block.hash);
    }
    let envelope = sign(transaction(CHANNEL, &member, now_ms(), 10), &member);
    network.broadcast_patiently(LIMITED, &envelope).await;
    let blocks = network.blocks_with(LIMITED, &[envelope]).await;
    assert!(blocks.len() > acknowledged.len());
}
