//! Files that appear only when they are whole.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};
use tokio::fs::File;

use crate::keys::file;

/// A file that is being written, with mode 0600, on the disk of the name that it will have. Nothing
/// stays of it when this is dropped before it was published.
pub(crate) struct Target {
    file: File,
    place: Place,
    path: PathBuf,
}

/// Where the bytes are until then.
enum Place {
    /// In a file without a name, so that not even a crash leaves plaintext behind.
    Unnamed,
    /// Where there are no such files: in a temporary one beside the name.
    Named(TempPath),
}

impl Target {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let folder = file::parent(path);
        let (file, place) = match unnamed(folder) {
            Ok(file) => (file, Place::Unnamed),
            Err(_) => {
                let temporary = NamedTempFile::new_in(folder)?;
                let (file, temporary) = temporary.into_parts();
                (file, Place::Named(temporary))
            }
        };
        file::restrict_to_owner(&file)?;
        Ok(Self {
            file: File::from_std(file),
            place,
            path: path.to_owned(),
        })
    }

    pub(crate) fn writer(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, durably; an older one is replaced.
    pub(crate) async fn publish(self) -> io::Result<()> {
        let Self { file, place, path } = self;
        file.sync_all().await?;
        let file = file.into_std().await;
        let named = tokio::task::spawn_blocking(move || {
            let folder = file::parent(&path);
            let temporary = match place {
                Place::Named(temporary) => temporary,
                Place::Unnamed => name(&file, folder)?,
            };
            temporary.persist(&path).map_err(|refused| refused.error)?;
            file::sync_directory(folder)
        });
        named.await.map_err(io::Error::other)?
    }
}

#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(file.into())
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> io::Result<std::fs::File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives an unnamed file a temporary name: a name that is taken can only be replaced by renaming.
#[cfg(target_os = "linux")]
fn name(file: &std::fs::File, folder: &Path) -> io::Result<TempPath> {
    use rustix::fs::{AtFlags, CWD};
    use std::os::fd::AsRawFd;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let temporary = folder.join(format!(".stela-{:032x}", rand::random::<u128>()));
    rustix::fs::linkat(CWD, unnamed, CWD, &temporary, AtFlags::SYMLINK_FOLLOW)?;
    TempPath::try_from_path(temporary)
}

#[cfg(not(target_os = "linux"))]
fn name(_: &std::fs::File, _: &Path) -> io::Result<TempPath> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn names(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn a_file_has_no_name_before_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document");
        let mut target = Target::create(&path).unwrap();
        target.writer().write_all(b"half").await.unwrap();
        target.writer().flush().await.unwrap();
        if unnamed(folder.path()).is_ok() {
            assert_eq!(names(folder.path()), 0, "a crash now leaves nothing");
        }
        drop(target);
        assert_eq!(names(folder.path()), 0);
        for content in [&b"first"[..], b"second"] {
            let mut target = Target::create(&path).unwrap();
            target.writer().write_all(content).await.unwrap();
            target.writer().flush().await.unwrap();
            target.publish().await.unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert_eq!(names(folder.path()), 1);
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_get_its_name_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        let target = Target::create(&path).unwrap();
        assert!(target.publish().await.is_err());
        assert_eq!(names(folder.path()), 1, "the folder that was there");
    }
}
