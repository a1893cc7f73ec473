//! What a leader does: it cuts blocks and proposes them.

use raft::StateRole;
use stela_protocol::Message;
use stela_protocol::block::Block;

use super::{Chain, ChainFault, InFlight};
use crate::limits::BLOCKS_IN_FLIGHT_MAX;

impl Chain {
    /// Cuts at once while nothing is in flight, so that no timer stands in the way of an idle
    /// system; while something is, only what fills a block.
    pub(super) fn cut(&mut self, now_ms: u64) -> Result<(), ChainFault> {
        while self.may_cut() {
            let cut = self.cutter.cut(self.pending.sizes());
            if cut.count == 0 || (!self.in_flight.is_empty() && !cut.full) {
                return Ok(());
            }
            if !self.propose(cut.count, now_ms)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A new leader waits until its own empty entry is applied: then it knows every committed block.
    fn may_cut(&self) -> bool {
        let raft = &self.raft.raft;
        raft.state == StateRole::Leader
            && self.may_cut_in_term == raft.term
            && self.in_flight.len() < BLOCKS_IN_FLIGHT_MAX
            && self.pending.waiting() > 0
    }

    fn propose(&mut self, count: usize, now_ms: u64) -> Result<bool, ChainFault> {
        let newest = self.in_flight.back();
        let (tip, tip_hash) = newest.map_or((&self.head, self.head_hash), |block| {
            (&block.header, block.hash)
        });
        let (number, last_config) = (tip.number.next(), tip.last_config);
        let time_ms = now_ms.max(tip.time_ms);
        let envelopes = self.pending.propose(count);
        let id = self.channel.id().clone();
        let block = Block::new(id, number, tip_hash, last_config, time_ms, envelopes);
        match self.raft.propose(Vec::new(), block.to_pb().encode_to_vec()) {
            Ok(()) => {
                let index = self.raft.raft.raft_log.last_index();
                let (header, hash) = (block.header.clone(), block.hash);
                self.in_flight.push_back(InFlight {
                    index,
                    header,
                    hash,
                });
                self.parsed.insert(index, (self.raft.raft.term, block));
                Ok(true)
            }
            Err(error @ raft::Error::Store(_)) => Err(error.into()),
            Err(error) => {
                tracing::debug!(channel = %self.channel.id(), %error, "proposal dropped");
                self.pending.restore();
                Ok(false)
            }
        }
    }
}
