//! Why a transaction has the verdict that it has.
//!
//! Everything is found out from committed blocks, which every member may read and which are checked
//! as in [`BlockStream`](crate::BlockStream): backwards from the transaction's own block, page by
//! page, until nothing is left to be found or a bound is reached. What decides is pure
//! ([`Inquiry`]); only [`explain`] asks.

mod cause;
mod inquiry;
mod range;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use stela_identity::Configuration;
use stela_protocol::{
    BlockNumber, ContractName, Fingerprint, Hash32, Height, OrgId, TransactionId, ValidationCode,
};

use self::inquiry::Inquiry;
pub use self::words::Style;
use crate::blocks::CheckedBlock;
use crate::commit::CommitStatus;
use crate::error::{CommitError, ExplainError};
use crate::limits::{EXPLAIN_BLOCKS_MAX, EXPLAIN_PAGE};
use crate::network::Network;
use crate::quorum::Quorum;

/// What became of a transaction, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The transaction.
    pub transaction: TransactionId,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// No peer that was asked has committed it.
    Uncommitted(Uncommitted),
    /// It stands in a block.
    Committed(Box<Committed>),
}

/// A transaction that stands in no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncommitted {
    /// Blocks of the channel.
    pub height: u64,
    /// When the newest of them was made, in milliseconds since the Unix epoch.
    pub newest_ms: u64,
    /// The time here.
    pub now_ms: u64,
    /// How far a transaction's time may lie from its block's.
    pub window_ms: u64,
    /// When the transaction was made, if whoever asks knows.
    pub made_ms: Option<u64>,
}

/// What can still become of a transaction that stands in no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// Nobody said when it was made, so it may be any of the others, or never have been.
    Unknown,
    /// If an orderer has it, it can still be committed.
    Pending,
    /// Its time is over: a block that still takes it finds it `EXPIRED`.
    Expired,
}

impl Uncommitted {
    /// What can still become of it.
    pub fn prospect(&self) -> Prospect {
        let Some(made_ms) = self.made_ms else {
            return Prospect::Unknown;
        };
        // Blocks only get later. While none comes, this machine's clock tells.
        let earliest_ms = self.newest_ms.max(self.now_ms);
        match made_ms.saturating_add(self.window_ms) < earliest_ms {
            true => Prospect::Expired,
            false => Prospect::Pending,
        }
    }
}

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The verdict.
    pub code: ValidationCode,
    /// Where it stands.
    pub height: Height,
    /// The block's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Who made it; nothing when it cannot be decoded.
    pub creator: Option<Party>,
    /// What it calls, if it is a call.
    pub call: Option<(ContractName, String)>,
    /// Why the verdict is what it is.
    pub cause: Cause,
    /// Blocks that were looked at, the transaction's own included.
    pub looked_at: u64,
    /// Whether the first block was reached, so that nothing can have been missed.
    pub complete: bool,
}

/// Somebody who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The certificate.
    pub fingerprint: Fingerprint,
    /// Organization and role, if the certificate was found.
    pub who: Option<(OrgId, String)>,
}

/// A committed transaction that changed a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// Where the transaction stands.
    pub height: Height,
    /// The transaction.
    pub transaction: TransactionId,
    /// What it called.
    pub function: String,
    /// Who made it.
    pub creator: Party,
    /// Whether it deleted the key.
    pub deleted: bool,
}

/// A key that was read at one version and had another when the transaction was validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRead {
    /// The key.
    pub key: Bytes,
    /// The version that was read; nothing: it did not exist.
    pub read: Option<Height>,
    /// Who changed it since, the oldest first.
    pub changes: Vec<Change>,
}

/// A range in which other keys or versions were found than when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRange {
    /// The first key that could be in it.
    pub start: Bytes,
    /// The first key behind it.
    pub end: Bytes,
    /// Who changed it since, the oldest first.
    pub changes: Vec<Change>,
    /// Whether it was computed that without these changes the range is as it was read. If not,
    /// these are the latest changes in it.
    pub exact: bool,
}

/// One endorsement, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorser {
    /// Who endorsed.
    pub party: Party,
    /// Why it does not count.
    pub fault: Option<Fault>,
}

