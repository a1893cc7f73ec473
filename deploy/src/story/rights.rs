//! The part of the story in which the patient uses her rights.

use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Story;
use crate::evidence::Rights;
use crate::materials::User;

impl Story<'_> {
    /// The patient exports everything, one of its receipts is verified offline, and she looks at
    /// the accounting of disclosures.
    pub(super) async fn rights(&mut self, patient: &User) -> anyhow::Result<Rights> {
        let (export, accounting) = (self.file("export.json"), self.file("accounting.json"));
        let words = ["patient", "export", "--out", &export.display().to_string()];
        let what = "the patient exports everything about her: a FHIR bundle with receipts";
        let exported = self.run(patient, what, &words).await?;
        let missing = exported.get("missing").and_then(Value::as_array);
        anyhow::ensure!(
            missing.is_some_and(Vec::is_empty),
            "the export lacks something: {exported}"
        );
        let receipt = self.file("receipt.json");
        std::fs::write(&receipt, a_receipt(&export)?)?;
        let genesis = self.network.folder().join("public/genesis.block");
        let words = [
            "receipt",
            "verify",
            &receipt.display().to_string(),
            "--genesis",
            &genesis.display().to_string(),
        ];
        let what = "one of the receipts is verified, offline and from the genesis block alone";
        // What it prints names a transaction that was counted when it was made.
        let answer = self.stela(patient).run(&words).await?;
        self.done(what, answer.seconds);
        let words = ["patient", "accounting", "--all"];
        let what = "the patient looks at the accounting of disclosures";
        let told = self.run(patient, what, &words).await?;
        std::fs::write(&accounting, serde_json::to_vec_pretty(&told)?)?;
        Ok(Rights { accounting, export })
    }
}

/// The first receipt in a bundle.
fn a_receipt(bundle: &Path) -> anyhow::Result<Vec<u8>> {
    let bundle: Value = serde_json::from_slice(&std::fs::read(bundle)?)?;
    let entries = bundle.get("entry").and_then(Value::as_array);
    let mut resources = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("resource"));
    let is_receipt = |resource: &&Value| {
        let id = resource.get("id").and_then(Value::as_str);
        id.is_some_and(|id| id.starts_with("receipt-"))
    };
    let receipt = resources
        .find(is_receipt)
        .context("the export has no receipt")?;
    let data = receipt.get("data").and_then(Value::as_str);
    Ok(STANDARD.decode(data.context("the receipt has no data")?)?)
}
