//! Granting and revoking consent, and the review of records.

use stela_client::Submitted;
use stela_consent::{Consent, Id};
use stela_healthcare::RejectReason;
use stela_healthcare::State;
use stela_healthcare::answer::{RecordVersion, Reviewed};
use stela_healthcare::request::{
    ConfirmRecord, GrantConsentFor, ListRecords, RejectRecord, RevokeConsent,
};

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
        let submitted = self.submit_done("grant_consent", consent).await?;
        Ok(self.share_granted(patient, consent, submitted).await)
    }

    /// Grants a consent as a delegate of `patient` for `consent`, and wraps the keys of the records
    /// that he may read himself.
    ///
    /// # Errors
    /// [`ConsentError`]: it is not granted.
    pub async fn grant_for(&self, patient: Id, consent: &Consent) -> Result<Granted, ConsentError> {
        let request = GrantConsentFor {
            patient,
            consent: consent.clone(),
        };
        let submitted = self.submit_done("grant_consent_for", &request).await?;
        Ok(self.share_granted(patient, consent, submitted).await)
    }

    /// Shares what a consent opens that was granted a moment ago.
    pub(super) async fn share_granted(
        &self,
        patient: Id,
        consent: &Consent,
        submitted: Submitted,
    ) -> Granted {
        let mut granted = Granted {
            submitted,
            shared: Vec::new(),
            unshared: Vec::new(),
            unseen: None,
        };
        granted.unseen = self.share_all(patient, consent, &mut granted).await.err();
        granted
    }

    async fn share_all(
        &self,
        patient: Id,
        consent: &Consent,
        granted: &mut Granted,
    ) -> Result<(), LedgerError> {
        for version in self.versions(patient).await? {
            let consents = std::slice::from_ref(consent);
            let shared = self.share_under(&version, consents).await;
            note(&version, shared, &mut granted.shared, &mut granted.unshared);
        }
        Ok(())
    }

    /// Every version about a patient that this user may look at and that was not rejected.
    pub(super) async fn versions(&self, patient: Id) -> Result<Vec<RecordVersion>, LedgerError> {
        let mut found = Vec::new();
        for summary in self.records(ListRecords::of(patient)).await? {
            for version in 1..=summary.version {
                match self.record(summary.record, Some(version)).await {
                    Ok(version) if version.state == State::Rejected => {}
                    Ok(version) => found.push(version),
                    // A delegate sees the newest version, and not each of those before.
                    Err(error) if error.is_refusal("forbidden") => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    /// Revokes a consent of `patient`, who is the user or whose delegate he is.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn revoke(&self, patient: Id, consent: Id) -> Result<Submitted, LedgerError> {
        let request = RevokeConsent { patient, consent };
        self.submit_done("revoke_consent", &request).await
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
        self.submit_done("reject_record", &request).await
    }
}

/// Notes what became of a version; nothing when there was nobody to share its key with.
pub(super) fn note(
    version: &RecordVersion,
    outcome: Result<usize, ShareError>,
    shared: &mut Vec<SharedVersion>,
    unshared: &mut Vec<UnsharedVersion>,
) {
    let (record, version) = (version.record, version.version);
    match outcome {
        Ok(0) => {}
        Ok(recipients) => shared.push(SharedVersion {
            record,
            version,
            recipients,
        }),
        Err(error) => unshared.push(UnsharedVersion {
            record,
            version,
            error,
        }),
    }
}
