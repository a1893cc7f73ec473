//! Erasing records, what a patient has a right to know, and whom a record concerns.

use stela_client::Submitted;
use stela_consent::Id;
use stela_healthcare::answer::{Concerned, Disclosure, Erasing, ErasureRequest, Page, Reader};
use stela_healthcare::request::{
    Accounting, Concerns, DeclineErasure, EraseRecord, Erasures, Readers, RequestErasure,
};
use stela_healthcare::{DeclineReason, EraseReason, ErasureGround};

use super::error::LedgerError;
use super::queries::every_page;
use super::session::{Session, ask};
use crate::limits::PAGES_MAX;

impl Session {
    /// Asks, as the patient or her delegate, for the erasure of a record.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn request_erasure(
        &self,
        patient: Id,
        record: Id,
        reason: Option<ErasureGround>,
    ) -> Result<Submitted, LedgerError> {
        let request = RequestErasure {
            patient,
            record,
            reason,
        };
        self.submit_done("request_erasure", &request).await
    }

    /// Says, as a privacy officer, why a record is not erased.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn decline_erasure(
        &self,
        patient: Id,
        record: Id,
        reason: DeclineReason,
    ) -> Result<Submitted, LedgerError> {
        let request = DeclineErasure {
            patient,
            record,
            reason,
        };
        self.submit_done("decline_erasure", &request).await
    }

    /// Erases a record as a privacy officer, or proposes it: for a record that should never have
    /// been kept, an officer of a second organization is asked to do the same.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn erase(
        &self,
        record: Id,
        reason: EraseReason,
    ) -> Result<(Erasing, Submitted), LedgerError> {
        let request = EraseRecord { record, reason };
        self.submit_json("erase_record", &request, None).await
    }

    /// A patient's requests for erasure, and what became of them; without a patient, those of all
    /// patients that wait for the organization of the user, its privacy officer.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn erasures(&self, patient: Option<Id>) -> Result<Vec<ErasureRequest>, LedgerError> {
        let request = Erasures {
            patient,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "erasures", request)
    }

    /// To whom records about a patient were disclosed, the oldest disclosure first: every page from
    /// the request's bookmark on.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn accounting(&self, request: Accounting) -> Result<Vec<Disclosure>, LedgerError> {
        every_page!(&self.contract, "accounting", request)
    }

    /// Who holds or held a permit for which version of a patient's records, or of one of them.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn readers(
        &self,
        patient: Id,
        record: Option<Id>,
    ) -> Result<Vec<Reader>, LedgerError> {
        let request = Readers {
            patient,
            record,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "readers", request)
    }

    /// Whether and why a version of a record concerns the user; without a number, the newest.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn concerns(
        &self,
        record: Id,
        version: Option<u32>,
    ) -> Result<Concerned, LedgerError> {
        self.ask("concerns", &Concerns { record, version }).await
    }
}
