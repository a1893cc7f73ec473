//! Published encryption keys: for whom a record's key can be wrapped.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id, Organization, Role};
use stela_guest::{ContractError, Entry, Ledger, json};

use crate::answer::{AuditKind, Done, EncryptionKey, EncryptionKeyChange, Page};
use crate::audit::{self, Stored};
use crate::caller::{Caller, must_be_question};
use crate::event::{self, KeyEvent};
use crate::keys;
use crate::page::Wanted;
use crate::patient;
use crate::request::{EncryptionKeyHistory, EncryptionKeys, RegisterEncryptionKey};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    #[serde(rename = "org")]
    organization: Organization,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patient: Option<Id>,
    time: u64,
}

/// What an index's entry holds.
const INDEXED: &[u8] = b"1";

pub(crate) fn register(
    ledger: &mut dyn Ledger,
    _request: RegisterEncryptionKey,
    argument: &[u8],
) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    let fingerprint = caller.fingerprint;
    let patient = own_patient(ledger, &caller)?;
    let before = ledger.get(&keys::encryption_key(&fingerprint)?);
    if before.as_deref() != Some(argument) {
        tell(ledger, &caller, patient, before.is_some())?;
    }
    let by_role = keys::encryption_key_by_role(&caller.organization, caller.role, &fingerprint)?;
    ledger.put(&by_role, INDEXED);
    if let Some(patient) = &patient {
        let by_patient = keys::encryption_key_by_patient(patient, &fingerprint)?;
        ledger.put(&by_patient, INDEXED);
    }
    let owner = Owner {
        patient,
        organization: caller.organization,
        role: caller.role,
        time: ledger.invocation().timestamp_ms,
    };
    ledger.put(
        &keys::encryption_key_owner(&fingerprint)?,
        &json::encode(&owner)?,
    );
    ledger.put(&keys::encryption_key(&fingerprint)?, argument);
    Ok(Done {})
}

/// Tells of a key that is published, and files in the owner's trail, when she is a patient, that it
/// takes the place of another. Which keys there were, the history says.
fn tell(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: Option<Id>,
    rotated: bool,
) -> Result<(), ContractError> {
    let certificate = caller.fingerprint;
    if let Some(patient) = patient.filter(|_| rotated) {
        let entry = Stored::by(AuditKind::KeyRotated, caller).with_subject(certificate);
        audit::write(ledger, &patient, entry)?;
    }
    let event = KeyEvent {
        certificate,
        patient,
    };
    let name = if rotated {
        event::KEY_ROTATED
    } else {
        event::KEY_REGISTERED
    };
    event::set(ledger, name, &event)
}

/// Takes away what a patient's certificate published, so that nobody wraps a key for it.
pub(crate) fn withdraw(
    ledger: &mut dyn Ledger,
    patient: &Id,
    certificate: &Fingerprint,
) -> Result<(), ContractError> {
    let key = keys::encryption_key_owner(certificate)?;
    let Some(value) = ledger.get(&key) else {
        return Ok(());
    };
    let owner: Owner = json::stored("encryption key", &value)?;
    if owner.patient != Some(*patient) {
        return Ok(());
    }
    let by_role = keys::encryption_key_by_role(&owner.organization, owner.role, certificate)?;
    ledger.delete(&by_role);
    ledger.delete(&keys::encryption_key_by_patient(patient, certificate)?);
    ledger.delete(&keys::encryption_key(certificate)?);
    ledger.delete(&key);
    Ok(())
}

/// Which keys somebody published, the newest first.
pub(crate) fn history(
    ledger: &mut dyn Ledger,
    request: EncryptionKeyHistory,
) -> Result<Page<EncryptionKeyChange>, ContractError> {
    Caller::of(ledger)?;
    must_be_question(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let key = keys::encryption_key(&request.fingerprint)?;
    wanted.read_history(ledger, &key, |version| {
        let read = |value: &Vec<u8>| json::stored("encryption key", value);
        let key: Option<RegisterEncryptionKey> = version.value.as_ref().map(read).transpose()?;
        Ok(EncryptionKeyChange {
            block: version.at.block,
            index: version.at.transaction,
            transaction: Hex(version.transaction_id),
            time: version.time_ms,
            key: key.map(|key| key.key),
        })
    })
}

/// For a caller of the role patient: which one she is. Keys of others must not be found as hers.
fn own_patient(ledger: &dyn Ledger, caller: &Caller) -> Result<Option<Id>, ContractError> {
    if caller.role != Role::Patient {
        return Ok(None);
    }
    let patient = caller.patient.ok_or_else(|| {
        ContractError::forbidden("your certificate does not say which patient you are")
    })?;
    patient::must_be(ledger, caller, &patient)?;
    Ok(Some(patient))
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: EncryptionKeys,
) -> Result<Page<EncryptionKey>, ContractError> {
    Caller::of(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let (range, index) = match (
        request.fingerprint,
        request.organization,
        request.role,
        request.patient,
    ) {
        (Some(fingerprint), None, None, None) => return one(ledger, &fingerprint),
        (None, Some(organization), Some(role), None) => {
            (keys::encryption_keys_by_role(&organization, role)?, 2)
        }
        (None, None, None, Some(patient)) => (keys::encryption_keys_by_patient(&patient)?, 1),
        _ => {
            return Err(ContractError::invalid(
                "arguments",
                "give fingerprint, or organization and role, or patient",
            ));
        }
    };
    let read = |entry: &Entry| load(ledger, &keys::attribute(&entry.key, index)?);
    wanted.read(ledger, &range, read)
}

fn one(
    ledger: &dyn Ledger,
    fingerprint: &Fingerprint,
) -> Result<Page<EncryptionKey>, ContractError> {
    Ok(Page {
        entries: load(ledger, fingerprint)?.into_iter().collect(),
        bookmark: None,
    })
}

fn load(
    ledger: &dyn Ledger,
    fingerprint: &Fingerprint,
) -> Result<Option<EncryptionKey>, ContractError> {
    let key = ledger.get(&keys::encryption_key(fingerprint)?);
    let owner = ledger.get(&keys::encryption_key_owner(fingerprint)?);
    let Some((key, owner)) = key.zip(owner) else {
        return Ok(None);
    };
    let key: RegisterEncryptionKey = json::stored("encryption key", &key)?;
    let owner: Owner = json::stored("encryption key", &owner)?;
    Ok(Some(EncryptionKey {
        fingerprint: *fingerprint,
        organization: owner.organization,
        role: owner.role,
        patient: owner.patient,
        key: key.key,
        time: owner.time,
    }))
}
