//! Why the host ends an invocation.

use stela_protocol::key::KeyError;

use crate::view::StateError;

/// What the contract did that ends it, or what failed under it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Abort {
    #[error("the limit for {what} is {max}")]
    Limit { what: &'static str, max: u64 },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("a range must start before its end and ask for at least one entry")]
    Range,
    #[error("the history of a key is for questions only, not for what will be endorsed")]
    History,
    #[error("a call in absence has to name a function")]
    AbsenceFunction,
    #[error(transparent)]
    State(#[from] StateError),
}

impl Abort {
    /// Refuses what exceeds a limit.
    pub(crate) fn check(what: &'static str, actual: u64, max: u64) -> Result<(), Self> {
        if actual > max {
            return Err(Self::Limit { what, max });
        }
        Ok(())
    }
}
