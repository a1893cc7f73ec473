//! Asking for access, and reading with a committed permit.

use std::path::Path;
use std::time::Duration;

use stela_client::Submitted;
use stela_consent::{Hex, Id, Purpose};
use stela_healthcare::answer::{AccessDecision, ReadGrant, Verdict};
use stela_healthcare::request::{ReadGrant as ReadGrantRequest, RequestAccess};
use stela_ipfs::{BlobReader, BlobStore};
use tokio::io::AsyncRead;

use super::error::{AccessError, LedgerError, ReadError};
use super::kept::Name;
use super::keys::{cid_of, header_of};
use super::progress::{Counted, Stage};
use super::session::{Session, SessionOptions, now_ms};
use crate::format::{KeyCommitment, Metadata};
use crate::limits::{FETCH_BYTES_PER_SECOND_MIN, READ_RESUMED_BYTES_MIN};
use crate::stream::{DecryptError, Decryptor, Document, Target};

/// The media type of a FHIR resource.
const FHIR_JSON: &str = "application/fhir+json";

/// A permit, and the record it opens.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What was decided.
    pub decision: AccessDecision,
    /// The transaction that says so.
    pub submitted: Submitted,
    /// What is needed to read.
    pub grant: ReadGrant,
}

/// A record that was read and written to a file.
#[derive(Debug, Clone)]
pub struct Opened {
    /// How it was permitted.
    pub reading: Reading,
    /// The document's true size and format.
    pub metadata: Metadata,
}

/// A committed permit, as its reader asked for it.
#[derive(Debug, Clone)]
pub(super) struct Permitted {
    /// The patient, or her pseudonym.
    pub(super) patient: Id,
    pub(super) record: Id,
    pub(super) version: u32,
    pub(super) decision: AccessDecision,
    pub(super) submitted: Submitted,
}

/// What a records officer has before her; it was verified to its end.
#[derive(Debug)]
pub enum Reviewed {
    /// A document that is kept in memory.
    Document(Document),
    /// Another one, of which only this is given back.
    Verified(Metadata),
}

impl Reviewed {
    /// What the author says about the document.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Document(document) => document.metadata(),
            Self::Verified(metadata) => metadata,
        }
    }
}

impl Session {
    /// Asks for access to a version. Permit or deny, the decision is committed before this returns.
    ///
    /// # Errors
    /// [`AccessError`]: there is no decision, because the request was malformed, the record is not
    /// known or not active, or the transaction was not made.
    pub async fn request_access(
        &self,
        patient: Id,
        record: Id,
        version: u32,
        purpose: Purpose,
    ) -> Result<(AccessDecision, Submitted), AccessError> {
        let request = RequestAccess {
            patient,
            record,
            version,
            purpose,
            study: None,
        };
        self.submit_json("request_access", &request, None).await
    }

    /// Asks for access and, with the permit committed, for what is needed to read.
    ///
    /// # Errors
    /// [`ReadError::Denied`] carries the committed denial.
    pub async fn open(
        &self,
        patient: Id,
        record: Id,
        version: u32,
        purpose: Purpose,
    ) -> Result<Reading, ReadError> {
        let (decision, submitted) = self
            .request_access(patient, record, version, purpose)
            .await?;
        if decision.decision == Verdict::Deny {
            // Whoever may not read keeps no ciphertext for the next attempt.
            self.forget_read((record, version));
            return Err(ReadError::Denied(Box::new(decision)));
        }
        self.granted(Permitted {
            patient,
            record,
            version,
            decision,
            submitted,
        })
        .await
    }

    /// What is needed to read with a committed permit.
    async fn granted(&self, permitted: Permitted) -> Result<Reading, ReadError> {
        let request = ReadGrantRequest {
            patient: permitted.patient,
            record: permitted.record,
            version: permitted.version,
            request: Some(Hex(permitted.submitted.status.transaction.0)),
        };
        let grant: ReadGrant = self.ask_both("read_grant", &request).await?;
        check(&grant, &request)?;
        Ok(Reading {
            decision: permitted.decision,
            submitted: permitted.submitted,
            grant,
        })
    }

