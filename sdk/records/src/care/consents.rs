//! Granting and revoking consent, and the review of records.

use stela_client::Submitted;
use stela_consent::{Consent, Id};
use stela_healthcare::RejectReason;
use stela_healthcare::State;
use stela_healthcare::answer::Done;
use stela_healthcare::request::{ConfirmRecord, RejectRecord, RevokeConsent};

use super::error::{ConsentError, LedgerError};
use super::session::Session;

/// A consent that stands, and what was done at once to make it useful.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The transaction.
    pub submitted: Submitted,
    /// Records whose key was shared under it, with how many recipients each.
    pub shared: Vec<(Id, usize)>,
}

impl Session {
    /// Grants a consent as `patient`, who is the user, and wraps the keys of her records for
    /// everybody to whom it opens them.
    ///
    /// # Errors
    /// [`ConsentError::Ledger`]: it is not granted. [`ConsentError::Share`]: it stands, but a key
    /// could not be shared; [`share`](Self::share) does it again.
    pub async fn grant(&self, patient: Id, consent: &Consent) -> Result<Granted, ConsentError> {
        let (_, submitted) = self
            .submit_json::<_, Done>("grant_consent", consent, None)
            .await?;
        let mut shared = Vec::new();
        for summary in self.records(patient, None).await? {
            if summary.state == State::Rejected {
                continue;
            }
            for number in 1..=summary.version {
                let version = self.record(summary.record, Some(number)).await?;
                if version.state == State::Rejected {
                    continue;
                }
                let count = self
                    .share_under(&version, std::slice::from_ref(consent))
                    .await;
                let count = count.map_err(|source| ConsentError::Share {
                    record: summary.record.to_string(),
                    source,
                })?;
                if count > 0 {
                    shared.push((summary.record, count));
                }
            }
        }
        Ok(Granted { submitted, shared })
    }

    /// Revokes a consent of the user, who is `patient`.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn revoke(&self, patient: Id, consent: Id) -> Result<Submitted, LedgerError> {
        let request = RevokeConsent { patient, consent };
        Ok(self
            .submit_json::<_, Done>("revoke_consent", &request, None)
            .await?
            .1)
    }

    /// Confirms a version that the user has reviewed as a records officer.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn confirm(&self, record: Id, version: u32) -> Result<Submitted, LedgerError> {
        let request = ConfirmRecord { record, version };
        Ok(self
            .submit_json::<_, Done>("confirm_record", &request, None)
            .await?
            .1)
    }

    /// Rejects a version that the user has reviewed as a records officer.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn reject(
        &self,
        record: Id,
        version: u32,
        reason: RejectReason,
    ) -> Result<Submitted, LedgerError> {
        let request = RejectRecord {
            record,
            version,
            reason,
        };
        Ok(self
            .submit_json::<_, Done>("reject_record", &request, None)
            .await?
            .1)
    }
}
