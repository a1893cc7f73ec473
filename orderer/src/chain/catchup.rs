//! How an orderer that has fallen behind the log's start catches up.
//!
//! The leader has the entries that it misses no longer, and sends a snapshot: number and hash of a
//! block, and where Raft's log stood there. Raft sees it, and so acknowledges it, only when all
//! blocks up to that one are here. They are fetched from the other orderers, and each is taken when
//! it follows the newest one and a quorum of the orderers in the configuration before it has signed
//! it: that means that it is committed. From then on it is as good as one from the log. So a crash
//! in the middle loses nothing that was fetched, and should the entries come after all, their
//! blocks are recognised.

use std::collections::BTreeMap;

use raft::eraftpb::Message;
use stela_identity::Configuration;
use stela_protocol::block::{Block, BlockError};
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::{BlockNumber, Message as _, pb};

use super::config::NotNext;
use super::{Chain, ChainFault, Outgoing};
use crate::blocks::to_message;
use crate::channel::Change;
use crate::layout::{BLOCKS, BlockPlace, FETCHED, Signature, Start, encode_bytes, key};
use crate::limits::{FETCH_AGAIN_TICKS, FETCH_BLOCKS_MAX, FETCH_BYTES_MAX, LEADERLESS_FETCH_TICKS};
use crate::log::start_in;

/// A snapshot whose blocks are not all here yet.
pub(super) struct CatchUp {
    message: Message,
    start: Start,
    /// How many orderers were asked in vain; it says whose turn it is.
    turns: usize,
    asked_at: Option<u64>,
}

/// A fetched block that is the next one and committed.
struct Fetched {
    block: Block,
    new: Option<Configuration>,
    signatures: Vec<Signature>,
}

/// Why a fetched block was not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    NotNext(#[from] NotNext),
    #[error("block {number} is signed by {found} orderers of the {quorum} that it needs")]
    Signatures {
        number: BlockNumber,
        found: usize,
        quorum: usize,
    },
}

impl Chain {
    /// Takes a snapshot when its blocks are here, else keeps it and fetches them.
    pub(super) fn on_snapshot(&mut self, message: Message) -> Result<(), ChainFault> {
        let Some(start) = start_in(message.get_snapshot()) else {
            return Ok(());
        };
        if start.number <= self.head.number {
            return self.take_snapshot(message, &start);
        }
        let known = self.catch_up.take();
        let newer =
            |known: &CatchUp| (known.message.term, known.start.index) > (message.term, start.index);
        self.catch_up = match known {
            Some(known) if newer(&known) => Some(known),
            known => {
                let from = self.head.number.next().0;
                tracing::info!(
                    channel = %self.channel.id(), from, to = start.number.0,
                    "behind the leader's log; fetching blocks"
                );
                Some(CatchUp {
                    message,
                    start,
                    turns: known.as_ref().map_or(0, |known| known.turns),
                    asked_at: known.and_then(|known| known.asked_at),
                })
            }
        };
        self.fetch();
        Ok(())
    }

    fn take_snapshot(&mut self, message: Message, start: &Start) -> Result<(), ChainFault> {
        let same_block = self.committed_hash(start.number)? == Some(start.hash);
        let same_voters = same_block && {
            let channel = self.channel_before(start.number.next())?;
            channel.config().orderers.keys().eq(&start.voters)
        };
        if !same_voters {
            let (channel, number) = (self.channel.id(), start.number.0);
            tracing::warn!(%channel, from = message.from, number, "refused a snapshot of another chain");
            return Ok(());
        }
        self.step(message)
    }

    /// Asks for the next blocks, unless an answer may still come.
    pub(super) fn fetch(&mut self) {
        let (others, tick) = (self.others(), self.tick);
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        if let Some(at) = catch_up.asked_at {
            if tick < at + FETCH_AGAIN_TICKS {
                return;
            }
            catch_up.turns += 1;
        }
        if let Some(to) = others.get(catch_up.turns % others.len().max(1)) {
            catch_up.asked_at = Some(tick);
            self.ask_for_blocks(*to);
        }
    }

    /// Without a leader for long, an orderer asks what the others have: it may have been removed
    /// while it was away, or the leader may be one that it does not know of.
    pub(super) fn fetch_leaderless(&mut self) {
        if self.leader.id != 0 {
            self.leaderless_ticks = 0;
            return;
        }
        self.leaderless_ticks += 1;
        let turn = self.leaderless_ticks / LEADERLESS_FETCH_TICKS;
        let others = self.others();
        if self.leaderless_ticks.is_multiple_of(LEADERLESS_FETCH_TICKS)
            && let Some(to) = others.get(turn as usize % others.len().max(1))
        {
            self.ask_for_blocks(*to);
        }
    }

    fn ask_for_blocks(&mut self, to: u64) {
        let start = self.head.number.next().0;
        let body = Body::BlockRequest(pb::BlockRequest { start });
        self.outbox.push(Outgoing { to, body });
    }

