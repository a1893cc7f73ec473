//! What can be asked at the command line.

mod care;
mod fhir;
mod people;
mod rights;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use stela_consent::{Category, Confidentiality, Id, Organization, Purpose, Role, SensitivityLabel};
use stela_healthcare::{DeclineReason, EraseReason, ErasureGround, RejectReason};
use stela_protocol::OrgId;

use crate::commands::Named;
use crate::failure::EXIT_CODES;
pub(crate) use care::*;
pub(crate) use fhir::*;
pub(crate) use people::*;
pub(crate) use rights::*;

/// Health records shared under the patient's consent.
///
/// Every command acts as the user of one profile, a folder with her certificates and keys. A
/// record's content is encrypted and decrypted here; the network sees ciphertext.
#[derive(Debug, Parser)]
#[command(name = "stela", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// The user's profile folder.
    #[arg(
        long,
        global = true,
        env = "STELA_PROFILE",
        default_value = ".",
        value_name = "FOLDER"
    )]
    pub(crate) profile: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more on standard error. STELA_LOG takes a filter, such as `stela_client=debug`.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who the profile's user is.
    Whoami,
    /// Register the certificate and an encryption key on the channel; patients are made known too.
    Register,
    /// Submit, amend, list, review and read records.
    #[command(subcommand)]
    Record(Record),
    /// Grant, revoke and list consents; ask for them, and answer; as FHIR resources, too.
    #[command(subcommand)]
    Consent(Consent),
    /// Say which certificates are a patient's, give them the keys of her records, and tell what she
    /// has a right to know.
    #[command(subcommand)]
    Patient(Patient),
    /// Read in an emergency, answer one with the key, and review it.
    #[command(subcommand)]
    Emergency(Emergency),
    /// Run a research study, take part in one, and read for it.
    #[command(subcommand)]
    Study(Study),
    /// Bind devices, look at them, run a simulated ward, and prove single observations.
    #[command(subcommand)]
    Device(Device),
    /// Say who may act for a patient.
    #[command(subcommand)]
    Delegate(Delegate),
    /// Replace and look at encryption keys.
    #[command(subcommand)]
    Key(Key),
    /// Find out what would be permitted, before asking.
    #[command(subcommand)]
    Access(Access),
    /// Wrap a record's key for everybody to whom standing consents, and delegations, open it.
    Share {
        /// The record.
        record: Id,
        /// The version; without it, the newest.
        #[arg(long)]
        version: Option<u32>,
    },
    /// Show a patient's audit trail: who did what, denied accesses too.
    Audit {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Show what happened on the ledger that concerns this user, since the last time.
    ///
    /// Events carry ids only, so the contract is asked whether each of them concerns the user, and
    /// why. The place of the last event is kept in the profile.
    Notifications {
        /// Go on with what comes, until `Ctrl-C`.
        #[arg(long)]
        follow: bool,
        /// Start at this block instead, and leave the place that is kept as it is.
        #[arg(long, value_name = "BLOCK")]
        from: Option<u64>,
    },
    /// Prove what the consortium recorded, years later and offline.
    #[command(subcommand)]
    Receipt(Receipt),
    /// Look at the channel.
    #[command(subcommand)]
    Channel(Channel),
    /// Look at one transaction.
    #[command(subcommand)]
    Tx(Tx),
    /// Follow the contract's events.
    Events {
        /// Start at this block; without it, only what comes from now on.
        #[arg(long)]
        from: Option<u64>,
        /// End after so many events.
        #[arg(long)]
        count: Option<usize>,
    },
    /// Administer a peer or an orderer of the own organization.
    #[command(subcommand)]
    Admin(Admin),
    /// Look at the storage nodes of the own organization.
    #[command(subcommand)]
    Storage(Storage),
    /// Make certificate authorities and enrol users and nodes; works offline, without a profile.
    #[command(subcommand)]
    Ca(Ca),
    /// Find out what is wrong with this network, and what to do.
    ///
    /// Looks at the profile's own files and at every peer, orderer and storage node of the channel,
    /// all at once and each within a deadline. Ends with 0 if nothing is wrong, with 1 if something
    /// is.
    Doctor {
        /// The channel's first block, as the consortium gave it out: what every node must have, and
        /// where the nodes are if no peer answers.
        #[arg(long, value_name = "FILE")]
        genesis: Option<PathBuf>,
        /// Instead of the network, look at this configuration file of a node on this machine and at
        /// what it names, before the node is started or after it stopped.
        #[arg(long, value_name = "FILE", conflicts_with = "genesis")]
        config: Option<PathBuf>,
    },
    /// Print completions for a shell, with the codes of consents and records and with the
    /// organizations and peers that the profile names now.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Description {
    /// What kind of record it is: patient-summary, clinical-note, discharge-summary, laboratory,
    /// imaging, vital-signs, procedure, medication, immunization, ...
    #[arg(long)]
    pub(crate) category: Category,
    /// How confidential: U, L, M, N, R or V (HL7 v3-Confidentiality).
    #[arg(long, default_value = "N")]
    pub(crate) confidentiality: Confidentiality,
    /// What makes it sensitive, such as PSY or HIV (HL7 v3-ActCode); repeatable.
    #[arg(long = "label")]
    pub(crate) labels: Vec<SensitivityLabel>,
    /// The document's media type; only readers learn it.
    #[arg(long, default_value = "application/fhir+json")]
    pub(crate) media_type: String,
    /// The document's format; only readers learn it.
    #[arg(long, default_value = "fhir-r4")]
    pub(crate) format: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Record {
    /// Encrypt a document, have two organizations hold it, and submit it for review.
    Submit {
        /// Whom it is about.
        #[arg(long)]
        patient: Id,
        #[command(flatten)]
        description: Description,
        /// The document.
        file: PathBuf,
    },
    /// Submit a new version of a record; earlier versions stay as they are.
    Amend {
        /// The record.
        record: Id,
        #[command(flatten)]
        description: Description,
        /// The document.
        file: PathBuf,
    },
    /// List a patient's records that the contract shows to this user.
    List {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Why, for those to whom a consent opens them.
        #[arg(long)]
        purpose: Option<Purpose>,
        #[command(flatten)]
        filter: RecordFilter,
    },
    /// Show what the ledger says about a version.
    Show {
        /// The record.
        record: Id,
        /// The version; without it, the newest.
        #[arg(long)]
        version: Option<u32>,
    },
    /// Show who made which version the newest or the active one, what the reviewing officers found,
    /// and in which transaction.
    History {
        /// The record.
        record: Id,
    },
    /// Review a pending version as a records officer: open it, check it, and confirm it if it
    /// passes.
    ///
    /// The consortium may ask for several officers, some of them of other organizations; the answer
    /// says how many are still asked for.
    Confirm {
        /// The record.
        record: Id,
        /// The version; without it, the newest.
        #[arg(long)]
        version: Option<u32>,
        /// Also write the document here, to be looked at.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Replace that file if it exists.
        #[arg(long, requires = "out")]
        force: bool,
        /// Confirm although the content calls for sensitivity labels, or a confidentiality, that the
        /// version does not carry: the officer has looked at it and decides otherwise.
        #[arg(long)]
        accept_labels: bool,
        /// Check only; do not confirm.
        #[arg(long)]
        dry_run: bool,
    },
    /// Reject a pending version as a records officer.
    Reject {
        /// The record.
        record: Id,
        /// The version; without it, the newest.
        #[arg(long)]
        version: Option<u32>,
        /// Why: unreadable, invalid-format, wrong-labels, wrong-patient, duplicate, incomplete.
        #[arg(long, value_parser = coded::<RejectReason>)]
        reason: RejectReason,
    },
    /// Ask, as the patient or her delegate, for the erasure of a record.
    RequestErasure {
        /// The record.
        record: Id,
        /// Whom it is about; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Why: no-longer-needed, consent-withdrawn, objection, unlawful.
        #[arg(long, value_parser = coded::<ErasureGround>)]
        reason: Option<ErasureGround>,
    },
    /// List, as a privacy officer, the requests for erasure that wait for the user's organization.
    ///
    /// `record erase` or `record decline-erasure` answers one.
    Erasures,
    /// Say, as a privacy officer, why a record is not erased although its patient asked for it.
    DeclineErasure {
        /// The record.
        record: Id,
        /// Whom it is about; without it, the patient of the record.
        #[arg(long)]
        patient: Option<Id>,
        /// Why: retention, legal-hold.
        #[arg(long, value_parser = coded::<DeclineReason>)]
        reason: DeclineReason,
    },
    /// Erase a record as a privacy officer: every version of it, for everybody, for good.
    ///
    /// An unlawful record takes two organizations: the first call proposes it, and a privacy officer
    /// of another organization calls the same.
    Erase {
        /// The record.
        record: Id,
        /// Why: patient-request, retention-over, unlawful.
        #[arg(long, value_parser = coded::<EraseReason>)]
        reason: EraseReason,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Request access to a version and, if it is permitted, read it into a file.
    Read {
        /// The record.
        record: Id,
        /// The version; without it, the one that the record's list shows to this user.
        #[arg(long)]
        version: Option<u32>,
        /// Whom it is about; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Why, as in HL7 v3-ActReason: TREAT, ETREAT, HPAYMT, HOPERAT, PATRQT, ...
        #[arg(long)]
        purpose: Purpose,
        /// Where the document goes.
        #[arg(long)]
        out: PathBuf,
        /// Replace the file if it exists.
        #[arg(long)]
        force: bool,
        /// Read only a part, as curl writes it: `0-499` the first 500 bytes, `500-` all that
        /// follow, `-500` the last 500. The rest of the document is neither fetched nor verified.
        #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
        range: Option<ByteRange>,
    },
    /// List uploads that were interrupted, or drop one.
    Uploads {
        /// Forget the unfinished upload of this record; its ciphertext here is removed.
        #[arg(long, value_name = "RECORD")]
        drop: Option<Id>,
    },
    /// Go on with an interrupted upload: the same ciphertext, without the document.
    Resume {
        /// The record, as `record uploads` lists it.
        record: Id,
    },
}

/// Bytes of a document, as curl and HTTP write them: both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// From here to there.
    Between(u64, u64),
    /// From here to the end.
    From(u64),
    /// So many at the end.
    Last(u64),
}

impl std::str::FromStr for ByteRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || "expected START-END, START- or -COUNT, in bytes".to_owned();
        let (start, end) = text.split_once('-').ok_or_else(rule)?;
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u64>().map_err(|_| rule()),
            false => Err(rule()),
        };
        match (start, end) {
            ("", count) => Ok(Self::Last(number(count)?)),
            (start, "") => Ok(Self::From(number(start)?)),
            (start, end) => match (number(start)?, number(end)?) {
                (start, end) if start <= end => Ok(Self::Between(start, end)),
                _ => Err("the range ends before it begins".to_owned()),
            },
        }
    }
}

