//! Vectors that an independent implementation made, and published ones.
//!
//! `vectors/make.py` writes the JSON files; see there how to run it.

use hkdf::Hkdf;
use rand::{TryCryptoRng, TryRng};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use stela_records::format::{
    EncryptionKeyId, Header, HeaderHash, Identifier, KeyCommitment, Metadata, WrapLabel, WrapList,
    WrapListCommitment, WrapListSalt,
};
use stela_records::keys::{EncryptionKeyPair, EncryptionPublicKey, RecordKey};
use stela_records::stream::{DecryptError, Decryptor, Encryptor};
use stela_records::wrap;
use tokio::io::AsyncReadExt;

/// "Randomness" that is given in a vector. Panics when more is asked for than there is.
struct Given(Vec<u8>);

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("only bytes are given")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("only bytes are given")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<_>>());
        Ok(())
    }
}

impl TryCryptoRng for Given {}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    bytes(text).try_into().expect("the right length")
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a vector file");
    serde_json::from_str(&text).expect("a vector file of this shape")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[derive(Deserialize)]
struct RecordVector {
    name: String,
    key: String,
    random: String,
    content_bytes: u64,
    content_seed: u8,
    media_type: String,
    format: String,
    file_name: Option<String>,
    header: String,
    header_hash: HeaderHash,
    commitment: KeyCommitment,
    blob_bytes: u64,
    blob_sha256: String,
    blob: Option<String>,
}

impl RecordVector {
    fn content(&self) -> Vec<u8> {
        let blocks = self.content_bytes.div_ceil(32);
        let block = |index: u64| {
            Sha256::digest([&[self.content_seed][..], &index.to_be_bytes()].concat()).to_vec()
        };
        let mut content = (0..blocks).flat_map(block).collect::<Vec<_>>();
        content.truncate(self.content_bytes as usize);
        content
    }

    fn metadata(&self) -> Metadata {
        let metadata = Metadata::new(self.content_bytes, &self.media_type, &self.format);
        match &self.file_name {
            Some(name) => metadata.and_then(|metadata| metadata.with_file_name(name)),
            None => metadata,
        }
        .expect("valid")
    }
}

#[test]
fn records_are_sealed_byte_for_byte_as_by_the_other_implementation() {
    let vectors: Vec<RecordVector> = read("records.json");
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let key = RecordKey::from_bytes(&array(&vector.key));
        let content = vector.content();
        let mut random = Given(bytes(&vector.random));
        let mut encryptor =
            Encryptor::new(content.as_slice(), &vector.metadata(), &key, &mut random)
                .expect("small enough");
        assert_eq!(
            hex::encode(encryptor.header().encode()),
            vector.header,
            "{}",
            vector.name
        );
        assert_eq!(
            encryptor.header_hash(),
            vector.header_hash,
            "{}",
            vector.name
        );
        assert_eq!(encryptor.commitment(), vector.commitment, "{}", vector.name);
        assert_eq!(
            encryptor.header().blob_bytes(),
            vector.blob_bytes,
            "{}",
            vector.name
        );
        let mut blob = Vec::new();
        block_on(encryptor.read_to_end(&mut blob)).expect("seals");
        assert_eq!(
            hex::encode(Sha256::digest(&blob)),
            vector.blob_sha256,
            "{}",
            vector.name
        );
        if let Some(expected) = &vector.blob {
            assert_eq!(&hex::encode(&blob), expected, "{}", vector.name);
        }
    }
}

#[test]
fn records_of_the_other_implementation_are_opened() {
    let vectors: Vec<RecordVector> = read("records.json");
    let with_blob: Vec<_> = vectors
        .iter()
        .filter(|vector| vector.blob.is_some())
        .collect();
    assert_eq!(with_blob.len(), 3);
    for vector in with_blob {
        let key = RecordKey::from_bytes(&array(&vector.key));
        let decryptor = Decryptor::new(&key, &bytes(&vector.header), &vector.commitment)
            .expect("the right key");
        let blob = bytes(vector.blob.as_deref().expect("filtered"));
        let document = block_on(decryptor.decrypt_document(blob.as_slice())).expect("opens");
        assert_eq!(document.content(), vector.content(), "{}", vector.name);
        assert_eq!(document.metadata(), &vector.metadata(), "{}", vector.name);
    }
}

#[derive(Deserialize)]
struct TwoKeysVector {
    header: String,
    header_hash: HeaderHash,
    blob: String,
    readers: [ReaderVector; 2],
}

#[derive(Deserialize)]
struct ReaderVector {
    key: String,
    cipher_key: String,
    nonce: String,
    commitment: KeyCommitment,
}

