//! The node's configuration file, TOML.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use stela_client::Endpoint;
use stela_ipfs::{Cid, Multiaddr};
use stela_protocol::{ChannelId, ContractName, OrgId};

use crate::files;
use crate::leases::Quotas;
use crate::limits::CONFIG_BYTES_MAX;

/// Which confirmed records a node keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replication {
    /// Every one of the channel.
    #[default]
    All,
    /// Those that were uploaded to this node.
    Held,
}

impl Replication {
    /// Whether a blob named by the ledger is this node's to keep; `holds` says whether it has the
    /// blob under lease.
    pub(crate) fn concerns(self, cid: &Cid, holds: impl Fn(&Cid) -> bool) -> bool {
        self == Self::All || holds(cid)
    }
}

/// Everything a storage node needs to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The organization that runs it.
    pub organization: OrgId,
    /// Its name within the organization.
    pub name: String,
    /// Where it keeps its data.
    pub data: PathBuf,
    /// Where members upload, `host:port`.
    pub listen: String,
    /// Where its IPFS node listens.
    pub swarm_listen: Vec<Multiaddr>,
    /// Under which addresses others reach its IPFS node, if others than those.
    pub swarm_announce: Vec<Multiaddr>,
    /// The file with the key of the private swarm.
    pub swarm_key: PathBuf,
    /// The folder with its identity, role `storage`.
    pub identity: PathBuf,
    /// The folder with its TLS certificate.
    pub tls: PathBuf,
    /// The genesis block of the channel, which says whom to trust.
    pub genesis: PathBuf,
    /// The peers it follows the channel through.
    pub gateways: Vec<Endpoint>,
    /// The channel.
    pub channel: ChannelId,
    /// The contract whose events it follows.
    pub contract: ContractName,
    /// Which confirmed records it keeps.
    pub replication: Replication,
    /// How much members may have under lease.
    pub quotas: Quotas,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not TOML, or not these fields.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<toml::de::Error>,
    },
    /// A field has no possible value.
    #[error("{}: {field}: {why}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Why not.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    organization: String,
    name: String,
    data: PathBuf,
    listen: String,
    swarm_listen: Vec<String>,
    #[serde(default)]
    swarm_announce: Vec<String>,
    swarm_key: PathBuf,
    identity: PathBuf,
    tls: PathBuf,
    genesis: PathBuf,
    gateways: Vec<GatewayEntry>,
    channel: String,
    contract: String,
    #[serde(default)]
    replication: Replication,
    #[serde(default)]
    quotas: Quotas,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayEntry {
    organization: String,
    address: String,
}

impl Config {
    /// Reads a configuration file. Relative paths in it start at the file's own folder.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the field.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        };
        let bytes = files::read_limited(path, CONFIG_BYTES_MAX).map_err(read)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| read(std::io::Error::other(error.utf8_error())))?;
        let file = toml::from_str(&text).map_err(|source| ConfigError::Toml {
            path: path.to_path_buf(),
            source: Box::new(source),
        })?;
        Self::check(path, file)
    }

    fn check(path: &Path, file: File) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let gateways = file.gateways.into_iter().map(|entry| {
            let organization = parse(path, "gateways", &entry.organization)?;
            Ok(Endpoint {
                organization,
                address: entry.address,
            })
        });
        Ok(Self {
            organization: parse(path, "organization", &file.organization)?,
            name: file.name,
            data: folder.join(file.data),
            listen: file.listen,
            swarm_listen: addresses(path, "swarm_listen", &file.swarm_listen)?,
            swarm_announce: addresses(path, "swarm_announce", &file.swarm_announce)?,
            swarm_key: folder.join(file.swarm_key),
            identity: folder.join(file.identity),
            tls: folder.join(file.tls),
            genesis: folder.join(file.genesis),
            gateways: gateways.collect::<Result<_, ConfigError>>()?,
            channel: parse(path, "channel", &file.channel)?,
            contract: parse(path, "contract", &file.contract)?,
            replication: file.replication,
            quotas: file.quotas,
        })
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    path: &Path,
    field: &'static str,
    text: &str,
) -> Result<T, ConfigError> {
    text.parse().map_err(|error: T::Err| ConfigError::Field {
        path: path.to_path_buf(),
        field,
        why: error.to_string(),
    })
}

fn addresses(
    path: &Path,
    field: &'static str,
    texts: &[String],
) -> Result<Vec<Multiaddr>, ConfigError> {
    texts.iter().map(|text| parse(path, field, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../storage.example.toml");

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("storage.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn the_example_is_a_configuration() {
        let config = read(EXAMPLE).unwrap();
        assert_eq!(config.organization.as_str(), "HospitalA");
        assert_eq!(
            (config.replication, config.gateways.len()),
            (Replication::All, 1)
        );
        assert_eq!(
            config.quotas,
            Quotas::default(),
            "the example shows the defaults"
        );
        assert!(config.data.is_absolute());
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let config = read(&EXAMPLE.replace("/var/lib/stela/storage", "data")).unwrap();
        assert!(config.data.is_absolute() && config.data.ends_with("data"));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |from: &str, to: &str, expect: &str| {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = read(&EXAMPLE.replacen(from, to, 1))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("HospitalA", "Hospital A", "organization");
        check("channel = \"care\"", "channel = \"../care\"", "channel");
        check("/ip4/0.0.0.0/tcp/4001", "0.0.0.0:4001", "swarm_listen");
        check(
            "replication = \"all\"",
            "replication = \"none\"",
            "replication",
        );
        check("name =", "nom =", "nom");
        check("listen =", "#", "listen");
    }
}
