//! The chain as all peers have it, looked at after each round, block by block.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use futures::StreamExt;
use stela_client::{CheckedBlock, Network as Client, Quorum};
use stela_identity::Configuration;
use stela_protocol::block::Block;
use stela_protocol::transaction::Envelope;
use stela_protocol::{BlockNumber, Hash32, TransactionId, config};

use super::book::{Book, Place};

/// What was found so far.
pub(super) struct Chain {
    quorum: Quorum,
    /// Hash of the header and state hash, by block number.
    blocks: Vec<(Hash32, Hash32)>,
    /// Where each valid transaction is.
    valid: BTreeMap<TransactionId, Place>,
    /// Transactions that were committed and are not valid.
    pub(super) invalid: u64,
}

impl Chain {
    /// Begins with the genesis block that the organizations agreed upon.
    ///
    /// # Errors
    /// When it is not sound.
    pub(super) fn begin(network: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(network.join("public/genesis.block"))?;
        let genesis = Block::decode(bytes.into())?;
        let (configuration, _) = config::from_genesis(&genesis)?;
        Ok(Self {
            quorum: Quorum::new(Configuration::new(configuration)?),
            blocks: Vec::new(),
            valid: BTreeMap::new(),
            invalid: 0,
        })
    }

    /// How many blocks are known.
    pub(super) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The hash of a block's header, if it is known.
    pub(super) fn hash(&self, number: u64) -> Option<Hash32> {
        let index = usize::try_from(number).ok()?;
        self.blocks.get(index).map(|(hash, _)| *hash)
    }

    /// Takes in the blocks up to `height`, as all peers have them.
    ///
    /// # Errors
    /// What two peers have differently, or what is in the chain twice.
    pub(super) async fn extend(
        &mut self,
        peers: &[(String, Client)],
        height: u64,
    ) -> anyhow::Result<()> {
        let start = self.height();
        let mut first: Option<(&String, Vec<CheckedBlock>)> = None;
        for (title, peer) in peers {
            let blocks = self.blocks_of(peer, start, height).await;
            let blocks = blocks.with_context(|| title.clone())?;
            match &first {
                None => first = Some((title, blocks)),
                Some((other, expect)) => same(expect, &blocks)
                    .with_context(|| format!("{other} and {title} have two histories"))?,
            }
        }
        let (_, blocks) = first.context("there are no peers")?;
        blocks.iter().try_for_each(|block| self.add(block))
    }

    /// Checks every block that a peer has and this chain knows.
    ///
    /// # Errors
    /// What differs. That the peer does not answer is no error: the number of blocks that were
    /// compared is the answer.
    pub(super) async fn compare(&self, peer: &Client) -> anyhow::Result<u64> {
        let Ok(info) = peer.info().await else {
            return Ok(0);
        };
        let end = info.height.min(self.height());
        let mut blocks = peer.blocks(BlockNumber(0), Some(BlockNumber(end)));
        let mut compared = 0;
        while let Some(Ok(block)) = blocks.next().await {
            let known = self.blocks.get(block.block.header.number.0 as usize);
            ensure!(
                known == Some(&(block.block.hash, block.state_hash)),
                "block {} or the state after it is another",
                block.block.header.number
            );
            compared += 1;
        }
        Ok(compared)
    }

    async fn blocks_of(
        &self,
        peer: &Client,
        start: u64,
        height: u64,
    ) -> anyhow::Result<Vec<CheckedBlock>> {
        let stream = peer.blocks(BlockNumber(start), Some(BlockNumber(height)));
        let stream = stream.signed_by(self.quorum.clone());
        let blocks: Vec<_> = stream.collect().await;
        let blocks = blocks.into_iter().collect::<Result<Vec<_>, _>>()?;
        ensure!(
            blocks.len() as u64 == height - start,
            "it gives {} blocks from {start} on, and should have {height}",
            blocks.len()
        );
        Ok(blocks)
    }

    fn add(&mut self, checked: &CheckedBlock) -> anyhow::Result<()> {
        let (block, number) = (&checked.block, checked.block.header.number.0);
        let before = self.blocks.last().map_or(Hash32::ZERO, |(hash, _)| *hash);
        ensure!(
            number == self.height() && block.header.previous_hash == before,
            "block {number} does not follow what was there before"
        );
        if number > 0 {
            self.quorum.check(block)?;
        }
        for ((index, envelope), code) in (0..).zip(&block.envelopes).zip(&checked.codes) {
            let envelope = Envelope::decode(envelope.clone());
            let id = envelope.ok().map(|envelope| envelope.header().id());
            match id.filter(|_| code.is_valid()) {
                Some(id) => {
                    let twice = self.valid.insert(id, (number, index));
                    ensure!(
                        twice.is_none(),
                        "{id} was applied twice: in {twice:?} and in {:?}",
                        (number, index)
                    );
                }
                None if !code.is_valid() => self.invalid += 1,
                None => {}
            }
        }
        self.blocks.push((block.hash, checked.state_hash));
        Ok(())
    }

    /// Checks that everything acknowledged in the blocks from `start` on is where it was said to be.
    ///
    /// # Errors
    /// What is not.
    pub(super) fn check(&self, book: &Book) -> anyhow::Result<()> {
        for (id, place) in book.between(0, self.height()) {
            let found = self.valid.get(&id);
            ensure!(
                found == Some(&place),
                "{id} was acknowledged in {place:?}, and is in {found:?}"
            );
        }
        Ok(())
    }
}

fn same(expect: &[CheckedBlock], found: &[CheckedBlock]) -> anyhow::Result<()> {
    let differ = |(one, other): &(&CheckedBlock, &CheckedBlock)| {
        one.block.hash != other.block.hash
            || one.state_hash != other.state_hash
            || one.codes != other.codes
    };
    match expect.iter().zip(found).find(differ) {
        Some((one, _)) => anyhow::bail!(
            "block {} or the state after it is another",
            one.block.header.number
        ),
        None => Ok(()),
    }
}
