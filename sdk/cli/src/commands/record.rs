//! Records: submitting, amending, listing, reviewing, reading.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use stela_consent::{Id, Purpose};
use stela_healthcare::RejectReason;
use stela_records::care::{NewRecord, Session, Submission, answer};
use stela_records::format::Metadata;
use tokio::fs::File;

use crate::arguments::{Description, Record};
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(profile: &Profile, command: Record, output: &Output) -> anyhow::Result<()> {
    let session = session::open(profile).await?;
    let outcome = dispatch(profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn dispatch(
    profile: &Profile,
    session: &Session,
    command: Record,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        Record::Submit {
            patient,
            description,
            file,
        } => {
            let (record, document) = open(patient, description, &file).await?;
            let progress = output.progress("encrypting, storing and submitting");
            let submission = session.submit(&record, document).await?;
            drop(progress);
            show_submission(&submission, output)
        }
        Record::Amend {
            record,
            description,
            file,
        } => {
            let patient = session.record(record, None).await?.patient;
            let (new, document) = open(patient, description, &file).await?;
            let progress = output.progress("encrypting, storing and submitting");
            let submission = session.amend(record, &new, document).await?;
            drop(progress);
            show_submission(&submission, output)
        }
        Record::List { patient, purpose } => {
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            let records = session.records(patient, purpose).await?;
            output.answer(&records, |records| list(records))
        }
        Record::Show { record, version } => {
            let version = session.record(record, version).await?;
            output.answer(&version, show)
        }
        Record::History { record } => {
            let changes = session.record_history(record).await?;
            output.answer(&changes, |changes| history(changes))
        }
        Record::Confirm {
            record,
            version,
            out,
            force,
            dry_run,
        } => {
            let version = newest(session, record, version).await?;
            let wanted = Review {
                record,
                version,
                out: out.as_deref(),
                force,
                dry_run,
            };
            confirm(session, &wanted, output).await
        }
        Record::Reject {
            record,
            version,
            reason,
        } => {
            let reason: RejectReason = serde_json::from_value(reason.into())
                .context("--reason takes one of the codes that `--help` lists")?;
            let version = newest(session, record, version).await?;
            let submitted = session.reject(record, version, reason).await?;
            done("rejected", submitted.status.transaction, output)
        }
        Record::Read {
            record,
            version,
            patient,
            purpose,
            out,
            force,
        } => {
            refuse_to_replace(&out, force)?;
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            let version = match version {
                Some(version) => version,
                None => listed(session, patient, record, purpose).await?,
            };
            read(session, (patient, record, version), purpose, &out, output).await
        }
    }
}

async fn newest(session: &Session, record: Id, version: Option<u32>) -> anyhow::Result<u32> {
    match version {
        Some(version) => Ok(version),
        None => Ok(session.record(record, None).await?.version),
    }
}

/// The version that the list shows: the newest for those who see all, else the active one.
async fn listed(
    session: &Session,
    patient: Id,
    record: Id,
    purpose: Purpose,
) -> anyhow::Result<u32> {
    let records = session.records(patient, Some(purpose)).await?;
    let found = records.iter().find(|summary| summary.record == record);
    found.map(|summary| summary.version).context(
        "the list shows this user no such record; name a --version to ask for access all the same",
    )
}

fn refuse_to_replace(file: &Path, force: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        force || !file.exists(),
        "{} exists; --force replaces it",
        file.display()
    );
    Ok(())
}

async fn open(
    patient: Id,
    description: Description,
    file: &Path,
) -> anyhow::Result<(NewRecord, File)> {
    let document = File::open(file)
        .await
        .with_context(|| format!("cannot read {}", file.display()))?;
    let bytes = document.metadata().await?.len();
    let record = NewRecord {
        patient,
        category: description.category,
        confidentiality: description.confidentiality,
        labels: description.labels,
        date_ms: None,
        metadata: Metadata::new(bytes, description.media_type, description.format)?,
    };
    Ok((record, document))
}

#[derive(Serialize)]
struct Submitted {
    record: String,
    version: u32,
    cid: String,
    stored_bytes: u64,
    holders: Vec<String>,
    transaction: String,
    recipients: usize,
    /// Why standing consents have no key yet; `stela share` does it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    unshared: Option<String>,
}

fn show_submission(submission: &Submission, output: &Output) -> anyhow::Result<()> {
    let submitted = Submitted {
        record: submission.record.to_string(),
        version: submission.version,
        cid: submission.cid.to_string(),
        stored_bytes: submission.stored_bytes,
        holders: submission.holders.clone(),
        transaction: submission.transaction.to_string(),
        recipients: submission.recipients,
        unshared: submission.unshared.as_ref().map(ToString::to_string),
    };
    if let Some(why) = &submitted.unshared {
        let record = &submitted.record;
        output.warn(&format!(
            "standing consents have no key yet: {why}; run `stela share {record}`"
        ));
    }
    output.answer(&submitted, |s| {
        format!(
            "record {} version {}, pending review\n{} bytes at {}, held by {}\n\
             key wrapped for {} recipients\ntransaction {}",
            s.record,
            s.version,
            s.stored_bytes,
            s.cid,
            s.holders.join(" and "),
            s.recipients,
            s.transaction
        )
    })
}

#[derive(Serialize)]
struct Done {
    done: &'static str,
    transaction: String,
}

pub(super) fn done(
    done: &'static str,
    transaction: stela_protocol::TransactionId,
    output: &Output,
) -> anyhow::Result<()> {
    let done = Done {
        done,
        transaction: transaction.to_string(),
    };
    output.answer(&done, |done| {
        format!("{}\ntransaction {}", done.done, done.transaction)
    })
}

