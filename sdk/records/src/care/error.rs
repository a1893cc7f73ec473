//! One error for each thing that can be asked of a session.

use stela_client::{CommitError, ProposalError, QueryError, SideError, TransactError};
use stela_healthcare::answer::AccessDecision;
use stela_ipfs::{FetchError, PinError, PutError};
use stela_protocol::ErrorCode;
use stela_storage::{CallError, UploadError};

use super::kept::KeptError;
use crate::format::{HeaderError, IdentifierError, MetadataError};
use crate::keys::EncryptionKeyError;
use crate::stream::{DecryptError, EncryptError, RangeError};
use crate::wrap::{OpenError, SealError};

/// The ledger did not do or say what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The transaction was not made or not valid.
    #[error(transparent)]
    Transact(#[from] TransactError),
    /// The call could not be put together.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The channel could not be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The contract's answer is not what this version of the software knows.
    #[error("the contract's answer to {function} cannot be understood: {source}")]
    Answer {
        /// The function.
        function: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The peers of two organizations say different things.
    #[error("peers of two organizations say different things; one of them is behind, or lies")]
    Disputed,
    /// The gateway answered about something else than was asked.
    #[error("the gateway's answer to {function} is about another {what} than was asked")]
    Unasked {
        /// The function.
        function: &'static str,
        /// What differs.
        what: &'static str,
    },
}

impl LedgerError {
    /// Whether the contract refused the call with this code, such as `already-exists`.
    pub fn is_refusal(&self, code: &str) -> bool {
        let Self::Transact(error) = self else {
            return false;
        };
        error.rpc().is_some_and(|rpc| {
            rpc.code == ErrorCode::ContractRefused
                && rpc
                    .message
                    .split_once(':')
                    .is_some_and(|(said, _)| said == code)
        })
    }

    /// Whether the same call, made again, may succeed and cannot take effect twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            // Whether the transaction took effect is open; a new call would be another one.
            Self::Transact(TransactError::Commit(CommitError::Deadline { .. })) => false,
            Self::Transact(error) => error.is_retryable(),
            Self::Query(error) => error.is_retryable(),
            Self::Disputed => true,
            Self::Proposal(_) | Self::Answer { .. } | Self::Unasked { .. } => false,
        }
    }
}

/// What the ledger says about a version or a key does not fit together.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The lists of wrapped keys could not be had.
    #[error(transparent)]
    Side(#[from] SideError),
    /// A published encryption key is malformed.
    #[error("the encryption key published by {owner} is malformed: {source}")]
    PublishedKey {
        /// Its owner's certificate.
        owner: String,
        /// What is wrong.
        source: EncryptionKeyError,
    },
    /// A name or number on the ledger is malformed.
    #[error("the ledger's entry about the record is malformed: {0}")]
    Entry(&'static str),
    /// A name cannot be bound to a key.
    #[error(transparent)]
    Identifier(#[from] IdentifierError),
    /// The public header is malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No wrapped key is for the key pair of this session.
    #[error(
        "no wrapped key of this record is for you{}; the patient's client has to share it \
         (`stela share`, or `stela patient rewrap` for her own certificates and delegates)",
        if *.missing > 0 { " among those that are here" } else { "" }
    )]
    NotShared {
        /// How many lists could not be had now.
        missing: usize,
    },
    /// A wrapped key is for this key pair but does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl KeyError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_retryable(),
            Self::Side(error) => error.is_retryable(),
            _ => false,
        }
    }
}

/// A record was not submitted. What is on storage nodes expires with its lease.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The document's description is not allowed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The document could not be read or encrypted.
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
    /// The ciphertext could not be stored here.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The ciphertext could not be kept here.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The state of the upload could not be kept or used.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The ciphertext on this machine could not be read again.
    #[error(transparent)]
    Check(#[from] FetchError),
    /// The ciphertext on this machine is not whole any more.
    #[error(
        "blocks of the upload of record {record} are missing or damaged on this machine; drop it \
         and submit the document again"
    )]
    Lost {
        /// The record.
        record: stela_consent::Id,
    },
    /// While an upload was interrupted, another document became this version of the record.
    #[error(
        "version {version} of record {record} is another document by now; drop the upload and \
         amend the record again"
    )]
    Taken {
        /// The record.
        record: stela_consent::Id,
        /// The version.
        version: u32,
    },
    /// Not enough organizations hold the ciphertext.
    #[error(transparent)]
    Hold(#[from] UploadError),
    /// The patient has not published an encryption key.
    #[error("patient {patient} has published no encryption key; she has to run `stela register`")]
    NoPatientKey {
        /// The patient.
        patient: String,
    },
    /// Keys could not be found or wrapped.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key could not be wrapped.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Too many recipients for one list.
    #[error(transparent)]
    Wraps(#[from] crate::format::WrapListError),
    /// The transaction was not made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Nobody could review it.
    #[error(
        "no records officer of {organization} but you has published an encryption key, so nobody \
         could review the record; an officer has to run `stela register`"
    )]
    NoReviewer {
        /// The own organization.
        organization: String,
    },
}

