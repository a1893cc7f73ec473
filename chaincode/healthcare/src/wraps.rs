//! Lists of wrapped keys: they travel beside the transaction, the ledger keeps their commitments.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id, Role, grantees};
use stela_guest::{ContractError, Ledger, json};

use crate::answer::{AuditKind, Done};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::consent;
use crate::delegate;
use crate::emergency;
use crate::event::{self, RecordEvent};
use crate::keys;
use crate::limits::{OTHERS_WRAPS_MAX, WRAPS_MAX};
use crate::patient::{self, Acting};
use crate::record;
use crate::request::ShareKeys;
use crate::value::{DelegateScope, State};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrap {
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
    /// Whether the patient herself added it.
    #[serde(rename = "own", default, skip_serializing_if = "std::ops::Not::not")]
    herself: bool,
}

pub(crate) fn share(ledger: &mut dyn Ledger, request: ShareKeys) -> Result<Done, ContractError> {
    let ShareKeys {
        patient,
        record,
        version,
        reader,
    } = request;
    let caller = Caller::of(ledger)?;
    let shared = record::load_of_patient(ledger, &patient, &record, version)?;
    match shared.state() {
        State::Pending | State::Active => {}
        State::Rejected => {
            return Err(ContractError::wrong_state("the version was rejected").at("version"));
        }
        State::Erased => return Err(record::erased()),
    }
    let acting = match &reader {
        Some(reader) => {
            emergency::must_answer(ledger, &caller, &shared, reader)?;
            None
        }
        None => sharing(ledger, &caller, &patient, &shared)?,
    };
    let herself = acting == Some(Acting::Herself);
    must_have_room(ledger, &request, herself)?;
    add(ledger, &caller, &record, version, herself)?;
    let mut entry = Stored::by(AuditKind::KeysShared, &caller).about(record, version);
    entry.delegation = acting.and_then(Acting::delegation);
    audit::write(ledger, &patient, entry)?;
    let event = RecordEvent {
        patient,
        record,
        version,
    };
    event::set(ledger, event::KEYS_SHARED, &event)?;
    Ok(Done {})
}

/// In whose right keys are shared, when the caller may: the patient; a delegate for consents and
/// the author while there is somebody to share with; a records officer of the submitting
/// organization with the patient's own new certificates and her delegates, once it is active.
fn sharing(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: &Id,
    shared: &record::Version,
) -> Result<Option<Acting>, ContractError> {
    let officer = caller.role == Role::RecordsOfficer
        && caller.organization == shared.author.organization
        && shared.state() == State::Active;
    let acting = if shared.is_by(caller) || officer {
        None
    } else {
        Some(patient::acting(
            ledger,
            caller,
            patient,
            DelegateScope::Consent,
        )?)
    };
    if acting != Some(Acting::Herself) && !officer {
        must_have_readers(ledger, patient, shared)?;
    }
    Ok(acting)
}

fn must_have_readers(
    ledger: &dyn Ledger,
    patient: &Id,
    shared: &record::Version,
) -> Result<(), ContractError> {
    if delegate::has_reader(ledger, patient)? {
        return Ok(());
    }
    let consents = consent::all(ledger, patient)?;
    let time_ms = ledger.invocation().timestamp_ms;
    let standing = consents.iter().map(|(consent, status)| (consent, *status));
    if grantees(&shared.facts(), time_ms, standing).is_empty() {
        return Err(ContractError::forbidden(
            "no consent and no delegation stands that would let anybody read this version",
        )
        .at("record"));
    }
    Ok(())
}

/// Refuses a list that an answer about the version would not name any more. Others than the patient
/// take at most half of them, so that they cannot keep her from sharing.
fn must_have_room(
    ledger: &dyn Ledger,
    request: &ShareKeys,
    herself: bool,
) -> Result<(), ContractError> {
    let lists = ledger.range(&keys::wraps(&request.record, request.version)?, WRAPS_MAX);
    let mut others: u32 = 0;
    for entry in &lists.entries {
        let wrap: Wrap = json::stored("list of wrapped keys", &entry.value)?;
        others += u32::from(!wrap.herself);
    }
    let full = lists.entries.len() >= WRAPS_MAX as usize;
    if full || (!herself && others >= OTHERS_WRAPS_MAX) {
        return Err(ContractError::new(
            "limit-exceeded",
            format!(
                "a version takes at most {WRAPS_MAX} lists of wrapped keys, {OTHERS_WRAPS_MAX} of \
                 them from others than the patient"
            ),
        )
        .at("version"));
    }
    Ok(())
}

/// Adds the list to which the proposal's one side commitment commits.
pub(crate) fn add(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    record: &Id,
    version: u32,
    herself: bool,
) -> Result<(), ContractError> {
    let [commitment] = ledger.invocation().side[..] else {
        return Err(ContractError::invalid(
            "side",
            "the proposal takes exactly one side commitment, to the list of wrapped keys",
        ));
    };
    let key = keys::wrap(record, version, &Hex(commitment))?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("side"));
    }
    let wrap = Wrap {
        by: caller.fingerprint,
        time_ms: ledger.invocation().timestamp_ms,
        herself,
    };
    ledger.put(&key, &json::encode(&wrap)?);
    Ok(())
}

/// The commitments to a version's lists: all of them, since none is added beyond the limit.
pub(crate) fn of(
    ledger: &dyn Ledger,
    record: &Id,
    version: u32,
) -> Result<Vec<Hex<32>>, ContractError> {
    let page = ledger.range(&keys::wraps(record, version)?, WRAPS_MAX);
    page.entries
        .iter()
        .map(|entry| keys::attribute(&entry.key, 2))
        .collect()
}
