//! What real processes answer to those who may not, and that they stay up.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

mod consortium;
mod network;

use bytes::Bytes;
use consortium::{CHANNEL, Organization, WINDOW_MS, encoded, registration, sign, transaction};
use network::refused::refused;
use network::{Network, code, join_request, request_header, signed};
use stela_identity::tls::{Expected, TlsSettings, connect};
use stela_orderer::driver::now_ms;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::admin_client::AdminClient;
use stela_protocol::pb::broadcast_client::BroadcastClient;
use stela_protocol::pb::consensus_client::ConsensusClient;
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::pb::deliver_client::DeliverClient;
use stela_protocol::{ErrorCode, Message, RpcError, pb};

const MINUTE_MS: u64 = 60_000;

async fn joined() -> Network {
    let network = Network::start(1).await;
    network.join_all().await;
    network.leader(0).await;
    network
}

async fn check_still_up(network: &mut Network) {
    assert!(network.processes[0].as_mut().unwrap().is_running());
    let member = network.organization_of(0).member("honest", "practitioner");
    let envelope = sign(registration(CHANNEL, &member, now_ms()), &member);
    network.broadcast_patiently(0, &envelope).await;
    network.blocks_with(0, &[envelope]).await;
    let log = network.log(0);
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn envelopes_that_may_not_be_ordered() {
    let mut network = joined().await;
    let member = network.organization_of(0).member("member", "practitioner");
    let other = network.organization_of(0).member("other", "practitioner");
    let stranger = Organization::new("HospitalA", now_ms()).member("stranger", "practitioner");
    let now = now_ms();
    let config = pb::Payload {
        body: Some(pb::payload::Body::Config(
            network.consortium.config().encode_to_vec().into(),
        )),
    };
    let cases = [
        (
            sign(registration(CHANNEL, &member, now), &other),
            ErrorCode::BadSignature,
        ),
        (
            sign(registration(CHANNEL, &stranger, now), &stranger),
            ErrorCode::UnknownIdentity,
        ),
        (
            sign(transaction(CHANNEL, &member, now, 1), &member),
            ErrorCode::UnknownIdentity,
        ),
        (
            sign(
                registration(CHANNEL, &member, now - WINDOW_MS - MINUTE_MS),
                &member,
            ),
            ErrorCode::Expired,
        ),
        (
            sign(
                registration(CHANNEL, &member, now + WINDOW_MS + MINUTE_MS),
                &member,
            ),
            ErrorCode::Expired,
        ),
        (
            sign(registration("research", &member, now), &member),
            ErrorCode::Malformed,
        ),
        (
            sign(config.encode_to_vec().into(), &member),
            ErrorCode::Malformed,
        ),
        (
            sign(transaction(CHANNEL, &member, now, 70 << 10), &member),
            ErrorCode::TooLarge,
        ),
        (vec![0; (1 << 20) + 1].into(), ErrorCode::TooLarge),
        (vec![0; 3 << 20].into(), ErrorCode::TooLarge),
        (Bytes::from_static(b"nonsense"), ErrorCode::Malformed),
        (Bytes::new(), ErrorCode::Malformed),
    ];
    for (n, (envelope, expect)) in cases.into_iter().enumerate() {
        let error = network.broadcast(0, &envelope).await.unwrap_err();
        assert_eq!(error.code, expect, "case {n}: {error}");
        assert!(!error.is_retryable());
    }
    let mut client = BroadcastClient::new(network.connect(0));
    let unknown = client.broadcast(pb::BroadcastRequest {
        channel: "../care".to_owned(),
        envelope: Bytes::new(),
    });
    let error = RpcError::from(unknown.await.unwrap_err());
    assert_eq!(error.code, ErrorCode::UnknownChannel);
    assert_eq!(error.origin, "HospitalA/orderer0");
    check_still_up(&mut network).await;
}

#[tokio::test]
async fn the_same_envelope_twice_is_ordered_once() {
    let network = joined().await;
    let member = network.organization_of(0).member("member", "practitioner");
    let envelope = sign(registration(CHANNEL, &member, now_ms()), &member);
    for _ in 0..3 {
        network.broadcast_patiently(0, &envelope).await;
        network
            .blocks_with(0, std::slice::from_ref(&envelope))
            .await;
    }
    let last = network.organization_of(0).member("last", "practitioner");
    let last = sign(registration(CHANNEL, &last, now_ms()), &last);
    network.broadcast_patiently(0, &last).await;
    let blocks = network.blocks_with(0, &[last]).await;
    let times = blocks
        .iter()
        .flat_map(|b| &b.envelopes)
        .filter(|e| **e == envelope)
        .count();
    assert_eq!(times, 1);
}

#[tokio::test]
async fn strangers_on_the_wire() {
    let mut network = joined().await;
    let address = network.consortium.orderers[0].address.clone();

    // A TLS certificate of an authority that only claims the name, and of nobody's.
    for name in ["HospitalA", "Elsewhere"] {
        let organization = Organization::new(name, now_ms());
        let channel = network.connect_as(0, organization.tls("client"));
        let request = pb::DeliverRequest {
            channel: CHANNEL.to_owned(),
            start: 0,
        };
        assert!(DeliverClient::new(channel).deliver(request).await.is_err());
    }

    // A client that expects another server.
    let settings =
        TlsSettings::new(network.organization_of(0).tls("client"), &network.roots()).unwrap();
    let fingerprint = Some(network.organization_of(0).tls("other").fingerprint());
    let expected = Expected {
        fingerprint,
        ..Expected::of(&network.organization_of(0).id)
    };
    let channel = connect(&settings, &address, expected).unwrap();
    let request = pb::DeliverRequest {
        channel: CHANNEL.to_owned(),
        start: 0,
    };
    assert!(DeliverClient::new(channel).deliver(request).await.is_err());

    // A member that is no orderer, in the name of one and of nobody.
    for from in [0, 1, 2] {
        let message = pb::ConsensusMessage {
            channel: CHANNEL.to_owned(),
            from,
            body: Some(Body::Raft(Bytes::from_static(b"\x08\x08"))),
        };
        let mut client = ConsensusClient::new(network.connect(0));
        let answer = client
            .step(tokio_stream::iter([message]))
            .await
            .unwrap_err();
        assert_eq!(RpcError::from(answer).code, ErrorCode::Forbidden);
    }

    // Plain text.
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    assert!(match plain.connect().await {
        Err(_) => true,
        Ok(channel) => {
            let request = pb::DeliverRequest {
                channel: CHANNEL.to_owned(),
                start: 0,
            };
            DeliverClient::new(channel).deliver(request).await.is_err()
        }
    });
    check_still_up(&mut network).await;
}

#[tokio::test]
async fn an_orderer_that_sends_nonsense() {
    let mut network = Network::start(3).await;
    network.join_all().await;
    network.leader(0).await;
    let nested = [vec![0x0b; 100_000], vec![0x0c; 100_000]].concat();
    let (huge, heartbeat) = (
        vec![0; 9 << 20],
        b"\x08\x08\x10\x01\x18\x02\x20\x63\x40\x63",
    );
    let signatures = pb::HeaderSignatures {
        signatures: vec![
            pb::BlockSignature {
                number: u64::MAX,
                ..Default::default()
            },
            pb::BlockSignature {
                number: 1,
                header_hash: vec![7; 32].into(),
                signature: Some(pb::HeaderSignature {
                    orderer: 2,
                    signature: vec![7; 64].into(),
                }),
            },
        ],
    };
    let numbers = vec![u64::MAX; 100_000];
    let bodies = [
        (Some(Body::Raft(nested.into())), Some(ErrorCode::Malformed)),
        (Some(Body::Raft(huge.into())), None),
        (
            Some(Body::Raft(Bytes::from_static(b"\xff"))),
            Some(ErrorCode::Malformed),
        ),
        (Some(Body::Raft(Bytes::from_static(heartbeat))), None),
        (None, Some(ErrorCode::Malformed)),
        (
            Some(Body::Forward(pb::ForwardedEnvelope {
                envelope: vec![1; 2 << 20].into(),
            })),
            None,
        ),
        (Some(Body::Signatures(signatures)), None),
        (
            Some(Body::SignatureRequest(pb::SignatureRequest { numbers })),
            Some(ErrorCode::Malformed),
        ),
    ];
    for (n, (body, expect)) in bodies.into_iter().enumerate() {
        let orderer = network.consortium.orderers[1].tls.clone();
        let mut client = ConsensusClient::new(network.connect_as(0, orderer));
        let message = pb::ConsensusMessage {
            channel: CHANNEL.to_owned(),
            from: 2,
            body,
        };
        let answer = client
            .step(tokio_stream::iter([message]))
            .await
            .map_err(RpcError::from);
        match expect {
            Some(expect) => assert_eq!(code(answer), expect, "case {n}"),
            None => drop(answer),
        }
    }
    check_still_up(&mut network).await;
}

#[tokio::test]
async fn what_the_transport_refuses_is_a_typed_error_too() {
    let mut network = joined().await;
    for path in [
        "/stela.v1.Broadcast/Broadcast",
        "/stela.v1.Deliver/Deliver",
        "/stela.v1.Consensus/Step",
        "/stela.v1.Admin/Join",
        "/stela.v1.Admin/Status",
    ] {
        // A number, where every procedure expects bytes, text or a message.
        let number = pb::Height {
            block: 5,
            transaction: 5,
        };
        let code = refused(network.connect(0), path, number).await;
        assert_eq!(code, ErrorCode::Malformed, "{path}");
    }
    let large = pb::BroadcastRequest {
        channel: CHANNEL.to_owned(),
        envelope: vec![0; MESSAGE_BYTES_MAX].into(),
    };
    let code = refused(network.connect(0), "/stela.v1.Broadcast/Broadcast", large).await;
    assert_eq!(code, ErrorCode::TooLarge);
    let nothing = pb::DeliverRequest::default();
    let code = refused(network.connect(0), "/stela.v1.Deliver/Delivers", nothing).await;
    assert_eq!(code, ErrorCode::Malformed);
    check_still_up(&mut network).await;
}

#[tokio::test]
async fn those_who_are_no_administrators() {
    let mut network = Network::start(1).await;
    let genesis = encoded(&network.genesis);
    let admin = network.admin_of(0);
    let join = |request| network.join_with(0, request);
    let now = now_ms();

    let practitioner = network
        .organization_of(0)
        .member("practitioner", "practitioner");
    let request = join_request(&practitioner, CHANNEL, &genesis, now);
    assert_eq!(code(join(request).await), ErrorCode::Forbidden);

    let outsider = Organization::new("HospitalB", now).member("admin", "admin");
    let request = join_request(&outsider, CHANNEL, &genesis, now);
    assert_eq!(code(join(request).await), ErrorCode::UnknownIdentity);

    let impostor = Organization::new("HospitalA", now).member("admin", "admin");
    let request = join_request(&impostor, CHANNEL, &genesis, now);
    assert_eq!(code(join(request).await), ErrorCode::UnknownIdentity);

    let mut request = join_request(&practitioner, CHANNEL, &genesis, now);
    request.certificate = admin.certificate.der().clone();
    assert_eq!(code(join(request).await), ErrorCode::Malformed);

    let mut request = join_request(&admin, CHANNEL, &genesis, now);
    request.signature = join_request(&admin, CHANNEL, &genesis, now).signature;
    assert_eq!(code(join(request).await), ErrorCode::BadSignature);

    for timestamp_ms in [now - 6 * MINUTE_MS, now + 6 * MINUTE_MS] {
        let request = join_request(&admin, CHANNEL, &genesis, timestamp_ms);
        assert_eq!(code(join(request).await), ErrorCode::Expired);
    }

    let header = Some(request_header(&admin, CHANNEL, "Status", now));
    let payload = pb::JoinRequest {
        header,
        genesis: genesis.clone(),
        config: Bytes::new(),
    }
    .encode_to_vec();
    assert_eq!(
        code(join(signed(&admin, payload.into())).await),
        ErrorCode::Malformed
    );
    assert_eq!(
        code(join(signed(&admin, Bytes::new())).await),
        ErrorCode::Malformed
    );

    let request = join_request(&admin, "research", &genesis, now);
    assert_eq!(code(join(request).await), ErrorCode::Malformed);
    let request = join_request(&admin, CHANNEL, &Bytes::from_static(b"no block"), now);
    assert_eq!(code(join(request).await), ErrorCode::Malformed);

    let install = AdminClient::new(network.connect(0))
        .install(pb::AdminRequest::default())
        .await;
    assert_eq!(code(install.map_err(RpcError::from)), ErrorCode::Forbidden);

    assert!(network.status(0).await.unwrap().channels.is_empty());
    network.join_all().await;
    check_still_up(&mut network).await;
}

#[tokio::test]
async fn channels_that_cannot_be_joined() {
    let mut network = Network::start(1).await;
    let admin = network.admin_of(0);
    let genesis_of = |config: &pb::ChannelConfig| {
        encoded(&stela_protocol::config::genesis(config, network.consortium.now_ms).unwrap())
    };

    let mut config = network.consortium.config();
    let another = network.organization_of(0).member("orderer1", "orderer");
    config.orderers[0].certificate = another.certificate.der().clone();
    let error = network
        .join(0, &admin, &genesis_of(&config))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden);
    assert!(
        error.message.contains("no orderer with certificate"),
        "{error}"
    );

    let mut config = network.consortium.config();
    config.orderers[0].tls_fingerprint = vec![7; 32].into();
    let error = network
        .join(0, &admin, &genesis_of(&config))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden);
    assert!(error.message.contains("TLS certificate"), "{error}");

    let mut config = network.consortium.config();
    config.orderers[0].certificate = vec![1, 2, 3].into();
    assert_eq!(
        code(network.join(0, &admin, &genesis_of(&config)).await),
        ErrorCode::Malformed
    );

    let request = join_request(&admin, CHANNEL, &encoded(&network.genesis), now_ms());
    network.join_with(0, request.clone()).await.unwrap();
    assert_eq!(
        code(network.join_with(0, request).await),
        ErrorCode::Replayed
    );
    network.join_all().await;

    let mut config = network.consortium.config();
    config.sequence = 9;
    let error = network
        .join(0, &admin, &genesis_of(&config))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden);

    let status = network.status(0).await.unwrap();
    assert_eq!(
        (status.organization.as_str(), status.name.as_str()),
        ("HospitalA", "orderer0")
    );
    assert_eq!(status.channels[0].orderer, 1);
    check_still_up(&mut network).await;
}

