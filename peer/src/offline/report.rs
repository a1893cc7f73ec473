//! What an operator is told.

use std::fmt;

use stela_protocol::{BlockNumber, ChannelId, Hash32};
use stela_store::{NoteCopy, SideCopy};

/// What was found out about one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The channel.
    pub channel: ChannelId,
    /// How many blocks were validated again.
    pub height: u64,
    /// The state hash after them.
    pub state_hash: Hash32,
    /// What is wrong, one line each; nothing when all is well.
    pub problems: Vec<String>,
}

/// What a rebuild did to one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The channel.
    pub channel: ChannelId,
    /// How many blocks the rebuilt ledger has.
    pub height: u64,
    /// The state hash after them.
    pub state_hash: Hash32,
    /// What became of the side items.
    pub side: SideCopy,
    /// What became of the notes.
    pub notes: NoteCopy,
    /// What was set right, one line each.
    pub mended: Vec<String>,
    /// Why the channel was halted, and what the rebuilt ledger says to it.
    pub halted: Option<String>,
    /// The block from which on the others are fetched again.
    pub refetch: Option<BlockNumber>,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            channel,
            height,
            state_hash,
            problems,
        } = self;
        write!(
            f,
            "channel {channel}: {height} blocks validated again, state hash {state_hash}"
        )?;
        match problems.len() {
            0 => write!(f, "; everything stored is what follows from them"),
            many => {
                write!(f, "; {many} problems:")?;
                problems
                    .iter()
                    .try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "channel {}: rebuilt from {} blocks, state hash {}; {} side items kept, {} to be \
             fetched from others, {} lost",
            self.channel,
            self.height,
            self.state_hash,
            self.side.copied,
            self.side.to_fetch,
            self.side.lost
        )?;
        if self.notes != NoteCopy::default() {
            let NoteCopy { copied, lost } = self.notes;
            write!(f, "; {copied} notes kept, {lost} lost")?;
        }
        for line in self.mended.iter().chain(&self.halted) {
            write!(f, "\n  {line}")?;
        }
        match self.refetch {
            None => Ok(()),
            Some(BlockNumber(0)) => write!(
                f,
                "\n  there is no usable block: start the peer, and join the channel again with its \
                 first block; the side items stay"
            ),
            Some(number) => write!(
                f,
                "\n  blocks from {number} on are fetched again when the peer is started"
            ),
        }
    }
}
