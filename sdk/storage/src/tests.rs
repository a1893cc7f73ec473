//! Storage nodes of three organizations and a member's node, over real sockets.

use std::sync::Arc;

use prost::Message;
use stela_client::{Checkpoint, Event};
use stela_identity::Credentials;
use stela_identity::tls::{self, Expected};
use stela_ipfs::{BlobStore, Cid, PinKind};
use stela_protocol::transaction::{RequestHeader, TransactionHeader};
use stela_protocol::{BlockNumber, ChannelId, ErrorCode, Nonce, RpcError};
use tonic::transport::Channel;

use crate::events::{RECORD_CONFIRMED, RECORD_ERASED, RECORD_SUBMITTED};
use crate::fixture::{Author, Organization, World, channel, event, soon, until};
use crate::limits::{ADMISSION_MS, LEASE_MS, REQUEST_WINDOW_MS, REVIEW_LEASE_MS};
use crate::upkeep::Handled;
use crate::*;

mod resumed;

const BLOB_BYTES: usize = 600_000;

async fn world() -> World {
    soon(World::new(Quotas::default())).await
}

async fn author_with_blob(world: &World) -> (Author, Cid) {
    let author = soon(world.author()).await;
    let cid = soon(author.put(1, BLOB_BYTES)).await;
    (author, cid)
}

async fn upload(world: &World, by: &Arc<Credentials>, author: &Author, cid: &Cid) -> Holders {
    let endpoints = world.endpoints(2);
    let uploader = world.uploader(by);
    soon(uploader.upload(&author.node, cid, BLOB_BYTES as u64, &endpoints, 2))
        .await
        .unwrap()
}

async fn is_pinned(world: &World, site: usize, cid: &Cid) -> Option<PinKind> {
    let pins = world.sites[site].node.pins().await.unwrap();
    pins.iter().find(|pin| pin.cid == *cid).map(|pin| pin.kind)
}

