//! What one node keeps, and for how long.

mod support;

use proptest::prelude::*;
use stela_ipfs::{
    BlobStore, FetchError, Node, NodeConfig, Pin, PinError, PinKind, PutError, generate_swarm_key,
};
use support::{DEADLINE, Local, block_files, noise, read, start_in};

#[tokio::test]
async fn known_names() {
    let one = Local::start(&generate_swarm_key()).await;
    let check = async |data: &[u8], expect: &str| {
        let cid = one.node.put(&mut &data[..]).await.expect("a blob");
        assert_eq!(cid.to_string(), expect);
        assert_eq!(
            read(&one.node, &cid, DEADLINE).await.expect("the blob"),
            data
        );
    };
    check(
        b"",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    )
    .await;
    check(
        b"hello world",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
    )
    .await;
}

#[tokio::test]
async fn pins_survive_a_restart() {
    let key = generate_swarm_key();
    let one = Local::start(&key).await;
    let peer = one.node.peer_id();
    let data = noise(600_000);
    let permanent = one.node.put(&mut &data[..]).await.expect("a blob");
    let leased = one.node.put(&mut &b"leased"[..]).await.expect("a blob");
    one.node
        .pin(&permanent, PinKind::Permanent)
        .await
        .expect("a pin");
    one.node
        .pin(&leased, PinKind::Leased { until_ms: 1000 })
        .await
        .expect("a pin");
    let pins = one.node.pins().await.expect("pins");
    assert_eq!(pins.len(), 2);
    // Dropped, not shut down.
    drop(one.node);
    let node = start_in(one.folder.path(), &key).await;
    assert_eq!(node.peer_id(), peer);
    assert_eq!(node.pins().await.expect("pins"), pins);

    assert_eq!(
        node.collect_garbage(u64::MAX)
            .await
            .expect("a collection")
            .blocks,
        0
    );
    assert!(node.expire(999).await.expect("leases").is_empty());
    assert_eq!(node.expire(1000).await.expect("leases"), [leased]);
    assert_eq!(
        node.collect_garbage(u64::MAX)
            .await
            .expect("a collection")
            .blocks,
        1
    );
    assert!(!node.has(&leased).await.expect("a look"));
    assert_eq!(
        node.pins().await.expect("pins"),
        [Pin {
            cid: permanent,
            kind: PinKind::Permanent
        }]
    );
    assert_eq!(
        read(&node, &permanent, DEADLINE).await.expect("the blob"),
        data
    );
}

#[tokio::test]
async fn blocks_that_two_blobs_share_stay_while_one_is_pinned() {
    let one = Local::start(&generate_swarm_key()).await;
    let data = noise(600_000);
    let whole = one.node.put(&mut &data[..]).await.expect("a blob");
    let start = one.node.put(&mut &data[..262_144]).await.expect("a blob");
    one.node
        .pin(&whole, PinKind::Permanent)
        .await
        .expect("a pin");
    one.node
        .pin(&start, PinKind::Permanent)
        .await
        .expect("a pin");
    assert!(one.node.unpin(&whole).await.expect("a pin"));
    assert!(!one.node.unpin(&whole).await.expect("no pin"));
    let collected = one
        .node
        .collect_garbage(u64::MAX)
        .await
        .expect("a collection");
    assert_eq!(collected.blocks, 3);
    assert_eq!(block_files(one.folder.path()).len(), 1);
    assert!(one.node.has(&start).await.expect("a look"));
}

#[tokio::test]
async fn what_is_young_is_not_collected() {
    let one = Local::start(&generate_swarm_key()).await;
    let cid = one.node.put(&mut &b"young"[..]).await.expect("a blob");
    let path = block_files(one.folder.path()).remove(0);
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("a file");
    let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    file.set_modified(at(1000)).expect("a time");
    assert_eq!(
        one.node
            .collect_garbage(1_000_000)
            .await
            .expect("a collection")
            .blocks,
        0
    );
    // Writing it again makes it young again.
    one.node.put(&mut &b"young"[..]).await.expect("a blob");
    assert_eq!(
        one.node
            .collect_garbage(1_000_001)
            .await
            .expect("a collection")
            .blocks,
        0
    );
    file.set_modified(at(1000)).expect("a time");
    assert_eq!(
        one.node
            .collect_garbage(1_000_001)
            .await
            .expect("a collection")
            .blocks,
        1
    );
    assert!(!one.node.has(&cid).await.expect("a look"));
}

