//! A node's configuration on its own machine, before it is started or after it stopped.
//!
//! The file is read here by what all three kinds of nodes have in common, not by their own programs,
//! which this command does not depend on; a node still says by itself what it does not understand.

use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stela_identity::Msp;
use stela_identity::tls::TlsRoots;
use stela_ipfs::ApiUrl;
use stela_protocol::OrgId;
use stela_protocol::block::Block;
use stela_protocol::config::{self, ChannelConfig};

use super::finding::{Check, Finding, Verdict};
use super::folder::{self, Whose};
use crate::limits::{GENESIS_BYTES_MAX, NODE_FILE_BYTES_MAX, PROBE_TIMEOUT};

/// What the configuration files of nodes say, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct NodeFile {
    organization: String,
    name: String,
    listen: String,
    data: PathBuf,
    identity: PathBuf,
    tls: PathBuf,
    // An orderer's.
    root_certificate: Option<PathBuf>,
    tls_root_certificate: Option<PathBuf>,
    // A peer's.
    #[serde(default)]
    root_certificates: Vec<PathBuf>,
    #[serde(default)]
    tls_root_certificates: Vec<PathBuf>,
    // A storage node's.
    swarm_key: Option<PathBuf>,
    kubo: Option<Kubo>,
    genesis: Option<PathBuf>,
    channel: Option<String>,
}

/// The IPFS daemon that keeps a storage node's blobs.
#[derive(Debug, Deserialize)]
struct Kubo {
    api: String,
    #[serde(default)]
    plain_http_anywhere: bool,
}

impl NodeFile {
    fn role(&self) -> &'static str {
        if self.genesis.is_some() {
            "storage"
        } else if self.root_certificate.is_some() {
            "orderer"
        } else {
            "peer"
        }
    }
}

/// Looks at everything that a configuration file names.
pub(super) fn look(path: &Path, now_ms: u64) -> Vec<Finding> {
    let looked_at = path.display().to_string();
    let (file, organization) = match read(path) {
        Ok(read) => read,
        Err(why) => {
            let found = Finding::ok(Check::Files, "this node", looked_at, why);
            let cure =
                "correct the file; the example beside the program's source explains each line";
            return vec![found.but(Verdict::Failed).cured_by(cure)];
        }
    };
    let subject = format!("{organization}/{}", file.name);
    let found = format!("the configuration of a node with the role {}", file.role());
    let mut findings = vec![Finding::ok(Check::Files, &subject, looked_at, found)];
    let folder = path.parent().unwrap_or(Path::new(""));
    let node = Node {
        whose: Whose {
            subject: &subject,
            organization: &organization,
            now_ms,
        },
        file: &file,
        folder,
    };
    node.certificates(&mut findings);
    if let Some(key) = &file.swarm_key {
        folder::swarm_key(&subject, &folder.join(key), &mut findings);
    }
    if let Some(kubo) = &file.kubo {
        findings.push(daemon(&subject, kubo));
    }
    let is_running = node.address(&mut findings);
    node.data(is_running, &mut findings);
    findings
}

fn read(path: &Path) -> Result<(NodeFile, OrgId), String> {
    let bytes = folder::read(path, NODE_FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let file: NodeFile = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
    let organization = OrgId::new(&file.organization).map_err(|error| error.to_string())?;
    Ok((file, organization))
}

struct Node<'a> {
    whose: Whose<'a>,
    file: &'a NodeFile,
    folder: &'a Path,
}

