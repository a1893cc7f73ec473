//! Places in the stream of events, and a file that remembers one.
//!
//! The file is one line of text, version 1:
//!
//! | Word | Content |
//! |---|---|
//! | 1 | `stela-checkpoint-1` |
//! | 2 | the channel |
//! | 3 | the contract |
//! | 4 to 6 | block, transaction and event, in decimal |

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use stela_protocol::{BlockNumber, ChannelId, ContractName, pb};

use crate::error::CheckpointError;
use crate::events::Start;
use crate::limits::CHECKPOINT_BYTES_MAX;

const MARK: &str = "stela-checkpoint-1";

/// The place of an event on its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checkpoint {
    /// The block.
    pub block: BlockNumber,
    /// The index of the transaction in the block.
    pub transaction: u32,
    /// The index of the event in the transaction.
    pub event: u32,
}

impl From<Checkpoint> for pb::Checkpoint {
    fn from(place: Checkpoint) -> Self {
        Self {
            block: place.block.0,
            transaction: place.transaction,
            event: place.event,
        }
    }
}

impl From<pb::Checkpoint> for Checkpoint {
    fn from(place: pb::Checkpoint) -> Self {
        let block = BlockNumber(place.block);
        Self {
            block,
            transaction: place.transaction,
            event: place.event,
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.block, self.transaction, self.event)
    }
}

/// A file with the checkpoint of the last event that was dealt with. It is replaced in one step
/// and flushed, so that after a crash it holds the old checkpoint or the new one.
#[derive(Debug)]
pub struct FileCheckpointer {
    path: PathBuf,
    subject: String,
    checkpoint: Option<Checkpoint>,
}

impl FileCheckpointer {
    /// Reads the file; there need not be one yet. Its folder must exist.
    ///
    /// # Errors
    /// [`CheckpointError`] when it cannot be read, is no checkpoint, or belongs to another channel
    /// or contract.
    pub fn open(
        path: impl Into<PathBuf>,
        channel: &ChannelId,
        contract: &ContractName,
    ) -> Result<Self, CheckpointError> {
        let (path, subject) = (path.into(), format!("{channel} {contract}"));
        let checkpoint = match read(&path)? {
            Some(text) => Some(parse(&path, &text, &subject)?),
            None => None,
        };
        Ok(Self {
            path,
            subject,
            checkpoint,
        })
    }

    /// The last checkpoint saved.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    /// Where to go on; `start` when nothing was saved yet.
    pub fn start_or(&self, start: Start) -> Start {
        self.checkpoint.map_or(start, Start::After)
    }

    /// Saves a checkpoint once its event has been dealt with. An earlier one than the last, as of
    /// an event delivered twice, changes nothing.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; the file then holds what it held before.
    pub fn save(&mut self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        if self.checkpoint >= Some(checkpoint) {
            return Ok(());
        }
        let line = format!("{MARK} {} {checkpoint}\n", self.subject);
        replace(&self.path, line.as_bytes()).map_err(|source| io("write", &self.path, source))?;
        self.checkpoint = Some(checkpoint);
        Ok(())
    }
}

fn io(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

fn read(path: &Path) -> Result<Option<String>, CheckpointError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open", path, error)),
    };
    let mut text = String::new();
    let read = file
        .take(CHECKPOINT_BYTES_MAX + 1)
        .read_to_string(&mut text);
    match read {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refuse(path, "not text")),
        Err(error) => Err(io("read", path, error)),
    }
}

fn refuse(path: &Path, why: &'static str) -> CheckpointError {
    CheckpointError::Format {
        path: path.to_path_buf(),
        why,
    }
}

fn parse(path: &Path, text: &str, subject: &str) -> Result<Checkpoint, CheckpointError> {
    let line = text
        .strip_suffix('\n')
        .ok_or_else(|| refuse(path, "the line has no end"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let [MARK, channel, contract, block, transaction, event] = words[..] else {
        return Err(refuse(path, "not the six words of version 1"));
    };
    let actual = format!("{channel} {contract}");
    if actual != subject {
        let (path, expected) = (path.to_path_buf(), subject.to_owned());
        return Err(CheckpointError::Other {
            path,
            expected,
            actual,
        });
    }
    let number = |_| refuse(path, "not a number");
    Ok(Checkpoint {
        block: BlockNumber(block.parse().map_err(number)?),
        transaction: transaction.parse().map_err(number)?,
        event: event.parse().map_err(number)?,
    })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (ChannelId, ContractName) {
        (
            ChannelId::new("care").unwrap(),
            ContractName::new("healthcare").unwrap(),
        )
    }

    fn place(block: u64, transaction: u32, event: u32) -> Checkpoint {
        Checkpoint {
            block: BlockNumber(block),
            transaction,
            event,
        }
    }

    #[test]
    fn it_is_there_after_a_restart_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let (channel, contract) = names();
        let mut file = FileCheckpointer::open(&path, &channel, &contract).unwrap();
        assert_eq!(file.start_or(Start::Next), Start::Next);
        file.save(place(12, 3, 1)).unwrap();
        file.save(place(12, 2, 9)).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "stela-checkpoint-1 care healthcare 12 3 1\n"
        );
        let file = FileCheckpointer::open(&path, &channel, &contract).unwrap();
        assert_eq!(file.start_or(Start::Next), Start::After(place(12, 3, 1)));
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let (channel, contract) = names();
        let check = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            FileCheckpointer::open(&path, &channel, &contract).unwrap_err()
        };
        for bad in [
            "",
            "stela-checkpoint-1 care healthcare 12 3 1",
            "stela-checkpoint-2 care healthcare 12 3 1\n",
            "stela-checkpoint-1 care healthcare 12 3\n",
            "stela-checkpoint-1 care healthcare 12 3 -1\n",
            "stela-checkpoint-1 care healthcare 12 3 99999999999\n",
            &"x".repeat(10_000),
        ] {
            assert!(
                matches!(check(bad.as_bytes()), CheckpointError::Format { .. }),
                "{bad}"
            );
        }
        assert!(matches!(
            check(&[0xff, 0xfe]),
            CheckpointError::Format { .. }
        ));
        let other = check(b"stela-checkpoint-1 care other 12 3 1\n");
        assert!(matches!(other, CheckpointError::Other { .. }));
    }
}
