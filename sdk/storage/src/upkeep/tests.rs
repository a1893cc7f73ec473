//! What was lost is found, reported and mended; what cannot be written is not acknowledged.

use std::path::{Path, PathBuf};

use stela_ipfs::{BlobStore as _, Cid, FetchError, PinKind, PinningNode as _, StoreError};
use stela_protocol::{ErrorCode, RpcError};

use crate::events::RECORD_CONFIRMED;
use crate::fixture::{Author, World, event, soon, until};
use crate::limits::{ABSENT_TRIES, LEASE_MS, WANTED_PAUSE_MS_MAX};
use crate::report::Report;
use crate::*;

const BLOB_BYTES: usize = 600_000;

/// Three nodes that keep a confirmed record's blob, each found on its own disk.
async fn world_with_blob() -> (World, Author, Cid) {
    let world = soon(World::new(Quotas::default())).await;
    let author = soon(world.author()).await;
    let cid = soon(author.put(1, BLOB_BYTES)).await;
    let doctor = world.member("practitioner");
    let uploader = world.uploader(&doctor);
    let endpoints = world.endpoints(3);
    let held = uploader.upload(&author.node, &cid, BLOB_BYTES as u64, &endpoints, 3);
    soon(held).await.unwrap();
    author.node.shutdown().await;
    for site in 0..3 {
        confirm(&world, site, &cid);
        world.tick(site).await;
        until(async || kind(&world, site, &cid).await == Some(PinKind::Permanent)).await;
        until(async || report(&world, site).await.wanted == 0).await;
    }
    (world, author, cid)
}

fn confirm(world: &World, site: usize, cid: &Cid) {
    let confirmed = event(RECORD_CONFIRMED, cid, world.clock.now_ms());
    let storage = &world.sites[site].storage;
    storage.handle(&confirmed, Replication::All).unwrap();
}

async fn kind(world: &World, site: usize, cid: &Cid) -> Option<PinKind> {
    world.sites[site].node.pinned(cid).await.unwrap()
}

async fn report(world: &World, site: usize) -> Report {
    let admin = world.organizations[site].issue("admin");
    soon(world.client(site, &admin).report()).await.unwrap()
}

/// Goes through one whole reading.
async fn check_all(world: &World, site: usize) {
    while soon(world.sites[site].storage.check_next()).await.is_some() {}
}

fn blocks(world: &World, site: usize) -> Vec<PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let shards = list(&world.sites[site].data.path().join("ipfs/blocks"));
    shards.iter().flat_map(|shard| list(shard)).collect()
}

