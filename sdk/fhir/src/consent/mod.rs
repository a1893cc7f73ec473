//! Consents.
//!
//! # What is written
//! A `Consent` whose policy is [`POLICY`]: it means what the documentation of [`stela_consent`]
//! says. It follows IHE PCF where that can say the same: typed provisions, recipients as actors
//! (`IRCP`), purposes of use, security labels. A consent that is one of IHE's ready-made policies
//! names that policy instead.
//!
//! | Here | In FHIR |
//! |---|---|
//! | `scope`, `research` | `scope`; `category` LOINC 59284-0, or `RSDID` or `RSREID` |
//! | actor: identity, organization | a reference by identifier |
//! | actor: role, role at an organization | a reference to a contained `PractitionerRole` |
//! | actor: study | HL7's extension `consent-ResearchStudyContext` of the provision |
//! | `purpose` | `purpose`, `v3-ActReason` |
//! | `max` | the one `securityLabel` of `v3-Confidentiality`; the default `N` is marked as not chosen by the user |
//! | `min` | every level from it on as a `securityLabel` |
//! | `label` | `securityLabel`, `v3-ActCode` |
//! | `category` | `class` |
//! | `period`, `data` | `period`, `dataPeriod` |
//! | `record` | `data` with the meaning `instance` |
//! | `except` | nested provisions |
//!
//! # What is read
//! What is written; IHE's ready-made policies, by their address alone or with exactly their
//! provisions; and R4's base policies: `OPTOUT` denies, `OPTIN` assents to the terms that were
//! offered, which the caller names ([`Context::offered`]). There the root provision constrains the
//! base policy, as R4 defines it, and has no type of its own.
//!
//! In R4's own reading a confidentiality label is a high-water mark and a sensitivity label covers
//! what it subsumes. A permit has to state its purposes and its highest confidentiality; what it
//! does not list among sensitivity labels stays closed. What cannot be said with consents here is
//! refused, and so is everything that is not understood, except what cannot change who may read:
//! `id`, `meta`, `language`, `text`, `identifier`, `dateTime`, `performer`, `organization`,
//! `source[x]`, `policy.authority`, displays, versions of code systems, types of references, and
//! contained resources that nothing refers to. Who agreed does not matter because a consent is in
//! force only once the patient has signed it on the ledger.

mod export;
mod import;
mod provision;

use fhirkit::r4;
use stela_consent::{Organization, Policy, Role};
use time::UtcOffset;

use crate::code::{ROLE, concept};
use crate::reference::{self, Known};

pub use export::export;
pub use import::import;

/// The policy of a consent that is written here.
pub const POLICY: &str = "urn:stela:policy:consent";
const STUDY_CONTEXT: &str = "http://hl7.org/fhir/StructureDefinition/consent-ResearchStudyContext";
/// LOINC: patient consent.
const PATIENT_CONSENT: &str = "59284-0";

/// What has to be known besides a document to say what it means.
#[derive(Debug, Clone)]
pub struct Context {
    /// Whom and what references mean.
    pub known: Known,
    /// The terms that the patient was offered, to which an `OPTIN` assents: a policy that permits.
    pub offered: Option<Policy>,
    /// How far ahead of UTC clocks are where the consent was given, for dates without a time.
    pub zone: UtcOffset,
}

/// A role, alone or at an organization, as a resource.
fn practitioner_role(
    id: &str,
    organization: Option<&Organization>,
    role: Role,
) -> r4::PractitionerRole {
    r4::PractitionerRole {
        id: Some(id.to_owned()),
        organization: organization.map(reference::organization),
        code: vec![concept(ROLE, role.code())],
        ..r4::PractitionerRole::default()
    }
}
