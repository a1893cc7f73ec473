//! What a step is made of, each part measured alone: one thread, nothing beside it, as many bytes as
//! the study has but at most [`LARGE_ALONE_BYTES_MAX`].

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stela_ipfs::limits::CHUNK_BYTES;
use stela_records::format::Metadata;
use stela_records::keys::RecordKey;
use stela_records::stream::{Decryptor, Encryptor};
use tokio::io::AsyncReadExt;

use super::study::Noise;
use crate::limits::LARGE_ALONE_BYTES_MAX;
use crate::process::stopwatch;

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// XChaCha20-Poly1305 over the chunks of a record, as its author does it.
    Seal,
    /// The same, as a reader does it.
    Open,
    /// SHA-256, which names the blocks.
    Hash,
    /// XSalsa20, which closes the private swarm, in one direction at one end.
    SwarmCipher,
    /// Writing one file in order, into the system's memory.
    Write,
    /// Flushing that file to the disk.
    Flush,
    /// Reading it in order out of the system's memory.
    Read,
    /// Reading it in order from the disk.
    DiskRead,
}

impl Part {
    /// How it is called in the table.
    pub fn text(self) -> &'static str {
        match self {
            Self::Seal => "seal (XChaCha20-Poly1305)",
            Self::Open => "open (XChaCha20-Poly1305)",
            Self::Hash => "hash (SHA-256)",
            Self::SwarmCipher => "swarm (XSalsa20)",
            Self::Write => "write",
            Self::Flush => "flush (fsync)",
            Self::Read => "read, in memory",
            Self::DiskRead => "read, from the disk",
        }
    }
}

/// A part that was measured alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alone {
    /// Which.
    pub part: Part,
    /// Over how many bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// What each byte of a stage goes through, one after the other; nothing of a stage whose parts are not
/// measured. A transfer is the whole way from the disk of one node to that of another; Noise, the
/// other cipher of the swarm, is left out, and so is the third copy on its way while two are waited for.
pub fn parts_of(command: &str, stage: &str) -> &'static [Part] {
    use Part::{Flush, Hash, Open, Read, Seal, SwarmCipher, Write};
    match (command, stage) {
        (_, "encrypt") => &[Read, Seal, Hash, Write, Flush],
        (_, "hold") => &[Read, Hash, SwarmCipher, SwarmCipher, Hash, Write, Flush],
        ("read" | "review", "fetch") => &[Read, Hash, SwarmCipher, SwarmCipher, Hash, Write],
        ("review", "decrypt") => &[Read, Hash, Open],
        ("read", "decrypt") => &[Read, Hash, Open, Write, Flush],
        _ => &[],
    }
}

/// How long these parts would take with so many bytes; `None` if there are none or one was not
/// measured.
pub fn sum_seconds(alone: &[Alone], parts: &[Part], bytes: u64) -> Option<f64> {
    let seconds = |part: &Part| {
        let measured = alone.iter().find(|alone| alone.part == *part)?;
        Some(measured.seconds * bytes as f64 / measured.bytes as f64)
    };
    let sum = parts.iter().map(seconds).sum::<Option<f64>>();
    sum.filter(|_| !parts.is_empty())
}

/// Measures every part with a file in `folder`, which is removed.
///
/// # Errors
/// When the disk refuses.
pub async fn measure(folder: &Path, bytes: u64) -> anyhow::Result<Vec<Alone>> {
    let bytes = bytes.min(LARGE_ALONE_BYTES_MAX);
    let mut all = ciphers(bytes).await?;
    let mut block = vec![0; CHUNK_BYTES];
    Noise::new(bytes).fill(&mut block);
    all.push(each(Part::Hash, bytes, || {
        black_box(Sha256::digest(black_box(&block)));
        Ok(())
    })?);
    let mut swarm = XSalsa20::new(&[1u8; 32].into(), &[2u8; 24].into());
    let mut closed = block.clone();
    all.push(each(Part::SwarmCipher, bytes, || {
        swarm.apply_keystream(black_box(&mut closed));
        Ok(())
    })?);
    let path = folder.join("alone");
    let measured = disk(&path, bytes, &mut block);
    let removed = std::fs::remove_file(&path);
    all.extend(measured?);
    removed?;
    Ok(all)
}

