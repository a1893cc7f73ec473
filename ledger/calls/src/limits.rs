//! Bounds on what one stream carries.

/// Calls of one stream that are worked on at a time.
pub const CALLS_MAX: usize = 4_096;
/// Calls, or answers, that wait to be written to one stream.
pub const WAITING_MAX: usize = 256;
