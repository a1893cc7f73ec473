//! Encrypted health records.
//!
//! A record is encrypted once, under a fresh [`keys::RecordKey`], into a blob that any storage node
//! may hold. Beside the blob there is a public [`format::Header`] and a
//! [`format::KeyCommitment`], both for the ledger; every recipient checks the commitment, so that
//! all of them read the same document. The key reaches a recipient as a [`wrap`].
//!
//! | module | job |
//! |---|---|
//! | [`limits`] | every limit, by name |
//! | [`padding`] | which lengths a stored record can have |
//! | [`format`](mod@format) | byte layouts: header, metadata, wrap list, identifiers and digests |
//! | [`keys`] | record keys and what is derived from them; X-Wing key pairs and their files |
//! | [`stream`] | encryption and decryption of a record, chunk by chunk |
//! | [`wrap`] | record keys sealed to recipients |
//! | [`note`] | notes beside requests for consent |
//! | [`window`] | a device's observations, and proofs of single ones |
//! | [`vitals`] | vital signs as FHIR, and thresholds |
//! | [`care`] | the flow: submit, review, consent, request access, read |

pub mod care;
pub mod format;
pub mod keys;
pub mod limits;
pub mod note;
pub mod padding;
pub mod stream;
pub mod vitals;
pub mod window;
pub mod wrap;
