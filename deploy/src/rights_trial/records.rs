//! Records: their review by several officers, and their erasure.

use anyhow::Context;
use serde_json::{Value, json};

use super::{FAILED, RightsTrial, entry, expect, text};
use crate::materials::User;
use crate::users;

/// The records officer of another hospital than the one that submits.
fn officer_elsewhere() -> User {
    User {
        organization: "HospitalB",
        ..users::officer()
    }
}

impl RightsTrial<'_> {
    /// Submits a laboratory result, which is written into this file.
    async fn submit(&mut self, file: &str) -> anyhow::Result<String> {
        let result = json!({
            "resourceType": "Observation",
            "status": "final",
            "code": { "text": file },
        });
        self.write_file(file, result.to_string())?;
        let patient = self.patient;
        let words = format!("record submit --patient {patient} --category laboratory {file}");
        let submitted = self.write(&users::author(), "submitted", &words).await?;
        Ok(text(&submitted, "/record")?.to_owned())
    }

    /// Submits a result and has one officer confirm it.
    pub(super) async fn active_record(&mut self, file: &str) -> anyhow::Result<String> {
        let record = self.submit(file).await?;
        let confirm = format!("record confirm {record}");
        self.write(&users::officer(), "confirmed", &confirm).await?;
        let listed = self.ask_herself("record list").await?;
        expect(entry(&listed, "/record", &record)?, "/state", "active")?;
        Ok(record)
    }

    async fn shown(&self, record: &str) -> anyhow::Result<Value> {
        self.ask_herself(&format!("record show {record}")).await
    }

    /// Two officers are asked for, one of them of another hospital.
    pub(super) async fn review_of_two(&mut self) -> anyhow::Result<String> {
        let record = self.submit("second.json").await?;
        let confirm = format!("record confirm {record}");
        let reviewed = self.write(&users::officer(), "reviewed", &confirm).await?;
        expect(&reviewed, "/state", "pending")?;
        expect(&reviewed, "/missing", 1)?;
        expect(&self.shown(&record).await?, "/state", "pending")?;
        let elsewhere = officer_elsewhere();
        let confirmed = self.write(&elsewhere, "confirmed", &confirm).await?;
        expect(&confirmed, "/state", "active")?;
        expect(&confirmed, "/missing", 0)?;
        expect(&self.shown(&record).await?, "/state", "active")?;
        let history = self
            .ask_herself(&format!("record history {record}"))
            .await?;
        let submitted = entry(&history, "/event", "submitted")?;
        let found = submitted["reviews"].as_array().context("no reviews")?;
        let found: Vec<_> = found
            .iter()
            .map(|step| (step["organization"].as_str(), step["finding"].as_str()))
            .collect();
        let both = ["HospitalA", "HospitalB"].map(|name| (Some(name), Some("confirmed")));
        anyhow::ensure!(found == both, "reviewed by {found:?}");
        self.done("two officers confirm a record, one of them of another hospital");
        Ok(record)
    }

    /// The second officer rejects what the first confirmed.
    pub(super) async fn rejection(&mut self) -> anyhow::Result<()> {
        let record = self.submit("third.json").await?;
        let confirm = format!("record confirm {record}");
        self.write(&users::officer(), "reviewed", &confirm).await?;
        let reject = format!("record reject {record} --reason wrong-patient");
        self.write(&officer_elsewhere(), "rejected", &reject)
            .await?;
        let shown = self.shown(&record).await?;
        expect(&shown, "/state", "rejected")?;
        expect(&shown, "/reason", "wrong-patient")?;
        self.done("one rejection ends a review of two");
        Ok(())
    }

    /// The patient asks for an erasure and is told why not.
    pub(super) async fn declined_erasure(&mut self, record: &str) -> anyhow::Result<()> {
        let officer = users::privacy_officer();
        let ask = format!("record request-erasure {record} --reason objection");
        self.write_herself("erasure-requested", &ask).await?;
        let waiting = self.ask(&officer, "record erasures").await?;
        let request = entry(&waiting, "/record", record)?;
        expect(request, "/patient", self.patient.to_string())?;
        let decline = format!("record decline-erasure {record} --reason legal-hold");
        self.write(&officer, "erasure-declined", &decline).await?;
        let waiting = self.ask(&officer, "record erasures").await?;
        anyhow::ensure!(waiting == json!([]), "declined, and waits: {waiting}");
        let requests = self.ask_herself("patient erasures").await?;
        let request = entry(&requests, "/record", record)?;
        expect(request, "/declined/reason", "legal-hold")?;
        expect(request, "/declined/organization", "HospitalA")?;
        let erase = format!("record erase {record} --reason patient-request --yes");
        self.refused(&officer, FAILED, &erase).await?;
        expect(&self.shown(record).await?, "/state", "active")?;
        self.done("an erasure is declined, and the patient is told why");
        Ok(())
    }

    /// She asks for another one, which is carried out.
    pub(super) async fn erasure(&mut self, record: &str) -> anyhow::Result<()> {
        let ask = format!("record request-erasure {record} --reason no-longer-needed");
        self.write_herself("erasure-requested", &ask).await?;
        let erase = format!("record erase {record} --reason patient-request --yes");
        self.write(&users::privacy_officer(), "erased", &erase)
            .await?;
        let shown = self.shown(record).await?;
        expect(&shown, "/state", "erased")?;
        expect(&shown, "/erased/reason", "patient-request")?;
        expect(&shown, "/wraps", json!([]))?;
        let requests = self.ask_herself("patient erasures").await?;
        let request = entry(&requests, "/record", record)?;
        expect(request, "/erased/reason", "patient-request")?;
        let read = format!("record read {record} --version 1 --purpose PATRQT --out none.json");
        let herself = self.herself.clone();
        self.denied(&herself, &read, record, "erased").await?;
        self.done("an erasure is carried out: nobody reads the record, and the denial is recorded");
        Ok(())
    }

    /// What should never have been kept takes two hospitals, and nobody's request.
    pub(super) async fn erasure_as_unlawful(&mut self, record: &str) -> anyhow::Result<()> {
        let erase = format!("record erase {record} --reason unlawful --yes");
        self.write(&users::privacy_officer(), "erasure-proposed", &erase)
            .await?;
        expect(&self.shown(record).await?, "/state", "active")?;
        self.write(&users::sponsor(), "erased", &erase).await?;
        let shown = self.shown(record).await?;
        expect(&shown, "/state", "erased")?;
        expect(&shown, "/erased/organization", "HospitalB")?;
        let read = format!(
            "record read {record} --version 1 --patient {} --purpose TREAT --out none.json",
            self.patient
        );
        self.denied(&users::reader(), &read, record, "erased")
            .await?;
        self.done("an unlawful record is erased by two hospitals");
        Ok(())
    }
}
