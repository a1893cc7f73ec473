//! What an encrypted record says about itself, inside the encryption.

use crate::limits::{
    FILE_NAME_BYTES_MAX, FORMAT_BYTES_MAX, MEDIA_TYPE_BYTES_MAX, METADATA_BYTES_MAX,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Metadata breaks a rule. The offending value is not repeated, for it may tell about a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The encoded metadata is longer than [`METADATA_BYTES_MAX`] or than the stream.
    #[error("the metadata is {bytes} bytes long, which is too long")]
    TooLong {
        /// The length that is claimed.
        bytes: u64,
    },
    /// The bytes are not the JSON object that is expected, with exactly its members.
    #[error("the metadata is not well-formed")]
    Malformed,
    /// The media type is not `type/subtype` with optional parameters, as in RFC 6838.
    #[error("the media type is not valid")]
    MediaType,
    /// The format is empty, too long, or has characters other than visible ASCII.
    #[error("the name of the format is not valid")]
    Format,
    /// The file name is empty, too long, a path, or has control characters.
    #[error("the file name is not valid")]
    FileName,
    /// The content would not fit into the padded stream.
    #[error("the content of {bytes} bytes does not fit into the record")]
    ContentTooLong {
        /// The length that is claimed.
        bytes: u64,
    },
}

/// The true length, the media type, the format and, if there is one, the file name of a document.
/// Encrypted with the content; `Debug` shows none of it, and the texts are zeroized on drop.
///
/// A valid value is safe to use as it is: the file name is one path component without separators
/// or control characters, and the media type can stand in an HTTP header.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Metadata {
    content_bytes: u64,
    media_type: String,
    format: String,
    file_name: Option<String>,
}

/// The encrypted JSON object, in this order of members.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct MetadataJson {
    content_bytes: u64,
    media_type: String,
    format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_name: Option<String>,
}

impl Metadata {
    /// Metadata for a document of exactly `content_bytes`.
    ///
    /// `media_type` is for example `application/fhir+json`; `format` names what the media type
    /// leaves open, for example `fhir-r4` or a FHIR `DocumentReference.content.format` code.
    ///
    /// # Errors
    /// [`MetadataError::MediaType`] or [`MetadataError::Format`].
    pub fn new(
        content_bytes: u64,
        media_type: impl Into<String>,
        format: impl Into<String>,
    ) -> Result<Self, MetadataError> {
        let (media_type, format) = (media_type.into(), format.into());
        if !is_media_type(&media_type) {
            return Err(MetadataError::MediaType);
        }
        if !is_format(&format) {
            return Err(MetadataError::Format);
        }
        Ok(Self {
            content_bytes,
            media_type,
            format,
            file_name: None,
        })
    }

    /// The same with a file name.
    ///
    /// # Errors
    /// [`MetadataError::FileName`] if it is not a plain file name.
    pub fn with_file_name(mut self, file_name: impl Into<String>) -> Result<Self, MetadataError> {
        let file_name = file_name.into();
        if !is_file_name(&file_name) {
            return Err(MetadataError::FileName);
        }
        self.file_name = Some(file_name);
        Ok(self)
    }

    /// The true length of the document.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// The media type, RFC 6838.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The format.
    pub fn format(&self) -> &str {
        &self.format
    }

    /// The name of the file that the document came from.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// The encrypted JSON.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let json = MetadataJson {
            content_bytes: self.content_bytes,
            media_type: self.media_type.clone(),
            format: self.format.clone(),
            file_name: self.file_name.clone(),
        };
        // The worst case, every character escaped, is below the limit; no growth leaves a copy.
        let mut bytes = Zeroizing::new(Vec::with_capacity(METADATA_BYTES_MAX as usize));
        serde_json::to_writer(&mut *bytes, &json).expect("numbers and strings become JSON");
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MetadataError> {
        let mut json: MetadataJson =
            serde_json::from_slice(bytes).map_err(|_| MetadataError::Malformed)?;
        let media_type = std::mem::take(&mut json.media_type);
        let format = std::mem::take(&mut json.format);
        let metadata = Self::new(json.content_bytes, media_type, format)?;
        match json.file_name.take() {
            Some(file_name) => metadata.with_file_name(file_name),
            None => Ok(metadata),
        }
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metadata(redacted)")
    }
}

