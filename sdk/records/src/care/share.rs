//! Wrapping keys for those to whom consents open a record.

use stela_client::SideData;
use stela_consent::{Actor, Consent, Id, RecordFacts, Status, grantees};
use stela_healthcare::answer::{Done, RecordVersion};
use stela_healthcare::request::{ShareKeys, SubmitRecord};
use stela_healthcare::{DelegateScope, State, opens_to_delegate};

use super::consents::{SharedVersion, UnsharedVersion, note};
use super::error::{LedgerError, ShareError};
use super::keys::{Recipient, Recipients, wrap_for};
use super::session::Session;
use crate::format::WrapLabel;
use crate::keys::RecordKey;
use crate::limits::WRAPS_MAX;

impl Session {
    /// Wraps the key of a version for everybody to whom the patient's standing consents open it, and
    /// for the delegates who may read it; says for how many. Only whoever can open the key, the
    /// patient, a delegate or the author, can do it.
    ///
    /// # Errors
    /// [`ShareError`] when the key cannot be opened or the transaction was not made.
    pub async fn share(&self, record: Id, version: Option<u32>) -> Result<usize, ShareError> {
        let version = self.record(record, version).await?;
        let consents = self.standing(version.patient, Some(record)).await?;
        let facts = facts(&version);
        let mut recipients = self.opened_to(&facts, &consents).await?;
        recipients.extend(self.read_by(version.patient, &facts, &consents).await?);
        self.share_with(&version, &recipients).await
    }

    /// Wraps the keys of a patient's records for those of her certificates, and those delegates who
    /// may read, that have no wrap yet: after she added a certificate, was rebound to one, or named
    /// a delegate. The patient does it, or a records officer of the organization that submitted the
    /// records, who opened them for their review.
    ///
    /// # Errors
    /// [`LedgerError`] when the records cannot be looked at; what could not be shared is in the
    /// answer.
    pub async fn rewrap(&self, patient: Id) -> Result<Rewrapped, LedgerError> {
        let mut rewrapped = Rewrapped::default();
        // An officer of another organization than the patient's does not see her consents, and so
        // cannot know what they keep from a delegate: then she wraps for the patient alone.
        let consents = match self.standing(patient, None).await {
            Ok(consents) => Some(consents),
            Err(error) if error.is_refusal("forbidden") => None,
            Err(error) => return Err(error),
        };
        for version in self.versions(patient).await? {
            let outcome = self.rewrap_version(&version, consents.as_deref()).await;
            note(
                &version,
                outcome,
                &mut rewrapped.shared,
                &mut rewrapped.unshared,
            );
        }
        Ok(rewrapped)
    }

    async fn rewrap_version(
        &self,
        version: &RecordVersion,
        consents: Option<&[Consent]>,
    ) -> Result<usize, ShareError> {
        let mut recipients = self.of_patient(version.patient).await?;
        if let Some(consents) = consents
            && version.state == State::Active
        {
            let facts = facts(version);
            recipients.extend(self.read_by(version.patient, &facts, consents).await?);
        }
        let served = self.served(version).await?;
        recipients.retain(|_, recipient| !served.contains(&recipient.key_id()));
        self.share_with(version, &recipients).await
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
        let recipients = self.opened_to(&facts(version), consents).await?;
        self.share_with(version, &recipients).await
    }

    async fn share_with(
        &self,
        version: &RecordVersion,
        recipients: &Recipients,
    ) -> Result<usize, ShareError> {
        self.share_as(version, version, recipients).await
    }

    /// Wraps the key of a version under the label of what its readers are shown.
    pub(super) async fn share_as(
        &self,
        version: &RecordVersion,
        shown: &RecordVersion,
        recipients: &Recipients,
    ) -> Result<usize, ShareError> {
        if recipients.is_empty() {
            return Ok(0);
        }
        let key = self.open_key(version).await?;
        let label = self.label(shown)?;
        self.publish(
            version.patient,
            version.record,
            version.version,
            &label,
            &key,
            recipients,
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
        recipients.extend(self.read_by(patient, &facts, &consents).await?);
        recipients.retain(|fingerprint, _| !already.contains_key(fingerprint));
        recipients.extend(later);
        self.publish(patient, record, version, label, key, &recipients)
            .await
    }

    /// The patient's delegates who may read a version once it is active, and published a key.
    async fn read_by(
        &self,
        patient: Id,
        facts: &RecordFacts,
        consents: &[Consent],
    ) -> Result<Recipients, ShareError> {
        let now_ms = super::session::now_ms();
        let mut readers = Recipients::new();
        for delegation in self.agreed_delegates(patient).await? {
            if !delegation.counts || !delegation.scope.contains(&DelegateScope::Read) {
                continue;
            }
            let found = self
                .meant_by([&Actor::Identity(delegation.delegate)])
                .await?;
            let standing = consents.iter().map(|consent| (consent, Status::Active));
            let opens = |recipient: &Recipient| {
                let requester = recipient.requester(delegation.delegate);
                let kind = delegation.kind;
                opens_to_delegate(kind, requester, facts, now_ms, standing.clone())
            };
            readers.extend(found.into_iter().filter(|(_, recipient)| opens(recipient)));
        }
        Ok(readers)
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

/// Keys that were wrapped for a patient's certificates and delegates.
#[derive(Debug, Default)]
pub struct Rewrapped {
    /// Versions whose key was wrapped.
    pub shared: Vec<SharedVersion>,
    /// Versions whose key could not be; the same call tries again.
    pub unshared: Vec<UnsharedVersion>,
}

fn facts(version: &RecordVersion) -> RecordFacts {
    RecordFacts {
        id: version.record,
        category: version.category,
        confidentiality: version.confidentiality,
        labels: version.labels.clone(),
        date_ms: version.date,
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
