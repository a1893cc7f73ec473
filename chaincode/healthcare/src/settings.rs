//! What the consortium sets for this contract in the channel's configuration.

use serde::{Deserialize, Serialize};
use stela_guest::{ContractError, Ledger, json};

use crate::limits::{REBIND_WAIT_MS, SETTINGS_BYTES_MAX};

/// The contract's settings: one JSON object, unknown fields are refused, and what is not stated
/// has its default. A configuration without settings means every default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long it takes until that counts which an organization alone says about who is, or acts
    /// for, a patient (a rebinding, a guardian, an executor), in milliseconds; [`REBIND_WAIT_MS`]
    /// when not stated.
    pub rebind_wait_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rebind_wait_ms: REBIND_WAIT_MS,
        }
    }
}

impl Settings {
    /// Reads settings as a configuration carries them; no bytes at all mean every default.
    ///
    /// # Errors
    /// `invalid-settings` with the field that breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContractError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        json::parse(bytes, SETTINGS_BYTES_MAX).map_err(|error| ContractError {
            code: "invalid-settings".to_owned(),
            ..error
        })
    }

    /// The settings under which this invocation runs.
    pub(crate) fn of(ledger: &dyn Ledger) -> Result<Self, ContractError> {
        Self::parse(&ledger.invocation().settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stated_has_its_default() {
        assert_eq!(Settings::parse(b"").unwrap(), Settings::default());
        assert_eq!(Settings::parse(b"{}").unwrap(), Settings::default());
        let set = Settings::parse(br#"{"rebind_wait_ms":1}"#).unwrap();
        assert_eq!(set.rebind_wait_ms, 1);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |bytes: &[u8], field: &str| {
            let error = Settings::parse(bytes).unwrap_err();
            let actual = (error.code.as_str(), error.field.as_deref());
            assert_eq!(actual, ("invalid-settings", Some(field)));
        };
        check(br#"{"rebind_wait":1}"#, "rebind_wait");
        check(br#"{"rebind_wait_ms":"1"}"#, "rebind_wait_ms");
        check(br#"{"rebind_wait_ms":-1}"#, "rebind_wait_ms");
        check(b"[", "arguments");
        check(&[b' '; SETTINGS_BYTES_MAX + 1], "arguments");
    }
}