    /// Reads with a committed permit into a file, as [`read`](Self::read) does.
    pub(super) async fn read_permitted(
        &self,
        permitted: Permitted,
        file: &Path,
    ) -> Result<Opened, ReadError> {
        let reading = self.granted(permitted).await?;
        self.read_granted(reading, file).await
    }

    /// The document that a permit opens, in memory.
    pub(super) async fn document(&self, reading: &Reading) -> Result<Document, ReadError> {
        let version = &reading.grant.record;
        let name = (version.record, version.version);
        let decryptor = self.decryptor(reading).await?;
        let blob = self.fetch(reading, &decryptor).await?;
        let decrypted = decryptor.decrypt_document(blob).await;
        Ok(self.settle(name, decrypted)?)
    }

    async fn read_granted(&self, reading: Reading, file: &Path) -> Result<Opened, ReadError> {
        let version = &reading.grant.record;
        let name = (version.record, version.version);
        let decryptor = self.decryptor(&reading).await?;
        let blob = self.fetch(&reading, &decryptor).await?;
        let decrypted = decryptor.decrypt_to_file(blob, file).await;
        let metadata = self.settle(name, decrypted)?;
        Ok(Opened { reading, metadata })
    }

    /// Reads a version into a file: asks for access, opens the key, finds and fetches the
    /// ciphertext, checks it against the ledger and decrypts it, in constant memory. The file
    /// appears under its name only when the whole document has been verified; nothing is decrypted
    /// before the whole ciphertext is here.
    ///
    /// A read that was interrupted goes on where it was when it is made again: access is asked for
    /// anew, and what has been fetched is not fetched again.
    ///
    /// # Errors
    /// [`ReadError`] says which step failed.
    pub async fn read(
        &self,
        patient: Id,
        record: Id,
        version: u32,
        purpose: Purpose,
        file: &Path,
    ) -> Result<Opened, ReadError> {
        let reading = self.open(patient, record, version, purpose).await?;
        self.read_granted(reading, file).await
    }

    /// Opens a version for review, as a records officer, and verifies it to its end. A FHIR resource
    /// up to [`DOCUMENT_BYTES_MAX`] is given back in memory, since its content can be checked;
    /// everything else goes through in constant memory. If a file is named, the document is written
    /// there, as [`read`](Self::read) does.
    ///
    /// [`DOCUMENT_BYTES_MAX`]: crate::limits::DOCUMENT_BYTES_MAX
    ///
    /// # Errors
    /// [`ReadError`] says which step failed.
    pub async fn review(
        &self,
        record: Id,
        version: u32,
        file: Option<&Path>,
    ) -> Result<(Reading, Reviewed), ReadError> {
        let patient = self.record(record, Some(version)).await?.patient;
        let reading = self.open(patient, record, version, Purpose::Review);
        self.verify(reading.await?, file, is_resource).await
    }

    /// Asks for access to a version and verifies it to its end, as [`review`](Self::review) does, for
    /// any purpose. A document up to [`DOCUMENT_BYTES_MAX`] is given back in memory, whatever it is.
    ///
    /// [`DOCUMENT_BYTES_MAX`]: crate::limits::DOCUMENT_BYTES_MAX
    ///
    /// # Errors
    /// [`ReadError`] says which step failed.
    pub async fn look_at(
        &self,
        patient: Id,
        record: Id,
        version: u32,
        purpose: Purpose,
        file: Option<&Path>,
    ) -> Result<(Reading, Reviewed), ReadError> {
        let reading = self.open(patient, record, version, purpose).await?;
        self.verify(reading, file, |_| true).await
    }

    async fn verify(
        &self,
        reading: Reading,
        file: Option<&Path>,
        keep: fn(&Metadata) -> bool,
    ) -> Result<(Reading, Reviewed), ReadError> {
        let version = &reading.grant.record;
        let name = (version.record, version.version);
        let decryptor = self.decryptor(&reading).await?;
        let blob = self.fetch(&reading, &decryptor).await?;
        let decrypted = decrypt_for_review(&decryptor, blob, file, keep).await;
        let reviewed = self.settle(name, decrypted)?;
        Ok((reading, reviewed))
    }

