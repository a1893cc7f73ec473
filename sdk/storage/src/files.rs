//! Small files, each of which appears, changes and vanishes in one step.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A folder of small text files under names that this crate makes.
pub(crate) struct Folder {
    path: PathBuf,
}

const NEW: &str = ".new";

impl Folder {
    /// Opens the folder, creating it if needed, and removes what an interrupted write left.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        for entry in fs::read_dir(&path)? {
            let path = entry?.path();
            if path.as_os_str().to_string_lossy().ends_with(NEW) {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { path })
    }

    /// The names of the files and at most `bytes_max` bytes of each.
    pub(crate) fn read(&self, bytes_max: u64) -> io::Result<Vec<(String, String)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut text = Vec::new();
            File::open(entry.path())?
                .take(bytes_max)
                .read_to_end(&mut text)?;
            files.push((name, String::from_utf8_lossy(&text).into_owned()));
        }
        Ok(files)
    }

    /// Writes a file and flushes it.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let new = self.path.join(format!("{name}{NEW}"));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(name))?;
        self.flush()
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.flush(),
        }
    }

    fn flush(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Writes a file, which changes in one step, and flushes it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a file that is not larger than `bytes_max`.
pub(crate) fn read_limited(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!(
            "the file has more than {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}
