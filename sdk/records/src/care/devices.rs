//! Devices: whose vital signs they report, and the windows that they submit.

use stela_client::Submitted;
use stela_consent::{Category, Confidentiality, Fingerprint, Hex, Id, SensitivityLabel};
use stela_healthcare::answer::{DeviceStatus, Done, Page};
use stela_healthcare::request::{
    BindDevice, DeviceStatus as DeviceStatusRequest, ReleaseDevice, SubmitWindow,
};
use stela_ipfs::BlobStore;
use stela_protocol::TransactionId;

use super::error::{LedgerError, ReadError, SubmitError};
use super::keys::{Recipients, cid_of, header_of, wrap_for};
use super::queries::every_page;
use super::session::{Session, ask};
use super::submit::NewRecord;
use crate::format::{Metadata, MetadataError};
use crate::keys::RecordKey;
use crate::limits::PAGES_MAX;
use crate::window::{WINDOW_FORMAT, WINDOW_MEDIA_TYPE, Window, WindowError};

/// What a device submits.
#[derive(Debug, Clone)]
pub struct NewWindow<'a> {
    /// Whose vital signs they are.
    pub patient: Id,
    /// How confidential.
    pub confidentiality: Confidentiality,
    /// What makes them sensitive.
    pub labels: Vec<SensitivityLabel>,
    /// The observations.
    pub observations: &'a Window,
    /// The number of the first one in the device's sequence.
    pub first: u64,
    /// The number of the last one; beyond what the count says, observations are missing.
    pub last: u64,
    /// When the first one was made, in milliseconds since the Unix epoch.
    pub start_ms: u64,
    /// When the last one was made.
    pub end_ms: u64,
    /// How many lie outside the patient's thresholds, which the gateway alone knows.
    pub alerts: u32,
}

/// A window that is on the ledger.
#[derive(Debug)]
pub struct Anchored {
    /// The record that it is.
    pub record: Id,
    /// The transaction.
    pub transaction: TransactionId,
    /// The organizations that hold the ciphertext.
    pub holders: Vec<String>,
}