    pub(super) fn on_block_request(&mut self, from: u64, start: u64) -> Result<(), ChainFault> {
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        let mut number = BlockNumber(start);
        while number <= self.deliverable && blocks.len() < FETCH_BLOCKS_MAX {
            let Some(mut block) = self.blocks.delivered(number)? else {
                break;
            };
            let signatures = self.signatures.of(number)?;
            block.signatures = signatures.iter().map(to_message).collect();
            bytes += block.encoded_len();
            if bytes > FETCH_BYTES_MAX && !blocks.is_empty() {
                break;
            }
            blocks.push(block);
            number = number.next();
        }
        if !blocks.is_empty() {
            let body = Body::Blocks(pb::Blocks { blocks });
            self.outbox.push(Outgoing { to: from, body });
        }
        Ok(())
    }

    pub(super) fn on_blocks(
        &mut self,
        from: u64,
        blocks: Vec<pb::Block>,
    ) -> Result<(), ChainFault> {
        let before = self.head.number;
        for block in blocks.into_iter().take(FETCH_BLOCKS_MAX) {
            let wanted = self
                .catch_up
                .as_ref()
                .is_none_or(|catch_up| catch_up.start.number > self.head.number);
            if !wanted {
                break;
            }
            match self.verified(block) {
                Ok(Some(fetched)) => self.take_block(fetched)?,
                // It came meanwhile.
                Ok(None) => {}
                Err(error) => {
                    let channel = self.channel.id();
                    tracing::warn!(%channel, from, %error, "a fetched block is refused");
                    break;
                }
            }
        }
        if self.head.number == before {
            // Nothing new in it: the next tick that finds the patience at an end asks another one.
            return Ok(());
        }
        self.stage_applied();
        self.advance_deliverable()?;
        self.go_on(from)
    }

    /// Asks for more, or takes the snapshot.
    fn go_on(&mut self, from: u64) -> Result<(), ChainFault> {
        let Some(mut catch_up) = self.catch_up.take() else {
            if self.leader.id == 0 {
                self.ask_for_blocks(from);
            }
            return Ok(());
        };
        if catch_up.start.number <= self.head.number {
            return self.take_snapshot(catch_up.message, &catch_up.start);
        }
        catch_up.asked_at = None;
        self.catch_up = Some(catch_up);
        self.fetch();
        Ok(())
    }

    /// The block, if it is the next one and a quorum signed it, with the signatures that count;
    /// nothing for one before that.
    fn verified(&self, block: pb::Block) -> Result<Option<Fetched>, Refused> {
        let block = Block::from_pb(block)?;
        if block.header.number <= self.head.number {
            return Ok(None);
        }
        let new = self.follow(&block)?;
        // It is the next one, so that it is judged by what is in force.
        let number = block.header.number;
        let mut genuine = BTreeMap::new();
        for signature in &block.signatures {
            let orderer = signature.orderer;
            if let Ok(bytes) = signature.signature.as_ref().try_into()
                && self.channel.verify(orderer, &block.hash, &bytes).is_ok()
            {
                genuine.insert(orderer, bytes);
            }
        }
        let (found, quorum) = (genuine.len(), self.channel.config().orderer_quorum);
        if found < quorum {
            return Err(Refused::Signatures {
                number,
                found,
                quorum,
            });
        }
        Ok(Some(Fetched {
            block,
            new,
            signatures: genuine.into_iter().collect(),
        }))
    }

    fn take_block(&mut self, fetched: Fetched) -> Result<(), ChainFault> {
        let number = fetched.block.header.number;
        let mut bytes = fetched.block.to_pb();
        bytes.signatures.clear();
        let value = encode_bytes(&bytes.encode_to_vec());
        self.batch.put(FETCHED, key(number.0), value);
        self.commit_block(0, fetched.block, fetched.new)?;
        for signature in fetched.signatures {
            self.signatures.add(number, signature)?;
        }
        Ok(())
    }

    /// Whether the entry at `index` carries a block that was fetched. The log's copy takes the
    /// place of the fetched one, so that there is still one.
    pub(super) fn recognise(
        &mut self,
        index: u64,
        block: &Block,
        change: Option<Change>,
    ) -> Result<bool, ChainFault> {
        let (number, hash) = (block.header.number, block.hash);
        if number > self.head.number
            || self.committed_hash(number)? != Some(hash)
            || !self.changed_voters(block, change)?
        {
            return Ok(false);
        }
        let stored = self.blocks.place(number)?;
        if stored == Some(BlockPlace { index: 0, hash }) && number != BlockNumber(0) {
            self.batch
                .put(BLOCKS, key(number.0), BlockPlace { index, hash }.encode());
            self.batch.delete(FETCHED, key(number.0));
        }
        Ok(true)
    }
}
