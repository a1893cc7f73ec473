//! How a block gathers the signatures of a quorum.
//!
//! An orderer signs a header once the block is durable here and of the current term, or after it is
//! committed, never earlier: a quorum of such signatures means that the block is committed, and no
//! other one with its number ever will be. Its signature goes to all other orderers. Whoever misses
//! signatures of a committed block asks one orderer after the other.

use std::collections::BTreeSet;

use raft::eraftpb::Entry;
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::{BlockNumber, Hash32, hash, pb};

use super::{Chain, ChainFault, Outgoing};
use crate::blocks::to_message;
use crate::layout::{DELIVERABLE, META, Signature, encode_numbers};
use crate::limits::{SIGNATURE_REQUEST_BLOCKS_MAX, SIGNATURES_PER_MESSAGE_MAX};
use crate::signatures::Signatures;

impl Chain {
    /// Signs what was just made durable, if it is of the current term and the next block. What is
    /// not is signed when it is committed.
    pub(super) fn sign_durable(&mut self, entries: &[Entry]) -> Result<(), ChainFault> {
        let term = self.raft.raft.term;
        for entry in entries
            .iter()
            .filter(|entry| entry.term == term && !entry.data.is_empty())
        {
            let Ok(block) = self.parse(entry) else {
                continue;
            };
            if !self.may_sign(block.header.number)? {
                continue;
            }
            let signature = self.sign(block.header.number, &block.hash);
            self.signatures
                .add_early(block.header.number, block.hash, signature);
            self.parsed.insert(entry.index, (term, block));
        }
        Ok(())
    }

    /// Signs the newest committed block, unless it was signed when it became durable.
    pub(super) fn sign_committed(&mut self, number: BlockNumber) -> Result<(), ChainFault> {
        let own = self.orderer;
        if self
            .signatures
            .of(number)?
            .iter()
            .all(|(orderer, _)| *orderer != own)
            && self.may_sign(number)?
            && let Some(hash) = self.committed_hash(number)?
        {
            let signature = self.sign(number, &hash);
            self.signatures.add(number, signature)?;
        }
        Ok(())
    }

    fn sign(&mut self, number: BlockNumber, hash: &Hash32) -> Signature {
        let signature = self.credentials.sign(hash::domain::HEADER, hash.as_bytes());
        let signature = (self.orderer, signature);
        self.announce
            .push(block_signature(number, hash, &signature));
        signature
    }

    /// Sends new signatures of this orderer to all others, also to one that they remove.
    pub(super) fn announce_signatures(&mut self) -> Result<(), ChainFault> {
        if self.announce.is_empty() {
            return Ok(());
        }
        let signatures = std::mem::take(&mut self.announce);
        let mut others: BTreeSet<u64> = self.others().into_iter().collect();
        for signature in &signatures {
            let channel = self.channel_before(BlockNumber(signature.number))?;
            others.extend(channel.others(self.orderer));
        }
        for to in others {
            let signatures = signatures.clone();
            let body = Body::Signatures(pb::HeaderSignatures { signatures });
            self.outbox.push(Outgoing { to, body });
        }
        Ok(())
    }

    pub(super) fn on_signatures(
        &mut self,
        from: u64,
        signatures: &[pb::BlockSignature],
    ) -> Result<(), ChainFault> {
        for signature in signatures.iter().take(SIGNATURES_PER_MESSAGE_MAX) {
            self.on_signature(signature)?;
        }
        self.advance_deliverable()?;
        let asked = std::mem::take(&mut self.asked_up_to);
        if asked.0 > 0 && self.deliverable >= asked {
            self.ask(from)?;
        } else {
            self.asked_up_to = asked;
        }
        Ok(())
    }

    fn on_signature(&mut self, message: &pb::BlockSignature) -> Result<(), ChainFault> {
        let Some((number, hash, signature)) = parse(message) else {
            return Ok(());
        };
        let orderer = signature.0;
        if number <= self.head.number {
            let wanted = self.committed_hash(number)? == Some(hash)
                && self
                    .signatures
                    .of(number)?
                    .iter()
                    .all(|(known, _)| *known != orderer);
            if wanted && self.is_genuine(number, &hash, &signature)? {
                self.signatures.add(number, signature)?;
            }
        } else if Signatures::has_room(self.head.number, number)
            && !self.signatures.has_early(number, &hash, orderer)
            && self.is_genuine(number, &hash, &signature)?
        {
            self.signatures.add_early(number, hash, signature);
        }
        Ok(())
    }

