//! Submitting and amending records, and going on with what was interrupted.
//!
//! A version goes through three steps. It is encrypted, under a fresh key, into blocks that this
//! machine keeps ([`uploads`](super::uploads)); its ciphertext is held by storage nodes of several
//! organizations; it is submitted. What is interrupted in the first step has left nothing outside
//! this machine and begins anew, with another key. From then on every attempt sends the same
//! ciphertext.

use stela_consent::{Category, Confidentiality, Hex, Id, Role, SensitivityLabel};
use stela_healthcare::answer::Done;
use stela_healthcare::request::SubmitRecord;
use stela_healthcare::{Cid, HeaderText};
use stela_ipfs::{BlobStore, PinKind};
use stela_protocol::{OrgId, TransactionId};
use tokio::io::AsyncRead;

use super::error::{KeyError, ShareError, SubmitError};
use super::kept::KeptError;
use super::keys::{Recipients, cid_of, header_of, seal_own, wrap_for};
use super::progress::{Counted, Stage};
use super::session::{Session, now_ms};
use super::uploads::{Unfinished, Upload};
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
    /// The transaction; `None` when an upload was resumed and an earlier attempt's transaction
    /// turned out to be committed.
    pub transaction: Option<TransactionId>,
    /// For how many recipients the key was wrapped.
    pub recipients: usize,
    /// Why those to whom standing consents open the record have no key yet, if they have none;
    /// [`Session::share`] does it again. The record is submitted all the same.
    pub unshared: Option<ShareError>,
}

/// The patient and the officers who will review, and officers for whom the first list has no place.
type First = (Recipients, Recipients);

impl Session {
    /// Encrypts a document, has two organizations hold the ciphertext, and submits it as version 1
    /// of a new record. Its key is wrapped for the patient, for the records officers of the own
    /// organization and of the others that may be asked to review, and for those to whom standing consents open it.
    ///
    /// Once the document is encrypted, the upload is kept on this machine until it is submitted or
    /// [abandoned](Self::abandon); [`resume`](Self::resume) goes on with it.
    ///
    /// # Errors
    /// [`SubmitError`] says which step failed; before the transaction nothing is on the ledger.
    pub async fn submit(
        &self,
        record: &NewRecord,
        document: impl AsyncRead + Send + Unpin,
    ) -> Result<Submission, SubmitError> {
        let id = Hex(rand::random());
        self.submit_version(false, (id, 1), record, document).await
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
        let name = (id, newest.saturating_add(1));
        self.submit_version(true, name, record, document).await
    }

    /// The uploads that this machine keeps because they are not submitted yet.
    ///
    /// # Errors
    /// [`KeptError`] when the folder cannot be read.
    pub fn uploads(&self) -> Result<Vec<Unfinished>, KeptError> {
        self.uploads.list()
    }

    /// Goes on with an unfinished upload: the ciphertext that is on this machine is checked, sent
    /// to the storage nodes as far as they do not have it, and submitted. The document is not
    /// needed.
    ///
    /// # Errors
    /// [`SubmitError`], among others when the file of the upload is damaged or belongs to somebody
    /// else, and when the ciphertext on this machine is not whole any more.
    pub async fn resume(&self, record: Id) -> Result<Submission, SubmitError> {
        let upload = self.uploads.of_record(record)?;
        let label = self.own_label(&upload.request)?;
        let key = upload.open_key(&label, self.pairs())?;
        if let Some(done) = self.submitted_before(&upload, &key).await? {
            return Ok(done);
        }
        self.check_blocks(&upload).await?;
        self.options
            .progress
            .resumable(record, upload.request.version);
        let recipients = self.first_recipients(upload.request.patient).await?;
        self.finish(&upload, &key, recipients).await
    }

    /// Forgets an unfinished upload, its ciphertext on this machine too; false if there was none. A
    /// storage node that has it already drops it when its lease ends.
    ///
    /// # Errors
    /// [`SubmitError`] when the disk fails.
    pub async fn abandon(&self, record: Id) -> Result<bool, SubmitError> {
        let mut found = false;
        for unfinished in self.uploads.list()? {
            if unfinished.record == record {
                let cid = unfinished.upload.ok().and_then(|upload| upload.cid());
                self.forget((record, unfinished.version), cid).await?;
                found = true;
            }
        }
        Ok(found)
    }

