//! What an operator does with the data of a peer that is stopped: verify it against its blocks, and
//! rebuild everything that follows from them.
//!
//! Both derive a second ledger from the blocks, beside the first one, and compare. Verifying then
//! throws it away; rebuilding takes the side items over and puts it in the place of the first one,
//! which is not touched before that: a crash leaves either of them, whole.

pub(crate) mod folders;
mod replay;
mod report;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stela_protocol::{BlockNumber, ChannelId, Hash32, OrgId};
use stela_store::{
    BufferedKv, Halt, HaltCause, Head, Kv, LedgerRead, RocksKv, RocksSettings, StoreError,
    check_side, copy_notes, copy_side, damaged_notes, layout,
};

use self::folders::Folders;
pub use self::replay::{BlockDifference, DamagedBlock};
use self::replay::{Replayed, Stored, replay};
pub use self::report::{Rebuilt, Verified};
use crate::channel::ChannelError;
use crate::config::Config;
use crate::limits::DIFFERENCES_MAX;

/// Why data could not be verified or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The data folder cannot be used.
    #[error("the data folder {folder}: {source}")]
    Data {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing of this channel.
    #[error("no channel {0} was joined")]
    NoChannel(ChannelId),
    /// The ledger cannot be read or written.
    #[error(
        "channel {channel}: {source}; if the database cannot be opened at all, move its folder \
         {folder} away and join the channel again with its first block: everything is fetched \
         again, side items from the other organizations that keep them"
    )]
    Channel {
        /// The channel.
        channel: ChannelId,
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        source: Box<ChannelError>,
    },
    /// A block cannot be used, so that nothing behind it can.
    #[error(
        "channel {channel}: block {} is damaged: {}; nothing was changed. Run this again with \
         --refetch to keep the blocks before it: the peer then fetches the others from the \
         orderers", .damaged.number, .damaged.why
    )]
    Block {
        /// The channel.
        channel: ChannelId,
        /// The first such block.
        damaged: DamagedBlock,
    },
    /// Validating the blocks again gave something else than was stored.
    #[error(
        "channel {channel}: {} and {} more; nothing was changed. Run this again with \
         --accept-differences to take what was found now",
        .differences.first().map_or_else(String::new, ToString::to_string),
        .differences.len().saturating_sub(1)
    )]
    Differences {
        /// The channel.
        channel: ChannelId,
        /// What differs, at most [`DIFFERENCES_MAX`].
        differences: Vec<BlockDifference>,
    },
}

impl OfflineError {
    /// The exit code of the process: 2 for what the operator said, 3 for what happened to the data.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoChannel(_) => 2,
            Self::Data { source, .. } if source.kind() == io::ErrorKind::WouldBlock => 2,
            _ => 3,
        }
    }
}

/// How a ledger is rebuilt when its blocks or what was stored about them are not as they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RebuildOptions {
    /// Ends the rebuilt ledger before a damaged block.
    pub refetch: bool,
    /// Takes verdicts and state hashes as they are found.
    pub accept_differences: bool,
}

/// Derives everything from the blocks again and compares. Changes nothing.
///
/// # Errors
/// [`OfflineError`] when that cannot be done; what is wrong with the data is no error.
pub fn verify(config: &Config, wanted: Option<&ChannelId>) -> Result<Vec<Verified>, OfflineError> {
    let data = Data::open(config)?;
    let channels = data.channels(wanted)?;
    channels
        .into_iter()
        .map(|channel| data.verify(channel))
        .collect()
}

/// Derives everything from the blocks again and replaces what there was.
///
/// # Errors
/// [`OfflineError`]; the channel that it names was not changed, nor were those behind it.
pub fn rebuild(
    config: &Config,
    wanted: Option<&ChannelId>,
    options: RebuildOptions,
) -> Result<Vec<Rebuilt>, OfflineError> {
    let data = Data::open(config)?;
    let channels = data.channels(wanted)?;
    channels
        .into_iter()
        .map(|channel| data.rebuild(channel, options))
        .collect()
}

/// A data folder that belongs to this process.
struct Data {
    folder: PathBuf,
    organization: OrgId,
    rocks: RocksSettings,
    _lock: std::fs::File,
}

