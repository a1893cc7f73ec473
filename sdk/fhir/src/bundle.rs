//! Everything about a patient as one `Bundle`.

use data_encoding::BASE64;
use fhirkit::r4::{Binary, Bundle, BundleEntry, Resource};
use stela_consent::{Id, Organization};
use stela_healthcare::answer::{AuditEntry, FiledConsent, RecordVersion};

use crate::limits::BUNDLE_ENTRIES_MAX;
use crate::moment::{BeyondDates, instant};
use crate::{audit, consent, document_reference, patient, provenance};

/// What the ledger has about a patient.
#[derive(Debug, Clone)]
pub struct Everything<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The patient.
    pub patient: Id,
    /// Who registered her.
    pub registered_by: &'a Organization,
    /// Her consents.
    pub consents: &'a [FiledConsent],
    /// The versions of her records.
    pub records: &'a [RecordVersion],
    /// Her audit trail.
    pub trail: &'a [AuditEntry],
    /// What goes with it as bytes: receipts, documents.
    pub files: &'a [File<'a>],
}

/// Bytes that go with an export.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its id in the bundle: up to 64 letters, digits, `-` and `.`.
    pub id: &'a str,
    /// Its media type.
    pub media_type: &'a str,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Why a bundle could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A date in it.
    #[error(transparent)]
    BeyondDates(#[from] BeyondDates),
    /// The id of a file that FHIR does not take.
    #[error("the id of a file has up to 64 letters, digits, - and .")]
    FileId,
    /// It would have more than [`BUNDLE_ENTRIES_MAX`] resources.
    #[error("a bundle takes at most {BUNDLE_ENTRIES_MAX} resources")]
    TooLarge,
}

/// Everything as a bundle of the type `collection`, made at `time_ms`: the patient, her consents,
/// the versions of her records with their provenance, her audit trail, and the files. `base` is the address
/// of the FHIR server under which the resources go, without a slash at its end.
///
/// # Errors
/// [`BundleError`].
pub fn collection(
    everything: &Everything<'_>,
    base: &str,
    time_ms: u64,
) -> Result<Bundle, BundleError> {
    let id = &everything.patient;
    let herself = patient(id, everything.registered_by);
    let mut resources = vec![Resource::Patient(Box::new(herself))];
    for filed in everything.consents {
        let consent = consent::export(id, &filed.consent, filed.status)?;
        resources.push(Resource::Consent(Box::new(consent)));
    }
    for version in everything.records {
        let document = document_reference(version)?;
        resources.push(Resource::DocumentReference(Box::new(document)));
    }
    for entry in everything.trail {
        let told = provenance(entry)?;
        resources.extend(told.map(|one| Resource::Provenance(Box::new(one))));
        let events = audit::events(everything.channel, id, entry)?;
        resources.extend(
            events
                .into_iter()
                .map(|one| Resource::AuditEvent(Box::new(one))),
        );
    }
    for file in everything.files {
        resources.push(Resource::Binary(Box::new(binary(file)?)));
    }
    if resources.len() > BUNDLE_ENTRIES_MAX {
        return Err(BundleError::TooLarge);
    }
    Ok(Bundle {
        type_: Some("collection".into()),
        timestamp: Some(instant(time_ms)?),
        entry: resources.into_iter().map(|one| entry(base, one)).collect(),
        ..Bundle::default()
    })
}

fn binary(file: &File<'_>) -> Result<Binary, BundleError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if !(1..=64).contains(&file.id.len()) || !file.id.bytes().all(known) {
        return Err(BundleError::FileId);
    }
    Ok(Binary {
        id: Some(file.id.to_owned()),
        content_type: Some(file.media_type.into()),
        data: (!file.bytes.is_empty()).then(|| BASE64.encode(file.bytes).into()),
        ..Binary::default()
    })
}

fn entry(base: &str, resource: Resource) -> BundleEntry {
    let kind = resource.resource_type();
    let address = resource.id().map(|id| format!("{base}/{kind}/{id}"));
    BundleEntry {
        full_url: address.map(Into::into),
        resource: Some(resource),
        ..BundleEntry::default()
    }
}
