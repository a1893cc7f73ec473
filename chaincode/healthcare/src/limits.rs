//! Every bound that the contract sets.

/// How long a permit lasts at most: one hour, in milliseconds.
pub const PERMIT_MS: u64 = 3_600_000;
/// Consents of one patient, revoked ones included, that a decision can take into account; with
/// more, nobody gets access by consent.
pub const CONSENTS_MAX: u32 = 999;
/// Lists of wrapped keys of one version of a record.
pub const WRAPS_MAX: u32 = 200;
/// How many of them the version's author may add, the one she submitted it with included.
pub const AUTHOR_WRAPS_MAX: u32 = WRAPS_MAX / 2;
/// Entries of a page when the request names no limit.
pub const PAGE_DEFAULT: u32 = 50;
/// Entries of a page.
pub const PAGE_MAX: u32 = 200;
/// Bytes of a bookmark, in hexadecimal.
pub const BOOKMARK_BYTES_MAX: usize = 512;
/// Characters of a CID.
pub const CID_CHARS_MAX: usize = 128;
/// Bytes of a record's encryption header.
pub const HEADER_BYTES_MAX: usize = 256;
/// Bytes of an encoded X-Wing public key.
pub const PUBLIC_KEY_BYTES: usize = 1218;
/// Bytes of the contract's settings.
pub const SETTINGS_BYTES_MAX: usize = 4096;
/// How long a new certificate of a patient who lost hers waits before it counts, when the settings
/// do not say: 72 hours, in milliseconds.
pub const REBIND_WAIT_MS: u64 = 72 * 3_600_000;
