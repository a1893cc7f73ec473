//! Reading and writing resources as bytes.

use fhirkit::{Error, FhirJson, Severity};

use fhirkit::r4::Resource;

use crate::limits::{DOCUMENT_BYTES_MAX, RECORD_BYTES_MAX};
use crate::refusal::{Read, Reason, Refusal};

/// Reads one resource, strictly: an element that R4 does not know, a missing required one, a value
/// of the wrong form and a repeated key are refused.
///
/// # Errors
/// [`Reason::TooLarge`], [`Reason::NotR4`].
pub fn read<T: FhirJson>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(Reason::TooLarge.at(T::TYPE_NAME));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotR4.at(T::TYPE_NAME))?;
    strict(text)
}

/// Reads any resource that a record may be, as strictly.
///
/// # Errors
/// [`Reason::TooLarge`], [`Reason::NotR4`].
pub fn read_record(bytes: &[u8]) -> Result<Resource, Refusal> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(Reason::TooLarge.at(Resource::TYPE_NAME));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotR4.at(Resource::TYPE_NAME))?;
    strict(text)
}

fn strict<T: FhirJson>(text: &str) -> Read<T> {
    fhirkit::from_json_strict(text).map_err(|error| match error {
        Error::Json(_) => Reason::NotR4.at(T::TYPE_NAME),
        Error::Invalid(issues) => {
            let first = issues.iter().find(|one| one.severity == Severity::Error);
            let element = first.map_or(T::TYPE_NAME, |one| &one.path);
            Reason::NotR4.at(element)
        }
    })
}

/// Writes one resource as compact JSON.
pub fn write<T: FhirJson>(resource: &T) -> Vec<u8> {
    fhirkit::to_json(resource).into_bytes()
}