/// The record's cipher, through the functions by which records are encrypted and decrypted.
async fn ciphers(bytes: u64) -> anyhow::Result<Vec<Alone>> {
    let mut rng = rand::rng();
    let key = RecordKey::generate(&mut rng);
    let metadata = Metadata::new(bytes, "application/dicom", "dicom")?;
    let zeros = tokio::io::repeat(0).take(bytes);
    let mut encryptor = Encryptor::new(zeros, &metadata, &key, &mut rng)?;
    let (header, commitment) = (encryptor.header().encode(), encryptor.commitment());
    let (mut first, mut sealed_bytes) = (Vec::new(), 0);
    let started = stopwatch();
    while let Some(chunk) = encryptor.next_chunk().await? {
        sealed_bytes += chunk.len() as u64;
        if first.is_empty() {
            first.extend_from_slice(chunk);
        }
    }
    let seal = Alone {
        part: Part::Seal,
        bytes: sealed_bytes,
        seconds: started.elapsed().as_secs_f64(),
    };
    let decryptor = Decryptor::new(&key, &header, &commitment)?;
    let mut chunk = Vec::with_capacity(first.len());
    let open = each(Part::Open, bytes, || {
        chunk.clear();
        chunk.extend_from_slice(&first);
        Ok(decryptor.decrypt_chunk(0, &mut chunk)?)
    })?;
    Ok(vec![seal, open])
}

fn disk(path: &Path, bytes: u64, block: &mut [u8]) -> anyhow::Result<Vec<Alone>> {
    let mut file = File::create(path)?;
    let write = each(Part::Write, bytes, || Ok(file.write_all(block)?))?;
    let started = stopwatch();
    file.sync_all()?;
    let flush = Alone {
        part: Part::Flush,
        seconds: started.elapsed().as_secs_f64(),
        ..write
    };
    let mut read = |part| {
        let mut file = File::open(path)?;
        if part == Part::DiskRead {
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        each(part, bytes, || Ok(file.read_exact(block)?))
    };
    Ok(vec![write, flush, read(Part::Read)?, read(Part::DiskRead)?])
}

/// Does the work on one block as often as it takes for so many bytes.
fn each(
    part: Part,
    bytes: u64,
    mut work: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Alone> {
    let blocks = bytes.div_ceil(CHUNK_BYTES as u64);
    let started = stopwatch();
    for _ in 0..blocks {
        work()?;
    }
    Ok(Alone {
        part,
        bytes: blocks * CHUNK_BYTES as u64,
        seconds: started.elapsed().as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_part_is_measured_and_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let all = measure(folder.path(), 1_000_000).await.unwrap();
        let parts: Vec<Part> = all.iter().map(|alone| alone.part).collect();
        assert_eq!(
            parts,
            [
                Part::Seal,
                Part::Open,
                Part::Hash,
                Part::SwarmCipher,
                Part::Write,
                Part::Flush,
                Part::Read,
                Part::DiskRead
            ]
        );
        assert!(all.iter().all(|alone| alone.bytes >= 1_000_000));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn parts_are_added_for_as_many_bytes_as_a_stage_has() {
        let alone = |part, seconds| Alone {
            part,
            bytes: 100,
            seconds,
        };
        let all = [alone(Part::Read, 1.0), alone(Part::Hash, 2.0)];
        let sum = |parts: &[Part]| sum_seconds(&all, parts, 300);
        assert_eq!(sum(&[Part::Read]), Some(3.0));
        assert_eq!(sum(&[Part::Read, Part::Hash, Part::Hash]), Some(15.0));
        assert_eq!(sum(&[Part::Read, Part::Seal]), None, "was not measured");
        assert_eq!(sum(&[]), None);
        assert!(parts_of("confirm", "every organization has it").is_empty());
        assert!(!parts_of("submit", "encrypt").is_empty());
    }
}
