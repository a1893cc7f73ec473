//! What the demonstration leaves for its verifier: where to look, not what to find.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id};

/// Written by `stela-demo`, read by `stela-verify`. Nothing in it is taken as true: it says which
/// files, certificates, processes and transactions are to be looked at.
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
    /// Where those who were denied wanted to put it: the stranger, and the reader after the
    /// revocation. Nothing may be there.
    pub refused: [PathBuf; 2],
    /// The certificate of the reader with a consent that was later revoked.
    pub reader: Fingerprint,
    /// The certificate of the practitioner without a consent.
    pub stranger: Fingerprint,
    /// The consent that was granted and revoked.
    pub consent: Id,
    /// Every transaction that was acknowledged to a command or a client during the story.
    pub acknowledged: Vec<Hex<32>>,
    /// The leader that was killed.
    pub killed: Killed,
    /// The random words inside the documents.
    pub canaries: Vec<String>,
    /// A word that was sent through the wire recorder in the clear.
    pub wire_control: String,
    /// Folders that must not hold a canary in any form, besides the network's, which is always
    /// searched.
    pub searched: Vec<PathBuf>,
}

/// An orderer that was killed and started again. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Killed {
    /// The node, as `Organization/name`.
    pub title: String,
    /// The process that was killed.
    pub process: u32,
    /// When it was gone.
    pub at_ms: u64,
    /// When the node was started again.
    pub restarted_ms: u64,
}
