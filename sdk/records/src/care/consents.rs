//! Granting and revoking consent, and the review of records.

use stela_client::Submitted;
use stela_consent::{Consent, Id};
use stela_healthcare::RejectReason;
use stela_healthcare::State;
use stela_healthcare::answer::{Done, Reviewed};
use stela_healthcare::request::{ConfirmRecord, ListRecords, RejectRecord, RevokeConsent};

use super::error::{ConsentError, LedgerError, ShareError};
use super::session::Session;

/// A consent that stands, and what was done at once to make it useful.
#[derive(Debug)]
pub struct Granted {
    /// The transaction.
    pub submitted: Submitted,
    /// Versions whose key was shared under it.
    pub shared: Vec<SharedVersion>,
    /// Versions whose key could not be shared; [`Session::share`] does it again.
    pub unshared: Vec<UnsharedVersion>,
    /// Why the patient's records could not all be looked at, if they could not.
    pub unseen: Option<LedgerError>,
}

/// A version whose key was shared.
#[derive(Debug, Clone)]
pub struct SharedVersion {
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// With how many.
    pub recipients: usize,
}

/// A version whose key was not shared.
#[derive(Debug)]
pub struct UnsharedVersion {
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// Why not.
    pub error: ShareError,
}

impl Session {
    /// Grants a consent as `patient`, who is the user, and wraps the keys of her records for
    /// everybody to whom it opens them. What could not be wrapped does not undo the grant: the
    /// answer says what is left to do.
    ///
    /// # Errors
    /// [`ConsentError`]: it is not granted.
    pub async fn grant(&self, patient: Id, consent: &Consent) -> Result<Granted, ConsentError> {
        let (_, submitted) = self
            .submit_json::<_, Done>("grant_consent", consent, None)
            .await?;
        let mut granted = Granted {
            submitted,
            shared: Vec::new(),
            unshared: Vec::new(),
            unseen: None,
        };
        granted.unseen = self.share_all(patient, consent, &mut granted).await.err();
        Ok(granted)
    }

    async fn share_all(
        &self,
        patient: Id,
        consent: &Consent,
        granted: &mut Granted,
    ) -> Result<(), LedgerError> {
        for summary in self.records(ListRecords::of(patient)).await? {
            for version in 1..=summary.version {
                let found = self.record(summary.record, Some(version)).await?;
                if found.state == State::Rejected {
                    continue;
                }
                let record = summary.record;
                match self
                    .share_under(&found, std::slice::from_ref(consent))
                    .await
                {
                    Ok(0) => {}
                    Ok(recipients) => {
                        let shared = SharedVersion {
                            record,
                            version,
                            recipients,
                        };
                        granted.shared.push(shared);
                    }
                    Err(error) => {
                        let unshared = UnsharedVersion {
                            record,
                            version,
                            error,
                        };
                        granted.unshared.push(unshared);
                    }
                }
            }
        }
        Ok(())
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

    /// Confirms a version that the user has reviewed as a records officer. Says where the version
    /// stands then, and how many further officers are asked for.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn confirm(
        &self,
        record: Id,
        version: u32,
    ) -> Result<(Reviewed, Submitted), LedgerError> {
        let request = ConfirmRecord { record, version };
        self.submit_json("confirm_record", &request, None).await
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
