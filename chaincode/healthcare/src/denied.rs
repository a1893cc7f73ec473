//! Denied accesses that their requesters kept back: the endorsing peers note them.

use stela_consent::Role;
use stela_guest::{ContractError, Ledger, json};

use crate::access::{Asked, Judgement};
use crate::answer::{AuditKind, Done};
use crate::audit::{self, Stored};
use crate::caller::{Caller, transaction};
use crate::event::{self, RecordEvent};
use crate::record;
use crate::request::NoteDeniedAccess;
use crate::value::DenyReason;

/// The function that endorsers call.
const NOTE: &str = "note_denied_access";

/// Has a deny noted, should its transaction not come.
pub(crate) fn note_if_absent(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    asked: &Asked<'_>,
    judgement: &Judgement,
    reason: DenyReason,
) -> Result<(), ContractError> {
    let submission = &asked.version.submission;
    let invocation = ledger.invocation();
    let note = NoteDeniedAccess {
        patient: asked.version.head.patient,
        record: submission.record,
        version: submission.version,
        purpose: asked.purpose,
        requester: caller.fingerprint,
        organization: caller.organization.clone(),
        role: caller.role,
        transaction: transaction(invocation),
        time: invocation.timestamp_ms,
        reason,
        consent: judgement.consent,
        provision: judgement.provision.clone(),
        basis: judgement.basis,
        study: asked.study.map(|participant| participant.study),
    };
    ledger.on_absence(NOTE, &json::encode(&note)?);
    Ok(())
}

pub(crate) fn note(
    ledger: &mut dyn Ledger,
    request: NoteDeniedAccess,
) -> Result<Done, ContractError> {
    let NoteDeniedAccess {
        patient,
        record,
        version,
        ..
    } = request;
    let peer = Caller::of(ledger)?;
    if peer.role != Role::Peer {
        return Err(ContractError::forbidden(
            "a denied access that did not come is noted by the peers that endorsed it",
        ));
    }
    if request.time > ledger.invocation().timestamp_ms {
        return Err(ContractError::invalid("time", "it lies in the future"));
    }
    record::load_of_patient(ledger, &patient, &record, version)?;
    let requester = Caller {
        fingerprint: request.requester,
        organization: request.organization,
        role: request.role,
        patient: None,
    };
    let mut entry = Stored::by(AuditKind::AccessDenied, &requester).about(record, version);
    entry.consent = request.consent;
    entry.provision = request.provision;
    entry.basis = Some(request.basis);
    entry.purpose = Some(request.purpose);
    entry.reason = Some(request.reason.code().to_owned());
    entry.study = request.study;
    entry.noted_by = Some(peer.organization);
    let of = (request.time, &request.transaction);
    audit::write_for(ledger, &patient, of, entry)?;
    let event = RecordEvent {
        patient,
        record,
        version,
    };
    event::set(ledger, event::ACCESS_DENIED, &event)?;
    Ok(Done {})
}
