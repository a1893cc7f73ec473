//! A device, and a proof that nobody has to be asked about.

use anyhow::Context;
use serde_json::Value;

use super::{FAILED, RightsTrial, expect, text};
use crate::users;

impl RightsTrial<'_> {
    /// A device submits a window, of which the patient proves one observation by its receipt alone;
    /// then she releases the device and binds it again.
    pub(super) async fn devices(&mut self, record: &str) -> anyhow::Result<()> {
        let patient = self.patient;
        let ward = "--ca ../network/HospitalA --ward ward --devices 1 --windows 1 --readings 2";
        let simulate = format!("device simulate --patient {patient} {ward}");
        let ran = self.ask(&users::author(), &simulate).await?;
        let window = text(&ran, "/last/0")?.to_owned();
        self.proof(&window, record).await?;

        let status = self.ask_herself("device status").await?;
        let device = text(&status, "/0/device")?;
        self.bound(device, true).await?;
        let release = format!("device release {device}");
        self.write_herself("device-released", &release).await?;
        self.bound(device, false).await?;
        let bind = format!("device bind {device}");
        self.write_herself("device-bound", &bind).await?;
        self.bound(device, true).await?;
        self.done("the patient releases a device and binds it again");
        Ok(())
    }

    /// Whether a device is bound to the patient.
    async fn bound(&self, device: &str, bound: bool) -> anyhow::Result<()> {
        let status = format!("device status {device}");
        let status = self.ask_herself(&status).await?;
        expect(&status, "/0/patient", self.patient.to_string())?;
        expect(&status, "/0/bound", bound)
    }

    /// The root is taken from the receipt of the window's transaction; that of another one is refused.
    async fn proof(&self, window: &str, record: &str) -> anyhow::Result<()> {
        let trail = self.ask_herself("audit").await?;
        let submitted = submission(&trail, window)?;
        for (transaction, file) in [
            (submitted, "window.json"),
            (submission(&trail, record)?, "record.json"),
        ] {
            let get = format!("receipt get {transaction} --out {file}");
            let got = self.ask_herself(&get).await?;
            expect(&got, "/transaction", transaction)?;
        }
        let make = format!("device prove make {window} --index 1 --out proof.json");
        let made = self.ask_herself(&make).await?;
        let root = text(&made, "/anchor/root")?;
        let genesis = "--genesis ../network/public/genesis.block";
        let check = format!("device prove check proof.json {genesis} --receipt");
        let checked = self.ask_herself(&format!("{check} window.json")).await?;
        expect(&checked, "/root", root)?;
        expect(&checked, "/record", window)?;
        expect(&checked, "/recorded/transaction", submitted)?;
        let refused = format!("{check} record.json");
        let refused = self.refused(&self.herself, FAILED, &refused).await?;
        anyhow::ensure!(refused.said.contains("submits no window"), "{refused:?}");
        self.done("an observation is proved by the receipt of its window alone");
        Ok(())
    }
}

/// The transaction that submitted a record, as the patient's trail has it.
fn submission<'v>(trail: &'v Value, record: &str) -> anyhow::Result<&'v str> {
    let entries = trail.as_array().context("the trail is no list")?;
    let is_it = |one: &&Value| one["event"] == "submitted" && one["record"] == record;
    let submitted = entries.iter().find(is_it);
    text(
        submitted.context("nobody submitted the record")?,
        "/transaction",
    )
}
