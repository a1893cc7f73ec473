//! Signatures of requests that come at the same time, verified together.
//!
//! Verifying many signatures at once costs about half of verifying each, with the same verdicts
//! ([`verify_batch`]). Requests come one by one, but under load many are ready to go on at the same
//! time; whoever is first verifies the signatures of all.

use std::fmt;

use bytes::Bytes;
use parking_lot::Mutex;
use stela_protocol::limits::SIGNATURE_BYTES;
use tokio::sync::oneshot;

use crate::keys::{PublicKey, SignatureError, SignedMessage, verify_batch};
use crate::limits::VERIFIED_TOGETHER_MAX;

/// Verifies signatures of requests, many together when many come. There is no timer: a signature that
/// comes alone is verified at once.
#[derive(Default)]
pub struct CombinedVerifier {
    waiting: Mutex<Vec<Waiting>>,
}

/// A signature to verify, with what it is said to be over.
#[derive(Debug, Clone)]
pub struct SignatureToVerify {
    /// Whose.
    pub key: PublicKey,
    /// In which domain.
    pub domain: &'static [u8],
    /// Over what.
    pub message: Bytes,
    /// The signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl SignatureToVerify {
    /// The same, borrowed.
    pub fn as_message(&self) -> SignedMessage<'_> {
        SignedMessage {
            key: &self.key,
            domain: self.domain,
            message: &self.message,
            signature: &self.signature,
        }
    }
}

struct Waiting {
    signed: SignatureToVerify,
    verdict: oneshot::Sender<bool>,
}

impl CombinedVerifier {
    /// Verifies a signature.
    ///
    /// # Errors
    /// [`SignatureError`] when it is not valid: the verdict is that of [`PublicKey::verify`].
    pub async fn verify(&self, signed: SignatureToVerify) -> Result<(), SignatureError> {
        let (verdict, mut told) = oneshot::channel();
        self.waiting.lock().push(Waiting { signed, verdict });
        // Other requests that are ready now add theirs.
        tokio::task::yield_now().await;
        loop {
            if let Ok(valid) = told.try_recv() {
                return valid.then_some(()).ok_or(SignatureError);
            }
            let taken = self.take();
            if taken.is_empty() {
                // Somebody else has taken this one and is at it.
                let valid = told.await.unwrap_or(false);
                return valid.then_some(()).ok_or(SignatureError);
            }
            verify_together(taken);
        }
    }

    /// The oldest of those that wait.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(VERIFIED_TOGETHER_MAX);
        waiting.drain(..count).collect()
    }
}

impl fmt::Debug for CombinedVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CombinedVerifier")
    }
}

fn verify_together(waiting: Vec<Waiting>) {
    let messages: Vec<SignedMessage<'_>> = waiting
        .iter()
        .map(|waiting| waiting.signed.as_message())
        .collect();
    let verdicts = match messages.as_slice() {
        [alone] => {
            let verdict = alone
                .key
                .verify(alone.domain, alone.message, alone.signature);
            vec![verdict.is_ok()]
        }
        messages => verify_batch(messages),
    };
    for (waiting, valid) in waiting.into_iter().zip(verdicts) {
        // Whoever has gone away does not mind.
        let _ = waiting.verdict.send(valid);
    }
}

#[cfg(test)]
mod tests {
    use stela_protocol::hash::domain;

    use super::*;
    use crate::keys::SigningKey;

    fn signed(key: &SigningKey, number: usize, valid: bool) -> SignatureToVerify {
        let message = Bytes::from(number.to_be_bytes().to_vec());
        let mut signature = key.sign(domain::PROPOSAL, &message);
        signature[40] ^= u8::from(!valid);
        SignatureToVerify {
            key: key.public_key(),
            domain: domain::PROPOSAL,
            message,
            signature,
        }
    }

    #[tokio::test]
    async fn every_signature_gets_its_own_verdict_alone_and_among_many() {
        let keys: Vec<SigningKey> = (0..5).map(|n| SigningKey::from_seed(&[n; 32])).collect();
        let verifier = CombinedVerifier::default();
        for many in [1, 2, 3, VERIFIED_TOGETHER_MAX * 2 + 7] {
            let asked = (0..many).map(|number| {
                let valid = number % 7 != 3;
                let signed = signed(&keys[number % keys.len()], number, valid);
                let verifier = &verifier;
                async move { assert_eq!(verifier.verify(signed).await.is_ok(), valid, "{number}") }
            });
            futures::future::join_all(asked).await;
        }
        assert!(verifier.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_keeps_nobody_waiting() {
        let key = SigningKey::from_seed(&[1; 32]);
        let verifier = CombinedVerifier::default();
        let mut given_up = Box::pin(verifier.verify(signed(&key, 1, true)));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        assert!(verifier.verify(signed(&key, 2, true)).await.is_ok());
        assert!(verifier.waiting.lock().is_empty());
    }
}
