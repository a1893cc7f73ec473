//! A profile: who the user is, and where her gateway is. One folder, named by `--profile`.
//!
//! | In the folder | What |
//! |---|---|
//! | `profile.toml` | the settings below; paths in it are relative to the folder |
//! | (`genesis`) | the genesis block; with it, a configuration is taken from a peer only if it follows from this one |
//! | `identity/` | `cert.pem` and `key.pem`, under which she signs |
//! | `tls/` | the certificate and key that she shows in TLS |
//! | `encryption.key` | the key pair for which record keys are wrapped; made by `stela register` |
//! | `encryption.key.*` | her other key pairs: retired ones, and `.next` while one is being replaced |
//! | `swarm.key` | the key of the private IPFS swarm |
//! | `ipfs/` | her own node's blocks |
//! | `notified` | the last event that `stela notifications` has seen |
//! | `transfers/` | uploads and reads that were interrupted, with what resuming them needs |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stela_client::{Endpoint, Gateway, GatewayOptions};
use stela_identity::tls::{TlsIdentity, TlsRoots, TlsSettings};
use stela_identity::{Configuration, Credentials};
use stela_protocol::block::Block;
use stela_protocol::{ChannelId, ContractName, OrgId, config};
use stela_records::keys::EncryptionKeyPair;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) organization: String,
    pub(crate) channel: String,
    contract: String,
    pub(crate) identity: PathBuf,
    pub(crate) tls: PathBuf,
    pub(crate) tls_roots: PathBuf,
    pub(crate) swarm_key: PathBuf,
    pub(crate) encryption_key: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) genesis: Option<PathBuf>,
    pub(crate) peers: Vec<Peer>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) organization: String,
    pub(crate) address: String,
}

impl Settings {
    /// Reads `profile.toml` in a profile's folder.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("profile.toml");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "no profile at {}; name its folder with --profile",
                path.display()
            )
        })?;
        toml::from_str(&text).with_context(|| format!("{} is not valid", path.display()))
    }
}

/// A user's profile, read and checked.
pub(crate) struct Profile {
    folder: PathBuf,
    settings: Settings,
    pub(crate) organization: OrgId,
    pub(crate) channel: ChannelId,
    pub(crate) contract: ContractName,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) tls: TlsSettings,
}

impl Profile {
    pub(crate) fn load(folder: &Path) -> anyhow::Result<Self> {
        let settings = Settings::read(folder)?;
        let identity = folder.join(&settings.identity);
        let credentials = Credentials::load(&identity)
            .with_context(|| format!("no usable identity in {}", identity.display()))?;
        let tls = TlsSettings::new(
            TlsIdentity::load(&folder.join(&settings.tls))?,
            &roots(&folder.join(&settings.tls_roots))?,
        )?;
        Ok(Self {
            organization: OrgId::new(&settings.organization)?,
            channel: ChannelId::new(&settings.channel)?,
            contract: ContractName::new(&settings.contract)?,
            credentials: Arc::new(credentials),
            tls,
            folder: folder.to_owned(),
            settings,
        })
    }

