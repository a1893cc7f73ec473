//! Encrypted records: headers, metadata, blobs, wrapped keys, key files.

use std::sync::OnceLock;

use rand::SeedableRng;
use rand::rngs::StdRng;
use stela_records::format::{Header, Identifier, KeyCommitment, Wrap, WrapLabel, WrapList};
use stela_records::keys::{EncryptionKeyPair, EncryptionPublicKey, RecordKey};
use stela_records::limits::{WRAP_LIST_BYTES_MAX, WRAPS_MAX};
use stela_records::stream::{Decryptor, Encryptor};
use stela_records::{format, wrap};

use crate::parts::Parts;

const DOCUMENT: &[u8] = b"{\"resourceType\":\"Observation\",\"status\":\"final\"}";
const KEY: [u8; 32] = [7; 32];

/// One record, encrypted under a known key, always in the same way.
struct Sample {
    header: Header,
    commitment: KeyCommitment,
    blob: Vec<u8>,
    reader: EncryptionKeyPair,
    label: WrapLabel,
    wrap: Wrap,
}

impl Sample {
    fn get() -> &'static Self {
        static SAMPLE: OnceLock<Sample> = OnceLock::new();
        SAMPLE.get_or_init(|| Self::make().expect("the sample is a record"))
    }

    fn make() -> Result<Self, Box<dyn std::error::Error>> {
        let mut rng = StdRng::seed_from_u64(1);
        let key = RecordKey::from_bytes(&KEY);
        let metadata =
            format::Metadata::new(DOCUMENT.len() as u64, "application/fhir+json", "fhir-r4")?;
        let mut encryptor = Encryptor::new(DOCUMENT, &metadata, &key, &mut rng)?;
        let (header, commitment) = (*encryptor.header(), encryptor.commitment());
        let mut blob = Vec::new();
        while let Some(chunk) = now(encryptor.next_chunk())? {
            blob.extend_from_slice(chunk);
        }
        let reader = EncryptionKeyPair::from_seed(&[9; 32]);
        let label = WrapLabel {
            channel: Identifier::new("care")?,
            record_id: Identifier::new("record-1")?,
            version: 1,
            patient_id: Identifier::new("patient-1")?,
            author_id: Identifier::new("practitioner-1")?,
            header_hash: header.hash(),
            key_commitment: commitment,
            cid: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".parse()?,
        };
        let recipient = Identifier::new("patient-1")?;
        let wrap = wrap::seal(&key, &label, &recipient, reader.public(), &mut rng)?;
        Ok(Self {
            header,
            commitment,
            blob,
            reader,
            label,
            wrap,
        })
    }

    fn decryptor(&self) -> Decryptor {
        let key = RecordKey::from_bytes(&KEY);
        Decryptor::new(&key, &self.header.encode(), &self.commitment).expect("its own key")
    }
}

/// The answer of work that waits for nothing: all of it is in memory.
fn now<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers").block_on(work)
}

pub(super) fn record_header(input: &[u8]) {
    let Ok(header) = Header::decode(input) else {
        return;
    };
    assert_eq!(header.encode(), input);
    let (count, blob) = (header.chunk_count(), header.blob_bytes());
    let at = |index| header.chunk_blob_range(index).expect("a chunk");
    assert_eq!((at(0).start, at(count - 1).end), (0, blob));
    assert!(count < 2 || at(0).end == at(1).start);
    assert!(count < 2 || at(count - 2).end == at(count - 1).start);
    assert_eq!(header.chunk_blob_range(count), None);
    let last = header.chunk_plaintext_range(count - 1).expect("a chunk");
    assert_eq!(last.end, header.padded_bytes());
    assert!(!last.is_empty());
}

/// A number chooses a range, the rest is the plaintext of the first chunk.
pub(super) fn record_metadata(input: &[u8]) {
    let mut parts = Parts::of(input);
    let (start, end) = (parts.number() >> 40, parts.number() >> 40);
    let decryptor = Sample::get().decryptor();
    let Ok(layout) = decryptor.layout(parts.rest()) else {
        return;
    };
    let metadata = layout.metadata();
    assert!(metadata.content_bytes() <= decryptor.header().padded_bytes());
    assert!(
        metadata
            .file_name()
            .is_none_or(|name| !name.contains(['/', '\0']) && name != "..")
    );
    assert!(metadata.media_type().is_ascii());
    let Ok(ranges) = layout.parts(start..end) else {
        return assert!(start > end || end > metadata.content_bytes());
    };
    let ranges: Vec<_> = ranges.collect();
    let bytes: usize = ranges.iter().map(|part| part.plaintext.len()).sum();
    assert_eq!(
        bytes as u64,
        end - start,
        "every byte of a range lies in one part"
    );
}

