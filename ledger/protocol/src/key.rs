//! Composite keys: a type and attributes, in an order that keeps each prefix together.
//!
//! The encoding is `type \0 attribute \0 attribute \0`. Parts are UTF-8 without zero bytes, so no
//! part can pass for two.

use crate::limits::KEY_BYTES_MAX;

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The type is empty.
    #[error("the type of a composite key is empty")]
    EmptyType,
    /// A part has a zero byte.
    #[error("part {0} of the key has a zero byte")]
    ZeroByte(usize),
    /// The key is empty or too long.
    #[error("a key takes 1 to {KEY_BYTES_MAX} bytes, not {0}")]
    Length(usize),
}

/// Encodes a composite key.
///
/// # Errors
/// [`KeyError`] when a part is not allowed or the key would be too long.
pub fn composite(kind: &str, attributes: &[&str]) -> Result<Vec<u8>, KeyError> {
    if kind.is_empty() {
        return Err(KeyError::EmptyType);
    }
    let mut key = Vec::new();
    for (index, part) in std::iter::once(&kind).chain(attributes).enumerate() {
        if part.bytes().any(|b| b == 0) {
            return Err(KeyError::ZeroByte(index));
        }
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    check(&key)?;
    Ok(key)
}

/// The first key behind all those that start with `prefix`; `None` when there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != u8::MAX)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// Whether a key may be used in the state.
///
/// # Errors
/// [`KeyError::Length`] when it is empty or too long.
pub fn check(key: &[u8]) -> Result<(), KeyError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(KeyError::Length(key.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_parts_make_different_keys(a in prop::collection::vec("[a-c]{0,2}", 0..4),
                                               b in prop::collection::vec("[a-c]{0,2}", 0..4)) {
            let key = |parts: &[String]| {
                composite("t", &parts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
            };
            prop_assert_eq!(a == b, key(&a) == key(&b));
        }

        #[test]
        fn the_end_of_a_prefix_is_tight(prefix in prop::collection::vec(any::<u8>(), 1..4),
                                        key in prop::collection::vec(any::<u8>(), 1..6)) {
            let inside = key >= prefix && prefix_end(&prefix).is_none_or(|end| key < end);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(composite("", &[]), Err(KeyError::EmptyType));
        assert_eq!(composite("t", &["a\0"]), Err(KeyError::ZeroByte(1)));
        assert_eq!(
            composite("t", &[&"x".repeat(2000)]),
            Err(KeyError::Length(2003))
        );
    }
}
