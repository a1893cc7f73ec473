//! Why a node had to stop, left where its operator looks.
//!
//! A node that stops because its disk is full cannot write a new file. So it makes one while it
//! still can, of a fixed size, and writes over it: on file systems that overwrite in place that
//! needs no room.
//!
//! | Bytes | Content |
//! |---|---|
//! | 1 | version; 0: no words |
//! | 8 | the time in milliseconds since the Unix epoch, big-endian |
//! | 2 | how many bytes follow |
//! | n | why, in UTF-8 |
//! | rest | zeros |

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::limits::LAST_WORDS_BYTES;

/// The file's name in a data folder.
pub const FILE_NAME: &str = "last-words";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 11;

/// What a node said when it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// When, by its clock, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Why.
    pub why: String,
}

impl Words {
    /// Reads what the node with this data folder said last; nothing if it did not have to stop.
    ///
    /// # Errors
    /// When there is a file that cannot be read. That there is none is no error.
    pub fn read(data: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(data.join(FILE_NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::with_capacity(LAST_WORDS_BYTES);
        file.take(LAST_WORDS_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(Self::decode(&bytes))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let why = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        (*version == VERSION).then(|| Self {
            time_ms: u64::from_be_bytes(*time),
            why: String::from_utf8_lossy(why).into_owned(),
        })
    }

    fn encode(&self) -> [u8; LAST_WORDS_BYTES] {
        let mut bytes = [0; LAST_WORDS_BYTES];
        let end = self.why.floor_char_boundary(LAST_WORDS_BYTES - HEAD_BYTES);
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.time_ms.to_be_bytes());
        let length = u16::try_from(end).expect("LAST_WORDS_BYTES fits into two bytes");
        bytes[9..HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
        bytes[HEAD_BYTES..HEAD_BYTES + end].copy_from_slice(&self.why.as_bytes()[..end]);
        bytes
    }
}

/// The place for a node's last words, made while there is room for it.
#[derive(Debug)]
pub struct LastWords(Option<File>);

impl LastWords {
    /// Makes the place in a data folder, and the folder. What an earlier run said stays there until
    /// [`LastWords::clear`]. Without a place the node runs all the same: its log says why it stops,
    /// too.
    pub fn open(data: &Path) -> Self {
        match make(data) {
            Ok(file) => Self(Some(file)),
            Err(error) => {
                tracing::warn!(folder = %data.display(), "no place for last words: {error}");
                Self(None)
            }
        }
    }

    /// Forgets what an earlier run said: this one has started well.
    pub fn clear(&mut self) {
        self.overwrite(&[0; LAST_WORDS_BYTES]);
    }

    /// Leaves word why the node stops.
    pub fn say(&mut self, time_ms: u64, why: &str) {
        let words = Words {
            time_ms,
            why: why.to_owned(),
        };
        self.overwrite(&words.encode());
    }

    fn overwrite(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.0 else { return };
        let written = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(bytes))
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            tracing::warn!("last words were not kept: {error}");
        }
    }
}

fn make(data: &Path) -> io::Result<File> {
    std::fs::create_dir_all(data)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data.join(FILE_NAME))?;
    let bytes = file.seek(SeekFrom::End(0))?;
    let missing = LAST_WORDS_BYTES.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    file.write_all(&vec![0; missing])?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let words = Words {
            time_ms: 0x0102_0304,
            why: "no room".to_owned(),
        };
        let bytes = words.encode();
        assert_eq!(&bytes[..18], b"\x01\0\0\0\0\x01\x02\x03\x04\0\x07no room");
        assert_eq!(bytes[18..], [0; LAST_WORDS_BYTES - 18]);
        assert_eq!(Words::decode(&bytes), Some(words));
    }

    #[test]
    fn words_stay_until_the_node_has_started_well() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Words::read(data.path()).unwrap(), None);
        let mut last = LastWords::open(data.path());
        assert_eq!(Words::read(data.path()).unwrap(), None);
        last.say(7, "the disk is full");
        drop(last);
        let mut again = LastWords::open(data.path());
        let words = Words::read(data.path()).unwrap().unwrap();
        assert_eq!((words.time_ms, words.why.as_str()), (7, "the disk is full"));
        again.say(8, &"é".repeat(LAST_WORDS_BYTES));
        let long = Words::read(data.path()).unwrap().unwrap();
        assert!(long.why.len() > LAST_WORDS_BYTES - 16 && long.why.ends_with('é'));
        again.clear();
        assert_eq!(Words::read(data.path()).unwrap(), None);
        let bytes = std::fs::metadata(data.path().join(FILE_NAME))
            .unwrap()
            .len();
        assert_eq!(bytes, LAST_WORDS_BYTES as u64);
    }

    #[test]
    fn a_folder_that_cannot_be_stops_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        LastWords::open(&file.path().join("none")).say(1, "nowhere");
        assert_eq!(Words::decode(b""), None);
        assert_eq!(Words::decode(&[9; 20]), None);
    }
}
