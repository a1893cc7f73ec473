//! A peer as its clients, administrators and neighbours meet it, over TLS on loopback.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use stela_peer::limits::CLIENT_CALLS_MAX;
use stela_protocol::difference::Part;
use stela_protocol::hash::domain;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::{ErrorCode, Hash32, TransactionId, ValidationCode, hash, pb};
use support::faulty::Fault;
use support::refused::refused;
use support::*;
use tonic::Streaming;

type Items<T> = Streaming<T>;
type Change = dyn Fn(&mut stela_protocol::transaction::Proposal);

async fn next<T: std::fmt::Debug>(stream: &mut Items<T>) -> T {
    tokio::time::timeout(PATIENCE, stream.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

async fn events(client: &Client, request: pb::EventsRequest) -> Answer<Items<pb::EventsResponse>> {
    let header = Some(client.request_header("Events"));
    let request = pb::EventsRequest { header, ..request };
    answer(
        client
            .gateway()
            .events(client.sign(domain::REQUEST, &request))
            .await,
    )
}

fn all_events() -> pb::EventsRequest {
    pb::EventsRequest {
        contract: "notes".to_owned(),
        start_block: 1,
        ..Default::default()
    }
}

// --------------------------------------------------------------------------------- administration

#[tokio::test(flavor = "multi_thread")]
async fn administrators_join_and_install_and_a_restart_keeps_it() {
    let mut network = Network::prepare(Wish::one()).await;
    let admin = network.client("A", "admin");
    let empty = admin.status().await.unwrap();
    assert_eq!(
        (empty.organization.as_str(), empty.name.as_str()),
        ("A", "peer0")
    );
    assert!(empty.channels.is_empty() && empty.packages.is_empty());
    network.set_up("A").await;
    // Both may be repeated.
    admin.join(&network.genesis_bytes()).await.unwrap();
    admin.install(contract::package().into()).await.unwrap();
    let height = network.chain.height();
    until("the peer has caught up", || async {
        admin.status().await.unwrap().channels[0].height == height
    })
    .await;
    let before = admin.status().await.unwrap();
    assert_eq!(
        before.packages,
        [hash::package(&contract::package()).to_bytes()]
    );
    network.restart("A").await;
    let after = network.client("A", "admin").status().await.unwrap();
    assert_eq!(after, before);
    let client = network.member("A", "client").await;
    let put = client.proposal("put", &[b"after the restart"]);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_of_the_own_organization_administrate_and_only_once() {
    let network = Network::prepare(Wish::two()).await;
    let admin = network.client("A", "admin");
    let genesis = network.genesis_bytes();
    for role in ["client", "peer", "administrator"] {
        assert_eq!(
            code(network.client("A", role).join(&genesis).await),
            ErrorCode::Forbidden
        );
    }
    let stranger = {
        let credentials = network.organizations["B"].issue("admin", "admin");
        network.client_of("A", "A", credentials.into())
    };
    assert_eq!(code(stranger.join(&genesis).await), ErrorCode::Forbidden);
    let pretender = {
        let credentials = Organization::new("A").issue("admin", "admin");
        network.client_of("A", "A", credentials.into())
    };
    assert_eq!(
        code(pretender.install(contract::package().into()).await),
        ErrorCode::Forbidden
    );

    let send = |request: pb::AdminRequest| {
        let mut client = admin.admin();
        async move { answer(client.status(request).await) }
    };
    let signed = |header| {
        admin.sign_admin(&pb::StatusRequest {
            header: Some(header),
        })
    };
    let header = admin.request_header("Status");
    let once = signed(header.clone());
    assert!(send(once.clone()).await.is_ok());
    assert_eq!(code(send(once.clone()).await), ErrorCode::Replayed);
    let mut altered = signed(admin.request_header("Status"));
    altered.payload = signed(admin.request_header("Status")).payload;
    assert_eq!(code(send(altered).await), ErrorCode::BadSignature);
    let wrong_domain = {
        let request = pb::StatusRequest {
            header: Some(admin.request_header("Status")),
        };
        let pb::SignedBytes { payload, signature } = admin.sign(domain::REQUEST, &request);
        pb::AdminRequest {
            payload,
            signature,
            ..once.clone()
        }
    };
    assert_eq!(code(send(wrong_domain).await), ErrorCode::BadSignature);
    let old = pb::RequestHeader {
        timestamp_ms: now_ms() - 600_000,
        ..header.clone()
    };
    assert_eq!(code(send(signed(old)).await), ErrorCode::Expired);
    let other_method = admin.request_header("Join");
    assert_eq!(code(send(signed(other_method)).await), ErrorCode::Malformed);
    let others_certificate = {
        let certificate = network
            .client("A", "admin")
            .credentials
            .certificate
            .der()
            .clone();
        pb::AdminRequest {
            certificate,
            ..signed(admin.request_header("Status"))
        }
    };
    assert_eq!(code(send(others_certificate).await), ErrorCode::Malformed);
    let junk = pb::AdminRequest {
        certificate: Bytes::from_static(b"junk"),
        ..once.clone()
    };
    assert_eq!(code(send(junk).await), ErrorCode::Malformed);
    assert_eq!(
        code(send(pb::AdminRequest::default()).await),
        ErrorCode::Malformed
    );
    let error = send(once).await.unwrap_err();
    assert_eq!(error.origin, "A/peer0");
    assert!(admin.status().await.unwrap().channels.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_first_block_or_no_package_is_refused() {
    let network = Network::prepare(Wish::one()).await;
    let admin = network.client("A", "admin");
    for junk in [
        Bytes::new(),
        Bytes::from_static(b"\xff\xff"),
        vec![0; 1 << 20].into(),
    ] {
        assert_eq!(code(admin.join(&junk).await), ErrorCode::Malformed);
    }
    let mut config = pb::ChannelConfig::decode(
        stela_protocol::config::from_genesis(&network.genesis)
            .unwrap()
            .0,
    )
    .unwrap();
    let as_genesis = |config: &pb::ChannelConfig| -> Bytes {
        let block = stela_protocol::config::genesis(config, now_ms()).unwrap();
        block.to_pb().encode_to_vec().into()
    };
    config.channel = "other".to_owned();
    assert_eq!(
        code(admin.join(&as_genesis(&config)).await),
        ErrorCode::Malformed
    );
    config.channel = channel().to_string();
    config.organizations[0].root_certificate =
        Bytes::copy_from_slice(Organization::new("A").authority.root_der());
    assert_eq!(
        code(admin.join(&as_genesis(&config)).await),
        ErrorCode::Malformed
    );
    config.organizations[0].id = "Z".to_owned();
    config.orderers[0].organization = "Z".to_owned();
    config.contracts.clear();
    config.admin_policy = "'Z.admin'".to_owned();
    assert_eq!(
        code(admin.join(&as_genesis(&config)).await),
        ErrorCode::Malformed
    );

    let no_component = wat::parse_str("(module)").unwrap();
    for junk in [b"junk".to_vec(), no_component] {
        assert_eq!(code(admin.install(junk.into()).await), ErrorCode::Malformed);
    }
    assert_eq!(code(admin.install(Bytes::new()).await), ErrorCode::TooLarge);
    let too_large = vec![0; stela_protocol::limits::PACKAGE_BYTES_MAX + 1];
    assert_eq!(
        code(admin.install(too_large.into()).await),
        ErrorCode::TooLarge
    );
    let beyond_any_message = vec![0; MESSAGE_BYTES_MAX + 1];
    assert_eq!(
        code(admin.install(beyond_any_message.into()).await),
        ErrorCode::TooLarge
    );
    let status = admin.status().await.unwrap();
    assert!(status.channels.is_empty() && status.packages.is_empty());

    admin.join(&network.genesis_bytes()).await.unwrap();
    let another = stela_protocol::config::from_genesis(&network.genesis)
        .unwrap()
        .0;
    let another = as_genesis(&pb::ChannelConfig::decode(another).unwrap());
    assert_eq!(code(admin.join(&another).await), ErrorCode::Forbidden);
}

// --------------------------------------------------------------------------------------- the flow

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_from_proposal_to_event() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let mut live = {
        let request = pb::EventsRequest {
            contract: "notes".to_owned(),
            ..Default::default()
        };
        events(&client, request).await.unwrap()
    };
    assert!(client.evaluate("get").await.unwrap().payload.is_empty());
    let proposal = client.proposal("put", &[b"first"]);
    let id = proposal.header.id();
    let endorsed = client.endorse(&proposal, vec![]).await.unwrap();
    // The same proposal may be endorsed again as long as it is not committed.
    assert_eq!(client.endorse(&proposal, vec![]).await.unwrap(), endorsed);
    assert_eq!(
        code(client.commit_status(&id, 0).await),
        ErrorCode::UnknownTransaction
    );
    assert_eq!(code(client.commit_status(&id, 1).await), ErrorCode::Timeout);
    let envelope = client.envelope(&proposal, endorsed);
    client.submit(envelope.clone()).await.unwrap();
    let status = client.commit_status(&id, 60_000).await.unwrap();
    assert_eq!(status.code, ValidationCode::Valid as u32);
    assert_eq!(client.commit_status(&id, 0).await.unwrap(), status);
    assert_eq!(code(client.submit(envelope).await), ErrorCode::Replayed);
    assert_eq!(
        code(client.endorse(&proposal, vec![]).await),
        ErrorCode::Replayed
    );
    let evaluated = client.evaluate("get").await.unwrap();
    assert_eq!(
        (&evaluated.payload[..], evaluated.height),
        (&b"first"[..], status.block + 1)
    );

    let second = client.proposal("put", &[b"second"]);
    assert_eq!(
        client.transact(&second, vec![]).await,
        ValidationCode::Valid
    );
    let mut from_start = events(&client, all_events()).await.unwrap();
    let mut seen = Vec::new();
    for expect in ["first", "second"] {
        let event = next(&mut from_start).await;
        assert_eq!(
            (event.name.as_str(), &event.payload[..]),
            ("written", expect.as_bytes())
        );
        assert_eq!(next(&mut live).await, event);
        seen.push(event);
    }
    assert_eq!(seen[0].transaction_id, id.to_bytes());
    let after = pb::EventsRequest {
        after: seen[0].checkpoint,
        ..all_events()
    };
    let mut resumed = events(&client, after).await.unwrap();
    assert_eq!(next(&mut resumed).await, seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_come_with_verdicts_and_state_hashes() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let put = client.proposal("put", &[b"1"]);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    let blocks = |start, end| {
        let header = Some(client.request_header("Blocks"));
        let request = pb::BlocksRequest { header, start, end };
        let (mut gateway, signed) = (client.gateway(), client.sign(domain::REQUEST, &request));
        async move { answer(gateway.blocks(signed).await) }
    };
    let info = client.info().await.unwrap();
    let mut stream = blocks(0, info.height).await.unwrap();
    let mut newest = None;
    for number in 0..info.height {
        let found = next(&mut stream).await;
        let block = stela_protocol::block::Block::from_pb(found.block.clone().unwrap()).unwrap();
        assert_eq!(block.header.number.0, number);
        assert_eq!(found.codes.len(), block.envelopes.len());
        newest = Some((block.hash, found.state_hash));
    }
    assert!(stream.message().await.unwrap().is_none());
    let (hash, state_hash) = newest.unwrap();
    assert_eq!(
        (info.header_hash, info.state_hash),
        (hash.to_bytes(), state_hash)
    );
    assert_eq!(code(blocks(5, 3).await), ErrorCode::OutOfRange);
    let mut for_ever = blocks(info.height, 0).await.unwrap();
    let put = client.proposal("put", &[b"2"]);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    assert!(next(&mut for_ever).await.block.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changed_a_key_is_told_in_parts_the_newest_first() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let mut expected = Vec::new();
    for text in ["1", "2", "3"] {
        let put = client.proposal("put", &[text.as_bytes()]);
        assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
        expected.insert(0, put.header.id().to_bytes());
    }
    let ask = |change: fn(&mut pb::KeyHistoryRequest), before: Option<pb::Height>| {
        let mut request = pb::KeyHistoryRequest {
            header: Some(client.request_header("KeyHistory")),
            contract: "notes".to_owned(),
            key: Bytes::from_static(b"key\0"),
            before,
            limit: 2,
        };
        change(&mut request);
        let signed = client.sign(domain::REQUEST, &request);
        let mut gateway = client.gateway();
        async move { answer(gateway.key_history(signed).await).map(|told| told.changes) }
    };
    let newest = ask(|_| {}, None).await.unwrap();
    let rest = ask(|_| {}, newest[1].height).await.unwrap();
    let told: Vec<Bytes> = newest
        .iter()
        .chain(&rest)
        .map(|change| change.transaction_id.clone())
        .collect();
    assert_eq!(told, expected);
    // The height names the block in which it stands.
    let status = client
        .commit_status(&TransactionId::from_slice(&expected[0]).unwrap(), 0)
        .await
        .unwrap();
    assert_eq!(newest[0].height.unwrap().block, status.block);
    let other_key = ask(|request| request.key = "other".into(), None).await;
    assert!(other_key.unwrap().is_empty());
    for limit in [0, 1_001] {
        let refused = match limit {
            0 => ask(|request| request.limit = 0, None).await,
            _ => ask(|request| request.limit = 1_001, None).await,
        };
        assert_eq!(code(refused), ErrorCode::OutOfRange);
    }
    let no_key = ask(|request| request.key.clear(), None).await;
    assert_eq!(code(no_key), ErrorCode::Malformed);
    let no_name = ask(|request| request.contract = "../x".to_owned(), None).await;
    assert_eq!(code(no_name), ErrorCode::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_refuses_or_never_ends_makes_no_transaction() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let refused = client
        .endorse(&client.proposal("refuse", &[]), vec![])
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::ContractRefused);
    assert_eq!(refused.message, "as-asked: the caller asked for it");
    assert_eq!(
        code(client.evaluate("refuse").await),
        ErrorCode::ContractRefused
    );
    let endless = client.evaluate("loop").await.unwrap_err();
    assert!(
        matches!(
            endless.code,
            ErrorCode::ContractFailed | ErrorCode::Overloaded
        ),
        "{endless}"
    );
    assert!(client.evaluate("get").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_organizations_endorse_and_agree_on_the_state() {
    let mut network = Network::start(Wish::two()).await;
    let client = network.member("A", "client").await;
    let put = client.proposal("put", &[b"both"]);
    let endorsed = client.endorse(&put, vec![]).await.unwrap();
    assert_eq!(endorsed.endorsements.len(), 2);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    let at_b = network.client_of("A", "B", client.credentials.clone());
    let status = at_b.commit_status(&put.header.id(), 60_000).await.unwrap();
    assert_eq!(status.code, ValidationCode::Valid as u32);
    assert_eq!(at_b.info().await.unwrap(), client.info().await.unwrap());

    let one_endorsement = {
        let proposal = client.proposal("put", &[b"alone"]);
        let mut endorsed = client.endorse(&proposal, vec![]).await.unwrap();
        endorsed.endorsements.pop();
        client
            .submit(client.envelope(&proposal, endorsed))
            .await
            .unwrap();
        client
            .commit_status(&proposal.header.id(), 60_000)
            .await
            .unwrap()
            .code
    };
    assert_eq!(
        one_endorsement,
        ValidationCode::EndorsementPolicyFailure as u32
    );

    network.stop_peer("B").await;
    let unreachable = client
        .endorse(&client.proposal("put", &[b"x"]), vec![])
        .await
        .unwrap_err();
    assert_eq!(unreachable.code, ErrorCode::EndorsersUnavailable);
    assert!(
        unreachable.is_retryable() && unreachable.message.contains("B: "),
        "{unreachable}"
    );
    network.start_peer("B").await;
    until("the other peer endorses again", || async {
        client
            .endorse(&client.proposal("put", &[b"y"]), vec![])
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_is_asked_again_and_named_if_it_stays_so() {
    let network = Network::start(Wish::two()).await;
    let client = network.member("A", "client").await;
    network.chain.hold(&org("B"));
    let put = client.proposal("put", &[b"only A knows"]);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    let stays = client
        .endorse(&client.proposal("get", &[]), vec![])
        .await
        .unwrap_err();
    assert_eq!(stays.code, ErrorCode::EndorsementMismatch);
    assert!(
        stays.is_retryable() && stays.message.contains("B/peer0 (at height"),
        "{stays}"
    );
    // In what they differ is said by the names of its parts and the keys, never by a value.
    let [difference] = &stays.differences[..] else {
        panic!("{:?}", stays.differences);
    };
    assert_eq!(
        (difference.node.as_str(), difference.other.as_str()),
        ("B/peer0", "A/peer0")
    );
    let parts: Vec<Part> = difference.parts.iter().map(|part| part.part).collect();
    assert_eq!(parts, [Part::Response, Part::Versions]);
    assert!(!difference.parts[1].keys.is_empty());
    assert!(!stays.message.contains("only A knows"), "{stays}");
    let (asking, proposal) = (client.clone(), client.proposal("get", &[]));
    let asked = tokio::spawn(async move { asking.endorse(&proposal, vec![]).await });
    network.chain.release(&org("B"));
    let endorsed = asked.await.unwrap().unwrap();
    assert_eq!(endorsed.endorsements.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endorser_of_any_sufficient_set_makes_up_for_one_that_is_down() {
    let policy = "OutOf(2, 'A.peer', 'B.peer', 'C.peer')";
    let wish = Wish {
        organizations: vec!["A", "B", "C"],
        policy,
        orderers: vec![vec![1]],
    };
    let mut network = Network::start(wish).await;
    let client = network.member("A", "client").await;
    network.stop_peer("B").await;
    let put = client.proposal("put", &[b"1"]);
    assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    network.stop_peer("C").await;
    let alone = client
        .endorse(&client.proposal("put", &[b"2"]), vec![])
        .await
        .unwrap_err();
    assert_eq!(alone.code, ErrorCode::EndorsersUnavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_reader_may_no_longer_read() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let mut stream = events(&client, all_events()).await.unwrap();
    let two_days_ms = 2 * 86_400_000;
    network.homes["A"]
        .ahead_ms
        .store(two_days_ms, std::sync::atomic::Ordering::Relaxed);
    network.chain.append(Bytes::from_static(b"any next block"));
    let ended = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(
        stela_protocol::RpcError::from(ended).code,
        ErrorCode::Forbidden
    );
}

// ------------------------------------------------------------------------- faulty organizations

fn two_of(organizations: &[&'static str], policy: &'static str) -> Wish {
    Wish {
        organizations: organizations.to_vec(),
        policy,
        orderers: vec![vec![1]],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_organization_does_not_stop_a_policy_that_does_not_need_it() {
    let policy = "OutOf(2, 'A.peer', 'B.peer', 'C.peer')";
    let faults = [
        Fault::Refuses(ErrorCode::Malformed),
        Fault::Differs { height: 1 },
        Fault::Differs { height: u64::MAX },
    ];
    for fault in faults {
        let mut network = Network::start(two_of(&["A", "B", "C"], policy)).await;
        let client = network.member("A", "client").await;
        network.replace_peer("B", fault).await;
        let put = client.proposal("put", &[b"1"]);
        let verdict = client.transact(&put, vec![]).await;
        assert_eq!(verdict, ValidationCode::Valid, "{fault:?}");
        network.stop_peer("C").await;
        let left = client
            .endorse(&client.proposal("put", &[b"2"]), vec![])
            .await
            .unwrap_err();
        let expect = match fault {
            Fault::Differs { .. } => ErrorCode::EndorsementMismatch,
            _ => ErrorCode::EndorsersUnavailable,
        };
        assert_eq!(left.code, expect, "{left}");
        let named = left.message.contains("B") && left.message.contains("C: ");
        assert!(left.is_retryable() && named, "{left}");
        // What this peer itself refuses is told as it is.
        let refused = client.proposal("refuse", &[]);
        let refused = client.endorse(&refused, vec![]).await;
        assert_eq!(code(refused), ErrorCode::ContractRefused);
    }
}

/// Waiting for each of the silent ones until its time is up would take longer than an endorsement
/// may take altogether.
#[tokio::test(flavor = "multi_thread")]
async fn silent_organizations_do_not_use_up_the_time_of_an_endorsement() {
    let policy = "OutOf(2, 'A.peer', 'B.peer', 'C.peer', 'D.peer')";
    let mut network = Network::start(two_of(&["A", "B", "C", "D"], policy)).await;
    let client = network.member("A", "client").await;
    for silent in ["B", "C"] {
        network.replace_peer(silent, Fault::Silent).await;
    }
    for text in ["first", "again"] {
        let (commitment, item) = side_item(text.as_bytes(), &["B", "C", "D"]);
        let mut put = client.proposal("put", &[text.as_bytes()]);
        put.side = vec![commitment];
        let verdict = client.transact(&put, vec![item]).await;
        assert_eq!(verdict, ValidationCode::Valid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderer_that_refuses_is_left_for_one_that_does_not() {
    let wish = Wish {
        orderers: vec![vec![1, 2]; 3],
        ..Wish::one()
    };
    let network = Network::start(wish).await;
    let client = network.member("A", "client").await;
    let transact = |text: &'static str| {
        let (client, put) = (client.clone(), client.proposal("put", &[text.as_bytes()]));
        async move {
            let endorsed = client.endorse(&put, vec![]).await.unwrap();
            client.submit(client.envelope(&put, endorsed)).await
        }
    };
    network.chain.refuse(1, ErrorCode::Expired);
    network.chain.refuse(2, ErrorCode::Forbidden);
    assert!(transact("third").await.is_ok());
    network.chain.refuse(3, ErrorCode::Expired);
    // The one that took the last envelope is asked first, so the second one is the last.
    assert_eq!(code(transact("none").await), ErrorCode::Forbidden);
}

// ------------------------------------------------------------------------------------- side items

#[tokio::test(flavor = "multi_thread")]
async fn side_items_are_kept_by_those_they_are_for_and_given_to_nobody_else() {
    let wish = Wish {
        organizations: vec!["A", "B", "C"],
        ..Wish::two()
    };
    let network = Network::start(wish).await;
    let client = network.member("A", "client").await;
    let reader = network.member("B", "practitioner").await;
    let stranger = network.member("C", "practitioner").await;
    let (for_b, secret) = side_item(b"for B alone", &["B"]);
    let (for_both, shared) = side_item(b"for A and B", &["B", "A"]);
    let mut proposal = client.proposal("put", &[b"with side items"]);
    proposal.side = vec![for_b.clone(), for_both.clone()];
    let items = vec![secret, shared];
    let commitments = [for_b.commitment.to_bytes(), for_both.commitment.to_bytes()];
    let swapped = vec![items[1].clone(), items[0].clone()];
    assert_eq!(
        code(client.endorse(&proposal, swapped).await),
        ErrorCode::Malformed
    );
    assert_eq!(
        code(client.endorse(&proposal, vec![]).await),
        ErrorCode::Malformed
    );
    let endorsed = client.endorse(&proposal, items).await.unwrap();
    // Before the transaction is committed nobody gets anything.
    assert!(reader.side(&commitments).await.unwrap().is_empty());
    client
        .submit(client.envelope(&proposal, endorsed))
        .await
        .unwrap();
    let id = proposal.header.id();
    for one in [&client, &reader, &stranger] {
        assert_eq!(one.commit_status(&id, 60_000).await.unwrap().code, 0);
    }
    let payloads = |found: Vec<pb::FoundSideItem>| -> Vec<Bytes> {
        found
            .into_iter()
            .map(|found| found.item.unwrap().payload)
            .collect()
    };
    let found = payloads(reader.side(&commitments).await.unwrap());
    assert_eq!(found, [&b"for B alone"[..], b"for A and B"]);
    assert_eq!(
        payloads(client.side(&commitments).await.unwrap()),
        [&b"for A and B"[..]]
    );
    assert!(stranger.side(&commitments).await.unwrap().is_empty());
    let stranger_at_b = network.client_of("C", "B", stranger.credentials.clone());
    assert!(stranger_at_b.side(&commitments).await.unwrap().is_empty());
    let between_peers = pb::GetSideRequest {
        channel: channel().to_string(),
        commitments: commitments.to_vec(),
    };
    let to_stranger = answer(stranger_at_b.endorser().get_side(between_peers).await).unwrap();
    assert!(to_stranger.items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn side_items_that_nobody_else_could_keep_are_refused_and_missed_ones_are_fetched() {
    let wish = Wish {
        organizations: vec!["A", "B", "C"],
        policy: "'A.peer'",
        orderers: vec![vec![1]],
    };
    let mut network = Network::start(wish).await;
    let client = network.member("A", "client").await;
    let reader = network.member("B", "practitioner").await;
    network.stop_peer("B").await;
    let (for_b, item) = side_item(b"late", &["B"]);
    let mut alone = client.proposal("put", &[b"1"]);
    alone.side = vec![for_b];
    let refused = client.endorse(&alone, vec![item]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::EndorsersUnavailable);
    assert!(refused.is_retryable());
    let (for_two, item) = side_item(b"late", &["B", "C"]);
    let mut proposal = client.proposal("put", &[b"2"]);
    proposal.side = vec![for_two.clone()];
    assert_eq!(
        client.transact(&proposal, vec![item]).await,
        ValidationCode::Valid
    );
    network.start_peer("B").await;
    let reader = network.client_of("B", "B", reader.credentials.clone());
    until("the missing item has been fetched", || async {
        reader
            .side(&[for_two.commitment.to_bytes()])
            .await
            .unwrap()
            .len()
            == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn side_commitments_have_to_name_members() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let (stranger, first) = side_item(b"x", &["Z"]);
    let (nobody, second) = side_item(b"x", &[]);
    for (commitment, item) in [(stranger, first), (nobody, second)] {
        let mut proposal = client.proposal("put", &[b"1"]);
        proposal.side = vec![commitment];
        assert_eq!(
            code(client.endorse(&proposal, vec![item]).await),
            ErrorCode::Malformed
        );
    }
}

// ---------------------------------------------------------------------------------- block sources

#[tokio::test(flavor = "multi_thread")]
async fn an_orderer_with_too_few_signatures_is_left_for_an_honest_one() {
    let wish = Wish {
        orderers: vec![vec![1], vec![1, 2], vec![3]],
        ..Wish::one()
    };
    let network = Network::start(wish).await;
    let client = network.member("A", "client").await;
    for text in ["one", "two", "three"] {
        let put = client.proposal("put", &[text.as_bytes()]);
        assert_eq!(client.transact(&put, vec![]).await, ValidationCode::Valid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_orderers_nothing_is_enqueued() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let proposal = client.proposal("put", &[b"1"]);
    let endorsed = client.endorse(&proposal, vec![]).await.unwrap();
    network.stop_orderers.cancel();
    let envelope = client.envelope(&proposal, endorsed);
    until("the orderer is gone", || async {
        let submitted = client.submit(envelope.clone()).await;
        matches!(submitted, Err(error) if error.code == ErrorCode::OrdererUnavailable)
    })
    .await;
    assert!(client.evaluate("get").await.is_ok());
}

// -------------------------------------------------------------------------------------- bad input

#[tokio::test(flavor = "multi_thread")]
async fn bad_proposals_are_refused_with_a_typed_error() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let send = |signed: pb::SignedBytes| {
        let (mut one, mut two, mut three) = (client.gateway(), client.gateway(), client.endorser());
        async move {
            let request = pb::EndorseRequest {
                proposal: Some(signed.clone()),
                side: vec![],
            };
            let evaluated = code(answer(one.evaluate(signed).await));
            let endorsed = code(answer(two.endorse(request.clone()).await));
            let between_peers = code(answer(three.endorse(request).await));
            assert_eq!((evaluated, endorsed), (endorsed, between_peers));
            endorsed
        }
    };
    let good = client.proposal("put", &[b"1"]);
    let altered = |change: &Change| {
        let mut proposal = good.clone();
        change(&mut proposal);
        client.sign_proposal(&proposal)
    };
    let junk = pb::SignedBytes {
        payload: vec![0xff; 9].into(),
        signature: vec![0; 64].into(),
    };
    assert_eq!(send(junk).await, ErrorCode::Malformed);
    assert_eq!(send(pb::SignedBytes::default()).await, ErrorCode::Malformed);
    let mut unsigned = client.sign_proposal(&good);
    unsigned.signature = vec![0; 64].into();
    assert_eq!(send(unsigned).await, ErrorCode::BadSignature);
    let mut short = client.sign_proposal(&good);
    short.signature.truncate(63);
    assert_eq!(send(short).await, ErrorCode::Malformed);
    let wrong_domain = {
        let payload = good.encode();
        let signature = client.credentials.sign(domain::ENVELOPE, &payload);
        pb::SignedBytes {
            payload,
            signature: Bytes::copy_from_slice(&signature),
        }
    };
    assert_eq!(send(wrong_domain).await, ErrorCode::BadSignature);
    let unknown = network.client("A", "client");
    let by_stranger = unknown.sign_proposal(&unknown.proposal("put", &[b"1"]));
    assert_eq!(send(by_stranger).await, ErrorCode::UnknownIdentity);
    let cases: [(ErrorCode, &Change); 6] = [
        (ErrorCode::Expired, &|p| {
            p.header.timestamp_ms -= 2 * WINDOW_MS
        }),
        (ErrorCode::Expired, &|p| {
            p.header.timestamp_ms += 2 * WINDOW_MS
        }),
        (ErrorCode::UnknownChannel, &|p| {
            p.header.channel = "other".parse().unwrap()
        }),
        (ErrorCode::UnknownContract, &|p| {
            p.contract = "other".parse().unwrap()
        }),
        (ErrorCode::TooLarge, &|p| {
            p.arguments = vec![Bytes::new(); 33]
        }),
        (ErrorCode::TooLarge, &|p| {
            p.arguments = vec![vec![0; 600 << 10].into()]
        }),
    ];
    for (expect, change) in cases {
        assert_eq!(send(altered(change)).await, expect);
    }
    let huge = vec![0; MESSAGE_BYTES_MAX + 1];
    let huge = pb::SignedBytes {
        payload: huge.into(),
        signature: Bytes::new(),
    };
    assert_eq!(
        code(answer(client.gateway().evaluate(huge).await)),
        ErrorCode::TooLarge
    );
    let missing = answer(
        client
            .gateway()
            .endorse(pb::EndorseRequest::default())
            .await,
    );
    assert_eq!(code(missing), ErrorCode::Malformed);
    assert!(client.evaluate("get").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_transport_refuses_is_a_typed_error_too() {
    const PROCEDURES: [&str; 14] = [
        "/stela.v1.Gateway/Evaluate",
        "/stela.v1.Gateway/Endorse",
        "/stela.v1.Gateway/Submit",
        "/stela.v1.Gateway/CommitStatus",
        "/stela.v1.Gateway/Events",
        "/stela.v1.Gateway/Side",
        "/stela.v1.Gateway/ChannelInfo",
        "/stela.v1.Gateway/Blocks",
        "/stela.v1.Endorser/Endorse",
        "/stela.v1.Endorser/PutSide",
        "/stela.v1.Endorser/GetSide",
        "/stela.v1.Admin/Join",
        "/stela.v1.Admin/Install",
        "/stela.v1.Admin/Status",
    ];
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let large = pb::SignedBytes {
        payload: vec![0; MESSAGE_BYTES_MAX + 1].into(),
        signature: Bytes::new(),
    };
    for path in PROCEDURES {
        // A number, where every procedure expects bytes, text or a message.
        let other = pb::Height {
            block: 5,
            transaction: 5,
        };
        let refused = |message| refused(client.channel.clone(), path, message);
        assert_eq!(refused(other).await, ErrorCode::Malformed, "{path}");
    }
    for path in [PROCEDURES[0], PROCEDURES[8], PROCEDURES[12]] {
        let code = refused(client.channel.clone(), path, large.clone()).await;
        assert_eq!(code, ErrorCode::TooLarge, "{path}");
    }
    let unknown = "/stela.v1.Gateway/Sumbit";
    let code = refused(client.channel.clone(), unknown, large).await;
    assert_eq!(code, ErrorCode::Malformed);
    assert!(client.evaluate("get").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_a_typed_error() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let info = |signed: pb::SignedBytes| {
        let mut gateway = client.gateway();
        async move { answer(gateway.channel_info(signed).await) }
    };
    let signed = |header| {
        client.sign(
            domain::REQUEST,
            &pb::ChannelInfoRequest {
                header: Some(header),
                ..Default::default()
            },
        )
    };
    let header = || client.request_header("ChannelInfo");
    let good = signed(header());
    // A question may be asked twice.
    assert!(info(good.clone()).await.is_ok());
    assert!(info(good.clone()).await.is_ok());
    let mut forged = good.clone();
    forged.signature = vec![1; 64].into();
    assert_eq!(code(info(forged).await), ErrorCode::BadSignature);
    let cases = [
        (
            pb::RequestHeader {
                method: "Side".into(),
                ..header()
            },
            ErrorCode::Malformed,
        ),
        (
            pb::RequestHeader {
                channel: "../care".into(),
                ..header()
            },
            ErrorCode::Malformed,
        ),
        (
            pb::RequestHeader {
                channel: "other".into(),
                ..header()
            },
            ErrorCode::UnknownChannel,
        ),
        (
            pb::RequestHeader {
                nonce: Bytes::new(),
                ..header()
            },
            ErrorCode::Malformed,
        ),
        (
            pb::RequestHeader {
                creator: vec![1; 32].into(),
                ..header()
            },
            ErrorCode::UnknownIdentity,
        ),
        (
            pb::RequestHeader {
                timestamp_ms: 0,
                ..header()
            },
            ErrorCode::Expired,
        ),
    ];
    for (header, expect) in cases {
        assert_eq!(code(info(signed(header)).await), expect);
    }
    assert_eq!(
        code(info(pb::SignedBytes::default()).await),
        ErrorCode::Malformed
    );
    // A stream is begun once.
    let request = pb::EventsRequest {
        header: Some(client.request_header("Events")),
        ..all_events()
    };
    let once = client.sign(domain::REQUEST, &request);
    let first = answer(client.gateway().events(once.clone()).await);
    assert!(first.is_ok());
    assert_eq!(
        code(answer(client.gateway().events(once).await)),
        ErrorCode::Replayed
    );
    let other = pb::EventsRequest {
        contract: "other".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        code(events(&client, other).await),
        ErrorCode::UnknownContract
    );
    let too_many = vec![Hash32([1; 32]).to_bytes(); 65];
    assert_eq!(code(client.side(&too_many).await), ErrorCode::TooLarge);
    assert_eq!(
        code(client.side(&[Bytes::new()]).await),
        ErrorCode::Malformed
    );
    let unknown = TransactionId([1; 32]);
    assert_eq!(
        code(client.commit_status(&unknown, 0).await),
        ErrorCode::UnknownTransaction
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_signed_is_worth_nothing_over_the_tls_of_another_organization() {
    let network = Network::start(Wish::two()).await;
    let client = network.member("A", "client").await;
    let (commitment, item) = side_item(b"for both", &["A", "B"]);
    let mut put = client.proposal("put", &[b"1"]);
    put.side = vec![commitment.clone()];
    assert_eq!(
        client.transact(&put, vec![item]).await,
        ValidationCode::Valid
    );
    let commitments = [commitment.commitment.to_bytes()];
    let request = pb::SideRequest {
        header: Some(client.request_header("Side")),
        commitments: commitments.to_vec(),
    };
    let signed = client.sign(domain::REQUEST, &request);
    // Her own organization's certificate is good at any peer that has caught up.
    let at_b = network.client_of("A", "B", client.credentials.clone());
    let id = put.header.id();
    assert_eq!(at_b.commit_status(&id, 60_000).await.unwrap().code, 0);
    let found = answer(at_b.gateway().side(signed.clone()).await).unwrap();
    assert_eq!(found.items.len(), 1);
    // The gateway of B that was sent this request plays it back to A.
    let replayed = network.client_of("B", "A", client.credentials.clone());
    let side = answer(replayed.gateway().side(signed).await);
    assert_eq!(code(side), ErrorCode::Forbidden);
    assert_eq!(code(replayed.info().await), ErrorCode::Forbidden);
    assert_eq!(code(replayed.evaluate("get").await), ErrorCode::Forbidden);
    let status = replayed.commit_status(&id, 0).await;
    assert_eq!(code(status), ErrorCode::Forbidden);
    let stream = events(&replayed, all_events()).await;
    assert_eq!(code(stream.map(drop)), ErrorCode::Forbidden);
    let blocks = pb::BlocksRequest {
        header: Some(client.request_header("Blocks")),
        start: 0,
        end: 1,
    };
    let blocks = client.sign(domain::REQUEST, &blocks);
    let blocks = answer(replayed.gateway().blocks(blocks).await);
    assert_eq!(code(blocks.map(drop)), ErrorCode::Forbidden);
    let endorsed = replayed
        .endorse(&client.proposal("put", &[b"2"]), vec![])
        .await;
    assert_eq!(code(endorsed), ErrorCode::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_envelopes_are_not_passed_on() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let height = network.chain.height();
    let proposal = client.proposal("put", &[b"1"]);
    let endorsed = client.endorse(&proposal, vec![]).await.unwrap();
    let good = client.envelope(&proposal, endorsed.clone());
    let other = network.client("A", "client");
    let by_other = other.envelope(&proposal, endorsed);
    assert_eq!(code(client.submit(by_other).await), ErrorCode::BadSignature);
    assert_eq!(
        code(client.submit(Bytes::new()).await),
        ErrorCode::Malformed
    );
    assert_eq!(
        code(client.submit(vec![0xff; 100].into()).await),
        ErrorCode::Malformed
    );
    assert_eq!(
        code(client.submit(vec![0; 1 << 19].into()).await),
        ErrorCode::TooLarge
    );
    let config = network.genesis.envelopes[0].clone();
    assert_eq!(code(client.submit(config).await), ErrorCode::Malformed);
    let request = pb::SubmitRequest {
        channel: "other".to_owned(),
        envelope: good.clone(),
        wait_ms: 0,
    };
    let elsewhere = answer(client.gateway().submit(request).await);
    assert_eq!(code(elsewhere), ErrorCode::UnknownChannel);
    let stranger = {
        let credentials = Organization::new("Z").issue("client", "client");
        network.client_of("A", "A", credentials.into())
    };
    let registration = {
        let certificate = stranger.credentials.certificate.der().clone();
        let registration = stela_protocol::transaction::Registration {
            header: stranger.header(),
            certificate,
        };
        stranger.seal(stela_protocol::transaction::registration_payload(
            &registration,
        ))
    };
    assert_eq!(
        code(client.submit(registration).await),
        ErrorCode::Forbidden
    );
    assert_eq!(network.chain.height(), height);
    client.submit(good).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_waits_for_its_verdict_over_a_connection_of_its_creators_organization() {
    let network = Network::start(Wish::two()).await;
    let client = network.member("A", "client").await;
    let prepare = async || {
        let proposal = client.proposal("put", &[b"1"]);
        let endorsed = client.endorse(&proposal, vec![]).await.unwrap();
        (proposal.header.id(), client.envelope(&proposal, endorsed))
    };
    let (id, envelope) = prepare().await;
    let told = client.submit_and_wait(envelope, 60_000).await.unwrap();
    let told = told.unwrap();
    assert_eq!(told.code, ValidationCode::Valid as u32);
    assert_eq!(client.commit_status(&id, 0).await, Ok(told));

    let (_, envelope) = prepare().await;
    assert_eq!(client.submit_and_wait(envelope, 0).await, Ok(None));

    let (id, envelope) = prepare().await;
    let other = network.client("B", "client");
    let refused = other.submit_and_wait(envelope.clone(), 60_000).await;
    assert_eq!(code(refused), ErrorCode::Forbidden);
    assert_eq!(
        code(client.commit_status(&id, 0).await),
        ErrorCode::UnknownTransaction
    );
    client.submit_and_wait(envelope, 60_000).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_bound_a_gateway_refuses_questions_and_proposals_but_no_endorsed_envelope() {
    let network = Network::start(Wish::two()).await;
    let client = network.member("A", "client").await;
    let proposal = client.proposal("put", &[b"1"]);
    let endorsed = client.endorse(&proposal, vec![]).await.unwrap();
    let envelope = client.envelope(&proposal, endorsed);
    network.chain.hold(&org("A"));
    let before = network.chain.height();
    let waiting: Vec<_> = (0..CLIENT_CALLS_MAX)
        .map(|_| {
            let (client, envelope) = (client.clone(), envelope.clone());
            tokio::spawn(async move { client.submit_and_wait(envelope, 60_000).await })
        })
        .collect();
    let all = before + CLIENT_CALLS_MAX as u64;
    until("all are ordered", || async {
        network.chain.height() >= all
    })
    .await;
    assert_eq!(code(client.evaluate("get").await), ErrorCode::Overloaded);
    let refused = client.endorse(&proposal, vec![]).await;
    assert_eq!(code(refused), ErrorCode::Overloaded);
    client.submit(envelope).await.unwrap();
    network.chain.release(&org("A"));
    for submission in waiting {
        let told = submission.await.unwrap().unwrap();
        assert_eq!(told.unwrap().code, ValidationCode::Valid as u32);
    }
    until("it answers again", || async {
        !matches!(client.evaluate("get").await, Err(error) if error.code == ErrorCode::Overloaded)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_side_is_only_for_what_this_organization_keeps() {
    let network = Network::start(Wish::two()).await;
    let client = network.member("A", "client").await;
    let at_b = network.client_of("A", "B", client.credentials.clone());
    let put = |commitment, item| {
        let mut proposal = client.proposal("put", &[b"1"]);
        proposal.side = vec![commitment];
        let proposal = Some(client.sign_proposal(&proposal));
        let mut endorser = at_b.endorser();
        let request = pb::PutSideRequest {
            proposal,
            side: vec![item],
        };
        async move { answer(endorser.put_side(request).await) }
    };
    let (for_a, first) = side_item(b"x", &["A"]);
    assert_eq!(code(put(for_a, first).await), ErrorCode::Forbidden);
    let (for_b, mut second) = side_item(b"x", &["B"]);
    assert!(put(for_b.clone(), second.clone()).await.is_ok());
    second.payload = Bytes::from_static(b"another");
    assert_eq!(code(put(for_b, second).await), ErrorCode::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_peer_ends_its_streams() {
    let mut network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let mut stream = events(&client, all_events()).await.unwrap();
    network.stop_peer("A").await;
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.message())
        .await
        .unwrap();
    let status = ended.unwrap_err();
    assert_eq!(
        stela_protocol::RpcError::from(status).code,
        ErrorCode::Unavailable
    );
}
