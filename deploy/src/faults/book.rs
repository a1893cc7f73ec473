//! What clients were told, kept outside of the network: a file that is synced before an
//! acknowledgement counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use parking_lot::Mutex;
use stela_client::CommitStatus;
use stela_protocol::TransactionId;

/// Where an acknowledged transaction stands: block, and index in it.
pub(super) type Place = (u64, u32);

/// Everything that was acknowledged as valid.
pub(super) struct Book {
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    entries: BTreeMap<TransactionId, Place>,
    ids: Vec<TransactionId>,
}

impl Book {
    /// A new book.
    ///
    /// # Errors
    /// When the file cannot be made, or is there already.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().append(true).create_new(true).open(path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        let inner = Inner {
            file,
            entries: BTreeMap::new(),
            ids: Vec::new(),
        };
        Ok(Self {
            inner: Mutex::new(inner),
        })
    }

    /// Writes an acknowledgement down, durably. Blocks.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn enter(&self, status: &CommitStatus) -> anyhow::Result<()> {
        let (id, place) = (status.transaction, (status.block.0, status.index));
        let mut inner = self.inner.lock();
        writeln!(inner.file, "{id} {} {}", place.0, place.1)?;
        inner.file.sync_data()?;
        if inner.entries.insert(id, place).is_none() {
            inner.ids.push(id);
        }
        Ok(())
    }

    /// How many were acknowledged.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().ids.len()
    }

    /// The acknowledgement with this number, counted around.
    pub(super) fn get(&self, number: usize) -> Option<(TransactionId, Place)> {
        let inner = self.inner.lock();
        let id = *inner.ids.get(number.checked_rem(inner.ids.len())?)?;
        Some((id, *inner.entries.get(&id)?))
    }

    /// All acknowledgements in blocks from `start` up to `end`, which is not included.
    pub(super) fn between(&self, start: u64, end: u64) -> Vec<(TransactionId, Place)> {
        let inner = self.inner.lock();
        let entries = inner.entries.iter();
        entries
            .filter(|(_, place)| (start..end).contains(&place.0))
            .map(|(id, place)| (*id, *place))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_protocol::{BlockNumber, ValidationCode};

    #[test]
    fn what_is_entered_is_in_the_file_and_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acknowledged.log");
        let book = Book::create(&path).unwrap();
        assert!(book.len() == 0 && book.get(7).is_none());
        for block in [3, 5] {
            let status = CommitStatus {
                transaction: TransactionId([block as u8; 32]),
                code: ValidationCode::Valid,
                block: BlockNumber(block),
                index: 2,
                time_ms: 1,
            };
            book.enter(&status).unwrap();
            book.enter(&status).unwrap();
        }
        assert_eq!(book.len(), 2);
        assert_eq!(book.get(3), Some((TransactionId([5; 32]), (5, 2))));
        assert_eq!(book.between(0, 5), [(TransactionId([3; 32]), (3, 2))]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("{} 3 2\n", TransactionId([3; 32]))));
        assert!(Book::create(&path).is_err());
    }
}
