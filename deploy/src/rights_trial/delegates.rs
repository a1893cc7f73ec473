//! Those who act for a patient.

use super::{FAILED, RightsTrial, entry, expect, text};
use crate::users;

/// An executor whom the second patient named.
pub(super) struct Executor {
    delegation: String,
}

impl RightsTrial<'_> {
    /// A delegate is named, reads, consents and looks into the trail for the patient, and is none any
    /// more when she ends it.
    pub(super) async fn delegate(&mut self, record: &str) -> anyhow::Result<()> {
        let delegate = users::second_patient(self.second);
        let patient = self.patient;
        let certificate = self.fingerprint(&delegate).await?;
        let scopes = "--scope consent --scope read --scope rights";
        let name = format!("delegate name {certificate} --kind HPOWATT {scopes} --days 30");
        let named = self.write_herself("delegate-named", &name).await?;
        let delegation = text(&named, "/delegation")?.to_owned();
        let listed = self.ask_herself("delegate list").await?;
        let filed = entry(&listed, "/delegation", &delegation)?;
        expect(filed, "/counts", true)?;
        expect(filed, "/delegate", certificate.as_str())?;
        let rewrapped = self.ask_herself("patient rewrap").await?;
        expect(&rewrapped, "/shared/0/record", record)?;

        let purpose = format!("--patient {patient} --purpose PWATRNY");
        let read = format!("record read {record} {purpose} --out by-delegate.json");
        let read = self.write(&delegate, "access-permitted", &read).await?;
        expect(&read, "/basis", "delegate")?;
        self.same("by-delegate.json", "first.json")?;

        let whom = "--organization HospitalC --role practitioner";
        let grant = format!(
            "consent grant --patient {patient} {whom} --purpose TREAT --category laboratory --days 30"
        );
        let granted = self.write(&delegate, "consent-granted", &grant).await?;
        expect(&granted, "/shared/0/record", record)?;
        let consent = text(&granted, "/consent")?.to_owned();
        let read = format!(
            "record read {record} --patient {patient} --purpose TREAT --out by-consent.json"
        );
        let reader = users::stranger();
        let read = self.write(&reader, "access-permitted", &read).await?;
        expect(&read, "/consent", consent.as_str())?;
        self.same("by-consent.json", "first.json")?;
        let trail = self
            .ask(&delegate, &format!("audit --patient {patient}"))
            .await?;
        let transaction = text(&granted, "/transaction")?;
        let filed = entry(&trail, "/transaction", transaction)?;
        expect(filed, "/delegation", delegation.as_str())?;
        let revoke = format!("consent revoke {consent} --patient {patient}");
        self.write(&delegate, "consent-revoked", &revoke).await?;
        self.done("a delegate reads, consents, revokes and sees the trail for the patient");

        let end = format!("delegate end {delegation}");
        self.write_herself("delegation-ended", &end).await?;
        let listed = self.ask_herself("delegate list").await?;
        anyhow::ensure!(listed == serde_json::json!([]), "{listed}");
        let refused = self.refused(&delegate, FAILED, &grant).await?;
        anyhow::ensure!(refused.said.contains("only the patient"), "{refused:?}");
        self.done("when she ends it, he is none any more");
        Ok(())
    }

    /// The second patient names an executor, in life.
    pub(super) async fn named_executor(&self) -> anyhow::Result<Executor> {
        let testator = users::second_patient(self.second);
        let certificate = self.fingerprint(&self.herself).await?;
        let name = format!("delegate name {certificate} --kind EXCEST --scope rights --days 3650");
        let named = self.commit(&testator, &name).await?;
        let delegation = text(&named, "/delegation")?.to_owned();
        let listed = self.ask(&testator, "delegate list").await?;
        expect(
            entry(&listed, "/delegation", &delegation)?,
            "/counts",
            false,
        )?;
        let audit = format!("audit --patient {}", self.second);
        let refused = self.refused(&self.herself, FAILED, &audit).await?;
        anyhow::ensure!(refused.said.contains("does not count yet"), "{refused:?}");
        Ok(Executor { delegation })
    }

    /// An officer attests her death, and after the wait the executor acts.
    pub(super) async fn activated_executor(&self, executor: &Executor) -> anyhow::Result<()> {
        let (officer, patient) = (users::privacy_officer(), self.second);
        let Executor { delegation } = executor;
        let activate = format!("delegate activate {delegation} --patient {patient}");
        let activated = self.commit(&officer, &activate).await?;
        let list = format!("delegate list --patient {patient}");
        self.until(&officer, &list, |listed| {
            let filed = entry(listed, "/delegation", delegation);
            filed.is_ok_and(|filed| filed["counts"] == true)
        })
        .await?;
        let trail = self
            .ask_herself(&format!("audit --patient {patient}"))
            .await?;
        let filed = entry(&trail, "/transaction", text(&activated, "/transaction")?)?;
        expect(filed, "/event", "delegation-activated")?;
        self.done("an executor acts once an officer has attested the death, after a wait");
        Ok(())
    }
}
