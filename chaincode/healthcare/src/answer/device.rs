//! Devices and their windows.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id};

answer! {
    /// A device, and how far its sequence has come.
    DeviceStatus {
        /// The device's certificate.
        device: Fingerprint,
        /// Whose vital signs it reports, or reported last.
        patient: Id,
        /// Whether it is bound to her now.
        bound: bool,
        /// When it was bound.
        since: u64,
        /// When the binding ends, if it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
        /// When it was released.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        released: Option<u64>,
        /// Windows that were accepted, whoever it was bound to.
        windows: u64,
        /// Observations that are missing between and in them.
        missing: u64,
        /// The number of the last accepted observation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u64>,
        /// When it was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<u64>,
    }
}

answer! {
    /// What anchors a window of observations: with it, one of them can be proved to belong to the
    /// window without the others.
    Window {
        /// The device that submitted it.
        device: Fingerprint,
        /// The number of the first observation.
        first: u64,
        /// The number of the last one.
        last: u64,
        /// How many there are.
        count: u32,
        /// When the first one was made.
        start: u64,
        /// When the last one was made.
        end: u64,
        /// The root of the Merkle tree (RFC 6962) over the salted observations.
        root: Hex<32>,
        /// How many lie outside the patient's thresholds.
        alerts: u32,
        /// Observations that are missing between the window before and the end of this one.
        missing: u64,
    }
}
