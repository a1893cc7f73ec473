//! Secret keys: the key of one record version, and the key pair of a recipient.
//!
//! All of them are zeroized on drop and redacted in `Debug`. Randomness is passed in.

mod encryption;
pub(crate) mod file;
mod record;

pub use encryption::{EncryptionKeyError, EncryptionKeyPair, EncryptionPublicKey};
pub use file::KeyFileError;
pub use record::RecordKey;

pub(crate) use encryption::Kem;
pub(crate) use record::RecordKeys;