impl Data {
    fn open(config: &Config) -> Result<Self, OfflineError> {
        let failed = |source| data_error(&config.data, source);
        let lock = folders::lock(&config.data).map_err(failed)?;
        folders::recover(&config.data).map_err(failed)?;
        let cache_bytes = config.cache_bytes;
        Ok(Self {
            folder: config.data.clone(),
            organization: config.organization.clone(),
            rocks: cache_bytes.map_or_else(RocksSettings::default, RocksSettings::new),
            _lock: lock,
        })
    }

    fn channels(&self, wanted: Option<&ChannelId>) -> Result<Vec<ChannelId>, OfflineError> {
        let folder = folders::channels(&self.folder);
        let failed = |source| data_error(&folder, source);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(Ok(id)) = name.to_str().map(ChannelId::new) {
                found.push(id);
            }
        }
        found.sort();
        let Some(wanted) = wanted else {
            return Ok(found);
        };
        found.retain(|id| id == wanted);
        match found.is_empty() {
            true => Err(OfflineError::NoChannel(wanted.clone())),
            false => Ok(found),
        }
    }

    fn verify(&self, channel: ChannelId) -> Result<Verified, OfflineError> {
        let folders = Folders::new(&self.folder, &channel);
        let failed = |source| self.channel_error(&channel, &folders, source);
        let (old, new) = self.stores(&folders).map_err(failed)?;
        let verified = examine(&old, &new, &channel, &self.organization).map_err(failed)?;
        drop((old, new));
        folders
            .discard()
            .map_err(|source| data_error(&self.folder, source))?;
        Ok(verified)
    }

    fn rebuild(
        &self,
        channel: ChannelId,
        options: RebuildOptions,
    ) -> Result<Rebuilt, OfflineError> {
        let folders = Folders::new(&self.folder, &channel);
        let failed = |source| self.channel_error(&channel, &folders, source);
        let (old, new) = self.stores(&folders).map_err(failed)?;
        let derived = derive(&old, &new, &channel, &self.organization).map_err(failed)?;
        let disk = |source| data_error(&self.folder, source);
        if let Err(error) = acceptable(&channel, &derived, options) {
            drop((old, new));
            folders.discard().map_err(disk)?;
            return Err(error);
        }
        let rebuilt =
            complete(&old, &new, channel.clone(), derived).map_err(|error| failed(error.into()))?;
        drop((old, new));
        folders.replace().map_err(disk)?;
        Ok(rebuilt)
    }

    /// The channel's store, and an empty one beside it.
    fn stores(&self, folders: &Folders) -> Result<(Stored, Arc<dyn Kv>), ChannelError> {
        let open = |path: &Path| RocksKv::open(path, layout::FAMILIES, &self.rocks);
        let old = Stored(Arc::new(open(folders.channel())?));
        let path = folders.begin().map_err(|error| StoreError::Io {
            operation: "making a folder",
            reason: error.to_string(),
        })?;
        Ok((old, Arc::new(open(&path)?)))
    }

    fn channel_error(
        &self,
        channel: &ChannelId,
        folders: &Folders,
        source: ChannelError,
    ) -> OfflineError {
        OfflineError::Channel {
            channel: channel.clone(),
            folder: folders.channel().to_owned(),
            source: Box::new(source),
        }
    }
}

fn data_error(folder: &Path, source: io::Error) -> OfflineError {
    OfflineError::Data {
        folder: folder.to_owned(),
        source,
    }
}

/// Replays the blocks of one store into another, whose writes need not be safe one by one.
fn derive(
    old: &Stored,
    new: &Arc<dyn Kv>,
    channel: &ChannelId,
    organization: &OrgId,
) -> Result<Replayed, ChannelError> {
    let buffered = Arc::new(BufferedKv(new.clone()));
    replay(old, buffered, channel, organization)
}

/// Whether the derived ledger may take the place of the old one.
fn acceptable(
    channel: &ChannelId,
    derived: &Replayed,
    options: RebuildOptions,
) -> Result<(), OfflineError> {
    let channel = channel.clone();
    if let Some(damaged) = derived.damaged.clone().filter(|_| !options.refetch) {
        return Err(OfflineError::Block { channel, damaged });
    }
    // About a first block that is not the right one there is nothing to accept.
    if derived.differences.is_empty() || options.accept_differences || derived.head.height == 0 {
        return Ok(());
    }
    let differences = derived.differences.clone();
    Err(OfflineError::Differences {
        channel,
        differences,
    })
}

