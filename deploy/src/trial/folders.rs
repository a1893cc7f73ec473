//! What is exchanged in nodes' folders, and put back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use stela_identity::tls::TlsIdentity;
use stela_identity::{CertificateAuthority, Credentials, Subject, TlsAuthority, Validity};
use stela_protocol::block::Block;
use stela_protocol::{Message, OrgId, config, pb};

use crate::network::Network;
use crate::process::now_ms;
use crate::topology::Node;

const HOUR_MS: u64 = 3_600_000;

/// A file or folder that is out of its place until this is dropped.
pub(super) struct Swap {
    place: PathBuf,
    kept: PathBuf,
}

impl Swap {
    /// Moves it away.
    pub(super) fn away(place: &Path) -> anyhow::Result<Self> {
        let name = place.file_name().context("no name")?.to_string_lossy();
        // Beside its folder, where no node looks for channels or packages.
        let folder = place.parent().and_then(Path::parent).context("no folder")?;
        let kept = folder.join(format!("{name}.right"));
        std::fs::rename(place, &kept)?;
        Ok(Self {
            place: place.to_owned(),
            kept,
        })
    }

    /// Puts other credentials into a node's folder.
    pub(super) fn identity(home: &Path, other: Credentials) -> anyhow::Result<Self> {
        let place = home.join("identity");
        let swap = Self::away(&place)?;
        other.save(&place)?;
        Ok(swap)
    }

    /// Puts another TLS certificate into a node's folder.
    pub(super) fn tls(home: &Path, other: TlsIdentity) -> anyhow::Result<Self> {
        let place = home.join("tls");
        let swap = Self::away(&place)?;
        other.save(&place)?;
        Ok(swap)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let gone = match self.place.is_dir() {
            true => std::fs::remove_dir_all(&self.place),
            false => std::fs::remove_file(&self.place),
        };
        if let Err(error) = gone.and_then(|()| std::fs::rename(&self.kept, &self.place)) {
            tracing::error!(place = %self.place.display(), %error, "not put back");
        }
    }
}

fn past() -> Validity {
    Validity {
        not_before_ms: now_ms() - 48 * HOUR_MS,
        not_after_ms: now_ms() - 24 * HOUR_MS,
    }
}

fn present() -> Validity {
    Validity {
        not_before_ms: now_ms() - HOUR_MS,
        not_after_ms: now_ms() + 720 * HOUR_MS,
    }
}

fn subject(node: &Node, validity: Validity) -> Subject {
    Subject {
        common_name: node.name.clone(),
        role: node.kind.role().to_owned(),
        attributes: BTreeMap::new(),
        validity,
    }
}

fn hosts() -> [String; 2] {
    ["localhost".to_owned(), "127.0.0.1".to_owned()]
}

/// A certificate of the right authority whose time is over.
pub(super) fn expired_identity(network: &Network, node: &Node) -> anyhow::Result<Credentials> {
    let folder = network.folder().join(&node.organization).join("ca");
    Ok(CertificateAuthority::load(&folder)?.issue(&subject(node, past()))?)
}

pub(super) fn expired_tls(network: &Network, node: &Node) -> anyhow::Result<TlsIdentity> {
    let folder = network.folder().join(&node.organization).join("tls-ca");
    Ok(TlsAuthority::load(&folder)?.issue(&node.name, &hosts(), past())?)
}

/// A certificate of an authority that calls itself as the right one does.
pub(super) fn stranger_identity(node: &Node) -> anyhow::Result<Credentials> {
    let organization = OrgId::new(&node.organization)?;
    let authority = CertificateAuthority::create(&organization, present())?;
    Ok(authority.issue(&subject(node, present()))?)
}

pub(super) fn stranger_tls(node: &Node) -> anyhow::Result<TlsIdentity> {
    let organization = OrgId::new(&node.organization)?;
    let authority = TlsAuthority::create(&organization, present())?;
    Ok(authority.issue(&node.name, &hosts(), present())?)
}

/// What to put before a command so that its clock is an hour ahead: libfaketime between it and the
/// system, loaded by the linker. Its monotonic clock, by which it waits, stays as it is.
pub(super) fn an_hour_ahead() -> anyhow::Result<Vec<String>> {
    let folders = std::fs::read_dir("/usr/lib")?.flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries
        .find(|path| path.is_file())
        .context("libfaketime is not installed (Debian's package libfaketime)")?;
    let preload = format!("LD_PRELOAD={}", library.display());
    let words = [
        "env",
        &preload,
        "FAKETIME=+1h",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    ];
    Ok(words.map(str::to_owned).to_vec())
}

/// A first block with the same configuration, made a moment later.
pub(super) fn other_genesis(network: &Network) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(network.folder().join("public/genesis.block"))?;
    let block = Block::decode(bytes.into())?;
    let (bytes, _) = config::from_genesis(&block)?;
    let config = pb::ChannelConfig::decode(bytes)?;
    let other = config::genesis(&config, block.header.time_ms + 1)?;
    Ok(other.to_pb().encode_to_vec())
}

/// Has a storage node's configuration name another swarm key.
pub(super) fn other_swarm_key(home: &Path) -> anyhow::Result<Swap> {
    let file = home.join("storage.toml");
    let text = std::fs::read_to_string(&file)?;
    let changed = text.replace("../../swarm.key", "other.key");
    anyhow::ensure!(changed != text, "the configuration names no swarm key");
    let key = home.join("other.key");
    crate::network::write_secret(
        &key,
        stela_ipfs::generate_swarm_key().to_key_file().as_bytes(),
    )?;
    let swap = Swap::away(&file)?;
    std::fs::write(&file, changed)?;
    Ok(swap)
}
