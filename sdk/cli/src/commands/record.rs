//! Records: submitting, amending, listing, reviewing, reading.

mod read;
mod review;
mod submission;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use stela_consent::{Id, Purpose};
use stela_records::care::request::ListRecords;
use stela_records::care::{Session, answer};

use self::read::Wanted;
use self::review::Review;
use self::submission::{Dropped, open, uploads};
use crate::arguments::Record;
use crate::failure::Unfinished;
use crate::interrupt;
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;
use crate::transfer::Transfer;

pub(crate) async fn run(profile: &Profile, command: Record, output: &Output) -> anyhow::Result<()> {
    let transfer = Arc::new(output.transfer());
    let session = interrupt::or(session::open(profile, transfer.clone())).await?;
    // Of a part nothing is kept; the whole goes on where it was.
    let is_repeatable = matches!(
        command,
        Record::Read { range: None, .. } | Record::Confirm { .. }
    );
    let work = Work {
        profile,
        session: &session,
        transfer: &transfer,
        output,
    };
    let outcome = interrupt::or(work.dispatch(command)).await;
    transfer.clear();
    let outcome = outcome.map_err(|error| match way_on(&session, &transfer, is_repeatable) {
        Some(way_on) => error.context(Unfinished { way_on }),
        None => error,
    });
    // A second signal leaves the tidying to the next command.
    let closed = interrupt::or(async {
        session.close().await;
        Ok(())
    });
    outcome.and(closed.await)
}

/// How to go on with what a command did not finish.
fn way_on(session: &Session, transfer: &Transfer, is_repeatable: bool) -> Option<String> {
    if let Some(record) = transfer.upload() {
        let uploads = session.uploads().unwrap_or_default();
        let is_kept = uploads.iter().any(|upload| upload.record == record);
        return is_kept.then(|| format!("`stela record resume {record}` goes on where it was"));
    }
    let is_begun = is_repeatable && transfer.fetched();
    is_begun.then(|| "the same command goes on where it was".to_owned())
}

/// What a command works with.
struct Work<'a> {
    profile: &'a Profile,
    session: &'a Session,
    transfer: &'a Transfer,
    output: &'a Output,
}

impl Work<'_> {
    async fn dispatch(&self, command: Record) -> anyhow::Result<()> {
        let (session, output) = (self.session, self.output);
        match command {
            Record::Submit {
                patient,
                description,
                file,
            } => {
                let (record, document) = open(patient, description, &file).await?;
                self.transfer.say("submitting");
                let submission = session.submit(&record, document).await?;
                self.show_submission(&submission)
            }
            Record::Amend {
                record,
                description,
                file,
            } => {
                let patient = session.record(record, None).await?.patient;
                let (new, document) = open(patient, description, &file).await?;
                self.transfer.say("submitting");
                let submission = session.amend(record, &new, document).await?;
                self.show_submission(&submission)
            }
            Record::List {
                patient,
                purpose,
                filter,
            } => {
                let patient = patient.map_or_else(|| self.profile.patient(), Ok)?;
                let request = ListRecords {
                    purpose,
                    category: filter.category,
                    label: filter.label,
                    from: filter.from,
                    to: filter.to,
                    author: filter.author,
                    organization: filter.organization,
                    state: filter.state,
                    ..ListRecords::of(patient)
                };
                let records = session.records(request).await?;
                output.answer(&records, |records| list(records))
            }
            Record::RequestErasure {
                record,
                patient,
                reason,
            } => {
                let patient = patient.map_or_else(|| self.profile.patient(), Ok)?;
                let submitted = session.request_erasure(patient, record, reason).await?;
                done("asked for", submitted.status.transaction, output)
            }
            Record::Erasures => {
                let waiting = session.erasures(None).await?;
                output.answer(&waiting, |waiting| erasures(waiting))
            }
            Record::DeclineErasure {
                record,
                patient,
                reason,
            } => {
                let patient = match patient {
                    Some(patient) => patient,
                    None => session.record(record, None).await?.patient,
                };
                let submitted = session.decline_erasure(patient, record, reason).await?;
                done("declined", submitted.status.transaction, output)
            }
            Record::Erase {
                record,
                reason,
                yes,
            } => {
                if !yes {
                    self.agree_to_erase(record).await?;
                }
                let (erasing, submitted) = session.erase(record, reason).await?;
                let what = match erasing.erased {
                    true => "erased",
                    false => "proposed; a privacy officer of another organization erases it",
                };
                done(what, submitted.status.transaction, output)
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
                accept_labels,
                dry_run,
            } => {
                let version = newest(session, record, version).await?;
                let wanted = Review {
                    record,
                    version,
                    out: out.as_deref(),
                    force,
                    accept_labels,
                    dry_run,
                };
                self.confirm(&wanted).await
            }
            Record::Reject {
                record,
                version,
                reason,
            } => {
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
                range,
            } => {
                refuse_to_replace(&out, force)?;
                let patient = patient.map_or_else(|| self.profile.patient(), Ok)?;
                let version = match version {
                    Some(version) => version,
                    None => listed(session, patient, record, purpose).await?,
                };
                let wanted = Wanted {
                    patient,
                    record,
                    version,
                    purpose,
                    out: &out,
                };
                match range {
                    None => self.read(&wanted).await,
                    Some(range) => self.read_part(&wanted, range).await,
                }
            }
            Record::Uploads { drop: None } => uploads(&session.uploads()?, output),
            Record::Uploads { drop: Some(record) } => {
                let dropped = session.abandon(record).await?;
                anyhow::ensure!(dropped, "no upload of record {record} is unfinished here");
                output.answer(&Dropped { dropped: record }, |d| {
                    format!("dropped the upload of record {}", d.dropped)
                })
            }
            Record::Resume { record } => {
                self.transfer.say("submitting");
                let submission = session.resume(record).await?;
                self.show_submission(&submission)
            }
        }
    }
}