/// Why an endorsement does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The channel did not know the certificate before this block.
    Unknown,
    /// The certificate was not valid at the block's time, or is not accepted.
    Invalid(String),
    /// The signature is of another proposal or another result.
    Signature,
    /// Another endorsement by the same key counts already.
    Twice,
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It took effect.
    Valid {
        /// The keys that it wrote or deleted.
        writes: Vec<Bytes>,
        /// Its events, by name.
        events: Vec<String>,
        /// Who endorsed it.
        endorsers: Vec<Party>,
    },
    /// A key that it read has changed.
    Read(Vec<ChangedRead>),
    /// A range that it read has changed.
    Range(Vec<ChangedRange>),
    /// Its endorsements do not satisfy the contract's policy.
    Policy {
        /// The policy.
        policy: String,
        /// Who endorsed.
        endorsers: Vec<Endorser>,
        /// The smallest sets of organizations whose endorsements would have been enough beside the
        /// good ones.
        missing: Vec<BTreeSet<OrgId>>,
    },
    /// It was made too long before its block, or after it.
    Expired {
        /// When it says that it was made.
        made_ms: u64,
        /// How far that may lie from the block's time.
        window_ms: u64,
    },
    /// It was valid before a time at which the block was not made yet.
    ResultExpired {
        /// That time.
        expires_at_ms: u64,
    },
    /// It ran another package than the one that the channel defines, or under other settings.
    Package {
        /// What it ran, with the settings.
        ran: Hash32,
        /// What the channel defines now, with the settings.
        defined: Option<Hash32>,
    },
    /// The registered certificate is not accepted.
    Registration(String),
    /// What the verdict's name says; there is nothing more to be found in blocks.
    Plain,
}

/// How to look.
#[derive(Debug, Clone)]
pub struct ExplainOptions {
    /// The configuration of the first block: those in force since are followed from it.
    pub trusted: Arc<Configuration>,
    /// How long to wait for a transaction that is not committed yet.
    pub patience: Duration,
    /// When it was made, if that is known.
    pub made_ms: Option<u64>,
}

/// Finds out why a transaction has the verdict that it has. `looked_at` hears how many blocks were
/// looked at so far.
pub(crate) async fn explain(
    network: &Network,
    transaction: TransactionId,
    options: ExplainOptions,
    looked_at: impl Fn(u64),
) -> Result<Explanation, ExplainError> {
    let status = match network.commit(transaction).status(options.patience).await {
        Ok(status) => status,
        Err(CommitError::Deadline { last: None, .. }) => {
            let fate = Fate::Uncommitted(uncommitted(network, options).await?);
            return Ok(Explanation { transaction, fate });
        }
        Err(error) => return Err(error.into()),
    };
    let before = options.trusted.clone();
    let before = network.configuration_before(before, status.block).await?;
    let mut end = status.block.next();
    let mut inquiry = None;
    let mut seen = 0;
    loop {
        let start = BlockNumber(end.0.saturating_sub(EXPLAIN_PAGE));
        let page = page(network, start, end, &options.trusted).await?;
        seen += page.len() as u64;
        looked_at(seen);
        let inquiry = match &mut inquiry {
            Some(inquiry) => inquiry,
            none => none.insert(begin(&page, &status, before.config().clone())?),
        };
        inquiry.add(&page);
        if start.0 == 0 || seen >= EXPLAIN_BLOCKS_MAX || !inquiry.wants_more() {
            let fate = Fate::Committed(Box::new(inquiry.finish()));
            return Ok(Explanation { transaction, fate });
        }
        end = start;
    }
}

fn begin(
    page: &[CheckedBlock],
    status: &CommitStatus,
    config: stela_protocol::config::ChannelConfig,
) -> Result<Inquiry, ExplainError> {
    let inquiry = page
        .last()
        .and_then(|own| Inquiry::begin(own, status.index, config))
        .filter(|inquiry| inquiry.is_about(&status.transaction));
    inquiry.ok_or(ExplainError::Elsewhere {
        transaction: status.transaction,
        block: status.block,
    })
}

async fn page(
    network: &Network,
    start: BlockNumber,
    end: BlockNumber,
    trusted: &Arc<Configuration>,
) -> Result<Vec<CheckedBlock>, ExplainError> {
    let before = network.configuration_before(trusted.clone(), start).await?;
    let quorum = Quorum::new(before);
    let stream = network.blocks(start, Some(end)).signed_by(quorum);
    Ok(stream.try_collect().await?)
}

async fn uncommitted(
    network: &Network,
    options: ExplainOptions,
) -> Result<Uncommitted, ExplainError> {
    let info = network.info().await?;
    let newest = BlockNumber(info.height.saturating_sub(1));
    let page = page(network, newest, newest.next(), &options.trusted).await?;
    Ok(Uncommitted {
        height: info.height,
        newest_ms: page.last().map_or(0, |block| block.block.header.time_ms),
        now_ms: network.inner.signer.sources.now_ms(),
        window_ms: info.config.limits.window_ms,
        made_ms: options.made_ms,
    })
}
