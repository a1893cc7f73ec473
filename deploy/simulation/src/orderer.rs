//! An orderer: the real chain, admission and log on a disk in memory, without clock, threads and
//! sockets. This is the one file that knows how an orderer's driver and services treat the chain.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use stela_identity::Credentials;
use stela_orderer::admission::{Admission, AdmissionError};
use stela_orderer::blocks::Blocks;
use stela_orderer::chain::{Chain, ChainSettings, ChainView, Input, Outgoing, Step};
use stela_orderer::channel::Channel;
use stela_orderer::layout::{FAMILIES, LOG, decode_entry, number};
use stela_orderer::limits::DELIVER_AHEAD_MAX;
use stela_orderer::{codec, raft_logger};
use stela_protocol::block::Block;
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::{BlockNumber, Hash32, Message, pb};
use stela_store::{Direction, Kv, KvRead, MemoryKv};
use tokio::sync::watch;

use crate::consortium::CHANNEL;
use crate::limits::LOG_TAIL_ENTRIES;

/// One orderer's machine: its disk, and the process that may run on it.
pub(crate) struct Orderer {
    id: u64,
    channel: Arc<Channel>,
    credentials: Arc<Credentials>,
    kv: Arc<MemoryKv>,
    process: Option<Process>,
    /// Entries that its log keeps for followers that are slow.
    entries_kept: u64,
    /// Signatures of its own that were found to be of durable blocks.
    checked: BTreeSet<(u64, Hash32)>,
}

struct Process {
    chain: Chain,
    admission: Admission,
    blocks: Blocks,
}

/// What came of an envelope of a client.
#[derive(Debug)]
pub(crate) enum Submitted {
    Taken,
    /// Admitted, and not taken into the queue.
    Busy,
    Refused(AdmissionError),
}

impl Orderer {
    pub(crate) fn new(
        id: u64,
        channel: Arc<Channel>,
        credentials: Arc<Credentials>,
        entries_kept: u64,
    ) -> anyhow::Result<Self> {
        let kv = Arc::new(MemoryKv::new(FAMILIES));
        channel.create(kv.as_ref())?;
        Ok(Self {
            id,
            channel,
            credentials,
            kv,
            process: None,
            entries_kept,
            checked: BTreeSet::new(),
        })
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Starts the process. Raft's own dice have no seed, so that its patience is drawn outside and
    /// leaves them one number to choose.
    pub(crate) fn start(&mut self, election_ticks: usize) -> anyhow::Result<()> {
        let settings = ChainSettings {
            orderer: self.id,
            election_ticks: election_ticks..election_ticks + 1,
            entries_kept: self.entries_kept,
            joined: None,
        };
        let (channel, credentials) = (self.channel.clone(), self.credentials.clone());
        let chain = Chain::open(
            &settings,
            channel,
            credentials,
            self.kv.clone(),
            &raft_logger(),
        )?;
        let blocks = Blocks::new(self.kv.clone());
        // Nobody changes the configuration here, so that what is in force stays so.
        let (_, in_force) = watch::channel(Arc::new(chain.in_force()?));
        self.process = Some(Process {
            chain,
            admission: Admission::new(in_force, blocks.clone()),
            blocks,
        });
        Ok(())
    }

    /// The machine crashes; of the writes that were not synced the first few are spared.
    pub(crate) fn crash(&mut self, spared: usize) {
        self.process = None;
        self.kv = Arc::new(self.kv.crash_keeping(spared));
    }

    pub(crate) fn view(&self) -> Option<ChainView> {
        Some(self.process.as_ref()?.chain.view())
    }

    /// Hands an input to the chain.
    pub(crate) fn handle(&mut self, input: Input, clock_ms: u64) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let handled = process.chain.handle(input, clock_ms);
        handled.context("the chain does not go on")
    }

    /// As the service for other orderers does it; nothing for what it would refuse.
    pub(crate) fn parse(&self, bytes: Bytes, clock_ms: u64) -> anyhow::Result<Option<Input>> {
        let Some(process) = &self.process else {
            return Ok(None);
        };
        let message = pb::ConsensusMessage::decode(bytes)?;
        let from = message.from;
        Ok(match message.body.context("no body")? {
            Body::Raft(bytes) => Some(Input::Raft {
                from,
                message: Box::new(codec::decode(&bytes)?),
            }),
            Body::Forward(forward) => {
                let admitted = process
                    .admission
                    .admit_forwarded(forward.envelope, clock_ms);
                admitted.ok().map(Input::Forward)
            }
            Body::Signatures(message) => Some(Input::Signatures {
                from,
                signatures: message.signatures,
            }),
            Body::SignatureRequest(request) => Some(Input::SignatureRequest {
                from,
                numbers: request.numbers,
            }),
            Body::BlockRequest(request) => Some(Input::BlockRequest {
                from,
                start: request.start,
            }),
            Body::Blocks(message) => Some(Input::Blocks {
                from,
                blocks: message.blocks,
            }),
        })
    }

