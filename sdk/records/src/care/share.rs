//! Wrapping keys for those to whom consents open a record.

use stela_client::SideData;
use stela_consent::{Consent, Id, RecordFacts, Status, grantees};
use stela_healthcare::answer::{Done, RecordVersion};
use stela_healthcare::request::{ShareKeys, SubmitRecord};

use super::error::{LedgerError, ShareError};
use super::keys::{Recipients, wrap_for};
use super::session::Session;
use crate::format::WrapLabel;
use crate::keys::RecordKey;
use crate::limits::WRAPS_MAX;

impl Session {
    /// Wraps the key of a version for everybody to whom the patient's standing consents open it;
    /// says for how many. Only whoever can open the key, the patient or the author, can do it.
    ///
    /// # Errors
    /// [`ShareError`] when the key cannot be opened or the transaction was not made.
    pub async fn share(&self, record: Id, version: Option<u32>) -> Result<usize, ShareError> {
        let version = self.record(record, version).await?;
        let consents = self.standing(version.patient, Some(record)).await?;
        self.share_under(&version, &consents).await
    }

    /// The consents of a patient that are not revoked.
    pub(super) async fn standing(
        &self,
        patient: Id,
        record: Option<Id>,
    ) -> Result<Vec<Consent>, LedgerError> {
        let filed = self.consents(patient, record).await?;
        let standing = filed
            .into_iter()
            .filter(|filed| filed.status == Status::Active);
        Ok(standing.map(|filed| filed.consent).collect())
    }

    /// Wraps the key of a version for everybody to whom these consents open it.
    pub(super) async fn share_under(
        &self,
        version: &RecordVersion,
        consents: &[Consent],
    ) -> Result<usize, ShareError> {
        let facts = RecordFacts {
            id: version.record,
            category: version.category,
            confidentiality: version.confidentiality,
            labels: version.labels.clone(),
            date_ms: version.date,
        };
        let recipients = self.opened_to(&facts, consents).await?;
        if recipients.is_empty() {
            return Ok(0);
        }
        let key = self.open_key(version).await?;
        let label = self.label(version)?;
        self.publish(
            version.patient,
            version.record,
            version.version,
            &label,
            &key,
            &recipients,
        )
        .await
    }

    /// The same for a version that was submitted a moment ago, whose key is at hand; `already` have
    /// a wrap, `later` had no place in the first list.
    pub(super) async fn share_with_standing(
        &self,
        submitted: &SubmitRecord,
        label: &WrapLabel,
        key: &RecordKey,
        already: &Recipients,
        later: Recipients,
    ) -> Result<usize, ShareError> {
        let SubmitRecord {
            record,
            version,
            patient,
            ..
        } = *submitted;
        let facts = RecordFacts {
            id: record,
            category: submitted.category,
            confidentiality: submitted.confidentiality,
            labels: submitted.labels.clone(),
            date_ms: submitted.date,
        };
        let consents = self.standing(patient, Some(record)).await?;
        let mut recipients = self.opened_to(&facts, &consents).await?;
        recipients.retain(|fingerprint, _| !already.contains_key(fingerprint));
        recipients.extend(later);
        self.publish(patient, record, version, label, key, &recipients)
            .await
    }

    async fn opened_to(
        &self,
        facts: &RecordFacts,
        consents: &[Consent],
    ) -> Result<Recipients, ShareError> {
        let now_ms = super::session::now_ms();
        let standing = consents.iter().map(|consent| (consent, Status::Active));
        Ok(self.meant_by(grantees(facts, now_ms, standing)).await?)
    }

    async fn publish(
        &self,
        patient: Id,
        record: Id,
        version: u32,
        label: &WrapLabel,
        key: &RecordKey,
        recipients: &Recipients,
    ) -> Result<usize, ShareError> {
        let home = &self.options.organization;
        let request = ShareKeys {
            patient,
            record,
            version,
            reader: None,
        };
        for part in parts(recipients) {
            let side: SideData = wrap_for(key, label, &part, home, &mut rand::rng())?;
            self.submit_json::<_, Done>("share_keys", &request, Some(side))
                .await?;
        }
        Ok(recipients.len())
    }
}

/// Recipients in parts that fit one list each.
pub(super) fn parts(recipients: &Recipients) -> Vec<Recipients> {
    let all: Vec<_> = recipients.iter().collect();
    all.chunks(WRAPS_MAX)
        .map(|part| {
            let owned = part
                .iter()
                .map(|(id, recipient)| (**id, (*recipient).clone()));
            owned.collect()
        })
        .collect()
}
