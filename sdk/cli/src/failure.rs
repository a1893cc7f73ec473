//! Exit codes, and the one line that a person gets when something went wrong.

use std::process::ExitCode;

use serde_json::json;
use stela_client::{CommitError, EndorseError, InvalidTransaction, Sources, TransactError};
use stela_health::causes;
use stela_records::care::{
    ConsentRequestError, KeyError, LedgerError, ReadError, ShareError, SubmitError,
};

use stela_protocol::TransactionId;
use stela_protocol::difference::ResultDifference;

use crate::commands::readable;
use crate::doctor::Unwell;
use crate::output::{Output, printable, time};

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

/// What was begun is kept on this machine, and how to go on with it.
#[derive(Debug, thiserror::Error)]
#[error("{way_on}")]
pub(crate) struct Unfinished {
    /// The command that goes on.
    pub(crate) way_on: String,
}

/// Prints the failure and says with which code to end.
pub(crate) fn report(error: &anyhow::Error, output: &Output) -> ExitCode {
    if error.is::<Unwell>() {
        // What is wrong was printed already.
        return ExitCode::from(FAILED);
    }
    let (code, kind) = classify(error);
    let open = undecided(error);
    let unfinished = error.downcast_ref::<Unfinished>();
    let outermost = error.chain().nth(usize::from(unfinished.is_some()));
    let said = outermost.map_or_else(String::new, causes);
    let differing = differences(error);
    output.failure(&json!({
        "error": said,
        "kind": kind,
        "retryable": code == RETRY,
        "undecided": open.map(|id| id.to_string()),
        "resume": unfinished.map(|unfinished| &unfinished.way_on),
        "invalid": invalid(error).map(|id| id.to_string()),
        "differences": differing.iter().map(difference_json).collect::<Vec<_>>(),
    }));
    eprintln!("stela: {said}");
    if let Some(Unfinished { way_on }) = unfinished {
        eprintln!("stela: {way_on}");
    }
    if let Some(id) = open {
        let now = time(Sources::default().now_ms());
        eprintln!("stela: it may still be committed; `stela tx explain {id} --made {now}` tells");
    }
    if let Some(id) = invalid(error) {
        eprintln!("stela: `stela tx explain {id}` says why");
    }
    for line in differing.iter().flat_map(difference_lines) {
        eprintln!("stela: {}", printable(&line));
    }
    if code == RETRY {
        eprintln!("stela: try again in a moment");
    }
    ExitCode::from(code)
}

/// The stage at which a call failed, if it was a call.
fn transact<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a TransactError> {
    match ledger(cause) {
        Some(LedgerError::Transact(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// What the ledger said. An error that passes another one on as its own has to be opened by hand:
/// the chain of sources goes past it.
fn ledger<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a LedgerError> {
    if let Some(SubmitError::Ledger(error) | SubmitError::Key(KeyError::Ledger(error))) =
        cause.downcast_ref()
    {
        return Some(error);
    }
    if let Some(ShareError::Ledger(error) | ShareError::Key(KeyError::Ledger(error))) =
        cause.downcast_ref()
    {
        return Some(error);
    }
    if let Some(ReadError::Ledger(error) | ReadError::Key(KeyError::Ledger(error))) =
        cause.downcast_ref()
    {
        return Some(error);
    }
    if let Some(
        ConsentRequestError::Ledger(error) | ConsentRequestError::Key(KeyError::Ledger(error)),
    ) = cause.downcast_ref()
    {
        return Some(error);
    }
    cause.downcast_ref()
}

/// The transaction that was committed without effect.
fn invalid(error: &anyhow::Error) -> Option<TransactionId> {
    error.chain().find_map(|cause| match transact(cause) {
        Some(TransactError::Invalid(invalid)) => Some(invalid.transaction),
        Some(_) => None,
        None => cause
            .downcast_ref::<InvalidTransaction>()
            .map(|invalid| invalid.transaction),
    })
}

/// In what the endorsers' results differ, if that is why it failed.
fn differences(error: &anyhow::Error) -> Vec<ResultDifference> {
    let found = error.chain().find_map(|cause| {
        let endorse = match transact(cause) {
            Some(TransactError::Endorse(endorse)) => Some(endorse),
            Some(_) => None,
            None => cause.downcast_ref::<EndorseError>(),
        };
        endorse.map(|endorse| endorse.differences().to_vec())
    });
    found.unwrap_or_default()
}

/// Who differs from whom in what; keys as people read them.
fn difference_lines(difference: &ResultDifference) -> Vec<String> {
    let mut lines = vec![format!(
        "{} differs from {} in {difference}",
        difference.node, difference.other
    )];
    for part in &difference.parts {
        let keys = part.keys.iter();
        lines.extend(keys.map(|key| format!("  {}: {}", part.part.as_str(), readable(true, key))));
    }
    lines
}

fn difference_json(difference: &ResultDifference) -> serde_json::Value {
    let parts = difference.parts.iter().map(|part| {
        let keys: Vec<String> = part.keys.iter().map(|key| readable(true, key)).collect();
        json!({ "part": part.part.as_str(), "count": part.count, "keys": keys })
    });
    json!({
        "node": difference.node,
        "other": difference.other,
        "parts": parts.collect::<Vec<_>>(),
    })
}

/// The transaction of which it is open whether it took effect.
fn undecided(error: &anyhow::Error) -> Option<TransactionId> {
    error.chain().find_map(|cause| {
        let commit = match transact(cause) {
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
        ConsentRequestError,
        LedgerError,
        TransactError,
        stela_client::AdminError,
        stela_client::BlocksError,
        stela_client::ChannelUpdateError,
        stela_client::EventsError,
        stela_client::QueryError,
        stela_client::ReceiptError,
        stela_client::RegisterError,
        stela_storage::CallError,
        CommitError
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_changes_neither_the_code_nor_the_cause() {
        let way_on = || "`stela record resume 1` goes on where it was".to_owned();
        let check = |error: anyhow::Error, expect| {
            assert_eq!(classify(&error), expect);
            let kept = error.context(Unfinished { way_on: way_on() });
            assert_eq!(classify(&kept), expect);
            assert!(kept.downcast_ref::<Unfinished>().is_some());
        };
        check(interrupted(), (INTERRUPTED, "interrupted"));
        check(anyhow::anyhow!("else"), (FAILED, "failed"));
        let stopped = ReadError::Fetch(stela_ipfs::FetchError::Timeout {
            cid: cid::Cid::default(),
        });
        check(stopped.into(), (RETRY, "unavailable"));
    }
}