/// Whatever a storage node gives out for a blob: only the blob itself is opened, as a whole and
/// chunk by chunk alike.
pub(super) fn record_stream(input: &[u8]) {
    let sample = Sample::get();
    let decryptor = sample.decryptor();
    let whole = now(decryptor.decrypt_document(input));
    assert_eq!(whole.is_ok(), input == sample.blob);
    let mut chunk = input.to_vec();
    let alone = decryptor.decrypt_chunk(0, &mut chunk);
    assert_eq!(
        alone.is_ok(),
        input == sample.blob,
        "the sample is one chunk"
    );
    if let Ok(document) = whole {
        assert_eq!(document.content(), DOCUMENT);
        let layout = decryptor.layout(&chunk).expect("its author was honest");
        let part = layout
            .parts(0..DOCUMENT.len() as u64)
            .expect("the document")
            .next();
        assert_eq!(&chunk[part.expect("one part").plaintext], DOCUMENT);
    }
}

pub(super) fn wrap_list(input: &[u8]) {
    let Ok(list) = WrapList::decode(input) else {
        return;
    };
    assert!(input.len() <= WRAP_LIST_BYTES_MAX && list.wraps().len() <= WRAPS_MAX);
    assert_eq!(list.encode(), input);
    assert_eq!(WrapList::new(list.wraps().to_vec()).as_ref(), Ok(&list));
    for wrap in list.wraps() {
        assert!(list.for_key(wrap.key_id).any(|found| found == wrap));
    }
}

/// A list of wraps for somebody: only those that were sealed open, and to the key that the ledger
/// commits to.
pub(super) fn wrap_open(input: &[u8]) {
    let Ok(list) = WrapList::decode(input) else {
        return;
    };
    let sample = Sample::get();
    for wrap in list.wraps().iter().take(4) {
        let opened = wrap::open(wrap, &sample.label, &sample.reader);
        assert_eq!(opened.is_ok(), *wrap == sample.wrap);
        if let Ok(key) = opened {
            assert_eq!(key.expose_bytes(), &KEY);
        }
        let other = WrapLabel {
            version: 2,
            ..sample.label.clone()
        };
        assert!(wrap::open(wrap, &other, &sample.reader).is_err());
    }
}

/// A public key, or a pair as it stands in a file.
pub(super) fn encryption_keys(input: &[u8]) {
    if let Ok(key) = EncryptionPublicKey::decode(input) {
        assert_eq!(key.encode(), input);
    }
    if let Ok(pair) = EncryptionKeyPair::decode(input) {
        assert_eq!(&pair.encode()[..], input);
        let public = EncryptionPublicKey::decode(&pair.public().encode());
        assert_eq!(public.map(|key| key.key_id()), Ok(pair.public().key_id()));
    }
}

pub(super) mod seeds {
    use super::*;

    pub(in crate::targets) fn record_header() -> Vec<Vec<u8>> {
        let mut rng = StdRng::seed_from_u64(2);
        [4096, 262_144, 1 << 30, 1 << 40]
            .map(|padded| {
                Header::new(padded, &mut rng)
                    .expect("a padded length")
                    .encode()
                    .to_vec()
            })
            .into()
    }

    pub(in crate::targets) fn record_metadata() -> Vec<Vec<u8>> {
        let stream = |json: &str, content: &[u8]| {
            let length = (json.len() as u32).to_be_bytes();
            let range = [
                0_u64.to_be_bytes(),
                ((content.len() as u64) << 40).to_be_bytes(),
            ]
            .concat();
            [&range[..], &length, json.as_bytes(), content].concat()
        };
        vec![
            stream(
                r#"{"content_bytes":5,"media_type":"text/plain","format":"text"}"#,
                b"hello",
            ),
            stream(
                r#"{"content_bytes":2,"media_type":"application/dicom; q=1","format":"x","file_name":"a.dcm"}"#,
                b"ab",
            ),
            stream(
                r#"{"content_bytes":0,"media_type":"a/b","format":"c"}"#,
                b"",
            ),
        ]
    }

    pub(in crate::targets) fn record_stream() -> Vec<Vec<u8>> {
        let blob = &Sample::get().blob;
        vec![
            blob.clone(),
            blob[..2000].to_vec(),
            [&blob[..100], b"more"].concat(),
        ]
    }

    fn list(recipients: &[&str]) -> Vec<u8> {
        let wrap = |recipient: &&str| Wrap {
            recipient: Identifier::new(*recipient).expect("a name"),
            ..Sample::get().wrap.clone()
        };
        WrapList::new(recipients.iter().map(wrap).collect())
            .expect("few and distinct")
            .encode()
    }

    pub(in crate::targets) fn wrap_list() -> Vec<Vec<u8>> {
        vec![list(&[]), list(&["patient-1"]), list(&["a", "b", "c"])]
    }

    pub(in crate::targets) fn wrap_open() -> Vec<Vec<u8>> {
        vec![list(&["patient-1"]), list(&["patient-1", "patient-2"])]
    }

    pub(in crate::targets) fn encryption_keys() -> Vec<Vec<u8>> {
        let pair = &Sample::get().reader;
        vec![pair.encode().to_vec(), pair.public().encode()]
    }
}
