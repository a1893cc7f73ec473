//! Where something happens.

use std::fmt;

/// One machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Orderer(usize),
    Validator(usize),
    Client(usize),
}

impl Place {
    /// For the trace.
    pub(crate) fn numbers(self) -> (u8, u8) {
        match self {
            Self::Orderer(n) => (0, n as u8),
            Self::Validator(n) => (1, n as u8),
            Self::Client(n) => (2, n as u8),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orderer(n) => write!(f, "orderer {}", n + 1),
            Self::Validator(n) => write!(f, "validator {n}"),
            Self::Client(n) => write!(f, "client {n}"),
        }
    }
}
