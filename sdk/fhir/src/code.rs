//! Code systems, and codings read and written.

use std::fmt;

use fhirkit::Primitive;
use fhirkit::r4::{CodeableConcept, Coding, Extension};
use stela_consent::Category;

use crate::refusal::{Read, Reason};

pub(crate) const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
pub(crate) const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
pub(crate) const AUDIT_ENTITY_TYPE: &str =
    "http://terminology.hl7.org/CodeSystem/audit-entity-type";
pub(crate) const AUTHZ_SUBTYPE: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType";
pub(crate) const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
pub(crate) const CONSENT_ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
pub(crate) const CONSENT_SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
pub(crate) const DATA_OPERATION: &str = "http://terminology.hl7.org/CodeSystem/v3-DataOperation";
pub(crate) const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
pub(crate) const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
pub(crate) const LOINC: &str = "http://loinc.org";
pub(crate) const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
pub(crate) const PARTICIPANT_TYPE: &str =
    "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
pub(crate) const PARTICIPATION_TYPE: &str =
    "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
pub(crate) const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";
pub(crate) const ROLE_CLASS: &str = "http://terminology.hl7.org/CodeSystem/v3-RoleClass";
pub(crate) const SECURITY_ROLE: &str =
    "http://terminology.hl7.org/CodeSystem/extra-security-role-type";
pub(crate) const SECURITY_SOURCE: &str =
    "http://terminology.hl7.org/CodeSystem/security-source-type";

/// Roles of a certificate's owner.
pub(crate) const ROLE: &str = "urn:stela:role";
/// Kinds of audit entries.
pub(crate) const AUDIT_KIND: &str = "urn:stela:audit-kind";
const CATEGORY: &str = "urn:stela:category";
const OBSERVATION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const CONDITION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
const US_CORE_DOCUMENT: &str =
    "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category";

pub(crate) fn coding(system: &str, code: &str) -> Coding {
    Coding {
        system: Some(system.into()),
        code: Some(code.into()),
        ..Coding::default()
    }
}

pub(crate) fn concept(system: &str, code: &str) -> CodeableConcept {
    CodeableConcept {
        coding: vec![coding(system, code)],
        ..CodeableConcept::default()
    }
}

/// How FHIR names a category of records.
pub(crate) fn category(category: Category) -> (&'static str, &'static str) {
    let system = match category {
        Category::PatientSummary => return (LOINC, "60591-5"),
        Category::DischargeSummary => return (LOINC, "18842-5"),
        Category::ClinicalNote => US_CORE_DOCUMENT,
        Category::Problem => CONDITION_CATEGORY,
        Category::Laboratory
        | Category::Imaging
        | Category::VitalSigns
        | Category::Procedure
        | Category::Exam
        | Category::Survey
        | Category::Therapy
        | Category::Activity
        | Category::SocialHistory => OBSERVATION_CATEGORY,
        Category::Medication | Category::Immunization | Category::CarePlan | Category::Genetics => {
            CATEGORY
        }
    };
    (system, category.code())
}

pub(crate) fn read_category(coding: &Coding, element: &str) -> Read<Category> {
    let (system, code) = parts(coding, element)?;
    Category::ALL
        .iter()
        .copied()
        .find(|one| category(*one) == (system, code))
        .ok_or_else(|| Reason::UnknownCode.at(element))
}

/// System and code. The display is for people, the version says which edition of the system has the
/// code, and neither changes what it means.
pub(crate) fn parts<'a>(coding: &'a Coding, element: &str) -> Read<(&'a str, &'a str)> {
    no_extension(&coding.extension, element)?;
    let system = text(&coding.system, format_args!("{element}.system"))?;
    let code = text(&coding.code, format_args!("{element}.code"))?;
    Ok((system, code))
}

/// The code of a coding in this system.
pub(crate) fn code_in<'a>(coding: &'a Coding, system: &str, element: &str) -> Read<&'a str> {
    match parts(coding, element)? {
        (found, code) if found == system => Ok(code),
        _ => Err(Reason::UnknownCode.at(element)),
    }
}

/// The one coding of a concept; what it says in words besides is for people.
pub(crate) fn only<'a>(concept: &'a CodeableConcept, element: &str) -> Read<&'a Coding> {
    no_extension(&concept.extension, element)?;
    match concept.coding.as_slice() {
        [one] => Ok(one),
        [] => Err(Reason::Missing.at(format_args!("{element}.coding"))),
        _ => Err(Reason::NotExpressible.at(format_args!("{element}.coding"))),
    }
}

pub(crate) fn text(value: &Option<Primitive<String>>, element: impl fmt::Display) -> Read<&str> {
    optional_text(value, &element)?.ok_or_else(|| Reason::Missing.at(element))
}

pub(crate) fn optional_text(
    value: &Option<Primitive<String>>,
    element: impl fmt::Display,
) -> Read<Option<&str>> {
    match value {
        None => Ok(None),
        Some(primitive) if !primitive.extension.is_empty() => Err(Reason::Extension.at(element)),
        Some(primitive) => Ok(primitive.value.as_deref()),
    }
}

pub(crate) fn no_extension(extensions: &[Extension], element: &str) -> Read<()> {
    if extensions.is_empty() {
        Ok(())
    } else {
        Err(Reason::Extension.at(format_args!("{element}.extension")))
    }
}
