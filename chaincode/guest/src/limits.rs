//! Every bound that this crate sets. The host sets its own beside them.

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 1024;
/// Bytes of a JSON argument, unless a contract asks for less.
pub const JSON_BYTES_MAX: usize = 64 << 10;
/// Levels of nesting of a JSON argument; `serde_json` alone would stop at 128.
pub const JSON_DEPTH_MAX: usize = 16;
/// Bytes of the name of the field in an error.
pub const FIELD_BYTES_MAX: usize = 64;
/// Bytes of the message of an error.
pub const MESSAGE_BYTES_MAX: usize = 512;