fn code(error: &CallError) -> ErrorCode {
    match error {
        CallError::Rpc { source, .. } => source.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_upload_is_acknowledged_when_two_organizations_hold_it() {
    let world = world().await;
    let doctor = world.member("practitioner");
    let (author, cid) = author_with_blob(&world).await;
    let holders = upload(&world, &doctor, &author, &cid).await;
    let names: Vec<_> = holders
        .organizations()
        .iter()
        .map(|o| o.to_string())
        .collect();
    assert_eq!(names, ["HospitalA", "HospitalB"]);
    let until_ms = world.clock.now_ms() + LEASE_MS;
    for (site, holder) in holders.0.iter().enumerate() {
        assert_eq!(holder.lease_until_ms, until_ms);
        assert_eq!(
            is_pinned(&world, site, &cid).await,
            Some(PinKind::Leased { until_ms })
        );
    }

    // The author may go; the blob stays.
    author.node.shutdown().await;
    let client = world.client(1, &doctor);
    assert!(soon(client.has(&cid)).await.unwrap());
    let nowhere: Cid = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
        .parse()
        .unwrap();
    assert!(!soon(client.has(&nowhere)).await.unwrap());
    let status = soon(client.status()).await.unwrap();
    assert_eq!(
        (
            status.organization.as_str(),
            status.leased,
            status.permanent
        ),
        ("HospitalB", 1, 0)
    );
    assert_eq!(status.peer_id, world.sites[1].node.peer_id().to_string());
}

#[tokio::test]
async fn an_upload_says_who_holds_it_and_who_does_not() {
    let world = world().await;
    let doctor = world.member("practitioner");
    let (author, cid) = author_with_blob(&world).await;
    let mut endpoints = world.endpoints(2);
    endpoints[1].api = "127.0.0.1:1".to_owned();
    let uploader = world.uploader(&doctor);
    let bytes = BLOB_BYTES as u64;
    let error = soon(uploader.upload(&author.node, &cid, bytes, &endpoints, 2))
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let UploadError::NotHeld {
        holders, failures, ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((holders.len(), failures.len()), (1, 1));
    assert_eq!(failures[0].organization.as_str(), "HospitalB");

    let one = &endpoints[..1];
    let error = soon(uploader.upload(&author.node, &cid, bytes, one, 2))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            UploadError::TooFew {
                needed: 2,
                known: 1
            }
        ),
        "{error}"
    );
    let holders = soon(uploader.upload(&author.node, &cid, bytes, one, 1))
        .await
        .unwrap();
    assert_eq!(holders.0.len(), 1);
}

#[tokio::test]
async fn outsiders_and_other_roles_are_refused() {
    let world = world().await;
    let (author, cid) = author_with_blob(&world).await;
    // The same name, another authority; and a name that no member has.
    for impostor in ["HospitalA", "HospitalX"].map(Organization::new) {
        let client = world.client(0, &impostor.issue("practitioner"));
        let error = soon(client.admit(author.node.peer_id())).await.unwrap_err();
        assert_eq!(code(&error), ErrorCode::UnknownIdentity);
        let error = soon(client.hold(&cid, 1)).await.unwrap_err();
        assert_eq!(code(&error), ErrorCode::UnknownIdentity);
        assert_eq!(
            code(&soon(client.status()).await.unwrap_err()),
            ErrorCode::UnknownIdentity
        );
    }
    // A researcher reads, so her node is let in, but uploads nothing.
    let client = world.client(0, &world.member("researcher"));
    soon(client.admit(author.node.peer_id())).await.unwrap();
    let error = soon(client.hold(&cid, 1)).await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::Forbidden);
    assert!(world.sites[0].node.pins().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_node_that_no_member_vouches_for_does_not_get_in() {
    let world = world().await;
    let author = soon(world.author()).await;
    let site = &world.sites[0];
    author.node.allow(site.endpoint.member()).await;
    let before = site.node.stats().connections_refused;
    let _ = soon(author.node.connect(site.endpoint.addresses[0].clone())).await;
    until(async || site.node.stats().connections_refused > before).await;
    assert!(!site.node.peers().contains(&author.node.peer_id()));

    let doctor = world.member("practitioner");
    let failures = soon(
        world
            .uploader(&doctor)
            .join(&author.node, &world.endpoints(3)),
    )
    .await;
    assert!(failures.is_empty(), "{failures:?}");
    until(async || site.node.peers().contains(&author.node.peer_id())).await;
    world.clock.advance(ADMISSION_MS);
    world.tick(0).await;
    until(async || !site.node.peers().contains(&author.node.peer_id())).await;
}

#[tokio::test]
async fn nobody_keeps_more_than_her_quota() {
    let quotas = Quotas {
        leased_bytes_per_identity: BLOB_BYTES as u64,
        ..Quotas::default()
    };
    let world = soon(World::new(quotas)).await;
    let doctor = world.member("practitioner");
    let (author, cid) = author_with_blob(&world).await;
    upload(&world, &doctor, &author, &cid).await;
    let other = soon(author.put(2, 10)).await;
    let client = world.client(0, &doctor);
    let error = soon(client.hold(&other, 10)).await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::TooLarge);
    assert!(
        error.to_string().contains("LEASED_BYTES_PER_IDENTITY"),
        "{error}"
    );
    assert!(!error.is_retryable());
    // Renewing what is held is no further burden, and a colleague has her own quota.
    soon(client.hold(&cid, BLOB_BYTES as u64)).await.unwrap();
    let colleague = world.client(0, &world.member("device"));
    soon(colleague.hold(&other, 10)).await.unwrap();
    // Once the record is confirmed nobody pays any more.
    let confirmed = event(RECORD_CONFIRMED, &cid, world.clock.now_ms());
    world.sites[0]
        .storage
        .handle(&confirmed, Replication::All)
        .unwrap();
    world.tick(0).await;
    until(async || is_pinned(&world, 0, &cid).await == Some(PinKind::Permanent)).await;
    until(async || client.hold(&other, 10).await.is_ok()).await;
}

#[tokio::test]
async fn a_blob_has_the_size_that_it_is_said_to_have() {
    let world = world().await;
    let doctor = world.member("practitioner");
    let (author, cid) = author_with_blob(&world).await;
    let uploader = world.uploader(&doctor);
    assert!(
        soon(uploader.join(&author.node, &world.endpoints(1)))
            .await
            .is_empty()
    );
    let client = world.client(0, &doctor);
    let error = soon(client.hold(&cid, 10)).await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::TooLarge);
    assert!(
        !soon(client.has(&cid)).await.unwrap(),
        "nothing beyond the root was fetched"
    );
    assert_eq!(soon(client.status()).await.unwrap().leased, 0);
}

