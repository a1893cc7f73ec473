//! The byte formats of an encrypted record: pure encoding and decoding, without a key, a clock or
//! any input and output.
//!
//! Everything that is hashed, or bound into a key derivation, goes through one *framing*, so that
//! two different inputs never give the same bytes:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | length of the domain |
//! | n | domain, ASCII, one per purpose |
//! | 8 + m, repeated | length of a field, big endian, and the field |

mod digest;
mod header;
mod identifier;
mod label;
mod metadata;
mod reader;
mod wrap_list;

pub use digest::{
    DigestParseError, EncryptionKeyId, HeaderHash, KeyCommitment, WrapListCommitment,
};
pub use header::{Header, HeaderError};
pub use identifier::{Identifier, IdentifierError};
pub use label::WrapLabel;
pub use metadata::{Metadata, MetadataError};
pub use wrap_list::{
    ENCAPSULATED_KEY_BYTES, SEALED_KEY_BYTES, Wrap, WrapList, WrapListError, WrapListSalt,
};

pub(crate) use reader::Reader;

use sha2::{Digest, Sha256};

/// The purposes for which this crate hashes or derives. Each is used in exactly one place.
pub(crate) mod domain {
    pub(crate) const HEADER: &str = "stela/records/v1/header";
    pub(crate) const RECORD_KEYS: &str = "stela/records/v1/record-keys";
    pub(crate) const ENCRYPTION_KEY: &str = "stela/records/v1/encryption-key";
    pub(crate) const WRAP_LABEL: &str = "stela/records/v1/wrap-label";
    pub(crate) const WRAP: &str = "stela/records/v1/wrap";
    pub(crate) const WRAP_LIST: &str = "stela/records/v1/wrap-list";
    pub(crate) const NOTE: &str = "stela/records/v1/note";
    pub(crate) const UPLOAD: &str = "stela/records/v1/upload";
}

/// The framing of `fields` under `domain`, as bytes.
pub(crate) fn framed(domain: &str, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(domain, fields, |part| bytes.extend_from_slice(part));
    bytes
}

/// SHA-256 of the framing of `fields` under `domain`.
pub(crate) fn framed_hash(domain: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    frame(domain, fields, |part| hash.update(part));
    hash.finalize().into()
}

fn frame(domain: &str, fields: &[&[u8]], mut put: impl FnMut(&[u8])) {
    let domain_bytes = u8::try_from(domain.len()).expect("domains are short constants");
    put(&[domain_bytes]);
    put(domain.as_bytes());
    for field in fields {
        put(&(field.len() as u64).to_be_bytes());
        put(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_keeps_fields_apart() {
        assert_eq!(framed("ab", &[b"c"]), b"\x02ab\0\0\0\0\0\0\0\x01c");
        assert_ne!(framed("ab", &[b"c", b""]), framed("ab", &[b"", b"c"]));
        assert_ne!(framed("ab", &[b"c"]), framed("a", &[b"bc"]));
        assert_ne!(
            framed_hash("ab", &[b"cd"]),
            framed_hash("ab", &[b"c", b"d"])
        );
    }
}
