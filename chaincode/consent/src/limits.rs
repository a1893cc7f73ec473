//! Every bound on what a consent may carry.

/// Exceptions of one consent.
pub const EXCEPTIONS_MAX: usize = 8;
/// Entries of each list of a provision: purposes, labels, categories.
pub const CODES_MAX: usize = 24;
/// Records that one provision may name.
pub const RECORDS_MAX: usize = 64;
/// Bytes of an organization's name.
pub const ORGANIZATION_BYTES_MAX: usize = 64;
