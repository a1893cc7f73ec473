//! Receipts: what they prove, and everything that makes them prove nothing.

use serde_json::Value;
use stela_protocol::block::Block;
use stela_protocol::transaction::Envelope;

use super::configuration::{Chain, changing, serve, signed};
use super::*;

/// A chain whose block 5 has the transaction `envelope` in the middle of others, after two changes
/// of the configuration.
fn chain_with(world: &World, envelope: &Bytes, signers: &[usize]) -> Vec<Block> {
    let mut blocks = changing(world).blocks;
    let last = blocks.pop().unwrap();
    let others = [b"one", b"two"].map(|text| Bytes::from_static(text));
    let envelopes = [&others[..], std::slice::from_ref(envelope), &others[..]].concat();
    let header = &last.header;
    let mut block = Block::new(
        header.channel.clone(),
        header.number,
        header.previous_hash,
        header.last_config,
        header.time_ms,
        envelopes,
    );
    block.signatures = signers
        .iter()
        .map(|signer| world.header_signature(*signer, &block))
        .collect();
    blocks.push(block);
    blocks
}

/// Some transaction: here a change of the configuration that came too late.
fn envelope(world: &World) -> Bytes {
    let chain = Chain::new(world);
    let update = signed(world, &world.configuration(), |config| {
        config.orderer_quorum = 3;
    });
    chain.envelope(&update)
}

async fn receipt_from(
    world: &Arc<World>,
    blocks: Vec<Block>,
    envelope: &Bytes,
) -> Result<Receipt, ReceiptError> {
    let mut chain = changing(world);
    chain.blocks = blocks;
    let (peer, network) = serve(world, &chain).await;
    // It says of whatever was submitted that it is the third one of block 5.
    peer.state.lock().submitted.push(envelope.clone());
    let id = Envelope::decode(envelope.clone()).unwrap().header().id();
    soon(network.receipt(world.configuration(), id, DEADLINE)).await
}

async fn receipt(world: &Arc<World>) -> (Receipt, TransactionId) {
    let envelope = envelope(world);
    let blocks = chain_with(world, &envelope, &[0, 1]);
    let receipt = receipt_from(world, blocks, &envelope).await.unwrap();
    (receipt, Envelope::decode(envelope).unwrap().header().id())
}

#[tokio::test]
async fn a_receipt_proves_offline_what_was_ordered() {
    let world = world();
    let (receipt, id) = receipt(&world).await;
    let text = receipt.to_json();
    let file: Value = serde_json::from_str(&text).unwrap();
    let fields: Vec<_> = file.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "configurations",
            "envelope",
            "header",
            "index",
            "path",
            "signatures",
            "size",
            "stela_receipt"
        ]
    );
    assert_eq!(file["stela_receipt"], 1);
    let recorded = Receipt::from_json(text.as_bytes())
        .unwrap()
        .verify(world.configuration())
        .unwrap();
    assert_eq!((recorded.header.number.0, recorded.index), (5, 2));
    assert_eq!((recorded.signed, recorded.configuration), (2, 2));
    assert_eq!(recorded.transaction, id);
    // Another consortium's genesis proves nothing.
    let other = World::new();
    assert!(receipt.verify(other.configuration()).is_err());
}

/// A change of a receipt's file.
type Change<'a> = &'a dyn Fn(&mut Value);

#[tokio::test]
async fn whatever_is_changed_in_a_receipt_makes_it_worthless() {
    let world = world();
    let (receipt, _) = receipt(&world).await;
    let check = |change: Change<'_>| {
        let mut file: Value = serde_json::from_str(&receipt.to_json()).unwrap();
        change(&mut file);
        let read = Receipt::from_json(file.to_string().as_bytes());
        read.and_then(|receipt| receipt.verify(world.configuration()))
    };
    assert!(check(&|_| {}).is_ok());
    let changes: [(&str, Change<'_>); 12] = [
        ("version", &|file| file["stela_receipt"] = 2.into()),
        ("field", &|file| file["verdict"] = "valid".into()),
        ("index", &|file| file["index"] = 1.into()),
        ("size", &|file| file["size"] = 4.into()),
        ("path", &|file| file["path"] = file["path"][0].clone()),
        ("hash", &|file| file["path"][0] = file["path"][1].clone()),
        ("short", &|file| {
            drop(file["path"].as_array_mut().unwrap().pop())
        }),
        ("envelope", &|file| file["envelope"] = "b25l".into()),
        ("signature", &|file| {
            drop(file["signatures"].as_array_mut().unwrap().pop());
        }),
        ("twice", &|file| {
            file["signatures"][1] = file["signatures"][0].clone();
        }),
        ("configuration", &|file| {
            drop(file["configurations"].as_array_mut().unwrap().pop());
        }),
        ("order", &|file| {
            file["configurations"].as_array_mut().unwrap().reverse();
        }),
    ];
    for (what, change) in changes {
        assert!(check(change).is_err(), "{what}");
    }
    assert!(Receipt::from_json(b"[]").is_err());
    assert!(Receipt::from_json(&[b' '; limits::ENVELOPE_BYTES_MAX]).is_err());
}

#[tokio::test]
async fn no_receipt_is_made_of_what_proves_nothing() {
    let world = world();
    let envelope = envelope(&world);
    // Signed by an orderer that was removed, or by too few.
    for signers in [&[0][..], &[0, 2], &[0, 0]] {
        let blocks = chain_with(&world, &envelope, signers);
        let error = receipt_from(&world, blocks, &envelope).await.unwrap_err();
        assert!(
            matches!(error, ReceiptError::Quorum(QuorumError::TooFew { .. })),
            "{error}"
        );
    }
    // The block has another transaction in its place.
    let blocks = changing(&world).blocks;
    let error = receipt_from(&world, blocks, &envelope).await.unwrap_err();
    assert!(matches!(error, ReceiptError::Elsewhere { .. }), "{error}");
}

#[tokio::test]
async fn no_receipt_is_made_of_a_transaction_without_effect() {
    let world = world();
    let envelope = envelope(&world);
    let mut chain = changing(&world);
    chain.blocks = chain_with(&world, &envelope, &[0, 1]);
    let (peer, network) = serve(&world, &chain).await;
    {
        let mut state = peer.state.lock();
        state.submitted.push(envelope.clone());
        state.code = ValidationCode::MvccReadConflict as u32;
    }
    let id = Envelope::decode(envelope).unwrap().header().id();
    let error = soon(network.receipt(world.configuration(), id, DEADLINE))
        .await
        .unwrap_err();
    assert!(matches!(error, ReceiptError::Invalid(_)), "{error}");
}