/// XChaCha20-Poly1305 alone does not prevent one ciphertext from opening under two keys. The
/// vector is such a ciphertext; the commitment lets only one of its readers begin.
#[test]
fn one_ciphertext_cannot_show_two_documents_to_two_readers() {
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};
    use chacha20poly1305::{XChaCha20Poly1305, XNonce};

    let vector: TwoKeysVector = read("two_keys.json");
    let (header, blob) = (bytes(&vector.header), bytes(&vector.blob));
    assert_eq!(
        Header::decode(&header).map(|header| header.hash()),
        Ok(vector.header_hash)
    );

    let documents = vector.readers.each_ref().map(|reader| {
        let cipher = XChaCha20Poly1305::new(&array::<32>(&reader.cipher_key).into());
        let payload = Payload {
            msg: &blob,
            aad: vector.header_hash.as_bytes(),
        };
        cipher
            .decrypt(&XNonce::from(array::<24>(&reader.nonce)), payload)
            .expect("opens for both")
    });
    assert_ne!(
        documents[0], documents[1],
        "the attack works on the cipher alone"
    );

    for (reader, other) in [(0, 1), (1, 0)] {
        let key = RecordKey::from_bytes(&array(&vector.readers[reader].key));
        let own = &vector.readers[reader].commitment;
        assert_eq!(key.commitment(&vector.header_hash), *own);
        let refused = Decryptor::new(&key, &header, &vector.readers[other].commitment);
        assert!(matches!(refused, Err(DecryptError::CommitmentMismatch)));
    }
}

#[derive(Deserialize)]
struct WrapsVector {
    key: String,
    label: LabelVector,
    label_bytes: String,
    wraps: Vec<WrapVector>,
    list_sha256: String,
    list_salt: String,
    list_commitment: WrapListCommitment,
}

#[derive(Deserialize)]
struct LabelVector {
    channel: String,
    record_id: String,
    version: u64,
    patient_id: String,
    author_id: String,
    header_hash: HeaderHash,
    key_commitment: KeyCommitment,
    cid: String,
}

#[derive(Deserialize)]
struct WrapVector {
    recipient: String,
    seed: String,
    randomness: String,
    public_key: String,
    key_id: EncryptionKeyId,
    encapsulated_key: String,
    sealed_key: String,
}

impl LabelVector {
    fn label(&self) -> WrapLabel {
        WrapLabel {
            channel: self.channel.parse().expect("valid"),
            record_id: self.record_id.parse().expect("valid"),
            version: self.version,
            patient_id: self.patient_id.parse().expect("valid"),
            author_id: self.author_id.parse().expect("valid"),
            header_hash: self.header_hash,
            key_commitment: self.key_commitment,
            cid: self.cid.parse().expect("a CID"),
        }
    }
}

#[test]
fn wraps_are_sealed_byte_for_byte_as_by_the_other_implementation() {
    let vector: WrapsVector = read("wraps.json");
    let (key, label) = (
        RecordKey::from_bytes(&array(&vector.key)),
        vector.label.label(),
    );
    assert_eq!(hex::encode(label.encode()), vector.label_bytes);

    let mut wraps = Vec::new();
    for expected in &vector.wraps {
        let pair = EncryptionKeyPair::from_seed(&array(&expected.seed));
        assert_eq!(hex::encode(pair.public().encode()), expected.public_key);
        assert_eq!(pair.public().key_id(), expected.key_id);
        let public = EncryptionPublicKey::decode(&bytes(&expected.public_key)).expect("valid");
        let recipient: Identifier = expected.recipient.parse().expect("valid");
        let mut random = Given(bytes(&expected.randomness));
        let wrap = wrap::seal(&key, &label, &recipient, &public, &mut random).expect("seals");
        assert_eq!(
            hex::encode(*wrap.encapsulated_key),
            expected.encapsulated_key
        );
        assert_eq!(hex::encode(wrap.sealed_key), expected.sealed_key);
        assert_eq!(wrap::open(&wrap, &label, &pair).as_ref(), Ok(&key));
        wraps.push(wrap);
    }

    let encoded = WrapList::new(wraps).expect("two wraps").encode();
    assert_eq!(hex::encode(Sha256::digest(&encoded)), vector.list_sha256);
    let salt = WrapListSalt::from_bytes(array(&vector.list_salt));
    let list = WrapList::decode_committed(&encoded, &salt, &vector.list_commitment);
    assert_eq!(list.map(|list| list.wraps().len()), Ok(2));
}

/// RFC 5869, appendix A.1.
#[test]
fn hkdf_of_rfc_5869() {
    let salt = bytes("000102030405060708090a0b0c");
    let mut output = [0; 42];
    Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22])
        .expand(&bytes("f0f1f2f3f4f5f6f7f8f9"), &mut output)
        .expect("42 bytes");
    let expected =
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
    assert_eq!(hex::encode(output), expected);
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
#[test]
fn xchacha20_poly1305_of_the_draft() {
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};
    use chacha20poly1305::{XChaCha20Poly1305, XNonce};

    let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
                 the future, sunscreen would be it.";
    let key: [u8; 32] = std::array::from_fn(|index| 0x80 + index as u8);
    let nonce: [u8; 24] = std::array::from_fn(|index| 0x40 + index as u8);
    let payload = Payload {
        msg: text,
        aad: &bytes("50515253c0c1c2c3c4c5c6c7"),
    };
    let sealed = XChaCha20Poly1305::new(&key.into())
        .encrypt(&XNonce::from(nonce), payload)
        .expect("short");
    let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
                    731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
                    2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                    21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
    assert_eq!(hex::encode(sealed), expected);
}