impl Node<'_> {
    fn certificates(&self, findings: &mut Vec<Finding>) {
        let (accept, trusted) = match self.file.role() {
            "storage" => self.roots_of_genesis(findings),
            _ => (self.identity_roots(findings), self.tls_roots(findings)),
        };
        let folder = self.folder.join(&self.file.identity);
        if let Some(certificate) = folder::identity(self.whose, &folder, findings) {
            let looked_at = folder.display().to_string();
            if !accept.is_empty() {
                let subject = self.whose.subject;
                let judged = folder::authority(subject, looked_at.clone(), &certificate, &accept);
                findings.push(judged);
            }
            let role = self.file.role();
            if certificate.role() != role {
                let found = format!("the role is {:?}, not {role:?}", certificate.role());
                let finding = Finding::ok(Check::Certificate, self.whose.subject, looked_at, found);
                findings.push(
                    finding
                        .but(Verdict::Failed)
                        .cured_by("have it enrolled with its role")
                        .with(folder::enrol(&self.file.name, role, None)),
                );
            }
        }
        let tls = self.folder.join(&self.file.tls);
        folder::tls(self.whose, &tls, trusted.as_ref(), findings);
    }

    fn unusable(&self, path: &Path, why: impl std::fmt::Display, cure: &str) -> Finding {
        let looked_at = path.display().to_string();
        Finding::ok(Check::Files, self.whose.subject, looked_at, why.to_string())
            .but(Verdict::Failed)
            .cured_by(cure)
    }

    /// The DER of the root certificates at these paths.
    fn pem(&self, paths: &[PathBuf], findings: &mut Vec<Finding>) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for path in paths.iter().map(|path| self.folder.join(path)) {
            let read = folder::read(&path, NODE_FILE_BYTES_MAX)
                .map_err(|error| error.to_string())
                .and_then(|bytes| pem::parse(bytes).map_err(|error| error.to_string()));
            match read {
                Ok(pem) => found.push((path, pem.into_contents())),
                Err(why) => {
                    let cure = "put the organization's root certificate there, in PEM";
                    findings.push(self.unusable(&path, why, cure));
                }
            }
        }
        found
    }

    fn identity_roots(&self, findings: &mut Vec<Finding>) -> Vec<Msp> {
        let mut paths = self.file.root_certificates.clone();
        paths.extend(self.file.root_certificate.clone());
        let mut accept = Vec::new();
        for (path, der) in self.pem(&paths, findings) {
            match Msp::of_organization(self.whose.organization, &der) {
                Ok(msp) => accept.push(msp),
                Err(error) => {
                    let cure = "put the root certificate of this node's own organization there";
                    let finding = self.unusable(&path, error, cure);
                    findings.push(Finding {
                        check: Check::Authority,
                        ..finding
                    });
                }
            }
        }
        accept
    }

    fn tls_roots(&self, findings: &mut Vec<Finding>) -> Option<TlsRoots> {
        let mut paths = self.file.tls_root_certificates.clone();
        paths.extend(self.file.tls_root_certificate.clone());
        let mut trusted = None;
        for (path, der) in self.pem(&paths, findings) {
            let known = trusted.clone().unwrap_or_else(TlsRoots::new);
            match known.add(self.whose.organization, &der) {
                Ok(roots) => trusted = Some(roots),
                Err(error) => {
                    let cure = "put the TLS root certificate of this node's own organization there";
                    let finding = self.unusable(&path, error, cure);
                    findings.push(Finding {
                        check: Check::Authority,
                        ..finding
                    });
                }
            }
        }
        trusted
    }

    /// A storage node knows its organization's roots from the channel's first block.
    fn roots_of_genesis(&self, findings: &mut Vec<Finding>) -> (Vec<Msp>, Option<TlsRoots>) {
        let Some(path) = &self.file.genesis else {
            let cure = "name the channel's first block in the configuration";
            findings.push(self.unusable(Path::new("genesis"), "it is missing", cure));
            return (Vec::new(), None);
        };
        let path = self.folder.join(path);
        let finding = |found: String| {
            let looked_at = path.display().to_string();
            Finding::ok(Check::Genesis, self.whose.subject, looked_at, found)
        };
        match genesis(&path, self.file.channel.as_deref()) {
            Err(why) => {
                let cure = "put the channel's first block there, as the consortium gave it out";
                findings.push(finding(why).but(Verdict::Failed).cured_by(cure));
                (Vec::new(), None)
            }
            Ok((hash, channel)) => {
                findings.push(finding(format!("first block {hash}")));
                let own = channel.organizations.get(self.whose.organization);
                let accept = own.and_then(|organization| {
                    Msp::of_organization(&organization.id, &organization.root_certificate).ok()
                });
                (
                    accept.into_iter().collect(),
                    TlsRoots::new().add_config(&channel).ok(),
                )
            }
        }
    }

    /// Whether the node could listen at its address; answers whether something does already.
    fn address(&self, findings: &mut Vec<Finding>) -> bool {
        let listen = &self.file.listen;
        let finding =
            |found: String| Finding::ok(Check::Address, self.whose.subject, listen, found);
        let resolved = listen.to_socket_addrs().map(|mut all| all.next());
        let address: SocketAddr = match resolved {
            Ok(Some(address)) => address,
            Ok(None) | Err(_) => {
                let found = finding("no address of the form host:port".to_owned());
                findings.push(found.but(Verdict::Failed).cured_by("correct `listen`"));
                return false;
            }
        };
        let (bound, is_running) = match TcpListener::bind(address) {
            Ok(_) => (finding("free".to_owned()), false),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => (
                finding("something listens there; if it is this node, that is well".to_owned()),
                true,
            ),
            Err(error) => (
                finding(format!("cannot be listened at: {error}"))
                    .but(Verdict::Failed)
                    .cured_by("name an address of this machine in `listen`"),
                false,
            ),
        };
        findings.push(bound);
        is_running
    }

    fn data(&self, is_running: bool, findings: &mut Vec<Finding>) {
        let data = self.folder.join(&self.file.data);
        if data.exists() && !data.is_dir() {
            let cure = "name a folder in `data`";
            findings.push(self.unusable(&data, "it is no folder", cure));
        }
        folder::room(self.whose.subject, &data, findings);
        folder::last_words(self.whose.subject, &data, is_running, findings);
    }
}

