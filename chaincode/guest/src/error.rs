//! Why a contract refused.

use std::fmt;

use crate::key::KeyError;
use crate::limits::{FIELD_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Why a contract refused a call. A refused call is no transaction: nothing is written.
///
/// The message is for a person and never repeats what was sent, because that might be what must
/// not be written anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractError {
    /// A stable word, such as `not-found`.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The argument's field that is meant.
    pub field: Option<String>,
}

impl ContractError {
    /// An error with a code of the contract's own.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: shorten(message.into(), MESSAGE_BYTES_MAX),
            field: None,
        }
    }

    /// The same error, about a field of the argument.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(shorten(field.into(), FIELD_BYTES_MAX));
        self
    }

    /// `invalid-argument`: the call cannot be understood or breaks a rule for its form.
    pub fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::new("invalid-argument", rule).at(field)
    }

    /// `forbidden`: the caller may not do this.
    pub fn forbidden(rule: impl Into<String>) -> Self {
        Self::new("forbidden", rule)
    }

    /// `not-found`: what the call is about does not exist.
    pub fn not_found(kind: &str) -> Self {
        Self::new("not-found", format!("there is no such {kind}")).at(kind)
    }

    /// `already-exists`: what the call would make is there.
    pub fn already_exists(kind: &str) -> Self {
        Self::new("already-exists", format!("this {kind} is already there")).at(kind)
    }

    /// `wrong-state`: what the call is about is not in a state in which it can be done.
    pub fn wrong_state(rule: impl Into<String>) -> Self {
        Self::new("wrong-state", rule)
    }

    /// `unknown-function`: the contract has no such function.
    pub fn unknown_function() -> Self {
        Self::new("unknown-function", "the contract has no such function")
    }

    /// `corrupt-state`: what the contract itself wrote cannot be read; a defect.
    pub fn corrupt_state(kind: &str) -> Self {
        Self::new("corrupt-state", format!("a stored {kind} cannot be read"))
    }
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.field {
            Some(field) => write!(f, " ({field})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ContractError {}

impl From<KeyError> for ContractError {
    fn from(error: KeyError) -> Self {
        Self::invalid("key", error.to_string())
    }
}

fn shorten(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_stay_utf8() {
        let error = ContractError::new("x", "é".repeat(1000)).at("é".repeat(100));
        assert_eq!(error.message.len(), MESSAGE_BYTES_MAX);
        assert_eq!(error.field.map(|f| f.len()), Some(FIELD_BYTES_MAX));
    }
}
