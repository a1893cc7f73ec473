//! Every bound that this crate sets.

/// Bytes of a document that is read. A consent has a few thousand; what is attached to one is not
/// needed here.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Bytes of a record that is checked as a resource.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// Levels of a resource that are looked at for labels.
pub const JSON_DEPTH_MAX: usize = 128;
/// Characters of an element's path in a refusal.
pub const ELEMENT_CHARS_MAX: usize = 160;
/// Resources of one bundle.
pub const BUNDLE_ENTRIES_MAX: usize = 100_000;
