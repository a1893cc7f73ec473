//! The chain as peers tell it, checked against the genesis block on disk.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use stela_client::{CheckedBlock, Endpoint, Gateway, GatewayOptions, Network, Quorum};
use stela_consent::{Fingerprint, Hex, Id};
use stela_healthcare::event::{self, PatientEvent};
use stela_healthcare::request::Enrol;
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
    configuration: Arc<Configuration>,
}

impl Anchor {
    pub(super) fn read(network: &Path) -> anyhow::Result<Self> {
        let path = network.join("public/genesis.block");
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let block = Block::decode(bytes.into())?;
        let (configuration, _) = config::from_genesis(&block)?;
        let configuration = Arc::new(Configuration::new(configuration)?);
        Ok(Self {
            genesis: block.hash,
            quorum: Quorum::new(Arc::clone(&configuration)),
            configuration,
        })
    }

    /// The configuration in the genesis block.
    pub(super) fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.configuration)
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

    /// Who called.
    pub(super) fn creator(&self) -> Fingerprint {
        Hex(self.transaction.proposal.header.creator.0)
    }

    /// The events that the contract set, by name.
    pub(super) fn events(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let events = self.transaction.result.events.iter();
        events.map(|event| (event.name.as_str(), &event.payload[..]))
    }

    /// The payload of the event of this name, when it has that type.
    pub(super) fn event<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let (_, payload) = self.events().find(|(event, _)| *event == name)?;
        serde_json::from_slice(payload).ok()
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

impl Ledger {
    /// Every call of `function` by `creator`, with its argument, in the order of the chain.
    pub(super) fn calls_by<'a, T: serde::de::DeserializeOwned + 'a>(
        &'a self,
        creator: &'a Fingerprint,
        function: &'a str,
    ) -> impl Iterator<Item = (&'a Committed, T)> {
        let own = self.valid.iter().filter(move |tx| tx.by(creator));
        own.filter_map(move |tx| Some((tx, tx.call(function)?)))
    }

    /// Every call of `function` by the certificate with which a patient registered.
    pub(super) fn calls_of<T: serde::de::DeserializeOwned>(
        &self,
        patient: Id,
        function: &str,
    ) -> Vec<(&Committed, T)> {
        let certificate = self.certificate_of(patient);
        let own = self
            .valid
            .iter()
            .filter(|tx| Some(tx.creator()) == certificate);
        own.filter_map(|tx| Some((tx, tx.call(function)?)))
            .collect()
    }

    /// The certificate with which a patient registered.
    pub(super) fn certificate_of(&self, patient: Id) -> Option<Fingerprint> {
        let hers = |event: PatientEvent| event.patient == patient;
        let registered = self
            .valid
            .iter()
            .find(|tx| tx.event(event::PATIENT_REGISTERED).is_some_and(hers))?;
        Some(registered.creator())
    }

    /// The patient's name in a study, by her own enrolment.
    pub(super) fn pseudonym_of(&self, patient: Id, study: Id) -> Option<Id> {
        let mut enrolments = self.calls_of::<Enrol>(patient, "enrol").into_iter();
        let (_, enrolment) = enrolments.find(|(_, enrolment)| enrolment.study == study)?;
        Some(enrolment.pseudonym)
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
