//! Lists of wrapped keys: they travel beside the transaction, the ledger keeps their commitments.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id, grantees};
use stela_guest::{ContractError, Ledger, json};

use crate::answer::{AuditKind, Done};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::consent;
use crate::event::{self, RecordEvent};
use crate::keys;
use crate::limits::{AUTHOR_WRAPS_MAX, WRAPS_MAX};
use crate::patient;
use crate::record;
use crate::request::ShareKeys;
use crate::value::State;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrap {
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
}

pub(crate) fn share(ledger: &mut dyn Ledger, request: ShareKeys) -> Result<Done, ContractError> {
    let ShareKeys {
        patient,
        record,
        version,
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
    let herself = patient::is(ledger, &caller, &patient)?;
    if !herself {
        if caller.fingerprint != shared.author.fingerprint {
            return Err(ContractError::forbidden(
                "keys are shared by the patient or by the record's author",
            )
            .at("record"));
        }
        must_have_grantees(ledger, &patient, &shared)?;
    }
    must_have_room(ledger, &caller, &request, herself)?;
    add(ledger, &caller, &record, version)?;
    let entry = Stored::by(AuditKind::KeysShared, &caller).about(record, version);
    audit::write(ledger, &patient, entry)?;
    let event = RecordEvent {
        patient,
        record,
        version,
    };
    event::set(ledger, event::KEYS_SHARED, &event)?;
    Ok(Done {})
}

fn must_have_grantees(
    ledger: &dyn Ledger,
    patient: &Id,
    shared: &record::Version,
) -> Result<(), ContractError> {
    let consents = consent::all(ledger, patient)?;
    let time_ms = ledger.invocation().timestamp_ms;
    let standing = consents.iter().map(|(consent, status)| (consent, *status));
    if grantees(&shared.facts(), time_ms, standing).is_empty() {
        return Err(ContractError::forbidden(
            "no consent stands that would let anybody read this version",
        )
        .at("record"));
    }
    Ok(())
}

/// Refuses a list that an answer about the version would not name any more. The author takes at
/// most half of them, so that she cannot keep the patient from sharing.
fn must_have_room(
    ledger: &dyn Ledger,
    caller: &Caller,
    request: &ShareKeys,
    herself: bool,
) -> Result<(), ContractError> {
    let lists = ledger.range(&keys::wraps(&request.record, request.version)?, WRAPS_MAX);
    let mut own: u32 = 0;
    for entry in &lists.entries {
        let wrap: Wrap = json::stored("list of wrapped keys", &entry.value)?;
        own += u32::from(wrap.by == caller.fingerprint);
    }
    let full = lists.entries.len() >= WRAPS_MAX as usize;
    if full || (!herself && own >= AUTHOR_WRAPS_MAX) {
        return Err(ContractError::new(
            "limit-exceeded",
            format!(
                "a version takes at most {WRAPS_MAX} lists of wrapped keys, {AUTHOR_WRAPS_MAX} of \
                 them from its author"
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
