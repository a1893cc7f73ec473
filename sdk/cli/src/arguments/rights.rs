//! Filters of lists, what a patient has a right to know, and receipts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stela_consent::{Category, Id, Organization, Purpose, SensitivityLabel};
use stela_healthcare::State;

use super::coded;

/// Which records of a list are wanted; what is not stated admits everything.
#[derive(Debug, Args)]
pub(crate) struct RecordFilter {
    /// Only this kind of record.
    #[arg(long)]
    pub(crate) category: Option<Category>,
    /// Only records with this sensitivity label.
    #[arg(long)]
    pub(crate) label: Option<SensitivityLabel>,
    /// Only what took place at this time or later, such as 2026-11-22T00:00:00Z; what states no date
    /// counts when it was submitted.
    #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
    pub(crate) from: Option<u64>,
    /// Only what took place before this time.
    #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
    pub(crate) to: Option<u64>,
    /// Only what this certificate submitted.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) author: Option<stela_consent::Fingerprint>,
    /// Only what this organization submitted.
    #[arg(long)]
    pub(crate) organization: Option<Organization>,
    /// Only what stands there: pending, active, rejected, erased.
    #[arg(long, value_parser = coded::<State>)]
    pub(crate) state: Option<State>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rights {
    /// Account for disclosures, six years back at most (45 CFR 164.528).
    ///
    /// Disclosures for treatment, payment and operations, to the patient and by her consent are
    /// exempt and left out unless --all is given.
    Accounting {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Only disclosures at this time or later.
        #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
        from: Option<u64>,
        /// Only disclosures before this time.
        #[arg(long, value_name = "TIME", value_parser = crate::commands::parse_time)]
        to: Option<u64>,
        /// Only for this purpose and what it contains.
        #[arg(long)]
        purpose: Option<Purpose>,
        /// Only to this certificate.
        #[arg(long, value_name = "FINGERPRINT")]
        recipient: Option<stela_consent::Fingerprint>,
        /// The exempt ones, too.
        #[arg(long)]
        all: bool,
    },
    /// List who holds or held a permit to read which version, with the newest one.
    Readers {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Only of this record.
        #[arg(long)]
        record: Option<Id>,
    },
    /// Write everything about the patient into one file: a FHIR R4 Bundle (45 CFR 164.524).
    ///
    /// It has her consents, every version of her records that is not erased with its content as far
    /// as it can be opened, the audit trail, and the receipts of the transactions in it. Each content
    /// that is opened is an access, and is recorded as such.
    Export {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
        /// Where it goes; the file must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// For which purpose the contents are opened: a delegate names that of her kind.
        #[arg(long, default_value = "PATRQT")]
        purpose: Purpose,
        /// Leave the contents of records out.
        #[arg(long)]
        no_content: bool,
        /// Leave the receipts out.
        #[arg(long)]
        no_receipts: bool,
    },
    /// List the patient's requests for erasure and what became of them.
    Erasures {
        /// The patient; without it, the user herself.
        #[arg(long)]
        patient: Option<Id>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// Get the receipt of a valid transaction, and verify it.
    Get {
        /// The transaction's id.
        id: stela_consent::Hex<32>,
        /// Where it goes; the file must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Verify a receipt from the genesis block alone; works offline, and without a profile if
    /// --genesis is given.
    ///
    /// It proves that the orderers of the consortium put this transaction into this block at this
    /// time. Whether it took effect is found by every peer and signed by none: `stela tx status`
    /// asks.
    Verify {
        /// The receipt.
        file: PathBuf,
        /// The channel's first block, as the consortium gave it out; without it, the profile's.
        #[arg(long, value_name = "FILE")]
        genesis: Option<PathBuf>,
    },
}
