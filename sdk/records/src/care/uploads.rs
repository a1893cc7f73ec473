//! Versions that are encrypted and not yet submitted, as a user's machine keeps them.
//!
//! The file of an upload, version 1, integers big endian:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | format version, 1 |
//! | 1 | 0 for a new record, 1 for an amendment |
//! | 8 | when the document was encrypted, in milliseconds since 1970 |
//! | 4 + n | length, and what will be submitted: the JSON of [`SubmitRecord`] |
//! | 4 + m | length, and the list with one wrap of the record's key, for the author herself |
//! | 32 | SHA-256 over the framing of all before |
//!
//! The key stands here sealed to the author's own key pair, under the label that every wrap of the
//! version has, so that a file that was moved to another user, record or channel does not open.
//! The document is not kept and not needed: what is resumed is the ciphertext. A document is never
//! encrypted twice under one key.

use std::path::Path;

use stela_consent::Id;
use stela_healthcare::request::SubmitRecord;

use super::kept::{Folder, KeptError, Name};
use super::keys::{cid_of, header_of, open_own};
use crate::format::{Reader, WrapLabel, domain, framed_hash};
use crate::keys::{EncryptionKeyPair, RecordKey};
use crate::limits::{UPLOAD_STATE_BYTES_MAX, UPLOADS_MAX};

const FORMAT_VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 32;

/// A version that is encrypted on this machine and not yet submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Whether it amends a record.
    pub amends: bool,
    /// When the document was encrypted, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// What will be submitted.
    pub request: SubmitRecord,
    /// The encoded list with the author's own wrap.
    pub(super) sealed: Vec<u8>,
}

/// An unfinished upload, or why its file cannot be used.
#[derive(Debug)]
pub struct Unfinished {
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// What is known of it.
    pub upload: Result<Upload, KeptError>,
}

impl Upload {
    /// Bytes of the ciphertext, by the header; `None` if that is malformed.
    pub fn stored_bytes(&self) -> Option<u64> {
        let header = header_of(&self.request.header).ok()?;
        Some(header.blob_bytes())
    }

    /// Where the ciphertext is.
    pub fn cid(&self) -> Option<cid::Cid> {
        cid_of(&self.request.cid).ok()
    }

    /// The record's key, with the key pair of the one who encrypted it.
    pub(super) fn open_key<'a>(
        &'a self,
        label: &WrapLabel,
        pairs: impl Iterator<Item = &'a EncryptionKeyPair> + Clone,
    ) -> Result<RecordKey, KeptError> {
        let opened = open_own([&self.sealed[..]], label, pairs);
        let record = self.request.record;
        opened.map_err(|_| KeptError::OtherUser { record })
    }

    pub(super) fn name(&self) -> Name {
        (self.request.record, self.request.version)
    }

    fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(&self.request).expect("texts and numbers become JSON");
        let mut bytes = vec![FORMAT_VERSION, u8::from(self.amends)];
        bytes.extend_from_slice(&self.since_ms.to_be_bytes());
        for part in [&json, &self.sealed] {
            let length = u32::try_from(part.len()).expect("both are a few kilobytes");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        let checksum = framed_hash(domain::UPLOAD, &[&bytes]);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        match bytes.first() {
            None => return Err(Fault::Damaged("it is empty")),
            Some(&FORMAT_VERSION) => {}
            Some(&version) => return Err(Fault::Version(version)),
        }
        let (body, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Fault::Damaged("it is truncated"))?;
        if framed_hash(domain::UPLOAD, &[body]) != *checksum {
            return Err(Fault::Damaged("its checksum does not fit"));
        }
        Self::parse(body).ok_or(Fault::Damaged("its fields do not fit together"))
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let _version = reader.u8()?;
        let amends = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let since_ms = reader.u64()?;
        let mut part = || {
            let length = reader.u32()?;
            reader.slice(length as usize)
        };
        let (json, sealed) = (part()?, part()?.to_vec());
        let request = serde_json::from_slice(json).ok()?;
        (reader.remaining_bytes() == 0).then_some(Self {
            amends,
            since_ms,
            request,
            sealed,
        })
    }
}