fn list(records: &[answer::RecordSummary]) -> String {
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            vec![
                record.record.to_string(),
                record.version.to_string(),
                code(&record.state),
                code(&record.category),
                code(&record.confidentiality),
                record.organization.to_string(),
                time(record.submitted),
            ]
        })
        .collect();
    table(
        &[
            "RECORD",
            "VERSION",
            "STATE",
            "CATEGORY",
            "CONF",
            "ORGANIZATION",
            "SUBMITTED",
        ],
        &rows,
    )
}

fn history(changes: &[answer::RecordChange]) -> String {
    let rows: Vec<Vec<String>> = changes
        .iter()
        .map(|change| {
            vec![
                change.block.to_string(),
                change.index.to_string(),
                time(change.time),
                change.latest.to_string(),
                change
                    .active
                    .map_or("-".to_owned(), |active| active.to_string()),
                change.transaction.to_string(),
            ]
        })
        .collect();
    table(
        &["BLOCK", "INDEX", "TIME", "NEWEST", "ACTIVE", "TRANSACTION"],
        &rows,
    )
}

/// A code as it is written in JSON.
pub(super) fn code<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

fn show(version: &answer::RecordVersion) -> String {
    let mut text = format!(
        "record {} version {} of {}: {}\npatient {}\nby {} at {} on {}\n\
         category {}, confidentiality {}\nciphertext {}\n{} lists of wrapped keys",
        version.record,
        version.version,
        version.latest,
        code(&version.state),
        version.patient,
        short(version.author),
        version.organization,
        time(version.submitted),
        code(&version.category),
        code(&version.confidentiality),
        version.cid.as_str(),
        version.wraps.len()
    );
    if let Some(by) = version.replaced_by {
        text.push_str(&format!("\nreplaced by version {by}"));
    }
    text
}

#[derive(Serialize)]
struct Reviewed {
    record: String,
    version: u32,
    media_type: String,
    content_bytes: usize,
    checks: Vec<&'static str>,
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
}

struct Review<'a> {
    record: Id,
    version: u32,
    out: Option<&'a Path>,
    force: bool,
    dry_run: bool,
}

async fn confirm(session: &Session, wanted: &Review<'_>, output: &Output) -> anyhow::Result<()> {
    let Review {
        record, version, ..
    } = *wanted;
    if let Some(out) = wanted.out {
        refuse_to_replace(out, wanted.force)?;
    }
    let progress = output.progress("opening the record for review");
    let (_, document) = session.review(record, version).await?;
    let checks = check(document.metadata(), document.content())?;
    if let Some(out) = wanted.out {
        write_private(out, document.content())
            .with_context(|| format!("cannot write {}", out.display()))?;
    }
    let confirmed = match wanted.dry_run {
        true => None,
        false => Some(session.confirm(record, version).await?),
    };
    drop(progress);
    let reviewed = Reviewed {
        record: record.to_string(),
        version,
        media_type: document.metadata().media_type().to_owned(),
        content_bytes: document.content().len(),
        checks,
        confirmed: confirmed.is_some(),
        transaction: confirmed.map(|submitted| submitted.status.transaction.to_string()),
    };
    output.answer(&reviewed, |r| {
        let verdict = if r.confirmed {
            "confirmed"
        } else {
            "passes; not confirmed"
        };
        let checks = r.checks.join("; ");
        format!(
            "record {} version {} {verdict}\nchecked: {checks}",
            r.record, r.version
        )
    })
}

/// Writes plaintext so that only its owner can read it.
fn write_private(file: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if file.exists() {
        std::fs::remove_file(file)?;
    }
    let mut options = std::fs::File::options();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?
        .write_all(content)
}

/// What can be checked without a person: that the content is what its media type says.
fn check(metadata: &Metadata, content: &[u8]) -> anyhow::Result<Vec<&'static str>> {
    let mut checks = vec!["decrypts to what CID, header and commitment say"];
    if metadata.media_type() == "application/fhir+json" {
        let resource: serde_json::Value = serde_json::from_slice(content)
            .context("the document is not JSON; reject it with --reason invalid-format")?;
        let kind = resource
            .get("resourceType")
            .and_then(serde_json::Value::as_str);
        anyhow::ensure!(
            kind.is_some(),
            "the document is no FHIR resource; reject it with --reason invalid-format"
        );
        checks.push("is a FHIR resource in JSON");
    }
    Ok(checks)
}

#[derive(Serialize)]
struct Read {
    record: String,
    version: u32,
    file: String,
    content_bytes: u64,
    media_type: String,
    purpose: String,
    basis: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<String>,
    permit_expires: String,
    transaction: String,
}

async fn read(
    session: &Session,
    (patient, record, version): (Id, Id, u32),
    purpose: Purpose,
    out: &Path,
    output: &Output,
) -> anyhow::Result<()> {
    let progress = output.progress("requesting access and reading");
    let opened = session.read(patient, record, version, purpose, out).await?;
    drop(progress);
    let read = Read {
        record: record.to_string(),
        version,
        file: out.display().to_string(),
        content_bytes: opened.metadata.content_bytes(),
        media_type: opened.metadata.media_type().to_owned(),
        purpose: code(&purpose),
        basis: code(&opened.reading.decision.basis),
        consent: opened.reading.decision.consent.map(|id| id.to_string()),
        permit_expires: time(opened.reading.grant.expires),
        transaction: opened.reading.submitted.status.transaction.to_string(),
    };
    output.answer(&read, |r| {
        let by = r
            .consent
            .as_ref()
            .map(|id| format!(" by consent {id}"))
            .unwrap_or_default();
        format!(
            "permitted{by} until {}\n{} bytes of {} in {}\ntransaction {}",
            r.permit_expires, r.content_bytes, r.media_type, r.file, r.transaction
        )
    })
}