#[tokio::test]
async fn a_pin_promises_nothing_that_is_not_here() {
    let one = Local::start(&generate_swarm_key()).await;
    let cid = one
        .node
        .put(&mut &noise(600_000)[..])
        .await
        .expect("a blob");
    std::fs::remove_file(block_files(one.folder.path()).remove(0)).expect("a removal");
    let error = one
        .node
        .pin(&cid, PinKind::Permanent)
        .await
        .expect_err("a gap");
    assert!(
        matches!(error, PinError::Incomplete { root, .. } if root == cid),
        "{error}"
    );
    assert!(matches!(
        one.node.stat(&cid).await,
        Err(FetchError::NotFound { .. })
    ));
    assert!(one.node.pins().await.expect("pins").is_empty());
}

#[tokio::test]
async fn a_blob_over_the_limit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = NodeConfig::new(folder.path(), generate_swarm_key());
    config.limits.blob_bytes_max = 1000;
    let node = Node::start(config).await.expect("a node");
    assert!(node.put(&mut &[0; 1000][..]).await.is_ok());
    let error = node.put(&mut &[0; 1001][..]).await;
    assert!(matches!(error, Err(PutError::TooLarge { bytes_max: 1000 })));
}

#[tokio::test]
async fn a_failing_reader_is_reported() {
    let one = Local::start(&generate_swarm_key()).await;
    let mut reader = tokio_test_reader();
    let error = one.node.put(&mut reader).await;
    assert!(matches!(error, Err(PutError::Read(_))));
}

/// A reader that gives some bytes and then fails.
fn tokio_test_reader() -> impl tokio::io::AsyncRead + Send + Unpin {
    struct Failing(bool);
    impl tokio::io::AsyncRead for Failing {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if std::mem::replace(&mut self.0, true) {
                return std::task::Poll::Ready(Err(std::io::Error::other("unplugged")));
            }
            buffer.put_slice(b"some bytes");
            std::task::Poll::Ready(Ok(()))
        }
    }
    Failing(false)
}

/// Sizes at and around the borders of chunks and of tree nodes, for chunks of 64 bytes.
fn sizes() -> impl Strategy<Value = usize> {
    let border = prop_oneof![Just(64usize), Just(64 * 174), Just(64 * 174 * 2)];
    let near = (border, 0usize..4, -2i64..=2).prop_map(|(border, times, offset)| {
        (border * times).saturating_add_signed(offset as isize)
    });
    prop_oneof![near, 0usize..20_000]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_put_comes_back(length in sizes(), from in 0u64..50_000, count in 0u64..50_000) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let mut config = NodeConfig::new(folder.path(), generate_swarm_key());
            config.chunk_bytes = 64;
            config.fsync = false;
            config.limits.window_bytes = 1000;
            let node = Node::start(config).await.expect("a node");
            let data = noise(length);
            let cid = node.put(&mut &data[..]).await.expect("a blob");
            assert_eq!(node.put(&mut &data[..]).await.expect("a blob"), cid);
            assert_eq!(read(&node, &cid, DEADLINE).await.expect("the blob"), data);
            let (start, end) = (from.min(length as u64), (from + count).min(length as u64));
            let part = support::read_range(&node, &cid, from, count).await;
            assert_eq!(part, &data[start as usize..end as usize]);
            let stat = node.stat(&cid).await.expect("sizes");
            assert_eq!(stat.bytes, length as u64);
            assert!(node.has(&cid).await.expect("a look"));
            node.pin(&cid, PinKind::Permanent).await.expect("a pin");
            node.shutdown().await;
        });
    }
}
