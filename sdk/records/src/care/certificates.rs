//! A patient's certificates.

use stela_client::Submitted;
use stela_consent::{Fingerprint, Id};
use stela_healthcare::request::OwnCertificate;

use super::error::LedgerError;
use super::session::Session;

impl Session {
    /// Authorises another certificate of the user, who is `patient`. Once its owner has published an
    /// encryption key for it, [`rewrap`](Self::rewrap) gives it the keys of her records.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn add_certificate(
        &self,
        patient: Id,
        certificate: Fingerprint,
    ) -> Result<Submitted, LedgerError> {
        self.certificate("add_certificate", patient, certificate)
            .await
    }

    /// Takes away a certificate of the user, who is `patient`, such as one that she lost. What was
    /// wrapped for its key stays readable with that key.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn remove_certificate(
        &self,
        patient: Id,
        certificate: Fingerprint,
    ) -> Result<Submitted, LedgerError> {
        self.certificate("remove_certificate", patient, certificate)
            .await
    }

    /// Rebinds a patient to a new certificate, as a privacy officer of her organization who made
    /// sure who she is. It counts after a wait, unless it is [cancelled](Self::cancel_rebinding).
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn rebind_patient(
        &self,
        patient: Id,
        certificate: Fingerprint,
    ) -> Result<Submitted, LedgerError> {
        self.certificate("rebind_patient", patient, certificate)
            .await
    }

    /// Takes back a rebinding that waits: the patient, a delegate with her rights, or the officer.
    ///
    /// # Errors
    /// [`LedgerError`] when the transaction was not made.
    pub async fn cancel_rebinding(
        &self,
        patient: Id,
        certificate: Fingerprint,
    ) -> Result<Submitted, LedgerError> {
        self.certificate("cancel_rebinding", patient, certificate)
            .await
    }

    async fn certificate(
        &self,
        function: &'static str,
        patient: Id,
        certificate: Fingerprint,
    ) -> Result<Submitted, LedgerError> {
        let request = OwnCertificate {
            patient,
            certificate,
        };
        self.submit_done(function, &request).await
    }
}
