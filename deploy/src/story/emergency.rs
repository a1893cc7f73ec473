//! The part of the story in which the glass is broken.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use stela_consent::Id;
use tokio::time::Instant;

use super::{Documents, Story, field, written_text};
use crate::cli::{Answer, Stela};
use crate::evidence::Glass;
use crate::limits::{COMMAND, POLL};
use crate::users;

impl Story<'_> {
    /// HospitalC's emergency physician breaks the glass on version 2 and waits for the key. The
    /// patient is notified, HospitalA's records officer answers, and its privacy officer reviews.
    pub(super) async fn break_the_glass(
        &mut self,
        (patient, record): (Id, Id),
        documents: &mut Documents,
    ) -> anyhow::Result<Glass> {
        let (physician, herself) = (users::physician(), users::patient(patient));
        let (read, notified) = (
            self.file("read-in-emergency.json"),
            self.file("notified.json"),
        );
        let file = self.file("justification.txt");
        let justification = written_text(&file, "Found unconscious, nobody to ask.", documents)?;
        let (number, record) = (patient.to_string(), record.to_string());
        let out = read.display().to_string();
        let words = [
            "emergency",
            "break",
            "--patient",
            &number,
            &record,
            "--record-version",
            "2",
            "--reason",
            "unresponsive",
            "--justification",
            &justification,
            "--out",
            &out,
        ];
        let reader = self.stela_with_content(&physician);
        let (patient_side, officer) = (self.stela(&herself), self.stela(&users::officer()));
        let (broken, seen) = tokio::join!(
            reader.run(&words),
            answered(&patient_side, &officer, &number, &notified)
        );
        let (broken, (notice, answer)) = (broken?, seen?);
        self.done(
            "HospitalC's emergency physician breaks the glass; the patient is notified",
            notice,
        );
        let all = answer.json.as_array().map(Vec::as_slice);
        let [given] = all.unwrap_or_default() else {
            anyhow::bail!("one emergency was to be answered: {}", answer.json);
        };
        self.took_one(
            given,
            "HospitalA's officer on call answers with the key",
            answer.seconds,
        )?;
        let request = field(&broken.json, "request")?.to_owned();
        let transaction = serde_json::json!({ "transaction": request });
        self.took_one(
            &transaction,
            "the physician has waited for it, and reads version 2",
            broken.seconds,
        )?;
        let words = [
            "emergency",
            "list",
            "--patient",
            &number,
            "--justifications",
        ];
        let officer = users::privacy_officer();
        let what = "HospitalA's privacy officer opens the justification";
        self.run_with_content(&officer, what, &words).await?;
        let words = [
            "emergency",
            "review",
            "--patient",
            &number,
            &request,
            "--finding",
            "justified",
        ];
        self.run(&officer, "and closes the review: justified", &words)
            .await?;
        Ok(Glass {
            by: self.fingerprint(&physician)?,
            answered_by: self.fingerprint(&users::officer())?,
            reviewed_by: self.fingerprint(&officer)?,
            read,
            notified,
            justification: file,
        })
    }

    fn took_one(&mut self, json: &Value, what: &str, seconds: f64) -> anyhow::Result<()> {
        self.acknowledged.extend(super::acknowledged(json)?);
        self.done(what, seconds);
        Ok(())
    }
}

/// What happens while the reader waits for the key. Answers how long the patient's look at her
/// notifications took, and what the officer's command printed.
async fn answered(
    patient: &Stela,
    officer: &Stela,
    number: &str,
    notified: &Path,
) -> anyhow::Result<(f64, Answer)> {
    until_broken(patient, number).await?;
    let notice = patient.run(&["notifications"]).await?;
    std::fs::write(notified, serde_json::to_vec(&notice.json)?)?;
    let words = ["emergency", "answer", "--patient", number];
    Ok((notice.seconds, officer.run(&words).await?))
}

/// Waits until the access is on the ledger.
async fn until_broken(patient: &Stela, number: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + COMMAND;
    let words = ["emergency", "list", "--patient", number];
    loop {
        let found = patient.run(&words).await?.json;
        if found.as_array().is_some_and(|all| !all.is_empty()) {
            return Ok(());
        }
        (Instant::now() < deadline)
            .then_some(())
            .context("no emergency access came")?;
        tokio::time::sleep(POLL).await;
    }
}