    fn is_genuine(
        &self,
        number: BlockNumber,
        hash: &Hash32,
        (orderer, signature): &Signature,
    ) -> Result<bool, ChainFault> {
        let channel = self.channel_before(number)?;
        let genuine = channel.verify(*orderer, hash, signature).is_ok();
        if !genuine {
            let (channel, number) = (self.channel.id(), number.0);
            tracing::warn!(%channel, orderer, number, "a header's signature does not count");
        }
        Ok(genuine)
    }

    /// Block 0 needs no signatures: whoever joins got its hash from the consortium.
    pub(super) fn advance_deliverable(&mut self) -> Result<(), ChainFault> {
        let before = self.deliverable;
        while self.deliverable < self.head.number {
            let next = self.deliverable.next();
            if !self.has_quorum(next)? {
                break;
            }
            self.deliverable = next;
        }
        if self.deliverable != before {
            self.batch
                .put(META, DELIVERABLE, encode_numbers(&[self.deliverable.0]));
        }
        Ok(())
    }

    fn has_quorum(&self, number: BlockNumber) -> Result<bool, ChainFault> {
        let quorum = self.channel_before(number)?.config().orderer_quorum;
        Ok(self.signatures.of(number)?.len() >= quorum)
    }

    /// Asks when nothing became deliverable for a whole tick although something is committed.
    pub(super) fn ask_for_signatures(&mut self) -> Result<(), ChainFault> {
        let before = std::mem::replace(&mut self.deliverable_at_tick, self.deliverable);
        if self.deliverable == self.head.number || self.deliverable != before {
            return Ok(());
        }
        let mut others: BTreeSet<u64> = self.others().into_iter().collect();
        // Who was removed may be the one whose signature is missing.
        let judge = self.channel_before(self.deliverable.next())?;
        others.extend(judge.others(self.orderer));
        let others: Vec<u64> = others.into_iter().collect();
        match others.get(self.tick as usize % others.len().max(1)) {
            Some(other) => self.ask(*other),
            None => self.sign_missing().map(drop),
        }
    }

    fn ask(&mut self, to: u64) -> Result<(), ChainFault> {
        let numbers = self.sign_missing()?;
        let Some(last) = numbers.last() else {
            return Ok(());
        };
        self.asked_up_to = BlockNumber(*last);
        let body = Body::SignatureRequest(pb::SignatureRequest { numbers });
        self.outbox.push(Outgoing { to, body });
        Ok(())
    }

    /// The next blocks without a quorum. A signature of our own that a crash took is made again. A
    /// block that was fetched has its quorum: it may not be durable yet, and is not signed.
    fn sign_missing(&mut self) -> Result<Vec<u64>, ChainFault> {
        let mut missing = Vec::new();
        let next = self.deliverable.0 + 1..=self.head.number.0;
        for number in next.take(SIGNATURE_REQUEST_BLOCKS_MAX).map(BlockNumber) {
            if !self.has_quorum(number)? {
                self.sign_committed(number)?;
                missing.push(number.0);
            }
        }
        self.advance_deliverable()?;
        Ok(missing)
    }

    pub(super) fn on_request(&mut self, from: u64, numbers: &[u64]) -> Result<(), ChainFault> {
        let mut signatures = Vec::new();
        for number in numbers.iter().take(SIGNATURE_REQUEST_BLOCKS_MAX) {
            let number = BlockNumber(*number);
            let Some(hash) = self.committed_hash(number)? else {
                continue;
            };
            let known = self.signatures.of(number)?;
            signatures.extend(
                known
                    .iter()
                    .map(|known| block_signature(number, &hash, known)),
            );
        }
        for signatures in signatures.chunks(SIGNATURES_PER_MESSAGE_MAX) {
            let signatures = signatures.to_vec();
            let body = Body::Signatures(pb::HeaderSignatures { signatures });
            self.outbox.push(Outgoing { to: from, body });
        }
        Ok(())
    }

    pub(super) fn committed_hash(&self, number: BlockNumber) -> Result<Option<Hash32>, ChainFault> {
        if number == self.head.number {
            return Ok(Some(self.head_hash));
        }
        Ok(self.blocks.place(number)?.map(|place| place.hash))
    }
}

fn block_signature(
    number: BlockNumber,
    hash: &Hash32,
    signature: &Signature,
) -> pb::BlockSignature {
    pb::BlockSignature {
        number: number.0,
        header_hash: hash.to_bytes(),
        signature: Some(to_message(signature)),
    }
}

fn parse(message: &pb::BlockSignature) -> Option<(BlockNumber, Hash32, Signature)> {
    let signature = message.signature.as_ref()?;
    let hash = Hash32::from_slice(&message.header_hash).ok()?;
    let bytes = signature.signature.as_ref().try_into().ok()?;
    Some((
        BlockNumber(message.number),
        hash,
        (signature.orderer, bytes),
    ))
}
