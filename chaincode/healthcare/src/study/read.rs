//! What a study is told: its records under pseudonyms, and counts of patients.

use stela_consent::{
    Category, Consent, Hex, Id, Purpose, ResearchCategory, SensitivityLabel, Status,
};
use stela_guest::{ContractError, Entry, KeyRange, Ledger, json};

use super::{NOBODY, Named, Study, answers_for, is_investigator, sponsor};
use crate::access;
use crate::answer::{Cohort, Page, RecordSummary, StudyRecord};
use crate::caller::{Caller, must_be_question};
use crate::consent;
use crate::filter::{Filter, must_be_period};
use crate::keys;
use crate::limits::{
    COHORT_NAMES_MAX, COHORT_PART_PATIENTS, COHORT_PARTS_MAX, COHORT_PATIENTS_MAX,
    COHORT_RECORDS_MAX,
};
use crate::page::{Wanted, foreign_bookmark};
use crate::record::{self, Version};
use crate::request::{ListRecords, StudyCohort, StudyRecords};
use crate::settings::Settings;

/// Who reads for a study, and why.
struct Reading {
    caller: Caller,
    id: Id,
    study: Study,
    purpose: Purpose,
}

/// A record that a study may read.
struct Readable {
    version: Version,
    /// Whether the study may know who the patient is.
    re_identifiable: bool,
}

impl Reading {
    /// # Errors
    /// Unless the study runs, is for the purpose, and the caller investigates, or with `sponsors`
    /// answers for it.
    fn admitted(
        ledger: &dyn Ledger,
        id: Id,
        purpose: Option<Purpose>,
        sponsors: bool,
    ) -> Result<Self, ContractError> {
        let caller = Caller::of(ledger)?;
        let study = Study::running(ledger, &id)?;
        let admitted = is_investigator(ledger, &caller, &id)?
            || (sponsors && answers_for(&caller, &sponsor(ledger, &id)?));
        if !admitted {
            return Err(
                ContractError::forbidden("this is for the study's investigators").at("study"),
            );
        }
        let first = study.terms.purposes.first().copied();
        let purpose = purpose.or(first).unwrap_or(Purpose::Research);
        if !study.is_for(purpose) {
            return Err(ContractError::invalid(
                "purpose",
                "the study is not for this purpose",
            ));
        }
        Ok(Self {
            caller,
            id,
            study,
            purpose,
        })
    }

    /// The active version of a record, when the study's terms and the patient's consents open it.
    fn open(
        &self,
        ledger: &dyn Ledger,
        record: &Id,
        consents: &[(Consent, Status)],
    ) -> Result<Option<Readable>, ContractError> {
        let head = record::head(ledger, record)?;
        let Some(active) = head.active.filter(|_| !head.erased) else {
            return Ok(None);
        };
        let version = record::load(ledger, record, active)?;
        if !self.study.extends_to(&version.facts()) {
            return Ok(None);
        }
        let (study, time_ms) = (Some(self.id), ledger.invocation().timestamp_ms);
        let decision = access::by_consent_for(
            study,
            &self.caller,
            &version,
            self.purpose,
            time_ms,
            consents,
        );
        Ok(decision.permit.then_some(Readable {
            version,
            re_identifiable: decision.research == Some(ResearchCategory::ReIdentifiable),
        }))
    }

    /// What it may read of at most `limit` records of a patient, behind the record `behind`.
    fn part(
        &self,
        ledger: &dyn Ledger,
        patient: &Id,
        behind: Option<&Id>,
        limit: u32,
    ) -> Result<Part, ContractError> {
        let mut part = Part::default();
        let Some(consents) = consent::within_limit(ledger, patient)? else {
            return Ok(part);
        };
        let all = keys::records_of_patient(patient)?;
        let range = match behind {
            Some(record) => {
                let last = keys::record_of_patient(patient, record)?;
                from_behind(&all, last.as_bytes())?
            }
            None => all,
        };
        let page = ledger.range(&range, limit);
        for entry in &page.entries {
            let record = keys::attribute(&entry.key, 1)?;
            part.looked_at += 1;
            part.next = page.next.is_some().then_some(record);
            part.readable.extend(self.open(ledger, &record, &consents)?);
        }
        Ok(part)
    }
}

/// A part of a patient's records.
#[derive(Default)]
struct Part {
    readable: Vec<Readable>,
    looked_at: u32,
    /// The last record, when there may be more.
    next: Option<Id>,
}

fn from_behind(range: &KeyRange, key: &[u8]) -> Result<KeyRange, ContractError> {
    let behind = [key, &[0]].concat();
    range
        .from(&behind)
        .ok_or_else(|| ContractError::corrupt_state("key"))
}

/// Where a list for a study goes on. Other bookmarks are keys of the state, and would name the
/// patient.
#[derive(Clone, Copy)]
struct Place {
    /// Behind this patient, or within her records.
    pseudonym: Id,
    /// Behind this record of hers.
    record: Option<Id>,
}