impl ByteRange {
    /// The range in a document of so many bytes, its end excluded; nothing if it is not inside.
    pub(crate) fn within(self, content_bytes: u64) -> Option<std::ops::Range<u64>> {
        let range = match self {
            Self::Between(start, end) => start..end.checked_add(1)?,
            Self::From(start) => start..content_bytes,
            Self::Last(count) => content_bytes.checked_sub(count)?..content_bytes,
        };
        (range.start < range.end && range.end <= content_bytes).then_some(range)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Consent {
    /// Grant a consent and share the keys of the records that it opens.
    Grant {
        /// To everybody of this organization, or with --role to that role there.
        #[arg(long, required_unless_present_any = ["identity", "file"])]
        organization: Option<Organization>,
        /// To this role at the organization, such as practitioner.
        #[arg(long, requires = "organization")]
        role: Option<Role>,
        /// To one certificate, by its fingerprint.
        #[arg(long, conflicts_with_all = ["organization", "role"])]
        identity: Option<stela_consent::Fingerprint>,
        /// For this purpose; repeatable.
        #[arg(long = "purpose", required_unless_present = "file")]
        purposes: Vec<Purpose>,
        /// Up to this confidentiality.
        #[arg(long, default_value = "N")]
        max: Confidentiality,
        /// Sensitivity labels that are included; repeatable.
        #[arg(long = "label")]
        labels: Vec<SensitivityLabel>,
        /// Only these categories; repeatable.
        #[arg(long = "category")]
        categories: Vec<Category>,
        /// For so many days from now.
        #[arg(long)]
        days: Option<u32>,
        /// A consent as JSON, instead of all of the above; its id is drawn if it has none.
        #[arg(long, conflicts_with_all = ["organization", "identity", "purposes", "labels",
            "categories", "days"])]
        file: Option<PathBuf>,
        /// The patient, for a delegate; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Grant a consent that is written as a FHIR R4 Consent, and share the keys of the records that it
    /// opens.
    ///
    /// What `stela consent export` writes, IHE's ready-made policies, and consents in R4's own words
    /// (OPTIN and OPTOUT), under a new id. It has to be about the patient who grants it. What is not
    /// understood, or cannot be said with consents here, is refused with the element and the reason:
    /// nothing is granted that the document does not say.
    Import(Imported),
    /// Print a consent as a FHIR R4 Consent; a revoked one as inactive.
    ///
    /// It names no person: patient, people and organizations go by the ids of the ledger.
    Export {
        /// The consent, as `consent list` shows it.
        consent: Id,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Write it into this file instead; the file must not exist.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Revoke a consent; in force from the block that has it.
    Revoke {
        /// The consent.
        consent: Id,
        /// The patient, for a delegate; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Ask a patient for a consent, as a practitioner or researcher.
    Request(Asked),
    /// List requests for consent: those to the user, or as who asked those to a patient.
    Requests {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Show the note beside a request.
    Note {
        /// The request.
        request: Id,
        /// The patient, for a delegate; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Answer a request, and share the keys of the records that the consent opens.
    Answer(Answering),
    /// Take back a request of one's own.
    Withdraw {
        /// The request.
        request: Id,
        /// The patient.
        #[arg(long)]
        patient: Id,
    },
    /// Grant one of the ready-made policies of IHE Privacy Consent on FHIR.
    #[command(subcommand)]
    Policy(ReadyMade),
    /// List consents, revoked ones too.
    List {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Channel {
    /// Show height, hashes and members.
    Info,
    /// List blocks with the verdict on each transaction; checks the orderers' signatures.
    Blocks {
        /// The first one.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Behind the last one; without it, the height of the channel now.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Print the configuration in force as JSON, which `update propose` takes back when edited.
    Config {
        /// Write it into this file instead; the file must not exist.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Change the configuration: propose, show, sign, merge, submit.
    ///
    /// A change travels as one file, without secrets, from administrator to administrator. Each
    /// looks at it and signs it, offline if she likes; when the administrators' policy is
    /// satisfied, any of them submits it. It is in force from the block after its own on,
    /// everywhere: a revoked certificate counts no more, and its open streams end.
    #[command(subcommand)]
    Update(Update),
}

/// What every proposal takes.
#[derive(Debug, Args)]
pub(crate) struct Proposed {
    /// Why, for those who are asked to sign.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: String,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    /// Propose an edited configuration, as `channel config` printed it.
    Propose {
        /// The edited configuration, JSON.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        proposed: Proposed,
    },
    /// Propose to revoke certificates: of identities, of TLS, or both.
    Revoke {
        /// The certificates: files (PEM), or fingerprints (SHA-256 of the certificate).
        #[arg(required = true, value_name = "CERTIFICATE")]
        certificates: Vec<Named>,
        /// Who issued them, since a certificate is revoked in that organization's list alone. A file
        /// says it itself, and so does the configuration of its orderers and peers; of other
        /// fingerprints it is the profile's organization, unless this says otherwise.
        #[arg(long)]
        organization: Option<OrgId>,
        #[command(flatten)]
        proposed: Proposed,
    },
    /// Propose one more orderer. Start it when the change is in force; it joins with the genesis
    /// block and the configuration in force (`stela admin join`).
    AddOrderer {
        /// Whose it is.
        #[arg(long)]
        organization: OrgId,
        /// Where it answers, `host:port`.
        #[arg(long)]
        address: String,
        /// The certificate under which it signs, PEM.
        #[arg(long, value_name = "FILE")]
        identity: PathBuf,
        /// Its TLS certificate, PEM.
        #[arg(long, value_name = "FILE")]
        tls: PathBuf,
        /// How many orderers must sign a block then; without it, a majority or as many as now.
        #[arg(long)]
        quorum: Option<u32>,
        #[command(flatten)]
        proposed: Proposed,
    },
    /// Propose to remove an orderer.
    RemoveOrderer {
        /// Its number; `channel config` shows it.
        id: u64,
        /// How many orderers must sign a block then; without it, as many as now if they are left.
        #[arg(long)]
        quorum: Option<u32>,
        #[command(flatten)]
        proposed: Proposed,
    },
    /// Propose a contract, a new version of one, or other settings. Install its package on the peers
    /// before.
    SetContract {
        /// Its name.
        name: String,
        /// Its version, for people; without it, the one that the contract has.
        #[arg(long)]
        version: Option<String>,
        /// The package; its hash goes into the configuration. Without it, the one that the contract
        /// has.
        #[arg(long, value_name = "FILE", requires = "version")]
        package: Option<PathBuf>,
        /// What the channel sets for the contract, as the contract reads it (JSON); an empty file:
        /// nothing. Without it, what is set already.
        #[arg(long, value_name = "FILE", required_unless_present_any = ["version", "package", "policy"])]
        settings: Option<PathBuf>,
        /// The endorsement policy; without it, the one that the contract has.
        #[arg(long)]
        policy: Option<String>,
        #[command(flatten)]
        proposed: Proposed,
    },
    /// Propose another policy for changing the configuration.
    SetPolicy {
        /// Such as `OutOf(2, 'HospitalA.admin', 'HospitalB.admin', 'HospitalC.admin')`.
        policy: String,
        #[command(flatten)]
        proposed: Proposed,
    },
    /// Show what a proposal changes, who has signed it, and what it still needs; works offline.
    Show {
        /// The proposal.
        file: PathBuf,
    },
    /// Show a proposal and sign it; works offline.
    Sign {
        /// The proposal; the signature is added to it.
        file: PathBuf,
        /// Sign without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Take signatures over from copies of a proposal; works offline.
    Merge {
        /// The proposal that gets them.
        file: PathBuf,
        /// The copies.
        #[arg(required = true)]
        copies: Vec<PathBuf>,
    },
    /// Submit a proposal and wait until it is committed.
    Submit {
        /// The proposal.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tx {
    /// Show whether a transaction is committed, and the verdict.
    Status {
        /// Its id.
        id: stela_consent::Hex<32>,
    },
    /// Say in words why a transaction has its verdict, and what to do.
    ///
    /// Names which key was read at which version and who changed it since, whose endorsement is
    /// missing or is of something else, by how much a time is off; and of a transaction that is not
    /// committed, what can still become of it.
    Explain {
        /// Its id.
        id: stela_consent::Hex<32>,
        /// When it was made, such as 2026-11-22T15:28:44Z: then it is known whether one that is not
        /// committed can still be.
        #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
        made: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make an organization's authorities: one for identities (Ed25519), one for TLS (P-256).
    Init {
        /// The organization.
        #[arg(long)]
        organization: OrgId,
        /// Where they go; must be empty or absent.
        folder: PathBuf,
        /// For how many days the roots are valid.
        #[arg(long, default_value_t = 3650)]
        days: u32,
    },
    /// Issue the certificates of a user or a node into a folder.
    Enroll {
        /// The authorities' folder.
        #[arg(long, value_name = "FOLDER")]
        ca: PathBuf,
        /// The common name; a patient's must not be her own name.
        #[arg(long)]
        name: String,
        /// The role: peer, orderer, storage, admin, practitioner, records-officer, patient, ...
        #[arg(long, value_parser = role)]
        role: String,
        /// An attribute, such as `patient=ID` or `department=cardiology`; repeatable.
        #[arg(long = "attribute", value_parser = attribute, value_name = "NAME=VALUE")]
        attributes: Vec<(String, String)>,
        /// A DNS name or address of the node for its TLS certificate; repeatable.
        #[arg(long = "host", default_value = "localhost")]
        hosts: Vec<String>,
        /// Where `identity/` and `tls/` go.
        #[arg(long)]
        out: PathBuf,
        /// For how many days the certificates are valid.
        #[arg(long, default_value_t = 365)]
        days: u32,
    },
}

/// A code as JSON writes it.
fn coded<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = serde_json::Value::String(text.to_owned());
    serde_json::from_value(value).map_err(|error| {
        match error.to_string().split_once(", expected") {
            Some((_, expected)) => format!("expected{expected}"),
            None => "no such code; see --help".to_owned(),
        }
    })
}

/// A role of the contract, or of a node that calls no contract.
fn role(text: &str) -> Result<String, String> {
    if ["orderer", "storage"].contains(&text) || text.parse::<Role>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("no such role; see --help".to_owned())
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct NodeAddress {
    /// Where the node answers, `host:port`.
    #[arg(long)]
    pub(crate) node: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Have a node join a channel.
    Join {
        #[command(flatten)]
        node: NodeAddress,
        /// The genesis block, as the consortium gave it.
        genesis: PathBuf,
        /// Send the configuration in force along, as the profile's peer says it: for an orderer that
        /// was added after the genesis block.
        #[arg(long)]
        current: bool,
    },
    /// Install a contract package on a peer.
    Install {
        #[command(flatten)]
        node: NodeAddress,
        /// The package, a WebAssembly component.
        package: PathBuf,
    },
    /// Show what a node says of itself.
    Status {
        #[command(flatten)]
        node: NodeAddress,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Storage {
    /// Show what the nodes keep, what they found lost, and what was mended from whom; for
    /// administrators.
    Report {
        /// Only the node that answers members here, `host:port`, as the channel names it.
        #[arg(long)]
        node: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn ranges_are_those_of_curl_and_lie_inside_the_document() {
        let check = |text: &str, expect: Option<std::ops::Range<u64>>| {
            let range: ByteRange = text.parse().unwrap();
            assert_eq!(range.within(1_000), expect, "{text}");
        };
        check("0-499", Some(0..500));
        check("500-500", Some(500..501));
        check("999-", Some(999..1_000));
        check("-1000", Some(0..1_000));
        check("-1", Some(999..1_000));
        check("0-999", Some(0..1_000));
        for outside in [
            "0-1000",
            "1000-",
            "-1001",
            "-0",
            "18446744073709551615-",
            "0-18446744073709551615",
        ] {
            check(outside, None);
        }
        for wrong in [
            "",
            "-",
            "5",
            "x-",
            "1-x",
            "+1-2",
            "5-4",
            "1-2-3",
            "99999999999999999999-",
        ] {
            assert!(wrong.parse::<ByteRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_contradict_one_another_nowhere() {
        Arguments::command().debug_assert();
    }
}
