//! Consents: asked for and not given, ready-made, and as FHIR resources.

use anyhow::Context;
use serde_json::{Value, json};

use super::{FAILED, RightsTrial, drawn, entry, expect, text};
use crate::users;

impl RightsTrial<'_> {
    /// A practitioner asks twice: the patient declines one request, and he takes the other back.
    pub(super) async fn declined_and_withdrawn_requests(
        &mut self,
        record: &str,
    ) -> anyhow::Result<()> {
        let (asks, patient) = (users::reader(), self.patient);
        let request = format!(
            "consent request --patient {patient} --purpose TREAT --reason follow-up --note Please."
        );
        let mut requests = Vec::new();
        for _ in 0..2 {
            let asked = self.write(&asks, "consent-requested", &request).await?;
            requests.push(text(&asked, "/request")?.to_owned());
        }
        let [first, second] = &requests[..] else {
            anyhow::bail!("there are to be two requests");
        };
        self.stands(first, "open").await?;
        let decline = format!("consent answer {first} --decline");
        self.write_herself("consent-declined", &decline).await?;
        self.stands(first, "declined").await?;
        let withdraw = format!("consent withdraw {second} --patient {patient}");
        self.write(&asks, "consent-request-withdrawn", &withdraw)
            .await?;
        self.stands(second, "withdrawn").await?;
        let read = format!(
            "record read {record} --version 1 --patient {patient} --purpose TREAT --out none.json"
        );
        self.denied(&asks, &read, record, "actor").await?;
        self.done(
            "a request for consent is declined, another one withdrawn; neither opens anything",
        );
        Ok(())
    }

    /// Where a request for consent stands.
    async fn stands(&self, request: &str, state: &str) -> anyhow::Result<()> {
        let requests = self.ask_herself("consent requests").await?;
        expect(entry(&requests, "/request", request)?, "/state", state)
    }

    /// What would be decided about a treatment by HospitalB's practitioners.
    async fn checked(&self, record: &str) -> anyhow::Result<Value> {
        let whom = "--organization HospitalB --role practitioner";
        self.ask_herself(&format!("access check {record} --purpose TREAT {whom}"))
            .await
    }

    /// The ready-made policy that denies everything closes what another consent opens.
    pub(super) async fn policies(&mut self, record: &str) -> anyhow::Result<()> {
        let offered = self.ask_herself("consent policy list").await?;
        entry(&offered, "/policy", "Policy-basic-normal")?;
        let grant = "consent policy grant Policy-basic-normal";
        let open = self.write_herself("consent-granted", grant).await?;
        let open = text(&open, "/consent")?.to_owned();
        let permit = self.checked(record).await?;
        expect(&permit, "/decision", "permit")?;
        expect(&permit, "/consent", open.as_str())?;
        let grant = "consent policy grant Policy-deny";
        let closed = self.write_herself("consent-granted", grant).await?;
        let closed = text(&closed, "/consent")?.to_owned();
        let revoke = format!("consent revoke {open}");
        self.write_herself("consent-revoked", &revoke).await?;
        let deny = self.checked(record).await?;
        expect(&deny, "/decision", "deny")?;
        expect(&deny, "/reason", "denied-by-provision")?;
        let revoke = format!("consent revoke {closed}");
        self.write_herself("consent-revoked", &revoke).await?;
        expect(&self.checked(record).await?, "/reason", "revoked")?;
        self.done("ready-made policies open and close what they say");
        Ok(())
    }

    /// A consent goes out as a FHIR resource and comes in again as another one that says the same; one
    /// that was revoked does not come in, nor does one about another patient.
    pub(super) async fn consents_as_fhir(&mut self, record: &str) -> anyhow::Result<()> {
        let whom = "--organization HospitalB --role practitioner";
        let grant = format!("consent grant {whom} --purpose TREAT --category laboratory --days 30");
        let granted = self.write_herself("consent-granted", &grant).await?;
        let first = text(&granted, "/consent")?.to_owned();
        let export = format!("consent export {first}");
        let resource = self.ask_herself(&export).await?;
        expect(&resource, "/resourceType", "Consent")?;
        expect(&resource, "/status", "active")?;
        let written = self
            .ask_herself(&format!("{export} --out consent.json"))
            .await?;
        expect(&written, "/file", "consent.json")?;

        let shown = self
            .ask_herself("consent import consent.json --dry-run")
            .await?;
        expect(&shown, "/patient", self.patient.to_string())?;
        let import = "consent import consent.json";
        let granted = self.write_herself("consent-granted", import).await?;
        let second = text(&granted, "/consent")?.to_owned();
        let terms = [self.terms(&first).await?, self.terms(&second).await?];
        anyhow::ensure!(first != second && terms[0] == terms[1], "{terms:?}");
        let mut previewed = shown["consent"].clone();
        drop_id(&mut previewed)?;
        anyhow::ensure!(previewed == terms[1], "it was shown as {previewed}");

        let revoke = format!("consent revoke {first}");
        self.write_herself("consent-revoked", &revoke).await?;
        let read = format!(
            "record read {record} --patient {} --purpose TREAT --out by-fhir.json",
            self.patient
        );
        let reader = users::reader();
        let read = self.write(&reader, "access-permitted", &read).await?;
        expect(&read, "/consent", second.as_str())?;
        self.same("by-fhir.json", "second.json")?;
        let list = format!("patient readers --record {record}");
        let readers = self.ask_herself(&list).await?;
        let filed = entry(&readers, "/reader", &self.fingerprint(&reader).await?)?;
        expect(filed, "/basis", "consent")?;
        self.done("a consent goes out as a FHIR resource, comes in again, and opens the record");

        self.ask_herself(&format!("{export} --out revoked.json"))
            .await?;
        self.not_imported(
            "consent import revoked.json",
            "Consent.status: only an active",
        )
        .await?;
        let other = resource
            .to_string()
            .replace(&self.patient.to_string(), &drawn().to_string());
        self.write_file("of-another.json", other)?;
        self.not_imported(
            "consent import of-another.json",
            "Consent.patient: it is not",
        )
        .await?;
        self.done("neither a revoked consent comes in, nor one of another patient");

        let shared = self.ask_herself(&format!("share {record}")).await?;
        let recipients = shared["recipients"].as_u64();
        anyhow::ensure!(recipients >= Some(1), "{shared}");
        Ok(())
    }

    async fn not_imported(&self, words: &str, said: &str) -> anyhow::Result<()> {
        let before = self.ask_herself("consent list").await?;
        let refused = self.refused(&self.herself, FAILED, words).await?;
        anyhow::ensure!(refused.said.contains(said), "{refused:?}");
        let after = self.ask_herself("consent list").await?;
        anyhow::ensure!(before == after, "something was granted: {after}");
        Ok(())
    }

    /// What a consent says, but for its id.
    async fn terms(&self, consent: &str) -> anyhow::Result<Value> {
        let all = self.ask_herself("consent list").await?;
        let filed = entry(&all, "/consent/id", consent)?;
        expect(filed, "/status", "active")?;
        let mut terms = filed["consent"].clone();
        drop_id(&mut terms)?;
        Ok(terms)
    }
}

fn drop_id(consent: &mut Value) -> anyhow::Result<()> {
    let fields = consent.as_object_mut().context("a consent is an object")?;
    fields.insert("id".to_owned(), json!(null));
    Ok(())
}
