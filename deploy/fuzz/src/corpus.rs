//! The inputs of each target, one file each, named by the beginning of its hash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stela_protocol::hash::Hasher;

use crate::Target;

/// This crate's folder.
pub fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where a target's inputs to begin with are.
pub fn seeds_folder(target: &Target) -> PathBuf {
    home().join("corpus").join(target.name)
}

/// Where a target's inputs that found something are.
pub fn regressions_folder(target: &Target) -> PathBuf {
    home().join("regressions").join(target.name)
}

/// The inputs in a folder in the order of their names; none when there is no such folder.
///
/// # Errors
/// When the folder or a file in it cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths
        .into_iter()
        .map(|path| fs::read(&path).map(|bytes| (path, bytes)))
        .collect()
}

/// Writes a target's inputs to begin with anew and returns their number and bytes.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_seeds(target: &Target) -> io::Result<(usize, usize)> {
    let folder = seeds_folder(target);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&folder)?,
    }
    let seeds = (target.seeds)();
    for seed in &seeds {
        fs::write(folder.join(name(seed)), seed)?;
    }
    Ok((seeds.len(), seeds.iter().map(Vec::len).sum()))
}

fn name(input: &[u8]) -> String {
    let hash = Hasher::new(b"stela/fuzz/input\0").bytes(input).finish();
    hash.to_string()[..16].to_owned()
}
