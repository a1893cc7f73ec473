//! What the ledger says of a run, beside what its clients were told.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures::StreamExt;
use parking_lot::Mutex;
use stela_client::{
    BlockStream, ChannelInfo, Checkpoint, CommitStatus, Network as Client, Quorum, Start,
};
use stela_identity::Configuration;
use stela_protocol::block::Block;
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{BlockNumber, TransactionId, ValidationCode, config};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::load::Sample;
use super::people::Person;
use super::world::Outcome;
use crate::limits::{BENCH_SETTLE, POLL};
use crate::materials::genesis_file;

/// Asks every peer about the chain of one channel.
pub(crate) struct Auditor {
    peers: Vec<Person>,
    quorum: Quorum,
}

/// A run in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) blocks: u64,
    /// Envelopes in them, whoever submitted them.
    pub(crate) transactions: u64,
    pub(crate) envelope_bytes: u64,
    /// Verdicts on those that are not valid.
    pub(crate) invalid: BTreeMap<String, u64>,
    /// Calls of the run that are valid.
    pub(crate) valid: u64,
    /// Transactions that nobody of the run made: what peers note themselves.
    pub(crate) others: u64,
    /// Events of the run's blocks, as they must be told, for each channel.
    pub(crate) events: Vec<Vec<Checkpoint>>,
    /// Calls that were acknowledged and are not on the ledger.
    pub(crate) lost: u64,
    /// Calls whose submission failed, and that are on the ledger all the same.
    pub(crate) unsure_and_committed: u64,
}

/// Events as one client hears them.
pub(crate) struct Listener {
    heard: Arc<Mutex<Vec<Checkpoint>>>,
    task: JoinHandle<()>,
}

impl Auditor {
    /// Registers the auditor with the channel; `folder` is the network's.
    ///
    /// # Errors
    /// When the genesis block is not sound or the registration is refused.
    pub(crate) async fn begin(peers: Vec<Person>, folder: &Path) -> anyhow::Result<Self> {
        let first = peers.first().context("there are no peers")?;
        let channel = first.contract.network().channel();
        let bytes = std::fs::read(genesis_file(folder, channel.as_str()))?;
        let (configuration, _) = config::from_genesis(&Block::decode(bytes.into())?)?;
        for peer in &peers {
            super::world::register(peer).await?;
        }
        Ok(Self {
            peers,
            quorum: Quorum::new(Configuration::new(configuration)?),
        })
    }

    fn clients(&self) -> impl Iterator<Item = &Client> {
        self.peers.iter().map(|peer| peer.contract.network())
    }

    /// How many blocks there are, when every peer has the same and the same state after them.
    ///
    /// # Errors
    /// When they do not come to agree, or have two histories.
    pub(crate) async fn agreed_height(&self) -> anyhow::Result<u64> {
        let deadline = Instant::now() + BENCH_SETTLE;
        loop {
            let mut said: Vec<ChannelInfo> = Vec::new();
            for peer in self.clients() {
                said.push(peer.info().await?);
            }
            let first = said.first().context("there are no peers")?;
            if said.iter().all(|peer| peer.height == first.height) {
                let same = said.iter().all(|peer| {
                    (peer.header_hash, peer.state_hash) == (first.header_hash, first.state_hash)
                });
                ensure!(same, "peers have two histories of {} blocks", first.height);
                return Ok(first.height);
            }
            ensure!(
                Instant::now() < deadline,
                "peers do not come to the same height"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Begins to listen to the events of the blocks from `height` on.
    ///
    /// # Errors
    /// When there are no peers.
    pub(crate) fn listen(&self, height: u64) -> anyhow::Result<Listener> {
        let contract = &self.peers.first().context("there are no peers")?.contract;
        let start = Start::Block(BlockNumber(height));
        let mut events = contract.network().events(contract.name(), start);
        let heard: Arc<Mutex<Vec<Checkpoint>>> = Arc::default();
        let notes = heard.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                notes.lock().push(event.checkpoint);
            }
        });
        Ok(Listener { heard, task })
    }

