//! Everything about a patient as one FHIR bundle.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use stela_consent::{Hex, Id, Organization, Purpose};
use stela_fhir::bundle::{self, Everything, File};
use stela_healthcare::State;
use stela_protocol::TransactionId;
use stela_records::care::answer::{AuditEntry, AuditKind, RecordVersion};
use stela_records::care::request::ListRecords;
use stela_records::care::{ReadError, Reviewed, Session};

use super::now_ms;
use crate::limits::EXPORT_CONTENT_BYTES_MAX;
use crate::output::{Output, Progress};
use crate::profile::Profile;
use crate::session;

/// How long to look for a transaction: those of an audit trail are committed.
const LOOK: Duration = Duration::from_secs(10);

/// What is to be exported.
pub(super) struct Wanted {
    pub(super) patient: Id,
    pub(super) out: PathBuf,
    pub(super) purpose: Purpose,
    pub(super) contents: bool,
    pub(super) receipts: bool,
}

#[derive(Serialize)]
struct Exported {
    out: String,
    consents: usize,
    versions: usize,
    contents: usize,
    audit_entries: usize,
    receipts: usize,
    /// What is not in the bundle, and why.
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Missing {
    what: String,
    why: String,
}

/// Bytes that go with the bundle: the content of a version, or a receipt.
struct Gotten {
    id: String,
    media_type: String,
    bytes: Vec<u8>,
}

/// What goes with what the ledger has, and what could not be had.
#[derive(Default)]
struct Gathered {
    files: Vec<Gotten>,
    missing: Vec<Missing>,
}

impl Gathered {
    fn lacks(&mut self, what: String, why: impl ToString) {
        let why = why.to_string();
        self.missing.push(Missing { what, why });
    }
}

pub(super) async fn run(
    profile: &Profile,
    session: &Session,
    wanted: &Wanted,
    output: &Output,
) -> anyhow::Result<()> {
    let out = &wanted.out;
    anyhow::ensure!(!out.exists(), "{} exists", out.display());
    let progress = output.progress("asking for consents, records and the audit trail");
    let consents = session.consents(wanted.patient, None).await?;
    let records = versions(session, wanted.patient).await?;
    let trail = session.audit_trail(wanted.patient).await?;
    let home = home(&trail)?;
    let mut gathered = Gathered::default();
    if wanted.contents {
        contents(session, wanted, &records, &progress, &mut gathered).await?;
    }
    let contents = gathered.files.len();
    if wanted.receipts {
        receipts(profile, &trail, &progress, &mut gathered).await?;
    }
    let files: Vec<File<'_>> = gathered
        .files
        .iter()
        .map(|file| File {
            id: &file.id,
            media_type: &file.media_type,
            bytes: &file.bytes,
        })
        .collect();
    let everything = Everything {
        channel: profile.channel.as_str(),
        patient: wanted.patient,
        registered_by: &home,
        consents: &consents,
        records: &records,
        trail: &trail,
        files: &files,
    };
    write(profile, &everything, out)?;
    let exported = Exported {
        out: out.display().to_string(),
        consents: consents.len(),
        versions: records.len(),
        contents,
        audit_entries: trail.len(),
        receipts: files.len() - contents,
        missing: gathered.missing,
    };
    drop(progress);
    output.answer(&exported, text)
}

/// Every version of every record about the patient.
async fn versions(session: &Session, patient: Id) -> anyhow::Result<Vec<RecordVersion>> {
    let mut versions = Vec::new();
    for record in session.records(ListRecords::of(patient)).await? {
        for version in 1..=record.version {
            versions.push(session.record(record.record, Some(version)).await?);
        }
    }
    Ok(versions)
}

/// The organization that registered the patient: the first entry of her trail says it.
fn home(trail: &[AuditEntry]) -> anyhow::Result<Organization> {
    let registered = trail
        .iter()
        .find(|entry| entry.event == AuditKind::Registered);
    registered
        .and_then(|entry| entry.organization.clone())
        .context("the audit trail does not say which organization registered the patient")
}

/// Opens what can be opened. What cannot is named, and keeps nothing else from being exported.
async fn contents(
    session: &Session,
    wanted: &Wanted,
    records: &[RecordVersion],
    progress: &Progress,
    gathered: &mut Gathered,
) -> anyhow::Result<()> {
    let mut room = EXPORT_CONTENT_BYTES_MAX;
    for (number, version) in (1..).zip(records) {
        let name = format!("record {} version {}", version.record, version.version);
        if version.state == State::Erased {
            gathered.lacks(name, "the record was erased");
            continue;
        }
        progress.say(&format!("opening {number} of {} versions", records.len()));
        let opened = session.look_at(
            wanted.patient,
            version.record,
            version.version,
            wanted.purpose,
            None,
        );
        match opened.await {
            Ok((_, Reviewed::Document(document))) if document.content().len() <= room => {
                room -= document.content().len();
                gathered.files.push(Gotten {
                    id: format!("{}-{}", version.record, version.version),
                    media_type: document.metadata().media_type().to_owned(),
                    bytes: document.content().to_vec(),
                });
            }
            Ok(_) => gathered.lacks(
                name,
                "it is too large for one file; `stela record read` gets it",
            ),
            Err(ReadError::Denied(decision)) => {
                gathered.lacks(name, format!("denied: {}", decision.reason));
            }
            // Another try may help, and then the export is whole.
            Err(error) if error.is_retryable() => return Err(error.into()),
            Err(error) => gathered.lacks(name, error),
        }
    }
    Ok(())
}

/// The receipts of everything in the audit trail.
async fn receipts(
    profile: &Profile,
    trail: &[AuditEntry],
    progress: &Progress,
    gathered: &mut Gathered,
) -> anyhow::Result<()> {
    let network = session::network(profile)?;
    let genesis = session::first_configuration(profile, &network).await?;
    let transactions: BTreeSet<Hex<32>> = trail.iter().map(|entry| entry.transaction).collect();
    for (number, transaction) in (1..).zip(&transactions) {
        progress.say(&format!(
            "proving {number} of {} entries",
            transactions.len()
        ));
        let id = TransactionId(transaction.0);
        match network.receipt(Arc::clone(&genesis), id, LOOK).await {
            Ok(receipt) => gathered.files.push(Gotten {
                // An id has 64 characters at most.
                id: format!("receipt-{}", &transaction.to_string()[..48]),
                media_type: "application/json".to_owned(),
                bytes: receipt.to_json().into_bytes(),
            }),
            Err(error) if error.is_retryable() => return Err(error.into()),
            // A denied access that its requester kept back never was a transaction.
            Err(error) => gathered.lacks(format!("receipt of {transaction}"), error),
        }
    }
    Ok(())
}

fn write(profile: &Profile, everything: &Everything<'_>, out: &Path) -> anyhow::Result<()> {
    // No server stands behind these addresses: they only tie the entries of the bundle together.
    let base = format!("https://{}.stela.invalid/fhir", profile.channel);
    let bundle = bundle::collection(everything, &base, now_ms())?;
    std::fs::write(out, stela_fhir::write(&bundle))
        .with_context(|| format!("cannot write {}", out.display()))
}

fn text(exported: &Exported) -> String {
    let mut text = format!(
        "{}: {} consents, {} versions of records, {} of them with content, {} audit entries, {} \
         receipts",
        exported.out,
        exported.consents,
        exported.versions,
        exported.contents,
        exported.audit_entries,
        exported.receipts
    );
    for missing in &exported.missing {
        text.push_str(&format!("\nwithout {}: {}", missing.what, missing.why));
    }
    text
}
