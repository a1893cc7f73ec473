//! Records: submitting, amending, looking at them.

use serde::{Deserialize, Serialize};
use stela_consent::{
    Consent, Fingerprint, Hex, Id, Organization, Purpose, RecordFacts, Role, Status,
};
use stela_guest::{ContractError, Ledger, Mode, json};

use crate::access;
use crate::answer::{AuditKind, Done, Page, RecordChange, RecordSummary, RecordVersion};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::consent;
use crate::delegate::{self, Delegation};
use crate::event::{self, RecordEvent};
use crate::keys;
use crate::page::Wanted;
use crate::patient;
use crate::request::{GetRecord, ListRecords, RecordHistory, SubmitRecord};
use crate::review::Review;
use crate::value::State;
use crate::wraps;

/// What the state keeps of a record as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) patient: Id,
    pub(crate) latest: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<u32>,
}

/// Who submitted a version, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Author {
    #[serde(rename = "by")]
    pub(crate) fingerprint: Fingerprint,
    #[serde(rename = "org")]
    pub(crate) organization: Organization,
    pub(crate) role: Role,
    #[serde(rename = "time")]
    pub(crate) time_ms: u64,
}

/// Everything about one version, as the state has it.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) head: Head,
    pub(crate) submission: SubmitRecord,
    pub(crate) author: Author,
    pub(crate) review: Option<Review>,
}

impl Version {
    pub(crate) fn state(&self) -> State {
        self.review.as_ref().map_or(State::Pending, |r| r.state)
    }

    pub(crate) fn facts(&self) -> RecordFacts {
        RecordFacts {
            id: self.submission.record,
            category: self.submission.category,
            confidentiality: self.submission.confidentiality,
            labels: self.submission.labels.clone(),
            date_ms: self.submission.date,
        }
    }

    /// Whether the caller answers for this version as its author. A patient who is its author does
    /// not: what she may do depends on whether her certificate is still hers.
    pub(crate) fn is_by(&self, caller: &Caller) -> bool {
        self.author.fingerprint == caller.fingerprint && caller.role != Role::Patient
    }

    /// Whether the version's metadata is the caller's business by office or authorship.
    fn is_for(&self, caller: &Caller, home: &Organization) -> bool {
        self.is_by(caller)
            || caller.is_officer_of(&self.author.organization)
            || caller.is_officer_of(home)
    }

    /// The answer about this version, with the lists of wrapped keys.
    pub(crate) fn answer(self, ledger: &dyn Ledger) -> Result<RecordVersion, ContractError> {
        let state = self.state();
        let submission = self.submission;
        Ok(RecordVersion {
            record: submission.record,
            version: submission.version,
            latest: self.head.latest,
            state,
            reason: self.review.as_ref().and_then(|r| r.reason),
            replaced_by: self.review.as_ref().and_then(|r| r.replaced_by),
            patient: submission.patient,
            author: self.author.fingerprint,
            organization: self.author.organization,
            submitted: self.author.time_ms,
            cid: submission.cid,
            category: submission.category,
            confidentiality: submission.confidentiality,
            labels: submission.labels,
            date: submission.date,
            header: submission.header,
            commitment: submission.commitment,
            wraps: wraps::of(ledger, &submission.record, submission.version)?,
        })
    }

    fn summary(self) -> RecordSummary {
        RecordSummary {
            record: self.submission.record,
            version: self.submission.version,
            state: self.state(),
            organization: self.author.organization,
            submitted: self.author.time_ms,
            category: self.submission.category,
            confidentiality: self.submission.confidentiality,
            labels: self.submission.labels,
            date: self.submission.date,
        }
    }
}

pub(crate) fn submit(
    ledger: &mut dyn Ledger,
    request: SubmitRecord,
    argument: &[u8],
) -> Result<Done, ContractError> {
    let caller = author(ledger, &request)?;
    if request.version != 1 {
        return Err(ContractError::invalid(
            "version",
            "a new record has version 1",
        ));
    }
    if ledger.get(&keys::record(&request.record)?).is_some() {
        return Err(ContractError::already_exists("record"));
    }
    let index = keys::record_of_patient(&request.patient, &request.record)?;
    ledger.put(&index, b"1");
    write(ledger, &caller, &request, argument, None)
}

