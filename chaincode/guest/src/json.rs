//! JSON arguments and answers.
//!
//! Arguments come from anywhere: they are bounded in bytes and nesting before they are parsed, and
//! an error says which field breaks which rule without repeating what was sent.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ContractError;
use crate::limits::{JSON_BYTES_MAX, JSON_DEPTH_MAX};

/// Parses the only argument of a function.
///
/// # Errors
/// `invalid-argument` when there is not exactly one argument, or as for [`parse`].
pub fn only_argument<T: DeserializeOwned>(arguments: &[Vec<u8>]) -> Result<T, ContractError> {
    match arguments {
        [argument] => parse(argument, JSON_BYTES_MAX),
        _ => Err(ContractError::invalid(
            "arguments",
            "the function takes exactly one argument, a JSON object",
        )),
    }
}

/// Parses a JSON argument of at most `bytes_max` bytes.
///
/// # Errors
/// `invalid-argument` with the field, when the bytes are too many, nested too deeply, not JSON, or
/// not what the type takes.
pub fn parse<T: DeserializeOwned>(argument: &[u8], bytes_max: usize) -> Result<T, ContractError> {
    if argument.len() > bytes_max {
        return Err(ContractError::invalid(
            "arguments",
            format!("the argument takes at most {bytes_max} bytes"),
        ));
    }
    if depth(argument) > JSON_DEPTH_MAX {
        return Err(ContractError::invalid(
            "arguments",
            format!("the argument is nested deeper than {JSON_DEPTH_MAX} levels"),
        ));
    }
    serde_json::from_slice(argument).map_err(|error| describe(argument, &error))
}

/// Encodes an answer or a value of the state.
///
/// # Errors
/// `internal` when the value cannot be written as JSON, such as a map with keys that are not text.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ContractError> {
    serde_json::to_vec(value)
        .map_err(|_| ContractError::new("internal", "the answer cannot be written as JSON"))
}

/// Parses what the contract itself wrote.
///
/// # Errors
/// `corrupt-state` when it did not.
pub fn stored<T: DeserializeOwned>(kind: &str, value: &[u8]) -> Result<T, ContractError> {
    serde_json::from_slice(value).map_err(|_| ContractError::corrupt_state(kind))
}

/// How deeply arrays and objects are nested, without parsing anything else.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn describe(argument: &[u8], error: &serde_json::Error) -> ContractError {
    let text = error.to_string();
    let rule = text.split(" at line ").next().unwrap_or_default();
    let missing = quoted(rule, "missing field `");
    let mut path = Path::default();
    if error.is_data() {
        let read = &argument[..offset(argument, error.line(), error.column())];
        // A rule that a field breaks only after it was parsed is reported when its object has
        // ended; a missing field is missing in the object that has ended.
        let inside = read.strip_suffix(b"}").filter(|_| missing.is_none());
        path.follow(inside.unwrap_or(read));
    }
    path.0
        .extend(missing.map(|name| Step::Key(Some(name.to_owned()))));
    ContractError::invalid(path.name(), without_echo(rule))
}

/// Where a line and a column of `serde_json` are: lines count from 1, columns are bytes.
fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let ends = json.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let start = match line.checked_sub(2) {
        Some(skip) => ends.map(|(index, _)| index + 1).nth(skip),
        None => Some(0),
    };
    start
        .unwrap_or_default()
        .saturating_add(column)
        .min(json.len())
}

/// The names and indices that lead to a place in a JSON text. Finding it afterwards costs nothing
/// while all is well, and a fraction of the code that tracking it in the deserializer takes.
#[derive(Default)]
struct Path(Vec<Step>);

enum Step {
    Key(Option<String>),
    Index(usize),
}

