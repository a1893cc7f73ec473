//! Exit codes, and the one line that a person gets when something went wrong.

use std::process::ExitCode;

use serde_json::json;
use stela_client::TransactError;
use stela_records::care::{ConsentError, LedgerError, ReadError, ShareError, SubmitError};

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
    output.failure(&json!({
        "error": format!("{error:#}"),
        "kind": kind,
        "retryable": code == RETRY,
    }));
    eprintln!("stela: {error:#}");
    if code == RETRY {
        eprintln!("stela: try again in a moment");
    }
    ExitCode::from(code)
}

fn classify(error: &anyhow::Error) -> (u8, &'static str) {
    for cause in error.chain() {
        if cause.is::<Interrupted>() {
            return (INTERRUPTED, "interrupted");
        }
        if let Some(ReadError::Denied(_)) = cause.downcast_ref() {
            return (DENIED, "denied");
        }
        if retryable(cause) {
            return (RETRY, "unavailable");
        }
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
        ConsentError,
        LedgerError,
        TransactError,
        stela_client::AdminError,
        stela_client::QueryError,
        stela_client::RegisterError,
        stela_client::CommitError
    )
}
