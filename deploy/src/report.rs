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
    /// A practitioner's request for consent and the patient's answer are committed; the consent says
    /// less than was asked for, it alone permitted the practitioner's read, and her file is what the
    /// author wrote.
    pub consent_request_answered: bool,
    /// The glass was broken and no consent decided, the patient's notifications name the access, an
    /// officer of the submitting hospital then gave the reader the key, a privacy officer closed
    /// the review after that, and the file is what the author wrote.
    pub emergency_notified_and_reviewed: bool,
    /// An investigator read one record of an enrolled patient under the pseudonym, the arguments and
    /// answers of her transactions name no patient, and the cohort of two is not told. Events and
    /// what a member's peer has are not part of this.
    pub study_reads_under_pseudonym: bool,
    /// Every device submitted a window, exactly one alerts, and its events carry ids only; one
    /// observation of it is proved against the root on the ledger without the others.
    pub ward_alert_without_value: bool,
    /// The accounting that the patient was shown names every committed permit for her records,
    /// emergencies and the study included, and nothing else.
    pub accounting_complete: bool,
    /// Every receipt in the patient's export verifies from the genesis block alone, there is one for
    /// each transaction about her until then, and the contents are what the author wrote.
    pub export_receipts_verify: bool,
    /// The audit trails of both patients have one entry for every committed transaction about them,
    /// and no other.
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
    /// Devices of the ward.
    pub devices: usize,
    /// Receipts in the patient's export.
    pub receipts: usize,
    /// Entries of both patients' audit trails.
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
            && self.consent_request_answered
            && self.emergency_notified_and_reviewed
            && self.study_reads_under_pseudonym
            && self.ward_alert_without_value
            && self.accounting_complete
            && self.export_receipts_verify
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