fn code(error: &CallError) -> ErrorCode {
    match error {
        CallError::Rpc {
            source: RpcError { code, .. },
            ..
        } => *code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_a_disk_lost_is_reported_and_mended_by_another_organization() {
    let (world, _author, cid) = world_with_blob().await;
    check_all(&world, 0).await;
    let clean = report(&world, 0).await;
    let last = clean.last.unwrap();
    assert_eq!((last.blobs, last.lost_blobs, clean.found), (1, 0, 0));
    assert!(last.bytes as usize > BLOB_BYTES && last.ended_ms.is_some());

    // One block damaged, one gone.
    let leaves = blocks(&world, 0);
    let mut leaves = leaves
        .iter()
        .filter(|path| std::fs::metadata(path).unwrap().len() > 10_000);
    let damaged = leaves.next().unwrap();
    let mut block = std::fs::read(damaged).unwrap();
    block[5_000] ^= 1;
    std::fs::write(damaged, block).unwrap();
    std::fs::remove_file(leaves.next().unwrap()).unwrap();

    // Nothing is read before its time.
    check_all(&world, 0).await;
    assert_eq!(report(&world, 0).await.found, 0);
    world.clock.advance(Checking::default().interval_ms());
    check_all(&world, 0).await;
    let lost = report(&world, 0).await;
    assert_eq!((lost.open, lost.found, lost.wanted), (1, 1, 1));
    let loss = &lost.losses[0];
    assert_eq!((&loss.cid, &loss.cause[..]), (&cid.to_string(), "damaged"));
    assert_eq!(
        (loss.missing, loss.damaged, &loss.outcome[..]),
        (2, 1, "open")
    );
    assert_eq!(lost.last.unwrap().lost_blocks, 2);

    world.tick(0).await;
    until(async || report(&world, 0).await.open == 0).await;
    let mended = report(&world, 0).await;
    let loss = &mended.losses[0];
    assert_eq!((loss.blocks, &loss.outcome[..]), (2, "mended"));
    let givers: Vec<_> = loss
        .from
        .iter()
        .map(|giver| &giver.organization[..])
        .collect();
    assert!(!givers.is_empty(), "{loss:?}");
    assert!(
        givers
            .iter()
            .all(|name| ["HospitalB", "HospitalC"].contains(name)),
        "{loss:?}"
    );
    assert_eq!(loss.from.iter().map(|giver| giver.blocks).sum::<u64>(), 2);
    assert!(
        world.sites[0]
            .node
            .check(&cid, u64::MAX)
            .await
            .unwrap()
            .is_whole()
    );
}

#[tokio::test]
async fn what_a_damaged_root_hides_is_mended_too() {
    let (world, _author, cid) = world_with_blob().await;
    for path in blocks(&world, 0) {
        let mut block = std::fs::read(&path).unwrap();
        block[10] ^= 1;
        std::fs::write(path, block).unwrap();
    }
    check_all(&world, 0).await;
    let lost = report(&world, 0).await;
    assert_eq!(
        (lost.losses[0].missing, lost.open),
        (1, 1),
        "the root alone is seen"
    );
    world.tick(0).await;
    until(async || report(&world, 0).await.open == 0).await;
    let mended = report(&world, 0).await;
    assert_eq!(mended.losses[0].blocks, 4);
    let found = world.sites[0].node.check(&cid, u64::MAX).await.unwrap();
    assert!(found.is_whole(), "{found:?}");
}

#[tokio::test]
async fn a_leased_blob_is_checked_too_and_its_loss_is_forgotten_with_its_lease() {
    let world = soon(World::new(Quotas::default())).await;
    let author = soon(world.author()).await;
    let cid = soon(author.put(1, BLOB_BYTES)).await;
    let doctor = world.member("practitioner");
    let endpoints = world.endpoints(1);
    let held = world.uploader(&doctor);
    let held = held.upload(&author.node, &cid, BLOB_BYTES as u64, &endpoints, 1);
    soon(held).await.unwrap();
    for path in blocks(&world, 0) {
        std::fs::remove_file(path).unwrap();
    }
    let site = &world.sites[0];
    site.faulty
        .fail_with(Some(|cid| FetchError::NotFound { cid: *cid }));
    check_all(&world, 0).await;
    assert_eq!(report(&world, 0).await.open, 1);
    world.clock.advance(LEASE_MS);
    world.tick(0).await;
    until(async || report(&world, 0).await.wanted == 0).await;
    assert_eq!(report(&world, 0).await.found, 0);
    assert_eq!(kind(&world, 0, &cid).await, None);
}

#[tokio::test]
async fn what_is_let_go_while_everything_is_read_is_no_loss() {
    let world = soon(World::new(Quotas::default())).await;
    let author = soon(world.author()).await;
    let uploader = world.uploader(&world.member("practitioner"));
    let endpoints = world.endpoints(1);
    let mut blobs = Vec::new();
    for seed in 1..=2 {
        let cid = soon(author.put(seed, BLOB_BYTES)).await;
        let held = uploader.upload(&author.node, &cid, BLOB_BYTES as u64, &endpoints, 1);
        soon(held).await.unwrap();
        blobs.push(cid);
    }
    let site = &world.sites[0];
    let first = soon(site.storage.check_next()).await.unwrap();
    let other = blobs.into_iter().find(|cid| *cid != first).unwrap();
    site.node.unpin(&other).await.unwrap();
    for path in blocks(&world, 0) {
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(soon(site.storage.check_next()).await, Some(other));
    assert_eq!(report(&world, 0).await.found, 0);
}

#[tokio::test]
async fn a_report_is_for_administrators_of_the_nodes_own_organization() {
    let world = soon(World::new(Quotas::default())).await;
    for who in [
        world.organizations[0].issue("practitioner"),
        world.organizations[1].issue("admin"),
    ] {
        let error = soon(world.client(0, &who).report()).await.unwrap_err();
        assert_eq!(code(&error), ErrorCode::Forbidden);
    }
    let report = report(&world, 0).await;
    assert_eq!((&report.organization[..], report.found), ("HospitalA", 0));
    assert!(report.keeps_allow_list && report.last.is_none());
}

#[tokio::test]
async fn a_committed_records_blob_that_nobody_has_is_reported() {
    let (world, author, _) = world_with_blob().await;
    let site = &world.sites[0];
    site.faulty
        .fail_with(Some(|cid| FetchError::NotFound { cid: *cid }));
    let lost: Cid = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
        .parse()
        .unwrap();
    confirm(&world, 0, &lost);
    for tries in 1..=ABSENT_TRIES {
        assert_eq!(report(&world, 0).await.found, 0);
        world.tick(0).await;
        until(async || report(&world, 0).await.missing[0].tries == tries).await;
        world.clock.advance(WANTED_PAUSE_MS_MAX);
    }
    until(async || report(&world, 0).await.open == 1).await;
    let report = report(&world, 0).await;
    assert_eq!(report.losses[0].cause, "absent");
    assert_eq!(
        (&report.missing[0].cid, report.wanted),
        (&lost.to_string(), 1)
    );
    assert!(report.missing[0].permanent && report.missing[0].why.contains("not found"));
    drop(author);

    // One that can never be kept is not tried for ever, and is not forgotten either.
    site.faulty.fail_with(Some(|cid| FetchError::TooLarge {
        cid: *cid,
        bytes_max: 1,
    }));
    world.tick(0).await;
    until(async || self::report(&world, 0).await.losses[0].outcome == "hopeless").await;
    assert_eq!(self::report(&world, 0).await.wanted, 0);
}

#[tokio::test]
async fn a_committed_records_blob_that_nothing_keeps_is_noticed_and_brought() {
    let (world, _author, cid) = world_with_blob().await;
    let storage = &world.sites[0].storage;
    let confirmed = event(RECORD_CONFIRMED, &cid, world.clock.now_ms());
    assert!(!storage.compare(&confirmed, Replication::All).await);
    world.sites[0].node.unpin(&cid).await.unwrap();
    for path in blocks(&world, 0) {
        std::fs::remove_file(path).unwrap();
    }
    let rejected = event("record.rejected", &cid, world.clock.now_ms());
    assert!(!storage.compare(&rejected, Replication::All).await);
    assert!(storage.compare(&confirmed, Replication::All).await);
    assert!(
        !storage.compare(&confirmed, Replication::All).await,
        "it is being brought"
    );
    assert_eq!(report(&world, 0).await.losses[0].cause, "unkept");
    world.tick(0).await;
    until(async || report(&world, 0).await.open == 0).await;
    assert_eq!(kind(&world, 0, &cid).await, Some(PinKind::Permanent));
    assert_eq!(report(&world, 0).await.losses[0].outcome, "mended");
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_acknowledged() {
    let (world, _author, _) = world_with_blob().await;
    let author = soon(world.author()).await;
    let cid = soon(author.put(2, BLOB_BYTES)).await;
    let doctor = world.member("practitioner");
    let endpoints = world.endpoints(1);
    let joined = soon(world.uploader(&doctor).join(&author.node, &endpoints)).await;
    assert!(joined.is_empty(), "{joined:?}");
    let (site, client) = (&world.sites[0], world.client(0, &doctor));
    site.faulty.fail_with(Some(|_| {
        FetchError::Disk(StoreError::Full {
            action: "write",
            path: PathBuf::from("blocks"),
        })
    }));
    let error = soon(client.hold(&cid, BLOB_BYTES as u64))
        .await
        .unwrap_err();
    assert_eq!(code(&error), ErrorCode::Overloaded);
    assert!(
        error.is_retryable() && error.to_string().contains("disk is full"),
        "{error}"
    );
    assert!(!soon(client.has(&cid)).await.unwrap());
    assert_eq!(soon(client.status()).await.unwrap().leased, 0);
    site.faulty.fail_with(None);
    soon(client.hold(&cid, BLOB_BYTES as u64)).await.unwrap();
}

#[tokio::test]
async fn a_write_that_fails_is_no_hold() {
    let world = soon(World::new(Quotas::default())).await;
    let author = soon(world.author()).await;
    let cid = soon(author.put(1, BLOB_BYTES)).await;
    let doctor = world.member("practitioner");
    let endpoints = world.endpoints(1);
    let joined = soon(world.uploader(&doctor).join(&author.node, &endpoints)).await;
    assert!(joined.is_empty(), "{joined:?}");
    let (site, client) = (&world.sites[0], world.client(0, &doctor));
    // The folder in which every file begins is none any more.
    let temp = site.data.path().join("ipfs/temp");
    std::fs::remove_dir(&temp).unwrap();
    std::fs::write(&temp, "").unwrap();
    let error = soon(client.hold(&cid, BLOB_BYTES as u64))
        .await
        .unwrap_err();
    assert_eq!(code(&error), ErrorCode::Internal);
    assert!(!soon(client.has(&cid)).await.unwrap());
    assert_eq!(soon(client.status()).await.unwrap().leased, 0);

    // The blocks come, but the lease cannot be written down: that is no hold either.
    std::fs::remove_file(&temp).unwrap();
    std::fs::create_dir(&temp).unwrap();
    let leases = site.data.path().join("leases");
    std::fs::remove_dir(&leases).unwrap();
    std::fs::write(&leases, "").unwrap();
    let error = soon(client.hold(&cid, BLOB_BYTES as u64))
        .await
        .unwrap_err();
    assert_eq!(code(&error), ErrorCode::Internal);
    assert!(!site.storage.0.leases.contains(&cid));
}