impl Place {
    fn decode(wanted: &Wanted) -> Result<Option<Self>, ContractError> {
        let Some(bytes) = wanted.bookmark() else {
            return Ok(None);
        };
        let (pseudonym, record) = bytes.split_at_checked(16).ok_or_else(foreign_bookmark)?;
        let id = |bytes: &[u8]| bytes.try_into().map(Hex);
        let record = match record {
            [] => None,
            some => Some(id(some).map_err(|_| foreign_bookmark())?),
        };
        Ok(Some(Self {
            pseudonym: id(pseudonym).map_err(|_| foreign_bookmark())?,
            record,
        }))
    }

    fn encode(&self) -> String {
        let record = self
            .record
            .map_or(String::new(), |record| record.to_string());
        format!("{}{record}", self.pseudonym)
    }
}

/// The patients of a study from a place on; where it says "behind", without the one it names.
fn enrolled_from(study: &Id, place: Option<&Place>) -> Result<KeyRange, ContractError> {
    let all = keys::pseudonyms(study)?;
    let Some(place) = place else {
        return Ok(all);
    };
    let name = keys::pseudonym(study, &place.pseudonym)?;
    match place.record {
        Some(_) => all
            .from(name.as_bytes())
            .ok_or_else(|| ContractError::corrupt_state("key")),
        None => from_behind(&all, name.as_bytes()),
    }
}

fn named(entry: &Entry) -> Result<Option<Id>, ContractError> {
    let named: Named = json::stored("pseudonym", &entry.value)?;
    Ok(named.patient)
}

pub(crate) fn records(
    ledger: &mut dyn Ledger,
    request: StudyRecords,
) -> Result<Page<StudyRecord>, ContractError> {
    let reading = Reading::admitted(ledger, request.study, request.purpose, false)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let place = Place::decode(&wanted)?;
    let range = enrolled_from(&request.study, place.as_ref())?;
    let enrolled = ledger.range(&range, wanted.limit());
    let mut entries = Vec::new();
    let mut left = wanted.limit();
    let mut done: Option<Id> = None;
    for entry in &enrolled.entries {
        let pseudonym = keys::attribute(&entry.key, 1)?;
        if left == 0 {
            break;
        }
        if let Some(patient) = named(entry)? {
            let within = place.filter(|place| place.pseudonym == pseudonym);
            let behind = within.and_then(|place| place.record);
            let part = reading.part(ledger, &patient, behind.as_ref(), left)?;
            let told = part.readable.into_iter();
            entries.extend(told.map(|readable| study_record(pseudonym, readable)));
            if part.next.is_some() {
                let place = Place {
                    pseudonym,
                    record: part.next,
                };
                return Ok(Page {
                    entries,
                    bookmark: Some(place.encode()),
                });
            }
            left = left.saturating_sub(part.looked_at);
        }
        left = left.saturating_sub(1);
        done = Some(pseudonym);
    }
    let last = enrolled.entries.last();
    let last = last
        .map(|entry| keys::attribute(&entry.key, 1))
        .transpose()?;
    let more = enrolled.next.is_some() || last != done;
    let place = done.filter(|_| more).map(|pseudonym| Place {
        pseudonym,
        record: None,
    });
    Ok(Page {
        entries,
        bookmark: place.map(|place| place.encode()),
    })
}

fn study_record(pseudonym: Id, readable: Readable) -> StudyRecord {
    let Readable {
        version,
        re_identifiable,
    } = readable;
    StudyRecord {
        pseudonym,
        patient: Some(version.head.patient).filter(|_| re_identifiable),
        record: version.submission.record,
        version: version.submission.version,
        category: version.submission.category,
        date: version.submission.date,
    }
}

/// `list_records` for a study: of one patient, whom the request has under her pseudonym.
pub(crate) fn list(
    ledger: &mut dyn Ledger,
    study: Id,
    request: ListRecords,
) -> Result<Page<RecordSummary>, ContractError> {
    let reading = Reading::admitted(ledger, study, request.purpose, false)?;
    let filter = Filter::new(&request)?;
    if request.author.is_some() {
        // It could be the patient.
        return Err(ContractError::invalid(
            "author",
            "a study is not told who wrote a record",
        ));
    }
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let place = Place::decode(&wanted)?;
    let pseudonym = request.patient;
    if place.is_some_and(|place| place.pseudonym != pseudonym || place.record.is_none()) {
        return Err(foreign_bookmark());
    }
    let behind = place.and_then(|place| place.record);
    let value = ledger.get(&keys::pseudonym(&study, &pseudonym)?);
    let value = value.map(|value| json::stored::<Named>("pseudonym", &value));
    let patient = value
        .transpose()?
        .and_then(|named| named.patient)
        .ok_or_else(|| ContractError::not_found("patient"))?;
    let part = reading.part(ledger, &patient, behind.as_ref(), wanted.limit())?;
    let place = part.next.map(|record| Place {
        pseudonym,
        record: Some(record),
    });
    let versions = part.readable.into_iter().map(|one| one.version);
    let told = versions.filter(|version| filter.admits(version));
    Ok(Page {
        entries: told.map(summary).collect(),
        bookmark: place.map(|place| place.encode()),
    })
}