#[tokio::test]
async fn a_lease_ends_and_gives_its_room_back() {
    let quotas = Quotas {
        leased_bytes_per_identity: BLOB_BYTES as u64,
        ..Quotas::default()
    };
    let world = soon(World::new(quotas)).await;
    let doctor = world.member("practitioner");
    let (author, cid) = author_with_blob(&world).await;
    upload(&world, &doctor, &author, &cid).await;
    world.clock.advance(LEASE_MS - 1);
    world.tick(0).await;
    assert!(is_pinned(&world, 0, &cid).await.is_some());
    world.clock.advance(1);
    world.tick(0).await;
    assert_eq!(is_pinned(&world, 0, &cid).await, None);
    let other = soon(author.put(2, 10)).await;
    let uploader = world.uploader(&doctor);
    soon(uploader.upload(&author.node, &other, 10, &world.endpoints(1), 1))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_ledger_makes_a_blob_permanent_everywhere() {
    let world = world().await;
    let doctor = world.member("practitioner");
    let (author, cid) = author_with_blob(&world).await;
    upload(&world, &doctor, &author, &cid).await;
    author.node.shutdown().await;
    let now_ms = world.clock.now_ms();
    let submitted = event(RECORD_SUBMITTED, &cid, now_ms);
    let confirmed = event(RECORD_CONFIRMED, &cid, now_ms);
    let third = &world.sites[2].storage;

    // A node whose duty is only what was uploaded to it does nothing; the submission makes the
    // others keep the blob for the review.
    assert_eq!(
        third.handle(&confirmed, Replication::Held).unwrap(),
        Handled::Nothing
    );
    assert_eq!(
        third.handle(&submitted, Replication::All).unwrap(),
        Handled::Wanted
    );
    world.tick(2).await;
    let review = PinKind::Leased {
        until_ms: now_ms + REVIEW_LEASE_MS,
    };
    until(async || is_pinned(&world, 2, &cid).await == Some(review)).await;

    // Delivered twice, as may happen.
    for (site, storage) in world.sites.iter().map(|site| &site.storage).enumerate() {
        assert_eq!(
            storage.handle(&confirmed, Replication::All).unwrap(),
            Handled::Wanted
        );
        storage.handle(&confirmed, Replication::All).unwrap();
        world.tick(site).await;
        until(async || is_pinned(&world, site, &cid).await == Some(PinKind::Permanent)).await;
    }
    world.clock.advance(REVIEW_LEASE_MS + 1);
    world.tick(2).await;
    assert_eq!(is_pinned(&world, 2, &cid).await, Some(PinKind::Permanent));
    let rejected = event("record.rejected", &cid, now_ms);
    assert_eq!(
        third.handle(&rejected, Replication::All).unwrap(),
        Handled::Nothing
    );
}

/// The same event at another place of the chain.
fn at_block(event: Event, block: u64) -> Event {
    let checkpoint = Checkpoint {
        block: BlockNumber(block),
        ..event.checkpoint
    };
    Event {
        checkpoint,
        ..event
    }
}

#[tokio::test]
async fn an_erased_blob_is_let_go_and_comes_back_only_for_another_record() {
    let world = world().await;
    let doctor = world.member("practitioner");
    let (author, cid) = author_with_blob(&world).await;
    upload(&world, &doctor, &author, &cid).await;
    let storage = &world.sites[0].storage;
    let now_ms = world.clock.now_ms();
    let confirmed = |block| at_block(event(RECORD_CONFIRMED, &cid, now_ms), block);
    let keep = |event: &Event| storage.handle(event, Replication::All).unwrap();
    assert_eq!(keep(&confirmed(5)), Handled::Wanted);
    world.tick(0).await;
    until(async || is_pinned(&world, 0, &cid).await == Some(PinKind::Permanent)).await;

    let mut erased = at_block(event(RECORD_ERASED, &cid, now_ms), 6);
    erased.payload = format!(r#"{{"patient":"p","record":"r","cids":["{cid}"]}}"#).into();
    // Delivered twice, as may happen.
    for _ in 0..2 {
        let Handled::LetGo(cids) = keep(&erased) else {
            panic!("it is let go")
        };
        storage.let_go(&cids).await.unwrap();
    }
    assert_eq!(is_pinned(&world, 0, &cid).await, None);
    // What the ledger said before does not bring it back.
    assert_eq!(keep(&confirmed(5)), Handled::Nothing);
    assert!(!storage.compare(&confirmed(5), Replication::All).await);
    world.tick(0).await;
    assert_eq!(is_pinned(&world, 0, &cid).await, None);
    // Another record that names it afterwards does.
    assert_eq!(keep(&confirmed(7)), Handled::Wanted);
    world.tick(0).await;
    until(async || is_pinned(&world, 0, &cid).await == Some(PinKind::Permanent)).await;
}

#[tokio::test]
async fn a_blob_that_nobody_has_yet_is_tried_again() {
    let world = world().await;
    let (author, cid) = author_with_blob(&world).await;
    let confirmed = event(RECORD_CONFIRMED, &cid, world.clock.now_ms());
    let handled = world.sites[2]
        .storage
        .handle(&confirmed, Replication::All)
        .unwrap();
    assert_eq!(handled, Handled::Wanted);
    world.tick(2).await;
    // Only now does it come within reach.
    upload(&world, &world.member("practitioner"), &author, &cid).await;
    until(async || {
        world.clock.advance(1_000);
        world.tick(2).await;
        is_pinned(&world, 2, &cid).await == Some(PinKind::Permanent)
    })
    .await;
}

type RawClient = pb::storage_client::StorageClient<Channel>;

/// Requests as an attacker could send them.
struct Raw<'a> {
    world: &'a World,
    credentials: Arc<Credentials>,
}

impl Raw<'_> {
    fn connect(&self, site: usize) -> RawClient {
        let endpoint = &self.world.sites[site].endpoint;
        let expected = Expected::of(&endpoint.organization);
        RawClient::new(tls::connect(&self.world.tls(0), &endpoint.api, expected).unwrap())
    }

    /// A request for the first node, changed before it is signed.
    fn request(&self, change: impl FnOnce(&mut pb::StatusRequest)) -> pb::SignedRequest {
        let sources = self.world.clock.sources();
        let header = TransactionHeader {
            channel: channel(),
            nonce: sources.nonce(),
            creator: self.credentials.fingerprint(),
            timestamp_ms: sources.now_ms(),
        };
        let header = RequestHeader {
            header,
            method: "Status".to_owned(),
        }
        .to_pb();
        let node = self.world.sites[0].node.peer_id().to_string();
        let head = pb::Head {
            header: Some(header),
            node,
        };
        let mut request = pb::StatusRequest { head: Some(head) };
        change(&mut request);
        self.world.client(0, &self.credentials).sign(&request)
    }

    async fn send(&self, site: usize, request: &pb::SignedRequest) -> Result<(), ErrorCode> {
        let mut client = self.connect(site);
        let answer = soon(client.status(request.clone())).await;
        answer
            .map(|_| ())
            .map_err(|status| RpcError::from(status).code)
    }
}

