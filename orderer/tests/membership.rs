//! Real processes whose configuration changes while they order: an orderer comes, another one goes,
//! certificates are revoked.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

mod consortium;
mod network;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consortium::{CHANNEL, registration, sign, transaction};
use network::{Network, code, next_block, wait_for};
use parking_lot::Mutex;
use stela_identity::{Configuration, Credentials, config_update};
use stela_orderer::driver::now_ms;
use stela_protocol::block::Block;
use stela_protocol::hash::domain;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::broadcast_client::BroadcastClient;
use stela_protocol::pb::consensus_client::ConsensusClient;
use stela_protocol::pb::deliver_client::DeliverClient;
use stela_protocol::{ErrorCode, RpcError, pb};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const WRITERS: usize = 3;

/// Clients that write all the time, each the same envelope again and again, through one orderer
/// after the other, until it sees it in a block: then it is acknowledged.
struct Load {
    stop: CancellationToken,
    seen: Arc<Mutex<HashSet<Bytes>>>,
    writers: JoinSet<Vec<Bytes>>,
    readers: JoinSet<()>,
}

impl Load {
    fn start(channels: &[Channel], member: &Arc<Credentials>) -> Self {
        let mut load = Self {
            stop: CancellationToken::new(),
            seen: Arc::default(),
            writers: JoinSet::new(),
            readers: JoinSet::new(),
        };
        for channel in channels {
            load.readers.spawn(read(channel.clone(), load.seen.clone()));
        }
        for n in 0..WRITERS {
            let (channels, member) = (channels.to_vec(), member.clone());
            let (seen, stop) = (load.seen.clone(), load.stop.clone());
            load.writers.spawn(write(n, channels, member, seen, stop));
        }
        load
    }

    fn acknowledged(&self) -> usize {
        self.seen.lock().len()
    }

    /// Waits until that many more envelopes are in blocks.
    async fn more(&self, count: usize) {
        let goal = self.acknowledged() + count;
        wait_for("the load to go on", async || {
            (self.acknowledged() >= goal).then_some(())
        })
        .await;
    }

    async fn end(mut self) -> Vec<Bytes> {
        self.stop.cancel();
        let mut acknowledged = Vec::new();
        while let Some(written) = self.writers.join_next().await {
            acknowledged.extend(written.unwrap());
        }
        acknowledged
    }
}

