//! Who is a patient, who acts for her, whose key is whose, and what consents would permit.

use clap::{Args, Subcommand};
use stela_consent::{
    Category, Confidentiality, Fingerprint, Id, Organization, Policy, Purpose, ResearchCategory,
    Role, SensitivityLabel,
};

use super::coded;
use stela_healthcare::{ConsentReason, DelegateKind, DelegateScope};

#[derive(Debug, Subcommand)]
pub(crate) enum Patient {
    /// What she has a right to know.
    #[command(flatten)]
    Rights(super::Rights),
    /// List the certificates that are a patient's, and one to which she is being rebound.
    Certificates {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// Make another certificate the user's own: a second device, or a renewed certificate before
    /// the old one expires.
    ///
    /// On the new device `stela register` comes first and afterwards once more, which publishes its
    /// encryption key; `stela patient rewrap` on this one then gives it the keys of the records.
    AddCertificate {
        /// SHA-256 of the certificate, as `stela whoami` shows it on the new device.
        certificate: Fingerprint,
    },
    /// Take a certificate of the user away, such as one on a device that she lost.
    RemoveCertificate {
        /// SHA-256 of the certificate.
        certificate: Fingerprint,
    },
    /// As a privacy officer: rebind a patient who lost every device, and has proved who she is, to a
    /// new certificate.
    ///
    /// It counts after a wait that the consortium sets, so that she, and who acts for her, can
    /// cancel what she did not ask for. A certificate that was stolen is revoked in the channel's
    /// configuration first (`stela channel update revoke`), for its thief could cancel this.
    Rebind {
        /// The patient.
        #[arg(long)]
        patient: Id,
        /// SHA-256 of the new certificate.
        certificate: Fingerprint,
    },
    /// Cancel a rebinding while it waits.
    CancelRebinding {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// SHA-256 of the certificate to which she would be rebound.
        certificate: Fingerprint,
    },
    /// Wrap the keys of the records for those certificates of the patient, and those delegates who
    /// may read, that have none yet.
    ///
    /// For the user's own records, or as a records officer for those that her organization
    /// submitted about a patient: what she needs after a rebinding.
    Rewrap {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
}

/// When something ends.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct End {
    /// After so many days.
    #[arg(long)]
    pub(crate) days: Option<u32>,
    /// At this time, such as 2040-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
    pub(crate) until: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Delegate {
    /// Let somebody act for the user; as a records or privacy officer, name the guardian of a
    /// minor.
    ///
    /// A guardian whom an officer names counts after a wait that the consortium sets, and ends when
    /// the patient comes of age (--until). An executor counts once her death is attested.
    Name {
        /// SHA-256 of the delegate's certificate.
        delegate: Fingerprint,
        /// In which right (HL7 v3-RoleCode): GUARD guardian, POWATT power of attorney, HPOWATT for
        /// health care, DPOWATT durable, EXCEST executor of the estate.
        #[arg(long, value_parser = coded::<DelegateKind>)]
        kind: DelegateKind,
        /// What for: consent, read, rights; repeatable.
        #[arg(long = "scope", required = true, value_parser = coded::<DelegateScope>)]
        scopes: Vec<DelegateScope>,
        #[command(flatten)]
        end: End,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// End a delegation, as the patient or the delegate; a guardian's also as an officer if one named
    /// him.
    End {
        /// The delegation, as `delegate list` shows it.
        delegation: Id,
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
    /// As a privacy officer: let an executor act for a patient who has died, after a wait.
    Activate {
        /// The delegation, as `delegate list` shows it.
        delegation: Id,
        /// The patient.
        #[arg(long)]
        patient: Id,
    },
    /// List who may act for a patient, in which right, for what and until when.
    List {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Replace the encryption key by a new one and publish it.
    ///
    /// The old one stays in the profile under another name: it still opens what was wrapped for it.
    /// What is interrupted goes on when the command is given again.
    Rotate,
    /// Show which encryption keys somebody published, the newest first, and in which transactions.
    History {
        /// SHA-256 of the owner's certificate; without it, the user's own.
        #[arg(long)]
        certificate: Option<Fingerprint>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Access {
    /// Say whether an access would be permitted now, and why, without asking for it.
    ///
    /// Whoever may see the patient's consents (she, her delegates, officers, an author) gets the
    /// answer of the same evaluator that the contract runs, also for somebody else. Others learn
    /// whether the contract lists the record to them. Nothing is recorded, and nothing is opened:
    /// only `record read` asks.
    Check {
        /// The record.
        record: Id,
        /// The version; without it, the newest that is shown.
        #[arg(long)]
        version: Option<u32>,
        /// Whom it is about; without it, the user herself or whom the record names.
        #[arg(long)]
        patient: Option<Id>,
        /// Why, as in HL7 v3-ActReason.
        #[arg(long)]
        purpose: Purpose,
        /// For somebody else: her organization.
        #[arg(long, requires = "role")]
        organization: Option<Organization>,
        /// For somebody else: her role there.
        #[arg(long, requires = "organization")]
        role: Option<Role>,
        /// For somebody else: SHA-256 of her certificate, if it matters which one it is.
        #[arg(long, requires = "organization")]
        identity: Option<Fingerprint>,
    },
}

/// What a consent covers.
#[derive(Debug, Args)]
pub(crate) struct Coverage {
    /// Up to this confidentiality.
    #[arg(long)]
    pub(crate) max: Option<Confidentiality>,
    /// Sensitivity labels that are included; repeatable.
    #[arg(long = "label")]
    pub(crate) labels: Vec<SensitivityLabel>,
    /// Only these categories; repeatable.
    #[arg(long = "category")]
    pub(crate) categories: Vec<Category>,
    /// For so many days from now.
    #[arg(long)]
    pub(crate) days: Option<u32>,
}

/// For whom a consent is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AskedFor {
    /// The user's certificate.
    Me,
    /// Everybody with her role at her organization.
    MyRole,
    /// Her organization.
    MyOrganization,
}

/// A study for which a consent is asked.
#[derive(Debug, Args)]
pub(crate) struct AskingStudy {
    /// For a study in which the user investigates, instead; the purposes lie within HRESCH.
    #[arg(long, requires = "research", conflicts_with = "asked_for")]
    pub(crate) study: Option<Id>,
    /// In which form the study gets the records: RSDID without what identifies the patient, RSREID
    /// so that it can find out who she is.
    #[arg(long, requires = "study")]
    pub(crate) research: Option<ResearchCategory>,
}

#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The patient.
    #[arg(long)]
    pub(crate) patient: Id,
    /// For whom.
    #[arg(long = "for", value_enum, default_value = "me")]
    pub(crate) asked_for: AskedFor,
    #[command(flatten)]
    pub(crate) study: AskingStudy,
    /// For this purpose; repeatable.
    #[arg(long = "purpose", required = true)]
    pub(crate) purposes: Vec<Purpose>,
    #[command(flatten)]
    pub(crate) coverage: Coverage,
    /// Why: new-patient, referral, second-opinion, transfer, follow-up, coordination, study,
    /// payment, quality.
    #[arg(long, value_parser = coded::<ConsentReason>)]
    pub(crate) reason: ConsentReason,
    /// Let the patient answer within so many days, 30 at most.
    #[arg(long, default_value_t = 7, value_name = "DAYS")]
    pub(crate) answer_within: u32,
    /// What else she should know; encrypted for her and her delegates.
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Answering {
    /// The request, as `consent requests` shows it.
    pub(crate) request: Id,
    /// Grant what is asked for, or with the options below a part of it.
    #[arg(long, required_unless_present = "decline")]
    pub(crate) approve: bool,
    /// Grant nothing.
    #[arg(long, conflicts_with_all = ["approve", "purposes", "max", "labels", "categories", "days"])]
    pub(crate) decline: bool,
    /// Only for this purpose; repeatable.
    #[arg(long = "purpose")]
    pub(crate) purposes: Vec<Purpose>,
    #[command(flatten)]
    pub(crate) coverage: Coverage,
    /// The patient, for a delegate; without it, the user herself.
    #[arg(long)]
    pub(crate) patient: Option<Id>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReadyMade {
    /// List the policies and what each permits.
    List,
    /// Grant one of them.
    Grant {
        /// The policy.
        policy: Policy,
        /// The patient, for a delegate; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
}
