//! Names and numbers that are not mistaken for one another.

use std::fmt;
use std::str::FromStr;

use crate::limits::{NAME_BYTES_MAX, NONCE_BYTES};

/// Why a name or a number was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, too long, or with a character outside the allowed ones.
    #[error("{kind} {value:?} is not 1 to {NAME_BYTES_MAX} characters {allowed}")]
    Name {
        /// What was to be named.
        kind: &'static str,
        /// The refused name, shortened.
        value: String,
        /// Which characters are allowed.
        allowed: &'static str,
    },
    /// Bytes of another length than the type has.
    #[error("{kind} takes {expected} bytes, not {actual}")]
    Length {
        /// What was to be read.
        kind: &'static str,
        /// Bytes that it takes.
        expected: usize,
        /// Bytes that came.
        actual: usize,
    },
    /// Text that is not lower-case hexadecimal.
    #[error("{kind} is not written in lower-case hexadecimal")]
    Hex {
        /// What was to be read.
        kind: &'static str,
    },
}

fn shorten(value: &str) -> String {
    value.chars().take(NAME_BYTES_MAX).collect()
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $allowed:literal, $first:expr, $rest:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Parses a name.
            ///
            /// # Errors
            /// [`IdError::Name`] when it is empty, too long or has a character that is not allowed.
            pub fn new(value: &str) -> Result<Self, IdError> {
                let first: fn(char) -> bool = $first;
                let rest: fn(char) -> bool = $rest;
                let mut chars = value.chars();
                let valid = value.len() <= NAME_BYTES_MAX
                    && chars.next().is_some_and(first)
                    && chars.all(rest);
                if valid {
                    Ok(Self(value.to_owned()))
                } else {
                    Err(IdError::Name { kind: $kind, value: shorten(value), allowed: $allowed })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(value: &str) -> Result<Self, IdError> {
                Self::new(value)
            }
        }
    };
}

name!(
    /// The name of a channel: lower-case letters, digits and `-`, starting with a letter. It is also
    /// the name of a folder, so nothing else is allowed.
    ChannelId,
    "channel",
    "a-z 0-9 -, starting with a letter",
    |c| c.is_ascii_lowercase(),
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);
name!(
    /// The name of an organization (Fabric: MSP id): letters, digits and `-`, starting with a letter.
    OrgId,
    "organization",
    "A-Z a-z 0-9 -, starting with a letter",
    |c| c.is_ascii_alphabetic(),
    |c| c.is_ascii_alphanumeric() || c == '-'
);
name!(
    /// The name of a contract, which is also its namespace: lower-case letters, digits and `-`,
    /// starting with a letter.
    ContractName,
    "contract",
    "a-z 0-9 -, starting with a letter",
    |c| c.is_ascii_lowercase(),
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

macro_rules! fixed {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub [u8; $len]);

        impl $type {
            /// Takes exactly the bytes of one value.
            ///
            /// # Errors
            /// [`IdError::Length`] when there are more or fewer.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError::Length {
                    kind: $kind,
                    expected: $len,
                    actual: bytes.len(),
                })
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The bytes in a buffer of their own, as messages carry them.
            pub fn to_bytes(self) -> bytes::Bytes {
                bytes::Bytes::copy_from_slice(&self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), hex::encode(self.0))
            }
        }

        impl AsRef<[u8]> for $type {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(value: &str) -> Result<Self, IdError> {
                if value.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(IdError::Hex { kind: $kind });
                }
                let bytes = hex::decode(value).map_err(|_| IdError::Hex { kind: $kind })?;
                Self::from_slice(&bytes)
            }
        }
    };
}

fixed!(
    /// A SHA-256 hash.
    Hash32,
    "hash",
    32
);
fixed!(
    /// SHA-256 of a certificate's DER.
    Fingerprint,
    "fingerprint",
    32
);
fixed!(
    /// The hash of a transaction's nonce and creator; never of a signature.
    TransactionId,
    "transaction id",
    32
);
fixed!(
    /// Random bytes that make a transaction id unique.
    Nonce,
    "nonce",
    NONCE_BYTES
);

impl Hash32 {
    /// The previous hash of block 0.
    pub const ZERO: Self = Self([0; 32]);
}

/// The number of a block; the first one is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u64);

impl BlockNumber {
    /// The number after this one; numbers do not wrap within the life of a ledger.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for BlockNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a key was last written: the block and the index of the transaction in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height {
    /// The block.
    pub block: u64,
    /// The index of the transaction in the block.
    pub transaction: u32,
}

impl From<Height> for crate::pb::Height {
    fn from(height: Height) -> Self {
        Self {
            block: height.block,
            transaction: height.transaction,
        }
    }
}

impl From<crate::pb::Height> for Height {
    fn from(height: crate::pb::Height) -> Self {
        Self {
            block: height.block,
            transaction: height.transaction,
        }
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.block, self.transaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", "../x", "a/b", "a\0b", "A b", ".", "é", &"a".repeat(65)] {
            assert!(ChannelId::new(bad).is_err(), "{bad:?}");
            assert!(OrgId::new(bad).is_err(), "{bad:?}");
            assert!(ContractName::new(bad).is_err(), "{bad:?}");
        }
        assert!(ChannelId::new("care-1").is_ok());
        assert!(OrgId::new("HospitalA").is_ok());
        assert!(ChannelId::new("Care").is_err());
    }

    #[test]
    fn hexadecimal_has_one_form() {
        let id = TransactionId([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            id.to_string()
                .to_uppercase()
                .parse::<TransactionId>()
                .is_err()
        );
        assert!("ab".parse::<TransactionId>().is_err());
    }
}