enum Fault {
    Version(u8),
    Damaged(&'static str),
}

/// The unfinished uploads of one user.
#[derive(Debug, Clone)]
pub(super) struct Uploads(Folder);

impl Uploads {
    pub(super) fn open(transfers: &Path) -> Result<Self, KeptError> {
        Folder::open(transfers.join("uploads")).map(Self)
    }

    /// Refuses one more upload when there are as many as may be.
    pub(super) fn check_room(&self) -> Result<(), KeptError> {
        let uploads_max = UPLOADS_MAX;
        match self.0.names()?.len() < uploads_max {
            true => Ok(()),
            false => Err(KeptError::Full { uploads_max }),
        }
    }

    pub(super) fn save(&self, upload: &Upload) -> Result<(), KeptError> {
        self.0.write(upload.name(), &upload.encode())
    }

    pub(super) fn remove(&self, name: Name) -> Result<bool, KeptError> {
        self.0.remove(name)
    }

    pub(super) fn list(&self) -> Result<Vec<Unfinished>, KeptError> {
        let unfinished = |name: Name| Unfinished {
            record: name.0,
            version: name.1,
            upload: self.load(name),
        };
        Ok(self.0.names()?.into_iter().map(unfinished).collect())
    }

    /// The unfinished upload of a record, of its earliest version if there are several.
    pub(super) fn of_record(&self, record: Id) -> Result<Upload, KeptError> {
        let names = self.0.names()?;
        let found = names.into_iter().find(|name| name.0 == record);
        self.load(found.ok_or(KeptError::Unknown { record })?)
    }

    fn load(&self, name: Name) -> Result<Upload, KeptError> {
        let path = self.0.path(name);
        let bytes = self.0.read(name, UPLOAD_STATE_BYTES_MAX)?;
        let bytes = bytes.ok_or(KeptError::Unknown { record: name.0 })?;
        let upload = match Upload::decode(&bytes) {
            Ok(upload) => upload,
            Err(Fault::Version(version)) => {
                return Err(KeptError::UnknownVersion { path, version });
            }
            Err(Fault::Damaged(what)) => return Err(KeptError::Damaged { path, what }),
        };
        match upload.name() == name {
            true => Ok(upload),
            false => Err(KeptError::OtherRecord { path }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::seal_own;
    use super::*;
    use crate::format::{HeaderHash, Identifier};
    use proptest::prelude::*;
    use stela_consent::Hex;

    fn upload(record: u8, amends: bool) -> Upload {
        let request = serde_json::from_value(serde_json::json!({
            "record": hex::encode([record; 16]),
            "version": 1,
            "patient": "02".repeat(16),
            "cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            "category": "imaging",
            "confidentiality": "N",
            "header": "0101",
            "commitment": "04".repeat(32),
        }));
        Upload {
            amends,
            since_ms: 1_700_000_000_000,
            request: request.unwrap(),
            sealed: vec![7; 5],
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = upload(1, true).encode();
        let json = r#"{"record":"01010101010101010101010101010101","version":1,"patient":"02020202020202020202020202020202","cid":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy","category":"imaging","confidentiality":"N","header":"0101","commitment":"0404040404040404040404040404040404040404040404040404040404040404"}"#;
        let mut expect = hex::decode("01010000018bcfe56800").unwrap();
        expect.extend_from_slice(&(json.len() as u32).to_be_bytes());
        expect.extend_from_slice(json.as_bytes());
        expect.extend_from_slice(&hex::decode("000000050707070707").unwrap());
        let checksum = "8553af588ebf50f5f23d170b66c5ca7d139883457a4db1ef75e419ff4cc25707";
        assert_eq!(bytes[..bytes.len() - 32], expect);
        assert_eq!(hex::encode(&bytes[bytes.len() - 32..]), checksum);
    }

    #[test]
    fn an_upload_is_there_after_a_restart_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Uploads::open(folder.path()).unwrap();
        let (one, two) = (upload(1, false), upload(2, true));
        open().save(&one).unwrap();
        open().save(&two).unwrap();
        assert_eq!(open().of_record(one.request.record).unwrap(), one);
        assert_eq!(open().list().unwrap().len(), 2);
        assert!(open().remove(one.name()).unwrap());
        let gone = open().of_record(one.request.record).unwrap_err();
        assert!(matches!(gone, KeptError::Unknown { .. }), "{gone}");
        assert_eq!(open().of_record(two.request.record).unwrap(), two);
    }

    #[test]
    fn any_damage_of_the_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path()).unwrap();
        let upload = upload(1, false);
        uploads.save(&upload).unwrap();
        let good = upload.encode();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            uploads.0.write(upload.name(), &bad).unwrap();
            match uploads.of_record(upload.request.record) {
                Err(KeptError::UnknownVersion { version: 0, .. }) => assert_eq!(position, 0),
                Err(KeptError::Damaged { .. }) => assert_ne!(position, 0),
                other => panic!("byte {position}: {other:?}"),
            }
        }
        for length in 0..good.len() {
            uploads.0.write(upload.name(), &good[..length]).unwrap();
            let refused = uploads.of_record(upload.request.record);
            assert!(
                matches!(refused, Err(KeptError::Damaged { .. })),
                "{length}"
            );
        }
        let listed = uploads.list().unwrap();
        assert!(
            listed[0].upload.is_err(),
            "a damaged one is listed, so it can be dropped"
        );
        assert!(
            uploads
                .remove((listed[0].record, listed[0].version))
                .unwrap()
        );
    }

