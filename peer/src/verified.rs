//! Signatures that this peer has verified already, or made itself.
//!
//! A gateway verifies a creator's signature before it passes an envelope on, and each endorsement
//! before it counts it; an endorser makes its own. When the transaction comes back in a block, the
//! same signatures would be verified again. What is remembered is a hash over all that a verdict
//! depends on, so validation finds the same verdicts whatever is remembered here.

use std::collections::HashSet;

use parking_lot::Mutex;
use stela_identity::{CombinedVerifier, SignatureError, SignatureToVerify, SignedMessage};
use stela_protocol::Hash32;
use stela_protocol::hash::{Hasher, domain};

use crate::limits::VERIFIED_MAX;

/// Verifies signatures of requests, and remembers valid ones, the newest; each is forgotten when it
/// is found.
#[derive(Default)]
pub(crate) struct Verified {
    verifier: CombinedVerifier,
    known: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashSet<Hash32>,
    /// Dropped when the young ones have become as many.
    old: HashSet<Hash32>,
}

impl Verified {
    /// Verifies a signature and remembers it if it is valid.
    pub(crate) async fn verify(&self, signed: SignatureToVerify) -> Result<(), SignatureError> {
        self.check(signed.clone()).await?;
        self.remember(&signed.as_message());
        Ok(())
    }

    /// Verifies a signature that does not come back in a block.
    pub(crate) async fn check(&self, signed: SignatureToVerify) -> Result<(), SignatureError> {
        self.verifier.verify(signed).await
    }

    /// Remembers a signature that is valid.
    pub(crate) fn remember(&self, signed: &SignedMessage<'_>) {
        let mark = mark(signed);
        let mut known = self.known.lock();
        if known.young.len() >= VERIFIED_MAX / 2 {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(mark);
    }

    /// Whether a signature is known to be valid. If not, it may be valid all the same.
    pub(crate) fn take(&self, signed: &SignedMessage<'_>) -> bool {
        let mark = mark(signed);
        let mut known = self.known.lock();
        known.young.remove(&mark) || known.old.remove(&mark)
    }
}

fn mark(signed: &SignedMessage<'_>) -> Hash32 {
    Hasher::new(domain::VERIFIED)
        .fixed(signed.key.as_bytes())
        .bytes(signed.domain)
        .bytes(signed.signature)
        .bytes(signed.message)
        .finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use stela_identity::SigningKey;

    use super::*;

    #[tokio::test]
    async fn only_the_same_signature_of_the_same_message_by_the_same_key_is_known_and_once() {
        let (key, other) = (
            SigningKey::from_seed(&[1; 32]),
            SigningKey::from_seed(&[2; 32]),
        );
        let message = Bytes::from_static(b"message");
        let good = SignatureToVerify {
            key: key.public_key(),
            domain: domain::ENVELOPE,
            signature: key.sign(domain::ENVELOPE, &message),
            message,
        };
        let mut flipped = good.clone();
        flipped.signature[63] ^= 1;
        let others = [
            SignatureToVerify {
                key: other.public_key(),
                ..good.clone()
            },
            SignatureToVerify {
                domain: domain::PROPOSAL,
                ..good.clone()
            },
            SignatureToVerify {
                message: Bytes::from_static(b"massage"),
                ..good.clone()
            },
            flipped,
        ];
        let verified = Verified::default();
        verified.verify(good.clone()).await.unwrap();
        for bad in others {
            assert!(!verified.take(&bad.as_message()));
            assert!(verified.verify(bad.clone()).await.is_err());
            assert!(!verified.take(&bad.as_message()));
        }
        assert!(verified.take(&good.as_message()));
        assert!(!verified.take(&good.as_message()));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let key = SigningKey::from_seed(&[1; 32]).public_key();
        let verified = Verified::default();
        let signed = |message| SignedMessage {
            key: &key,
            domain: domain::ENVELOPE,
            message,
            signature: &[7; 64],
        };
        let messages: Vec<[u8; 8]> = (0..=VERIFIED_MAX as u64).map(u64::to_be_bytes).collect();
        for message in &messages {
            verified.remember(&signed(message));
        }
        let kept = messages
            .iter()
            .filter(|m| verified.take(&signed(*m)))
            .count();
        assert!((VERIFIED_MAX / 2..=VERIFIED_MAX).contains(&kept), "{kept}");
        assert!(!verified.take(&signed(&messages[0])));
    }
}
