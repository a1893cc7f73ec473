//! Names that other parts of the system give: channels, records, patients, authors, recipients.

use crate::limits::IDENTIFIER_BYTES_MAX;
use std::fmt;

/// A text is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// It is empty.
    #[error("an identifier is empty")]
    Empty,
    /// It is longer than [`IDENTIFIER_BYTES_MAX`].
    #[error("an identifier has {bytes} bytes, at most {IDENTIFIER_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not UTF-8.
    #[error("an identifier is not UTF-8")]
    NotUtf8,
    /// It contains a control character, NUL included.
    #[error("an identifier contains a control character")]
    ControlCharacter,
}

/// A non-empty text of at most [`IDENTIFIER_BYTES_MAX`] bytes without control characters. Its
/// meaning belongs to whoever issued it; here it is only bound to keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(String);

impl Identifier {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`IdentifierError`], whichever rule is broken first.
    pub fn new(text: impl Into<String>) -> Result<Self, IdentifierError> {
        let text = text.into();
        if text.is_empty() {
            return Err(IdentifierError::Empty);
        }
        if text.len() > IDENTIFIER_BYTES_MAX {
            return Err(IdentifierError::TooLong { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(IdentifierError::ControlCharacter);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text's UTF-8 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(crate) fn from_utf8(bytes: &[u8]) -> Result<Self, IdentifierError> {
        Self::new(str::from_utf8(bytes).map_err(|_| IdentifierError::NotUtf8)?)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Identifier {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        assert!(Identifier::new("patient-7f3a").is_ok());
        assert!(Identifier::new("é".repeat(IDENTIFIER_BYTES_MAX / 2)).is_ok());
        assert_eq!(Identifier::new(""), Err(IdentifierError::Empty));
        assert_eq!(
            Identifier::new("x".repeat(IDENTIFIER_BYTES_MAX + 1)),
            Err(IdentifierError::TooLong {
                bytes: IDENTIFIER_BYTES_MAX + 1
            })
        );
        assert_eq!(
            Identifier::new("a\0b"),
            Err(IdentifierError::ControlCharacter)
        );
        assert_eq!(
            Identifier::from_utf8(&[0xff]),
            Err(IdentifierError::NotUtf8)
        );
    }
}
