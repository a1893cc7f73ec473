//! Submitting, amending, and going on with what was interrupted.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use stela_consent::Id;
use stela_records::care::{NewRecord, Submission, Unfinished, Upload};
use stela_records::format::Metadata;
use tokio::fs::File;

use super::Work;
use crate::arguments::Description;
use crate::output::{Output, table, time};
use crate::transfer::Took;

pub(super) async fn open(
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
    /// None when an earlier attempt had been committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    recipients: usize,
    /// Why standing consents have no key yet; `stela share` does it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    unshared: Option<String>,
    stages: Vec<Took>,
}

impl Work<'_> {
    pub(super) fn show_submission(&self, submission: &Submission) -> anyhow::Result<()> {
        self.transfer.clear();
        show_submission(submission, self.transfer.took(), self.output)
    }
}

fn show_submission(
    submission: &Submission,
    stages: Vec<Took>,
    output: &Output,
) -> anyhow::Result<()> {
    let submitted = Submitted {
        record: submission.record.to_string(),
        version: submission.version,
        cid: submission.cid.to_string(),
        stored_bytes: submission.stored_bytes,
        holders: submission.holders.clone(),
        transaction: submission.transaction.map(|id| id.to_string()),
        recipients: submission.recipients,
        unshared: submission.unshared.as_ref().map(ToString::to_string),
        stages,
    };
    if let Some(why) = &submitted.unshared {
        let record = &submitted.record;
        output.warn(&format!(
            "standing consents have no key yet: {why}; run `stela share {record}`"
        ));
    }
    output.answer(&submitted, |s| {
        let how = match &s.transaction {
            Some(id) => format!(", held by {}", s.holders.join(" and ")) + &in_transaction(s, id),
            None => in_transaction(s, "of an earlier attempt"),
        };
        format!(
            "record {} version {}, pending review\n{} bytes at {}{how}",
            s.record, s.version, s.stored_bytes, s.cid
        )
    })
}

fn in_transaction(submitted: &Submitted, which: &str) -> String {
    let recipients = submitted.recipients;
    format!("\nkey wrapped for {recipients} recipients\ntransaction {which}")
}

#[derive(Serialize)]
pub(super) struct Dropped {
    pub(super) dropped: Id,
}

#[derive(Serialize)]
struct Listed {
    record: Id,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<String>,
    /// Why it cannot be resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// The interrupted uploads of this machine.
pub(super) fn uploads(unfinished: &[Unfinished], output: &Output) -> anyhow::Result<()> {
    let listed = unfinished.iter().map(|one| {
        let upload = one.upload.as_ref();
        Listed {
            record: one.record,
            version: one.version,
            since: upload.ok().map(|upload| time(upload.since_ms)),
            stored_bytes: upload.ok().and_then(Upload::stored_bytes),
            cid: upload.ok().and_then(Upload::cid).map(|cid| cid.to_string()),
            fault: upload.err().map(ToString::to_string),
        }
    });
    let listed: Vec<Listed> = listed.collect();
    output.answer(&listed, |listed| {
        if listed.is_empty() {
            return "no upload is unfinished".to_owned();
        }
        let or_none = |text: Option<String>| text.unwrap_or_default();
        let rows: Vec<Vec<String>> = listed
            .iter()
            .map(|one| {
                vec![
                    one.record.to_string(),
                    one.version.to_string(),
                    or_none(one.since.clone()),
                    or_none(one.stored_bytes.map(|bytes| bytes.to_string())),
                    one.fault.clone().unwrap_or_else(|| "resume".to_owned()),
                ]
            })
            .collect();
        table(&["RECORD", "VERSION", "SINCE", "BYTES", "STATE"], &rows)
    })
}
