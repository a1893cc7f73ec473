//! A file that looks like a study of images: the preamble of DICOM, and bytes that do not repeat.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Plaintext bytes of a chunk of an encrypted record.
pub(super) const CHUNK_BYTES: u64 = 262_128;
const BUFFER_BYTES: usize = 1 << 20;

/// A study on the disk.
pub struct Study {
    path: PathBuf,
    bytes: u64,
    sha256: [u8; 32],
}

impl Study {
    /// Writes a study of so many bytes, the same for the same seed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(path: &Path, bytes: u64, seed: u64) -> anyhow::Result<Self> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        let (mut hash, mut noise) = (Sha256::new(), Noise::new(seed));
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = bytes;
        while left > 0 {
            noise.fill(&mut buffer);
            if left == bytes {
                buffer[..128].fill(0);
                buffer[128..132].copy_from_slice(b"DICM");
            }
            let part = &buffer[..usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(BUFFER_BYTES)];
            hash.update(part);
            file.write_all(part)?;
            left -= part.len() as u64;
        }
        file.into_inner()?.sync_all()?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            sha256: hash.finalize().into(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Chunks that hold its content, at least.
    pub fn chunks(&self) -> u64 {
        self.bytes.div_ceil(CHUNK_BYTES)
    }

    /// Its hash.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// A part of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn part(&self, range: Range<u64>) -> anyhow::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(range.start))?;
        let mut part = Vec::new();
        file.take(range.end - range.start).read_to_end(&mut part)?;
        Ok(part)
    }
}

/// The hash of a file.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Blocks in an IPFS node's folder; of a folder that changes meanwhile, about so many.
pub fn blocks_in(node: &Path) -> u64 {
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let shards = list(&node.join("blocks"));
    shards.iter().map(|shard| list(shard).len() as u64).sum()
}

/// Xorshift: bytes that do not compress and do not repeat.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end`, which is not zero.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }

    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            part.copy_from_slice(&self.0.to_le_bytes()[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_what_its_seed_says() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, seed| {
            let bytes = BUFFER_BYTES as u64 + 333;
            Study::write(&folder.path().join(name), bytes, seed).unwrap()
        };
        let (one, same, other) = (write("one", 2), write("same", 2), write("other", 4));
        assert_eq!(one.sha256(), same.sha256());
        assert_ne!(one.sha256(), other.sha256());
        assert_eq!(sha256(one.path()).unwrap(), one.sha256());
        assert_eq!(one.part(128..132).unwrap(), b"DICM");
        assert_eq!(one.part(one.bytes() - 3..one.bytes()).unwrap().len(), 3);
        assert_eq!(one.chunks(), 5);
    }
}
