//! Nodes of one swarm exchange blobs, and outsiders do not.

mod support;

use std::time::Duration;

use stela_ipfs::{
    BlobStore, ConnectError, FetchError, Member, Node, NodeConfig, PinKind, generate_swarm_key,
};
use support::{DEADLINE, Local, block_files, join, noise, read, read_range, wait};

const SHORT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn two_nodes_exchange_a_blob_of_many_blocks() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    join(&one, &two).await;
    let data = noise(5_000_000);
    let cid = one.node.put(&mut &data[..]).await.expect("a blob");
    assert!(!two.node.has(&cid).await.expect("a look"));

    assert_eq!(
        read(&two.node, &cid, DEADLINE).await.expect("the blob"),
        data
    );
    assert!(two.node.has(&cid).await.expect("a look"));
    assert_eq!(
        two.node.stat(&cid).await.expect("sizes"),
        one.node.stat(&cid).await.expect("sizes")
    );
    assert_eq!(two.node.stat(&cid).await.expect("sizes").bytes, 5_000_000);
    assert_eq!(two.node.stats().blocks_received, 21);
    // Once here, it is read without anybody's help.
    one.node.shutdown().await;
    assert_eq!(
        read(&two.node, &cid, DEADLINE).await.expect("the blob"),
        data
    );
}

#[tokio::test]
async fn three_nodes_share_the_work() {
    let key = generate_swarm_key();
    let nodes = [
        Local::start(&key).await,
        Local::start(&key).await,
        Local::start(&key).await,
    ];
    join(&nodes[0], &nodes[2]).await;
    join(&nodes[1], &nodes[2]).await;
    let data = noise(5_000_000);
    let cid = nodes[0].node.put(&mut &data[..]).await.expect("a blob");
    assert_eq!(
        nodes[1].node.put(&mut &data[..]).await.expect("a blob"),
        cid
    );

    nodes[2]
        .node
        .fetch_and_pin(&cid, PinKind::Permanent, DEADLINE)
        .await
        .expect("the blob");
    assert!(nodes[2].node.has(&cid).await.expect("a look"));
    let served = |node: &Local| node.node.stats().blocks_served;
    assert!(served(&nodes[0]) + served(&nodes[1]) >= 21);
    assert_eq!(nodes[2].node.pins().await.expect("pins").len(), 1);
}

#[tokio::test]
async fn a_range_fetches_only_its_blocks() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    join(&one, &two).await;
    let data = noise(5_000_000);
    let cid = one.node.put(&mut &data[..]).await.expect("a blob");
    let part = read_range(&two.node, &cid, 1_000_000, 300_000).await;
    assert_eq!(part, &data[1_000_000..1_300_000]);
    // The root, and the blocks 3 and 4 of 256 KiB.
    assert_eq!(two.node.stats().blocks_received, 3);
    assert_eq!(
        read_range(&two.node, &cid, 4_999_990, 100).await,
        &data[4_999_990..]
    );
    assert_eq!(read_range(&two.node, &cid, 6_000_000, 100).await, b"");
}

#[tokio::test]
async fn providers_are_found_through_a_third_node() {
    let key = generate_swarm_key();
    let (a, b, c) = (
        Local::start(&key).await,
        Local::start(&key).await,
        Local::start(&key).await,
    );
    // A knows where B is, and B knows where C is.
    join(&a, &b).await;
    join(&b, &c).await;
    let data = noise(1_000_000);
    let cid = c.node.put(&mut &data[..]).await.expect("a blob");
    wait("provider record", async || {
        c.node.provide(&cid, DEADLINE).await.expect("a record");
        let found = b
            .node
            .find_providers(&cid, DEADLINE)
            .await
            .expect("an answer");
        found == [c.node.peer_id()]
    })
    .await;
    assert_eq!(a.node.peers(), [b.node.peer_id()]);
    // A and C learn each other's name, but only the DHT tells where they are.
    a.node.allow(c.name()).await;
    c.node.allow(a.name()).await;
    assert_eq!(read(&a.node, &cid, DEADLINE).await.expect("the blob"), data);
    assert!(a.node.peers().contains(&c.node.peer_id()));
    assert_eq!(b.node.stats().blocks_served, 0);
    let found = a
        .node
        .find_providers(&cid, DEADLINE)
        .await
        .expect("an answer");
    assert_eq!(found, [c.node.peer_id()]);
}

