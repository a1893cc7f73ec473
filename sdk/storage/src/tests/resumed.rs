//! Holds that are cut off and go on.

use super::*;
use parking_lot::Mutex;

/// Leaves of the blob; each is a block of its own.
const LEAVES: usize = 20;
/// Those that the author's node does not give at first.
const HIDDEN: usize = 8;
const BYTES: usize = LEAVES * 262_144;

#[tokio::test]
async fn a_hold_that_was_cut_off_goes_on_after_a_restart_with_what_is_here() {
    let mut world = world().await;
    let doctor = world.member("practitioner");
    let author = soon(world.author()).await;
    let cid = soon(author.put(1, BYTES)).await;
    let hidden = author.hide_leaves(HIDDEN);
    let endpoints = world.endpoints(1);
    let uploader = world.uploader(&doctor);
    assert!(
        soon(uploader.join(&author.node, &endpoints))
            .await
            .is_empty()
    );
    let client = world.client(0, &doctor);
    assert_eq!(soon(client.stored_bytes(&cid)).await.unwrap(), 0);
    let holding = tokio::spawn({
        let client = client.clone();
        async move { client.hold(&cid, BYTES as u64).await }
    });
    let received = |world: &World| world.sites[0].node.stats().blocks_received;
    until(async || received(&world) == (LEAVES - HIDDEN + 1) as u64).await;
    let leaves = ((LEAVES - HIDDEN) * 262_144) as u64;
    until(async || {
        client
            .stored_bytes(&cid)
            .await
            .is_ok_and(|here| here > leaves)
    })
    .await;
    assert!(!soon(client.has(&cid)).await.unwrap());
    holding.abort();

    world.restart(0, Quotas::default()).await;
    hidden.show();
    let seen = Mutex::new(Vec::new());
    let watch = |_: &_, here: u64| seen.lock().push(here);
    let bytes = BYTES as u64;
    soon(uploader.upload_watched(&author.node, &cid, bytes, &endpoints, 1, &watch))
        .await
        .unwrap();
    assert_eq!(received(&world), HIDDEN as u64, "only what was missing");
    assert!(soon(client.has(&cid)).await.unwrap());
    let seen = seen.into_inner();
    assert!(seen.is_sorted() && seen.last() == Some(&bytes), "{seen:?}");
}
