//! What a leader does: it cuts blocks and proposes them.

use raft::StateRole;
use stela_identity::config_update;
use stela_protocol::block::Block;
use stela_protocol::{BlockNumber, Message};

use super::{Chain, ChainFault, InFlight};
use crate::channel::Change;
use crate::codec;
use crate::limits::{BLOCKS_IN_FLIGHT_MAX, CUT_PAUSE_MS_MAX, CUT_PAUSE_PER_ENVELOPE_MS};

/// The block that was cut last by this node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LastCut {
    at_ms: u64,
    /// Of envelopes.
    count: usize,
}

impl LastCut {
    fn pause_end_ms(self) -> u64 {
        let more = u64::try_from(self.count.saturating_sub(1)).unwrap_or(u64::MAX);
        let pause_ms = more.saturating_mul(CUT_PAUSE_PER_ENVELOPE_MS);
        self.at_ms.saturating_add(pause_ms.min(CUT_PAUSE_MS_MAX))
    }
}

impl Chain {
    /// Cuts at once while nothing is in flight and little was cut before, so that no timer stands in
    /// the way of an idle system. While something is in flight, only what fills a block. After a block
    /// of many envelopes there is a pause that grows with them: a block costs every node a write, a
    /// delivery and signatures, and under load there would be too many small ones.
    pub(super) fn cut(&mut self, now_ms: u64) -> Result<(), ChainFault> {
        while self.may_cut() {
            let proposed = if self.pending.next_stands_alone() {
                self.in_flight.is_empty() && self.propose_change(now_ms)?
            } else {
                let cut = self.cutter.cut(self.pending.sizes());
                let due = cut.full || self.in_flight.is_empty() && !self.pauses(now_ms);
                cut.count > 0 && due && self.propose_next(cut.count, now_ms)?
            };
            if !proposed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A new leader waits until its own empty entry is applied: then it knows every committed block.
    fn may_cut(&self) -> bool {
        let raft = &self.raft.raft;
        raft.state == StateRole::Leader
            && raft.prs().get(self.orderer).is_some()
            && self.may_cut_in_term == raft.term
            && self.in_flight.len() < BLOCKS_IN_FLIGHT_MAX
            && self.pending.waiting() > 0
    }

    /// For how many milliseconds envelopes wait for nothing but the end of a pause; nothing when none
    /// does.
    pub fn pause_ms(&self, now_ms: u64) -> Option<u64> {
        let waits = self.may_cut() && self.in_flight.is_empty() && self.pauses(now_ms);
        waits.then(|| self.last_cut.pause_end_ms().saturating_sub(now_ms))
    }

    /// A clock that was set back ends a pause.
    fn pauses(&self, now_ms: u64) -> bool {
        (self.last_cut.at_ms..self.last_cut.pause_end_ms()).contains(&now_ms)
    }

    fn propose_next(&mut self, count: usize, now_ms: u64) -> Result<bool, ChainFault> {
        let newest = self.in_flight.back();
        let (tip, tip_hash) = newest.map_or((&self.head, self.head_hash), |block| {
            (&block.header, block.hash)
        });
        let (number, last_config) = (tip.number.next(), tip.last_config);
        let time_ms = now_ms.max(tip.time_ms);
        let envelopes = self.pending.propose(count);
        self.last_cut = LastCut {
            at_ms: now_ms,
            count,
        };
        let id = self.channel.id().clone();
        let block = Block::new(id, number, tip_hash, last_config, time_ms, envelopes);
        self.propose(block, None)
    }

    /// A change of the configuration has a block of its own, and nothing is in flight when it is
    /// cut: so it is known here whether it will be valid. One that will not be is ordered like any
    /// other envelope and does not count, so that whoever submitted it hears of it.
    fn propose_change(&mut self, now_ms: u64) -> Result<bool, ChainFault> {
        if self.raft.raft.has_pending_conf() {
            return Ok(false);
        }
        let number = self.head.number.next();
        let time_ms = now_ms.max(self.head.time_ms);
        let envelopes = self.pending.propose(1);
        let cut = |last_config: BlockNumber| {
            let (id, envelopes) = (self.channel.id().clone(), envelopes.clone());
            Block::new(id, number, self.head_hash, last_config, time_ms, envelopes)
        };
        let (current, last) = (self.channel.configuration(), self.head.last_config);
        let block = cut(number);
        match config_update::follow(current, last, &block) {
            Ok(new) => {
                let change = new.as_ref().and_then(|new| self.channel.change_to(new));
                self.propose(block, change)
            }
            Err(_) => self.propose(cut(last), None),
        }
    }

    fn propose(&mut self, block: Block, change: Option<Change>) -> Result<bool, ChainFault> {
        let bytes = block.to_pb().encode_to_vec();
        let proposed = match change {
            None => self.raft.propose(Vec::new(), bytes),
            Some(change) => {
                let change = codec::conf_change(change, bytes);
                self.raft.propose_conf_change(Vec::new(), change)
            }
        };
        match proposed {
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
