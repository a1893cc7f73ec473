//! Signatures of creators and endorsers, verified in batches on all processors.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use stela_identity::{Identity, PublicKey, SignedMessage, verify_batch};
use stela_protocol::hash::{self, domain};
use stela_protocol::policy::Signer;
use stela_protocol::transaction::Envelope;
use stela_protocol::{Fingerprint, ValidationCode};
use stela_store::{LedgerRead, StoreError};

use super::Candidate;
use crate::limits::SIGNATURES_PER_THREAD_MIN;
use crate::membership::Membership;
use crate::workers::processors;

type Known = HashMap<Fingerprint, Arc<Identity>>;

/// Marks candidates whose creator signed them. An expired one is looked at too: its id is taken
/// when the signature is valid, so that it can be asked what became of it.
pub(super) fn check_creators(
    membership: &Membership,
    time_ms: u64,
    candidates: &mut [Candidate],
    ledger: &dyn LedgerRead,
) -> Result<(), StoreError> {
    let creators = candidates.iter().filter_map(|c| c.transaction());
    let wanted = creators.map(|t| t.proposal.header.creator).collect();
    let known = membership.find(ledger, &wanted)?;
    let asked: Vec<Option<PublicKey>> = candidates
        .iter()
        .map(|candidate| creator_key(candidate, &known, time_ms).filter(|_| is_asked(candidate)))
        .collect();
    let envelopes = candidates
        .iter()
        .map(|candidate| candidate.envelope.as_ref());
    let messages: Vec<SignedMessage<'_>> = envelopes
        .zip(&asked)
        .filter_map(|(envelope, key)| Some(creator_message(envelope?, key.as_ref()?)))
        .collect();
    let mut verdicts = verify(membership, &messages).into_iter();
    for (candidate, key) in candidates.iter_mut().zip(&asked) {
        candidate.signed = key.is_some() && verdicts.next().unwrap_or(false);
        let carries_no_key = candidate.brings_certificate() && candidate.certificate.is_none();
        if candidate.header().is_some() && !candidate.signed && !carries_no_key {
            candidate.fail(ValidationCode::BadCreatorSignature);
        }
    }
    Ok(())
}

impl Candidate {
    /// Whether its creator's certificate travels in it, rather than being known.
    fn brings_certificate(&self) -> bool {
        self.envelope.is_some() && self.transaction().is_none()
    }
}

fn is_asked(candidate: &Candidate) -> bool {
    matches!(candidate.verdict, None | Some(ValidationCode::Expired))
}

/// The key under which the creator signed; none when the creator is not known, or not valid now.
/// A registration and a change of the configuration bring their own key.
fn creator_key(candidate: &Candidate, known: &Known, time_ms: u64) -> Option<PublicKey> {
    if let Some(certificate) = &candidate.certificate {
        return Some(*certificate.public_key());
    }
    let creator = known.get(&candidate.transaction()?.proposal.header.creator)?;
    creator
        .check_time(time_ms)
        .ok()
        .map(|()| creator.public_key)
}

fn creator_message<'a>(envelope: &'a Envelope, key: &'a PublicKey) -> SignedMessage<'a> {
    SignedMessage {
        key,
        domain: domain::ENVELOPE,
        message: &envelope.signed.bytes,
        signature: &envelope.signed.signature,
    }
}

/// An endorsement whose endorser is known and valid.
struct Asked<'a> {
    candidate: usize,
    endorser: &'a Identity,
    /// Of this candidate, in the list of messages.
    message: usize,
    signature: &'a [u8],
}

/// Fails candidates whose endorsements do not satisfy the policy of their contract. Endorsements
/// that do not verify are not counted.
pub(super) fn check_endorsements(
    membership: &Membership,
    time_ms: u64,
    candidates: &mut [Candidate],
    ledger: &dyn LedgerRead,
) -> Result<(), StoreError> {
    let open = candidates.iter().filter_map(|c| c.open_transaction());
    let wanted: BTreeSet<Fingerprint> = open
        .flat_map(|t| &t.endorsements)
        .map(|endorsement| endorsement.endorser)
        .collect();
    let mut known = membership.find(ledger, &wanted)?;
    known.retain(|_, endorser| endorser.check_time(time_ms).is_ok());
    let signers = endorsers(membership, candidates, &known);
    for (candidate, signers) in candidates.iter_mut().zip(signers) {
        let Some(transaction) = candidate.open_transaction() else {
            continue;
        };
        let contract = membership
            .config()
            .contracts
            .get(&transaction.proposal.contract);
        if !contract.is_some_and(|contract| contract.policy.is_satisfied(&signers)) {
            candidate.fail(ValidationCode::EndorsementPolicyFailure);
        }
    }
    Ok(())
}

/// For each candidate, those whose endorsement of it is valid, in the order of the endorsements.
fn endorsers(membership: &Membership, candidates: &[Candidate], known: &Known) -> Vec<Vec<Signer>> {
    let mut messages = Vec::new();
    let mut asked = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(transaction) = candidate.open_transaction() else {
            continue;
        };
        messages.push(hash::endorsement_message(
            &transaction.proposal_bytes,
            &transaction.result_bytes,
        ));
        let message = messages.len() - 1;
        asked.extend(transaction.endorsements.iter().filter_map(|endorsement| {
            let endorser = known.get(&endorsement.endorser)?;
            let signature = endorsement.signature.as_slice();
            Some(Asked {
                candidate: index,
                endorser,
                message,
                signature,
            })
        }));
    }
    let signed: Vec<SignedMessage<'_>> = asked
        .iter()
        .map(|asked| SignedMessage {
            key: &asked.endorser.public_key,
            domain: domain::ENDORSEMENT,
            message: &messages[asked.message],
            signature: asked.signature,
        })
        .collect();
    let mut signers = vec![Vec::new(); candidates.len()];
    for (asked, valid) in asked.iter().zip(verify(membership, &signed)) {
        if valid {
            signers[asked.candidate].push(asked.endorser.as_signer());
        }
    }
    signers
}

/// Verifies what is not known to be valid. The verdicts are those of one by one, in the order of the
/// messages.
fn verify(membership: &Membership, messages: &[SignedMessage<'_>]) -> Vec<bool> {
    let mut verdicts: Vec<bool> = messages
        .iter()
        .map(|message| membership.verified().take(message))
        .collect();
    let unknown = messages.iter().zip(&verdicts).filter(|(_, known)| !**known);
    let unknown: Vec<SignedMessage<'_>> = unknown.map(|(message, _)| *message).collect();
    let mut found = verify_in_parallel(&unknown).into_iter();
    for verdict in verdicts.iter_mut().filter(|known| !**known) {
        *verdict = found.next().unwrap_or(false);
    }
    verdicts
}

fn verify_in_parallel(messages: &[SignedMessage<'_>]) -> Vec<bool> {
    let share = messages
        .len()
        .div_ceil(processors())
        .max(SIGNATURES_PER_THREAD_MIN);
    if messages.len() <= share {
        return verify_batch(messages);
    }
    std::thread::scope(|scope| {
        let shares: Vec<_> = messages
            .chunks(share)
            .map(|share| scope.spawn(move || verify_batch(share)))
            .collect();
        let join = |share: std::thread::ScopedJoinHandle<'_, Vec<bool>>| {
            share
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        shares.into_iter().flat_map(join).collect()
    })
}
