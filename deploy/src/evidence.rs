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
    /// The profile whose gateway is asked, of a hospital that neither wrote the record nor treats the
    /// patient.
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
    /// The patient of the second record, who is monitored.
    pub second: Id,
    /// Her profile; she may read her whole audit trail.
    pub second_profile: PathBuf,
    /// The consent that was asked for.
    pub asked: Asked,
    /// The emergency.
    pub emergency: Glass,
    /// The study.
    pub study: Study,
    /// The ward.
    pub ward: Ward,
    /// What the patient was told of her rights.
    pub rights: Rights,
    /// The random words inside the documents, and the salt of the observation that was proved: it
    /// stands beside the value wherever that stands.
    pub canaries: Vec<String>,
    /// A word that was sent through the wire recorder in the clear.
    pub wire_control: String,
    /// Folders that must not hold a canary in any form, besides the network's, which is always
    /// searched.
    pub searched: Vec<PathBuf>,
}

/// A consent that a practitioner asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// Her certificate.
    pub by: Fingerprint,
    /// The request.
    pub request: Id,
    /// Where she put version 2 of the shared record.
    pub read: PathBuf,
    /// The note for the patient, as it was typed.
    pub note: PathBuf,
}

/// An emergency access.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Glass {
    /// The certificate of who broke the glass.
    pub by: Fingerprint,
    /// That of the records officer who answered with the key.
    pub answered_by: Fingerprint,
    /// That of the privacy officer who reviewed it.
    pub reviewed_by: Fingerprint,
    /// Where version 2 of the shared record was put.
    pub read: PathBuf,
    /// What `stela notifications` printed to the patient before that: a list, as JSON.
    pub notified: PathBuf,
    /// The justification, as it was typed.
    pub justification: PathBuf,
}

/// A study in which both patients take part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Study {
    /// The study.
    pub study: Id,
    /// The privacy officer who registered it.
    pub sponsor: Fingerprint,
    /// The investigator's certificate.
    pub investigator: Fingerprint,
    /// Her profile: the study's questions are asked as she.
    pub investigator_profile: PathBuf,
    /// The record that she read.
    pub record: Id,
    /// The records of both patients as their author wrote them; the first is that one.
    pub written: [PathBuf; 2],
    /// Where she put it.
    pub read: PathBuf,
}

/// A ward of simulated devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ward {
    /// The folder with the devices' profiles.
    pub folder: PathBuf,
    /// The proof of one observation, as `stela device prove make` wrote it.
    pub proof: PathBuf,
}

/// What the patient got of her rights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rights {
    /// The accounting of all disclosures, exempt ones too: a list, as JSON.
    pub accounting: PathBuf,
    /// Her export: a FHIR bundle.
    pub export: PathBuf,
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
