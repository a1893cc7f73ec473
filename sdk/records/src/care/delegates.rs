//! Who acts for a patient.

use stela_client::Submitted;
use stela_healthcare::request::{Delegation, NameDelegate};

use super::error::LedgerError;
use super::session::Session;

impl Session {
    /// Names a delegate, as the patient, or a guardian as an officer of her organization. A delegate
    /// who may read gets the keys of records by [`rewrap`](Self::rewrap), and of new ones when they
    /// are submitted.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn name_delegate(&self, named: &NameDelegate) -> Result<Submitted, LedgerError> {
        self.submit_done("name_delegate", named).await
    }

    /// Ends a delegation: the patient, the delegate, or for a guardian the officers who may name
    /// one. What was wrapped for the delegate stays readable with his key.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn end_delegation(&self, delegation: &Delegation) -> Result<Submitted, LedgerError> {
        self.submit_done("end_delegation", delegation).await
    }

    /// Lets an executor act, as a privacy officer who made sure that the patient has died. It counts
    /// after a wait.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn activate_delegation(
        &self,
        delegation: &Delegation,
    ) -> Result<Submitted, LedgerError> {
        self.submit_done("activate_delegation", delegation).await
    }
}
