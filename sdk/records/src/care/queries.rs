//! Questions to the contract; a list is asked for page by page until it is complete.

use stela_client::Contract;
use stela_consent::{Fingerprint, Id};
use stela_healthcare::answer::{
    AuditEntry, Certificates, EncryptionKey, EncryptionKeyChange, FiledConsent,
    FiledConsentRequest, FiledDelegation, Page, RecordChange, RecordSummary, RecordVersion,
};
use stela_healthcare::request::{
    AuditTrail, EncryptionKeyHistory, EncryptionKeys, GetRecord, ListCertificates,
    ListConsentRequests, ListConsents, ListDelegates, ListRecords, RecordHistory,
};

use super::error::{KeyError, LedgerError};
use super::keys::public_key;
use super::session::{Session, ask};
use crate::format::EncryptionKeyId;
use crate::limits::{AGREEMENT_ATTEMPTS_MAX, AGREEMENT_PAUSE, PAGES_MAX};

/// Asks a contract for every page of a list.
macro_rules! every_page {
    ($contract:expr, $function:literal, $request:expr) => {{
        let mut entries = Vec::new();
        let mut request = $request;
        for _ in 0..PAGES_MAX {
            let page: Page<_> = ask($contract, $function, &request).await?;
            entries.extend(page.entries);
            request.bookmark = page.bookmark;
            if request.bookmark.is_none() {
                break;
            }
        }
        Ok(entries)
    }};
}

pub(super) use every_page;

impl Session {
    /// One version of a record, the newest without a number.
    ///
    /// # Errors
    /// [`LedgerError`], among others when the contract does not show it to this user.
    pub async fn record(
        &self,
        record: Id,
        version: Option<u32>,
    ) -> Result<RecordVersion, LedgerError> {
        let found: RecordVersion = self
            .ask("get_record", &GetRecord { record, version })
            .await?;
        let unasked = |what| LedgerError::Unasked {
            function: "get_record",
            what,
        };
        if found.record != record {
            return Err(unasked("record"));
        }
        if version.is_some_and(|version| version != found.version) {
            return Err(unasked("version"));
        }
        Ok(found)
    }

    /// How a record as a whole changed, the newest change first.
    ///
    /// # Errors
    /// [`LedgerError`], among others when the contract does not tell it to this user.
    pub async fn record_history(&self, record: Id) -> Result<Vec<RecordChange>, LedgerError> {
        let request = RecordHistory {
            record,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "record_history", request)
    }

    /// The records of a patient that the contract shows to this user, and of those what the request
    /// asks for: every page from its bookmark on.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn records(&self, request: ListRecords) -> Result<Vec<RecordSummary>, LedgerError> {
        every_page!(&self.contract, "list_records", request)
    }

    /// The consents of a patient; the author of a record about her names it to see those that
    /// stand.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn consents(
        &self,
        patient: Id,
        record: Option<Id>,
    ) -> Result<Vec<FiledConsent>, LedgerError> {
        let request = ListConsents {
            patient,
            record,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "list_consents", request)
    }

    /// The audit trail of a patient, oldest entry first.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn audit_trail(&self, patient: Id) -> Result<Vec<AuditEntry>, LedgerError> {
        let request = AuditTrail {
            patient,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "audit_trail", request)
    }

    /// The certificates that are a patient's, and one to which she is being rebound.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn certificates(&self, patient: Id) -> Result<Certificates, LedgerError> {
        self.ask("list_certificates", &ListCertificates { patient })
            .await
    }

    /// The delegations of a patient that the contract shows to this user.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn delegates(&self, patient: Id) -> Result<Vec<FiledDelegation>, LedgerError> {
        delegates(&self.contract, patient).await
    }

    /// The requests for a patient's consent that the contract shows to this user.
    ///
    /// # Errors
    /// [`LedgerError`] when the contract cannot be asked or refuses.
    pub async fn consent_requests(
        &self,
        patient: Id,
    ) -> Result<Vec<FiledConsentRequest>, LedgerError> {
        let request = ListConsentRequests {
            patient,
            limit: None,
            bookmark: None,
        };
        every_page!(&self.contract, "list_consent_requests", request)
    }

    /// Which encryption keys somebody published, the newest first, and their key ids.
    ///
    /// # Errors
    /// [`KeyError`] when the contract cannot be asked or refuses, or a key is malformed.
    pub async fn encryption_key_history(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<Vec<(EncryptionKeyChange, Option<EncryptionKeyId>)>, KeyError> {
        let request = EncryptionKeyHistory {
            fingerprint,
            limit: None,
            bookmark: None,
        };
        let changes = key_changes(&self.contract, request).await?;
        let with_id = |change: EncryptionKeyChange| {
            let key = change.key.as_ref();
            let key = key.map(|key| public_key(key, fingerprint)).transpose()?;
            Ok((change, key.map(|key| key.key_id())))
        };
        changes.into_iter().map(with_id).collect()
    }

    /// The delegations of a patient on which the user's gateway and the witness agree: one peer
    /// alone could name a delegate of its own.
    pub(super) async fn agreed_delegates(
        &self,
        patient: Id,
    ) -> Result<Vec<FiledDelegation>, LedgerError> {
        for _ in 0..AGREEMENT_ATTEMPTS_MAX {
            let named = delegates(&self.contract, patient).await?;
            if delegates(&self.witness, patient).await? == named {
                return Ok(named);
            }
            tokio::time::sleep(AGREEMENT_PAUSE).await;
        }
        Err(LedgerError::Disputed)
    }

    /// Published encryption keys, on which the user's gateway and the witness agree: one peer alone
    /// could name a key of its own. One of the two may be a block behind, so they are asked again
    /// for a while.
    pub(super) async fn encryption_keys(
        &self,
        request: EncryptionKeys,
    ) -> Result<Vec<EncryptionKey>, LedgerError> {
        for _ in 0..AGREEMENT_ATTEMPTS_MAX {
            let named = published(&self.contract, request.clone()).await?;
            if published(&self.witness, request.clone()).await? == named {
                return Ok(named);
            }
            tokio::time::sleep(AGREEMENT_PAUSE).await;
        }
        Err(LedgerError::Disputed)
    }
}

async fn delegates(contract: &Contract, patient: Id) -> Result<Vec<FiledDelegation>, LedgerError> {
    let request = ListDelegates {
        patient,
        limit: None,
        bookmark: None,
    };
    every_page!(contract, "list_delegates", request)
}

async fn key_changes(
    contract: &Contract,
    request: EncryptionKeyHistory,
) -> Result<Vec<EncryptionKeyChange>, LedgerError> {
    every_page!(contract, "encryption_key_history", request)
}

async fn published(
    contract: &Contract,
    request: EncryptionKeys,
) -> Result<Vec<EncryptionKey>, LedgerError> {
    every_page!(contract, "encryption_keys", request)
}
