//! Texts that cannot be malformed, and the codes of this contract.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::limits::{CID_CHARS_MAX, HEADER_BYTES_MAX, PUBLIC_KEY_BYTES};

/// A text that breaks its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextError(&'static str);

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for TextError {}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(TextError($rule)) }
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

text!(
    /// A CIDv1 in base32, its one form here.
    Cid,
    "expected a CIDv1 in lower-case base32",
    |text| {
        (50..=CID_CHARS_MAX).contains(&text.len())
            && text.starts_with('b')
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
    }
);

text!(
    /// The public header of a record's encryption, in lower-case hexadecimal.
    HeaderText,
    "expected 1 to 256 bytes in lower-case hexadecimal",
    |text| {
        (1..=2 * HEADER_BYTES_MAX).contains(&text.len()) && HEXLOWER.decode(text.as_bytes()).is_ok()
    }
);

text!(
    /// An encoded X-Wing public key in base64 with padding.
    PublicKeyText,
    "expected 1218 bytes in base64 with padding",
    |text| {
        text.len() <= 4 * PUBLIC_KEY_BYTES
            && BASE64
                .decode(text.as_bytes())
                .is_ok_and(|key| key.len() == PUBLIC_KEY_BYTES)
    }
);

/// Where a version of a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Submitted, not reviewed.
    Pending,
    /// Confirmed.
    Active,
    /// Rejected.
    Rejected,
    /// Erased with the whole record.
    Erased,
}

/// Why a version was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectReason {
    /// It does not decrypt to what the CID and the commitment say.
    Unreadable,
    /// It is not valid for its format.
    InvalidFormat,
    /// It does not carry the labels that it should.
    WrongLabels,
    /// It is about somebody else.
    WrongPatient,
    /// It is there already.
    Duplicate,
    /// Something is missing.
    Incomplete,
}

/// Why a patient wants a record erased: the grounds of Article 17(1)(a) to (d) of the GDPR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErasureGround {
    /// It is no longer needed for what it was made for.
    NoLongerNeeded,
    /// She withdrew the consent that it rests on.
    ConsentWithdrawn,
    /// She objects to it being kept.
    Objection,
    /// It should never have been kept.
    Unlawful,
}

/// Why a record was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EraseReason {
    /// The patient asked for it.
    PatientRequest,
    /// It need not be kept any longer.
    RetentionOver,
    /// It should never have been kept.
    Unlawful,
}

/// Why a record is not erased although the patient asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclineReason {
    /// It must be kept for some years, and they are not over.
    Retention,
    /// It is needed for a legal claim.
    LegalHold,
}

/// What a decision about access rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The requester is the patient.
    Patient,
    /// The requester is the author, and the version is not active.
    Author,
    /// The requester reviews it.
    Review,
    /// The patient's consents.
    Consent,
    /// The requester is a delegate of the patient.
    Delegate,
    /// A practitioner breaks the glass.
    Emergency,
}

mod emergency;
mod people;
pub use emergency::*;
pub use people::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_one_form() {
        let cid = |text: &str| Cid::try_from(text.to_owned()).is_ok();
        assert!(cid(
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
        ));
        assert!(!cid("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"));
        assert!(!cid(
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52z/"
        ));
        assert!(!cid(&format!("b{}", "a".repeat(CID_CHARS_MAX))));
        let header = |text: &str| HeaderText::try_from(text.to_owned()).is_ok();
        assert!(header("00ff") && header(&"0".repeat(512)));
        assert!(!header("") && !header("0") && !header("0G") && !header("AA"));
        assert!(!header(&"0".repeat(514)));
        let key = |bytes: usize| PublicKeyText::try_from(BASE64.encode(&vec![7; bytes])).is_ok();
        assert!(key(PUBLIC_KEY_BYTES));
        assert!(!key(PUBLIC_KEY_BYTES - 1) && !key(PUBLIC_KEY_BYTES + 1) && !key(0));
    }
}
