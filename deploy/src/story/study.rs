//! The part of the story in which two patients take part in a study.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use stela_consent::{Actor, Consent, Hex, Id, Provision, Purpose, ResearchCategory};

use super::{Documents, Story, canary, field, id};
use crate::evidence::Study;
use crate::materials::User;
use crate::users;

/// When the study ends.
const END: &str = "2040-01-01T00:00:00Z";

impl Story<'_> {
    /// HospitalB registers a study of laboratory results; both patients consent and join, the
    /// investigator reads one result under a pseudonym and asks how many patients there are.
    pub(super) async fn study(
        &mut self,
        patients: [Id; 2],
        documents: &mut Documents,
    ) -> anyhow::Result<Study> {
        let written = ["laboratory-1.json", "laboratory-2.json"].map(|name| self.file(name));
        let mut records = Vec::new();
        for (patient, file) in patients.into_iter().zip(&written) {
            write_result(file, documents)?;
            records.push(self.laboratory(patient, file).await?);
        }
        let [record, _] = records[..] else {
            anyhow::bail!("two records were to be submitted");
        };
        let (study, investigator) = self.register_study().await?;
        let joining = [
            users::patient(patients[0]),
            users::second_patient(patients[1]),
        ];
        for (user, which) in joining.iter().zip(["the patient", "a second patient"]) {
            self.join(user, which, study).await?;
        }
        let read = self.file("read-for-study.json");
        self.read_for_study(study, record, &read).await?;
        let words = ["study", "cohort", &study.to_string()];
        let what = "and asks how many patients there are: too few to be told";
        let cohort = self.run(&investigator, what, &words).await?;
        anyhow::ensure!(cohort.get("count").is_none(), "a count was told: {cohort}");
        Ok(Study {
            study,
            sponsor: self.fingerprint(&users::sponsor())?,
            investigator: self.fingerprint(&investigator)?,
            investigator_profile: self.stela(&investigator).profile().to_owned(),
            record,
            written,
            read,
        })
    }

    /// Submits a laboratory result and has it confirmed.
    async fn laboratory(&mut self, patient: Id, file: &Path) -> anyhow::Result<Id> {
        let (patient, file) = (patient.to_string(), file.display().to_string());
        let words = [
            "record",
            "submit",
            "--patient",
            &patient,
            "--category",
            "laboratory",
            &file,
        ];
        let what = "HospitalA's practitioner submits a laboratory result";
        let answer = self.run(&users::author(), what, &words).await?;
        let record = id(&answer, "record")?;
        let words = ["record", "confirm", &record.to_string()];
        self.run(&users::officer(), "its records officer confirms it", &words)
            .await?;
        Ok(record)
    }

    async fn register_study(&mut self) -> anyhow::Result<(Id, User)> {
        let approval = self.file("approval.txt");
        std::fs::write(&approval, "The ethics committee of HospitalB approves.")?;
        let approval = approval.display().to_string();
        let words = [
            "study",
            "register",
            "--purpose",
            "DSRCH",
            "--category",
            "laboratory",
            "--end",
            END,
            "--approval",
            &approval,
        ];
        let sponsor = users::sponsor();
        let what = "HospitalB's privacy officer registers a study of laboratory results";
        let answer = self.run(&sponsor, what, &words).await?;
        let study = id(&answer, "study")?;
        let investigator = users::investigator();
        let fingerprint = self.fingerprint(&investigator)?.to_string();
        let words = [
            "study",
            "investigators",
            &study.to_string(),
            "--add",
            &fingerprint,
        ];
        let what = "and names a researcher who investigates";
        self.run(&sponsor, what, &words).await?;
        Ok((study, investigator))
    }

    /// A patient consents to a study and joins it.
    async fn join(&mut self, user: &User, which: &str, study: Id) -> anyhow::Result<()> {
        let provision = Provision {
            actor: Some(Actor::Study(study)),
            ..Provision::permit([Purpose::DiseaseResearch])
        };
        let category = ResearchCategory::DeIdentified;
        let consent = Consent::for_research(Hex(rand::random()), category, provision, Vec::new())?;
        let file = self.file(&format!("consent-of-{}.json", user.name));
        std::fs::write(&file, serde_json::to_vec(&consent)?)?;
        let file = file.display().to_string();
        let words = ["consent", "grant", "--file", &file];
        let what = format!("{which} consents to the study, without her name");
        self.run(user, &what, &words).await?;
        let words = ["study", "enrol", &study.to_string()];
        let what = "and joins it under a pseudonym that her client draws";
        self.run(user, what, &words).await?;
        Ok(())
    }

    async fn read_for_study(&mut self, study: Id, record: Id, out: &Path) -> anyhow::Result<()> {
        let investigator = users::investigator();
        let (study, record) = (study.to_string(), record.to_string());
        let words = ["study", "records", &study];
        let what = "the investigator lists what the study may read, under pseudonyms";
        let listed = self.run(&investigator, what, &words).await?;
        let pseudonym = pseudonym(&listed, &record)?;
        let out = out.display().to_string();
        let words = [
            "study",
            "read",
            &study,
            "--pseudonym",
            &pseudonym,
            &record,
            "--purpose",
            "DSRCH",
            "--out",
            &out,
        ];
        self.run(&investigator, "reads one of them", &words).await?;
        Ok(())
    }
}

fn pseudonym(listed: &Value, record: &str) -> anyhow::Result<String> {
    let all = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    let one = all
        .iter()
        .find(|one| field(one, "record").ok() == Some(record));
    let one = one.with_context(|| format!("the study does not see the record: {listed}"))?;
    Ok(field(one, "pseudonym")?.to_owned())
}

/// A FHIR observation with a canary in its note.
fn write_result(file: &PathBuf, documents: &mut Documents) -> anyhow::Result<()> {
    let word = canary();
    let result = json!({
        "resourceType": "Observation",
        "status": "final",
        "code": { "text": "a laboratory result" },
        "note": [{ "text": word }],
    });
    std::fs::write(file, serde_json::to_vec(&result)?)?;
    documents.canaries.push(word);
    Ok(())
}
