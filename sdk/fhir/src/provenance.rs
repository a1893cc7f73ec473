//! Who submitted, amended and confirmed a version of a record, as `Provenance`.

use fhirkit::r4::{Provenance, ProvenanceAgent};
use stela_healthcare::answer::{AuditEntry, AuditKind};

use crate::code::{DATA_OPERATION, LIFECYCLE, PARTICIPANT_TYPE, concept};
use crate::moment::{BeyondDates, instant};
use crate::reference;

/// The provenance that an entry of the audit trail tells of; nothing when it tells of none. Which
/// version an amendment replaces, its `DocumentReference` says.
///
/// # Errors
/// [`BeyondDates`]: it was made after the year 9999.
pub fn provenance(entry: &AuditEntry) -> Result<Option<Provenance>, BeyondDates> {
    let Some((record, version)) = entry.record.zip(entry.version) else {
        return Ok(None);
    };
    let (activity, part) = match entry.event {
        AuditKind::Submitted => (concept(DATA_OPERATION, "CREATE"), "author"),
        AuditKind::Amended => (concept(DATA_OPERATION, "UPDATE"), "author"),
        AuditKind::Reviewed | AuditKind::Confirmed => (concept(LIFECYCLE, "verify"), "verifier"),
        _ => return Ok(None),
    };
    Ok(Some(Provenance {
        id: Some(entry.transaction.to_string()),
        target: vec![reference::document(&record, version)],
        recorded: Some(instant(entry.time)?),
        activity: Some(activity),
        agent: vec![ProvenanceAgent {
            type_: Some(concept(PARTICIPANT_TYPE, part)),
            who: entry.by.as_ref().map(reference::certificate),
            on_behalf_of: entry.organization.as_ref().map(reference::organization),
            ..ProvenanceAgent::default()
        }],
        ..Provenance::default()
    }))
}
