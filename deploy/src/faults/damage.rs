//! Copies of a node's data, and damage to them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::RngExt;
use rand::rngs::StdRng;

use super::kind::one_of;

/// The most bytes that a torn file lacks.
const TORN_BYTES_MAX: u64 = 4096;
/// The most bits that are turned.
const FLIPS_MAX: usize = 16;

/// A node's data that was put aside, with a copy in its place.
pub(super) struct Aside {
    data: PathBuf,
    whole: PathBuf,
}

impl Aside {
    /// Puts the data aside and a copy in its place. The node must not run.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn put(data: &Path) -> anyhow::Result<Self> {
        let whole = data.with_extension("whole");
        fs::rename(data, &whole)?;
        let aside = Self {
            data: data.to_owned(),
            whole,
        };
        copy(&aside.whole, data).context("cannot copy a node's data")?;
        Ok(aside)
    }

    /// Removes the copy and puts the data back. The node must not run.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(super) fn back(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.data)?;
        Ok(fs::rename(&self.whole, &self.data)?)
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Files with content, in a fixed order. RocksDB's own logs in words and lock files are left out:
/// nobody reads them.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else if !name.starts_with("LOG") && name != "LOCK" && entry.metadata()?.len() > 0 {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Cuts the end off one file, most often off a write-ahead log, as a disk does that tells a lie
/// about what it has written.
///
/// # Errors
/// When there is no file to tear.
pub(super) fn tear(folder: &Path, random: &mut StdRng) -> anyhow::Result<String> {
    let files = files(folder)?;
    let is_log = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let logs: Vec<PathBuf> = files.iter().filter(is_log).cloned().collect();
    let among = if logs.is_empty() || random.random_bool(0.3) {
        &files
    } else {
        &logs
    };
    let path = one_of(among, random)?;
    let length = fs::metadata(path)?.len();
    let lost = random.random_range(1..=length.min(TORN_BYTES_MAX));
    let file = fs::File::options().write(true).open(path)?;
    file.set_len(length - lost)?;
    Ok(format!(
        "{} lacks its last {lost} bytes",
        shown(folder, path)
    ))
}

/// Turns some bits of one file.
///
/// # Errors
/// When there is no file.
pub(super) fn flip(folder: &Path, random: &mut StdRng) -> anyhow::Result<String> {
    let files = files(folder)?;
    let path = one_of(&files, random)?;
    let mut bytes = fs::read(path)?;
    let flips = random.random_range(1..=FLIPS_MAX);
    for _ in 0..flips {
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
    }
    fs::write(path, bytes)?;
    Ok(format!("{} has {flips} bits turned", shown(folder, path)))
}

fn shown(folder: &Path, path: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path);
    below.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn only_the_copy_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("db")).unwrap();
        fs::write(data.join("db/000001.log"), [7; 100]).unwrap();
        fs::write(data.join("db/LOG"), "words").unwrap();
        let mut random = StdRng::seed_from_u64(3);
        for damage in [tear, flip] {
            let aside = Aside::put(&data).unwrap();
            let told = damage(&data, &mut random).unwrap();
            assert!(told.starts_with("db/000001.log"), "{told}");
            assert_ne!(fs::read(data.join("db/000001.log")).unwrap(), [7; 100]);
            assert_eq!(fs::read(data.join("db/LOG")).unwrap(), b"words");
            aside.back().unwrap();
            assert_eq!(fs::read(data.join("db/000001.log")).unwrap(), [7; 100]);
            assert!(!data.with_extension("whole").exists());
        }
    }
}