pub(crate) fn amend(
    ledger: &mut dyn Ledger,
    request: SubmitRecord,
    argument: &[u8],
) -> Result<Done, ContractError> {
    let caller = author(ledger, &request)?;
    let head = head(ledger, &request.record)?;
    if head.patient != request.patient {
        return Err(other_patient());
    }
    if head.latest.checked_add(1) != Some(request.version) {
        return Err(ContractError::invalid(
            "version",
            "an amendment has the number after the newest version",
        ));
    }
    let newest = load(ledger, &request.record, head.latest)?;
    if newest.author.organization != caller.organization {
        return Err(ContractError::forbidden(
            "only the organization that submitted a record may amend it",
        )
        .at("record"));
    }
    if newest.state() == State::Pending {
        return Err(ContractError::wrong_state(
            "the newest version is still to be reviewed",
        ));
    }
    write(ledger, &caller, &request, argument, head.active)
}

/// The caller, when she may author records about this patient.
fn author(ledger: &dyn Ledger, request: &SubmitRecord) -> Result<Caller, ContractError> {
    let caller = Caller::of(ledger)?;
    let bound = match caller.role {
        Role::Practitioner | Role::RecordsOfficer => false,
        Role::Device | Role::Patient if caller.patient == Some(request.patient) => true,
        Role::Device | Role::Patient => {
            return Err(
                ContractError::forbidden("your certificate is bound to another patient")
                    .at("patient"),
            );
        }
        _ => return Err(ContractError::forbidden("your role submits no records")),
    };
    let home = patient::load(ledger, &request.patient)?.organization;
    if caller.role == Role::Patient {
        patient::must_be(ledger, &caller, &request.patient)?;
    } else if bound {
        patient::must_be_home(&caller, &home)?;
    }
    Ok(caller)
}

fn write(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    request: &SubmitRecord,
    argument: &[u8],
    active: Option<u32>,
) -> Result<Done, ContractError> {
    let SubmitRecord {
        record,
        version,
        patient,
        ..
    } = *request;
    let head = Head {
        patient,
        latest: version,
        active,
    };
    let author = Author {
        fingerprint: caller.fingerprint,
        organization: caller.organization.clone(),
        role: caller.role,
        time_ms: ledger.invocation().timestamp_ms,
    };
    ledger.put(&keys::record(&record)?, &json::encode(&head)?);
    ledger.put(&keys::submission(&record, version)?, argument);
    ledger.put(&keys::author(&record, version)?, &json::encode(&author)?);
    let herself = caller.role == Role::Patient;
    wraps::add(ledger, caller, &record, version, herself)?;
    let entry = Stored::by(AuditKind::Submitted, caller).about(record, version);
    audit::write(ledger, &patient, entry)?;
    let event = RecordEvent {
        patient,
        record,
        version,
    };
    event::set(ledger, event::RECORD_SUBMITTED, &event)?;
    Ok(Done {})
}

/// A record as a whole.
pub(crate) fn head(ledger: &dyn Ledger, record: &Id) -> Result<Head, ContractError> {
    let value = ledger
        .get(&keys::record(record)?)
        .ok_or_else(|| ContractError::not_found("record"))?;
    json::stored("record", &value)
}

/// One version of a record.
pub(crate) fn load(
    ledger: &dyn Ledger,
    record: &Id,
    version: u32,
) -> Result<Version, ContractError> {
    let head = head(ledger, record)?;
    let submission = ledger
        .get(&keys::submission(record, version)?)
        .ok_or_else(|| ContractError::not_found("version"))?;
    let author = ledger
        .get(&keys::author(record, version)?)
        .ok_or_else(|| ContractError::corrupt_state("record"))?;
    let review = ledger.get(&keys::review(record, version)?);
    Ok(Version {
        head,
        submission: json::stored("record", &submission)?,
        author: json::stored("record", &author)?,
        review: review.map(|r| json::stored("review", &r)).transpose()?,
    })
}

/// One version of a record that must be about this patient.
pub(crate) fn load_of_patient(
    ledger: &dyn Ledger,
    patient: &Id,
    record: &Id,
    version: u32,
) -> Result<Version, ContractError> {
    let version = load(ledger, record, version)?;
    if version.head.patient == *patient {
        Ok(version)
    } else {
        Err(other_patient())
    }
}

fn other_patient() -> ContractError {
    ContractError::invalid("patient", "the record is about another patient")
}

