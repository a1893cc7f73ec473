//! The 32-byte values that name or commit to something, one type each so that they cannot be
//! confused.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use subtle::ConstantTimeEq;

/// A text is not 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 lowercase hexadecimal digits")]
pub struct DigestParseError;

fn parse_hex(text: &str) -> Result<[u8; 32], DigestParseError> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(DigestParseError);
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| DigestParseError)?;
    Ok(bytes)
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Compares in constant time. Text and serde form: 64 lowercase hexadecimal digits, no
        /// other spelling is accepted.
        #[derive(Clone, Copy)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the 32 bytes as they are.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = DigestParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

digest! {
    /// The hash of a record's header. It is in the key derivation and is the associated data of
    /// every chunk, so a header cannot be exchanged.
    HeaderHash
}

digest! {
    /// What the ledger says about a record's key: it fixes the key and the header, and by them the
    /// one document that a blob can open to, without telling anything about either.
    KeyCommitment
}

digest! {
    /// The name of an encryption key: the hash of its encoded public part.
    EncryptionKeyId
}

digest! {
    /// The salted hash of a list of wraps, as the author signs it. When salt and list are erased,
    /// it says nothing about them.
    WrapListCommitment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_serde_forms_are_strict() {
        let commitment = KeyCommitment::from_bytes([0xab; 32]);
        let text = "ab".repeat(32);
        assert_eq!(commitment.to_string(), text);
        assert_eq!(text.parse(), Ok(commitment));
        let json = serde_json::to_string(&commitment).expect("serializes");
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(
            serde_json::from_str::<KeyCommitment>(&json).expect("parses"),
            commitment
        );

        for bad in [
            "",
            "ab",
            &"AB".repeat(32),
            &"ab".repeat(33),
            &"zz".repeat(32),
        ] {
            assert_eq!(bad.parse::<KeyCommitment>(), Err(DigestParseError), "{bad}");
            assert!(serde_json::from_str::<KeyCommitment>(&format!("\"{bad}\"")).is_err());
        }
    }
}
