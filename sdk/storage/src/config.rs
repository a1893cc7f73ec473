//! The node's configuration file, TOML.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use stela_client::Endpoint;
use stela_ipfs::{ApiUrl, Cid, Multiaddr};
use stela_protocol::{ChannelId, ContractName, OrgId};

use crate::files;
use crate::leases::Quotas;
use crate::limits::{CHECK_BYTES_PER_SECOND, CHECK_INTERVAL, CONFIG_BYTES_MAX};

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

/// Where a node keeps its blobs and has its place in the swarm.
#[derive(Debug, Clone)]
pub enum Blobs {
    /// In this process.
    Embedded {
        /// Where its IPFS node listens.
        listen: Vec<Multiaddr>,
        /// Under which addresses others reach it, if others than those.
        announce: Vec<Multiaddr>,
        /// The file with the key of the private swarm.
        swarm_key: PathBuf,
    },
    /// In an IPFS daemon, whose own configuration says where it listens and in which swarm.
    Kubo {
        /// Where its RPC interface is.
        api: ApiUrl,
        /// The file with the authorization that it asks for.
        authorization: Option<PathBuf>,
        /// The file with the authorities of its certificate.
        authorities: Option<PathBuf>,
        /// Whether it is asked to collect garbage.
        collect: bool,
    },
}

/// How what is kept is read again and compared with its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checking {
    /// How long after the beginning of one reading the next begins.
    pub interval_hours: u64,
    /// How fast it is read at most.
    pub bytes_per_second: u64,
}

impl Default for Checking {
    fn default() -> Self {
        Self {
            interval_hours: CHECK_INTERVAL.as_secs() / 3600,
            bytes_per_second: CHECK_BYTES_PER_SECOND,
        }
    }
}

impl Checking {
    pub(crate) fn interval_ms(&self) -> u64 {
        self.interval_hours.saturating_mul(3_600_000)
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
    /// Where it keeps blobs.
    pub blobs: Blobs,
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
    /// How what is kept is read again.
    pub checking: Checking,
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
    swarm_listen: Option<Vec<String>>,
    swarm_announce: Option<Vec<String>>,
    swarm_key: Option<PathBuf>,
    kubo: Option<KuboEntry>,
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
    #[serde(default)]
    check: Checking,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KuboEntry {
    api: String,
    #[serde(default)]
    plain_http_anywhere: bool,
    authorization: Option<PathBuf>,
    authorities: Option<PathBuf>,
    #[serde(default)]
    collect: bool,
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

    fn check(path: &Path, mut file: File) -> Result<Self, ConfigError> {
        let blobs = blobs(path, &mut file)?;
        if file.check.interval_hours == 0 || file.check.bytes_per_second == 0 {
            return Err(wrong(path, "check", "it takes numbers above zero"));
        }
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
            blobs,
            identity: folder.join(file.identity),
            tls: folder.join(file.tls),
            genesis: folder.join(file.genesis),
            gateways: gateways.collect::<Result<_, ConfigError>>()?,
            channel: parse(path, "channel", &file.channel)?,
            contract: parse(path, "contract", &file.contract)?,
            replication: file.replication,
            quotas: file.quotas,
            checking: file.check,
        })
    }
}

/// Either the settings of an embedded node or those of a daemon.
fn blobs(path: &Path, file: &mut File) -> Result<Blobs, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (listen, announce) = (file.swarm_listen.take(), file.swarm_announce.take());
    let swarm_key = file.swarm_key.take();
    let Some(kubo) = file.kubo.take() else {
        let listen = listen.ok_or_else(|| wrong(path, "swarm_listen", "it is missing"))?;
        let swarm_key = swarm_key.ok_or_else(|| wrong(path, "swarm_key", "it is missing"))?;
        return Ok(Blobs::Embedded {
            listen: addresses(path, "swarm_listen", &listen)?,
            announce: addresses(path, "swarm_announce", &announce.unwrap_or_default())?,
            swarm_key: folder.join(swarm_key),
        });
    };
    if listen.is_some() || announce.is_some() || swarm_key.is_some() {
        let why = "swarm_listen, swarm_announce and swarm_key belong into the daemon's own \
            configuration";
        return Err(wrong(path, "kubo", why));
    }
    let api = ApiUrl::parse(&kubo.api, kubo.plain_http_anywhere)
        .map_err(|error| wrong(path, "kubo.api", &error.to_string()))?;
    if api.is_tls() && kubo.authorities.is_none() {
        let why = "https:// needs the file with the authority of the daemon's certificate";
        return Err(wrong(path, "kubo.authorities", why));
    }
    Ok(Blobs::Kubo {
        api,
        authorization: kubo.authorization.map(|file| folder.join(file)),
        authorities: kubo.authorities.map(|file| folder.join(file)),
        collect: kubo.collect,
    })
}

fn wrong(path: &Path, field: &'static str, why: &str) -> ConfigError {
    ConfigError::Field {
        path: path.to_path_buf(),
        field,
        why: why.to_owned(),
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
            (config.quotas, config.checking),
            (Quotas::default(), Checking::default()),
            "the example shows the defaults"
        );
        assert!(matches!(config.blobs, Blobs::Embedded { .. }));
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
        check("swarm_key =", "#", "swarm_key");
        check("swarm_listen =", "#", "swarm_listen");
        check("interval_hours = 24", "interval_hours = 0", "check");
    }

    /// The example with a daemon in place of the embedded node.
    fn with_kubo(lines: &str) -> Result<Config, ConfigError> {
        let others = EXAMPLE.lines().filter(|line| !line.starts_with("swarm_"));
        let rest = others.collect::<Vec<_>>().join("\n");
        read(&format!("{rest}\n[kubo]\n{lines}\n"))
    }

    #[test]
    fn a_daemon_in_place_of_the_embedded_node() {
        let config = with_kubo(r#"api = "http://127.0.0.1:5001""#).unwrap();
        let Blobs::Kubo { api, collect, .. } = config.blobs else {
            panic!("{:?}", config.blobs)
        };
        assert_eq!(api.to_string(), "http://127.0.0.1:5001");
        assert!(!collect, "what others put there is not ours to remove");
        let check = |lines: &str, expect: &str| {
            let error = with_kubo(lines).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("", "api");
        check(r#"api = "http://ipfs.example:5001""#, "leaves this machine");
        check(r#"api = "https://ipfs.example""#, "kubo.authorities");
        check("api = \"http://127.0.0.1\"\nplain = true", "plain");
        let both = format!("{EXAMPLE}\n[kubo]\napi = \"http://127.0.0.1:5001\"\n");
        let error = read(&both).unwrap_err().to_string();
        assert!(error.contains("daemon's own"), "{error}");
        let error = with_kubo(r#"api = "http://me:hunter2@127.0.0.1""#).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        with_kubo("api = \"http://ipfs.example:5001\"\nplain_http_anywhere = true").unwrap();
    }
}
