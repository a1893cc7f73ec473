//! How the log's start moves on.
//!
//! Raft keeps a bounded number of entries for followers that are slow. What is before them can be
//! had as blocks, from any orderer, because the start never moves beyond a deliverable block: all
//! blocks before it have a quorum of signatures, so that whoever fetches them can verify them.

use raft::{ProgressState, SnapshotStatus, StateRole};

use super::{Chain, ChainFault};
use crate::layout::{BlockPlace, Start, corrupt};
use crate::limits::SNAPSHOT_AGAIN_TICKS;

impl Chain {
    /// Moves the start to where the newest deliverable block was, once as many entries as are to
    /// be kept have come since. So it is written once in so many entries.
    pub(super) fn move_start(&mut self) -> Result<(), ChainFault> {
        let first = self.raft.store().start().index;
        let Some(place) = self.blocks.place(self.deliverable)? else {
            return Ok(());
        };
        if place.index <= first {
            return Ok(());
        }
        let point = self.point(place)?;
        self.raft.mut_store().set_newest(point.clone());
        let due = self.next_start.as_ref().map(|next| next.index);
        if due.is_some_and(|due| place.index < due + self.entries_kept) {
            return Ok(());
        }
        if let Some(start) = self.next_start.replace(point) {
            tracing::debug!(
                channel = %self.channel.id(), index = start.index, number = start.number.0,
                "the log starts later"
            );
            self.raft.mut_store().stage_start(start, &mut self.batch);
        }
        Ok(())
    }

    /// The newest deliverable block as a start.
    fn point(&self, place: BlockPlace) -> Result<Start, ChainFault> {
        let term = self.raft.store().term_of(place.index);
        let channel = self.channel_before(self.deliverable.next())?;
        Ok(Start {
            index: place.index,
            term: term.ok_or_else(|| corrupt("a block's entry is not in the log"))?,
            number: self.deliverable,
            hash: place.hash,
            voters: channel.config().orderers.keys().copied().collect(),
        })
    }

    /// A snapshot may be lost, or its blocks take long. Raft would wait for ever; so the newest one
    /// is sent again now and then.
    pub(super) fn repeat_snapshots(&mut self) {
        let (tick, raft) = (self.tick, &self.raft.raft);
        let leads = raft.state == StateRole::Leader;
        let followers = raft.prs().iter();
        let waiting: Vec<u64> = followers
            .filter(|(_, progress)| leads && progress.state == ProgressState::Snapshot)
            .map(|(follower, _)| *follower)
            .collect();
        self.snapshots_sent.retain(|to, _| waiting.contains(to));
        for to in waiting {
            let sent = *self.snapshots_sent.entry(to).or_insert(tick);
            if tick >= sent + SNAPSHOT_AGAIN_TICKS {
                self.snapshots_sent.remove(&to);
                self.raft.report_snapshot(to, SnapshotStatus::Failure);
            }
        }
    }
}
