//! Review by a records officer.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stela_consent::Id;
use stela_healthcare::State;
use stela_records::care::Reviewed;
use stela_records::limits::DOCUMENT_BYTES_MAX;

use super::{Work, refuse_to_replace};
use crate::transfer::Took;

#[derive(Serialize)]
struct Confirmed {
    record: String,
    version: u32,
    media_type: String,
    content_bytes: u64,
    checks: Vec<&'static str>,
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// How many further officers are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    stages: Vec<Took>,
}

/// What is to be reviewed, and how.
pub(super) struct Review<'a> {
    pub(super) record: Id,
    pub(super) version: u32,
    pub(super) out: Option<&'a Path>,
    pub(super) force: bool,
    pub(super) dry_run: bool,
}

impl Work<'_> {
    pub(super) async fn confirm(&self, wanted: &Review<'_>) -> anyhow::Result<()> {
        let Review {
            record, version, ..
        } = *wanted;
        if let Some(out) = wanted.out {
            refuse_to_replace(out, wanted.force)?;
        }
        self.transfer.say("opening the record for review");
        let (_, reviewed) = self.session.review(record, version, wanted.out).await?;
        let checks = check(&reviewed)?;
        let confirmed = match wanted.dry_run {
            true => None,
            false => Some(self.session.confirm(record, version).await?),
        };
        self.transfer.clear();
        let metadata = reviewed.metadata();
        let confirmed = Confirmed {
            record: record.to_string(),
            version,
            media_type: metadata.media_type().to_owned(),
            content_bytes: metadata.content_bytes(),
            checks,
            confirmed: confirmed.is_some(),
            state: confirmed.as_ref().map(|(reviewed, _)| reviewed.state),
            missing: confirmed.as_ref().map(|(reviewed, _)| reviewed.missing),
            transaction: confirmed.map(|(_, submitted)| submitted.status.transaction.to_string()),
            stages: self.transfer.took(),
        };
        self.output.answer(&confirmed, |r| {
            let verdict = match r.missing {
                None => "passes; not confirmed".to_owned(),
                Some(0) => "confirmed; it is active".to_owned(),
                Some(1) => "confirmed; one further officer is asked for".to_owned(),
                Some(missing) => format!("confirmed; {missing} further officers are asked for"),
            };
            let checks = r.checks.join("; ");
            format!(
                "record {} version {} {verdict}\nchecked: {checks}",
                r.record, r.version
            )
        })
    }
}

/// What can be checked without a person: that the content is what its media type says. Of a FHIR
/// resource this needs the whole document in memory.
fn check(reviewed: &Reviewed) -> anyhow::Result<Vec<&'static str>> {
    let mut checks = vec!["decrypts to what CID, header and commitment say"];
    if reviewed.metadata().media_type() == "application/fhir+json" {
        let Reviewed::Document(document) = reviewed else {
            anyhow::bail!(
                "a FHIR resource of more than {DOCUMENT_BYTES_MAX} bytes cannot be checked; \
                 reject it with --reason invalid-format, it can be submitted in parts"
            );
        };
        let resource: Resource = serde_json::from_slice(document.content())
            .context("the document is not JSON; reject it with --reason invalid-format")?;
        anyhow::ensure!(
            resource.kind.is_some(),
            "the document is no FHIR resource; reject it with --reason invalid-format"
        );
        checks.push("is a FHIR resource in JSON");
    }
    Ok(checks)
}

/// What is looked at of a FHIR resource; the rest is only parsed.
#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "resourceType")]
    kind: Option<String>,
}
