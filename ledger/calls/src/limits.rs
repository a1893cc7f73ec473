//! Bounds on what one stream carries.

/// Bytes of the calls of one stream that are worked on at a time.
pub const CALLS_BYTES_MAX: usize = 64 << 20;
/// What the smallest call counts for.
pub const CALL_BYTES_MIN: usize = 16 << 10;
/// Calls of one stream that are worked on at a time.
pub const CALLS_MAX: usize = CALLS_BYTES_MAX / CALL_BYTES_MIN;
/// Calls, or answers, that wait to be written to one stream.
pub const WAITING_MAX: usize = 256;
