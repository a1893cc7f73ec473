//! The chain as peers tell it, checked against the genesis block on disk.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use stela_client::{CheckedBlock, Endpoint, Gateway, GatewayOptions, Network, Quorum};
use stela_consent::{Fingerprint, Hex};
use stela_identity::{Configuration, Credentials};
use stela_protocol::block::Block;
use stela_protocol::transaction::{Body, Envelope, Transaction};
use stela_protocol::{BlockNumber, ChannelId, Hash32, OrgId, ValidationCode, config};

use crate::evidence::Evidence;
use crate::network::tls_settings;
use crate::topology::{CHANNEL, Node};

/// What a chain must begin with and who must have signed its blocks: what the organizations agreed
/// upon, not what a peer says.
pub(super) struct Anchor {
    genesis: Hash32,
    quorum: Quorum,
}

impl Anchor {
    pub(super) fn read(network: &Path) -> anyhow::Result<Self> {
        let path = network.join("public/genesis.block");
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let block = Block::decode(bytes.into())?;
        let (configuration, _) = config::from_genesis(&block)?;
        let quorum = Quorum::new(Configuration::new(configuration)?);
        Ok(Self {
            genesis: block.hash,
            quorum,
        })
    }

    /// The first `height` blocks of a peer. Each has the signatures it needs, by the configuration
    /// in force before it, and follows the one before it, from the genesis block on.
    pub(super) async fn blocks(
        &self,
        network: &Network,
        height: u64,
    ) -> anyhow::Result<Vec<CheckedBlock>> {
        let stream = network
            .blocks(BlockNumber(0), Some(BlockNumber(height)))
            .signed_by(self.quorum.clone());
        let blocks: Vec<_> = stream.collect().await;
        let blocks = blocks.into_iter().collect::<Result<Vec<_>, _>>()?;
        anyhow::ensure!(
            blocks.len() as u64 == height,
            "a peer gave fewer blocks than it has"
        );
        let first = blocks.first().context("a peer has no blocks")?;
        anyhow::ensure!(
            first.block.hash == self.genesis,
            "a peer's chain begins with another genesis block"
        );
        Ok(blocks)
    }
}

/// Where a transaction stands: block, and place in it.
pub(super) type Position = (u64, usize);

/// A valid transaction as the observer's peer has it.
pub(super) struct Committed {
    pub(super) id: Hex<32>,
    pub(super) at: Position,
    pub(super) block_ms: u64,
    pub(super) transaction: Transaction,
    pub(super) envelope_bytes: usize,
}

impl Committed {
    pub(super) fn by(&self, creator: &Fingerprint) -> bool {
        self.transaction.proposal.header.creator.0 == creator.0
    }

    /// The argument, when this is a call of `function` with one of that type.
    pub(super) fn call<T: serde::de::DeserializeOwned>(&self, function: &str) -> Option<T> {
        let proposal = &self.transaction.proposal;
        let argument = proposal.arguments.first()?;
        let called = proposal.function == function;
        called.then(|| serde_json::from_slice(argument).ok())?
    }

    /// What the function answered.
    pub(super) fn answer<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.transaction.result.response).ok()
    }
}

/// The chain of the observer's peer.
pub(super) struct Ledger {
    pub(super) blocks: Vec<CheckedBlock>,
    pub(super) valid: Vec<Committed>,
}

impl Ledger {
    pub(super) async fn read(
        evidence: &Evidence,
        anchor: &Anchor,
        peer: &Node,
    ) -> anyhow::Result<Self> {
        let network = connect(&evidence.network, &evidence.observer, peer)?;
        let height = network.info().await?.height;
        let blocks = anchor.blocks(&network, height).await?;
        let mut valid = Vec::new();
        for block in blocks.iter().skip(1) {
            valid.extend(valid_in(block)?);
        }
        Ok(Self { blocks, valid })
    }

    /// The first call of `function` that `wanted` accepts, with its argument.
    pub(super) fn find<T: serde::de::DeserializeOwned>(
        &self,
        function: &str,
        wanted: impl Fn(&T) -> bool,
    ) -> Option<(&Committed, T)> {
        self.valid.iter().find_map(|tx| {
            let argument = tx.call(function).filter(&wanted)?;
            Some((tx, argument))
        })
    }
}

fn valid_in(checked: &CheckedBlock) -> anyhow::Result<Vec<Committed>> {
    let header = &checked.block.header;
    let mut valid = Vec::new();
    let verdicts = checked.block.envelopes.iter().zip(&checked.codes);
    for (index, (bytes, code)) in verdicts.enumerate() {
        if *code != ValidationCode::Valid {
            continue;
        }
        if let Body::Transaction(transaction) = Envelope::decode(bytes.clone())?.body {
            valid.push(Committed {
                id: Hex(transaction.proposal.header.id().0),
                at: (header.number.0, index),
                block_ms: header.time_ms,
                transaction: *transaction,
                envelope_bytes: bytes.len(),
            });
        }
    }
    Ok(valid)
}

/// A client of one peer only, as the user with this profile.
pub(super) fn connect(folder: &Path, profile: &Path, node: &Node) -> anyhow::Result<Network> {
    let credentials = Arc::new(Credentials::load(&profile.join("identity"))?);
    let tls = tls_settings(folder, &profile.join("tls"))?;
    let endpoint = Endpoint {
        organization: OrgId::new(&node.organization)?,
        address: node.service.public.to_string(),
    };
    let options = GatewayOptions::new(vec![endpoint], tls, credentials);
    Ok(Gateway::connect(options)?.network(ChannelId::new(CHANNEL)?))
}
