//! Records: submitting, amending, looking at them.

use serde::{Deserialize, Serialize};
use stela_consent::{
    Consent, Fingerprint, Hex, Id, Organization, Purpose, RecordFacts, Role, Status,
};
use stela_guest::{ContractError, Ledger, json};

use crate::access;
use crate::answer::{
    AuditKind, ChangeKind, Done, Page, RecordChange, RecordSummary, RecordVersion,
};
use crate::audit::{self, Stored};
use crate::caller::{Caller, must_be_question};
use crate::consent;
use crate::delegate::{self, Delegation};
use crate::device;
use crate::erasure;
use crate::event::{self, AmendEvent, RecordEvent};
use crate::filter::Filter;
use crate::keys;
use crate::limits::{DATE_AHEAD_MS_MAX, VERSIONS_MAX};
use crate::page::Wanted;
use crate::patient;
use crate::request::{GetRecord, ListRecords, RecordHistory, SubmitRecord, SubmitWindow};
use crate::review::{self, Review};
use crate::study;
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
    /// Whether all of it was erased.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) erased: bool,
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
    /// For a device's window of observations: as it was submitted.
    pub(crate) window: Option<SubmitWindow>,
}

impl Version {
    pub(crate) fn state(&self) -> State {
        match &self.review {
            _ if self.head.erased => State::Erased,
            Some(review) => review.state,
            None => State::Pending,
        }
    }

    /// The version that this one replaced; for a pending one, that it is to replace.
    pub(crate) fn replaces(&self) -> Option<u32> {
        match &self.review {
            Some(review) => review.replaces,
            None => self.head.active,
        }
    }

    /// When what it reports took place, or else when it was submitted.
    pub(crate) fn moment_ms(&self) -> u64 {
        self.submission.date.unwrap_or(self.author.time_ms)
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
        let (state, replaces) = (self.state(), self.replaces());
        let submission = self.submission;
        let window = self.window.as_ref();
        let window = window
            .map(|window| device::window(ledger, window))
            .transpose()?;
        let (erased, wraps) = if self.head.erased {
            (
                Some(erasure::tombstone(ledger, &submission.record)?),
                Vec::new(),
            )
        } else {
            let lists = wraps::of(ledger, &submission.record, submission.version)?;
            (None, lists)
        };
        Ok(RecordVersion {
            record: submission.record,
            version: submission.version,
            latest: self.head.latest,
            state,
            reason: self.review.as_ref().and_then(|r| r.reason),
            replaces,
            replaced_by: self.review.as_ref().and_then(|r| r.replaced_by),
            erased,
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
            window,
            wraps,
        })
    }