/// Whether something takes connections where the daemon should be.
fn daemon(subject: &str, kubo: &Kubo) -> Finding {
    let finding = |found| Finding::ok(Check::Reachable, subject, "the table [kubo]", found);
    match connect(kubo) {
        Ok(api) => finding(format!("{api} takes connections")),
        Err(why) => finding(why).but(Verdict::Failed).cured_by(
            "start the IPFS daemon, or correct `api`; without it the node does not start",
        ),
    }
}

fn connect(kubo: &Kubo) -> Result<ApiUrl, String> {
    let api = ApiUrl::parse(&kubo.api, kubo.plain_http_anywhere);
    let api = api.map_err(|error| error.to_string())?;
    let url = api.to_string();
    let (_, address) = url.split_once("://").unwrap_or_default();
    let refused = |error: std::io::Error| format!("the IPFS daemon at {url}: {error}");
    let addresses: Vec<_> = address.to_socket_addrs().map_err(refused)?.collect();
    let mut why = format!("{url} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PROBE_TIMEOUT) {
            Ok(_) => return Ok(api),
            Err(error) => why = refused(error),
        }
    }
    Err(why)
}

fn genesis(
    path: &Path,
    channel: Option<&str>,
) -> Result<(stela_protocol::Hash32, ChannelConfig), String> {
    let bytes = folder::read(path, GENESIS_BYTES_MAX).map_err(|error| error.to_string())?;
    let block = Block::decode(bytes.into()).map_err(|error| error.to_string())?;
    let (_, config) = config::from_genesis(&block).map_err(|error| error.to_string())?;
    match channel.is_some_and(|channel| channel != config.channel.as_str()) {
        true => Err(format!(
            "it is the first block of channel {}, not of {}",
            config.channel,
            channel.unwrap_or_default()
        )),
        false => Ok((block.hash, config)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_identity::{CertificateAuthority, Subject, TlsAuthority, Validity};

    const NOW_MS: u64 = 1_800_000_000_000;

    #[test]
    fn the_examples_of_all_nodes_are_understood() {
        let check = |text: &str, role: &str| {
            let file: NodeFile = toml::from_str(text).unwrap();
            assert_eq!(file.role(), role);
        };
        check(
            include_str!("../../../../orderer/orderer.example.toml"),
            "orderer",
        );
        check(include_str!("../../../../peer/peer.example.toml"), "peer");
        let storage = include_str!("../../../storage/storage.example.toml");
        check(storage, "storage");
        let with_daemon = storage.lines().filter(|line| !line.starts_with("swarm_"));
        let with_daemon = with_daemon.collect::<Vec<_>>().join("\n");
        let kubo = "\n[kubo]\napi = \"http://127.0.0.1:5001\"\n";
        check(&(with_daemon + kubo), "storage");
    }

    #[test]
    fn a_daemon_is_there_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let look = |api: String| {
            let kubo = Kubo {
                api,
                plain_http_anywhere: false,
            };
            let finding = daemon("A/storage0", &kubo);
            (finding.verdict, finding.found)
        };
        let there = format!("http://{address}");
        assert_eq!(look(there.clone()).0, Verdict::Ok);
        drop(listener);
        let (verdict, found) = look(there.clone());
        assert_eq!(verdict, Verdict::Failed);
        assert!(found.contains(&there), "{found}");
        let (verdict, found) = look("http://me:hunter2@127.0.0.1".to_owned());
        assert_eq!(verdict, Verdict::Failed);
        assert!(!found.contains("hunter2"), "{found}");
    }

    /// An orderer's folder, made by these authorities.
    fn node(folder: &Path, validity: Validity, role: &str, ca: &CertificateAuthority) {
        let organization = OrgId::new("A").unwrap();
        let tls = TlsAuthority::create(&organization, ages()).unwrap();
        let subject = Subject {
            common_name: "orderer0".to_owned(),
            role: role.to_owned(),
            attributes: Default::default(),
            validity,
        };
        ca.issue(&subject)
            .unwrap()
            .save(&folder.join("identity"))
            .unwrap();
        tls.save(&folder.join("tls-ca")).unwrap();
        let shown = tls
            .issue("orderer0", &["localhost".to_owned()], ages())
            .unwrap();
        shown.save(&folder.join("tls")).unwrap();
        let text = "organization = \"A\"\nname = \"orderer0\"\nlisten = \"127.0.0.1:0\"\n\
                    data = \"data\"\nidentity = \"identity\"\ntls = \"tls\"\n\
                    root_certificate = \"ca/ca.pem\"\n\
                    tls_root_certificate = \"tls-ca/tls-ca.pem\"\n";
        std::fs::write(folder.join("orderer.toml"), text).unwrap();
    }

    fn ages() -> Validity {
        Validity {
            not_before_ms: 1_600_000_000_000,
            not_after_ms: 4_000_000_000_000,
        }
    }

    fn authority() -> CertificateAuthority {
        CertificateAuthority::create(&OrgId::new("A").unwrap(), ages()).unwrap()
    }

    fn failed(folder: &Path) -> Vec<(Check, String)> {
        let findings = look(&folder.join("orderer.toml"), NOW_MS);
        let wrong = findings
            .into_iter()
            .filter(|f| f.verdict == Verdict::Failed);
        wrong.map(|f| (f.check, f.found)).collect()
    }

    #[test]
    fn a_sound_node_has_nothing_wrong_and_what_is_wrong_is_named() {
        let (ca, other) = (authority(), authority());
        let expired = Validity {
            not_after_ms: NOW_MS - 1,
            ..ages()
        };
        let check = |validity, role: &str, issuer: &CertificateAuthority| {
            let folder = tempfile::tempdir().unwrap();
            ca.save(&folder.path().join("ca")).unwrap();
            node(folder.path(), validity, role, issuer);
            (failed(folder.path()), folder)
        };
        let (nothing, folder) = check(ages(), "orderer", &ca);
        assert_eq!(nothing, []);
        let (found, _) = check(expired, "orderer", &ca);
        assert!(matches!(&found[..], [(Check::Certificate, why)] if why.contains("expired")));
        let (found, _) = check(ages(), "orderer", &other);
        assert!(matches!(&found[..], [(Check::Authority, _)]), "{found:?}");
        let (found, _) = check(ages(), "peer", &ca);
        assert!(matches!(&found[..], [(Check::Certificate, why)] if why.contains("role")));

        let here = folder.path();
        stela_health::LastWords::open(&here.join("data")).say(1, "No space left on device");
        assert!(matches!(&failed(here)[..], [(Check::Disk, why)] if why.contains("stopped")));
        std::fs::remove_file(here.join("data").join(stela_health::FILE_NAME)).unwrap();
        let key = here.join("identity/key.pem");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&key, mode).unwrap();
        assert!(matches!(&failed(here)[..], [(Check::Mode, _)]));
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(&failed(here)[..], [(Check::Files, _)]));
        std::fs::write(here.join("orderer.toml"), "organization = 7").unwrap();
        assert!(matches!(&failed(here)[..], [(Check::Files, _)]));
    }
}