    /// As the service for clients does it; nothing when the process does not run.
    pub(crate) fn submit(&mut self, envelope: Bytes, clock_ms: u64) -> Option<Submitted> {
        let process = self.process.as_mut()?;
        Some(match process.admission.admit(envelope, clock_ms) {
            Err(error) => Submitted::Refused(error),
            Ok(admitted) => match process.chain.submit(admitted) {
                Ok(()) => Submitted::Taken,
                Err(_) => Submitted::Busy,
            },
        })
    }

    pub(crate) fn poll(&mut self, clock_ms: u64) -> anyhow::Result<Option<Step>> {
        match &mut self.process {
            Some(process) => Ok(process.chain.poll(clock_ms)?),
            None => Ok(None),
        }
    }

    /// Writes a step's batch, or fails to when the disk is full.
    pub(crate) fn write(&self, step: Step, disk_is_full: bool) -> anyhow::Result<()> {
        if step.write.is_empty() {
            return Ok(());
        }
        self.kv.set_failing(disk_is_full);
        let written = self.kv.write(step.write, step.durability);
        self.kv.set_failing(false);
        anyhow::ensure!(
            written.is_err() == disk_is_full,
            "the disk answers {written:?}"
        );
        Ok(())
    }

    pub(crate) fn written(&mut self) -> anyhow::Result<()> {
        match &mut self.process {
            Some(process) => Ok(process.chain.written()?),
            None => Ok(()),
        }
    }

    /// A message as it travels, and whether it is Raft's.
    pub(crate) fn outgoing(&self, outgoing: Outgoing) -> (usize, Bytes, bool) {
        let is_raft = matches!(outgoing.body, Body::Raft(_));
        let message = pb::ConsensusMessage {
            channel: CHANNEL.to_owned(),
            from: self.id,
            body: Some(outgoing.body),
        };
        (
            outgoing.to as usize - 1,
            message.encode_to_vec().into(),
            is_raft,
        )
    }

    /// The blocks from `start` on that are deliverable, as many as a stream holds.
    pub(crate) fn deliver(&self, start: u64) -> anyhow::Result<Vec<Bytes>> {
        let Some(process) = &self.process else {
            return Ok(Vec::new());
        };
        let last = process.chain.view().deliverable.0;
        let numbers = (start..=last).take(DELIVER_AHEAD_MAX);
        numbers.map(|number| delivered(process, number)).collect()
    }

    /// The hash of a committed block.
    pub(crate) fn committed(&self, number: u64) -> anyhow::Result<Hash32> {
        let process = self.process.as_ref().context("it does not run")?;
        let place = process.blocks.place(BlockNumber(number))?;
        Ok(place
            .with_context(|| format!("block {number} is missing"))?
            .hash)
    }

    /// How many orderers' signatures of a block are here.
    pub(crate) fn signatures(&self, number: u64) -> anyhow::Result<usize> {
        let process = self.process.as_ref().context("it does not run")?;
        Ok(process.blocks.signatures(BlockNumber(number))?.len())
    }

    /// The signatures in a message that are this orderer's own.
    pub(crate) fn own_signatures(&self, body: &Body) -> anyhow::Result<Vec<(u64, Hash32)>> {
        let Body::Signatures(message) = body else {
            return Ok(Vec::new());
        };
        let own = message.signatures.iter().filter(|signature| {
            let by = signature.signature.as_ref();
            by.is_some_and(|by| by.orderer == self.id)
        });
        own.map(|signature| {
            Ok((
                signature.number,
                Hash32::from_slice(&signature.header_hash)?,
            ))
        })
        .collect()
    }

    /// Whether this block would be here after a crash now.
    pub(crate) fn holds_durably(&mut self, number: u64, hash: Hash32) -> anyhow::Result<bool> {
        if self.checked.contains(&(number, hash)) {
            return Ok(true);
        }
        let durable = self.kv.durable();
        let place = Blocks::new(durable.clone()).place(BlockNumber(number))?;
        let holds =
            place.is_some_and(|place| place.hash == hash) || in_log(durable.as_ref(), &hash)?;
        if holds {
            self.checked.insert((number, hash));
        }
        Ok(holds)
    }
}

fn delivered(process: &Process, number: u64) -> anyhow::Result<Bytes> {
    let block = process.blocks.delivered(BlockNumber(number))?;
    let block = block.with_context(|| format!("block {number} is missing"))?;
    Ok(block.encode_to_vec().into())
}

fn in_log(durable: &dyn KvRead, hash: &Hash32) -> anyhow::Result<bool> {
    for (key, value) in durable.range(LOG, &[], None, LOG_TAIL_ENTRIES, Direction::Backward)? {
        let entry = decode_entry(number(&key)?, value)?;
        if Block::decode(entry.data).is_ok_and(|block| block.hash == *hash) {
            return Ok(true);
        }
    }
    Ok(false)
}
