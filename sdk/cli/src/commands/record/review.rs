//! Review by a records officer.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use stela_consent::{Confidentiality, Id, SensitivityLabel};
use stela_fhir::labels;
use stela_healthcare::State;
use stela_records::care::Reviewed;
use stela_records::care::answer::RecordVersion;
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
    /// Labels that the content calls for, by its codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels_called_for: Vec<SensitivityLabel>,
    /// Those of them that the version does not carry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels_missing: Vec<SensitivityLabel>,
    /// The confidentiality that the content states, if it is higher than the version's.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidentiality_stated: Option<Confidentiality>,
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
    pub(super) accept_labels: bool,
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
        let (reading, reviewed) = self.session.review(record, version, wanted.out).await?;
        let checked = check(&reviewed, &reading.grant.record)?;
        if !checked.is_labelled() && !wanted.accept_labels && !wanted.dry_run {
            anyhow::bail!(
                "the content calls for {}; reject it with --reason wrong-labels, or confirm it with \
                 --accept-labels after looking at it with --out",
                checked.lacks().join(" and ")
            );
        }
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
            checks: checked.checks.clone(),
            labels_called_for: checked.called_for.clone(),
            labels_missing: checked.missing.clone(),
            confidentiality_stated: checked.higher,
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
            let lacks = match checked.lacks().as_slice() {
                [] => String::new(),
                lacks => format!("\nthe content calls for {}", lacks.join(" and ")),
            };
            format!(
                "record {} version {} {verdict}\nchecked: {}{lacks}",
                r.record,
                r.version,
                r.checks.join("; ")
            )
        })
    }
}

/// What was found without a person.
struct Checked {
    checks: Vec<&'static str>,
    called_for: Vec<SensitivityLabel>,
    missing: Vec<SensitivityLabel>,
    higher: Option<Confidentiality>,
}

impl Checked {
    fn is_labelled(&self) -> bool {
        self.missing.is_empty() && self.higher.is_none()
    }

    /// What the version should carry and does not.
    fn lacks(&self) -> Vec<String> {
        let labels = self.missing.iter().map(ToString::to_string);
        let higher = self.higher.iter();
        labels
            .chain(higher.map(|level| format!("confidentiality {level}")))
            .collect()
    }
}

/// What can be checked without a person: that the content is what its media type says, and carries
/// the labels that its codes call for. Of a FHIR resource this needs the whole document in memory.
fn check(reviewed: &Reviewed, version: &RecordVersion) -> anyhow::Result<Checked> {
    let mut checked = Checked {
        checks: vec!["decrypts to what CID, header and commitment say"],
        called_for: Vec::new(),
        missing: Vec::new(),
        higher: None,
    };
    if reviewed.metadata().media_type() != "application/fhir+json" {
        checked
            .checks
            .push("labels: only those of FHIR resources can be checked");
        return Ok(checked);
    }
    let Reviewed::Document(document) = reviewed else {
        anyhow::bail!(
            "a FHIR resource of more than {DOCUMENT_BYTES_MAX} bytes cannot be checked; reject it \
             with --reason invalid-format, it can be submitted in parts"
        );
    };
    stela_fhir::read_record(document.content()).map_err(|refusal| {
        anyhow::anyhow!(
            "{} at {}; reject it with --reason invalid-format",
            refusal.reason,
            refusal.element
        )
    })?;
    checked.checks.push("is valid FHIR R4");
    let resource = serde_json::from_slice(document.content())
        .context("the document is not JSON; reject it with --reason invalid-format")?;
    let found = labels::called_for(&resource);
    checked.missing = found.missing(&version.labels);
    checked.called_for = found.labels.into_iter().collect();
    checked.higher = found
        .confidentiality
        .filter(|stated| *stated > version.confidentiality);
    if checked.is_labelled() {
        checked
            .checks
            .push("carries the labels that its codes call for");
    }
    Ok(checked)
}
