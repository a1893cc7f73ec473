//! Whom a version concerns: events carry ids only, so that whoever follows them asks.

use std::collections::BTreeSet;

use stela_consent::{Consent, ProvisionType, Purpose, Status};
use stela_guest::{ContractError, Ledger};

use crate::access;
use crate::answer::{Concern, Concerned};
use crate::caller::{Caller, must_be_question};
use crate::consent;
use crate::delegate;
use crate::emergency;
use crate::erasure;
use crate::patient;
use crate::record::{self, Version};
use crate::request::Concerns;
use crate::review;
use crate::value::{DelegateScope, State};

pub(crate) fn concerns(
    ledger: &mut dyn Ledger,
    request: Concerns,
) -> Result<Concerned, ContractError> {
    must_be_question(ledger)?;
    let caller = Caller::of(ledger)?;
    let record = request.record;
    let number = match request.version {
        Some(version) => version,
        None => record::head(ledger, &record)?.latest,
    };
    let version = record::load(ledger, &record, number)?;
    let (mut wrote, mut held) = (false, false);
    for other in 1..=version.head.latest {
        let author = record::load(ledger, &record, other)?.author;
        wrote |= author.fingerprint == caller.fingerprint;
        held |= access::held_permit(ledger, &caller, &record, other)?;
    }
    let findings = [
        (
            Concern::Patient,
            patient::is(ledger, &caller, &version.head.patient)?,
        ),
        (
            Concern::Delegate,
            acts_for_patient(ledger, &caller, &version)?,
        ),
        (Concern::Author, wrote),
        (
            Concern::Reviewer,
            review::involves(ledger, &caller, &version)?,
        ),
        (Concern::Permit, held),
        (Concern::Consent, is_open_to(ledger, &caller, &version)?),
        (
            Concern::Erasure,
            erasure::awaits(ledger, &caller, &version)?,
        ),
        (
            Concern::Emergency,
            emergency::awaits(ledger, &caller, &version.head.patient)?,
        ),
    ];
    let reasons = findings
        .into_iter()
        .filter_map(|(concern, holds)| holds.then_some(concern));
    Ok(Concerned {
        version: number,
        reasons: reasons.collect(),
    })
}

/// Whether the caller is a delegate who reads the version, or uses the patient's rights.
fn acts_for_patient(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<bool, ContractError> {
    let patient = &version.head.patient;
    let rights = delegate::standing(ledger, caller, patient, DelegateScope::Rights)?;
    Ok(rights.is_some() || record::reads_as_delegate(ledger, caller, version)?)
}

/// Whether the patient's consents open an active version to the caller for any purpose. A permit
/// applies to the purposes that it lists, so that no other one need be tried.
fn is_open_to(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<bool, ContractError> {
    if version.state() != State::Active {
        return Ok(false);
    }
    let Some(consents) = consent::within_limit(ledger, &version.head.patient)? else {
        return Ok(false);
    };
    let time_ms = ledger.invocation().timestamp_ms;
    Ok(purposes(&consents)
        .into_iter()
        .any(|purpose| access::by_consent(caller, version, purpose, time_ms, &consents).permit))
}

/// The purposes that permits list, in consents that stand.
fn purposes(consents: &[(Consent, Status)]) -> BTreeSet<Purpose> {
    consents
        .iter()
        .filter(|(_, status)| *status == Status::Active)
        .flat_map(|(consent, _)| std::iter::once(consent.provision()).chain(consent.exceptions()))
        .filter(|provision| provision.kind == ProvisionType::Permit)
        .flat_map(|provision| provision.purposes.iter().copied())
        .collect()
}
