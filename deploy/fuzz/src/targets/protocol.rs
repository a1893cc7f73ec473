//! What every node must read alike: envelopes, requests, blocks, configurations.

use bytes::Bytes;
use prost::Message;
use stela_identity::tls::TlsRoots;
use stela_orderer::channel::{Channel, ChannelError};
use stela_peer::membership::Membership;
use stela_protocol::block::{Block, BlockHeader};
use stela_protocol::config::{self as configuration, ChannelConfig};
use stela_protocol::limits;
use stela_protocol::transaction::{
    self, Body, Envelope, Proposal, RequestHeader, Signed, TransactionResult,
};
use stela_protocol::{key, merkle as tree, pb};

use crate::parts::Parts;

/// What was parsed comes back from its own encoding, and that encoding is accepted.
pub(super) fn envelope(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    let envelope = match Envelope::decode(bytes) {
        Ok(envelope) => envelope,
        Err(error) => return assert!(!error.code().is_valid(), "an error is no valid verdict"),
    };
    assert!(input.len() <= limits::ENVELOPE_BYTES_MAX);
    let again = transaction::envelope(envelope.signed.clone());
    assert_eq!(Envelope::decode(again).as_ref(), Ok(&envelope));
    match &envelope.body {
        Body::Transaction(transaction) => {
            check_proposal(&transaction.proposal);
            check_result(&transaction.result);
            assert!(transaction.endorsements.len() <= limits::ENDORSEMENTS_MAX);
        }
        Body::Registration(registration) => {
            let payload = transaction::registration_payload(registration);
            let signed = Signed {
                bytes: payload,
                ..envelope.signed
            };
            let again = Envelope::decode(transaction::envelope(signed)).expect("a registration");
            assert_eq!(again.body, envelope.body);
        }
        Body::Config(update) => {
            let payload = transaction::config_payload(update);
            let signed = Signed {
                bytes: payload,
                ..envelope.signed
            };
            let again = Envelope::decode(transaction::envelope(signed)).expect("an update");
            assert_eq!(again.body, envelope.body);
        }
    }
}

pub(super) fn proposal(input: &[u8]) {
    if let Ok(proposal) = Proposal::decode(Bytes::copy_from_slice(input)) {
        check_proposal(&proposal);
    }
}

fn check_proposal(proposal: &Proposal) {
    assert_eq!(Proposal::decode(proposal.encode()).as_ref(), Ok(proposal));
    let bytes: usize = proposal.arguments.iter().map(Bytes::len).sum();
    assert!(bytes <= limits::ARGUMENT_BYTES_MAX);
    assert!(proposal.arguments.len() <= limits::ARGUMENTS_MAX);
    assert!(proposal.side.len() <= limits::SIDE_ITEMS_MAX);
    assert!((1..=limits::NAME_BYTES_MAX).contains(&proposal.function.len()));
}

/// The first parts are the arguments of the proposal, the rest is the result.
pub(super) fn result(input: &[u8]) {
    let mut parts = Parts::of(input);
    let count = usize::from(parts.byte() % 3);
    let arguments: Vec<Bytes> = (0..count)
        .map(|_| Bytes::copy_from_slice(parts.part()))
        .collect();
    if let Ok(result) = TransactionResult::decode(Bytes::copy_from_slice(parts.rest()), &arguments)
    {
        check_result(&result);
    }
}

fn check_result(result: &TransactionResult) {
    let read: Vec<_> = result.reads.iter().map(|(key, _)| key).collect();
    let written: Vec<_> = result.writes.iter().map(|write| &write.key).collect();
    for keys in [read, written] {
        assert!(keys.is_sorted_by(|a, b| a < b), "strictly ascending");
        assert!(keys.iter().all(|key| key::check(key).is_ok()));
    }
    let value = |write: &transaction::Write| write.value.as_ref().map_or(0, Bytes::len);
    let bytes: usize = result.writes.iter().map(|w| w.key.len() + value(w)).sum();
    assert!(bytes <= limits::WRITE_BYTES_MAX);
    assert!(
        result
            .writes
            .iter()
            .all(|w| value(w) <= limits::VALUE_BYTES_MAX)
    );
    assert!(result.ranges.iter().all(|range| range.start < range.end));
    assert!(result.events.len() <= limits::EVENTS_MAX);
}