impl Path {
    /// Follows a text to its end; the text is the beginning of one that was parsed.
    fn follow(&mut self, json: &[u8]) {
        let mut rest = json.iter().enumerate();
        while let Some((start, byte)) = rest.next() {
            match byte {
                b'{' => self.0.push(Step::Key(None)),
                b'[' => self.0.push(Step::Index(0)),
                b'}' | b']' => drop(self.0.pop()),
                b',' => match self.0.last_mut() {
                    Some(Step::Key(key)) => *key = None,
                    Some(Step::Index(index)) => *index += 1,
                    None => {}
                },
                b'"' => {
                    let (mut end, mut escaped) = (json.len(), false);
                    for (index, byte) in rest.by_ref() {
                        if *byte == b'"' && !escaped {
                            end = index;
                            break;
                        }
                        escaped = *byte == b'\\' && !escaped;
                    }
                    if let Some(Step::Key(key @ None)) = self.0.last_mut() {
                        *key = Some(String::from_utf8_lossy(&json[start + 1..end]).into_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// The path as text. Names may come from the caller; only what a name is made of is kept.
    fn name(&self) -> String {
        let mut name = String::new();
        for step in &self.0 {
            match step {
                Step::Key(None) => {}
                Step::Key(Some(key)) => {
                    let dot = if name.is_empty() { "" } else { "." };
                    name.push_str(dot);
                    name.extend(key.chars().map(|c| match c {
                        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => c,
                        _ => '?',
                    }));
                }
                Step::Index(index) => name.push_str(&format!("[{index}]")),
            }
        }
        if name.is_empty() {
            name.push_str("arguments");
        }
        name
    }
}

fn quoted<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.split('`').next()
}

/// Serde's own messages repeat the offending value in front of what was expected.
fn without_echo(rule: &str) -> String {
    let expected = rule
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    let kind = [
        "unknown field",
        "unknown variant",
        "invalid type",
        "invalid value",
        "invalid length",
    ]
    .into_iter()
    .find(|kind| rule.starts_with(kind));
    match (kind, expected) {
        (Some(kind), Some(expected)) => format!("{kind}, expected {expected}"),
        (Some(kind), None) => kind.to_owned(),
        (None, _) => rule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Request {
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
        #[serde(default)]
        even: Option<Even>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "u32")]
    struct Even;

    impl TryFrom<u32> for Even {
        type Error = &'static str;

        fn try_from(number: u32) -> Result<Self, &'static str> {
            number.is_multiple_of(2).then_some(Self).ok_or("not even")
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Inner {
        count: u32,
    }

    #[track_caller]
    fn refuse(json: &str, field: &str, message: &str) {
        let error = only_argument::<Request>(&[json.as_bytes().to_vec()]).unwrap_err();
        assert_eq!(
            (
                error.code.as_str(),
                error.field.as_deref(),
                error.message.as_str()
            ),
            ("invalid-argument", Some(field), message)
        );
    }

    #[test]
    fn an_error_names_field_and_rule_and_repeats_nothing() {
        refuse("{}", "name", "missing field `name`");
        refuse(
            r#"{"name":"a","inner":[{}]}"#,
            "inner[0].count",
            "missing field `count`",
        );
        refuse(
            r#"{"name":"a","inner":[{"count":"John Doe, expected u32"}]}"#,
            "inner[0].count",
            "invalid type, expected u32",
        );
        refuse(
            r#"{"name":"a","diagnosis F32":1}"#,
            "diagnosis?F32",
            "unknown field, expected one of `name`, `inner`, `even`",
        );
        refuse(
            r#"{"name":"a","name":"b"}"#,
            "name",
            "duplicate field `name`",
        );
        refuse(r#"{"name":"a"} x"#, "arguments", "trailing characters");
        refuse(
            "{\"name\":\"a\\\"\",\n \"inner\":[{\"count\":1},\n{\"count\":1},{\"count\":[]}]}",
            "inner[2].count",
            "invalid type, expected u32",
        );
        refuse(
            r#"{"name":"a","inner":[{"count":1},{"count":1}],"inner":[]}"#,
            "inner",
            "duplicate field `inner`",
        );
        refuse(r#"{"inner":[{"count":1}]}"#, "name", "missing field `name`");
        refuse(r#"{"name":"a","even":1}"#, "even", "not even");
        refuse(r#"{"even":1,"name":"a"}"#, "even", "not even");
        refuse("[1]", "[0]", "invalid type, expected a string");
        refuse("[", "arguments", "EOF while parsing a list");
    }

    #[test]
    fn hostile_json_is_refused_before_it_is_parsed() {
        let deep = "[".repeat(200_000);
        let error = parse::<Request>(deep.as_bytes(), 1 << 20).unwrap_err();
        assert!(error.message.contains("nested"), "{error}");
        let long = vec![b' '; JSON_BYTES_MAX + 1];
        let error = only_argument::<Request>(&[long]).unwrap_err();
        assert!(error.message.contains("at most"), "{error}");
        for arguments in [vec![], vec![b"{}".to_vec(), b"{}".to_vec()]] {
            assert!(only_argument::<Request>(&arguments).is_err());
        }
        assert!(only_argument::<Request>(&[vec![0xff, 0xfe]]).is_err());
    }

    #[test]
    fn brackets_in_strings_are_text() {
        assert_eq!(depth(br#"{"a":"[[[[\"[["}"#), 1);
        assert_eq!(depth(br#"[{"a":[1]},[2]]"#), 3);
    }
}