impl SubmitError {
    /// Whether a new attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Encrypt(error) => error.is_retryable(),
            Self::Put(error) => error.is_retryable(),
            Self::Pin(error) => error.is_retryable(),
            Self::Check(error) => error.is_retryable(),
            Self::Hold(error) => error.is_retryable(),
            Self::Key(error) => error.is_retryable(),
            Self::Ledger(error) => error.is_retryable(),
            _ => false,
        }
    }
}

/// The key of a version was not shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The session cannot open the key itself, or the recipients' keys cannot be found.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key could not be wrapped.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Too many recipients for one list.
    #[error(transparent)]
    Wraps(#[from] crate::format::WrapListError),
    /// The reader of an emergency permit has published no encryption key.
    #[error("the reader {reader} has published no encryption key to wrap the record's for")]
    NoReaderKey {
        /// The reader's certificate.
        reader: stela_consent::Fingerprint,
    },
    /// The user takes no part in the study.
    #[error("you take no part in study {study}")]
    NotEnrolled {
        /// The study.
        study: stela_consent::Id,
    },
    /// The ledger could not be asked, or the transaction was not made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl ShareError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Key(error) => error.is_retryable(),
            Self::Ledger(error) => error.is_retryable(),
            Self::Seal(_)
            | Self::Wraps(_)
            | Self::NoReaderKey { .. }
            | Self::NotEnrolled { .. } => false,
        }
    }
}

/// A consent was not asked for, or its request not answered or understood.
#[derive(Debug, thiserror::Error)]
pub enum ConsentRequestError {
    /// The patient has published no encryption key for the note.
    #[error("patient {patient} has published no encryption key to seal a note to")]
    NoPatientKey {
        /// The patient.
        patient: stela_consent::Id,
    },
    /// No such request is shown to this user.
    #[error("there is no request {request} for a consent of this patient that you may see")]
    Unknown {
        /// The request.
        request: stela_consent::Id,
    },
    /// The note is not here, or not any more.
    #[error("the note beside the request is not kept by your organization's peer")]
    NoNote,
    /// The note could not be sealed or does not open.
    #[error(transparent)]
    Note(#[from] crate::note::NoteError),
    /// Keys could not be found.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The ledger could not be asked, or the transaction was not made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl ConsentRequestError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Key(error) => error.is_retryable(),
            Self::Ledger(error) => error.is_retryable(),
            Self::NoPatientKey { .. } | Self::Unknown { .. } | Self::NoNote | Self::Note(_) => {
                false
            }
        }
    }
}

/// A consent was not granted or not revoked.
pub type ConsentError = LedgerError;

/// Access could not be asked for, so there is no decision.
pub type AccessError = LedgerError;

/// A record was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The patient's consents do not permit it; the denial is on the ledger.
    #[error("access is denied: {} (recorded by transaction {})", .0.reason, .0.request)]
    Denied(Box<AccessDecision>),
    /// The key could not be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The ciphertext could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No storage node lets this session's node in.
    #[error(transparent)]
    Storage(#[from] CallError),
    /// The ciphertext has another length than the header on the ledger says.
    #[error("the ciphertext {cid} has {actual} bytes instead of {expected}")]
    Length {
        /// The ciphertext.
        cid: cid::Cid,
        /// What the header says.
        expected: u64,
        /// What its root says.
        actual: u64,
    },
    /// What is needed to resume the read could not be kept.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// There is no such part of the document.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The ciphertext is not what the ledger says, or could not be written down.
    #[error(transparent)]
    Decrypt(#[from] DecryptError),
}

impl ReadError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_retryable(),
            Self::Denied(_) | Self::Length { .. } | Self::Kept(_) | Self::Range(_) => false,
            Self::Key(error) => error.is_retryable(),
            Self::Fetch(error) => error.is_retryable(),
            Self::Storage(error) => error.is_retryable(),
            Self::Decrypt(error) => error.is_retryable(),
        }
    }
}