/// The first byte chooses the procedure.
pub(super) fn signed_request(input: &[u8]) {
    let (kind, bytes) = input.split_first().unwrap_or((&0, &[]));
    let Ok(message) = pb::SignedBytes::decode(bytes) else {
        return;
    };
    let Ok(signed) = Signed::try_from(message) else {
        return;
    };
    let message = pb::SignedBytes::from(signed.clone());
    assert_eq!(Signed::try_from(message).as_ref(), Ok(&signed));
    macro_rules! request {
        ($($message:ident $method:literal),*) => {
            [$(|bytes: Bytes| {
                let message = pb::$message::decode(bytes).ok()?;
                let again = pb::$message::decode(&message.encode_to_vec()[..]);
                assert_eq!(again.as_ref(), Ok(&message));
                RequestHeader::parse(message.header.as_ref(), $method).ok()
            }),*]
        };
    }
    let kinds: [fn(Bytes) -> Option<RequestHeader>; 9] = request! {
        CommitStatusRequest "CommitStatus", EventsRequest "Events", SideRequest "Side",
        ChannelInfoRequest "ChannelInfo", BlocksRequest "Blocks", JoinRequest "Join",
        InstallRequest "Install", StatusRequest "Status", KeyHistoryRequest "KeyHistory"
    };
    if let Some(header) = kinds[usize::from(*kind) % kinds.len()](signed.bytes) {
        let method = [
            "CommitStatus",
            "Events",
            "Side",
            "ChannelInfo",
            "Blocks",
            "Join",
            "Install",
            "Status",
            "KeyHistory",
        ]
        .into_iter()
        .find(|method| *method == header.method)
        .expect("the procedure that was asked for");
        assert_eq!(
            RequestHeader::parse(Some(&header.to_pb()), method),
            Ok(header)
        );
    }
}

pub(super) fn block(input: &[u8]) {
    let Ok(block) = Block::decode(Bytes::copy_from_slice(input)) else {
        return;
    };
    let again = Block::from_pb(block.to_pb()).expect("what was accepted is accepted again");
    assert_eq!(
        (again.header, again.hash),
        (block.header.clone(), block.hash)
    );
    let header = block.header.encode();
    assert_eq!(BlockHeader::decode(&header).as_ref(), Ok(&block.header));
    assert_eq!(tree::root(&block.envelopes), block.header.merkle_root);
    assert!(
        block.check_follows(&block.header, &block.hash).is_err(),
        "no block follows itself"
    );
    let next = Block::new(
        block.header.channel.clone(),
        block.header.number.next(),
        block.hash,
        block.header.last_config,
        block.header.time_ms,
        block.envelopes.clone(),
    );
    let last = block.header.number.0 == u64::MAX;
    let own = block.header.last_config == next.header.number && !next.is_config();
    if !last && !own {
        assert_eq!(next.check_follows(&block.header, &block.hash), Ok(()));
    }
    if let Some(Ok(only)) = block.envelopes.first().map(|e| Envelope::decode(e.clone())) {
        let alone = block.envelopes.len() == 1;
        assert_eq!(
            block.is_config(),
            alone && matches!(only.body, Body::Config(_))
        );
    }
}