impl Session {
    /// Lets a device report a patient's vital signs, until a moment if one is given.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn bind_device(
        &self,
        patient: Id,
        device: Fingerprint,
        until_ms: Option<u64>,
    ) -> Result<Submitted, LedgerError> {
        let request = BindDevice {
            patient,
            device,
            until: until_ms,
        };
        self.submit_done("bind_device", &request).await
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn release_device(
        &self,
        patient: Id,
        device: Fingerprint,
    ) -> Result<Submitted, LedgerError> {
        let request = ReleaseDevice { patient, device };
        self.submit_done("release_device", &request).await
    }

    /// The state of one device.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn device(&self, device: Fingerprint) -> Result<DeviceStatus, LedgerError> {
        let request = DeviceStatusRequest {
            device: Some(device),
            patient: None,
            limit: None,
            bookmark: None,
        };
        let page: Page<DeviceStatus> = self.ask("device_status", &request).await?;
        let found = page.entries.into_iter().find(|one| one.device == device);
        found.ok_or(LedgerError::Unasked {
            function: "device_status",
            what: "device",
        })
    }

    /// The devices that are bound to a patient.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn devices(&self, patient: Id) -> Result<Vec<DeviceStatus>, LedgerError> {
        let request = DeviceStatusRequest {
            device: None,
            patient: Some(patient),
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "device_status", request)
    }

    /// Submits a window, as the device: encrypts it, has two organizations hold the ciphertext, and
    /// anchors it. Its key is wrapped for the patient and for those to whom standing consents open
    /// it. Nothing of it is kept here: a window whose transaction was not made is submitted again
    /// as a whole, since the contract takes each number once.
    ///
    /// # Errors
    /// [`SubmitError`] says which step failed; before the transaction nothing is on the ledger.
    pub async fn submit_window(&self, window: &NewWindow<'_>) -> Result<Anchored, SubmitError> {
        let patient = window.patient;
        let recipients = self.of_patient(patient).await?;
        if recipients.is_empty() {
            let patient = patient.to_string();
            return Err(SubmitError::NoPatientKey { patient });
        }
        let document = window.observations.encode();
        let new = NewRecord {
            patient,
            category: Category::VitalSigns,
            confidentiality: window.confidentiality,
            labels: window.labels.clone(),
            date_ms: Some(window.start_ms),
            metadata: metadata(&document)?,
        };
        let key = RecordKey::generate(&mut rand::rng());
        let record: Id = Hex(rand::random());
        let request = self.encrypt((record, 1), &new, &document[..], &key).await?;
        let cid = cid_of(&request.cid)?;
        let anchored = self.anchor(window, &request, &key, &recipients).await;
        // The storage nodes hold what counts.
        self.options.node.unpin(&cid).await?;
        anchored
    }

    async fn anchor(
        &self,
        window: &NewWindow<'_>,
        request: &stela_healthcare::request::SubmitRecord,
        key: &RecordKey,
        recipients: &Recipients,
    ) -> Result<Anchored, SubmitError> {
        let stored_bytes = header_of(&request.header)?.blob_bytes();
        let holders = self.hold(&cid_of(&request.cid)?, stored_bytes).await?;
        let (label, home) = (self.own_label(request)?, &self.options.organization);
        let side = wrap_for(key, &label, recipients, home, &mut rand::rng())?;
        let anchor = SubmitWindow {
            record: request.record,
            version: 1,
            patient: request.patient,
            cid: request.cid.clone(),
            category: request.category,
            confidentiality: request.confidentiality,
            labels: request.labels.clone(),
            header: request.header.clone(),
            commitment: request.commitment,
            first: window.first,
            last: window.last,
            count: u32::try_from(window.observations.count()).unwrap_or(u32::MAX),
            start: window.start_ms,
            end: window.end_ms,
            root: Hex(window.observations.root().0),
            alerts: window.alerts,
        };
        let (Done {}, submitted) = self
            .submit_json("submit_window", &anchor, Some(side))
            .await?;
        let later = Recipients::new();
        let shared = self
            .share_with_standing(request, &label, key, recipients, later)
            .await;
        if let Err(error) = shared {
            tracing::warn!(%error, "those to whom consents open the window have no key yet");
        }
        Ok(Anchored {
            record: request.record,
            transaction: submitted.status.transaction,
            holders,
        })
    }

    /// A window of vital signs that the user has read, checked against its anchor on the ledger.
    ///
    /// # Errors
    /// [`WindowError`] when the document is no window, or not the one that was anchored.
    pub async fn window(
        &self,
        patient: Id,
        record: Id,
        purpose: stela_consent::Purpose,
    ) -> Result<(Window, stela_healthcare::answer::Window), OpenWindowError> {
        let reading = self.open(patient, record, 1, purpose).await?;
        let anchor = reading.grant.record.window.clone();
        let anchor = anchor.ok_or(OpenWindowError::NotAnchored { record })?;
        let document = self.document(&reading).await?;
        let window = Window::decode(document.content())?;
        if window.root().0 != anchor.root.0 || window.count() as u64 != u64::from(anchor.count) {
            return Err(OpenWindowError::Other { record });
        }
        Ok((window, anchor))
    }
}

/// A window was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenWindowError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record is no window.
    #[error("record {record} is no window of a device")]
    NotAnchored {
        /// The record.
        record: Id,
    },
    /// The document is no window.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// The document is another one than was anchored.
    #[error("the observations of record {record} are not those that the device anchored")]
    Other {
        /// The record.
        record: Id,
    },
}

/// What the readers of a window are told about its document.
fn metadata(document: &[u8]) -> Result<Metadata, MetadataError> {
    Metadata::new(document.len() as u64, WINDOW_MEDIA_TYPE, WINDOW_FORMAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_metadata_that_a_record_can_carry() {
        let window = Window::new(["{}".to_owned()], &mut rand::rng()).unwrap();
        let document = window.encode();
        let metadata = metadata(&document).unwrap();
        assert_eq!(metadata.media_type(), WINDOW_MEDIA_TYPE);
        assert_eq!(metadata.content_bytes(), document.len() as u64);
    }
}
