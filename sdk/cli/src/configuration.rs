//! A channel's configuration as people read and edit it: JSON, and what differs between two.

mod diff;
mod json;

#[cfg(test)]
pub(crate) use self::diff::tests::sample;
pub(crate) use self::diff::{Difference, difference};
pub(crate) use self::json::{from_json, from_pem, to_json};