fn header(request: &mut pb::StatusRequest) -> &mut stela_protocol::pb::RequestHeader {
    request.head.as_mut().unwrap().header.as_mut().unwrap()
}

#[tokio::test]
async fn a_request_counts_once_for_one_node_now() {
    let world = world().await;
    let raw = Raw {
        world: &world,
        credentials: world.member("practitioner"),
    };
    let good = raw.request(|_| {});
    assert_eq!(
        raw.send(1, &good).await,
        Err(ErrorCode::Forbidden),
        "it is for another node"
    );
    assert_eq!(raw.send(0, &good).await, Ok(()));
    assert_eq!(raw.send(0, &good).await, Err(ErrorCode::Replayed));
    world.clock.advance(REQUEST_WINDOW_MS);
    assert_eq!(raw.send(0, &good).await, Err(ErrorCode::Replayed));
    world.clock.advance(1);
    assert_eq!(raw.send(0, &good).await, Err(ErrorCode::Expired));

    let check = async |expect, change: fn(&mut pb::StatusRequest)| {
        assert_eq!(raw.send(0, &raw.request(change)).await, Err(expect));
    };
    check(ErrorCode::Expired, |r| {
        header(r).timestamp_ms += REQUEST_WINDOW_MS + 1
    })
    .await;
    check(ErrorCode::Malformed, |r| {
        header(r).method = "Hold".to_owned()
    })
    .await;
    check(ErrorCode::Malformed, |r| {
        header(r).creator = vec![0; 32].into()
    })
    .await;
    check(ErrorCode::Malformed, |r| {
        header(r).nonce = vec![0; 3].into()
    })
    .await;
    check(ErrorCode::Malformed, |r| r.head = None).await;
    check(ErrorCode::Malformed, |r| {
        r.head.as_mut().unwrap().header = None
    })
    .await;
    check(ErrorCode::UnknownChannel, |r| {
        header(r).channel = ChannelId::new("other").unwrap().to_string();
    })
    .await;
    check(ErrorCode::Forbidden, |r| {
        r.head.as_mut().unwrap().node = "nobody".to_owned()
    })
    .await;
}

