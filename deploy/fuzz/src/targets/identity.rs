//! Certificates, keys in files, and signatures.

use bytes::Bytes;
use prost::Message;
use stela_client::{Quorum, QuorumError};
use stela_identity::{Certificate, PublicKey, SignedMessage, SigningKey, limits, verify_batch};
use stela_peer::validation::{BlockRefused, Tip, check_block};
use stela_protocol::block::Block;
use stela_protocol::hash::{self, domain};
use stela_protocol::limits::CERTIFICATE_BYTES_MAX;
use stela_protocol::pb;

use crate::parts::Parts;
use crate::world::World;

/// Nobody is admitted under a certificate that was not issued, byte for byte.
pub(super) fn certificate(input: &[u8]) {
    let Ok(certificate) = Certificate::from_der(input) else {
        return;
    };
    assert!(input.len() <= CERTIFICATE_BYTES_MAX);
    assert_eq!(certificate.der(), input);
    assert_eq!(certificate.fingerprint(), hash::fingerprint(input));
    assert_eq!(
        Certificate::from_pem(&certificate.to_pem()).as_ref(),
        Ok(&certificate)
    );
    assert!(certificate.not_before_ms() <= certificate.not_after_ms());
    assert!(certificate.attributes().len() <= limits::ATTRIBUTES_MAX);
    assert_ne!(
        certificate.role(),
        "member",
        "nobody has the role that stands for all"
    );
    assert!((1..=limits::COMMON_NAME_BYTES_MAX).contains(&certificate.common_name().len()));
    let world = World::get();
    let admitted = world.membership.msp().admit(&certificate);
    let issued = world.everybody().any(|one| one.certificate == certificate);
    assert_eq!(admitted.is_ok(), issued);
}

/// Text of a file with a certificate, or with a key.
pub(super) fn pem(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(certificate) = Certificate::from_pem(text) {
        assert_eq!(
            Certificate::from_pem(&certificate.to_pem()).as_ref(),
            Ok(&certificate)
        );
    }
    if let Ok(key) = SigningKey::from_pem(text) {
        let again = SigningKey::from_pem(&key.to_pem()).expect("what was written is read");
        assert_eq!(again.public_key(), key.public_key());
    }
}

/// A batch has the verdicts of its parts. A byte says who signs and how, then key, signature and
/// message follow.
pub(super) fn signatures(input: &[u8]) {
    let mut parts = Parts::of(input);
    let mut given = Vec::new();
    while !parts.is_empty() && given.len() < 8 {
        let kind = parts.byte();
        let (key, signature, message) = (parts.part(), parts.part(), parts.part());
        let own = SigningKey::from_seed(&[kind >> 2; 32]);
        let signature = match kind & 3 {
            0 => own.sign(domain::ENVELOPE, message).to_vec(),
            // The signer's commitment with another answer, and the other way round.
            1 => [&own.sign(domain::ENVELOPE, message)[..32], signature].concat(),
            2 => [signature, &own.sign(domain::ENVELOPE, message)[32..]].concat(),
            _ => signature.to_vec(),
        };
        match PublicKey::from_bytes(key) {
            Ok(key) => given.push((key, signature, message)),
            Err(_) => given.push((own.public_key(), signature, message)),
        }
    }
    let messages: Vec<SignedMessage<'_>> = given
        .iter()
        .map(|(key, signature, message)| SignedMessage {
            key,
            domain: domain::ENVELOPE,
            message,
            signature,
        })
        .collect();
    let alone = given
        .iter()
        .map(|(key, signature, message)| key.verify(domain::ENVELOPE, message, signature).is_ok());
    assert_eq!(verify_batch(&messages), alone.collect::<Vec<_>>());
    for (key, signature, message) in &given {
        let other = key.verify(domain::PROPOSAL, message, signature);
        let own = key.verify(domain::ENVELOPE, message, signature);
        assert!(
            own.is_err() || other.is_err(),
            "a signature counts in one domain"
        );
    }
}

