//! What goes into an invocation and what comes out.

use bytes::Bytes;
use stela_protocol::{ChannelId, ContractName, Fingerprint, Hash32, OrgId, TransactionId, pb};

/// Why a contract runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The answer will be endorsed.
    Endorse,
    /// A question to one peer.
    Evaluate,
}

/// Who signed the proposal, as the certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The organization that issued the certificate.
    pub organization: OrgId,
    /// The role in it; empty when there is none.
    pub role: String,
    /// Further attributes: names and values.
    pub attributes: Vec<(String, String)>,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
}

/// One call of a contract. All of it is the same on every endorser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The channel.
    pub channel: ChannelId,
    /// The contract's name.
    pub contract: ContractName,
    /// The function.
    pub function: String,
    /// Its arguments.
    pub arguments: Vec<Bytes>,
    /// Who called.
    pub caller: Caller,
    /// The transaction's id.
    pub transaction_id: TransactionId,
    /// The proposal's timestamp, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// The proposal's side commitments.
    pub side: Vec<Hash32>,
    /// What the channel sets for the contract; empty when it sets nothing.
    pub settings: Bytes,
    /// Why.
    pub mode: Mode,
}

/// What an invocation that succeeded gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// What an endorser signs; its encoding is the same on every endorser that saw the same state.
    pub result: pb::Result,
    /// What to call when the transaction does not come; no part of the result.
    pub on_absence: Option<AbsenceCall>,
    /// What was logged, for this peer's operators.
    pub logs: Vec<LogLine>,
    /// Fuel that was used.
    pub fuel_used: u64,
}

impl Execution {
    /// The contract's answer.
    pub fn response(&self) -> &[u8] {
        self.result
            .response
            .as_ref()
            .map_or(&[], |response| &response.payload)
    }
}

/// A call that the endorsing peer makes itself when the transaction that it endorsed is not
/// committed in its window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsenceCall {
    /// The function.
    pub function: String,
    /// Its only argument.
    pub argument: Bytes,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For finding a defect.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warn,
    /// Something failed.
    Error,
}

/// One line that a contract logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The line, without control characters.
    pub message: String,
}

/// The contract's own refusal: the call is no transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ContractError {
    /// A stable word of the contract's.
    pub code: String,
    /// What is wrong, for a person.
    pub message: String,
    /// The argument's field that is meant.
    pub field: Option<String>,
}