/// The orderer, the peer and the storage node put the same configurations into force.
pub(super) fn config(input: &[u8]) {
    let Ok(config) = ChannelConfig::decode(input) else {
        return;
    };
    assert!(config.orderer_quorum > config.orderers.len() / 2);
    assert!(config.orderer_quorum <= config.orderers.len());
    assert!(config.limits.envelope_bytes_max <= config.limits.block_bytes_max);
    let message = pb::ChannelConfig::decode(input).expect("it was decoded before");
    let again = ChannelConfig::decode(&message.encode_to_vec()).expect("accepted again");
    assert_eq!(
        (&again.channel, again.sequence),
        (&config.channel, config.sequence)
    );
    let genesis = configuration::genesis(&message, 7).expect("it names a channel");
    let (bytes, _) = configuration::from_genesis(&genesis).expect("a sound configuration");
    let _ = TlsRoots::new().add_config(&config);
    let storage = stela_storage::Membership::new(&config);
    let encoded = genesis.to_pb().encode_to_vec();
    let peer = Membership::new(bytes);
    match Channel::from_genesis(encoded.into()) {
        Ok(_) => {
            assert!(storage.is_ok(), "an orderer's channel has members");
            assert!(peer.is_ok(), "an orderer's channel is a peer's");
        }
        Err(ChannelError::Configuration(why)) => assert_eq!(peer.err(), Some(why)),
        Err(error) => unreachable!("block 0 was read before: {error}"),
    }
}

pub(super) mod seeds {
    use stela_protocol::hash::domain;
    use stela_protocol::transaction::Registration;
    use stela_protocol::{BlockNumber, FORMAT_VERSION};

    use super::*;
    use crate::parts::joined;
    use crate::world::{PACKAGE, START_MS, World, result as found, seal};

    fn calls() -> Vec<Bytes> {
        use pb::write::Change;
        let world = World::get();
        let height = Some(pb::Height {
            block: 0,
            transaction: 0,
        });
        let value = Change::Value(Bytes::from_static(b"value"));
        vec![
            world.call(
                &world.proposal(1, &[b"argument"]),
                &found("k", None, Change::Argument(0)),
            ),
            world.call(
                &world.proposal(2, &[]),
                &found("k", height, Change::Delete(true)),
            ),
            world.call(&world.proposal(3, &[b"a", b"b"]), &found("l", None, value)),
        ]
    }

    pub(in crate::targets) fn registration() -> Bytes {
        let world = World::get();
        let registration = Registration {
            header: world.header(9, &world.newcomer),
            certificate: world.newcomer.certificate.der().clone(),
        };
        seal(
            transaction::registration_payload(&registration),
            &world.newcomer,
        )
    }

    pub(in crate::targets) fn envelopes() -> Vec<Bytes> {
        let mut envelopes = calls();
        envelopes.push(registration());
        envelopes
    }

    pub(in crate::targets) fn envelope() -> Vec<Vec<u8>> {
        let config = World::get().genesis.envelopes[0].clone();
        envelopes()
            .into_iter()
            .chain([config])
            .map(Vec::from)
            .collect()
    }

    pub(in crate::targets) fn proposal() -> Vec<Vec<u8>> {
        let world = World::get();
        [
            (1, &[][..]),
            (2, &[&b"{}"[..]]),
            (3, &[&b"a"[..], &[0xff; 40]]),
        ]
        .map(|(nonce, arguments)| world.proposal(nonce, arguments).encode().to_vec())
        .into()
    }

    pub(in crate::targets) fn result() -> Vec<Vec<u8>> {
        use pb::write::Change;
        let whole = |arguments: &[&[u8]], result: &pb::Result| {
            let count = arguments.len() as u8;
            [vec![count], joined(arguments), result.encode_to_vec()].concat()
        };
        let mut two = found("k", None, Change::Argument(1));
        let key = Bytes::from_static(b"z");
        let change = Some(Change::Value(Bytes::new()));
        two.writes.push(pb::Write {
            key,
            read: 0,
            change,
        });
        vec![
            whole(&[], &found("k", None, Change::Delete(true))),
            whole(
                &[b"a"],
                &found("k", Some(pb::Height::default()), Change::Argument(0)),
            ),
            whole(&[b"a", b"b"], &two),
            whole(
                &[],
                &pb::Result {
                    version: FORMAT_VERSION,
                    package_hash: PACKAGE.to_bytes(),
                    ..Default::default()
                },
            ),
        ]
    }

