//! Hostile members: nodes with the swarm's key, on the allow-list, that do not keep to the
//! protocol. They are made of this crate's own transport and behaviour, driven differently.

use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{self, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::behaviour::{Behaviour, BehaviourEvent};
use super::transport;
use crate::bitswap::{Event, Found, Lookup};
use crate::block::{Block, RAW, raw_cid};
use crate::limits::{FRAME_BYTES_MAX, STRIKES_MAX};
use crate::wire::put_varint;
use crate::{BlobStore, DhtProtocol, FetchError, Member, Node, NodeConfig, SwarmKey};

const DEADLINE: Duration = Duration::from_secs(30);

/// A hostile peer; it stops when this is dropped.
struct Hostile {
    peer: PeerId,
    address: Multiaddr,
    task: AbortHandle,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a swarm that answers lookups as `answer` says.
async fn hostile(
    key: &SwarmKey,
    victim: PeerId,
    mut answer: impl FnMut(&mut Behaviour, Lookup) + Send + 'static,
) -> Hostile {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let protocol = DhtProtocol::Lan.protocol().expect("a protocol");
    let mut swarm = Swarm::new(
        transport::build(&keypair, key).expect("a transport"),
        Behaviour::new(keypair.public(), protocol, 16),
        peer,
        swarm::Config::with_tokio_executor(),
    );
    swarm.behaviour_mut().members.allow_peer(victim);
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address"))
        .expect("a listener");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with(Protocol::P2p(peer));
        }
    };
    let task = tokio::spawn(async move {
        loop {
            let event = swarm.select_next_some().await;
            if let SwarmEvent::Behaviour(BehaviourEvent::Bitswap(Event::Lookup(lookup))) = event {
                answer(swarm.behaviour_mut(), lookup);
            }
        }
    });
    Hostile {
        peer,
        address,
        task: task.abort_handle(),
    }
}

/// A node and a key for the hostile peers around it.
async fn victim(folder: &tempfile::TempDir) -> (Node, SwarmKey) {
    let key = crate::generate_swarm_key();
    let node = Node::start(NodeConfig::new(folder.path(), key.clone()))
        .await
        .expect("a node");
    (node, key)
}

async fn meet(node: &Node, hostile: &Hostile) {
    assert!(
        node.allow(Member {
            peer: hostile.peer,
            addresses: Vec::new()
        })
        .await
    );
    node.connect(hostile.address.clone())
        .await
        .expect("a connection");
}

async fn fetch(node: &Node, cid: &Cid, limit: Duration) -> Result<Bytes, FetchError> {
    let mut reader = node.get(cid, limit).await?;
    Ok(reader.chunk().await?.unwrap_or_default())
}

fn lie(behaviour: &mut Behaviour, lookup: Lookup) {
    let found = if lookup.block {
        Found::Block(Block::hash(RAW, Bytes::from_static(b"something else")))
    } else {
        Found::Present
    };
    behaviour.bitswap.answer(&lookup, found);
}

#[tokio::test]
async fn wrong_bytes_are_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, key) = victim(&folder).await;
    let liar = hostile(&key, node.peer_id(), lie).await;
    meet(&node, &liar).await;

    let cid = raw_cid(b"the truth");
    let result = fetch(&node, &cid, Duration::from_secs(3)).await;
    let error = result.expect_err("nobody has it");
    assert!(
        matches!(error, FetchError::HashMismatch { cid: wrong, peer } if wrong == cid && peer == liar.peer),
        "{error}"
    );
    assert!(error.is_retryable());
    assert!(!node.has(&cid).await.expect("a look"));
    assert!(!node.has(&raw_cid(b"something else")).await.expect("a look"));
    node.shutdown().await;
}

#[tokio::test]
async fn an_honest_member_is_asked_after_a_liar_and_the_liar_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, key) = victim(&folder).await;
    let liar = hostile(&key, node.peer_id(), lie).await;
    meet(&node, &liar).await;
    for name in 0..STRIKES_MAX {
        let cid = raw_cid(&name.to_be_bytes());
        fetch(&node, &cid, Duration::from_millis(300))
            .await
            .expect_err("nobody has it");
    }
    let honest = hostile(&key, node.peer_id(), |behaviour, lookup| {
        let found = Found::Block(Block::hash(RAW, Bytes::from_static(b"the truth")));
        behaviour.bitswap.answer(&lookup, found);
    })
    .await;
    meet(&node, &honest).await;
    let truth = fetch(&node, &raw_cid(b"the truth"), DEADLINE)
        .await
        .expect("the truth");
    assert_eq!(truth, &b"the truth"[..]);
    let cut_off = async {
        while node.stats().peers_misbehaved == 0 {
            let cid = raw_cid(&rand_name());
            let _ = fetch(&node, &cid, Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE, cut_off)
        .await
        .expect("the liar is cut off");
    assert!(node.peers().contains(&honest.peer));
    node.shutdown().await;
}

fn rand_name() -> [u8; 8] {
    let mut name = [0; 8];
    getrandom::fill(&mut name).expect("random numbers");
    name
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_and_its_sender_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, key) = victim(&folder).await;
    let flooder = hostile(&key, node.peer_id(), |behaviour, lookup| {
        let mut frame = Vec::new();
        put_varint(&mut frame, FRAME_BYTES_MAX as u64 + 1);
        frame.resize(1024 * 1024, 0);
        for _ in 0..STRIKES_MAX {
            behaviour.bitswap.send(&lookup.peer, frame.clone().into());
        }
        behaviour.bitswap.answer(&lookup, Found::Missing);
    })
    .await;
    meet(&node, &flooder).await;
    let cut_off = async {
        while node.stats().peers_misbehaved == 0 {
            let cid = raw_cid(&rand_name());
            let _ = fetch(&node, &cid, Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE, cut_off)
        .await
        .expect("the flooder is cut off");
    assert_eq!(node.stats().blocks_received, 0);
    let cid = node.put(&mut &b"still alive"[..]).await.expect("a blob");
    assert_eq!(
        fetch(&node, &cid, DEADLINE).await.expect("the blob"),
        &b"still alive"[..]
    );
    node.shutdown().await;
}

#[tokio::test]
async fn a_silent_member_costs_no_more_than_the_deadline() {
    let folder = tempfile::tempdir().expect("a folder");
    let (node, key) = victim(&folder).await;
    let silent = hostile(&key, node.peer_id(), |_, _| {}).await;
    meet(&node, &silent).await;
    let cid = raw_cid(b"the truth");
    let error = fetch(&node, &cid, Duration::from_millis(500))
        .await
        .expect_err("no answer");
    assert!(matches!(error, FetchError::Timeout { .. }), "{error}");
    node.shutdown().await;
}
