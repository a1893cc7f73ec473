//! Signatures that this peer has verified already, or made itself.
//!
//! A gateway verifies a creator's signature before it passes an envelope on, and each endorsement
//! before it counts it; an endorser makes its own. When the transaction comes back in a block, the
//! same signatures would be verified again. What is remembered is a hash over all that a verdict
//! depends on, so validation finds the same verdicts whatever is remembered here.

use std::collections::HashSet;

use parking_lot::Mutex;
use stela_identity::{SignatureError, SignedMessage};
use stela_protocol::Hash32;
use stela_protocol::hash::{Hasher, domain};

use crate::limits::VERIFIED_MAX;

/// Valid signatures, the newest ones; each is forgotten when it is found.
#[derive(Default)]
pub(crate) struct Verified(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashSet<Hash32>,
    /// Dropped when the young ones have become as many.
    old: HashSet<Hash32>,
}

impl Verified {
    /// Verifies a signature and remembers it if it is valid.
    pub(crate) fn verify(&self, signed: &SignedMessage<'_>) -> Result<(), SignatureError> {
        signed
            .key
            .verify(signed.domain, signed.message, signed.signature)?;
        self.remember(signed);
        Ok(())
    }

    /// Remembers a signature that is valid.
    pub(crate) fn remember(&self, signed: &SignedMessage<'_>) {
        let mark = mark(signed);
        let mut known = self.0.lock();
        if known.young.len() >= VERIFIED_MAX / 2 {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(mark);
    }

    /// Whether a signature is known to be valid. If not, it may be valid all the same.
    pub(crate) fn take(&self, signed: &SignedMessage<'_>) -> bool {
        let mark = mark(signed);
        let mut known = self.0.lock();
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
    use stela_identity::SigningKey;

    use super::*;

    #[test]
    fn only_the_same_signature_of_the_same_message_by_the_same_key_is_known_and_once() {
        let (key, other) = (
            SigningKey::from_seed(&[1; 32]),
            SigningKey::from_seed(&[2; 32]),
        );
        let (public, foreign) = (key.public_key(), other.public_key());
        let (domain, message) = (domain::ENVELOPE, b"message".as_slice());
        let signature = key.sign(domain, message);
        let good = SignedMessage {
            key: &public,
            domain,
            message,
            signature: &signature,
        };
        let mut flipped = signature;
        flipped[63] ^= 1;
        let others = [
            SignedMessage {
                key: &foreign,
                ..good
            },
            SignedMessage {
                domain: domain::PROPOSAL,
                ..good
            },
            SignedMessage {
                message: b"massage",
                ..good
            },
            SignedMessage {
                signature: &flipped,
                ..good
            },
        ];
        let verified = Verified::default();
        verified.verify(&good).unwrap();
        for bad in &others {
            assert!(verified.verify(bad).is_err());
            assert!(!verified.take(bad));
        }
        assert!(verified.take(&good));
        assert!(!verified.take(&good));
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
