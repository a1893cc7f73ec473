//! Breaking the glass, and what must follow.

use std::path::Path;
use std::time::Duration;

use stela_client::{SideData, Submitted};
use stela_consent::{Actor, Id, Organization, Role};
use stela_healthcare::EmergencyReason;
use stela_healthcare::Finding;
use stela_healthcare::answer::{AccessDecision, Done, Emergency, Verdict};
use stela_healthcare::request::{BreakGlass, ListEmergencies, ReviewEmergency, ShareKeys};
use stela_protocol::{Hash32, OrgId};
use zeroize::Zeroizing;

use super::access::{Opened, Permitted};
use super::error::{ConsentRequestError, KeyError, LedgerError, ReadError, ShareError};
use super::keys::{Recipients, wrap_for};
use super::queries::every_page;
use super::session::{Session, ask};
use crate::format::Identifier;
use crate::limits::{AWAIT_KEY_PAUSE, PAGES_MAX};
use crate::note::{NoteLabel, SealedNotes};
use stela_healthcare::answer::Page;

/// An emergency access was not asked for, or its justification cannot be read.
pub type EmergencyError = ConsentRequestError;

/// What is to be read in an emergency.
#[derive(Debug, Clone, Copy)]
pub struct Glass<'a> {
    /// The patient.
    pub patient: Id,
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// Why.
    pub reason: EmergencyReason,
    /// What else there is to say about it, for the patient and the privacy officers alone.
    pub justification: &'a str,
}

impl Session {
    /// Breaks the glass: asks, as a practitioner, for access whatever the patient's consents say.
    /// Permit or deny, the decision is committed before this returns, and everybody concerned is
    /// told. The justification is sealed to the patient and to the privacy officers of her
    /// organization and of the user's.
    ///
    /// # Errors
    /// [`EmergencyError`]: there is no decision.
    pub async fn break_glass(
        &self,
        glass: &Glass<'_>,
    ) -> Result<(AccessDecision, Submitted), EmergencyError> {
        let side = self.seal_justification(glass).await?;
        let request = BreakGlass {
            patient: glass.patient,
            record: glass.record,
            version: glass.version,
            reason: glass.reason,
        };
        Ok(self
            .submit_json("break_glass", &request, Some(side))
            .await?)
    }

    async fn seal_justification(&self, glass: &Glass<'_>) -> Result<SideData, EmergencyError> {
        let mut recipients = self.of_patient(glass.patient).await?;
        if recipients.is_empty() {
            return Err(EmergencyError::NoPatientKey {
                patient: glass.patient,
            });
        }
        let homes: Vec<OrgId> = recipients
            .values()
            .map(|to| to.organization.clone())
            .chain([self.options.organization.clone()])
            .collect();
        for home in &homes {
            let home: Organization = home
                .as_str()
                .parse()
                .map_err(|_| KeyError::Entry("an organization's name is not valid"))?;
            recipients.extend(self.with_role(&home, Role::PrivacyOfficer).await?);
        }
        let label = self.justification_label(
            (glass.patient, glass.record, glass.version),
            &self.options.fingerprint.to_string(),
        )?;
        let keys = recipients.values().map(|recipient| recipient.key());
        let sealed = SealedNotes::seal(glass.justification, &label, keys, &mut rand::rng())?;
        Ok(SideData {
            organizations: organizations(&recipients, homes),
            payload: sealed.encode().into(),
        })
    }

    fn justification_label(
        &self,
        (patient, record, version): (Id, Id, u32),
        practitioner: &str,
    ) -> Result<NoteLabel, KeyError> {
        Ok(NoteLabel {
            channel: Identifier::new(self.options.network.channel().as_str())?,
            patient_id: Identifier::new(patient.to_string())?,
            request_id: Identifier::new(format!("emergency {record} {version}"))?,
            author_id: Identifier::new(practitioner)?,
        })
    }

