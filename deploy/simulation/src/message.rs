//! What travels between the places.

use bytes::Bytes;
use stela_protocol::{Message as _, TransactionId, pb};
use stela_store::TransactionRecord;

/// Orderers' messages, envelopes and blocks are bytes as they travel in the real network.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// Between orderers: an encoded `ConsensusMessage`.
    Consensus(Bytes),
    /// From a client to an orderer.
    Broadcast(Broadcast),
    /// From a validator to an orderer: it wants the blocks from this one on.
    Deliver(u64),
    /// From an orderer to a validator: encoded blocks.
    Blocks(Vec<Bytes>),
    /// From a client to a validator: a proposal.
    Endorse(Bytes),
    /// From a validator to a client.
    Endorsed(Endorsed),
    /// From a client to a validator: what became of a transaction.
    Status(TransactionId),
    /// From a validator to a client.
    Committed(TransactionId, TransactionRecord),
}

#[derive(Debug, Clone)]
pub(crate) struct Broadcast {
    pub(crate) envelope: Bytes,
    /// Its signature is not its creator's, so nobody may admit it.
    pub(crate) forged: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Endorsed {
    pub(crate) transaction: TransactionId,
    pub(crate) result: Bytes,
    pub(crate) endorsement: pb::Endorsement,
}

impl Message {
    /// Its name and its bytes, for the trace.
    pub(crate) fn traced(&self) -> (&'static str, Bytes) {
        match self {
            Self::Consensus(bytes) => ("consensus", bytes.clone()),
            Self::Broadcast(broadcast) => ("broadcast", broadcast.envelope.clone()),
            Self::Deliver(start) => ("deliver", start.to_be_bytes().to_vec().into()),
            Self::Blocks(blocks) => ("blocks", blocks.concat().into()),
            Self::Endorse(proposal) => ("endorse", proposal.clone()),
            Self::Endorsed(endorsed) => {
                let signed = endorsed.endorsement.encode_to_vec();
                ("endorsed", [&endorsed.result[..], &signed].concat().into())
            }
            Self::Status(id) => ("status", id.to_bytes()),
            Self::Committed(id, record) => {
                ("committed", format!("{id} {record:?}").into_bytes().into())
            }
        }
    }
}