    /// Blocks as the first peer has them, each signed by a quorum of the orderers.
    ///
    /// # Errors
    /// When there are no peers.
    pub(crate) fn blocks(&self, start: u64, end: u64) -> anyhow::Result<BlockStream> {
        let client = self.clients().next().context("there are no peers")?;
        let blocks = client.blocks(BlockNumber(start), Some(BlockNumber(end)));
        Ok(blocks.signed_by(self.quorum.clone()))
    }

    /// Enters the blocks of `range` and says which events are in them.
    async fn read(
        &self,
        range: Range<u64>,
        found: &mut Found,
        places: &mut Places,
    ) -> anyhow::Result<Vec<Checkpoint>> {
        let mut blocks = self.blocks(range.start, range.end)?;
        let (mut count, mut events) = (0, Vec::new());
        while let Some(checked) = blocks.next().await {
            let checked = checked?;
            count += 1;
            let number = checked.block.header.number;
            let verdicts = checked.block.envelopes.iter().zip(&checked.codes);
            for (index, (bytes, code)) in (0..).zip(verdicts) {
                let envelope = Envelope::decode(bytes.clone())?;
                found.add(*code);
                found.envelope_bytes += bytes.len() as u64;
                if code.is_valid() {
                    events.extend(checkpoints(&envelope, number, index));
                }
                places.insert(envelope.header().id(), (number, index, *code));
            }
        }
        let whole = count == range.end - range.start;
        ensure!(whole, "a peer gave fewer blocks than it has");
        found.blocks += count;
        Ok(events)
    }
}

/// Looks the calls of a run up in the blocks that each channel got in it.
///
/// # Errors
/// When a block is not as it must be, or says otherwise than a client was told.
pub(super) async fn find(
    channels: impl IntoIterator<Item = (&Auditor, Range<u64>)>,
    samples: &[Sample],
) -> anyhow::Result<Found> {
    let (mut found, mut places) = (Found::default(), BTreeMap::new());
    for (auditor, range) in channels {
        let events = auditor.read(range, &mut found, &mut places).await?;
        found.events.push(events);
    }
    for sample in samples {
        found.look_up(&sample.call.outcome, &mut places)?;
    }
    found.others = places.len() as u64;
    Ok(found)
}

/// Where the events of a valid transaction stand.
fn checkpoints(
    envelope: &Envelope,
    block: BlockNumber,
    transaction: u32,
) -> impl Iterator<Item = Checkpoint> {
    let count = match &envelope.body {
        Body::Transaction(transaction) => transaction.result.events.len(),
        _ => 0,
    };
    (0..).take(count).map(move |event| Checkpoint {
        block,
        transaction,
        event,
    })
}

type Places = BTreeMap<TransactionId, (BlockNumber, u32, ValidationCode)>;

impl Found {
    fn add(&mut self, code: ValidationCode) {
        self.transactions += 1;
        if !code.is_valid() {
            *self.invalid.entry(code.name().to_owned()).or_default() += 1;
        }
    }

    /// Takes a call's transaction out of those that were found.
    fn look_up(&mut self, outcome: &Outcome, places: &mut Places) -> anyhow::Result<()> {
        let place = match outcome {
            Outcome::Answered | Outcome::Refused(_) | Outcome::Failed(_) => return Ok(()),
            Outcome::Committed(status) => {
                let place = places.remove(&status.transaction);
                self.compare(status, place)?;
                place
            }
            Outcome::Unseen(id) => places.remove(id),
            Outcome::Unsure(id) => {
                let place = places.remove(id);
                self.unsure_and_committed += u64::from(place.is_some());
                place
            }
        };
        match place {
            Some((_, _, code)) => self.valid += u64::from(code.is_valid()),
            None if matches!(outcome, Outcome::Unsure(_)) => {}
            None => self.lost += 1,
        }
        Ok(())
    }

