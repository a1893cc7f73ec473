//! Searches files for words that must not be there in the clear.
//!
//! A canary is a random word inside a record. It is looked for raw, in base64 at each of the three
//! alignments and in both alphabets, as hexadecimal, and in UTF-16 of both byte orders.
//!
//! Its first and last letters are not looked for: a compressed table may keep them together with
//! what stands before and behind, as a reference to the same bytes elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Bytes read from a file at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Letters at each end of a canary that are not looked for.
const EDGE_LETTERS: usize = 3;

/// Every form in which `canary` is looked for.
pub fn forms(canary: &str) -> Vec<Vec<u8>> {
    let raw = canary.as_bytes();
    let mut forms = BTreeSet::from([raw.to_vec(), hex::encode(raw).into_bytes()]);
    forms.insert(canary.encode_utf16().flat_map(u16::to_le_bytes).collect());
    forms.insert(canary.encode_utf16().flat_map(u16::to_be_bytes).collect());
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for shift in 0..3 {
            forms.insert(aligned(engine, raw, shift));
        }
    }
    forms.into_iter().collect()
}

/// What compression leaves of a random word wherever it stands.
fn core(word: &str) -> &str {
    let end = word.len().saturating_sub(EDGE_LETTERS);
    word.get(EDGE_LETTERS..end).unwrap_or(word)
}

/// The characters of the base64 of `raw` that do not depend on what stands `shift` bytes before it
/// or behind it.
fn aligned(engine: &impl Engine, raw: &[u8], shift: usize) -> Vec<u8> {
    let text = engine.encode([vec![0; shift], raw.to_vec()].concat());
    let skip = (shift * 8).div_ceil(6);
    let whole = (shift + raw.len()) * 8 / 6;
    text.as_bytes()[skip..whole].to_vec()
}

/// One place where a canary stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The file.
    pub file: PathBuf,
    /// Which canary.
    pub canary: usize,
}

/// Every file below `folders` in which a form of a canary stands, once for each canary. What goes
/// away while it is looked at is passed over: a running database removes files.
///
/// # Errors
/// When one of `folders` is not there, or anything cannot be read: what is unread is no evidence.
pub fn search(folders: &[PathBuf], canaries: &[String]) -> anyhow::Result<(Vec<Hit>, Searched)> {
    let forms: Vec<Vec<Vec<u8>>> = canaries.iter().map(|word| forms(core(word))).collect();
    let mut hits = Vec::new();
    let mut searched = Searched::default();
    let mut open: Vec<PathBuf> = folders.to_vec();
    for folder in folders {
        let there = std::fs::symlink_metadata(folder);
        there.with_context(|| format!("{} cannot be searched", folder.display()))?;
    }
    while let Some(path) = open.pop() {
        let named = || path.display().to_string();
        let Some(kind) = unless_gone(std::fs::symlink_metadata(&path)).with_context(named)? else {
            continue;
        };
        if kind.is_dir() {
            open.extend(children(&path).with_context(named)?);
        } else if kind.is_file() {
            searched.files += 1;
            searched.bytes += kind.len();
            let found = search_file(&path, &forms)?;
            hits.extend(found.into_iter().map(|canary| Hit {
                file: path.clone(),
                canary,
            }));
        }
    }
    Ok((hits, searched))
}

/// What is in a folder; nothing when the folder is gone.
fn children(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let Some(entries) = unless_gone(std::fs::read_dir(folder))? else {
        return Ok(Vec::new());
    };
    let paths = entries.map(|entry| unless_gone(entry.map(|entry| entry.path())));
    paths.filter_map(Result::transpose).collect()
}

fn unless_gone<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Searched {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

fn search_file(path: &Path, forms: &[Vec<Vec<u8>>]) -> anyhow::Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    let opened = unless_gone(File::open(path)).with_context(|| path.display().to_string())?;
    let Some(mut file) = opened else {
        return Ok(found);
    };
    let longest = forms.iter().flatten().map(Vec::len).max().unwrap_or(1);
    let mut window = vec![0; WINDOW_BYTES + longest];
    let mut kept = 0;
    loop {
        let count = file.read(&mut window[kept..])?;
        if count == 0 {
            return Ok(found);
        }
        let filled = &window[..kept + count];
        for (canary, forms) in forms.iter().enumerate() {
            let hit = || forms.iter().any(|form| contains(filled, form));
            if !found.contains(&canary) && hit() {
                found.insert(canary);
            }
        }
        let end = kept + count;
        kept = end.min(longest.saturating_sub(1));
        window.copy_within(end - kept..end, 0);
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "kq7Zx0pVt3Lm9Rw2";

    fn hits(content: &[u8]) -> usize {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), content).unwrap();
        search(&[folder.path().to_owned()], &[CANARY.to_owned()])
            .unwrap()
            .0
            .len()
    }

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        for form in forms(CANARY) {
            for before in [0, 1, WINDOW_BYTES - 3, WINDOW_BYTES + 5] {
                let content = [vec![b'.'; before], form.clone(), vec![b'.'; 9]].concat();
                assert_eq!(hits(&content), 1, "{before} before {form:?}");
            }
        }
    }

    #[test]
    fn base64_is_found_at_every_alignment() {
        for (before, after) in [(0, 0), (1, 1), (2, 5), (3, 2), (4, 7)] {
            let text = [
                vec![b'x'; before],
                CANARY.as_bytes().to_vec(),
                vec![b'y'; after],
            ]
            .concat();
            assert_eq!(hits(STANDARD_NO_PAD.encode(&text).as_bytes()), 1);
            assert_eq!(hits(URL_SAFE_NO_PAD.encode(&text).as_bytes()), 1);
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(hits(b"Zx0pVt3Lm"), 0);
        assert_eq!(hits(b"x0pVt3Lm9"), 0);
        assert_eq!(hits(&[0; 4096]), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_one_that_went_away_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        assert!(search(std::slice::from_ref(&gone), &[CANARY.to_owned()]).is_err());
        assert!(children(&gone).unwrap().is_empty());
    }
}
