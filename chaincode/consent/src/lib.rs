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
//! | `actor` | the requester is the identity; has the role at the organization; or is of the organization (permit: of its workforce, [`Role::is_workforce`]; deny: anyone) | permit: the workforce of any organization; deny: anyone |
//! | `purpose` | a listed purpose is, or contains, the requested one | any; a permit must state it |
//! | `period` | start <= time of the transaction < end | always |
//! | `max` (permits) | the record's confidentiality is not above it | `N` |
//! | `min` (denies) | the record's confidentiality is not below it | any |
//! | `label` | permit: every sensitivity label of the record is listed; deny: any is | permit: records without labels; deny: any record |
//! | `category` | the record's category is listed | any |
//! | `data` | start <= the record's date < end; without a date a permit does not fit and a deny does | any |
//! | `record` | the record is listed | any |
//!
//! An exception (`except`) states the opposite of its base provision, applies only where the base
//! provision does, and then stands in its place.
//!
//! # Which provision decides
//! Each provision that applies has a [`Specificity`]: seven numbers, one per criterion. One
//! provision is more specific than another when it is at least as specific in each criterion and
//! more so in one. Those that no other one exceeds decide: if one of them denies, the answer is
//! no, otherwise the first permit among them is named. So a general deny gives way to a permit
//! that speaks about the same things more narrowly, and two provisions about different things are
//! a tie, which denies. If nothing applies, the answer is no.

#![no_std]

extern crate alloc;

mod code;
mod decide;
mod hex;
pub mod limits;
mod model;

pub use code::{Category, Confidentiality, Purpose, Role, SensitivityLabel, UnknownCode};
pub use decide::{
    Decision, Reason, RecordFacts, Request, Requester, Specificity, Status, decide, grantees,
};
pub use hex::{Fingerprint, Hex, HexError, Id};
pub use model::{Actor, Consent, ConsentError, Organization, Period, Provision, ProvisionType};
