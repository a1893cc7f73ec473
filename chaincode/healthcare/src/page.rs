//! Lists in parts.

use data_encoding::HEXLOWER;
use stela_guest::{ContractError, Entry, Key, KeyRange, Ledger, Position, Version};

use crate::answer::Page;
use crate::limits::{BOOKMARK_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX};

/// Which part of a list is wanted.
pub(crate) struct Wanted {
    limit: u32,
    bookmark: Option<Vec<u8>>,
}

impl Wanted {
    pub(crate) fn new(limit: Option<u32>, bookmark: Option<String>) -> Result<Self, ContractError> {
        let limit = limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            let rule = format!("a page takes 1 to {PAGE_MAX} entries");
            return Err(ContractError::invalid("limit", rule));
        }
        let decode = |text: String| {
            let short = text.len() <= BOOKMARK_BYTES_MAX;
            short
                .then(|| HEXLOWER.decode(text.as_bytes()).ok())
                .flatten()
                .ok_or_else(foreign_bookmark)
        };
        Ok(Self {
            limit,
            bookmark: bookmark.map(decode).transpose()?,
        })
    }

    /// How many entries.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Where they start.
    pub(crate) fn bookmark(&self) -> Option<&[u8]> {
        self.bookmark.as_deref()
    }

    /// Reads the part of a range; entries for which `read` answers nothing are left out.
    pub(crate) fn read<T>(
        &self,
        ledger: &dyn Ledger,
        range: &KeyRange,
        mut read: impl FnMut(&Entry) -> Result<Option<T>, ContractError>,
    ) -> Result<Page<T>, ContractError> {
        let page = match &self.bookmark {
            None => ledger.range(range, self.limit),
            Some(start) => {
                let rest = range.from(start).ok_or_else(foreign_bookmark)?;
                ledger.range(&rest, self.limit)
            }
        };
        let entries: Result<Vec<Option<T>>, ContractError> =
            page.entries.iter().map(&mut read).collect();
        Ok(Page {
            entries: entries?.into_iter().flatten().collect(),
            bookmark: page.next.as_deref().map(bookmark),
        })
    }
}

impl Wanted {
    /// Reads the part of a key's history. Its bookmark is where the last change of the part before
    /// stands in the chain.
    pub(crate) fn read_history<T>(
        &self,
        ledger: &dyn Ledger,
        key: &Key,
        read: impl FnMut(&Version) -> Result<T, ContractError>,
    ) -> Result<Page<T>, ContractError> {
        let before = self.bookmark.as_deref().map(position).transpose()?;
        let part = ledger.history(key, before, self.limit);
        let entries: Result<Vec<T>, ContractError> = part.versions.iter().map(read).collect();
        let bookmark = |at: Position| {
            let bytes = [&at.block.to_be_bytes()[..], &at.transaction.to_be_bytes()].concat();
            HEXLOWER.encode(&bytes)
        };
        Ok(Page {
            entries: entries?,
            bookmark: part.next.map(bookmark),
        })
    }
}

/// A bookmark for a list that goes on at this key.
pub(crate) fn bookmark(next: &[u8]) -> String {
    HEXLOWER.encode(next)
}

fn position(bookmark: &[u8]) -> Result<Position, ContractError> {
    let parts = bookmark.split_at_checked(8);
    let (block, transaction) = parts.ok_or_else(foreign_bookmark)?;
    Ok(Position {
        block: u64::from_be_bytes(block.try_into().map_err(|_| foreign_bookmark())?),
        transaction: u32::from_be_bytes(transaction.try_into().map_err(|_| foreign_bookmark())?),
    })
}

pub(crate) fn foreign_bookmark() -> ContractError {
    ContractError::invalid("bookmark", "expected the bookmark of the page before")
}
