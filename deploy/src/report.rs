//! The report of a demonstration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What `stela-verify` found. Each boolean rests on what another hospital's peer and the disks say.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Findings {
    /// The reader's files are byte for byte what the author wrote, and for each of them a permit
    /// by the patient's consent is committed, in the order of the story.
    pub permitted_read_identical: bool,
    /// A committed denial names the practitioner without a consent, no permit does, and there is no
    /// file.
    pub denied_without_consent: bool,
    /// After the revocation of that consent only denials name the reader, and there is no file.
    pub denied_after_revocation: bool,
    /// Version 1 was read again, unchanged, after version 2 with another CID was confirmed.
    pub old_version_intact: bool,
    /// Every acknowledged transaction is committed once, and valid; some of them while the killed
    /// leader was away, which another process of the same node replaced.
    pub leader_killed_nothing_lost: bool,
    /// The audit trail has an entry for every committed event about the patient, and no other.
    pub audit_complete: bool,
    /// All peers have every block that the observer has, and the same state hash after each.
    pub peers_agree_on_state_hash: bool,
    /// Files that hold a canary in some form; the positive controls are not counted.
    pub canary_hits: usize,
    /// Whether the search found the canaries where they were put on purpose, in every form, on
    /// disk, in a database and on the wire, and nothing of the wire went unrecorded. Without it
    /// `canary_hits` means nothing.
    pub canary_control_found: bool,
    /// Files and bytes that were searched.
    pub searched_files: u64,
    /// The same in bytes.
    pub searched_bytes: u64,
    /// Bytes of the ordered envelope of the consent grant.
    pub consent_grant_bytes: usize,
    /// How many endorsements it carries.
    pub consent_grant_endorsements: usize,
    /// Acknowledged transactions in blocks that were made while the killed leader was away.
    pub committed_while_killed: usize,
    /// Blocks of the channel.
    pub blocks: u64,
    /// Transactions in them, by verdict.
    pub verdicts: BTreeMap<String, usize>,
    /// Entries of the patient's audit trail.
    pub audit_entries: usize,
    /// What was not as it should be, in words.
    pub remarks: Vec<String>,
}

impl Findings {
    /// Whether everything is as it should be.
    pub fn all_true(&self) -> bool {
        self.permitted_read_identical
            && self.denied_without_consent
            && self.denied_after_revocation
            && self.old_version_intact
            && self.leader_killed_nothing_lost
            && self.audit_complete
            && self.peers_agree_on_state_hash
            && self.canary_control_found
            && self.canary_hits == 0
    }
}

/// One step of the story.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub what: String,
    /// How long it took.
    pub seconds: f64,
}

/// The whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What the verifier found.
    #[serde(flatten)]
    pub findings: Findings,
    /// Seconds per step, in order.
    pub steps: Vec<Step>,
    /// Resident memory of each process, in bytes.
    pub resident_bytes: BTreeMap<String, u64>,
    /// Bytes of the document that was shared.
    pub document_bytes: u64,
}