    pub(in crate::targets) fn signed_request() -> Vec<Vec<u8>> {
        let world = World::get();
        let header = |method: &str| {
            let header = world.header(5, &world.client);
            Some(
                RequestHeader {
                    header,
                    method: method.to_owned(),
                }
                .to_pb(),
            )
        };
        let checkpoint = pb::Checkpoint {
            block: 3,
            transaction: 1,
            event: 0,
        };
        let bodies = [
            pb::CommitStatusRequest {
                header: header("CommitStatus"),
                transaction_id: Bytes::from_static(&[1; 32]),
                wait_ms: 5,
            }
            .encode_to_vec(),
            pb::EventsRequest {
                header: header("Events"),
                contract: "records".to_owned(),
                after: Some(checkpoint),
                start_block: 1,
            }
            .encode_to_vec(),
            pb::SideRequest {
                header: header("Side"),
                commitments: vec![Bytes::from_static(&[2; 32])],
            }
            .encode_to_vec(),
            pb::ChannelInfoRequest {
                header: header("ChannelInfo"),
                wait_ms: 5,
                sequence: 1,
            }
            .encode_to_vec(),
            pb::BlocksRequest {
                header: header("Blocks"),
                start: 1,
                end: 2,
            }
            .encode_to_vec(),
            pb::JoinRequest {
                header: header("Join"),
                genesis: Bytes::from_static(b"block"),
                config: Bytes::from_static(b"configuration"),
            }
            .encode_to_vec(),
            pb::InstallRequest {
                header: header("Install"),
                package: Bytes::from_static(b"\0asm"),
            }
            .encode_to_vec(),
            pb::StatusRequest {
                header: header("Status"),
            }
            .encode_to_vec(),
            pb::KeyHistoryRequest {
                header: header("KeyHistory"),
                contract: "records".to_owned(),
                key: Bytes::from_static(b"k"),
                before: Some(pb::Height::default()),
                limit: 10,
            }
            .encode_to_vec(),
        ];
        let signed = bodies.into_iter().zip(0u8..).map(|(payload, kind)| {
            let signature = world.client.sign(domain::REQUEST, &payload).to_vec().into();
            let message = pb::SignedBytes {
                payload: payload.into(),
                signature,
            };
            [vec![kind], message.encode_to_vec()].concat()
        });
        signed.collect()
    }

    /// The block after the first one.
    pub(in crate::targets) fn next_block(envelopes: Vec<Bytes>) -> Block {
        let genesis = &World::get().genesis;
        let channel = genesis.header.channel.clone();
        let number = BlockNumber(1);
        Block::new(
            channel,
            number,
            genesis.hash,
            BlockNumber(0),
            START_MS + 1,
            envelopes,
        )
    }

    pub(in crate::targets) fn signed_block(envelopes: Vec<Bytes>) -> pb::Block {
        let mut block = next_block(envelopes);
        block.signatures = World::get()
            .orderers
            .iter()
            .zip(1..)
            .map(|(credentials, orderer)| pb::HeaderSignature {
                orderer,
                signature: credentials
                    .sign(domain::HEADER, block.hash.as_bytes())
                    .to_vec()
                    .into(),
            })
            .collect();
        block.to_pb()
    }

    pub(in crate::targets) fn block() -> Vec<Vec<u8>> {
        vec![
            World::genesis_bytes().to_vec(),
            signed_block(envelopes()).encode_to_vec(),
            next_block(vec![Bytes::from_static(b"no envelope")])
                .to_pb()
                .encode_to_vec(),
            next_block(Vec::new()).to_pb().encode_to_vec(),
        ]
    }

    pub(in crate::targets) fn config() -> Vec<Vec<u8>> {
        let config = &World::get().config;
        let mut revoked = config.clone();
        revoked.organizations[1].revoked = vec![Bytes::from_static(&[3; 32])];
        revoked.sequence = 2;
        let mut small = config.clone();
        small.certificates.clear();
        small
            .organizations
            .iter_mut()
            .for_each(|o| o.tls_root_certificates.clear());
        [config.clone(), revoked, small]
            .map(|config| config.encode_to_vec())
            .into()
    }
}