    async fn submit_version(
        &self,
        amends: bool,
        name: (Id, u32),
        new: &NewRecord,
        document: impl AsyncRead + Send + Unpin,
    ) -> Result<Submission, SubmitError> {
        self.uploads.check_room()?;
        // Nothing is encrypted for a record that nobody could review or read.
        let recipients = self.first_recipients(new.patient).await?;
        let key = RecordKey::generate(&mut rand::rng());
        let request = self.encrypt(name, new, document, &key).await?;
        let label = self.own_label(&request)?;
        let upload = Upload {
            amends,
            since_ms: now_ms(),
            sealed: seal_own(&key, &label, &self.options.encryption)?,
            request,
        };
        self.uploads.save(&upload)?;
        self.options.progress.resumable(name.0, name.1);
        self.finish(&upload, &key, recipients).await
    }

    /// Encrypts a document into blocks that stay on this machine, and says what is to be submitted.
    pub(super) async fn encrypt(
        &self,
        (record, version): (Id, u32),
        new: &NewRecord,
        document: impl AsyncRead + Send + Unpin,
        key: &RecordKey,
    ) -> Result<SubmitRecord, SubmitError> {
        let encryptor = Encryptor::new(document, &new.metadata, key, &mut rand::rng())?;
        let (header, commitment) = (*encryptor.header(), encryptor.commitment());
        let (node, progress) = (&self.options.node, &*self.options.progress);
        progress.begin(Stage::Encrypt, header.blob_bytes());
        let cid = node.put(&mut Counted::new(encryptor, progress)).await?;
        node.pin(&cid, PinKind::Permanent).await?;
        progress.end();
        Ok(SubmitRecord {
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
        })
    }

    /// Has the ciphertext of an upload held, and submits it.
    async fn finish(
        &self,
        upload: &Upload,
        key: &RecordKey,
        recipients: First,
    ) -> Result<Submission, SubmitError> {
        let request = &upload.request;
        let stored_bytes = header_of(&request.header)?.blob_bytes();
        let holders = self.hold(&cid_of(&request.cid)?, stored_bytes).await?;
        let (label, home) = (self.own_label(request)?, &self.options.organization);
        let side = wrap_for(key, &label, &recipients.0, home, &mut rand::rng())?;
        let function = match upload.amends {
            true => "amend_record",
            false => "submit_record",
        };
        let (_, submitted) = self
            .submit_json::<_, Done>(function, request, Some(side))
            .await?;
        let submission = self.conclude(upload, key, recipients).await?;
        Ok(Submission {
            holders,
            transaction: Some(submitted.status.transaction),
            ..submission
        })
    }

    /// What an upload became if its transaction was committed before it was interrupted.
    async fn submitted_before(
        &self,
        upload: &Upload,
        key: &RecordKey,
    ) -> Result<Option<Submission>, SubmitError> {
        let request = &upload.request;
        let (record, version) = upload.name();
        let taken = SubmitError::Taken { record, version };
        let found = match self.record(record, Some(version)).await {
            Err(error) if error.is_refusal("not-found") => return Ok(None),
            // The version is somebody else's, and not shown to this user.
            Err(error) if error.is_refusal("forbidden") => return Err(taken),
            other => other?,
        };
        if found.cid != request.cid || found.commitment != request.commitment {
            return Err(taken);
        }
        let recipients = self.first_recipients(request.patient).await?;
        self.conclude(upload, key, recipients).await.map(Some)
    }

    /// Shares the key of a version that is on the ledger with those to whom standing consents open
    /// it, and forgets the upload.
    async fn conclude(
        &self,
        upload: &Upload,
        key: &RecordKey,
        (first, later): First,
    ) -> Result<Submission, SubmitError> {
        let request = &upload.request;
        let (cid, label) = (cid_of(&request.cid)?, self.own_label(request)?);
        let shared = self
            .share_with_standing(request, &label, key, &first, later)
            .await;
        // The record is submitted, whatever stays here; resuming it again only removes that.
        if let Err(error) = self.forget(upload.name(), Some(cid)).await {
            tracing::warn!(%error, "an upload that is submitted is still kept");
        }
        let (shared, unshared) = shared.map_or_else(|error| (0, Some(error)), |n| (n, None));
        Ok(Submission {
            record: request.record,
            version: request.version,
            cid,
            stored_bytes: header_of(&request.header)?.blob_bytes(),
            holders: Vec::new(),
            transaction: None,
            recipients: first.len() + shared,
            unshared,
        })
    }