#[tokio::test]
async fn blocks_that_do_not_exist_yet_are_waited_for() {
    let network = joined().await;
    let mut stream = network.deliver(0, 2).await.unwrap();
    for name in ["first", "second"] {
        let member = network.organization_of(0).member(name, "practitioner");
        let envelope = sign(registration(CHANNEL, &member, now_ms()), &member);
        network.broadcast_patiently(0, &envelope).await;
        network.blocks_with(0, &[envelope]).await;
    }
    assert_eq!(network::next_block(&mut stream).await.header.number.0, 2);
}

#[tokio::test]
async fn a_start_that_cannot_succeed_says_why() {
    let mut network = joined().await;
    let check = async |network: &mut Network, expect: i32, word: &str| {
        let before = network.log(0).len();
        network.launch(0);
        let ended = network.processes[0].take().unwrap().exit().await;
        let said = network.log(0)[before..].to_owned();
        assert_eq!(ended.code(), Some(expect), "{said}");
        assert!(said.contains(word) && !said.contains("panicked"), "{said}");
    };
    // While the first one runs, its data belongs to it.
    let running = network.processes[0].take();
    check(&mut network, 5, "in use by another process").await;
    drop(running);

    let file = network.folder(0).join("orderer.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("name", "nam")).unwrap();
    check(&mut network, 3, "nam").await;
    std::fs::write(&file, good.replace("HospitalA", "HospitalB")).unwrap();
    check(&mut network, 4, "HospitalA").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    let listen = network.consortium.orderers[0].address.clone();
    std::fs::write(&file, good.replace(&listen, &busy)).unwrap();
    check(&mut network, 6, "cannot listen").await;

    std::fs::write(&file, good).unwrap();
    network.relaunch(0).await;
    check_still_up(&mut network).await;
}
