//! Asking a patient for a consent, and answering.

use stela_client::{SideData, Submitted};
use stela_consent::{Actor, Consent, Fingerprint, Hex, Id};
use stela_healthcare::answer::{Done, FiledConsentRequest};
use stela_healthcare::request::{AnswerConsentRequest, RequestConsent, WithdrawConsentRequest};
use stela_healthcare::{Answer, ConsentReason, DelegateScope};
use stela_protocol::{Hash32, OrgId};
use zeroize::Zeroizing;

use super::consents::Granted;
use super::error::{ConsentRequestError, KeyError, LedgerError};
use super::keys::Recipients;
use super::session::Session;
use crate::format::Identifier;
use crate::note::{NoteLabel, SealedNotes};

/// What is asked of a patient.
#[derive(Debug, Clone)]
pub struct ConsentAsked<'a> {
    /// The patient.
    pub patient: Id,
    /// The consent, for the user, her role at her organization, her organization, or a study.
    pub consent: Consent,
    /// Why.
    pub reason: ConsentReason,
    /// Until when it can be answered, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// What else the patient should know, for her and her delegates alone.
    pub note: Option<&'a str>,
}

impl Session {
    /// Asks a patient for a consent; answers the request's id.
    ///
    /// # Errors
    /// [`ConsentRequestError`]: nothing was asked.
    pub async fn ask_consent(
        &self,
        asked: &ConsentAsked<'_>,
    ) -> Result<(Id, Submitted), ConsentRequestError> {
        let request: Id = Hex(rand::random());
        let side = match asked.note {
            Some(note) => Some(self.seal_note(asked.patient, request, note).await?),
            None => None,
        };
        let argument = RequestConsent {
            patient: asked.patient,
            request,
            consent: asked.consent.clone(),
            reason: asked.reason,
            expires: asked.expires_ms,
        };
        let (Done {}, submitted) = self.submit_json("request_consent", &argument, side).await?;
        Ok((request, submitted))
    }

    async fn seal_note(
        &self,
        patient: Id,
        request: Id,
        note: &str,
    ) -> Result<SideData, ConsentRequestError> {
        let mut recipients = self.of_patient(patient).await?;
        if recipients.is_empty() {
            return Err(ConsentRequestError::NoPatientKey { patient });
        }
        recipients.extend(self.answerers(patient).await?);
        let label = self.note_label(patient, request, Hex(self.options.fingerprint.0))?;
        let keys = recipients.values().map(|recipient| recipient.key());
        let sealed = SealedNotes::seal(note, &label, keys, &mut rand::rng())?;
        let home = self.options.organization.clone();
        let named = recipients.values().map(|to| to.organization.clone());
        let mut organizations: Vec<OrgId> = named.chain([home]).collect();
        organizations.sort();
        organizations.dedup();
        Ok(SideData {
            organizations,
            payload: sealed.encode().into(),
        })
    }

    /// The delegates who may answer for a patient.
    async fn answerers(&self, patient: Id) -> Result<Recipients, ConsentRequestError> {
        let delegates = self.agreed_delegates(patient).await?;
        let named: Vec<Actor> = delegates
            .iter()
            .filter(|one| one.counts && one.scope.contains(&DelegateScope::Consent))
            .map(|one| Actor::Identity(one.delegate))
            .collect();
        Ok(self.meant_by(&named).await?)
    }

    fn note_label(
        &self,
        patient: Id,
        request: Id,
        author: Fingerprint,
    ) -> Result<NoteLabel, KeyError> {
        Ok(NoteLabel {
            channel: Identifier::new(self.options.network.channel().as_str())?,
            patient_id: Identifier::new(patient.to_string())?,
            request_id: Identifier::new(request.to_string())?,
            author_id: Identifier::new(author.to_string())?,
        })
    }

    /// The note beside a request, for the patient or a delegate; nothing if there is none.
    ///
    /// # Errors
    /// [`ConsentRequestError`] when it cannot be had or does not open.
    pub async fn read_note(
        &self,
        patient: Id,
        request: &FiledConsentRequest,
    ) -> Result<Option<Zeroizing<String>>, ConsentRequestError> {
        let Some(commitment) = request.note else {
            return Ok(None);
        };
        let found = self
            .options
            .network
            .side(&[Hash32(commitment.0)])
            .await
            .map_err(KeyError::from)?;
        let payload = found.values().next().ok_or(ConsentRequestError::NoNote)?;
        let label = self.note_label(patient, request.request, request.by)?;
        let note = SealedNotes::decode(payload)?.open(&label, self.pairs())?;
        Ok(Some(note))
    }

    /// A request that the contract shows to this user.
    ///
    /// # Errors
    /// [`ConsentRequestError::Unknown`] when it shows none with this id.
    pub async fn consent_request(
        &self,
        patient: Id,
        request: Id,
    ) -> Result<FiledConsentRequest, ConsentRequestError> {
        let requests = self.consent_requests(patient).await?;
        let mut found = requests.into_iter().filter(|one| one.request == request);
        found.next().ok_or(ConsentRequestError::Unknown { request })
    }

    /// Approves a request, as the patient or a delegate for `consent`: all that was asked for, or
    /// the `part` of it that is given. Then wraps the keys of the records that it opens, as
    /// [`grant`](Self::grant) does.
    ///
    /// # Errors
    /// [`ConsentRequestError`]: nothing was granted.
    pub async fn approve_consent(
        &self,
        patient: Id,
        request: Id,
        part: Option<&Consent>,
    ) -> Result<Granted, ConsentRequestError> {
        let consent = match part {
            Some(part) => part.clone(),
            // Named in full, so that nothing is granted but what was shown here.
            None => self.consent_request(patient, request).await?.consent,
        };
        let argument = AnswerConsentRequest {
            patient,
            request,
            decision: Answer::Approve,
            consent: Some(consent.clone()),
        };
        let submitted = self
            .submit_done("answer_consent_request", &argument)
            .await?;
        Ok(self.share_granted(patient, &consent, submitted).await)
    }

    /// Declines a request, as the patient or a delegate for `consent`.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn decline_consent(
        &self,
        patient: Id,
        request: Id,
    ) -> Result<Submitted, LedgerError> {
        let argument = AnswerConsentRequest {
            patient,
            request,
            decision: Answer::Decline,
            consent: None,
        };
        self.submit_done("answer_consent_request", &argument).await
    }

    /// Takes back a request that this user made.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn withdraw_consent_request(
        &self,
        patient: Id,
        request: Id,
    ) -> Result<Submitted, LedgerError> {
        let argument = WithdrawConsentRequest { patient, request };
        self.submit_done("withdraw_consent_request", &argument)
            .await
    }
}
