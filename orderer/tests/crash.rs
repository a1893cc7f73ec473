//! Three processes order together; the leader is killed, and all of them are.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

mod consortium;
mod network;

use std::collections::BTreeSet;

use bytes::Bytes;
use consortium::{CHANNEL, registration, sign, transaction};
use network::{Network, join_request, next_block, wait_for};
use stela_identity::Credentials;
use stela_orderer::channel::Channel;
use stela_orderer::driver::now_ms;
use stela_protocol::block::Block;

/// New members' registrations, each through another orderer that runs.
async fn register(network: &Network, count: usize) -> (Vec<Credentials>, Vec<Bytes>) {
    let running: Vec<usize> = (0..network.processes.len())
        .filter(|n| network.processes[*n].is_some())
        .collect();
    let (mut members, mut envelopes) = (Vec::new(), Vec::new());
    for turn in 0..count {
        let organization = &network.consortium.organizations[turn % 3];
        let member = organization.member(&format!("practitioner{turn}"), "practitioner");
        let envelope = sign(registration(CHANNEL, &member, now_ms()), &member);
        network
            .broadcast_patiently(running[turn % running.len()], &envelope)
            .await;
        members.push(member);
        envelopes.push(envelope);
    }
    (members, envelopes)
}

fn check_chain(network: &Network, blocks: &[Block]) {
    let genesis = consortium::encoded(&network.genesis);
    let channel = Channel::from_genesis(genesis).unwrap();
    assert_eq!(blocks[0].hash, network.genesis.hash);
    for pair in blocks.windows(2) {
        pair[1]
            .check_follows(&pair[0].header, &pair[0].hash)
            .unwrap();
        let mut signers = BTreeSet::new();
        for signature in &pair[1].signatures {
            let bytes = signature.signature.as_ref().try_into().unwrap();
            channel
                .verify(signature.orderer, &pair[1].hash, bytes)
                .unwrap();
            signers.insert(signature.orderer);
        }
        assert!(signers.len() >= channel.config().orderer_quorum);
    }
}

/// Every orderer delivers the same chain with all these envelopes in it.
async fn check_same_everywhere(network: &Network, envelopes: &[Bytes]) -> Vec<Block> {
    let mut chains = Vec::new();
    for n in 0..network.processes.len() {
        chains.push(network.blocks_with(n, envelopes).await);
        check_chain(network, chains.last().unwrap());
    }
    let shortest = chains.iter().map(Vec::len).min().unwrap();
    for chain in &chains {
        let hashes = |chain: &[Block]| chain[..shortest].iter().map(|b| b.hash).collect::<Vec<_>>();
        assert_eq!(hashes(chain), hashes(&chains[0]));
    }
    chains.swap_remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_orderers_come_back_and_nothing_delivered_is_lost() {
    let mut network = Network::start(3).await;
    network.join_all().await;
    let (members, mut envelopes) = register(&network, 9).await;
    check_same_everywhere(&network, &envelopes).await;

    // Registered members may call contracts now, through any orderer.
    for (turn, member) in members.iter().enumerate() {
        let envelope = sign(transaction(CHANNEL, member, now_ms(), 2_000), member);
        network.broadcast_patiently(turn % 3, &envelope).await;
        envelopes.push(envelope);
    }
    let before = check_same_everywhere(&network, &envelopes).await;

    let leader = network.leader(0).await;
    let survivor = (leader + 1) % 3;
    let mut stream = network
        .deliver(survivor, before.len() as u64)
        .await
        .unwrap();
    network.processes[leader].take().unwrap().kill();
    let (_, more) = register(&network, 6).await;
    let next = next_block(&mut stream).await;
    next.check_follows(
        &before[before.len() - 1].header,
        &before[before.len() - 1].hash,
    )
    .unwrap();
    network.blocks_with(survivor, &more).await;
    envelopes.extend(more);

    network.launch(leader);
    let after = check_same_everywhere(&network, &envelopes).await;
    for (block, known) in after.iter().zip(&before) {
        assert_eq!(block.hash, known.hash);
    }

    // Everybody at once.
    for n in 0..3 {
        network.processes[n].take().unwrap().kill();
    }
    (0..3).for_each(|n| network.launch(n));
    let (_, more) = register(&network, 3).await;
    envelopes.extend(more);
    let last = check_same_everywhere(&network, &envelopes).await;
    for (block, known) in last.iter().zip(&after) {
        assert_eq!(block.hash, known.hash);
    }

    // And a clean stop, while streams are open.
    let _stream = network.deliver(0, 0).await.unwrap();
    for n in 0..3 {
        let ended = network.processes[n].take().unwrap().terminate().await;
        assert!(ended.success(), "{}", network.log(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderer_that_joins_late_gets_everything() {
    let network = Network::start(3).await;
    let genesis = consortium::encoded(&network.genesis);
    for n in 0..2 {
        network
            .join(n, &network.admin_of(n), &genesis)
            .await
            .unwrap();
    }
    let mut envelopes = Vec::new();
    for turn in 0..30 {
        let member = network
            .organization_of(0)
            .member(&format!("member{turn}"), "practitioner");
        let envelope = sign(registration(CHANNEL, &member, now_ms()), &member);
        network.broadcast_patiently(turn % 2, &envelope).await;
        envelopes.push(envelope);
    }
    network.blocks_with(0, &envelopes).await;
    network
        .join(2, &network.admin_of(2), &genesis)
        .await
        .unwrap();
    check_same_everywhere(&network, &envelopes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_ordered_side_by_side() {
    let network = Network::start(3).await;
    network.join_all().await;
    let mut config = network.consortium.config();
    config.channel = "research".to_owned();
    let genesis = stela_protocol::config::genesis(&config, network.consortium.now_ms).unwrap();
    for n in 0..3 {
        let admin = network.admin_of(n);
        let genesis = consortium::encoded(&genesis);
        let request = join_request(&admin, "research", &genesis, now_ms());
        network.join_with(n, request).await.unwrap();
    }
    for channel in [CHANNEL, "research"] {
        let member = network.organization_of(1).member("member", "practitioner");
        let envelope = sign(registration(channel, &member, now_ms()), &member);
        wait_for("the envelope to be taken", async || {
            network.broadcast_on(channel, 1, &envelope).await.ok()
        })
        .await;
        for n in 0..3 {
            let mut stream = network.deliver_of(channel, n, 1).await.unwrap();
            let block = next_block(&mut stream).await;
            assert_eq!(block.header.channel.as_str(), channel);
            assert_eq!(block.envelopes, std::slice::from_ref(&envelope));
        }
    }
    assert_eq!(network.status(0).await.unwrap().channels.len(), 2);
}
