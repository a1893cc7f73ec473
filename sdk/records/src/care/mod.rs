//! What an application developer calls: records from the document to the ledger and back.
//!
//! A [`Session`] is one user at one gateway with her keys and her own IPFS node. Through it
//!
//! * an author [submits](Session::submit) a record or [amends](Session::amend) it: it is encrypted
//!   here, its ciphertext is held by two organizations before the transaction is made, and its key
//!   is wrapped for the patient, the reviewing officers, and everybody to whom standing consents
//!   open it;
//! * a records officer [reviews](Session::review) and then [confirms](Session::confirm) or
//!   [rejects](Session::reject) it;
//! * a patient [grants](Session::grant) and [revokes](Session::revoke) consent; granting also wraps
//!   the keys of her records that the consent opens; whoever wants a record
//!   [asks](Session::ask_consent) for one, and she or a delegate [answers](Session::approve_consent);
//! * a patient says [which certificates are hers](Session::add_certificate) and
//!   [who acts for her](Session::name_delegate); [`Session::rewrap`] gives them the keys;
//! * whoever needs a record [requests access](Session::request_access), and with a committed permit
//!   [reads](Session::read) it, whole or [in parts](Session::parts).
//!
//! * a patient [asks for the erasure](Session::request_erasure) of a record, and a privacy officer
//!   [erases](Session::erase) it or [says why not](Session::decline_erasure); she learns to whom her
//!   records were [disclosed](Session::accounting) and [who can have read](Session::readers) them.
//!
//! * in an emergency a practitioner [breaks the glass](Session::break_glass), an officer who has the
//!   key [answers](Session::answer_emergency), and a privacy officer
//!   [reviews](Session::review_emergency) it;
//! * a patient [joins](Session::enrol) a study under a pseudonym; its investigators
//!   [count](Session::study_cohort) and [read](Session::read_for_study);
//! * a bound device [submits](Session::submit_window) its observations in windows.
//!
//! Records may be large: everything but a FHIR resource under review, of at most
//! [`DOCUMENT_BYTES_MAX`](crate::limits::DOCUMENT_BYTES_MAX), goes through in constant memory. What
//! is interrupted goes on where it was: an upload by [`Session::resume`], with the
//! same ciphertext, a read by reading again.
//!
//! Every decision about access is a transaction. Nothing that leaves this process is plaintext.

mod access;
mod certificates;
mod consents;
mod delegates;
mod devices;
mod emergency;
mod error;
mod kept;
mod keys;
mod part;
mod progress;
mod queries;
mod requests;
mod rights;
mod session;
mod share;
mod studies;
mod submit;
mod uploads;

pub use access::{Opened, Reading, Reviewed};
pub use consents::{Granted, SharedVersion, UnsharedVersion};
pub use devices::{Anchored, NewWindow, OpenWindowError};
pub use emergency::{EmergencyError, EmergencyReadError, Glass};
pub use error::{
    AccessError, ConsentError, ConsentRequestError, KeyError, LedgerError, ReadError, ShareError,
    SubmitError,
};
pub use kept::KeptError;
pub use part::Parts;
pub use progress::{Progress, Silent, Stage};
pub use requests::ConsentAsked;
pub use session::{Session, SessionOptions};
pub use share::Rewrapped;
pub use studies::{Counted, ForStudy};
pub use submit::{NewRecord, Submission};
pub use uploads::{Unfinished, Upload};

/// The contract's requests and answers, which these functions take and give.
pub use stela_healthcare::{answer, request};