/// Takes over what does not follow from blocks.
fn complete(
    old: &Stored,
    new: &Arc<dyn Kv>,
    channel: ChannelId,
    derived: Replayed,
) -> Result<Rebuilt, StoreError> {
    let mut mended: Vec<String> = derived
        .differences
        .iter()
        .map(ToString::to_string)
        .collect();
    if derived.damaged.is_none() {
        mended.extend(differences(old, new)?);
    }
    let halted = match old.halted() {
        Ok(halt) => halt.map(|halt| judge(&halt, new)).transpose()?,
        Err(error) => Some(format!("why it was halted cannot be read: {error}")),
    };
    let side = copy_side(old.reader(), new.as_ref())?;
    let notes = copy_notes(old.reader(), new.as_ref())?;
    let Head {
        height, state_hash, ..
    } = derived.head;
    Ok(Rebuilt {
        channel,
        height,
        state_hash,
        side,
        notes,
        mended,
        halted,
        refetch: derived.damaged.map(|damaged| damaged.number),
    })
}

/// What the derived ledger says to the reason for which the channel was halted.
fn judge(halt: &Halt, new: &Arc<dyn Kv>) -> Result<String, StoreError> {
    let HaltCause::Outvoted { majority } = halt.cause else {
        return Ok(format!("it was halted as damaged: {}", halt.what));
    };
    let newest = halt.height.checked_sub(1).map(BlockNumber);
    let verdicts = newest.map(|newest| Stored(new.clone()).verdicts(newest));
    Ok(match verdicts.transpose()?.flatten() {
        Some((found, _)) if found == majority => format!(
            "it was halted as outvoted; at height {} it has the majority's state now",
            halt.height
        ),
        Some(_) => format!(
            "it was halted as outvoted, and at height {} it still has another state than the \
             majority had: it will be outvoted again unless they were wrong; compare versions of \
             the program",
            halt.height
        ),
        None => format!(
            "it was halted as outvoted at height {}, which it has not reached again",
            halt.height
        ),
    })
}

/// Looks for everything that is wrong.
fn examine(
    old: &Stored,
    new: &Arc<dyn Kv>,
    channel: &ChannelId,
    organization: &OrgId,
) -> Result<Verified, ChannelError> {
    let derived = derive(old, new, channel, organization)?;
    let mut problems: Vec<String> = derived
        .differences
        .iter()
        .map(ToString::to_string)
        .collect();
    match &derived.damaged {
        Some(damaged) => problems.push(format!(
            "block {} is damaged: {}; nothing behind it was looked at",
            damaged.number, damaged.why
        )),
        None => {
            problems.extend(differences(old, new)?);
            problems.extend(side_faults(old, new)?);
        }
    }
    match damaged_notes(old.reader()) {
        Ok(0) => {}
        Ok(many) => problems.push(format!("{many} notes are damaged")),
        Err(error) => problems.push(format!("the notes cannot be read: {error}")),
    }
    match old.halted() {
        Ok(None) => {}
        Ok(Some(halt)) => problems.push(format!("the channel is halted: {}", halt.what)),
        Err(error) => problems.push(error.to_string()),
    }
    problems.truncate(DIFFERENCES_MAX);
    let Head {
        height, state_hash, ..
    } = derived.head;
    Ok(Verified {
        channel: channel.clone(),
        height,
        state_hash,
        problems,
    })
}

/// In what the old ledger differs from the derived one.
fn differences(old: &Stored, new: &Arc<dyn Kv>) -> Result<Vec<String>, StoreError> {
    match stela_store::compare(new.as_ref(), old.reader(), DIFFERENCES_MAX) {
        Ok(differences) => Ok(differences.iter().map(ToString::to_string).collect()),
        Err(StoreError::Corrupt { what }) => Ok(vec![format!("it cannot be read: {what}")]),
        Err(error) => Err(error),
    }
}

fn side_faults(old: &Stored, new: &Arc<dyn Kv>) -> Result<Vec<String>, StoreError> {
    let faults = match check_side(new.as_ref(), old.reader(), DIFFERENCES_MAX) {
        Ok(faults) => faults,
        Err(StoreError::Corrupt { what }) => {
            return Ok(vec![format!("the side items cannot be read: {what}")]);
        }
        Err(error) => return Err(error),
    };
    let line = |(place, fault): (Option<(Hash32, _)>, _)| match place {
        Some((commitment, transaction)) => {
            format!("the side item {commitment} of transaction {transaction}: {fault}")
        }
        None => format!("a side item: {fault}"),
    };
    Ok(faults.into_iter().map(line).collect())
}