pub(crate) fn get(
    ledger: &mut dyn Ledger,
    request: GetRecord,
) -> Result<RecordVersion, ContractError> {
    let caller = Caller::of(ledger)?;
    let number = match request.version {
        Some(version) => version,
        None => head(ledger, &request.record)?.latest,
    };
    let version = load(ledger, &request.record, number)?;
    if !answers_for(ledger, &caller, &version)?
        && !access::holds_permit(ledger, &caller, &version)?
        && !reads_as_delegate(ledger, &caller, &version)?
    {
        return Err(ContractError::forbidden(
            "ask for access first: only those may see a record who answer for it or hold a permit",
        )
        .at("record"));
    }
    version.answer(ledger)
}

/// How a record as a whole changed, the newest change first.
pub(crate) fn history(
    ledger: &mut dyn Ledger,
    request: RecordHistory,
) -> Result<Page<RecordChange>, ContractError> {
    let caller = Caller::of(ledger)?;
    if ledger.invocation().mode != Mode::Evaluate {
        return Err(ContractError::new(
            "evaluate-only",
            "a history is told to a question, and is no part of a transaction",
        ));
    }
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let latest = head(ledger, &request.record)?.latest;
    let version = load(ledger, &request.record, latest)?;
    if !answers_for(ledger, &caller, &version)? {
        return Err(ContractError::forbidden(
            "the history of a record is for those who answer for its newest version",
        )
        .at("record"));
    }
    wanted.read_history(ledger, &keys::record(&request.record)?, change)
}

fn change(version: &stela_guest::Version) -> Result<RecordChange, ContractError> {
    let value = version.value.as_deref();
    let head: Head = json::stored(
        "record",
        value.ok_or_else(|| ContractError::corrupt_state("record"))?,
    )?;
    Ok(RecordChange {
        block: version.at.block,
        index: version.at.transaction,
        transaction: Hex(version.transaction_id),
        time: version.time_ms,
        latest: head.latest,
        active: head.active,
    })
}

/// Whether a version's metadata is the caller's business without a permit.
fn answers_for(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<bool, ContractError> {
    let patient = &version.head.patient;
    let home = patient::load(ledger, patient)?.organization;
    Ok(version.is_for(caller, &home) || patient::is(ledger, caller, patient)?)
}

fn reads_as_delegate(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<bool, ContractError> {
    let patient = &version.head.patient;
    let Some(delegation) = delegate::reading(ledger, caller, patient, None)? else {
        return Ok(false);
    };
    let consents = consent::all(ledger, patient)?;
    Ok(delegation.opens(ledger, caller, version, &consents))
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: ListRecords,
) -> Result<Page<RecordSummary>, ContractError> {
    let caller = Caller::of(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let home = patient::load(ledger, &request.patient)?.organization;
    let herself = patient::is(ledger, &caller, &request.patient)?;
    let consents = if herself {
        Vec::new()
    } else {
        consent::all(ledger, &request.patient)?
    };
    let viewer = Viewer {
        delegation: delegate::reading(ledger, &caller, &request.patient, None)?,
        caller,
        herself,
        home,
        purpose: request.purpose.unwrap_or(Purpose::Treat),
        consents,
    };
    wanted.read(
        ledger,
        &keys::records_of_patient(&request.patient)?,
        |entry| viewer.summary(ledger, &keys::attribute(&entry.key, 1)?),
    )
}

struct Viewer {
    caller: Caller,
    herself: bool,
    delegation: Option<Delegation>,
    home: Organization,
    purpose: Purpose,
    consents: Vec<(Consent, Status)>,
}

impl Viewer {
    fn summary(
        &self,
        ledger: &dyn Ledger,
        record: &Hex<16>,
    ) -> Result<Option<RecordSummary>, ContractError> {
        let head = head(ledger, record)?;
        let newest = load(ledger, record, head.latest)?;
        if self.herself || newest.is_for(&self.caller, &self.home) {
            return Ok(Some(newest.summary()));
        }
        let Some(active) = head.active else {
            return Ok(None);
        };
        let version = load(ledger, record, active)?;
        if self.delegation.as_ref().is_some_and(|delegation| {
            delegation.opens(ledger, &self.caller, &version, &self.consents)
        }) {
            return Ok(Some(version.summary()));
        }
        let time_ms = ledger.invocation().timestamp_ms;
        let decision = access::by_consent(
            &self.caller,
            &version,
            self.purpose,
            time_ms,
            &self.consents,
        );
        Ok(decision.permit.then(|| version.summary()))
    }
}
