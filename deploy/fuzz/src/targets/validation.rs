//! A block of any envelopes, as a peer judges it.

use bytes::Bytes;
use prost::Message;
use stela_identity::Credentials;
use stela_orderer::admission::Admission;
use stela_orderer::blocks::Blocks;
use stela_orderer::configurations::InForce;
use stela_peer::validation::{Rules, validate};
use stela_protocol::block::Block;
use stela_protocol::{BlockNumber, ValidationCode, hash, pb};
use stela_store::{BlockCommit, PeerLedger};
use tokio::sync::watch;

use std::sync::Arc;

use crate::world::{START_MS, World, endorsement, seal};

const ENVELOPES_MAX: usize = 8;

/// The input is a `Block`, of which only the envelopes count. Where a signature is missing, its owner
/// signs, so that a search gets past the signatures.
///
/// Every peer judges alike, alone and in a batch; what is judged can be committed; nothing counts
/// twice; and what an orderer admits is never something that cannot be read.
pub(super) fn validate_block(input: &[u8]) {
    let Ok(given) = pb::Block::decode(input) else {
        return;
    };
    let world = World::get();
    let envelopes = given.envelopes.into_iter().take(ENVELOPES_MAX);
    let envelopes: Vec<Bytes> = envelopes.map(|bytes| signed(world, bytes)).collect();
    let ledger = world.ledger();
    let block = next(&world.genesis, envelopes.clone());
    let commit = judge(world, &ledger, &block);
    assert_eq!(commit.codes.len(), envelopes.len());
    let again = judge(world, &ledger, &block);
    assert_eq!(
        (&again.codes, again.state_hash),
        (&commit.codes, commit.state_hash)
    );
    for (envelope, code) in envelopes.iter().zip(&commit.codes) {
        check_alone(world, &ledger, envelope, *code);
    }
    let valid = commit.codes.iter().filter(|code| code.is_valid()).count();
    assert!(commit.writes.len() <= valid * 10_000);
    ledger
        .commit(commit.clone())
        .expect("what was judged can be committed");
    let second = judge(world, &ledger, &next(&block, envelopes));
    for (before, after) in commit.codes.iter().zip(&second.codes) {
        assert!(
            !after.is_valid() || !before.is_valid(),
            "nothing counts twice"
        );
        if before.is_valid() {
            assert_eq!(*after, ValidationCode::DuplicateTxid);
        }
    }
    assert!(second.writes.is_empty() || second.codes.iter().any(|code| code.is_valid()));
    ledger
        .commit(second)
        .expect("what was judged can be committed");
}

fn judge(world: &World, ledger: &PeerLedger, block: &Block) -> BlockCommit {
    let organization = world.peers[0].certificate.organization();
    let rules = Rules {
        membership: &world.membership,
        organization,
    };
    let snapshot = ledger.snapshot().expect("memory does not fail");
    validate(&rules, block, &snapshot).expect("memory does not fail")
}

fn next(previous: &Block, envelopes: Vec<Bytes>) -> Block {
    let header = &previous.header;
    let (channel, number) = (header.channel.clone(), header.number.next());
    Block::new(
        channel,
        number,
        previous.hash,
        BlockNumber(0),
        START_MS + number.0,
        envelopes,
    )
}

/// Alone in its block an envelope fails at the same check, unless others of its block have to do
/// with it; and an orderer at the same time admits none that no peer can read or verify.
fn check_alone(world: &World, ledger: &PeerLedger, envelope: &Bytes, code: ValidationCode) {
    use ValidationCode as Code;
    let alone = judge(world, ledger, &next(&world.genesis, vec![envelope.clone()])).codes[0];
    let among_others = [
        Code::DuplicateTxid,
        Code::MvccReadConflict,
        Code::PhantomReadConflict,
        Code::Valid,
    ];
    if !among_others.contains(&code) {
        assert_eq!(alone, code);
    }
    assert_ne!(alone, Code::DuplicateTxid, "no id was taken before");
    let kv = Arc::new(world.orderer_kv());
    let (_, in_force) = watch::channel(Arc::new(InForce::only(world.channel.clone())));
    let admission = Admission::new(in_force, Blocks::new(kv));
    if admission.admit(envelope.clone(), START_MS + 1).is_ok() {
        let unreadable = [
            Code::NilEnvelope,
            Code::BadPayload,
            Code::BadCommonHeader,
            Code::BadRwset,
            Code::TargetChainNotFound,
            Code::Expired,
            Code::InvalidConfigTransaction,
        ];
        assert!(!unreadable.contains(&alone), "an orderer admitted {alone}");
        let registered = matches!(alone, Code::BadCreatorSignature);
        assert!(!registered, "an orderer admitted a forged signature");
    }
}

