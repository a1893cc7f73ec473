//! Where a ledger is derived anew, and how it takes the place of the old one.
//!
//! | Folder in the node's data folder | What |
//! |---|---|
//! | `channels/<channel>` | the database of a channel |
//! | `rebuild/<channel>/new` | the database that is being derived anew |
//! | `rebuild/<channel>/old` | the one whose place it has taken, until it is removed |
//!
//! A finished database takes the place of the old one by two renames: first the old one goes to
//! `old`, then `new` comes to its place. Before the first of them `new` is worth nothing, after it
//! `new` is whole. So [`recover`] knows after a crash what to do: when there is an `old` and nothing
//! at its place, the second rename is missing; everything else under `rebuild` is removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use stela_protocol::ChannelId;

/// The folder with the databases of all channels.
pub(crate) fn channels(data: &Path) -> PathBuf {
    data.join("channels")
}

/// Keeps every other process away from the data folder until it is dropped.
///
/// # Errors
/// `WouldBlock` when another process has it, else what the system says.
pub(crate) fn lock(data: &Path) -> io::Result<File> {
    let file = File::create(data.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = "another process uses it; a node's data belongs to one process at a time";
            Err(io::Error::new(io::ErrorKind::WouldBlock, why))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The folders of one channel.
pub(super) struct Folders {
    data: PathBuf,
    channel: PathBuf,
    rebuild: PathBuf,
}

impl Folders {
    pub(super) fn new(data: &Path, channel: &ChannelId) -> Self {
        Self {
            data: data.to_owned(),
            channel: channels(data).join(channel.as_str()),
            rebuild: data.join("rebuild").join(channel.as_str()),
        }
    }

    pub(super) fn channel(&self) -> &Path {
        &self.channel
    }

    /// Where a database may be derived anew; what an earlier attempt left is gone.
    pub(super) fn begin(&self) -> io::Result<PathBuf> {
        self.discard()?;
        fs::create_dir_all(&self.rebuild)?;
        Ok(self.new_folder())
    }

    fn new_folder(&self) -> PathBuf {
        self.rebuild.join("new")
    }

    fn old_folder(&self) -> PathBuf {
        self.rebuild.join("old")
    }

    /// Removes what was derived.
    pub(super) fn discard(&self) -> io::Result<()> {
        remove(&self.rebuild)
    }

    /// Puts what was derived in the place of the channel's database. Both must be closed, and what
    /// was derived durable.
    pub(super) fn replace(&self) -> io::Result<()> {
        sync(&self.new_folder())?;
        sync(&self.rebuild)?;
        sync(&self.data)?;
        fs::rename(&self.channel, self.old_folder())?;
        self.sync_both()?;
        self.finish()
    }

    /// The second rename and what comes after it.
    fn finish(&self) -> io::Result<()> {
        fs::rename(self.new_folder(), &self.channel)?;
        self.sync_both()?;
        self.discard()
    }

    fn sync_both(&self) -> io::Result<()> {
        sync(&self.rebuild)?;
        sync(&channels(&self.data))
    }

    fn recover(&self) -> io::Result<()> {
        if self.old_folder().exists() && !self.channel.exists() {
            return self.finish();
        }
        self.discard()
    }
}

/// Finishes or undoes what a crash interrupted.
///
/// # Errors
/// What the system says.
pub(crate) fn recover(data: &Path) -> io::Result<()> {
    let folder = data.join("rebuild");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if let Some(Ok(channel)) = name.to_str().map(ChannelId::new) {
            Folders::new(data, &channel).recover()?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, what: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("what"), what).unwrap();
    }

    fn what(folders: &Folders) -> String {
        fs::read_to_string(folders.channel().join("what")).unwrap()
    }

    fn begun(data: &Path) -> Folders {
        let folders = Folders::new(data, &ChannelId::new("care").unwrap());
        write(folders.channel(), "old");
        write(&folders.begin().unwrap(), "new");
        folders
    }

    #[test]
    fn what_was_derived_takes_the_place_of_the_old_one() {
        let data = tempfile::tempdir().unwrap();
        let folders = begun(data.path());
        folders.replace().unwrap();
        assert_eq!(what(&folders), "new");
        recover(data.path()).unwrap();
        assert_eq!(what(&folders), "new");
        assert!(!folders.rebuild.exists());
    }

    /// As far as each step of it had come when the machine went down.
    #[test]
    fn a_crash_at_any_step_leaves_one_whole_database() {
        for step in 0..4 {
            let data = tempfile::tempdir().unwrap();
            let folders = begun(data.path());
            if step > 0 {
                fs::rename(folders.channel(), folders.old_folder()).unwrap();
            }
            if step > 1 {
                fs::rename(folders.new_folder(), folders.channel()).unwrap();
            }
            if step > 2 {
                fs::remove_file(folders.old_folder().join("what")).unwrap();
            }
            recover(data.path()).unwrap();
            let expected = if step == 0 { "old" } else { "new" };
            assert_eq!(what(&folders), expected, "{step}");
            assert!(!folders.rebuild.exists(), "{step}");
        }
    }

    #[test]
    fn a_data_folder_has_one_owner() {
        let data = tempfile::tempdir().unwrap();
        let owner = lock(data.path()).unwrap();
        let refused = lock(data.path()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(owner);
        lock(data.path()).unwrap();
    }
}
