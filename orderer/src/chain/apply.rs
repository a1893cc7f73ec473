//! What becomes of committed entries.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};
use stela_identity::Configuration;
use stela_protocol::block::Block;
use stela_protocol::pb::payload::Body;
use stela_protocol::{Fingerprint, Message, Nonce, TransactionId, hash, pb};

use super::config::Next;
use super::{Chain, ChainFault};
use crate::layout::{BLOCKS, BlockPlace, CERTIFICATES, encode_certificate, key};

impl Chain {
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), ChainFault> {
        let Some(index) = entries.last().map(|entry| entry.index) else {
            return Ok(());
        };
        for entry in entries {
            self.apply_entry(entry)?;
        }
        self.applied = index;
        self.stage_applied();
        self.advance_deliverable()
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<(), ChainFault> {
        let (index, term) = (entry.index, entry.term);
        if entry.data.is_empty() && entry.entry_type == EntryType::EntryNormal {
            // A new leader's first entry. If it is our own, everything before it is applied now.
            self.may_cut_in_term = term;
            return Ok(());
        }
        let decoded = self.decode(&entry);
        self.parsed = self.parsed.split_off(&(index + 1));
        while self
            .in_flight
            .pop_front_if(|block| block.index <= index)
            .is_some()
        {}
        let next = match decoded {
            Ok((block, change)) if self.recognise(index, &block, change)? => {
                return self.change_voters(change);
            }
            Ok((block, change)) => self.judge(block, change),
            Err(error) => Err(error),
        };
        match next {
            Ok(Next { block, new, change }) => {
                let number = block.header.number;
                self.commit_block(index, block, new)?;
                self.change_voters(change)?;
                self.sign_committed(number)
            }
            Err(error) => {
                // Every orderer finds the same entry and skips it alike. Whatever it carried that
                // waits here returns to the queue.
                let channel = self.channel.id();
                tracing::error!(%channel, index, term, %error, "a committed entry is no block");
                self.pending.restore();
                Ok(())
            }
        }
    }

    /// Takes a committed block; `index` 0: it is not in the log.
    pub(super) fn commit_block(
        &mut self,
        index: u64,
        block: Block,
        new: Option<Configuration>,
    ) -> Result<(), ChainFault> {
        let (number, hash) = (block.header.number, block.hash);
        self.batch
            .put(BLOCKS, key(number.0), BlockPlace { index, hash }.encode());
        for envelope in &block.envelopes {
            self.commit_envelope(&block, envelope)?;
        }
        self.signatures.commit(number, &hash)?;
        tracing::debug!(
            channel = %self.channel.id(), number = number.0, envelopes = block.envelopes.len(),
            "block committed"
        );
        self.head = block.header;
        self.head_hash = hash;
        new.map_or(Ok(()), |new| self.put_in_force(new, number))
    }

    fn commit_envelope(&mut self, block: &Block, envelope: &Bytes) -> Result<(), ChainFault> {
        let Some(summary) = Summary::of(envelope) else {
            return Ok(());
        };
        self.pending
            .committed(summary.id, envelope, block.header.time_ms);
        if let Some((fingerprint, der)) = summary.certificate
            && self.blocks.certificate(&fingerprint)?.is_none()
        {
            let value = encode_certificate(block.header.number, &der);
            self.batch.put(CERTIFICATES, fingerprint.to_bytes(), value);
        }
        Ok(())
    }
}

/// What an orderer wants to know of an ordered envelope. Nothing in it is verified: whether a
/// certificate is acceptable is asked when it is used.
struct Summary {
    id: TransactionId,
    certificate: Option<(Fingerprint, Bytes)>,
}

impl Summary {
    fn of(envelope: &Bytes) -> Option<Self> {
        let envelope = pb::Envelope::decode(envelope.clone()).ok()?;
        match pb::Payload::decode(envelope.payload).ok()?.body? {
            Body::Transaction(transaction) => {
                let proposal = pb::Proposal::decode(transaction.proposal).ok()?;
                let id = transaction_id(&proposal.nonce, &proposal.creator)?;
                Some(Self {
                    id,
                    certificate: None,
                })
            }
            Body::Registration(bytes) => {
                let registration = pb::Registration::decode(bytes).ok()?;
                let id = transaction_id(&registration.nonce, &registration.creator)?;
                let der = registration.certificate;
                Some(Self {
                    id,
                    certificate: Some((hash::fingerprint(&der), der)),
                })
            }
            Body::Config(bytes) => {
                let update = pb::ConfigUpdate::decode(bytes).ok()?;
                Some(Self {
                    id: transaction_id(&update.nonce, &update.creator)?,
                    certificate: None,
                })
            }
        }
    }
}

fn transaction_id(nonce: &[u8], creator: &[u8]) -> Option<TransactionId> {
    let nonce = Nonce::from_slice(nonce).ok()?;
    Some(hash::transaction_id(
        &nonce,
        &Fingerprint::from_slice(creator).ok()?,
    ))
}