    pub(super) async fn decryptor(&self, reading: &Reading) -> Result<Decryptor, ReadError> {
        let version = &reading.grant.record;
        let key = self.open_key(version).await?;
        let header = header_of(&version.header).map_err(ReadError::Key)?.encode();
        let commitment = KeyCommitment::from_bytes(version.commitment.0);
        Ok(Decryptor::new(&key, &header, &commitment)?)
    }

    /// Brings a whole ciphertext here, verified against its CID; what is given back reads it from
    /// this machine.
    async fn fetch(
        &self,
        reading: &Reading,
        decryptor: &Decryptor,
    ) -> Result<Counted<'_, BlobReader>, ReadError> {
        let version = &reading.grant.record;
        let (cid, bytes) = (cid_of(&version.cid)?, decryptor.header().blob_bytes());
        self.enter_swarm().await?;
        let (node, progress) = (&self.options.node, &*self.options.progress);
        let limit = self.fetch_limit(bytes);
        let mut blob = open_blob(node, &cid, bytes, limit).await?;
        if bytes >= READ_RESUMED_BYTES_MIN {
            self.reads
                .begin((version.record, version.version), now_ms())?;
        }
        progress.begin(Stage::Fetch, bytes);
        let mut here = 0;
        while let Some(chunk) = blob.chunk().await? {
            here += chunk.len() as u64;
            progress.reach(here);
        }
        progress.end();
        let blob = open_blob(node, &cid, bytes, limit).await?;
        progress.begin(Stage::Decrypt, bytes);
        Ok(Counted::new(blob, progress))
    }

    /// Forgets that a version was being read, unless another attempt may end otherwise.
    fn settle<T>(&self, name: Name, decrypted: Result<T, DecryptError>) -> Result<T, DecryptError> {
        self.options.progress.end();
        if !decrypted.as_ref().is_err_and(DecryptError::is_retryable) {
            self.forget_read(name);
        }
        decrypted
    }

    /// What stays is forgotten in time; it changes nothing of how the read ended.
    fn forget_read(&self, name: Name) {
        if let Err(error) = self.reads.end(name) {
            tracing::warn!(%error, "a read that has ended is still remembered");
        }
    }

    /// How long the fetching of so many bytes may take.
    pub(super) fn fetch_limit(&self, bytes: u64) -> Duration {
        let more = Duration::from_secs(bytes / FETCH_BYTES_PER_SECOND_MIN);
        self.options.fetch.saturating_add(more)
    }

    /// Connects the own node with the storage nodes. One is enough: what it does not have is found
    /// through it.
    pub(super) async fn enter_swarm(&self) -> Result<(), ReadError> {
        let SessionOptions {
            uploader,
            node,
            storages,
            ..
        } = &self.options;
        let mut failures = uploader.join(node, storages).await;
        if failures.len() == storages.len()
            && let Some(failure) = failures.pop()
        {
            return Err(ReadError::Storage(failure.error));
        }
        Ok(())
    }
}

/// Opens a blob that must have the length that the header says: one that is truncated or goes on is
/// refused before anything of it is fetched.
pub(super) async fn open_blob(
    store: &dyn BlobStore,
    cid: &cid::Cid,
    expected: u64,
    limit: Duration,
) -> Result<BlobReader, ReadError> {
    let blob = store.get(cid, limit).await?;
    match blob.bytes() {
        actual if actual == expected => Ok(blob),
        actual => Err(ReadError::Length {
            cid: *cid,
            expected,
            actual,
        }),
    }
}

/// Whether the content of a document can be checked without a person.
fn is_resource(metadata: &Metadata) -> bool {
    metadata.media_type() == FHIR_JSON
}

/// Verifies a document to its end; what is kept stays in memory. The file appears only after that.
async fn decrypt_for_review(
    decryptor: &Decryptor,
    blob: impl AsyncRead + Unpin,
    file: Option<&Path>,
    keep: fn(&Metadata) -> bool,
) -> Result<Reviewed, DecryptError> {
    let (metadata, document) = match file {
        None => {
            let mut nowhere = tokio::io::sink();
            decryptor.decrypt_kept(blob, &mut nowhere, keep).await?
        }
        Some(file) => {
            let mut target = Target::create(file).map_err(DecryptError::Write)?;
            let decrypted = decryptor.decrypt_kept(blob, target.writer(), keep).await?;
            target.publish().await.map_err(DecryptError::Write)?;
            decrypted
        }
    };
    Ok(document.map_or(Reviewed::Verified(metadata), Reviewed::Document))
}

