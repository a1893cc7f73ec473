//! FHIR R4 (4.0.1) in and out, as pure functions between resources and what the contract for health
//! records takes and answers.
//!
//! | Resource | In | Out |
//! |---|---|---|
//! | `Consent` | [`consent::import`] | [`consent::export`] |
//! | `AuditEvent` | | [`audit::events`] |
//! | `Provenance` | | [`provenance`] |
//! | `DocumentReference` | | [`document_reference`] |
//! | `Observation` | [`observation::measured`] | [`observation::observation`] |
//! | `Patient` | | [`patient`] |
//! | `Bundle` | | [`bundle::collection`] |
//! | `OperationOutcome` | | [`Refusal::outcome`] |
//!
//! [`labels`] says which sensitivity labels the content of a resource calls for.
//!
//! Reading is strict ([`read`]). A refusal names the element and the reason, and nothing of what the
//! document says. Nothing that is written names a person: patients, people and organizations go by
//! the ids of the ledger.

pub mod audit;
pub mod bundle;
mod code;
pub mod consent;
mod document;
mod json;
pub mod labels;
pub mod limits;
mod moment;
pub mod observation;
mod patient;
mod provenance;
pub mod reference;
mod refusal;

pub use document::document_reference;
pub use fhirkit::r4;
pub use json::{read, read_record, write};
pub use moment::BeyondDates;
pub use patient::patient;
pub use provenance::provenance;
pub use refusal::{Reason, Refusal};
