//! A configuration that changes while the channel runs, over TLS on loopback.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod support;

use bytes::Bytes;
use prost::Message;
use stela_identity::config_update;
use stela_protocol::config_update::{ConfigSignature, ConfigUpdate};
use stela_protocol::hash::domain;
use stela_protocol::{ErrorCode, ValidationCode, hash, pb, transaction};
use support::*;
use tonic::Streaming;

/// A change that one administrator of A signs and submits, which is enough here.
fn update(network: &Network, admin: &Client, edit: impl FnOnce(&mut pb::ChannelConfig)) -> Bytes {
    let current = network.chain.configuration();
    let mut config = pb::ChannelConfig::decode(current.bytes().clone()).unwrap();
    edit(&mut config);
    let change = config_update::change(&current, config, "a test");
    let change_bytes = change.encode();
    let certificate = admin.credentials.certificate.der().clone();
    let signature = admin.credentials.sign(domain::CONFIG, &change_bytes);
    let update = ConfigUpdate {
        header: admin.header(),
        certificate: certificate.clone(),
        signatures: vec![ConfigSignature {
            certificate,
            signature,
        }],
        change_bytes,
        change,
    };
    admin.seal(transaction::config_payload(&update))
}

async fn change(network: &Network, admin: &Client, edit: impl FnOnce(&mut pb::ChannelConfig)) {
    let sequence = network.chain.configuration().config().sequence;
    admin.submit(update(network, admin, edit)).await.unwrap();
    let info = admin.info_after(sequence, 60_000).await.unwrap();
    let config = pb::ChannelConfig::decode(info.config).unwrap();
    assert_eq!(config.sequence, sequence + 1);
}

fn revoke(config: &mut pb::ChannelConfig, client: &Client) {
    let fingerprint = client.credentials.fingerprint().to_bytes();
    config.organizations[0].revoked.push(fingerprint);
}