    /// The justification of an emergency access, for the patient or a privacy officer.
    ///
    /// # Errors
    /// [`EmergencyError`] when it cannot be had or does not open.
    pub async fn justification(
        &self,
        emergency: &Emergency,
    ) -> Result<Zeroizing<String>, EmergencyError> {
        let commitment = Hash32(emergency.justification.0);
        let found = self.options.network.side(&[commitment]).await;
        let found = found.map_err(KeyError::from)?;
        let payload = found.values().next().ok_or(EmergencyError::NoNote)?;
        let label = self.justification_label(
            (emergency.patient, emergency.record, emergency.version),
            &emergency.practitioner.to_string(),
        )?;
        Ok(SealedNotes::decode(payload)?.open(&label, self.pairs())?)
    }

    /// The emergency accesses to a patient's records that the contract shows to this user; without
    /// a patient, those that wait for a review by her organization, or as a practitioner her own.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn emergencies(&self, patient: Option<Id>) -> Result<Vec<Emergency>, LedgerError> {
        let request = ListEmergencies {
            patient,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "list_emergencies", request)
    }

    /// Closes the review of an emergency access, as a privacy officer.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn review_emergency(
        &self,
        emergency: &Emergency,
        finding: Finding,
    ) -> Result<Submitted, LedgerError> {
        let request = ReviewEmergency {
            patient: emergency.patient,
            request: emergency.request,
            practitioner: emergency.practitioner,
            finding,
        };
        self.submit_done("review_emergency", &request).await
    }

    /// Gives the reader of a standing emergency permit the key, as an officer of the organization
    /// that submitted the record: opens her own wrap and wraps the key for the reader.
    ///
    /// # Errors
    /// [`ShareError`] when the officer has no wrap, the reader published no key, or the
    /// transaction was not made.
    pub async fn answer_emergency(&self, emergency: &Emergency) -> Result<Submitted, ShareError> {
        let version = self
            .record(emergency.record, Some(emergency.version))
            .await?;
        let reader = Actor::Identity(emergency.practitioner);
        let recipients = self.meant_by([&reader]).await?;
        if recipients.is_empty() {
            return Err(ShareError::NoReaderKey {
                reader: emergency.practitioner,
            });
        }
        let (key, label) = (self.open_key(&version).await?, self.label(&version)?);
        let home = &self.options.organization;
        let side = wrap_for(&key, &label, &recipients, home, &mut rand::rng())?;
        let request = ShareKeys {
            patient: version.patient,
            record: version.record,
            version: version.version,
            reader: Some(emergency.practitioner),
        };
        let (Done {}, submitted) = self.submit_json("share_keys", &request, Some(side)).await?;
        Ok(submitted)
    }

    /// Breaks the glass and reads into a file, as [`read`](Self::read) does. Until an officer of the
    /// submitting organization has answered, the key is not there: it is waited for that long.
    ///
    /// # Errors
    /// [`ReadError::Denied`] carries the committed denial; [`ReadError::Key`] says that nobody
    /// answered in time.
    pub async fn read_in_emergency(
        &self,
        glass: &Glass<'_>,
        wait: Duration,
        file: &Path,
    ) -> Result<Opened, EmergencyReadError> {
        let (decision, submitted) = self.break_glass(glass).await?;
        if decision.decision == Verdict::Deny {
            return Err(ReadError::Denied(Box::new(decision)).into());
        }
        let permitted = Permitted {
            patient: glass.patient,
            record: glass.record,
            version: glass.version,
            decision,
            submitted,
        };
        let until = tokio::time::Instant::now() + wait;
        loop {
            let read = self.read_permitted(permitted.clone(), file).await;
            match read {
                Err(ReadError::Key(KeyError::NotShared { .. }))
                    if tokio::time::Instant::now() < until =>
                {
                    tokio::time::sleep(AWAIT_KEY_PAUSE).await;
                }
                other => return Ok(other?),
            }
        }
    }
}

/// A record was not read in an emergency.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyReadError {
    /// There is no decision.
    #[error(transparent)]
    Asking(#[from] EmergencyError),
    /// It was denied, or could not be read.
    #[error(transparent)]
    Reading(#[from] ReadError),
}

fn organizations(recipients: &Recipients, homes: Vec<OrgId>) -> Vec<OrgId> {
    let named = recipients.values().map(|to| to.organization.clone());
    let mut organizations: Vec<OrgId> = named.chain(homes).collect();
    organizations.sort();
    organizations.dedup();
    organizations
}
