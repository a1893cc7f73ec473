//! Emergencies, studies and devices.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stela_consent::{
    Actor, Category, Confidentiality, Fingerprint, Hex, Id, Purpose, ResearchCategory,
    SensitivityLabel,
};
use stela_healthcare::{EmergencyReason, Finding};

/// A code of the contract, as its JSON has it.
fn coded<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|error| error.to_string())
}

fn reason(text: &str) -> Result<EmergencyReason, String> {
    coded(text)
}

fn finding(text: &str) -> Result<Finding, String> {
    coded(text)
}

pub(super) fn actor(text: &str) -> Result<Actor, String> {
    if let Ok(id) = text.parse::<Fingerprint>() {
        return Ok(Actor::Identity(id));
    }
    let (role, organization) = text
        .split_once('@')
        .ok_or("expected a certificate's fingerprint, or ROLE@ORGANIZATION")?;
    let role = role.parse().map_err(|error| format!("{error}"))?;
    let organization = organization.parse().map_err(|error| format!("{error}"))?;
    Ok(Actor::RoleAt(organization, role))
}

/// `stela emergency`.
#[derive(Debug, Subcommand)]
pub(crate) enum Emergency {
    /// Read a record in an emergency, whatever the patient's consents say.
    ///
    /// For practitioners. The access is on the ledger before anything is read; the patient, her
    /// privacy officers and the officers on call are told at once. An officer of the organization
    /// that submitted the record has to answer with the key: this command waits for that. The
    /// access must be reviewed; with one that waits too long, the next is denied.
    Break {
        /// The patient.
        #[arg(long)]
        patient: Id,
        /// The record.
        record: Id,
        /// The version; without it, 1.
        #[arg(long = "record-version", default_value_t = 1, value_name = "NUMBER")]
        version: u32,
        /// Why: life-threatening, unresponsive, urgent-treatment, harm-to-others or disaster.
        #[arg(long, value_parser = reason)]
        reason: EmergencyReason,
        /// What else there is to say, encrypted for the patient and the privacy officers.
        #[arg(long, value_name = "TEXT")]
        justification: String,
        /// Where the document goes; without it, only the access is asked for.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// For how many seconds the key is waited for.
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        wait: u64,
    },
    /// List emergency accesses.
    ///
    /// Without a patient, a practitioner is shown her own that await their review, and a privacy
    /// officer those that she can review.
    List {
        /// The patient.
        #[arg(long)]
        patient: Option<Id>,
        /// Also open the justifications that are for this user.
        #[arg(long)]
        justifications: bool,
    },
    /// Close the review of an emergency access, as a privacy officer.
    Review {
        /// The patient.
        #[arg(long)]
        patient: Id,
        /// The transaction that permitted the access, as `emergency list` shows it.
        request: Hex<32>,
        /// What was found: justified or unjustified.
        #[arg(long, value_parser = finding)]
        finding: Finding,
    },
    /// Give the readers of standing emergency permits the keys, as an officer on call.
    ///
    /// For records and privacy officers of the organization that submitted a record. The key is
    /// opened with the officer's own wrap and wrapped for the reader of the permit, for nobody else.
    Answer {
        /// The patient; not needed with --watch.
        #[arg(long, required_unless_present = "watch")]
        patient: Option<Id>,
        /// Only this access, by the transaction that permitted it.
        #[arg(long, value_name = "TRANSACTION")]
        request: Option<Hex<32>>,
        /// Stay, and answer every emergency as it comes.
        #[arg(long, conflicts_with_all = ["patient", "request"])]
        watch: bool,
    },
}