    #[test]
    fn a_file_under_another_records_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path()).unwrap();
        let other = Hex([9; 16]);
        uploads
            .0
            .write((other, 1), &upload(1, false).encode())
            .unwrap();
        let refused = uploads.of_record(other);
        assert!(matches!(refused, Err(KeptError::OtherRecord { .. })));
    }

    #[test]
    fn the_key_opens_for_its_own_user_and_record_only() {
        let (key, header_hash) = (
            RecordKey::from_bytes(&[1; 32]),
            HeaderHash::from_bytes([2; 32]),
        );
        let label = |record: &str| WrapLabel {
            channel: Identifier::new("care").unwrap(),
            record_id: Identifier::new(record).unwrap(),
            version: 1,
            patient_id: Identifier::new("patient").unwrap(),
            author_id: Identifier::new("author").unwrap(),
            header_hash,
            key_commitment: key.commitment(&header_hash),
            cid: cid::Cid::default(),
        };
        let (own, another) = ([3; 32], [4; 32]);
        let [own, another] = [own, another].map(|seed| EncryptionKeyPair::from_seed(&seed));
        let sealed = seal_own(&key, &label("record"), &own).ok().unwrap();
        let upload = Upload {
            sealed,
            ..upload(1, false)
        };
        assert_eq!(
            upload
                .open_key(&label("record"), std::iter::once(&own))
                .unwrap(),
            key
        );
        for (label, pair) in [(label("record"), &another), (label("other"), &own)] {
            let refused = upload.open_key(&label, std::iter::once(pair));
            assert!(matches!(refused, Err(KeptError::OtherUser { .. })));
        }
        let shown = format!("{upload:?}{:?}", upload.encode());
        assert!(!shown.contains(&format!("{:?}", [1u8; 32])[1..90]));
    }

    #[test]
    fn there_are_only_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path()).unwrap();
        for n in 0..UPLOADS_MAX as u8 {
            uploads.check_room().unwrap();
            uploads.save(&upload(n, false)).unwrap();
        }
        assert!(matches!(uploads.check_room(), Err(KeptError::Full { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_fall(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), seal in any::<bool>(),
        ) {
            let mut bytes = [vec![FORMAT_VERSION], bytes].concat();
            if seal {
                let checksum = framed_hash(domain::UPLOAD, &[&bytes]);
                bytes.extend_from_slice(&checksum);
            }
            prop_assert!(Upload::decode(&bytes).is_err());
        }
    }
}