/// A gateway could answer with another record that this reader may also open.
fn check(grant: &ReadGrant, asked: &ReadGrantRequest) -> Result<(), LedgerError> {
    let found = &grant.record;
    let differs = [
        (found.record != asked.record, "record"),
        (found.version != asked.version, "version"),
        (found.patient != asked.patient, "patient"),
        (Some(grant.request) != asked.request, "request"),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        None => Ok(()),
        Some((_, what)) => Err(LedgerError::Unasked {
            function: "read_grant",
            what,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_healthcare::answer::RecordVersion;

    fn grant() -> ReadGrant {
        let version: RecordVersion = serde_json::from_value(serde_json::json!({
            "record": "01".repeat(16),
            "version": 1,
            "latest": 1,
            "state": "active",
            "patient": "02".repeat(16),
            "author": "03".repeat(32),
            "organization": "HospitalA",
            "submitted": 1,
            "cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            "category": "laboratory",
            "confidentiality": "N",
            "labels": [],
            "header": "00",
            "commitment": "04".repeat(32),
            "wraps": [],
        }))
        .unwrap();
        let request = Hex([5; 32]);
        ReadGrant {
            request,
            purpose: Purpose::Treat,
            expires: 9,
            study: None,
            patient: None,
            record: version,
        }
    }

    #[tokio::test]
    async fn a_resource_is_kept_for_its_review_and_written_all_the_same() {
        use crate::keys::RecordKey;
        use crate::stream::Encryptor;
        use tokio::io::AsyncReadExt;

        let folder = tempfile::tempdir().unwrap();
        let two_chunks = vec![7; 300_000];
        for content in [&b""[..], b"{}", &two_chunks] {
            for (media_type, expect) in [(FHIR_JSON, true), ("application/dicom", false)] {
                let metadata = Metadata::new(content.len() as u64, media_type, "any").unwrap();
                let mut rng = rand::rng();
                let key = RecordKey::generate(&mut rng);
                let mut encryptor = Encryptor::new(content, &metadata, &key, &mut rng).unwrap();
                let (header, commitment) = (encryptor.header().encode(), encryptor.commitment());
                let mut blob = Vec::new();
                encryptor.read_to_end(&mut blob).await.unwrap();
                let decryptor = Decryptor::new(&key, &header, &commitment).unwrap();
                let path = folder.path().join("document");
                for file in [None, Some(&*path)] {
                    let review = decrypt_for_review(&decryptor, &blob[..], file, is_resource);
                    match (review.await.unwrap(), expect) {
                        (Reviewed::Document(document), true) => {
                            assert_eq!(document.content(), content);
                            assert_eq!(*document.metadata(), metadata);
                        }
                        (Reviewed::Verified(found), false) => assert_eq!(found, metadata),
                        (other, _) => panic!("{media_type}: {other:?}"),
                    }
                }
                assert_eq!(std::fs::read(&path).unwrap(), content);
                std::fs::remove_file(&path).unwrap();
                let half = &blob[..blob.len() / 2];
                let refused = decrypt_for_review(&decryptor, half, Some(&path), is_resource).await;
                assert!(refused.is_err() && !path.exists());
            }
        }
    }

    #[test]
    fn a_grant_about_something_else_is_refused() {
        let asked = ReadGrantRequest {
            patient: Hex([2; 16]),
            record: Hex([1; 16]),
            version: 1,
            request: Some(Hex([5; 32])),
        };
        assert!(check(&grant(), &asked).is_ok());
        let refuses = |change: fn(&mut ReadGrant)| {
            let mut grant = grant();
            change(&mut grant);
            assert!(check(&grant, &asked).is_err());
        };
        refuses(|grant| grant.record.record = Hex([9; 16]));
        refuses(|grant| grant.record.version = 2);
        refuses(|grant| grant.record.patient = Hex([9; 16]));
        refuses(|grant| grant.request = Hex([9; 32]));
    }
}