    fn compare(
        &self,
        status: &CommitStatus,
        place: Option<(BlockNumber, u32, ValidationCode)>,
    ) -> anyhow::Result<()> {
        let told = (status.block, status.index, status.code);
        let same = place.is_none_or(|place| place == told);
        ensure!(
            same,
            "a client was told that {} stands in {told:?}, the ledger has it in {place:?}",
            status.transaction
        );
        Ok(())
    }

    /// Why the run must not be reported, if there is anything; calls may conflict or not.
    pub(crate) fn objections(&self, may_conflict: bool) -> Vec<String> {
        let mut objections = Vec::new();
        if self.lost > 0 {
            objections.push(format!("{} acknowledged transactions are lost", self.lost));
        }
        let conflicts = [
            ValidationCode::MvccReadConflict.name(),
            ValidationCode::PhantomReadConflict.name(),
        ];
        for (code, count) in &self.invalid {
            if !may_conflict || !conflicts.contains(&code.as_str()) {
                objections.push(format!("{count} transactions are {code}"));
            }
        }
        objections
    }
}

impl Listener {
    /// Waits until exactly these events were heard, in order.
    ///
    /// # Errors
    /// When one is missing or another was told.
    pub(crate) async fn must_have_heard(self, events: &[Checkpoint]) -> anyhow::Result<()> {
        let deadline = Instant::now() + BENCH_SETTLE;
        while self.heard.lock().len() < events.len() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.task.abort();
        let heard = self.heard.lock();
        ensure!(
            heard.starts_with(events),
            "{} events were told of the {} that blocks hold, or others",
            heard.len(),
            events.len()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: ValidationCode) -> CommitStatus {
        CommitStatus {
            transaction: TransactionId([7; 32]),
            code,
            block: BlockNumber(3),
            index: 1,
            time_ms: 0,
        }
    }

    /// What is found of a call that ended so, when the ledger has its transaction or not.
    fn found(outcome: &Outcome, code: Option<ValidationCode>) -> anyhow::Result<Found> {
        let place = |code| (TransactionId([7; 32]), (BlockNumber(3), 1, code));
        let mut places: Places = code.map(place).into_iter().collect();
        let mut found = Found::default();
        found.look_up(outcome, &mut places)?;
        Ok(found)
    }

    #[test]
    fn what_was_acknowledged_must_be_on_the_ledger() {
        let (valid, conflict) = (ValidationCode::Valid, ValidationCode::MvccReadConflict);
        let committed = Outcome::Committed(status(valid));
        assert_eq!(found(&committed, Some(valid)).unwrap().valid, 1);
        assert_eq!(found(&committed, None).unwrap().lost, 1);
        assert!(found(&committed, Some(conflict)).is_err());
        let unseen = Outcome::Unseen(TransactionId([7; 32]));
        assert_eq!(found(&unseen, Some(valid)).unwrap().lost, 0);
        assert_eq!(found(&unseen, None).unwrap().lost, 1);
        let unsure = Outcome::Unsure(TransactionId([7; 32]));
        assert_eq!(found(&unsure, None).unwrap().lost, 0);
        assert_eq!(found(&unsure, Some(valid)).unwrap().unsure_and_committed, 1);
    }

    #[test]
    fn only_conflicts_of_those_who_contend_are_reported() {
        let check = |code: ValidationCode, lost: u64, may_conflict: bool, expect: usize| {
            let found = Found {
                invalid: BTreeMap::from([(code.name().to_owned(), 2)]),
                lost,
                ..Found::default()
            };
            assert_eq!(found.objections(may_conflict).len(), expect, "{code}");
        };
        let conflict = ValidationCode::PhantomReadConflict;
        check(conflict, 0, true, 0);
        check(conflict, 1, true, 1);
        check(conflict, 0, false, 1);
        check(conflict, 1, false, 2);
        check(ValidationCode::Expired, 0, true, 1);
    }
}
