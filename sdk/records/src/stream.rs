//! Encryption and decryption of one record, chunk by chunk.
//!
//! The construction is STREAM of Hoang, Reyhanitabar, Rogaway and Vizár (*Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance*, CRYPTO 2015) with a 32-bit big
//! endian counter, over XChaCha20-Poly1305: the nonce of a chunk is the 19-byte prefix, the
//! chunk's index, and a byte that is 1 for the last chunk. The associated data of every chunk is
//! the header's hash. Key, prefix and commitment come out of the record key and that hash, so a
//! chunk opens only as this chunk of this record.
//!
//! The plaintext stream, cut into chunks of [`CHUNK_PLAINTEXT_BYTES`], is:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | length of the metadata, big endian |
//! | n | metadata, a JSON object: `content_bytes`, `media_type`, `format`, optional `file_name` |
//! | `content_bytes` | the document |
//! | the rest | zeros, up to the padded length in the header |
//!
//! Both directions hold one buffer of one chunk, whatever the size of the record.
//!
//! [`CHUNK_PLAINTEXT_BYTES`]: crate::limits::CHUNK_PLAINTEXT_BYTES
//!
//! ```
//! use stela_records::format::Metadata;
//! use stela_records::keys::RecordKey;
//! use stela_records::stream::{Decryptor, Encryptor};
//! use tokio::io::AsyncReadExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand::rng();
//! let key = RecordKey::generate(&mut rng);
//! let document = br#"{"resourceType":"Observation","status":"final"}"#;
//! let metadata = Metadata::new(document.len() as u64, "application/fhir+json", "fhir-r4")?;
//!
//! // The author: the blob goes to storage, header and commitment go on the ledger.
//! let mut encryptor = Encryptor::new(document.as_slice(), &metadata, &key, &mut rng)?;
//! let header = encryptor.header().encode();
//! let commitment = encryptor.commitment();
//! let mut blob = Vec::new();
//! encryptor.read_to_end(&mut blob).await?;
//!
//! // A reader, who has the key from a wrap, and header and commitment from the ledger.
//! let decryptor = Decryptor::new(&key, &header, &commitment)?;
//! let opened = decryptor.decrypt_document(blob.as_slice()).await?;
//! assert_eq!(opened.content(), document);
//! assert_eq!(opened.metadata().media_type(), "application/fhir+json");
//! # Ok(())
//! # }
//! ```

mod chunk;
mod decrypt;
mod encrypt;
mod layout;
mod target;

pub use decrypt::{ContentStream, DecryptError, Decryptor, Document};
pub use encrypt::{EncryptError, Encryptor};
pub use layout::{ContentPart, DocumentLayout, RangeError};

pub(crate) use chunk::chunk_buffer;
pub(crate) use target::Target;

#[cfg(test)]
mod tests;