/// A patient's own certificate, or her device's, is not told.
fn summary(version: Version) -> RecordSummary {
    let hers = !version.author.role.is_workforce();
    let mut summary = version.summary();
    if hers {
        summary.author = NOBODY;
    }
    summary
}

/// What a record must be like to count.
struct Criteria {
    category: Option<Category>,
    label: Option<SensitivityLabel>,
    from: Option<u64>,
    to: Option<u64>,
}

impl Criteria {
    fn fit(&self, version: &Version) -> bool {
        let facts = version.facts();
        let date = facts.date_ms;
        self.category
            .is_none_or(|category| category == facts.category)
            && self.label.is_none_or(|label| facts.labels.contains(&label))
            && self
                .from
                .is_none_or(|from| date.is_some_and(|date| date >= from))
            && self.to.is_none_or(|to| date.is_some_and(|date| date < to))
    }
}

/// How many patients of a part of a study have a record that it may read and that fits; smaller
/// numbers than the floor are not told.
pub(crate) fn cohort(
    ledger: &mut dyn Ledger,
    request: StudyCohort,
) -> Result<Cohort, ContractError> {
    must_be_question(ledger)?;
    must_be_period(request.from, request.to)?;
    let reading = Reading::admitted(ledger, request.study, request.purpose, true)?;
    let criteria = Criteria {
        category: request.category,
        label: request.label,
        from: request.from,
        to: request.to,
    };
    let (enrolled, parts) = part(ledger, &request.study, request.part.unwrap_or_default())?;
    let (mut count, mut left) = (0, COHORT_RECORDS_MAX);
    for entry in &enrolled {
        if let Some(patient) = named(entry)? {
            count += u32::from(counts(ledger, &reading, &criteria, &patient, &mut left)?);
        }
    }
    let floor = Settings::of(ledger)?.study_floor;
    let floor = floor.max(reading.study.terms.floor.unwrap_or_default());
    Ok(Cohort {
        count: (count >= floor).then_some(count),
        fewer_than: (count < floor).then_some(floor),
        parts,
    })
}

/// The patients of one part of a study, and how many parts it has. Its size alone says how many:
/// who could choose the parts could set them against one another until one patient is left.
fn part(ledger: &dyn Ledger, study: &Id, wanted: u32) -> Result<(Vec<Entry>, u32), ContractError> {
    let all = enrolled(ledger, study)?;
    let number = u32::try_from(all.len()).map_err(|_| too_many())?;
    let parts = match number {
        0..=COHORT_PATIENTS_MAX => 1,
        _ => number.div_ceil(COHORT_PART_PATIENTS),
    };
    if wanted >= parts {
        let rule = format!("the study's patients are divided into {parts} parts");
        return Err(ContractError::invalid("part", rule));
    }
    let mut within = Vec::new();
    for entry in all {
        let Hex([high, low, ..]): Id = keys::attribute(&entry.key, 1)?;
        if u32::from(u16::from_be_bytes([high, low])) % parts == wanted {
            within.push(entry);
        }
    }
    if within.len() > COHORT_PATIENTS_MAX as usize {
        return Err(too_many());
    }
    Ok((within, parts))
}

/// The patients of a study, those who left included.
fn enrolled(ledger: &dyn Ledger, study: &Id) -> Result<Vec<Entry>, ContractError> {
    let mut range = keys::pseudonyms(study)?;
    let mut all = Vec::new();
    loop {
        let page = ledger.range(&range, COHORT_NAMES_MAX);
        all.extend(page.entries);
        if all.len() > (COHORT_PARTS_MAX * COHORT_PART_PATIENTS) as usize {
            return Err(too_many());
        }
        let Some(next) = page.next else {
            return Ok(all);
        };
        range = range
            .from(&next)
            .ok_or_else(|| ContractError::corrupt_state("key"))?;
    }
}

/// Whether one of a patient's records fits.
fn counts(
    ledger: &dyn Ledger,
    reading: &Reading,
    criteria: &Criteria,
    patient: &Id,
    left: &mut u32,
) -> Result<bool, ContractError> {
    let Some(consents) = consent::within_limit(ledger, patient)? else {
        return Ok(false);
    };
    let page = ledger.range(&keys::records_of_patient(patient)?, *left + 1);
    for entry in &page.entries {
        *left = left.checked_sub(1).ok_or_else(too_many)?;
        let record = keys::attribute(&entry.key, 1)?;
        let open = reading.open(ledger, &record, &consents)?;
        if open.is_some_and(|readable| criteria.fit(&readable.version)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn too_many() -> ContractError {
    ContractError::new(
        "limit-exceeded",
        format!(
            "a study is counted with at most {} patients, those who left included, and each part \
             of it with at most {COHORT_PATIENTS_MAX} patients and {COHORT_RECORDS_MAX} records",
            COHORT_PARTS_MAX * COHORT_PART_PATIENTS
        ),
    )
    .at("study")
}
