//! The node's configuration file.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stela_protocol::OrgId;

use crate::limits::{CONFIG_FILE_BYTES_MAX, NODE_NAME_BYTES_MAX};

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("the configuration {path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It says something that is not understood.
    #[error("the configuration {path}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// A value that is not possible.
    #[error("the configuration {path}: {key}: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Of what.
        key: &'static str,
        /// Why not.
        reason: String,
    },
}

/// What a node is told when it starts. Paths in the file are relative to the file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whose node this is.
    pub organization: OrgId,
    /// What it is called among the organization's nodes.
    pub name: String,
    /// Where it answers; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder with everything that it keeps.
    pub data: PathBuf,
    /// The folder with `cert.pem` and `key.pem`, under which it endorses.
    pub identity: PathBuf,
    /// The folder with `tls.pem` and `tls.key.pem`.
    pub tls: PathBuf,
    /// The organization's root certificates for identities, PEM: who may administrate this node.
    pub root_certificates: Vec<PathBuf>,
    /// The organization's root certificates for TLS, PEM: who may connect before a channel is
    /// joined.
    pub tls_root_certificates: Vec<PathBuf>,
    /// Memory for what was read from the databases, in bytes; `None` leaves it to the store.
    pub cache_bytes: Option<usize>,
    /// What is logged, such as `info,stela_peer=debug`.
    pub log: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    organization: String,
    name: String,
    listen: SocketAddr,
    data: PathBuf,
    identity: PathBuf,
    tls: PathBuf,
    root_certificates: Vec<PathBuf>,
    tls_root_certificates: Vec<PathBuf>,
    #[serde(default)]
    cache_mib: Option<u32>,
    #[serde(default = "info")]
    log: String,
}

fn info() -> String {
    "info".to_owned()
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigFileError`] names the file and what is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ConfigFileError> {
        let text = read(path).map_err(|reason| ConfigFileError::Read {
            path: path.to_owned(),
            reason,
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigFileError> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| ConfigFileError::Syntax {
            path: path.to_owned(),
            reason: one_line(text, &error),
        })?;
        let refuse = |key, reason: String| ConfigFileError::Value {
            path: path.to_owned(),
            key,
            reason,
        };
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let absolute = |paths: Vec<PathBuf>| paths.iter().map(|path| folder.join(path)).collect();
        let organization = OrgId::new(&file.organization)
            .map_err(|error| refuse("organization", error.to_string()))?;
        if !is_node_name(&file.name) {
            let reason = format!("1 to {NODE_NAME_BYTES_MAX} of a-z A-Z 0-9 . -");
            return Err(refuse("name", reason));
        }
        if file.root_certificates.is_empty() {
            return Err(refuse(
                "root_certificates",
                "at least one is needed".to_owned(),
            ));
        }
        Ok(Self {
            organization,
            name: file.name,
            listen: file.listen,
            data: folder.join(file.data),
            identity: folder.join(file.identity),
            tls: folder.join(file.tls),
            root_certificates: absolute(file.root_certificates),
            tls_root_certificates: absolute(file.tls_root_certificates),
            cache_bytes: file.cache_mib.map(|mib| (mib as usize) << 20),
            log: file.log,
        })
    }
}

/// The parser's own words draw the place on several lines.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let words = error.message().replace('\n', " ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => {
            let line = before.matches('\n').count();
            let quoted = text.lines().nth(line).unwrap_or_default().trim();
            format!("line {} ({quoted}): {words}", line + 1)
        }
        None => words,
    }
}

fn is_node_name(name: &str) -> bool {
    (1..=NODE_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

fn read(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut limited = file.take(CONFIG_FILE_BYTES_MAX + 1);
    let bytes = limited
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if bytes as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(format!("it has more than {CONFIG_FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../peer.example.toml");

    fn parse(text: &str) -> Result<Config, ConfigFileError> {
        Config::parse(text, Path::new("/etc/stela/peer.toml"))
    }

    #[test]
    fn the_example_is_a_configuration() {
        let config = parse(EXAMPLE).unwrap();
        assert_eq!(config.organization.as_str(), "HospitalA");
        assert_eq!(config.name, "peer0");
        assert_eq!(config.identity, Path::new("/etc/stela/identity"));
        assert_eq!(config.data, Path::new("/var/lib/stela/peer"));
        assert_eq!(config.cache_bytes, Some(128 << 20));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |from: &str, to: &str, expect: &str| {
            let text = EXAMPLE.replace(from, to);
            assert_ne!(text, EXAMPLE, "{from} is not in the example");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
            assert!(
                error.contains("peer.toml") && error.lines().count() == 1,
                "{error}"
            );
        };
        check("\"HospitalA\"", "\"../A\"", "organization");
        check("\"peer0\"", "\"peer 0\"", "name");
        check("7051", "99999", "listen");
        check("organization =", "organisation =", "organisation");
        check(
            "root_certificates = [\"ca.pem\"]",
            "root_certificates = []",
            "root_certificates",
        );
    }
}