impl Work<'_> {
    /// Asks at the terminal before something is done that cannot be undone.
    async fn agree_to_erase(&self, record: Id) -> anyhow::Result<()> {
        let version = self.session.record(record, None).await?;
        anyhow::ensure!(
            std::io::stdin().is_terminal(),
            "nobody is here to be asked; --yes erases without asking"
        );
        eprint!(
            "Erase record {record} of patient {} with its {} version(s) for good? [y/N] ",
            version.patient, version.latest
        );
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        anyhow::ensure!(line.trim() == "y", "nothing was erased");
        Ok(())
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
    let request = ListRecords {
        purpose: Some(purpose),
        ..ListRecords::of(patient)
    };
    let records = session.records(request).await?;
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

#[derive(Serialize)]
struct Done {
    done: &'static str,
    transaction: String,
}

/// What a command did in one transaction.
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

fn erasures(waiting: &[answer::ErasureRequest]) -> String {
    let rows: Vec<Vec<String>> = waiting
        .iter()
        .map(|request| {
            vec![
                request.record.to_string(),
                request.patient.to_string(),
                time(request.time),
                request.reason.as_ref().map_or("-".to_owned(), code),
            ]
        })
        .collect();
    table(&["RECORD", "PATIENT", "ASKED", "REASON"], &rows)
}

fn history(changes: &[answer::RecordChange]) -> String {
    let version = |version: Option<u32>| version.map_or("-".to_owned(), |v| v.to_string());
    let rows: Vec<Vec<String>> = changes
        .iter()
        .map(|change| {
            vec![
                change.block.to_string(),
                time(change.time),
                code(&change.event),
                change.latest.to_string(),
                version(change.active),
                version(change.replaces),
                format!("{} {}", change.organization, short(change.by)),
                change.transaction.to_string(),
            ]
        })
        .collect();
    let mut text = table(
        &[
            "BLOCK",
            "TIME",
            "EVENT",
            "NEWEST",
            "ACTIVE",
            "REPLACES",
            "BY",
            "TRANSACTION",
        ],
        &rows,
    );
    for change in changes.iter().rev() {
        for step in &change.reviews {
            text.push_str(&format!(
                "version {}: {} by {} {} at {}{}\n",
                change.latest,
                code(&step.finding),
                step.organization,
                short(step.by),
                time(step.time),
                step.reason
                    .map_or(String::new(), |reason| format!(", {}", code(&reason))),
            ));
        }
    }
    text
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
    if let Some(replaces) = version.replaces {
        text.push_str(&format!("\nreplaces version {replaces}"));
    }
    if let Some(by) = version.replaced_by {
        text.push_str(&format!("\nreplaced by version {by}"));
    }
    if let Some(tombstone) = &version.erased {
        text.push_str(&format!(
            "\nerased by {} of {} at {}: {}",
            short(tombstone.by),
            tombstone.organization,
            time(tombstone.time),
            code(&tombstone.reason)
        ));
    }
    text
}