async fn read(channel: Channel, seen: Arc<Mutex<HashSet<Bytes>>>) {
    let mut start = 0;
    loop {
        let mut client =
            DeliverClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = pb::DeliverRequest {
            channel: CHANNEL.to_owned(),
            start,
        };
        if let Ok(stream) = client.deliver(request).await {
            let mut stream = stream.into_inner();
            while let Ok(Some(block)) = stream.message().await {
                seen.lock().extend(block.envelopes);
                start += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn write(
    n: usize,
    channels: Vec<Channel>,
    member: Arc<Credentials>,
    seen: Arc<Mutex<HashSet<Bytes>>>,
    stop: CancellationToken,
) -> Vec<Bytes> {
    let mut acknowledged = Vec::new();
    while !stop.is_cancelled() {
        let envelope = sign(transaction(CHANNEL, &member, now_ms(), 200), &member);
        let mut turn = n;
        while !seen.lock().contains(&envelope) {
            let mut client = BroadcastClient::new(channels[turn % channels.len()].clone());
            turn += 1;
            let request = pb::BroadcastRequest {
                channel: CHANNEL.to_owned(),
                envelope: envelope.clone(),
            };
            let _ = tokio::time::timeout(Duration::from_secs(2), client.broadcast(request)).await;
            for _ in 0..100 {
                if seen.lock().contains(&envelope) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        acknowledged.push(envelope);
    }
    acknowledged
}

/// Each block follows the one before it and is signed by a quorum of the orderers that were in
/// force before it.
fn check_chain(network: &Network, blocks: &[Block]) {
    assert_eq!(blocks[0].hash, network.genesis.hash);
    let mut in_force = network.first_configuration();
    for pair in blocks.windows(2) {
        pair[1]
            .check_follows(&pair[0].header, &pair[0].hash)
            .unwrap();
        let mut signers = BTreeSet::new();
        for signature in &pair[1].signatures {
            let bytes = signature.signature.as_ref();
            let identity = in_force.orderer(signature.orderer).unwrap();
            identity
                .verify(domain::HEADER, pair[1].hash.as_bytes(), bytes)
                .unwrap();
            signers.insert(signature.orderer);
        }
        assert!(signers.len() >= in_force.config().orderer_quorum);
        let new = config_update::follow(&in_force, pair[0].header.last_config, &pair[1]).unwrap();
        in_force = new.unwrap_or(in_force);
    }
}

async fn height(network: &Network, n: usize) -> Option<u64> {
    let status = network.status(n).await.ok()?;
    Some(status.channels.first()?.height)
}

/// Orderer `n` has what the others have now.
async fn wait_until_caught_up(network: &Network, n: usize, with: usize) {
    let goal = wait_for("a height", async || height(network, with).await).await;
    wait_for("the orderer to catch up", async || {
        height(network, n).await.filter(|height| *height >= goal)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderer_comes_and_another_goes_while_they_order() {
    let mut network = Network::start(3).await;
    network.join_all().await;
    let member = Arc::new(network.organization_of(0).member("member", "practitioner"));
    let registers = sign(registration(CHANNEL, &member, now_ms()), &member);
    network.broadcast_patiently(0, &registers).await;
    network.blocks_with(0, &[registers]).await;
    let channels: Vec<Channel> = (0..3).map(|n| network.connect(n)).collect();
    let load = Load::start(&channels, &member);
    load.more(60).await;

    // A fourth orderer, of an organization that is new too. It is far behind everybody's log.
    let first = network.first_configuration();
    let fourth = network.add_orderer().await;
    let refused = network.join_later(fourth, &first).await;
    assert_eq!(code(refused), ErrorCode::Forbidden);
    let second = network.reconfigure(0, &first).await;
    network.join_later(fourth, &second).await.unwrap();
    wait_until_caught_up(&network, fourth, 0).await;
    let log = network.log(fourth);
    assert!(
        log.contains("behind the leader's log; fetching blocks"),
        "{log}"
    );
    wait_for("the snapshot to be taken", async || {
        let log = network.log(fourth);
        log.contains("caught up with the leader's log")
            .then_some(())
    })
    .await;
    load.more(20).await;

    // It takes three of four now: with one killed, the new one has to do its part.
    let leader = network.leader(0).await;
    network.processes[leader].take().unwrap().kill();
    load.more(20).await;
    network.relaunch(leader).await;
    wait_until_caught_up(&network, leader, fourth).await;

    // The second one goes, whether it leads or not, and hears of it.
    network.consortium.removed.insert(2);
    let third = network.reconfigure(0, &second).await;
    assert_eq!(third.config().orderers.len(), 3);
    wait_for("the orderer to hear that it was removed", async || {
        let log = network.log(1);
        log.contains("this orderer was removed").then_some(())
    })
    .await;
    assert!(network.processes[1].as_mut().unwrap().is_running());
    load.more(20).await;

    // Another leader is killed, and what is left of the three is enough.
    let leader = network.leader(0).await;
    assert_ne!(leader, 1);
    network.processes[leader].take().unwrap().kill();
    load.more(20).await;
    network.relaunch(leader).await;
    let acknowledged = load.end().await;

    let members = [0, 2, fourth];
    let mut chains = Vec::new();
    for n in members {
        let blocks = network.blocks_with(n, &acknowledged).await;
        check_chain(&network, &blocks);
        chains.push(blocks);
    }
    let shortest = chains.iter().map(Vec::len).min().unwrap();
    for chain in &chains {
        for (block, same) in chain[..shortest].iter().zip(&chains[0]) {
            assert_eq!(block.hash, same.hash);
        }
    }

    // What was removed can still be read there, up to the block that says so, and nothing is taken.
    let envelope = sign(transaction(CHANNEL, &member, now_ms(), 1), &member);
    let error = network.broadcast(1, &envelope).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let mut stream = network.deliver(1, 1).await.unwrap();
    assert_eq!(next_block(&mut stream).await.hash, chains[0][1].hash);
    let ended = network.processes[1].take().unwrap().terminate().await;
    assert!(ended.success(), "{}", network.log(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderer_that_was_away_when_it_was_removed_hears_of_it() {
    let mut network = Network::start(3).await;
    network.join_all().await;
    network.leader(0).await;
    network.processes[2].take().unwrap().kill();
    let first = network.first_configuration();
    network.consortium.removed.insert(3);
    network.reconfigure(0, &first).await;
    network.relaunch(2).await;
    wait_for("the orderer to hear that it was removed", async || {
        let log = network.log(2);
        log.contains("this orderer was removed").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_revoked_is_shut_out_of_what_is_open_too() {
    let mut network = Network::start(3).await;
    network.join_all().await;
    let first = network.first_configuration();
    let revoked = network.organization_of(1).tls("client");
    let honest = network.organization_of(1).tls("other");
    let orderer = network.consortium.orderers[2].tls.clone();
    let fingerprints = [(1, revoked.fingerprint()), (2, orderer.fingerprint())];
    let deliver = async |identity| {
        let request = pb::DeliverRequest {
            channel: CHANNEL.to_owned(),
            start: 0,
        };
        let mut client = DeliverClient::new(network.connect_as(0, identity));
        client
            .deliver(request)
            .await
            .map(|stream| stream.into_inner())
    };
    let mut shut = deliver(revoked.clone()).await.unwrap();
    let mut open = deliver(honest).await.unwrap();
    next_block(&mut shut).await;
    next_block(&mut open).await;
    // And what an orderer says to another one, whose end it waits for.
    let (keep, messages) = tokio::sync::mpsc::channel(1);
    let mut client = ConsensusClient::new(network.connect_as(0, orderer));
    let says = tokio::spawn(async move { client.step(ReceiverStream::new(messages)).await });

    network.consortium.revoked.extend(fingerprints);
    network.reconfigure(0, &first).await;
    let ended = loop {
        match tokio::time::timeout(network::PATIENCE, shut.message())
            .await
            .expect("an end in time")
        {
            Ok(block) => assert!(block.is_some(), "it says why"),
            Err(status) => break RpcError::from(status),
        }
    };
    // Each is told why, unless its connection is cut before that.
    let shut_out = |code| matches!(code, ErrorCode::Forbidden | ErrorCode::Unavailable);
    assert!(shut_out(ended.code), "{ended}");
    let ended = tokio::time::timeout(network::PATIENCE, says).await;
    let ended = RpcError::from(ended.expect("an end in time").unwrap().unwrap_err());
    assert!(shut_out(ended.code), "{ended}");
    drop(keep);

    // No new connection either; everybody else goes on.
    wait_for("TLS to follow", async || {
        let mut client = DeliverClient::new(network.connect_as(0, revoked.clone()));
        let request = pb::DeliverRequest {
            channel: CHANNEL.to_owned(),
            start: 0,
        };
        client.deliver(request).await.is_err().then_some(())
    })
    .await;
    let member = network.organization_of(0).member("member", "practitioner");
    let registers = sign(registration(CHANNEL, &member, now_ms()), &member);
    network.broadcast_patiently(0, &registers).await;
    loop {
        if next_block(&mut open).await.envelopes.contains(&registers) {
            break;
        }
    }
}

#[tokio::test]
async fn changes_that_may_not_be_made_are_refused_at_once() {
    let network = Network::start(1).await;
    network.join_all().await;
    network.leader(0).await;
    let first = network.first_configuration();
    let config = network.consortium.config();
    let refused = async |current: &Configuration, config: pb::ChannelConfig, by: &Credentials| {
        let envelope = consortium::update(current, config, by, now_ms());
        let error = network.broadcast(0, &envelope).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ConfigRefused, "{error}");
        assert!(!error.is_retryable());
    };
    let practitioner = network
        .organization_of(0)
        .member("practitioner", "practitioner");
    refused(&first, config.clone(), &practitioner).await;
    let mut quorum = config.clone();
    quorum.orderer_quorum = 2;
    refused(&first, quorum, &network.admin_of(0)).await;
    let mut other = config.clone();
    other.admin_policy = "'HospitalA.member'".to_owned();
    let other = Configuration::new(prost_bytes(&other)).unwrap();
    refused(&other, config, &network.admin_of(0)).await;
}

fn prost_bytes(config: &pb::ChannelConfig) -> Bytes {
    stela_protocol::Message::encode_to_vec(config).into()
}