/// The envelope with the signatures that were left out.
fn signed(world: &World, bytes: Bytes) -> Bytes {
    let Ok(envelope) = pb::Envelope::decode(bytes.clone()) else {
        return bytes;
    };
    if !envelope.signature.is_empty() {
        return bytes;
    }
    let Ok(mut payload) = pb::Payload::decode(envelope.payload.clone()) else {
        return bytes;
    };
    let creator = match &mut payload.body {
        Some(pb::payload::Body::Registration(_)) => &world.newcomer,
        Some(pb::payload::Body::Transaction(transaction)) => {
            endorse(world, transaction);
            &world.client
        }
        _ => return bytes,
    };
    seal(payload.encode_to_vec().into(), creator)
}

fn endorse(world: &World, transaction: &mut pb::Transaction) {
    let message = hash::endorsement_message(&transaction.proposal, &transaction.result);
    let whose =
        |by: &pb::Endorsement, one: &Credentials| by.endorser == one.fingerprint().to_bytes();
    for given in transaction
        .endorsements
        .iter_mut()
        .filter(|one| one.signature.is_empty())
    {
        if let Some(peer) = world.everybody().find(|one| whose(given, one)) {
            *given = endorsement(peer, &message);
        }
    }
}

pub(super) mod seeds {
    use stela_protocol::transaction::Proposal;

    use super::*;
    use crate::targets::protocol::seeds::envelopes;
    use crate::world::result;

    fn block(envelopes: Vec<Bytes>) -> Vec<u8> {
        pb::Block {
            envelopes,
            ..Default::default()
        }
        .encode_to_vec()
    }

    /// The same without signatures, for the target to sign.
    fn unsigned(envelope: &Bytes) -> Bytes {
        let mut envelope = pb::Envelope::decode(envelope.clone()).expect("an envelope");
        let mut payload = pb::Payload::decode(envelope.payload).expect("a payload");
        if let Some(pb::payload::Body::Transaction(transaction)) = &mut payload.body {
            transaction
                .endorsements
                .iter_mut()
                .for_each(|one| one.signature.clear());
        }
        envelope.payload = payload.encode_to_vec().into();
        envelope.signature.clear();
        envelope.encode_to_vec().into()
    }

    pub(in crate::targets) fn validate_block() -> Vec<Vec<u8>> {
        use pb::write::Change;
        let world = World::get();
        let call = |nonce: u8, key: &str, height| {
            let proposal = world.proposal(nonce, &[b"argument"]);
            world.call(&proposal, &result(key, height, Change::Argument(0)))
        };
        let other = Proposal {
            contract: "other".parse().expect("a name"),
            ..world.proposal(9, &[])
        };
        let other = world.call(&other, &result("k", None, Change::Delete(true)));
        let height = Some(pb::Height {
            block: 1,
            transaction: 0,
        });
        // The second reads what the first one writes; the third writes into a range of the fourth.
        let conflict = [call(1, "k", None), call(2, "k", None), call(3, "k", height)];
        let phantom = [call(4, "x1", None), call(5, "l", None)];
        let open: Vec<Bytes> = conflict.iter().chain(&phantom).map(unsigned).collect();
        vec![
            block(envelopes()),
            block(envelopes().iter().map(unsigned).collect()),
            block(conflict.to_vec()),
            block(phantom.to_vec()),
            block(open),
            block(vec![call(6, "k", None), call(6, "k", None), other]),
            block(vec![
                world.genesis.envelopes[0].slice(..200),
                Bytes::from_static(b"no envelope"),
            ]),
        ]
    }
}
