//! A peer whose data went wrong: it notices, stops serving, and is rebuilt from its blocks.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod support;

use bytes::Bytes;
use stela_protocol::hash::{self, domain};
use stela_protocol::{ErrorCode, ValidationCode, pb};
use stela_store::layout;
use support::*;

fn of(organizations: &[&'static str]) -> Wish {
    Wish {
        organizations: organizations.to_vec(),
        policy: "'A.peer'",
        orderers: vec![vec![1]],
    }
}

/// A network in which the first peer has committed a few notes.
async fn with_notes(organizations: &[&'static str]) -> (Network, Client) {
    let network = Network::start(of(organizations)).await;
    let client = network.member("A", "client").await;
    for text in ["first", "second", "third"] {
        let put = client.proposal("put", &[text.as_bytes()]);
        assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    }
    (network, client)
}

async fn until_caught_up(network: &Network, name: &'static str) {
    let admin = network.client(name, "admin");
    until("the peer has caught up", || async {
        let (status, height) = (admin.status().await, network.chain.height());
        status.is_ok_and(|status| status.channels.first().is_some_and(|c| c.height == height))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_peer_has_the_same_state_and_its_side_items() {
    let (mut network, client) = with_notes(&["A", "B"]).await;
    let (commitment, item) = side_item(b"kept", &["A", "B"]);
    let mut put = client.proposal("put", &[b"with side data"]);
    put.side = vec![commitment.clone()];
    assert_eq!(
        client.transact(&put, vec![item]).await,
        ValidationCode::Valid
    );
    let before = client.info().await.unwrap();
    let home = &network.homes["A"];
    let (code, words) = home.offline(&["rebuild"]);
    assert_eq!(code, Some(2), "it runs: {words}");
    assert!(words.contains("another process"), "{words}");
    network.stop_peer("A").await;
    let home = &network.homes["A"];
    let (code, words) = home.offline(&["verify"]);
    assert_eq!(code, Some(0), "{words}");
    let (code, words) = home.offline(&["rebuild", "--channel", "care"]);
    assert_eq!(code, Some(0), "{words}");
    let kept = format!("rebuilt from {} blocks", before.height);
    assert!(
        words.contains(&kept) && words.contains("1 side items kept"),
        "{words}"
    );
    let (code, _) = home.offline(&["verify", "--channel", "other"]);
    assert_eq!(code, Some(2));
    network.start_peer("A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    assert_eq!(client.info().await.unwrap(), before);
    let found = client.side(&[commitment.commitment.to_bytes()]).await;
    assert_eq!(found.unwrap()[0].item.as_ref().unwrap().payload, "kept");
    let put = client.proposal("put", &[b"afterwards"]);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_state_halts_the_channel_until_it_was_rebuilt() {
    let (mut network, client) = with_notes(&["A"]).await;
    let before = client.info().await.unwrap();
    network.stop_peer("A").await;
    network.homes["A"].alter(layout::STATE, 0, |value| {
        let last = value.len() - 1;
        value[last] ^= 1;
    });
    let (code, words) = network.homes["A"].offline(&["verify"]);
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("state: an entry of block"), "{words}");
    network.start_peer("A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    let admin = network.client("A", "admin");
    for _ in 0..2 {
        until("the scrub has found it", || async {
            !admin.status().await.unwrap().channels[0].halted.is_empty()
        })
        .await;
        let refused = client.evaluate("get").await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Damaged);
        assert!(refused.message.contains("stela-peer rebuild"), "{refused}");
        // A restart does not help.
        network.restart("A").await;
    }
    network.stop_peer("A").await;
    let (code, words) = network.homes["A"].offline(&["rebuild"]);
    assert_eq!(code, Some(0), "{words}");
    network.start_peer("A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    assert_eq!(client.evaluate("get").await.unwrap().payload, "third");
    assert_eq!(client.info().await.unwrap(), before);
    let status = network.client("A", "admin").status().await.unwrap();
    assert_eq!(status.channels[0].halted, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_damaged_block_on_everything_is_fetched_again() {
    let (mut network, client) = with_notes(&["A"]).await;
    let before = client.info().await.unwrap();
    network.stop_peer("A").await;
    let home = &network.homes["A"];
    home.alter(layout::BLOCKS, 1, |value| {
        let middle = value.len() / 2;
        value[middle] ^= 1;
    });
    let damaged = format!("block {} is damaged", before.height - 2);
    for command in ["verify", "rebuild"] {
        let (code, words) = home.offline(&[command]);
        assert_eq!(code, Some(3), "{words}");
        assert!(words.contains(&damaged), "{words}");
    }
    let (code, words) = home.offline(&["rebuild", "--refetch"]);
    assert_eq!(code, Some(0), "{words}");
    network.start_peer("A").await;
    until_caught_up(&network, "A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    assert_eq!(state_at(&client, &before).await, before.state_hash);
    // Even of block 0 nothing is left but side items: joining again brings the rest.
    network.stop_peer("A").await;
    let home = &network.homes["A"];
    let oldest = before.height as usize - 1;
    home.alter(layout::BLOCKS, oldest, |value| value.truncate(9));
    let (code, words) = home.offline(&["rebuild", "--refetch"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("join the channel again"), "{words}");
    network.start_peer("A").await;
    let admin = network.client("A", "admin");
    admin.join(&network.genesis_bytes()).await.unwrap();
    until_caught_up(&network, "A").await;
    assert_eq!(state_at(&client, &before).await, before.state_hash);
}

/// The state hash at the height that was. A peer that does not find its own registration yet makes
/// it again, so that the chain may have grown.
async fn state_at(client: &Client, before: &pb::ChannelInfoResponse) -> Bytes {
    let request = pb::BlocksRequest {
        header: Some(client.request_header("Blocks")),
        start: before.height - 1,
        end: before.height,
    };
    let request = client.sign(domain::REQUEST, &request);
    let mut blocks = client.gateway().blocks(request).await.unwrap().into_inner();
    let newest = blocks.message().await.unwrap().unwrap();
    let header = newest.block.unwrap().header;
    assert_eq!(hash::header(&header).to_bytes(), before.header_hash);
    newest.state_hash
}

/// The last transaction registers a certificate and writes nothing: its verdict is made another one,
/// and the state hash that of this verdict, so that nothing in the ledger contradicts the rest.
fn misjudge(network: &Network, name: &'static str) {
    let newest = network.chain.height() - 1;
    let block = network.chain.block(newest as usize);
    let home = &network.homes[name];
    let previous = {
        use stela_store::{Direction, KvRead};
        let found = home
            .database()
            .range(layout::CODES, &[], None, 2, Direction::Backward)
            .unwrap();
        let hash: [u8; 32] = found[1].1[1..33].try_into().unwrap();
        stela_protocol::Hash32(hash)
    };
    let wrong = [ValidationCode::InvalidRegistration];
    let number = block.header.number;
    let hash = hash::state(&previous, number, &block.hash, &wrong, []);
    home.alter(layout::CODES, 0, |value| {
        value[1..33].copy_from_slice(&hash.0);
        value[33] = wrong[0] as u8;
    });
    // `head` is the last key while the channel was not halted.
    home.alter(layout::META, 0, |value| {
        let at = 1 + 8 + 32;
        value[at..at + 32].copy_from_slice(&hash.0);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_traffic_finds_out_that_it_is_outvoted_and_a_rebuild_ends_that() {
    let (mut network, client) = with_notes(&["A", "B", "C"]).await;
    network.client("A", "client").register().await;
    for name in ["A", "B", "C"] {
        until_caught_up(&network, name).await;
    }
    let right = client.info().await.unwrap();
    network.stop_peer("A").await;
    misjudge(&network, "A");
    // It asks the others; nobody asks it for anything.
    network.start_peer("A").await;
    let admin = network.client("A", "admin");
    let halted = || async { admin.status().await.unwrap().channels[0].halted.clone() };
    until("it was outvoted", || async { !halted().await.is_empty() }).await;
    assert!(halted().await.contains("majority"), "{}", halted().await);
    network.restart("A").await;
    let admin = network.client("A", "admin");
    let status = admin.status().await.unwrap();
    assert!(status.channels[0].halted.contains("majority"));
    network.stop_peer("A").await;
    let home = &network.homes["A"];
    let (code, words) = home.offline(&["rebuild"]);
    assert_eq!(code, Some(3), "{words}");
    let named = format!("block {}, transaction 0", right.height - 1);
    assert!(
        words.contains(&named) && words.contains("INVALID_REGISTRATION"),
        "{words}"
    );
    let (code, words) = home.offline(&["rebuild", "--accept-differences"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("it has the majority's state now"), "{words}");
    network.start_peer("A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    assert_eq!(client.info().await.unwrap(), right);
    let put = client.proposal("put", &[b"afterwards"]);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lies_about_the_state_outvotes_nobody() {
    let (mut network, client) = with_notes(&["A", "B", "C"]).await;
    let fault = faulty::Fault::Differs { height: u64::MAX };
    network.replace_peer("B", fault).await;
    network.restart("A").await;
    until("it has asked the liar", || async {
        faulty::STATE_HASHES_ASKED.load(std::sync::atomic::Ordering::Relaxed) > 0
    })
    .await;
    let client = network.client_of("A", "A", client.credentials.clone());
    for text in ["one", "two"] {
        let put = client.proposal("put", &[text.as_bytes()]);
        assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    }
    let status = network.client("A", "admin").status().await.unwrap();
    assert_eq!(status.channels[0].halted, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_hashes_are_told_to_members_and_at_no_height_that_is_not_there() {
    let (network, client) = with_notes(&["A", "B"]).await;
    until_caught_up(&network, "A").await;
    let info = client.info().await.unwrap();
    let ask = |of: &'static str, height: u64| {
        let client = network.client_of(of, "A", client.credentials.clone());
        let request = pb::StateHashRequest {
            channel: channel().to_string(),
            height,
        };
        async move { answer(client.endorser().state_hash(request).await) }
    };
    for height in [info.height, info.height + 1, u64::MAX] {
        let told = ask("B", height).await.unwrap();
        assert_eq!(
            (told.height, &told.state_hash),
            (info.height, &info.state_hash)
        );
    }
    let earlier = ask("B", 1).await.unwrap();
    assert!(earlier.height == 1 && earlier.state_hash != info.state_hash);
    assert_eq!(code(ask("B", 0).await), ErrorCode::OutOfRange);
    let nowhere = pb::StateHashRequest {
        channel: "other".to_owned(),
        height: 1,
    };
    let nowhere = answer(client.endorser().state_hash(nowhere).await);
    assert_eq!(code(nowhere), ErrorCode::UnknownChannel);
}

/// The data of a killed rebuild are those of before, or those of after.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_leaves_a_whole_ledger() {
    let (mut network, client) = with_notes(&["A"]).await;
    for number in 0..40 {
        let text = format!("note {number}");
        let put = client.proposal("put", &[text.as_bytes()]);
        assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    }
    let before = client.info().await.unwrap();
    network.stop_peer("A").await;
    let home = &network.homes["A"];
    let config = home.file("127.0.0.1:0".parse().unwrap());
    let rebuild = || {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_stela-peer"));
        program.arg("rebuild").arg("--config").arg(&config);
        program.stdout(std::process::Stdio::null());
        program.spawn().unwrap()
    };
    let begun = tokio::time::Instant::now();
    assert!(rebuild().wait().unwrap().success());
    let whole = begun.elapsed();
    let seed: u64 = rand::random();
    for round in 0..8_u32 {
        let after = whole * (seed.rotate_left(round * 8) as u8 as u32) / 255;
        let mut child = rebuild();
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let (code, words) = home.offline(&["verify"]);
        assert_eq!(code, Some(0), "seed {seed}, round {round}: {words}");
        let height = format!("{} blocks validated again", before.height);
        assert!(
            words.contains(&height),
            "seed {seed}, round {round}: {words}"
        );
    }
    network.start_peer("A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    assert_eq!(client.info().await.unwrap(), before);
    assert!(
        client
            .evaluate("get")
            .await
            .unwrap()
            .payload
            .starts_with(b"note")
    );
}
