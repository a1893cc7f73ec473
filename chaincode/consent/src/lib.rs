//! Decides whether a patient's consents permit an access.
//!
//! The model is FHIR R4 `Consent` as IHE PCF profiles it: one base provision with one level of
//! exceptions. The evaluator is pure and `no_std`; the contract runs it to decide and the
//! applications run it to show a user the answer before asking.
//!
//! # When a provision applies
//! A provision applies to a request when everything that it states fits; what it does not state
//! fits anything, except where that would widen a permit by silence:
//!
//! | Criterion (JSON) | Fits when | Not stated |
//! |---|---|---|
//! | `actor` | the requester is the identity; has the role at the organization; is of the organization (permit: of its workforce, [`Role::is_workforce`]; deny: anyone); has the role, wherever she is; or asks for the study | permit: the workforce of any organization; deny: anyone |
//! | the study that the request names | permit: the actor is this study; deny: as for any request | permit: the actor is no study |
//! | `purpose` | a listed purpose is, or contains, the requested one | any; a permit must state it |
//! | `period` | start <= time of the transaction < end | always |
//! | `max` (permits) | the record's confidentiality is not above it | `N` |
//! | `min` (denies) | the record's confidentiality is not below it | any |
//! | `label` | permit: every sensitivity label of the record is listed; deny: any is | permit: records without labels; deny: any record |
//! | `category` | the record's category is listed | any |
//! | `data` | start <= the record's date < end; without a date a permit does not fit and a deny does | any |
//! | `record` | the record is listed | any |
//!
//! So a permit for research by an organization opens nothing to a study at it, although IHE PCF
//! reads `HRESCH` as all research projects that an organization has: a patient joins each study by
//! a consent of her own.
//!
//! An exception (`except`) states the opposite of its base provision, applies only where the base
//! provision does, and then stands in its place.
//!
//! # Which provision decides
//! Each provision that applies has a [`Specificity`]: one number per criterion, two for the actor.
//! One provision is more specific than another when it is at least as specific in each criterion
//! and more so in one. Those that no other one exceeds decide: if one of them denies, the answer is
//! no, otherwise the first permit among them is named. So a general deny gives way to a permit
//! that speaks about the same things more narrowly, and two provisions about different things are
//! a tie, which denies. If nothing applies, the answer is no. Breaking the glass goes around this
//! ([`emergency`]).
//!
//! # Scopes and policies
//! A consent is about the patient's privacy, or about research (`"scope":"research"`): then it says
//! whether studies get records de-identified or re-identifiable (`research`: [`ResearchCategory`]),
//! every permit names a study, and it is about `HRESCH` and what that contains, nothing else. Only
//! such consents name studies. A consent may be one of IHE's ready-made policies (`policy`:
//! [`Policy`]); its provisions are then the policy's.

#![no_std]

extern crate alloc;

mod code;
mod decide;
mod hex;
pub mod limits;
mod model;
mod policy;
mod within;

pub use code::{
    Category, Confidentiality, Purpose, ResearchCategory, Role, Scope, SensitivityLabel,
    UnknownCode,
};
pub use decide::{
    Decision, Reason, RecordFacts, Request, Requester, Specificity, Status, decide, emergency,
    grantees,
};
pub use hex::{Fingerprint, Hex, HexError, Id};
pub use model::{Actor, Consent, ConsentError, Organization, Period, Provision, ProvisionType};
pub use policy::Policy;
pub use within::{Broader, Field};
