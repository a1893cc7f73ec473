//! What the demonstration leaves for its verifier: where to look, not what to find.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id};

/// Written by `stela-demo`, read by `stela-verify`. Nothing in it is taken as true: it says which
/// files, certificates and transactions are to be looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evidence {
    /// The network's folder.
    pub network: PathBuf,
    /// The profile whose gateway is asked, of a hospital that took no part in the sharing.
    pub observer: PathBuf,
    /// The patient's profile; she may read her whole audit trail.
    pub patient_profile: PathBuf,
    /// The patient.
    pub patient: Id,
    /// The record that was shared.
    pub record: Id,
    /// The documents as their author wrote them: version 1, version 2.
    pub written: [PathBuf; 2],
    /// Where the reader put what she read: version 1, version 2, and version 1 again after the
    /// amendment.
    pub read: [PathBuf; 3],
    /// The certificate of the reader with a consent that was later revoked.
    pub reader: Fingerprint,
    /// The certificate of the practitioner without a consent.
    pub stranger: Fingerprint,
    /// The consent that was granted and revoked.
    pub consent: Id,
    /// Transactions that were acknowledged while the orderers' leader was killed.
    pub acknowledged: Vec<Hex<32>>,
    /// How many of them were acknowledged after it was killed.
    pub acknowledged_after_kill: usize,
    /// The leader that was killed.
    pub killed: String,
    /// The random words inside the documents.
    pub canaries: Vec<String>,
    /// A word that was sent through the wire recorder in the clear.
    pub wire_control: String,
    /// Folders that must not hold a canary in any form.
    pub searched: Vec<PathBuf>,
}
