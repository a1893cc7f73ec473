//! Submitting and amending records.

use stela_consent::{Category, Confidentiality, Hex, Id, Role, SensitivityLabel};
use stela_healthcare::answer::Done;
use stela_healthcare::request::SubmitRecord;
use stela_healthcare::{Cid, HeaderText};
use stela_ipfs::BlobStore;
use stela_protocol::TransactionId;
use tokio::io::AsyncRead;

use super::error::{KeyError, ShareError, SubmitError};
use super::keys::{LabelFacts, Recipients, wrap_for};
use super::session::Session;
use crate::format::Metadata;
use crate::keys::RecordKey;
use crate::limits::WRAPS_MAX;
use crate::stream::Encryptor;

/// What is submitted, beside the document itself.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Whom it is about.
    pub patient: Id,
    /// What kind of record it is.
    pub category: Category,
    /// How confidential.
    pub confidentiality: Confidentiality,
    /// What makes it sensitive.
    pub labels: Vec<SensitivityLabel>,
    /// When what it reports took place, in milliseconds since the Unix epoch.
    pub date_ms: Option<u64>,
    /// The document's true size and format, which only its readers learn.
    pub metadata: Metadata,
}

/// A record version that is on the ledger, pending its review.
#[derive(Debug)]
pub struct Submission {
    /// The record's id.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// Where the ciphertext is.
    pub cid: cid::Cid,
    /// Bytes of the ciphertext.
    pub stored_bytes: u64,
    /// The organizations that hold it.
    pub holders: Vec<String>,
    /// The transaction.
    pub transaction: TransactionId,
    /// For how many recipients the key was wrapped.
    pub recipients: usize,
    /// Why those to whom standing consents open the record have no key yet, if they have none;
    /// [`Session::share`] does it again. The record is submitted all the same.
    pub unshared: Option<ShareError>,
}

impl Session {
    /// Encrypts a document, has two organizations hold the ciphertext, and submits it as version 1
    /// of a new record. Its key is wrapped for the patient, for the records officers of the own
    /// organization, and for those to whom standing consents open it.
    ///
    /// # Errors
    /// [`SubmitError`] says which step failed; before the transaction nothing is on the ledger.
    pub async fn submit(
        &self,
        record: &NewRecord,
        document: impl AsyncRead + Send + Unpin,
    ) -> Result<Submission, SubmitError> {
        let id = Hex(rand::random());
        self.submit_version("submit_record", id, 1, record, document)
            .await
    }

    /// The same as the next version of a record; earlier versions stay as they are.
    ///
    /// # Errors
    /// As for [`submit`](Self::submit).
    pub async fn amend(
        &self,
        id: Id,
        record: &NewRecord,
        document: impl AsyncRead + Send + Unpin,
    ) -> Result<Submission, SubmitError> {
        let newest = self.record(id, None).await?.latest;
        self.submit_version(
            "amend_record",
            id,
            newest.saturating_add(1),
            record,
            document,
        )
        .await
    }

    async fn submit_version(
        &self,
        function: &'static str,
        record: Id,
        version: u32,
        new: &NewRecord,
        document: impl AsyncRead + Send + Unpin,
    ) -> Result<Submission, SubmitError> {
        let (recipients, later) = self.first_recipients(new.patient).await?;
        let mut rng = rand::rng();
        let key = RecordKey::generate(&mut rng);
        let mut encryptor = Encryptor::new(document, &new.metadata, &key, &mut rng)?;
        let (header, commitment) = (*encryptor.header(), encryptor.commitment());
        let cid = self.options.node.put(&mut encryptor).await?;
        let holders = self.hold(&cid, header.blob_bytes()).await?;
        let label = self.label_of(&LabelFacts {
            record,
            version,
            patient: new.patient,
            author: Hex(self.options.fingerprint.0),
            cid,
            header,
            commitment,
        })?;
        let request = SubmitRecord {
            record,
            version,
            patient: new.patient,
            cid: Cid::try_from(cid.to_string())
                .map_err(|_| KeyError::Entry("the CID has another form"))?,
            category: new.category,
            confidentiality: new.confidentiality,
            labels: new.labels.clone(),
            date: new.date_ms,
            header: HeaderText::try_from(data_encoding::HEXLOWER.encode(&header.encode()))
                .map_err(|_| KeyError::Entry("the header is too long"))?,
            commitment: Hex(*commitment.as_bytes()),
        };
        let side = wrap_for(
            &key,
            &label,
            &recipients,
            &self.options.organization,
            &mut rng,
        )?;
        let (_, submitted) = self
            .submit_json::<_, Done>(function, &request, Some(side))
            .await?;
        let shared = self
            .share_with_standing(&request, &label, &key, &recipients, later)
            .await;
        let (shared, unshared) = match shared {
            Ok(count) => (count, None),
            Err(error) => (0, Some(error)),
        };
        Ok(Submission {
            record,
            version,
            cid,
            stored_bytes: header.blob_bytes(),
            holders,
            transaction: submitted.status.transaction,
            recipients: recipients.len() + shared,
            unshared,
        })
    }

    /// The patient and the officers who will review: as many as one list takes, and the rest.
    async fn first_recipients(&self, patient: Id) -> Result<(Recipients, Recipients), SubmitError> {
        let mut first = self.of_patient(patient).await?;
        if first.is_empty() {
            let patient = patient.to_string();
            return Err(SubmitError::NoPatientKey { patient });
        }
        let mut later = Recipients::new();
        let home = self.home()?;
        let officers = self.with_role(&home, Role::RecordsOfficer).await?;
        let own = Hex(self.options.fingerprint.0);
        if officers.keys().all(|officer| *officer == own) {
            let organization = home.to_string();
            return Err(SubmitError::NoReviewer { organization });
        }
        for (owner, officer) in officers {
            let list = if first.len() < WRAPS_MAX {
                &mut first
            } else {
                &mut later
            };
            list.insert(owner, officer);
        }
        Ok((first, later))
    }

    pub(super) fn home(&self) -> Result<stela_consent::Organization, KeyError> {
        let name = self.options.organization.as_str();
        name.parse()
            .map_err(|_| KeyError::Entry("the own organization's name is not valid"))
    }

    async fn hold(&self, cid: &cid::Cid, bytes: u64) -> Result<Vec<String>, SubmitError> {
        let options = &self.options;
        let (uploader, needed) = (&options.uploader, options.holders_min);
        let holders = uploader
            .upload(&options.node, cid, bytes, &options.storages, needed)
            .await?;
        Ok(holders
            .organizations()
            .into_iter()
            .map(ToString::to_string)
            .collect())
    }
}
