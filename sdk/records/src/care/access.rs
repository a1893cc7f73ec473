//! Asking for access, and reading with a committed permit.

use std::path::Path;

use stela_client::Submitted;
use stela_consent::{Hex, Id, Purpose};
use stela_healthcare::answer::{AccessDecision, ReadGrant, Verdict};
use stela_healthcare::request::{ReadGrant as ReadGrantRequest, RequestAccess};
use stela_ipfs::{BlobReader, BlobStore};

use super::error::{AccessError, KeyError, LedgerError, ReadError};
use super::keys::header;
use super::session::{Session, SessionOptions};
use crate::format::{KeyCommitment, Metadata};
use crate::stream::{Decryptor, Document};

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
            return Err(ReadError::Denied(Box::new(decision)));
        }
        let request = Some(Hex(submitted.status.transaction.0));
        let request = ReadGrantRequest {
            patient,
            record,
            version,
            request,
        };
        let grant: ReadGrant = self.ask_both("read_grant", &request).await?;
        check(&grant, &request)?;
        Ok(Reading {
            decision,
            submitted,
            grant,
        })
    }

    /// Reads a version into a file: asks for access, opens the key, finds and fetches the
    /// ciphertext, checks it against the ledger and decrypts it, in constant memory. The file
    /// appears under its name only when the whole document has been verified.
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
        let decryptor = self.decryptor(&reading).await?;
        let blob = self.fetch(&reading).await?;
        let metadata = decryptor.decrypt_to_file(blob, file).await?;
        Ok(Opened { reading, metadata })
    }

    /// Opens a pending version for review, as a records officer. Small documents only; the document
    /// stays in memory.
    ///
    /// # Errors
    /// [`ReadError`] says which step failed.
    pub async fn review(&self, record: Id, version: u32) -> Result<(Reading, Document), ReadError> {
        let patient = self.record(record, Some(version)).await?.patient;
        let reading = self.open(patient, record, version, Purpose::Review).await?;
        let decryptor = self.decryptor(&reading).await?;
        let blob = self.fetch(&reading).await?;
        let document = decryptor.decrypt_document(blob).await?;
        Ok((reading, document))
    }

    async fn decryptor(&self, reading: &Reading) -> Result<Decryptor, ReadError> {
        let version = &reading.grant.record;
        let key = self.open_key(version).await?;
        let header = header(version).map_err(ReadError::Key)?.encode();
        let commitment = KeyCommitment::from_bytes(version.commitment.0);
        Ok(Decryptor::new(&key, &header, &commitment)?)
    }

    async fn fetch(&self, reading: &Reading) -> Result<BlobReader, ReadError> {
        let cid = reading.grant.record.cid.as_str().parse();
        let cid = cid.map_err(|_| KeyError::Entry("the CID is not valid"))?;
        let SessionOptions {
            uploader,
            node,
            storages,
            fetch,
            ..
        } = &self.options;
        let mut failures = uploader.join(node, storages).await;
        // One storage node is enough: what it does not have is found through it.
        if failures.len() == storages.len()
            && let Some(failure) = failures.pop()
        {
            return Err(ReadError::Storage(failure.error));
        }
        Ok(node.get(&cid, *fetch).await?)
    }
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
            record: version,
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