    /// Reads the blocks of an upload again: a storage node would wait in vain for one that a
    /// crash or the disk spoiled.
    async fn check_blocks(&self, upload: &Upload) -> Result<(), SubmitError> {
        let progress = &self.options.progress;
        progress.begin(Stage::Check, upload.stored_bytes().unwrap_or(0));
        let found = self
            .options
            .node
            .verify(&cid_of(&upload.request.cid)?)
            .await?;
        progress.end();
        match found.missing.is_empty() && found.damaged.is_empty() {
            true => Ok(()),
            false => Err(SubmitError::Lost {
                record: upload.request.record,
            }),
        }
    }

    /// Removes what is kept of an upload. The file goes first: a pin without one is removed when
    /// the session ends.
    async fn forget(&self, name: (Id, u32), cid: Option<cid::Cid>) -> Result<(), SubmitError> {
        self.uploads.remove(name)?;
        if let Some(cid) = cid {
            self.options.node.unpin(&cid).await?;
        }
        Ok(())
    }

    /// The patient and the officers who will review: as many as one list takes, and the rest.
    async fn first_recipients(&self, patient: Id) -> Result<First, SubmitError> {
        let mut first = self.of_patient(patient).await?;
        if first.is_empty() {
            let patient = patient.to_string();
            return Err(SubmitError::NoPatientKey { patient });
        }
        let mut later = Recipients::new();
        let home = self.home()?;
        let mut officers = self.with_role(&home, Role::RecordsOfficer).await?;
        let own = Hex(self.options.fingerprint.0);
        if officers.keys().all(|officer| *officer == own) {
            let organization = home.to_string();
            return Err(SubmitError::NoReviewer { organization });
        }
        for organization in &self.options.reviewers {
            let organization = organization_of(organization)?;
            officers.extend(self.with_role(&organization, Role::RecordsOfficer).await?);
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
        organization_of(&self.options.organization)
    }

    pub(super) async fn hold(
        &self,
        cid: &cid::Cid,
        bytes: u64,
    ) -> Result<Vec<String>, SubmitError> {
        let options = &self.options;
        let (needed, progress) = (options.holders_min, &*options.progress);
        progress.begin(Stage::Hold, bytes * needed as u64);
        let furthest = Furthest::new(needed);
        let watch = |organization: &OrgId, here: u64| {
            progress.reach(furthest.note(organization, here));
        };
        let (node, storages) = (&options.node, &options.storages);
        let holders = options
            .uploader
            .upload_watched(node, cid, bytes, storages, needed, &watch)
            .await?;
        progress.end();
        Ok(holders
            .organizations()
            .into_iter()
            .map(ToString::to_string)
            .collect())
    }
}

fn organization_of(name: &OrgId) -> Result<stela_consent::Organization, KeyError> {
    name.as_str()
        .parse()
        .map_err(|_| KeyError::Entry("an organization's name is not valid"))
}

/// How far the organizations are that are furthest, as many as have to hold a blob.
struct Furthest {
    needed: usize,
    here: parking_lot::Mutex<std::collections::BTreeMap<OrgId, u64>>,
}

impl Furthest {
    fn new(needed: usize) -> Self {
        Self {
            needed,
            here: parking_lot::Mutex::default(),
        }
    }

    fn note(&self, organization: &OrgId, here: u64) -> u64 {
        let mut all = self.here.lock();
        let own = all.entry(organization.clone()).or_default();
        *own = here.max(*own);
        let mut furthest: Vec<u64> = all.values().copied().collect();
        furthest.sort_unstable_by(|a, b| b.cmp(a));
        furthest.into_iter().take(self.needed).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_that_of_the_organizations_that_are_furthest() {
        let furthest = Furthest::new(2);
        let check = |organization: &str, here, expect| {
            let organization = OrgId::new(organization).unwrap();
            assert_eq!(furthest.note(&organization, here), expect);
        };
        check("HospitalA", 3, 3);
        check("HospitalB", 5, 8);
        check("HospitalC", 4, 9);
        check("HospitalC", 2, 9);
        check("HospitalA", 10, 15);
    }
}