#[tokio::test]
async fn a_provider_that_is_not_on_the_list_is_named() {
    let key = generate_swarm_key();
    let (a, b, c) = (
        Local::start(&key).await,
        Local::start(&key).await,
        Local::start(&key).await,
    );
    join(&a, &b).await;
    join(&b, &c).await;
    let cid = c.node.put(&mut &b"ciphertext"[..]).await.expect("a blob");
    wait("provider record", async || {
        c.node.provide(&cid, DEADLINE).await.expect("a record");
        !a.node
            .find_providers(&cid, DEADLINE)
            .await
            .expect("an answer")
            .is_empty()
    })
    .await;
    let error = read(&a.node, &cid, SHORT)
        .await
        .expect_err("C is an outsider to A");
    let expect = c.node.peer_id();
    assert!(
        matches!(error, FetchError::NotAllowed { peer, .. } if peer == expect),
        "{error}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn pinned_roots_are_announced_to_who_comes_later() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    let cid = one.node.put(&mut &b"ciphertext"[..]).await.expect("a blob");
    one.node.pin(&cid, PinKind::Permanent).await.expect("a pin");
    one.node.shutdown().await;
    let one = Local {
        node: support::start_in(one.folder.path(), &key).await,
        folder: one.folder,
    };
    join(&one, &two).await;
    wait("announcement", async || {
        let found = two
            .node
            .find_providers(&cid, DEADLINE)
            .await
            .expect("an answer");
        found == [one.node.peer_id()]
    })
    .await;
}

#[tokio::test]
async fn an_outsider_with_another_swarm_key_is_refused() {
    let one = Local::start(&generate_swarm_key()).await;
    let outsider = Local::start(&generate_swarm_key()).await;
    one.node.allow(outsider.name()).await;
    outsider.node.allow(one.name()).await;
    let cid = one.node.put(&mut &b"ciphertext"[..]).await.expect("a blob");
    let address = one.node.listen_addresses().remove(0);
    let error = outsider
        .node
        .connect(address)
        .await
        .expect_err("no handshake");
    assert!(matches!(error, ConnectError::Failed { .. }), "{error}");
    assert!(read(&outsider.node, &cid, SHORT).await.is_err());
    assert!(one.node.peers().is_empty() && outsider.node.peers().is_empty());
    assert_eq!(one.node.stats().blocks_served, 0);
    wait("refusal", async || one.node.stats().connections_refused > 0).await;
}

#[tokio::test]
async fn an_outsider_with_the_key_but_not_on_the_list_is_refused() {
    let key = generate_swarm_key();
    let (one, outsider) = (Local::start(&key).await, Local::start(&key).await);
    outsider.node.allow(one.member()).await;
    let cid = one.node.put(&mut &b"ciphertext"[..]).await.expect("a blob");
    wait("refusal", async || one.node.stats().connections_refused > 0).await;
    assert!(read(&outsider.node, &cid, SHORT).await.is_err());
    assert!(one.node.peers().is_empty());
    assert_eq!(one.node.stats().blocks_served, 0);
    // Nor does the node itself dial anybody who is not on the list.
    let address = outsider.node.listen_addresses().remove(0);
    let error = one.node.connect(address).await.expect_err("not a member");
    assert!(matches!(error, ConnectError::NotAllowed { .. }), "{error}");
}

#[tokio::test]
async fn who_connects_many_times_at_once_is_connected() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    two.node.allow(one.name()).await;
    one.node.allow(two.name()).await;
    let address = two.node.listen_addresses().remove(0);
    let dials = (0..32).map(|_| one.node.connect(address.clone()));
    for connected in futures::future::join_all(dials).await {
        assert_eq!(connected.expect("a connection"), two.node.peer_id());
    }
}

#[tokio::test]
async fn disallowing_a_member_closes_its_connection() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    join(&one, &two).await;
    let cid = one.node.put(&mut &b"ciphertext"[..]).await.expect("a blob");
    one.node.disallow(two.node.peer_id()).await;
    wait("disconnection", async || one.node.peers().is_empty()).await;
    assert!(read(&two.node, &cid, SHORT).await.is_err());
    assert_eq!(one.node.stats().blocks_served, 0);
    one.node.allow(two.name()).await;
    assert_eq!(
        read(&two.node, &cid, DEADLINE).await.expect("the blob"),
        b"ciphertext"
    );
}

#[tokio::test]
async fn a_member_that_comes_back_is_found_again() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    join(&one, &two).await;
    let listen = two.node.listen_addresses();
    two.node.shutdown().await;
    wait("disconnection", async || one.node.peers().is_empty()).await;
    let mut config = NodeConfig::new(two.folder.path(), key);
    config.listen = listen
        .into_iter()
        .map(|mut address| {
            address.pop();
            address
        })
        .collect();
    config.members = vec![one.name()];
    let two = Node::start(config).await.expect("a node");
    wait("connection", async || one.node.peers() == [two.peer_id()]).await;
}

#[tokio::test]
async fn a_missing_block_is_an_error_at_the_deadline() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    let other = Local::start(&key).await;
    let data = noise(1_000_000);
    let cid = other.node.put(&mut &data[..]).await.expect("a blob");

    let error = read(&one.node, &cid, SHORT)
        .await
        .expect_err("nobody is there");
    assert!(
        matches!(error, FetchError::NotFound { cid: missing } if missing == cid),
        "{error}"
    );
    assert!(error.is_retryable());
    join(&one, &two).await;
    let error = read(&one.node, &cid, SHORT)
        .await
        .expect_err("nobody has it");
    assert!(
        matches!(error, FetchError::NotFound { cid: missing } if missing == cid),
        "{error}"
    );
    let error = one
        .node
        .fetch_and_pin(&cid, PinKind::Permanent, SHORT)
        .await;
    assert!(matches!(error, Err(FetchError::NotFound { .. })));
    assert!(one.node.pins().await.expect("pins").is_empty());
}

