//! Research studies: running them, taking part, and reading for them.

use std::path::Path;

use serde::Serialize;
use stela_client::Submitted;
use stela_consent::{Actor, Fingerprint, Hex, Id, Purpose};
use stela_healthcare::State;
use stela_healthcare::answer::{
    AccessDecision, Cohort, Page, RecordVersion, Study, StudyRecord, Verdict,
};
use stela_healthcare::limits::COHORT_PARTS_MAX;
use stela_healthcare::request::{
    EndStudy, Enrol, GetStudy, Investigator, RegisterStudy, RequestAccess, StudyCohort,
    StudyRecords, WithdrawFromStudy,
};

use super::access::{Opened, Permitted};
use super::consents::note;
use super::error::{AccessError, LedgerError, ReadError, ShareError};
use super::queries::every_page;
use super::session::{Session, ask};
use super::share::Rewrapped;
use crate::limits::PAGES_MAX;

/// What stands for a certificate by which a study could find out who the patient is.
const NOBODY: Fingerprint = Hex([0; 32]);

/// What is to be read for a study.
#[derive(Debug, Clone, Copy)]
pub struct ForStudy {
    /// The study.
    pub study: Id,
    /// The patient's name in it.
    pub pseudonym: Id,
    /// The record.
    pub record: Id,
    /// The version.
    pub version: u32,
    /// Why; one of the study's purposes.
    pub purpose: Purpose,
}

/// How many patients of a study fit, as far as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many, unless a part of the study has so few that its number is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// At least so many: those of the parts whose number is told.
    pub at_least: u32,
    /// Fewer than this, when the number is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fewer_than: Option<u32>,
}

impl Counted {
    fn of(parts: &[Cohort]) -> Self {
        let sum = |numbers: &mut dyn Iterator<Item = u32>| numbers.fold(0, u32::saturating_add);
        let told = sum(&mut parts.iter().filter_map(|part| part.count));
        let untold = parts.iter().filter(|part| part.count.is_none());
        let floors = untold.filter_map(|part| part.fewer_than);
        let untold_max = sum(&mut floors.map(|floor| floor.saturating_sub(1)));
        let is_known = parts.iter().all(|part| part.count.is_some());
        let end = told.saturating_add(untold_max).saturating_add(1);
        Self {
            count: is_known.then_some(told),
            at_least: told,
            fewer_than: (!is_known).then_some(end),
        }
    }
}

impl Session {
    /// Registers a study of the user's organization, as its privacy officer.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn register_study(&self, terms: &RegisterStudy) -> Result<Submitted, LedgerError> {
        self.submit_done("register_study", terms).await
    }

    /// Makes somebody an investigator of a study.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn add_investigator(
        &self,
        study: Id,
        researcher: Actor,
    ) -> Result<Submitted, LedgerError> {
        let request = Investigator { study, researcher };
        self.submit_done("add_investigator", &request).await
    }

    /// Takes an investigator away from a study. What she has read stays read.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn remove_investigator(
        &self,
        study: Id,
        researcher: Actor,
    ) -> Result<Submitted, LedgerError> {
        let request = Investigator { study, researcher };
        self.submit_done("remove_investigator", &request).await
    }

    /// Ends a study before its time.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn end_study(&self, study: Id) -> Result<Submitted, LedgerError> {
        self.submit_done("end_study", &EndStudy { study }).await
    }

    /// A study's terms, sponsor and investigators.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn study(&self, study: Id) -> Result<Study, LedgerError> {
        let patient = None;
        self.ask_both("get_study", &GetStudy { study, patient })
            .await
    }

    /// [`study`](Self::study), with the name in it of a patient: the user, or whose delegate for
    /// `consent` he is.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn study_of(&self, patient: Id, study: Id) -> Result<Study, LedgerError> {
        let patient = Some(patient);
        self.ask_both("get_study", &GetStudy { study, patient })
            .await
    }

    /// Joins a study under a pseudonym that is drawn here, as the patient or her delegate for
    /// `consent`. The consent to it ([`grant`](Self::grant), [`grant_for`](Self::grant_for)) is
    /// another transaction, and [`share_with_study`](Self::share_with_study) gives the investigators
    /// the keys.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn enrol(&self, patient: Id, study: Id) -> Result<(Id, Submitted), LedgerError> {
        let pseudonym: Id = Hex(rand::random());
        let request = Enrol {
            study,
            pseudonym,
            patient: Some(patient),
        };
        let submitted = self.submit_done("enrol", &request).await?;
        Ok((pseudonym, submitted))
    }

    /// Leaves a study, as the patient or her delegate for `consent`.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn withdraw_from_study(
        &self,
        patient: Id,
        study: Id,
    ) -> Result<Submitted, LedgerError> {
        let request = WithdrawFromStudy {
            study,
            patient: Some(patient),
        };
        self.submit_done("withdraw_from_study", &request).await
    }

    /// Wraps the keys of a patient's records that a study's terms extend to for its investigators,
    /// under her pseudonym: an investigator's wrap names her nowhere. Her delegate for `consent`
    /// wraps those that he may read himself. Called again, it serves records and investigators that
    /// have come since.
    ///
    /// # Errors
    /// [`ShareError`] when the records cannot be looked at; what could not be shared is in the
    /// answer.
    pub async fn share_with_study(&self, patient: Id, study: Id) -> Result<Rewrapped, ShareError> {
        let terms = self.study_of(patient, study).await?;
        let pseudonym = terms.pseudonym.ok_or(ShareError::NotEnrolled { study })?;
        let investigators = self.meant_by(&terms.investigators).await?;
        let certificates = self.certificates(patient).await?.certificates;
        let own: Vec<Fingerprint> = certificates.iter().map(|one| one.certificate).collect();
        let mut rewrapped = Rewrapped::default();
        for version in self.versions(patient).await? {
            if version.state != State::Active || !extends_to(&terms, &version) {
                continue;
            }
            let mut recipients = investigators.clone();
            let served = self.served(&version).await?;
            recipients.retain(|_, recipient| !served.contains(&recipient.key_id()));
            let shown = as_shown(&version, pseudonym, &own);
            let outcome = self.share_as(&version, &shown, &recipients).await;
            note(
                &version,
                outcome,
                &mut rewrapped.shared,
                &mut rewrapped.unshared,
            );
        }
        Ok(rewrapped)
    }

    /// The records that a study may read, under pseudonyms.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn study_records(
        &self,
        study: Id,
        purpose: Option<Purpose>,
    ) -> Result<Vec<StudyRecord>, LedgerError> {
        let request = StudyRecords {
            study,
            purpose,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "study_records", request)
    }

    /// How many patients of a study have a record that fits, or between which bounds their number
    /// lies: in every part of the study, whichever the request names.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses, and
    /// [`LedgerError::Unasked`] when the study was divided anew while it was counted.
    pub async fn study_cohort(&self, request: &StudyCohort) -> Result<Counted, LedgerError> {
        let mut told: Vec<Cohort> = Vec::new();
        for part in 0..COHORT_PARTS_MAX {
            let request = StudyCohort {
                part: Some(part),
                ..request.clone()
            };
            let cohort: Cohort = self.ask("study_cohort", &request).await?;
            let parts = cohort.parts;
            if told.first().is_some_and(|first| first.parts != parts) {
                return Err(LedgerError::Unasked {
                    function: "study_cohort",
                    what: "division of the study",
                });
            }
            told.push(cohort);
            if part + 1 >= parts {
                break;
            }
        }
        Ok(Counted::of(&told))
    }

    /// Asks for access for a study. Permit or deny, the decision is committed before this returns.
    ///
    /// # Errors
    /// [`AccessError`]: there is no decision.
    pub async fn request_for_study(
        &self,
        wanted: &ForStudy,
    ) -> Result<(AccessDecision, Submitted), AccessError> {
        let request = RequestAccess {
            patient: wanted.pseudonym,
            record: wanted.record,
            version: wanted.version,
            purpose: wanted.purpose,
            study: Some(wanted.study),
        };
        self.submit_json("request_access", &request, None).await
    }

    /// Reads for a study into a file, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// [`ReadError`] says which step failed; [`ReadError::Denied`] carries the committed denial.
    pub async fn read_for_study(
        &self,
        wanted: &ForStudy,
        file: &Path,
    ) -> Result<Opened, ReadError> {
        let (decision, submitted) = self.request_for_study(wanted).await?;
        if decision.decision == Verdict::Deny {
            return Err(ReadError::Denied(Box::new(decision)));
        }
        let permitted = Permitted {
            patient: wanted.pseudonym,
            record: wanted.record,
            version: wanted.version,
            decision,
            submitted,
        };
        self.read_permitted(permitted, file).await
    }
}