/// Peer and client find the same blocks signed by a quorum.
pub(super) fn header_signatures(input: &[u8]) {
    let Ok(message) = pb::Block::decode(input) else {
        return;
    };
    let world = World::get();
    let judged = check_block(&world.membership, &Tip::of(&world.genesis), message.clone());
    let Ok(block) = Block::from_pb(message) else {
        return assert!(matches!(judged, Err(BlockRefused::Block(_))));
    };
    let follows = block.check_follows(&world.genesis.header, &world.genesis.hash);
    let signed = Quorum::new(world.configuration.clone()).check(&block);
    match judged {
        Ok(judged) => {
            assert!(follows.is_ok() && signed.is_ok());
            assert!(judged.signatures.is_sorted_by(|a, b| a.orderer < b.orderer));
            let again = check_block(&world.membership, &Tip::of(&world.genesis), judged.to_pb());
            assert_eq!(again.map(|block| block.signatures), Ok(judged.signatures));
        }
        Err(BlockRefused::Block(_)) => assert!(follows.is_err()),
        Err(BlockRefused::TooFewSignatures { .. }) => {
            assert!(follows.is_ok());
            assert!(matches!(signed, Err(QuorumError::TooFew { .. })));
        }
        Err(BlockRefused::LastConfig(why)) => {
            assert!(follows.is_ok());
            assert!(matches!(signed, Err(QuorumError::LastConfig(other)) if other == why));
        }
    }
}

pub(super) mod seeds {
    use super::*;
    use crate::parts::joined;
    use crate::targets::protocol::seeds::{envelopes, next_block, signed_block};

    pub(in crate::targets) fn certificate() -> Vec<Vec<u8>> {
        let world = World::get();
        let roots = world.config.organizations.iter();
        let roots = roots.flat_map(|o| [&o.root_certificate, &o.tls_root_certificates[0]]);
        world
            .everybody()
            .map(|one| one.certificate.der())
            .chain(roots.take(2))
            .map(|der| der.to_vec())
            .collect()
    }

    pub(in crate::targets) fn pem() -> Vec<Vec<u8>> {
        let world = World::get();
        let key = world.client.key.to_pem();
        let certificate = world.client.certificate.to_pem();
        vec![
            key.as_bytes().to_vec(),
            certificate.clone().into_bytes(),
            certificate.replace('\n', "\r\n").into_bytes(),
            [certificate.as_bytes(), key.as_bytes()].concat(),
        ]
    }

    pub(in crate::targets) fn signatures() -> Vec<Vec<u8>> {
        let own = SigningKey::from_seed(&[1; 32]);
        let (key, message) = (*own.public_key().as_bytes(), b"message");
        let signature = own.sign(domain::ENVELOPE, message);
        let small_order = [1; 1].into_iter().chain([0; 31]).collect::<Vec<u8>>();
        let item = |kind: u8, key: &[u8], signature: &[u8]| {
            [vec![kind], joined([key, signature, message])].concat()
        };
        vec![
            item(3, &key, &signature),
            [
                item(3, &key, &signature),
                item(8, b"", b""),
                item(4, b"", b""),
            ]
            .concat(),
            [
                item(5, &key, &signature[32..]),
                item(6, &key, &signature[..32]),
            ]
            .concat(),
            [item(3, &small_order, &[0; 64]), item(3, &key, &[0; 64])].concat(),
        ]
    }

    pub(in crate::targets) fn header_signatures() -> Vec<Vec<u8>> {
        let whole = signed_block(vec![envelopes().remove(0)]);
        let changed = |change: fn(&mut pb::Block)| {
            let mut block = whole.clone();
            change(&mut block);
            block
        };
        [
            whole.clone(),
            changed(|block| block.signatures.truncate(2)),
            changed(|block| block.signatures.truncate(1)),
            changed(|block| block.signatures[1] = block.signatures[0].clone()),
            changed(|block| block.signatures[1].orderer = 3),
            next_block(vec![Bytes::from_static(b"x")]).to_pb(),
        ]
        .map(|block| block.encode_to_vec())
        .into()
    }
}
