//! Exit codes, and the one line that a person gets when something went wrong.

use std::process::ExitCode;

use serde_json::json;
use stela_client::{CommitError, TransactError};
use stela_records::care::{LedgerError, ReadError, ShareError, SubmitError};

use stela_protocol::TransactionId;

use crate::output::Output;

/// The exit codes, as `stela --help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 access denied (the denial is on the ledger);
75 failed, but the same command may succeed later; 130 interrupted.";

const FAILED: u8 = 1;
const DENIED: u8 = 3;
const RETRY: u8 = 75;
const INTERRUPTED: u8 = 130;

/// The user pressed `Ctrl-C`.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; what was already committed stays committed")]
struct Interrupted;

pub(crate) fn interrupted() -> anyhow::Error {
    Interrupted.into()
}

/// Prints the failure and says with which code to end.
pub(crate) fn report(error: &anyhow::Error, output: &Output) -> ExitCode {
    let (code, kind) = classify(error);
    let open = undecided(error);
    output.failure(&json!({
        "error": format!("{error:#}"),
        "kind": kind,
        "retryable": code == RETRY,
        "undecided": open.map(|id| id.to_string()),
    }));
    eprintln!("stela: {error:#}");
    if let Some(id) = open {
        eprintln!("stela: it may still be committed; `stela tx status {id}` tells");
    }
    if code == RETRY {
        eprintln!("stela: try again in a moment");
    }
    ExitCode::from(code)
}

/// The transaction of which it is open whether it took effect.
fn undecided(error: &anyhow::Error) -> Option<TransactionId> {
    error.chain().find_map(|cause| {
        let commit = match cause.downcast_ref::<TransactError>() {
            Some(TransactError::Commit(commit)) => Some(commit),
            Some(_) => None,
            None => cause.downcast_ref::<CommitError>(),
        };
        match commit {
            Some(CommitError::Deadline { transaction, .. }) => Some(*transaction),
            _ => None,
        }
    })
}

fn classify(error: &anyhow::Error) -> (u8, &'static str) {
    for cause in error.chain() {
        if cause.is::<Interrupted>() {
            return (INTERRUPTED, "interrupted");
        }
        if let Some(ReadError::Denied(_)) = cause.downcast_ref() {
            return (DENIED, "denied");
        }
    }
    if undecided(error).is_some() {
        return (FAILED, "undecided");
    }
    if error.chain().any(retryable) {
        return (RETRY, "unavailable");
    }
    (FAILED, "failed")
}

fn retryable(cause: &(dyn std::error::Error + 'static)) -> bool {
    macro_rules! ask {
        ($($type:ty),*) => {
            $(cause.downcast_ref::<$type>().is_some_and(|error| error.is_retryable()))||*
        };
    }
    ask!(
        ReadError,
        SubmitError,
        ShareError,
        LedgerError,
        TransactError,
        stela_client::AdminError,
        stela_client::QueryError,
        stela_client::RegisterError,
        stela_storage::CallError,
        CommitError
    )
}