/// Whether a study's terms extend to a version, as the contract judges it.
fn extends_to(study: &Study, version: &RecordVersion) -> bool {
    let terms = &study.terms;
    version.confidentiality <= terms.ceiling
        && version
            .labels
            .iter()
            .all(|label| terms.labels.contains(label))
        && (terms.categories.is_empty() || terms.categories.contains(&version.category))
}

/// A version as the contract shows it to an investigator, from which she rebuilds the label of her
/// wrap.
fn as_shown(version: &RecordVersion, pseudonym: Id, own: &[Fingerprint]) -> RecordVersion {
    let hers = version.window.is_some() || own.contains(&version.author);
    RecordVersion {
        patient: pseudonym,
        author: if hers { NOBODY } else { version.author },
        ..version.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_told_leaves_bounds() {
        let part = |count, fewer_than| Cohort {
            count,
            fewer_than,
            parts: 3,
        };
        let counted = |parts: &[Cohort]| {
            let counted = Counted::of(parts);
            (counted.count, counted.at_least, counted.fewer_than)
        };
        let few = || part(None, Some(10));
        assert_eq!(counted(&[part(Some(12), None)]), (Some(12), 12, None));
        assert_eq!(counted(&[few()]), (None, 0, Some(10)));
        let most = [part(Some(12), None), few(), part(Some(30), None), few()];
        assert_eq!(counted(&most), (None, 42, Some(61)));
        assert_eq!(counted(&most[..1]), (Some(12), 12, None));
        let many = [part(Some(u32::MAX), None), part(Some(1), None)];
        assert_eq!(counted(&many), (Some(u32::MAX), u32::MAX, None));
    }

    #[test]
    fn a_study_is_shown_neither_the_patient_nor_her_certificate() {
        let version: RecordVersion = serde_json::from_value(serde_json::json!({
            "record": "01".repeat(16), "version": 1, "latest": 1, "state": "active",
            "patient": "02".repeat(16), "author": "03".repeat(32), "organization": "HospitalA",
            "submitted": 1, "category": "laboratory", "confidentiality": "N", "labels": [],
            "cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            "header": "00", "commitment": "04".repeat(32), "wraps": [],
        }))
        .unwrap();
        let own = as_shown(&version, Hex([9; 16]), &[Hex([3; 32])]);
        assert_eq!((own.patient, own.author), (Hex([9; 16]), NOBODY));
        let doctors = as_shown(&version, Hex([9; 16]), &[Hex([7; 32])]);
        assert_eq!(
            (doctors.patient, doctors.author),
            (Hex([9; 16]), Hex([3; 32]))
        );
    }
}