#[tokio::test]
async fn forged_and_oversized_requests_are_refused() {
    let world = world().await;
    let raw = Raw {
        world: &world,
        credentials: world.member("practitioner"),
    };
    let check = async |expect, change: &dyn Fn(&mut pb::SignedRequest)| {
        let mut request = raw.request(|_| {});
        change(&mut request);
        assert_eq!(raw.send(0, &request).await, Err(expect));
    };
    let other = world.member("practitioner");
    check(ErrorCode::BadSignature, &|r| {
        r.signature = vec![0; 64].into()
    })
    .await;
    check(ErrorCode::BadSignature, &|r| {
        r.signature = vec![0; 63].into()
    })
    .await;
    check(ErrorCode::BadSignature, &|r| {
        r.certificate = other.certificate.der().clone()
    })
    .await;
    check(ErrorCode::Malformed, &|r| {
        r.certificate = vec![0x30; 100].into()
    })
    .await;
    check(ErrorCode::BadSignature, &|r| {
        let mut body = pb::StatusRequest::decode(r.payload.clone()).unwrap();
        header(&mut body).nonce = Nonce([9; 24]).to_bytes();
        r.payload = body.encode_to_vec().into();
    })
    .await;
    let large = vec![0; limits::REQUEST_BYTES_MAX + 1];
    check(ErrorCode::TooLarge, &|r| r.payload = large.clone().into()).await;

    // Names that are no peer ids and no CIDs.
    let client = world.client(0, &raw.credentials);
    let head = pb::StatusRequest::decode(raw.request(|_| {}).payload)
        .unwrap()
        .head;
    let mut admit = pb::AdmitRequest {
        head,
        peer_id: "../etc".to_owned(),
    };
    admit.head.as_mut().unwrap().header.as_mut().unwrap().method = "Admit".to_owned();
    let status = soon(raw.connect(0).admit(client.sign(&admit)))
        .await
        .unwrap_err();
    assert_eq!(RpcError::from(status).code, ErrorCode::Malformed);
}

#[tokio::test]
async fn the_configuration_says_who_is_in_the_swarm() {
    let mut world = world().await;
    let doctor = world.member("practitioner");
    let author = soon(world.author()).await;
    let site = &world.sites[0];
    let (second, third) = (world.sites[1].node.peer_id(), world.sites[2].node.peer_id());
    until(async || site.node.peers().contains(&second) && site.node.peers().contains(&third)).await;
    assert!(
        soon(
            world
                .uploader(&doctor)
                .join(&author.node, &world.endpoints(1))
        )
        .await
        .is_empty()
    );
    // A member's word changes nothing about a storage node.
    soon(world.client(0, &doctor).admit(third)).await.unwrap();
    assert!(!site.storage.0.admissions.lock().contains(&third));

    // The third organization's storage leaves, and the member's certificate is revoked.
    world.config.sequence += 1;
    world.config.organizations[2].storage.clear();
    world.config.organizations[0].revoked = vec![doctor.fingerprint().to_bytes()];
    let config = world.channel();
    let site = &world.sites[0];
    assert!(soon(site.storage.reconfigure(&config)).await.unwrap());
    assert!(
        !soon(site.storage.reconfigure(&config)).await.unwrap(),
        "it is in force already"
    );
    until(async || !site.node.peers().contains(&third)).await;
    until(async || !site.node.peers().contains(&author.node.peer_id())).await;
    until(async || site.node.peers().contains(&second)).await;
    let error = soon(world.client(0, &doctor).status()).await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::UnknownIdentity);
}
