//! The configuration file.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stela_protocol::OrgId;
use stela_protocol::limits::NAME_BYTES_MAX;

use crate::limits::{CONFIG_FILE_BYTES_MAX, ENTRIES_KEPT, ENTRIES_KEPT_MIN};

/// Why the configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is larger than [`CONFIG_FILE_BYTES_MAX`].
    #[error("{path} has more than {CONFIG_FILE_BYTES_MAX} bytes", path = .0.display())]
    TooLarge(PathBuf),
    /// It is not what is expected.
    #[error("{path}: {why}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The section `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// How lines are written.
    pub format: LogFormat,
    /// Which are written; the variable `RUST_LOG` goes before it.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// One orderer's settings. `orderer.example.toml` explains each.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The organization.
    pub organization: OrgId,
    /// The node's name in it.
    pub name: String,
    /// Where all services listen.
    pub listen: SocketAddr,
    /// Where the channels' databases are.
    pub data_dir: PathBuf,
    /// The folder with `cert.pem` and `key.pem`.
    pub identity_dir: PathBuf,
    /// The folder with `tls.pem` and `tls.key.pem`.
    pub tls_dir: PathBuf,
    /// The organization's root certificate, PEM.
    pub root_certificate: PathBuf,
    /// The organization's TLS root certificate, PEM.
    pub tls_root_certificate: PathBuf,
    /// Entries that Raft's log keeps for other orderers that are slow.
    pub entries_kept: u64,
    /// Logging.
    pub log: LogSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    organization: String,
    name: String,
    listen: SocketAddr,
    data: PathBuf,
    identity: PathBuf,
    tls: PathBuf,
    root_certificate: PathBuf,
    tls_root_certificate: PathBuf,
    entries_kept: Option<u64>,
    #[serde(default)]
    log: LogSettings,
}

impl Settings {
    /// Reads a file. Relative paths in it start at its folder.
    ///
    /// # Errors
    /// [`SettingsError`] says what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let io = |source| SettingsError::Io {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(io)?;
        file.take(CONFIG_FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(io)?;
        if text.len() as u64 > CONFIG_FILE_BYTES_MAX {
            return Err(SettingsError::TooLarge(path.to_owned()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|why| SettingsError::Content {
            path: path.to_owned(),
            why,
        })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| error.to_string())?;
        if raw.name.is_empty() || raw.name.len() > NAME_BYTES_MAX {
            return Err(format!("name must have 1 to {NAME_BYTES_MAX} bytes"));
        }
        let entries_kept = raw.entries_kept.unwrap_or(ENTRIES_KEPT);
        if entries_kept < ENTRIES_KEPT_MIN {
            return Err(format!("entries_kept must be at least {ENTRIES_KEPT_MIN}"));
        }
        Ok(Self {
            organization: OrgId::new(&raw.organization).map_err(|error| error.to_string())?,
            name: raw.name,
            listen: raw.listen,
            data_dir: folder.join(raw.data),
            identity_dir: folder.join(raw.identity),
            tls_dir: folder.join(raw.tls),
            root_certificate: folder.join(raw.root_certificate),
            tls_root_certificate: folder.join(raw.tls_root_certificate),
            entries_kept,
            log: raw.log,
        })
    }

    /// How the node is named to others, `Organization/name`.
    pub fn origin(&self) -> String {
        format!("{}/{}", self.organization, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../orderer.example.toml");

    #[test]
    fn the_example_is_valid() {
        let settings = Settings::parse(EXAMPLE, Path::new("/etc/stela")).unwrap();
        assert_eq!(settings.origin(), "HospitalA/orderer0");
        assert_eq!(settings.identity_dir, Path::new("/etc/stela/identity"));
        assert_eq!(settings.log.format, LogFormat::Text);
        assert_eq!(settings.entries_kept, ENTRIES_KEPT);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |from: &str, to: &str, expect: &str| {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = Settings::parse(&EXAMPLE.replace(from, to), Path::new("")).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check("name = \"orderer0\"", "", "name");
        check("name = \"orderer0\"", "name = \"\"", "name");
        check("\"HospitalA\"", "\"../x\"", "organization");
        check(
            "listen = \"0.0.0.0:7050\"",
            "listen = \"nowhere\"",
            "listen",
        );
        check("[log]", "unknown = 1\n[log]", "unknown");
        check(
            "entries_kept = 10000",
            "entries_kept = 7",
            "entries_kept must",
        );
    }
}
