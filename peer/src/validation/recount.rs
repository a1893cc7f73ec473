//! The state hash, found again from a block and the verdicts on it alone.

use stela_protocol::block::Block;
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{Hash32, ValidationCode, hash};

use super::mvcc::{self, Overlay};

/// The state hash after a block on which these verdicts were found. It asks nothing about whether
/// they are right.
pub(crate) fn state_hash(previous: &Hash32, block: &Block, codes: &[ValidationCode]) -> Hash32 {
    let number = block.header.number;
    let mut overlay = Overlay::default();
    for (index, (envelope, code)) in block.envelopes.iter().zip(codes).enumerate() {
        if !code.is_valid() {
            continue;
        }
        let envelope = Envelope::decode(envelope.clone());
        if let Ok(Body::Transaction(transaction)) = envelope.map(|envelope| envelope.body) {
            overlay.apply(&transaction, mvcc::height(number, index));
        }
    }
    hash::state(previous, number, &block.hash, codes, overlay.changes())
}