    /// Writes the profile of another user of the same organization on this machine, whose
    /// certificates are in `folder`.
    pub(crate) fn derive(&self, folder: &Path) -> anyhow::Result<()> {
        let own = |path: &Path| std::path::absolute(self.folder.join(path));
        let settings = Settings {
            organization: self.settings.organization.clone(),
            channel: self.settings.channel.clone(),
            contract: self.settings.contract.clone(),
            identity: "identity".into(),
            tls: "tls".into(),
            tls_roots: own(&self.settings.tls_roots)?,
            swarm_key: own(&self.settings.swarm_key)?,
            encryption_key: "encryption.key".into(),
            genesis: self.settings.genesis.as_deref().map(own).transpose()?,
            peers: self.settings.peers.clone(),
        };
        let path = folder.join("profile.toml");
        std::fs::write(&path, toml::to_string(&settings)?)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// The user's gateway: her own organization's peer, the others to fail over to.
    pub(crate) fn gateway(&self) -> anyhow::Result<Gateway> {
        self.connect(|_| true)
    }

    /// A gateway at another organization than the one that `gateway` prefers.
    pub(crate) fn witness(&self) -> anyhow::Result<Gateway> {
        let preferred = self
            .settings
            .peers
            .first()
            .map(|peer| peer.organization.clone());
        self.connect(|peer| Some(&peer.organization) != preferred.as_ref())
            .context("profile.toml names no peer of a second organization")
    }

    fn connect(&self, chosen: impl Fn(&Peer) -> bool) -> anyhow::Result<Gateway> {
        let endpoint = |peer: &Peer| {
            let organization = OrgId::new(&peer.organization)?;
            let address = peer.address.clone();
            anyhow::Ok(Endpoint {
                organization,
                address,
            })
        };
        let peers = self.settings.peers.iter().filter(|peer| chosen(peer));
        let endpoints = peers.map(endpoint).collect::<Result<_, _>>()?;
        let credentials = Arc::clone(&self.credentials);
        let options = GatewayOptions::new(endpoints, self.tls.clone(), credentials);
        Ok(Gateway::connect(options)?)
    }

    /// The configuration in the genesis block, if the profile names one.
    pub(crate) fn genesis(&self) -> anyhow::Result<Option<Configuration>> {
        let path = self.settings.genesis.as_ref();
        path.map(|path| genesis(&self.folder.join(path)))
            .transpose()
    }

    /// Where the place of the last notification is kept.
    pub(crate) fn notified(&self) -> PathBuf {
        self.folder.join("notified")
    }

    pub(crate) fn swarm_key(&self) -> PathBuf {
        self.folder.join(&self.settings.swarm_key)
    }

    pub(crate) fn blocks(&self) -> PathBuf {
        self.folder.join("ipfs")
    }

    pub(crate) fn transfers(&self) -> PathBuf {
        self.folder.join("transfers")
    }

    fn encryption_path(&self) -> PathBuf {
        self.folder.join(&self.settings.encryption_key)
    }

    pub(crate) fn encryption(&self) -> anyhow::Result<EncryptionKeyPair> {
        let path = self.encryption_path();
        EncryptionKeyPair::load(&path).with_context(|| {
            format!(
                "no encryption key at {}; run `stela register` first",
                path.display()
            )
        })
    }

    /// The encryption key, made now if there is none.
    pub(crate) fn encryption_or_new(&self) -> anyhow::Result<EncryptionKeyPair> {
        let path = self.encryption_path();
        if !path.exists() {
            EncryptionKeyPair::generate(&mut rand::rng()).save(&path)?;
        }
        self.encryption()
    }

    /// The user's other key pairs, in the files beside the encryption key whose names go on.
    pub(crate) fn other_encryption(&self) -> anyhow::Result<Vec<EncryptionKeyPair>> {
        let path = self.encryption_path();
        let name = path.file_name().and_then(|name| name.to_str());
        let prefix = format!("{}.", name.context("the encryption key's name is no text")?);
        let folder = path
            .parent()
            .context("the encryption key is in no folder")?;
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        files.retain(|file| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix))
        });
        files.sort();
        let pairs = files.iter().map(|file| Ok(EncryptionKeyPair::load(file)?));
        pairs.collect()
    }

    /// The key pair that is to take the encryption key's place, made now if there is none.
    pub(crate) fn next_encryption(&self) -> anyhow::Result<EncryptionKeyPair> {
        let path = beside(&self.encryption_path(), "next");
        if !path.exists() {
            EncryptionKeyPair::generate(&mut rand::rng()).save(&path)?;
        }
        Ok(EncryptionKeyPair::load(&path)?)
    }

    /// Puts the next key pair in the encryption key's place; says where the old one is kept. A crash
    /// in between loses neither.
    pub(crate) fn adopt_next_encryption(&self) -> anyhow::Result<PathBuf> {
        let (path, old) = (self.encryption_path(), self.encryption()?);
        let retired = beside(&path, &old.public().key_id().to_string());
        if !retired.exists() {
            old.save(&retired)?;
        }
        std::fs::rename(beside(&path, "next"), &path)
            .with_context(|| format!("{} cannot be replaced", path.display()))?;
        Ok(retired)
    }

    /// The patient that the certificate names.
    pub(crate) fn patient(&self) -> anyhow::Result<stela_consent::Id> {
        let attributes = self.credentials.certificate.attributes();
        let id = attributes
            .get("patient")
            .context("this certificate is bound to no patient; name one with --patient")?;
        id.parse()
            .map_err(|_| anyhow::anyhow!("the certificate's patient id is malformed"))
    }
}

/// The configuration in a genesis block.
pub(crate) fn genesis(path: &Path) -> anyhow::Result<Configuration> {
    let read = || -> anyhow::Result<Configuration> {
        let block = Block::decode(std::fs::read(path)?.into())?;
        Ok(Configuration::new(config::from_genesis(&block)?.0)?)
    };
    read().with_context(|| format!("genesis block {}", path.display()))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Every organization's TLS roots: one `ORGANIZATION.pem` for each.
pub(crate) fn roots(folder: &Path) -> anyhow::Result<TlsRoots> {
    let mut roots = TlsRoots::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("no TLS roots in {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "pem") {
            let certificate = pem::parse(std::fs::read(&path)?)
                .with_context(|| format!("{} is not PEM", path.display()))?;
            roots = roots.add(&OrgId::new(name)?, certificate.contents())?;
        }
    }
    Ok(roots)
}
