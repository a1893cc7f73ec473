//! A study that a patient leaves again, and that ends before its time.

use serde_json::json;

use super::{RightsTrial, entry, expect, text};
use crate::users;

impl RightsTrial<'_> {
    /// The patient joins a study with a consent to all of it, and leaves it; then its sponsor ends it.
    pub(super) async fn study(&mut self, record: &str) -> anyhow::Result<()> {
        let (sponsor, investigator) = (users::sponsor(), users::investigator());
        self.write_file("approval.txt", "The ethics committee approves.")?;
        let terms = "--purpose DSRCH --category laboratory --end 2040-01-01T00:00:00Z";
        let register = format!("study register {terms} --approval approval.txt");
        let registered = self.commit(&sponsor, &register).await?;
        let study = text(&registered, "/study")?.to_owned();
        let who = self.fingerprint(&investigator).await?;
        let add = format!("study investigators {study} --add {who}");
        self.ask(&sponsor, &add).await?;
        let show = format!("study show {study}");
        let named = json!([{ "id": who }]);
        self.until(&self.herself, &show, |shown| {
            shown["investigators"] == named
        })
        .await?;

        let enrol = format!("study enrol {study} --research RSDID");
        let joined = self.write_herself("study-joined", &enrol).await?;
        let pseudonym = text(&joined, "/pseudonym")?.to_owned();
        let shown = self.ask_herself(&show).await?;
        expect(&shown, "/pseudonym", pseudonym.as_str())?;
        let list = format!("study records {study}");
        let listed = self.ask(&investigator, &list).await?;
        let filed = entry(&listed, "/record", record)?;
        expect(filed, "/pseudonym", pseudonym.as_str())?;

        let withdraw = format!("study withdraw {study}");
        self.write_herself("study-left", &withdraw).await?;
        let listed = self.ask(&investigator, &list).await?;
        anyhow::ensure!(listed == json!([]), "the study still sees {listed}");
        let read = format!(
            "study read {study} --pseudonym {pseudonym} {record} --purpose DSRCH --out none.json"
        );
        self.denied(&investigator, &read, record, "not-enrolled")
            .await?;
        self.done("a patient leaves a study, which sees and reads nothing of her any more");

        self.commit(&sponsor, &format!("study end {study}")).await?;
        let shown = self.ask(&sponsor, &show).await?;
        anyhow::ensure!(shown["ended"].is_u64(), "{shown}");
        self.denied(&investigator, &read, record, "study-ended")
            .await?;
        self.done("a study that ended before its time reads nothing");
        Ok(())
    }
}
