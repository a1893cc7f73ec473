//! Devices and what they submit.

use serde::{Deserialize, Serialize};
use stela_consent::{Category, Confidentiality, Fingerprint, Hex, Id, SensitivityLabel};

use super::SubmitRecord;
use crate::value::{Cid, HeaderText};

request! {
    /// `bind_device`.
    BindDevice {
        /// Whose vital signs it reports.
        patient: Id,
        /// The device's certificate.
        device: Fingerprint,
        /// When the binding ends, if it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    }
}

request! {
    /// `release_device`.
    ReleaseDevice {
        /// The patient to whom it is bound.
        patient: Id,
        /// The device's certificate.
        device: Fingerprint,
    }
}

request! {
    /// `submit_window`: the observations of a while as one record, version 1. The proposal carries
    /// exactly one side commitment, to the list of wrapped keys; this is stored as it is and never
    /// changes.
    ///
    /// A device numbers its observations in ascending order, over all its windows and patients.
    SubmitWindow {
        /// The record's id.
        record: Id,
        /// 1.
        version: u32,
        /// Whom it is about.
        patient: Id,
        /// Where the ciphertext is: a CIDv1 in base32.
        cid: Cid,
        /// `vital-signs`.
        category: Category,
        /// How confidential.
        confidentiality: Confidentiality,
        /// What makes it sensitive.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        labels: Vec<SensitivityLabel>,
        /// The public header of the encryption, in hexadecimal.
        header: HeaderText,
        /// The commitment to the key.
        commitment: Hex<32>,
        /// The number of the first observation.
        first: u64,
        /// The number of the last one.
        last: u64,
        /// How many there are.
        count: u32,
        /// When the first one was made; the record's date.
        start: u64,
        /// When the last one was made.
        end: u64,
        /// The root of the Merkle tree (RFC 6962) over the salted observations, in their order.
        root: Hex<32>,
        /// How many of them lie outside the patient's own thresholds, as the gateway found; neither
        /// which nor how far.
        alerts: u32,
    }
}

impl From<SubmitWindow> for SubmitRecord {
    fn from(window: SubmitWindow) -> Self {
        Self {
            record: window.record,
            version: window.version,
            patient: window.patient,
            cid: window.cid,
            category: window.category,
            confidentiality: window.confidentiality,
            labels: window.labels,
            date: Some(window.start),
            header: window.header,
            commitment: window.commitment,
        }
    }
}

request! {
    /// `device_status`: of exactly one of `device` and `patient`.
    DeviceStatus {
        /// One device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<Fingerprint>,
        /// Every device that is bound to a patient.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}