async fn events(client: &Client) -> Streaming<pb::EventsResponse> {
    let request = pb::EventsRequest {
        header: Some(client.request_header("Events")),
        contract: "notes".to_owned(),
        start_block: 1,
        ..Default::default()
    };
    let mut gateway = client.gateway();
    let opened = gateway.events(client.sign(domain::REQUEST, &request)).await;
    answer(opened).unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_streams_and_makes_no_transaction() {
    let mut network = Network::start(Wish::one()).await;
    let admin = network.member("A", "admin").await;
    let doctor = network.member("A", "practitioner").await;
    let other = network.member("A", "practitioner").await;
    let proposal = doctor.proposal("put", &[b"1"]);
    assert_eq!(
        doctor.transact(&proposal, vec![]).await,
        ValidationCode::Valid
    );
    let mut follows = events(&doctor).await;
    soon(follows.message()).await.unwrap().unwrap();
    let mut stays = events(&other).await;
    let prepared = doctor.proposal("put", &[b"too late"]);
    let endorsed = doctor.endorse(&prepared, vec![]).await.unwrap();
    let prepared = doctor.envelope(&prepared, endorsed);

    change(&network, &admin, |config| revoke(config, &doctor)).await;

    let ended = soon(follows.message()).await.unwrap_err();
    assert_eq!(
        stela_protocol::RpcError::from(ended).code,
        ErrorCode::Forbidden
    );
    assert_eq!(code(doctor.evaluate("get").await), ErrorCode::Forbidden);
    let proposal = doctor.proposal("put", &[b"1"]);
    assert_eq!(
        code(doctor.endorse(&proposal, vec![]).await),
        ErrorCode::Forbidden
    );
    assert_eq!(
        code(doctor.submit(prepared.clone()).await),
        ErrorCode::Forbidden
    );
    // An orderer that orders it all the same changes nothing.
    let height = network.chain.height();
    network.chain.append(prepared);
    let refused = blocks(&other, height).await;
    assert_eq!(
        refused.codes,
        [ValidationCode::BadCreatorSignature as u8].as_slice()
    );
    // Nobody else was disturbed.
    soon(stays.message()).await.unwrap().unwrap();
    let proposal = other.proposal("put", &[b"2"]);
    assert_eq!(
        other.transact(&proposal, vec![]).await,
        ValidationCode::Valid
    );
    network.restart("A").await;
    assert_eq!(code(doctor.evaluate("get").await), ErrorCode::Forbidden);
    assert_eq!(other.evaluate("get").await.unwrap().payload, "2");
}

/// One block as the peer keeps it.
async fn blocks(client: &Client, number: u64) -> pb::BlocksResponse {
    let request = pb::BlocksRequest {
        header: Some(client.request_header("Blocks")),
        start: number,
        end: 0,
    };
    let mut gateway = client.gateway();
    let opened = gateway.blocks(client.sign(domain::REQUEST, &request)).await;
    let mut blocks = answer(opened).unwrap();
    soon(blocks.message()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_change_below_its_policy_is_refused_at_once() {
    let network = Network::start(Wish::one()).await;
    let admin = network.member("A", "admin").await;
    let doctor = network.member("A", "practitioner").await;
    let height = network.chain.height();
    let by_doctor = update(&network, &doctor, |config| config.admin_policy.push(' '));
    assert_eq!(
        code(doctor.submit(by_doctor).await),
        ErrorCode::ConfigRefused
    );
    let unsound = update(&network, &admin, |config| config.orderer_quorum = 9);
    assert_eq!(code(admin.submit(unsound).await), ErrorCode::ConfigRefused);
    assert_eq!(network.chain.height(), height);
    // It may be larger than other envelopes of the channel.
    change(&network, &admin, |config| {
        config.limits.as_mut().unwrap().envelope_bytes_max = 1;
    })
    .await;
    let proposal = doctor.proposal("put", &[b"1"]);
    assert_eq!(
        code(doctor.endorse(&proposal, vec![]).await),
        ErrorCode::TooLarge
    );
    change(&network, &admin, |config| {
        config.limits.as_mut().unwrap().envelope_bytes_max = 1 << 18;
    })
    .await;
    let proposal = doctor.proposal("put", &[b"1"]);
    assert_eq!(
        doctor.transact(&proposal, vec![]).await,
        ValidationCode::Valid
    );
}

#[tokio::test]
async fn a_new_version_of_a_contract_runs_where_it_is_installed() {
    let network = Network::start(Wish::one()).await;
    let admin = network.member("A", "admin").await;
    let client = network.member("A", "client").await;
    let old = client.proposal("put", &[b"1"]);
    let endorsed = client.endorse(&old, vec![]).await.unwrap();
    let old = client.envelope(&old, endorsed);
    let package = contract::newer_package();
    let package_hash = hash::package(&package).to_bytes();
    change(&network, &admin, |config| {
        config.contracts[0].version = "2".to_owned();
        config.contracts[0].package_hash = package_hash;
    })
    .await;
    let proposal = client.proposal("put", &[b"2"]);
    let missing = client.endorse(&proposal, vec![]).await.unwrap_err();
    assert!(missing.message.contains("version \"2\""), "{missing}");
    assert!(missing.message.contains("install"), "{missing}");
    admin.install(package.into()).await.unwrap();
    let mut stream = events(&client).await;
    assert_eq!(
        client.transact(&proposal, vec![]).await,
        ValidationCode::Valid
    );
    let event = soon(stream.message()).await.unwrap().unwrap();
    assert_eq!(
        (event.name.as_str(), &event.payload[..]),
        ("updated", b"2".as_slice())
    );
    // What the old version found is not committed any more.
    let height = network.chain.height();
    client.submit(old).await.unwrap();
    let block = blocks(&client, height).await;
    assert_eq!(
        block.codes,
        [ValidationCode::ExpiredChaincode as u8].as_slice()
    );
}

#[tokio::test]
async fn a_removed_organization_is_cut_off() {
    let mut wish = Wish::two();
    wish.policy = "'A.peer'";
    let network = Network::start(wish).await;
    let admin = network.member("A", "admin").await;
    let credentials = network.member("B", "client").await.credentials;
    let at_a = network.client_of("B", "A", credentials);
    at_a.info().await.unwrap();
    let mut stream = events(&at_a).await;
    change(&network, &admin, |config| {
        config
            .organizations
            .retain(|organization| organization.id != "B");
    })
    .await;
    assert!(soon(stream.message()).await.is_err());
    // Its connection is cut, and it gets no other.
    until("B is cut off", || async {
        at_a.info()
            .await
            .is_err_and(|error| error.code == ErrorCode::Unavailable)
    })
    .await;
    let proposal = admin.proposal("put", &[b"1"]);
    assert_eq!(
        admin.transact(&proposal, vec![]).await,
        ValidationCode::Valid
    );
}
