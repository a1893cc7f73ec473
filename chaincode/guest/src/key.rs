//! Composite keys: `type \0 attribute \0 attribute \0`, so that keys of one type and with the same
//! first attributes stand together.

use std::fmt;

use crate::limits::KEY_BYTES_MAX;

/// Why a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The type or an attribute is empty.
    Empty,
    /// The type or an attribute has a zero byte.
    ZeroByte,
    /// The key is too long.
    TooLong,
    /// The bytes are not a composite key.
    NotComposite,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a part of a key is empty"),
            Self::ZeroByte => f.write_str("a part of a key has a zero byte"),
            Self::TooLong => write!(f, "a key takes at most {KEY_BYTES_MAX} bytes"),
            Self::NotComposite => f.write_str("the bytes are not a composite key"),
        }
    }
}

impl std::error::Error for KeyError {}

/// A composite key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// Makes a key from a type and attributes.
    ///
    /// # Errors
    /// [`KeyError`] when a part is empty or has a zero byte, or the key would be too long.
    pub fn composite(kind: &str, attributes: &[&str]) -> Result<Self, KeyError> {
        let mut key = Vec::new();
        for part in std::iter::once(&kind).chain(attributes) {
            if part.is_empty() {
                return Err(KeyError::Empty);
            }
            if part.contains('\0') {
                return Err(KeyError::ZeroByte);
            }
            key.extend_from_slice(part.as_bytes());
            key.push(0);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        Ok(Self(key))
    }

    /// Reads a key that [`Key::composite`] made.
    ///
    /// # Errors
    /// [`KeyError`] when it did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyError::NotComposite)?;
        let parts = text.strip_suffix('\0').ok_or(KeyError::NotComposite)?;
        let (kind, attributes) = parts.split_once('\0').unwrap_or((parts, ""));
        let attributes: Vec<&str> = match attributes {
            "" => Vec::new(),
            some => some.split('\0').collect(),
        };
        let key = Self::composite(kind, &attributes)?;
        if key.0 == bytes {
            Ok(key)
        } else {
            Err(KeyError::NotComposite)
        }
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The type and the attributes.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let parts = self.0.strip_suffix(&[0]).unwrap_or(&self.0);
        // Every part came in as text.
        parts
            .split(|byte| *byte == 0)
            .map(|part| std::str::from_utf8(part).unwrap_or_default())
    }

    /// The attribute at `index`, counted without the type.
    pub fn attribute(&self, index: usize) -> Option<&str> {
        self.parts().nth(index + 1)
    }
}

/// The keys from `start` up to, but not including, `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl KeyRange {
    /// Every key with this type that has these first attributes and at least one more.
    ///
    /// # Errors
    /// [`KeyError`] as for [`Key::composite`].
    pub fn prefix(kind: &str, attributes: &[&str]) -> Result<Self, KeyError> {
        let start = Key::composite(kind, attributes)?.0;
        let mut end = start.clone();
        // The prefix ends in a zero byte; with a one in its place it is the first key behind.
        if let Some(last) = end.last_mut() {
            *last = 1;
        }
        Ok(Self { start, end })
    }

    /// The part of this range that starts at `start`; `None` when `start` lies outside.
    pub fn from(&self, start: &[u8]) -> Option<Self> {
        let inside = self.start.as_slice() <= start && start < self.end.as_slice();
        inside.then(|| Self {
            start: start.to_vec(),
            end: self.end.clone(),
        })
    }

    /// The part of this range before `end`; `None` when `end` is not behind its start or lies
    /// outside.
    pub fn until(&self, end: &[u8]) -> Option<Self> {
        let inside = self.start.as_slice() < end && end <= self.end.as_slice();
        inside.then(|| Self {
            start: self.start.clone(),
            end: end.to_vec(),
        })
    }

    /// The first key that may be in the range.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The first key behind the range.
    pub fn end(&self) -> &[u8] {
        &self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        let key = Key::composite("a", &["b", "é"]).unwrap();
        assert_eq!(key.as_bytes(), "a\0b\0é\0".as_bytes());
        assert_eq!(Key::decode(key.as_bytes()), Ok(key.clone()));
        assert_eq!(key.parts().collect::<Vec<_>>(), ["a", "b", "é"]);
        assert_eq!(key.attribute(1), Some("é"));
        assert_eq!(key.attribute(2), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(Key::composite("", &[]), Err(KeyError::Empty));
        assert_eq!(Key::composite("a", &[""]), Err(KeyError::Empty));
        assert_eq!(Key::composite("a", &["b\0c"]), Err(KeyError::ZeroByte));
        assert_eq!(
            Key::composite("a", &[&"x".repeat(KEY_BYTES_MAX)]),
            Err(KeyError::TooLong)
        );
        for bad in [&b""[..], b"a", b"\0", b"a\0\0", b"a\0b", b"a\0\xff\0"] {
            assert!(Key::decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_covers_its_keys_and_no_others() {
        let range = KeyRange::prefix("a", &["b"]).unwrap();
        let inside = |kind, attributes: &[&str]| {
            let key = Key::composite(kind, attributes).unwrap();
            range.from(key.as_bytes()).is_some()
        };
        assert!(inside("a", &["b", "\u{1}"]));
        assert!(inside("a", &["b", "\u{10ffff}"]));
        assert!(!inside("a", &["bb", "c"]));
        assert!(!inside("a", &["a", "c"]));
        assert!(!inside("aa", &["b", "c"]));
        let key = |attribute| Key::composite("a", &["b", attribute]).unwrap();
        let part = range.from(key("c").as_bytes()).unwrap();
        assert!(part.until(key("c").as_bytes()).is_none());
        let part = part.until(key("d").as_bytes()).unwrap();
        assert!(part.from(key("c").as_bytes()).is_some());
        assert!(part.from(key("d").as_bytes()).is_none());
        assert!(range.until(range.end()).is_some());
        assert!(range.until(&[range.end(), b"x"].concat()).is_none());
    }
}