#[tokio::test]
async fn a_member_with_a_gap_gives_what_it_has() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    join(&one, &two).await;
    let data = noise(1_000_000);
    let cid = one.node.put(&mut &data[..]).await.expect("a blob");
    let leaf = block_files(one.folder.path())
        .into_iter()
        .find(|path| std::fs::metadata(path).expect("a file").len() == 262_144);
    std::fs::remove_file(leaf.expect("a leaf")).expect("a removal");
    let error = two
        .node
        .fetch_and_pin(&cid, PinKind::Permanent, SHORT)
        .await
        .expect_err("a gap");
    assert!(
        matches!(error, FetchError::NotFound { cid: missing } if missing != cid),
        "{error}"
    );
    // The blob comes to the one that lacks it, and what waits for it gets it.
    let fetching = two.node.fetch_and_pin(&cid, PinKind::Permanent, DEADLINE);
    let mut reader = &data[..];
    let mending = one.node.put(&mut reader);
    let (fetched, mended) = tokio::join!(fetching, mending);
    assert_eq!(mended.expect("a blob"), cid);
    fetched.expect("the blob");
}

#[tokio::test]
async fn a_flipped_byte_is_noticed_when_a_peer_asks_and_is_not_served() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    join(&one, &two).await;
    let cid = one.node.put(&mut &b"ciphertext"[..]).await.expect("a blob");
    std::fs::write(block_files(one.folder.path()).remove(0), b"ciphertexu").expect("a block");
    assert!(one.node.has(&cid).await.expect("a look"));
    let error = read(&two.node, &cid, SHORT)
        .await
        .expect_err("it is damaged");
    assert!(matches!(error, FetchError::NotFound { .. }), "{error}");
    assert!(!one.node.has(&cid).await.expect("a look"));
    assert_eq!(one.node.damaged().await.expect("a list"), [cid]);
    assert_eq!(one.node.stats().blocks_served, 0);
    assert_eq!(two.node.stats().blocks_received, 0);
}

#[tokio::test]
async fn a_flipped_byte_is_found_by_a_check_and_repaired() {
    let key = generate_swarm_key();
    let (one, two) = (Local::start(&key).await, Local::start(&key).await);
    let data = noise(1_000_000);
    let cid = one.node.put(&mut &data[..]).await.expect("a blob");
    two.node.put(&mut &data[..]).await.expect("a blob");
    two.node.pin(&cid, PinKind::Permanent).await.expect("a pin");
    for path in block_files(two.folder.path()) {
        let mut block = std::fs::read(&path).expect("a block");
        let middle = block.len() / 2;
        block[middle] ^= 1;
        std::fs::write(&path, block).expect("a block");
    }
    let verification = two.node.verify(&cid).await.expect("a check");
    assert_eq!(verification.damaged, [cid]);
    assert_eq!(two.node.damaged().await.expect("a list").len(), 1);
    assert!(!two.node.has(&cid).await.expect("a look"));
    assert!(two.node.collect_garbage(u64::MAX).await.is_err());

    join(&one, &two).await;
    // What is damaged is never served: the other node does not lose what it has to it.
    assert_eq!(
        read(&one.node, &cid, DEADLINE).await.expect("the blob"),
        data
    );
    two.node
        .fetch_and_pin(&cid, PinKind::Permanent, DEADLINE)
        .await
        .expect("the root");
    let verification = two.node.verify(&cid).await.expect("a check");
    assert_eq!(verification.damaged.len(), 4);
    two.node
        .fetch_and_pin(&cid, PinKind::Permanent, DEADLINE)
        .await
        .expect("the blob");
    assert_eq!(
        read(&two.node, &cid, DEADLINE).await.expect("the blob"),
        data
    );
    assert!(two.node.damaged().await.expect("a list").is_empty());
    assert_eq!(two.node.stats().blocks_served, 0);
}

#[tokio::test]
async fn a_node_that_is_shut_down_says_so() {
    let one = Local::start(&generate_swarm_key()).await;
    let cid = one.node.put(&mut &b"ciphertext"[..]).await.expect("a blob");
    let busy = Node::start(NodeConfig::new(one.folder.path(), generate_swarm_key())).await;
    assert!(busy.is_err_and(|error| error.is_retryable()));
    one.node.shutdown().await;
    one.node.shutdown().await;
    assert!(one.node.listen_addresses().is_empty());
    let other = Local::start(&generate_swarm_key()).await;
    let missing = other.node.put(&mut &b"other"[..]).await.expect("a blob");
    let error = read(&one.node, &missing, DEADLINE)
        .await
        .expect_err("no network");
    assert!(matches!(error, FetchError::Stopped), "{error}");
    assert!(one.node.provide(&cid, DEADLINE).await.is_err());
    let name = Member {
        peer: other.node.peer_id(),
        addresses: Vec::new(),
    };
    assert!(!one.node.allow(name).await);
}
