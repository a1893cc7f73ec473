//! A patient's certificates and keys: a second device, another encryption key, what she loses and how
//! she comes back.

use super::{RightsTrial, entry, expect, replacement, tablet, text};
use crate::users;

impl RightsTrial<'_> {
    /// A second device is authorised and given the keys, the encryption key of the first is replaced,
    /// and the device is taken away again.
    pub(super) async fn second_device(&mut self, record: &str) -> anyhow::Result<()> {
        let tablet = tablet(self.patient);
        let known = self.ask(&tablet, "register").await?;
        expect(&known, "/authorised", false)?;
        let certificate = self.fingerprint(&tablet).await?;
        let add = format!("patient add-certificate {certificate}");
        self.write_herself("certificate-added", &add).await?;
        let known = self.ask(&tablet, "register").await?;
        expect(&known, "/authorised", true)?;
        self.rewrapped(record).await?;
        let read = format!("record read {record} --purpose PATRQT --out on-tablet.json");
        let read = self.write(&tablet, "access-permitted", &read).await?;
        expect(&read, "/basis", "patient")?;
        self.same("on-tablet.json", "first.json")?;
        self.done("a second device of the patient's is given the keys and reads");

        let old = self.ask_herself("key history").await?;
        let old = text(&old, "/0/encryption_key")?.to_owned();
        let rotated = self.write_herself("key-rotated", "key rotate").await?;
        let history = self.ask_herself("key history").await?;
        let new = text(&rotated, "/encryption_key")?;
        anyhow::ensure!(new != old, "the key is the same: {rotated}");
        expect(&history, "/0/encryption_key", new)?;
        expect(&history, "/0/transaction", text(&rotated, "/transaction")?)?;
        expect(&history, "/1/encryption_key", old)?;
        self.rewrapped(record).await?;
        let read = format!("record read {record} --purpose PATRQT --out with-new-key.json");
        self.write_herself("access-permitted", &read).await?;
        self.same("with-new-key.json", "first.json")?;
        self.done("an encryption key is replaced, keys are wrapped for the new one, and it opens");

        let remove = format!("patient remove-certificate {certificate}");
        self.write_herself("certificate-removed", &remove).await?;
        self.certificates(1).await?;
        let read = format!(
            "record read {record} --version 1 --patient {} --purpose PATRQT --out none.json",
            self.patient
        );
        self.denied(&tablet, &read, record, "no-consent").await?;
        self.done("a certificate that was taken away reads nothing");
        Ok(())
    }

    /// The patient wraps the keys for whom has none yet: one certificate of hers, for one record.
    async fn rewrapped(&self, record: &str) -> anyhow::Result<()> {
        let rewrapped = self.ask_herself("patient rewrap").await?;
        expect(&rewrapped, "/shared/0/record", record)?;
        expect(&rewrapped, "/shared/0/recipients", 1)?;
        expect(&rewrapped, "/unshared", serde_json::json!([]))
    }

    /// The patient has so many certificates, and each counts.
    async fn certificates(&self, count: usize) -> anyhow::Result<()> {
        let found = self.ask_herself("patient certificates").await?;
        let all = found["certificates"].as_array();
        let count_now = all.map(|all| all.iter().filter(|one| one["counts"] == true).count());
        anyhow::ensure!(
            count_now == Some(count) && all.map(Vec::len) == Some(count),
            "there are to be {count} certificates: {found}"
        );
        Ok(())
    }

    /// The patient cancels a rebinding that she did not ask for, while it waits.
    pub(super) async fn cancelled_rebinding(&mut self) -> anyhow::Result<()> {
        let certificate = self.fingerprint(&replacement(self.patient)).await?;
        let rebind = format!("patient rebind --patient {} {certificate}", self.patient);
        self.write(&users::privacy_officer(), "rebinding", &rebind)
            .await?;
        let found = self.ask_herself("patient certificates").await?;
        let waits = entry(&found["certificates"], "/certificate", &certificate)?;
        expect(waits, "/counts", false)?;
        let cancel = format!("patient cancel-rebinding {certificate}");
        self.write_herself("rebinding-cancelled", &cancel).await?;
        self.certificates(1).await?;
        self.done("the patient cancels a rebinding that she did not ask for");
        Ok(())
    }

    /// She loses everything, is rebound to another certificate, which counts after the wait, is given
    /// the keys by a records officer, and takes the lost certificate away.
    pub(super) async fn rebinding(&mut self, record: &str) -> anyhow::Result<()> {
        let (lost, replacement) = (self.herself.clone(), replacement(self.patient));
        let officer = users::privacy_officer();
        let certificate = self.fingerprint(&replacement).await?;
        let rebind = format!("patient rebind --patient {} {certificate}", self.patient);
        self.write(&officer, "rebinding", &rebind).await?;
        let list = format!("patient certificates --patient {}", self.patient);
        self.until(&officer, &list, |found| {
            let filed = entry(&found["certificates"], "/certificate", &certificate);
            filed.is_ok_and(|filed| filed["counts"] == true)
        })
        .await?;
        let known = self.ask(&replacement, "register").await?;
        expect(&known, "/authorised", true)?;
        self.herself = replacement;

        let rewrap = format!("patient rewrap --patient {}", self.patient);
        let rewrapped = self.ask(&users::officer(), &rewrap).await?;
        expect(&rewrapped, "/shared/0/record", record)?;
        let read = format!("record read {record} --purpose PATRQT --out after-rebinding.json");
        self.write_herself("access-permitted", &read).await?;
        self.same("after-rebinding.json", "first.json")?;

        let certificate = self.fingerprint(&lost).await?;
        let remove = format!("patient remove-certificate {certificate}");
        self.write_herself("certificate-removed", &remove).await?;
        self.certificates(1).await?;
        let read = format!("record read {record} --version 1 --purpose PATRQT --out none.json");
        // By then there is a consent, for somebody else and revoked.
        self.denied(&lost, &read, record, "actor").await?;
        self.done(
            "after a rebinding the patient reads with a new certificate, and the lost one not",
        );
        Ok(())
    }
}