/// `stela study`.
#[derive(Debug, Subcommand)]
pub(crate) enum Study {
    /// Register a study of the user's organization, as its privacy officer.
    Register(StudyTerms),
    /// Say who investigates.
    Investigators {
        /// The study.
        study: Id,
        /// Add a certificate's fingerprint, or ROLE@ORGANIZATION; repeatable.
        #[arg(long, value_parser = actor, value_name = "WHO")]
        add: Vec<Actor>,
        /// Take one away; repeatable.
        #[arg(long, value_parser = actor, value_name = "WHO")]
        remove: Vec<Actor>,
    },
    /// Show a study's terms, sponsor and investigators.
    Show {
        /// The study.
        study: Id,
    },
    /// End a study before its time.
    End {
        /// The study.
        study: Id,
    },
    /// Join a study under a pseudonym that is drawn here, as the patient or her delegate.
    ///
    /// It takes a consent to the study as well: --research grants one for what the study's terms
    /// say, until it ends; `stela consent grant --file` takes a narrower one. The investigators get
    /// the keys of the records that the terms extend to. Calling it again gives them those that have
    /// come since.
    Enrol {
        /// The study.
        study: Id,
        /// Also consent to all that its terms say: RSDID without what identifies the patient,
        /// RSREID so that the study can find out who she is.
        #[arg(long, value_name = "FORM")]
        research: Option<ResearchCategory>,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Leave a study, as the patient or her delegate. What was read stays read.
    Withdraw {
        /// The study.
        study: Id,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Count the patients with a record that fits; small numbers are not told.
    ///
    /// Of a study with many patients, parts are counted. A part with too few is not told, and the
    /// answer has bounds.
    Cohort {
        /// The study.
        study: Id,
        /// Of this category.
        #[arg(long)]
        category: Option<Category>,
        /// With this sensitivity label.
        #[arg(long)]
        label: Option<SensitivityLabel>,
        /// Of this time or later.
        #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
        from: Option<u64>,
        /// Of before this time.
        #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
        to: Option<u64>,
    },
    /// List the records that a study may read, under pseudonyms.
    Records {
        /// The study.
        study: Id,
        /// Why; without it, the first of the study's purposes.
        #[arg(long)]
        purpose: Option<Purpose>,
    },
    /// Read a record for a study.
    Read {
        /// The study.
        study: Id,
        /// The patient's pseudonym in it.
        #[arg(long)]
        pseudonym: Id,
        /// The record.
        record: Id,
        /// The version; without it, 1.
        #[arg(long = "record-version", default_value_t = 1, value_name = "NUMBER")]
        version: u32,
        /// Why.
        #[arg(long)]
        purpose: Purpose,
        /// Where the document goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What a study is registered with.
#[derive(Debug, Args)]
pub(crate) struct StudyTerms {
    /// The study's id; without it, one is drawn.
    #[arg(long)]
    pub(crate) study: Option<Id>,
    /// A purpose within HRESCH; repeatable.
    #[arg(long = "purpose", required = true)]
    pub(crate) purposes: Vec<Purpose>,
    /// The highest confidentiality of what it may see.
    #[arg(long = "max", default_value = "N")]
    pub(crate) ceiling: Confidentiality,
    /// A sensitivity label that a record may carry; repeatable.
    #[arg(long = "label")]
    pub(crate) labels: Vec<SensitivityLabel>,
    /// A category that it may see; repeatable. Without any, every one.
    #[arg(long = "category")]
    pub(crate) categories: Vec<Category>,
    /// When it ends.
    #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
    pub(crate) end: u64,
    /// The ethics approval: its salted hash goes on the ledger, the salt is printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) approval: PathBuf,
    /// The smallest count that it is told, if higher than the consortium's.
    #[arg(long)]
    pub(crate) floor: Option<u32>,
}

/// `stela device`.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Let a device report a patient's vital signs.
    ///
    /// For the patient, and for practitioners and records officers of her organization. A device
    /// reports those of one patient at a time.
    Bind {
        /// SHA-256 of the device's certificate, as `stela whoami` shows it with its profile.
        device: Fingerprint,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// When the binding ends by itself.
        #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
        until: Option<u64>,
    },
    /// End that.
    Release {
        /// SHA-256 of the device's certificate.
        device: Fingerprint,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Show to whom devices are bound, and how far their sequences have come.
    Status {
        /// One device; without it, every one that is bound to the patient.
        device: Option<Fingerprint>,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Run a ward of simulated monitors against the network.
    ///
    /// The profile's user, a practitioner or records officer of the patient's organization, binds
    /// the devices; their certificates are issued by the organization's authority. Each device
    /// submits windows of plausible vital signs as FHIR R4 observations, one after the other, all
    /// devices at once.
    Simulate(Simulate),
    /// Prove that one observation belongs to a window, or check such a proof offline.
    #[command(subcommand)]
    Prove(Prove),
}

/// A ward to simulate.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The patient whose vital signs they are.
    #[arg(long)]
    pub(crate) patient: Id,
    /// The folder of the organization's authorities, as `stela ca init` made it.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ca: PathBuf,
    /// Where the devices' profiles go; those that are there are used again.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ward: PathBuf,
    /// How many devices.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) devices: u16,
    /// How many windows each one submits.
    #[arg(long, default_value_t = 3)]
    pub(crate) windows: u32,
    /// How many observations of each vital sign a window has.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) readings: u16,
    /// Have the last window of one device carry a value beyond the thresholds.
    #[arg(long)]
    pub(crate) alert_one: bool,
    /// The patient's own thresholds, as JSON; without them, those of an adult at rest. They stay
    /// here.
    #[arg(long, value_name = "FILE")]
    pub(crate) thresholds: Option<PathBuf>,
}

/// Making and checking proofs of single observations.
#[derive(Debug, Subcommand)]
pub(crate) enum Prove {
    /// Read a window and write the proof of one of its observations.
    Make {
        /// The record that is the window.
        record: Id,
        /// Which observation, counted from 0.
        #[arg(long)]
        index: usize,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Why the window is read.
        #[arg(long, default_value = "PATRQT")]
        purpose: Purpose,
        /// Where the proof goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check a proof; nothing is asked of the network.
    ///
    /// The root is what counts: take it from the ledger, or from a receipt of the window's
    /// transaction. Without either the file's own is taken, which only shows that the file agrees
    /// with itself.
    Check(CheckProof),
}

/// A proof to check, and against what.
#[derive(Debug, Args)]
pub(crate) struct CheckProof {
    /// The proof.
    pub(crate) file: PathBuf,
    /// The window's Merkle root.
    #[arg(long)]
    pub(crate) root: Option<Hex<32>>,
    /// A receipt (`stela receipt get`) of the transaction that submitted the window: it is verified,
    /// and the root is taken from it.
    ///
    /// It proves that the orderers recorded this root, not that the peers found the transaction
    /// valid: `stela tx status` asks.
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    pub(crate) receipt: Option<PathBuf>,
    /// The channel's first block, as the consortium gave it out, from which the receipt is verified;
    /// without it, the profile's.
    #[arg(long, value_name = "FILE", requires = "receipt")]
    pub(crate) genesis: Option<PathBuf>,
}