fn is_media_type(text: &str) -> bool {
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    text.len() <= MEDIA_TYPE_BYTES_MAX
        && parameters
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_restricted_name(kind) && is_restricted_name(subtype))
}

/// `restricted-name` of RFC 6838, section 4.2.
fn is_restricted_name(text: &str) -> bool {
    text.len() <= 127
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

fn is_format(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= FORMAT_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_file_name(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || c == '/' || c == '\\';
    !matches!(text, "" | "." | "..")
        && text.len() <= FILE_NAME_BYTES_MAX
        && !text.contains(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_json() {
        let metadata = Metadata::new(11, "application/pdf", "pdf").expect("valid");
        assert_eq!(
            metadata.encode().as_slice(),
            br#"{"content_bytes":11,"media_type":"application/pdf","format":"pdf"}"#
        );
        let named = metadata.with_file_name("résumé \"x\".pdf").expect("valid");
        assert_eq!(
            String::from_utf8_lossy(&named.encode()),
            r#"{"content_bytes":11,"media_type":"application/pdf","format":"pdf","file_name":"résumé \"x\".pdf"}"#
        );
        assert_eq!(Metadata::decode(&named.encode()), Ok(named));
    }

    #[test]
    fn media_types() {
        for good in [
            "text/plain",
            "application/fhir+json",
            "text/plain; charset=utf-8",
        ] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "a/b/c",
            "text/pl ain",
            "text/plain\r\nX: y",
        ] {
            assert!(!is_media_type(bad), "{bad}");
        }
        assert!(!is_media_type("text/plain; x=\r\n"));
    }

    #[test]
    fn file_names_are_one_component() {
        for good in ["a", "scan 1.dcm", "..a", "Ärztebrief.pdf"] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../a", "a\\b", "a\0", "a\nb"] {
            assert!(!is_file_name(bad), "{bad}");
        }
        assert!(!is_file_name(&"a".repeat(FILE_NAME_BYTES_MAX + 1)));
    }

    #[test]
    fn malformed_json_is_refused() {
        for bad in [
            "",
            "{}",
            "null",
            r#"{"content_bytes":1,"media_type":"a/b","format":"c","more":1}"#,
            r#"{"content_bytes":1,"content_bytes":1,"media_type":"a/b","format":"c"}"#,
            r#"{"content_bytes":-1,"media_type":"a/b","format":"c"}"#,
            r#"{"content_bytes":1.5,"media_type":"a/b","format":"c"}"#,
            r#"{"content_bytes":1,"media_type":"a/b","format":"c"} x"#,
        ] {
            assert_eq!(
                Metadata::decode(bad.as_bytes()),
                Err(MetadataError::Malformed),
                "{bad}"
            );
        }
        let path = r#"{"content_bytes":1,"media_type":"a/b","format":"c","file_name":"../x"}"#;
        assert_eq!(
            Metadata::decode(path.as_bytes()),
            Err(MetadataError::FileName)
        );
    }

    #[test]
    fn the_longest_metadata_is_within_its_limit_and_its_first_buffer() {
        let media_type = format!("a/b;{}", "\"".repeat(MEDIA_TYPE_BYTES_MAX - 4));
        let metadata = Metadata::new(u64::MAX, media_type, "\"".repeat(FORMAT_BYTES_MAX))
            .and_then(|metadata| metadata.with_file_name("\"".repeat(FILE_NAME_BYTES_MAX)))
            .expect("valid");
        let encoded = metadata.encode();
        assert!(encoded.len() < METADATA_BYTES_MAX as usize);
        assert_eq!(encoded.capacity(), METADATA_BYTES_MAX as usize);
    }

    #[test]
    fn debug_is_redacted() {
        let metadata = Metadata::new(77, "x/canary", "canary")
            .and_then(|metadata| metadata.with_file_name("canary"))
            .expect("valid");
        let shown = format!("{metadata:?}");
        assert!(
            !shown.contains("canary") && !shown.contains("77"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn round_trip(bytes in any::<u64>(), format in "[!-~]{1,255}", name in "[^/\\\\\\p{C}.][^/\\\\\\p{C}]{0,50}") {
            let metadata = Metadata::new(bytes, "application/dicom", format)
                .and_then(|metadata| metadata.with_file_name(name));
            let metadata = metadata.expect("valid by construction");
            prop_assert_eq!(Metadata::decode(&metadata.encode()), Ok(metadata));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Metadata::decode(&bytes);
        }
    }
}
