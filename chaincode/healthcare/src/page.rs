//! Lists in parts.

use data_encoding::HEXLOWER;
use stela_guest::{ContractError, Entry, KeyRange, Ledger};

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
            bookmark: page.next.map(|next| HEXLOWER.encode(&next)),
        })
    }
}

fn foreign_bookmark() -> ContractError {
    ContractError::invalid("bookmark", "expected the bookmark of the page before")
}