    pub(crate) fn summary(self) -> RecordSummary {
        RecordSummary {
            record: self.submission.record,
            version: self.submission.version,
            state: self.state(),
            author: self.author.fingerprint,
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
    must_be_new(ledger, &request)?;
    write(ledger, &caller, &request, argument, None)?;
    let entry = Stored::by(AuditKind::Submitted, &caller).about(request.record, 1);
    audit::write(ledger, &request.patient, entry)?;
    let event = RecordEvent {
        patient: request.patient,
        record: request.record,
        version: 1,
    };
    event::set(ledger, event::RECORD_SUBMITTED, &event)?;
    Ok(Done {})
}

/// Refuses a record that is there, and files a new one under its patient.
pub(crate) fn must_be_new(
    ledger: &mut dyn Ledger,
    request: &SubmitRecord,
) -> Result<(), ContractError> {
    if ledger.get(&keys::record(&request.record)?).is_some() {
        return Err(ContractError::already_exists("record"));
    }
    let index = keys::record_of_patient(&request.patient, &request.record)?;
    ledger.put(&index, b"1");
    Ok(())
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
    if head.erased {
        return Err(erased());
    }
    if head.latest.checked_add(1) != Some(request.version) {
        return Err(ContractError::invalid(
            "version",
            "an amendment has the number after the newest version",
        ));
    }
    if request.version > VERSIONS_MAX {
        let rule = format!("a record takes at most {VERSIONS_MAX} versions");
        return Err(ContractError::new("limit-exceeded", rule).at("version"));
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
    write(ledger, &caller, &request, argument, head.active)?;
    let SubmitRecord {
        patient,
        record,
        version,
        ..
    } = request;
    let entry = Stored::by(AuditKind::Amended, &caller).about(record, version);
    audit::write(ledger, &patient, entry)?;
    let event = AmendEvent {
        patient,
        record,
        version,
        replaces: head.active,
    };
    event::set(ledger, event::RECORD_AMENDED, &event)?;
    Ok(Done {})
}

/// The caller, when she may author records about this patient.
fn author(ledger: &dyn Ledger, request: &SubmitRecord) -> Result<Caller, ContractError> {
    let caller = Caller::of(ledger)?;
    match caller.role {
        Role::Practitioner | Role::RecordsOfficer => {
            patient::load(ledger, &request.patient)?;
        }
        Role::Patient => {
            patient::must_be(ledger, &caller, &request.patient)?;
        }
        _ => return Err(ContractError::forbidden("your role submits no records")),
    }
    let latest_ms = ledger
        .invocation()
        .timestamp_ms
        .saturating_add(DATE_AHEAD_MS_MAX);
    if request.date.is_some_and(|date| date > latest_ms) {
        return Err(ContractError::invalid(
            "date",
            "what a record reports has taken place",
        ));
    }
    Ok(caller)
}

/// Writes a version, with the list of wrapped keys that comes with it.
pub(crate) fn write(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    request: &SubmitRecord,
    argument: &[u8],
    active: Option<u32>,
) -> Result<(), ContractError> {
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
        erased: false,
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
    ledger.put(&keys::blob(&request.cid, &record)?, b"1");
    let herself = caller.role == Role::Patient;
    wraps::add(ledger, caller, &record, version, herself)
}

/// A record as a whole.
pub(crate) fn head(ledger: &dyn Ledger, record: &Id) -> Result<Head, ContractError> {
    let value = ledger
        .get(&keys::record(record)?)
        .ok_or_else(|| ContractError::not_found("record"))?;
    json::stored("record", &value)
}

/// A record that must be about this patient, as a whole.
pub(crate) fn head_of_patient(
    ledger: &dyn Ledger,
    patient: &Id,
    record: &Id,
) -> Result<Head, ContractError> {
    let head = head(ledger, record)?;
    if head.patient == *patient {
        Ok(head)
    } else {
        Err(other_patient())
    }
}

/// One version of a record.
pub(crate) fn load(
    ledger: &dyn Ledger,
    record: &Id,
    version: u32,
) -> Result<Version, ContractError> {
    let head = head(ledger, record)?;
    let (submission, window) = submission(ledger, record, version)?;
    let author = submitted_by(ledger, record, version)?;
    let review = ledger.get(&keys::review(record, version)?);
    Ok(Version {
        head,
        submission,
        window,
        author,
        review: review.map(|r| json::stored("review", &r)).transpose()?,
    })
}

/// Who submitted a version; that never changes.
pub(crate) fn submitted_by(
    ledger: &dyn Ledger,
    record: &Id,
    version: u32,
) -> Result<Author, ContractError> {
    let author = ledger
        .get(&keys::author(record, version)?)
        .ok_or_else(|| ContractError::corrupt_state("record"))?;
    json::stored("record", &author)
}

/// What was submitted as a version.
pub(crate) fn submission(
    ledger: &dyn Ledger,
    record: &Id,
    version: u32,
) -> Result<(SubmitRecord, Option<SubmitWindow>), ContractError> {
    let submission = ledger
        .get(&keys::submission(record, version)?)
        .ok_or_else(|| ContractError::not_found("version"))?;
    submitted(&submission)
}

/// What was submitted stands as it was signed; a window has more fields than another record.
pub(crate) fn submitted(
    argument: &[u8],
) -> Result<(SubmitRecord, Option<SubmitWindow>), ContractError> {
    if let Ok(submission) = json::stored("record", argument) {
        return Ok((submission, None));
    }
    let window: SubmitWindow = json::stored("record", argument)?;
    Ok((window.clone().into(), Some(window)))
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

/// The refusal to go on with a record that was erased.
pub(crate) fn erased() -> ContractError {
    ContractError::wrong_state("the record was erased").at("record")
}

pub(crate) fn other_patient() -> ContractError {
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
    let sees = answers_for(ledger, &caller, &version)?
        || review::may_see(ledger, &caller, &version)?
        || reads_as_delegate(ledger, &caller, &version)?;
    if sees {
        return version.answer(ledger);
    }
    match access::standing(ledger, &caller, &version)? {
        Some(standing) => standing.show(ledger, version),
        None => Err(ContractError::forbidden(
            "ask for access first: only those may see a record who answer for it or hold a permit",
        )
        .at("record")),
    }
}

/// How a record as a whole changed, the newest change first.
pub(crate) fn history(
    ledger: &mut dyn Ledger,
    request: RecordHistory,
) -> Result<Page<RecordChange>, ContractError> {
    let caller = Caller::of(ledger)?;
    must_be_question(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let latest = head(ledger, &request.record)?.latest;
    let version = load(ledger, &request.record, latest)?;
    if !answers_for(ledger, &caller, &version)? {
        return Err(ContractError::forbidden(
            "the history of a record is for those who answer for its newest version",
        )
        .at("record"));
    }
    wanted.read_history(ledger, &keys::record(&request.record)?, |version| {
        change(ledger, &request.record, version)
    })
}

fn change(
    ledger: &dyn Ledger,
    record: &Id,
    at: &stela_guest::Version,
) -> Result<RecordChange, ContractError> {
    let corrupt = || ContractError::corrupt_state("record");
    let head: Head = json::stored("record", at.value.as_deref().ok_or_else(corrupt)?)?;
    let version = load(ledger, record, head.latest)?;
    let confirmed = head.active == Some(head.latest);
    let mut change = RecordChange {
        event: match head.latest {
            _ if head.erased => ChangeKind::Erased,
            _ if confirmed => ChangeKind::Confirmed,
            1 => ChangeKind::Submitted,
            _ => ChangeKind::Amended,
        },
        by: version.author.fingerprint,
        organization: version.author.organization.clone(),
        block: at.at.block,
        index: at.at.transaction,
        transaction: Hex(at.transaction_id),
        time: at.time_ms,
        latest: head.latest,
        active: head.active,
        replaces: None,
        replaced_by: None,
        reviews: Vec::new(),
    };
    if head.erased {
        let tombstone = erasure::tombstone(ledger, record)?;
        (change.by, change.organization) = (tombstone.by, tombstone.organization);
    } else if confirmed {
        let review = version.review.ok_or_else(corrupt)?;
        (change.by, change.organization) = (review.officer, review.organization);
    } else {
        change.replaces = head.active;
        change.replaced_by = version.review.as_ref().and_then(|r| r.replaced_by);
        change.reviews = review::steps(ledger, &version)?;
    }
    Ok(change)
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

/// Whether the caller reads this version as a delegate of the patient.
pub(crate) fn reads_as_delegate(
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
    if let Some(study) = request.study {
        return study::list(ledger, study, request);
    }
    let caller = Caller::of(ledger)?;
    let filter = Filter::new(&request)?;
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
        |entry| {
            let seen = viewer.sees(ledger, &keys::attribute(&entry.key, 1)?)?;
            Ok(seen
                .filter(|version| filter.admits(version))
                .map(Version::summary))
        },
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
    /// The version of a record that is shown: the newest to those who answer for it or review it,
    /// the active one to those for whom a consent opens it.
    fn sees(
        &self,
        ledger: &dyn Ledger,
        record: &Hex<16>,
    ) -> Result<Option<Version>, ContractError> {
        let head = head(ledger, record)?;
        let newest = load(ledger, record, head.latest)?;
        if self.herself
            || newest.is_for(&self.caller, &self.home)
            || review::may_see(ledger, &self.caller, &newest)?
        {
            return Ok(Some(newest));
        }
        let Some(active) = head.active.filter(|_| !head.erased) else {
            return Ok(None);
        };
        let version = load(ledger, record, active)?;
        if self.delegation.as_ref().is_some_and(|delegation| {
            delegation.opens(ledger, &self.caller, &version, &self.consents)
        }) {
            return Ok(Some(version));
        }
        let time_ms = ledger.invocation().timestamp_ms;
        let decision = access::by_consent(
            &self.caller,
            &version,
            self.purpose,
            time_ms,
            &self.consents,
        );
        Ok(decision.permit.then_some(version))
    }
}
