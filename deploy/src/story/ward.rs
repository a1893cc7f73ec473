//! The part of the story in which a ward of devices watches a patient.

use anyhow::Context;
use serde_json::Value;
use stela_consent::Id;

use super::{Documents, Story, field};
use crate::evidence::Ward;
use crate::users;

/// Devices of the ward.
const DEVICES: &str = "100";
/// Readings of each of the five vital signs in a window.
const READINGS: usize = 2;
/// Where the value beyond the thresholds stands in the window that alerts: behind all others.
const ALERTING: usize = 5 * READINGS;

impl Story<'_> {
    /// Each device submits one window of vital signs, and one value lies beyond the thresholds; the
    /// patient proves that one without the others.
    pub(super) async fn ward(
        &mut self,
        patient: Id,
        documents: &mut Documents,
    ) -> anyhow::Result<Ward> {
        let folder = self.network.folder().join("ward");
        let authority = self.network.folder().join("HospitalA");
        let number = patient.to_string();
        let words = [
            "device",
            "simulate",
            "--patient",
            &number,
            "--ca",
            &authority.display().to_string(),
            "--ward",
            &folder.display().to_string(),
            "--devices",
            DEVICES,
            "--windows",
            "1",
            "--readings",
            &READINGS.to_string(),
            "--alert-one",
        ];
        let what = format!(
            "{DEVICES} devices of HospitalA are bound and submit a window of vital signs each; one alerts"
        );
        let ran = self.run(&users::author(), &what, &words).await?;
        let alerting = ran.get("alerting").and_then(Value::as_array);
        let [record] = alerting.map(Vec::as_slice).unwrap_or_default() else {
            anyhow::bail!("one window was to alert: {ran}");
        };
        let record = record.as_str().context("the window's id is no text")?;
        let proof = self.file("proof.json");
        let words = [
            "device",
            "prove",
            "make",
            record,
            "--index",
            &ALERTING.to_string(),
            "--out",
            &proof.display().to_string(),
        ];
        let what = "the second patient proves that one observation, without the others";
        let user = users::second_patient(patient);
        let proved = self.run_with_content(&user, what, &words).await?;
        let parts = proved.get("proof").zip(proved.pointer("/anchor/root"));
        let (parts, root) = parts.context("the proof is not as it should be")?;
        documents.canaries.push(field(parts, "salt")?.to_owned());
        let words = [
            "device",
            "prove",
            "check",
            &proof.display().to_string(),
            "--root",
            root.as_str().context("the root is no text")?,
        ];
        let what = "and anybody checks it offline";
        self.run_with_content(&user, what, &words).await?;
        Ok(Ward { folder, proof })
    }
}
