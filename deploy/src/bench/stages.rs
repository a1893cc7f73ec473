//! Where the time of a consent grant goes: its parts, each measured alone in this process, on the
//! very transactions of a run and through the code that clients and nodes run.
//!
//! Time is that of the processors, all threads together. What a call by gRPC over TLS costs is measured
//! between the processes. What is not here (Raft and its log, blocks and signatures between nodes,
//! events, scheduling) is the difference to what the processes used.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Serialize;
use stela_host::{
    Caller, Contract, Invocation, KeyVersion, Mode, Runtime, RuntimeLimits, StateError, StateView,
};
use stela_identity::{Certificate, SignedMessage, SigningKey, verify_batch};
use stela_peer::Validator;
use stela_protocol::block::Block;
use stela_protocol::hash::{domain, endorsement_message};
use stela_protocol::transaction::{Body, Envelope, Transaction};
use stela_protocol::{ContractName, Fingerprint, Height, OrgId};
use stela_store::{
    Kv, LedgerRead, MemoryKv, RocksKv, RocksSettings, StateSnapshot, StoreError, layout,
};

use super::usage::own_cpu_us;
use crate::limits::{BENCH_STAGE_CPU_US_MIN, BENCH_STAGE_TRANSACTIONS_MAX};
use crate::topology::{CONTRACT, ORGANIZATION_NAMES};

/// Organizations that endorse.
const ENDORSEMENTS: usize = 2;
/// Signatures that are made for one transaction beside the endorsements: proposal and envelope.
const CLIENT_SIGNATURES: usize = 2;
/// Signatures that are verified alone beside the proposal's at each endorser: the other endorsement by
/// the gateway, the envelope's by the gateway and by the orderer that takes it.
const ALONE: usize = 3;

/// One part.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// What is done.
    pub name: &'static str,
    /// What doing it once costs, in microseconds of processor time.
    pub each_us: f64,
    /// How often it is done for one transaction, on all machines together.
    pub times: f64,
}

/// A transaction of the run.
struct Grant {
    bytes: Bytes,
    envelope: Envelope,
}

impl Grant {
    fn transaction(&self) -> Option<&Transaction> {
        match &self.envelope.body {
            Body::Transaction(transaction) => Some(transaction),
            _ => None,
        }
    }
}

/// Calls from one process to another over TLS: endorse and submit by the client, the other endorser and
/// an orderer by the gateway.
const CALLS: usize = 4;
/// What peers verify when the block comes, as parts of a transaction's three signatures: the gateway has
/// verified them all before, the other endorser its own.
fn verified_in_blocks(peers: usize) -> f64 {
    2.0 / 3.0 + peers.saturating_sub(ENDORSEMENTS) as f64
}

/// Measures the parts on the blocks of `range`, of which `blocks` has all from the first one on.
/// `folder` is for ledgers on disk; `asked_us` is what both sides of a request for a verdict cost.
///
/// # Errors
/// When a block is not taken, a call is refused, or the disk fails.
pub(super) fn measure(
    blocks: &[Block],
    range: Range<u64>,
    peers: usize,
    package: &[u8],
    folder: &Path,
    asked_us: f64,
) -> anyhow::Result<Vec<Stage>> {
    let measured = measured(blocks, range)?;
    let grants = grants(measured)?;
    let before = blocks
        .get(..number(measured)?)
        .context("blocks before the run are missing")?;
    let in_memory =
        |_| -> anyhow::Result<Arc<dyn Kv>> { Ok(Arc::new(MemoryKv::new(layout::FAMILIES))) };
    let on_disk = |round: usize| -> anyhow::Result<Arc<dyn Kv>> {
        let folder = folder.join(round.to_string());
        let kv = RocksKv::open(&folder, layout::FAMILIES, &RocksSettings::default())?;
        Ok(Arc::new(kv))
    };
    let memory = replica(in_memory(0)?, before)?;
    let certificates = certificates(&memory, &grants)?;
    let snapshot = memory.ledger().snapshot()?;
    let alone = measure_alone(&grants, &certificates, &snapshot, package)?;
    let taken_us = take_us(in_memory, before, measured)?;
    let stored_us = take_us(on_disk, before, measured)?;
    let call_us = asked_us - alone.sign_us - alone.verify_us;
    let validated_us = taken_us - alone.decode_us - alone.batch_us;
    let stage = |name, each_us: f64, times: usize| Stage {
        name,
        each_us: each_us.max(0.0),
        times: times as f64,
    };
    Ok(vec![
        stage(
            "a call over a stream of gRPC and TLS, both sides: two by the client, two by the gateway",
            call_us,
            CALLS,
        ),
        stage(
            "sign: client and endorsers",
            alone.sign_us,
            CLIENT_SIGNATURES + ENDORSEMENTS,
        ),
        stage(
            "verify a signature alone: endorsers, gateway, orderer",
            alone.verify_us,
            ENDORSEMENTS + ALONE,
        ),
        stage(
            "run the contract: WebAssembly and state",
            alone.contract_us,
            ENDORSEMENTS,
        ),
        stage(
            "decode an envelope: client, gateway, orderer, peers",
            alone.decode_us,
            CLIENT_SIGNATURES + peers,
        ),
        Stage {
            times: verified_in_blocks(peers),
            ..stage(
                "verify its three signatures in a batch: peers",
                alone.batch_us,
                0,
            )
        },
        stage(
            "block, policy, MVCC, state hash, write batch: peers",
            validated_us,
            peers,
        ),
        stage("RocksDB and fsync: peers", stored_us - taken_us, peers),
    ])
}

/// The blocks of the run, no more than have so many transactions.
fn measured(blocks: &[Block], range: Range<u64>) -> anyhow::Result<&[Block]> {
    let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
    let run = blocks
        .get(start..end)
        .context("blocks of the run are missing")?;
    let mut transactions = 0;
    let few = run.iter().take_while(|block| {
        transactions += block.envelopes.len();
        transactions <= BENCH_STAGE_TRANSACTIONS_MAX
    });
    let count = few.count().max(1);
    run.get(..count).context("the run has no blocks")
}

/// Which block is the first of these, in the chain.
fn number(blocks: &[Block]) -> anyhow::Result<usize> {
    let first = blocks.first().context("there are no blocks")?;
    Ok(usize::try_from(first.header.number.0)?)
}

fn grants(blocks: &[Block]) -> anyhow::Result<Vec<Grant>> {
    let envelopes = blocks.iter().flat_map(|block| &block.envelopes);
    let grant = |bytes: &Bytes| {
        Ok(Grant {
            bytes: bytes.clone(),
            envelope: Envelope::decode(bytes.clone())?,
        })
    };
    let grants: Vec<Grant> = envelopes.map(grant).collect::<anyhow::Result<_>>()?;
    let all = grants.iter().all(|grant| grant.transaction().is_some());
    ensure!(all, "a block of the run holds something else than calls");
    Ok(grants)
}

/// A peer's ledger with these blocks, without the peer.
fn replica(kv: Arc<dyn Kv>, blocks: &[Block]) -> anyhow::Result<Validator> {
    let (genesis, others) = blocks.split_first().context("there is no first block")?;
    let validator = Validator::join(kv, genesis, &OrgId::new(ORGANIZATION_NAMES[0])?)?;
    for block in others {
        validator.take(block.to_pb())?;
    }
    Ok(validator)
}

/// What taking these blocks costs for each transaction: in so many new stores that it can be measured.
fn take_us(
    store: impl Fn(usize) -> anyhow::Result<Arc<dyn Kv>>,
    before: &[Block],
    blocks: &[Block],
) -> anyhow::Result<f64> {
    let (mut used_us, mut rounds) = (0, 0);
    while used_us < BENCH_STAGE_CPU_US_MIN {
        let validator = replica(store(rounds)?, before)?;
        let begun_us = own_cpu_us()?;
        for block in blocks {
            validator.take(block.to_pb())?;
        }
        used_us += own_cpu_us()? - begun_us;
        rounds += 1;
    }
    let transactions: usize = blocks.iter().map(|block| block.envelopes.len()).sum();
    Ok(used_us as f64 / (rounds * transactions) as f64)
}

type Certificates = BTreeMap<Fingerprint, Certificate>;

/// The certificates of creators and endorsers.
fn certificates(validator: &Validator, grants: &[Grant]) -> anyhow::Result<Certificates> {
    let mut found = Certificates::new();
    for transaction in grants.iter().filter_map(Grant::transaction) {
        let endorsers = transaction.endorsements.iter().map(|e| e.endorser);
        for fingerprint in endorsers.chain([transaction.proposal.header.creator]) {
            if let Entry::Vacant(place) = found.entry(fingerprint) {
                let records = validator.ledger().certificates(&[fingerprint])?;
                let record = records.into_iter().flatten().next();
                let record = record.context("a certificate is not known")?;
                place.insert(Certificate::from_der(&record.der)?);
            }
        }
    }
    Ok(found)
}

/// What single operations cost.
struct Alone {
    sign_us: f64,
    verify_us: f64,
    batch_us: f64,
    decode_us: f64,
    contract_us: f64,
}

fn measure_alone(
    grants: &[Grant],
    certificates: &Certificates,
    snapshot: &StateSnapshot,
    package: &[u8],
) -> anyhow::Result<Alone> {
    let key = SigningKey::generate();
    let sign = |grant: &Grant| {
        std::hint::black_box(key.sign(domain::ENVELOPE, &grant.envelope.signed.bytes));
        Ok(())
    };
    let signed = grants
        .iter()
        .map(|grant| Signatures::of(grant, certificates));
    let signed = signed.collect::<anyhow::Result<Vec<_>>>()?;
    let contract = Runtime::new(RuntimeLimits::default())?.install(package)?;
    let view = View {
        snapshot,
        namespace: ContractName::new(CONTRACT)?,
    };
    Ok(Alone {
        sign_us: each_us(grants, sign)?,
        verify_us: each_us(&signed, |signatures| {
            let [creator, ..] = signatures.messages();
            let valid = creator
                .key
                .verify(creator.domain, creator.message, creator.signature);
            valid.context("a creator's signature is not valid")
        })?,
        batch_us: each_us(&[()], |()| {
            let messages: Vec<_> = signed.iter().flat_map(|s| s.messages()).collect();
            let mut verdicts = messages.chunks(BATCH).map(verify_batch);
            ensure!(
                verdicts.all(|batch| batch.iter().all(|valid| *valid)),
                "a signature is not valid"
            );
            Ok(())
        })? / grants.len() as f64,
        decode_us: each_us(grants, |grant| {
            std::hint::black_box(Envelope::decode(grant.bytes.clone())?);
            Ok(())
        })?,
        contract_us: each_us(grants, |grant| call(&contract, &view, grant, certificates))?,
    })
}

/// Signatures of one batch: those of a block of a few hundred transactions.
const BATCH: usize = 512;

/// What one item costs, from as many rounds through all as make a time that can be measured.
fn each_us<T>(items: &[T], mut work: impl FnMut(&T) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let (before, mut rounds) = (own_cpu_us()?, 0);
    loop {
        items.iter().try_for_each(&mut work)?;
        rounds += 1;
        let used_us = own_cpu_us()? - before;
        if used_us >= BENCH_STAGE_CPU_US_MIN {
            return Ok(used_us as f64 / (rounds * items.len()) as f64);
        }
    }
}

/// What a peer verifies of a transaction.
struct Signatures<'a> {
    envelope: &'a Envelope,
    transaction: &'a Transaction,
    endorsed: Vec<u8>,
    creator: &'a Certificate,
    endorsers: [&'a Certificate; ENDORSEMENTS],
}

impl<'a> Signatures<'a> {
    fn of(grant: &'a Grant, certificates: &'a Certificates) -> anyhow::Result<Self> {
        let transaction = grant.transaction().context("no call")?;
        let of = |fingerprint| {
            certificates
                .get(fingerprint)
                .context("a certificate is not known")
        };
        let [first, second] = transaction.endorsements.as_slice() else {
            anyhow::bail!("not two endorsements");
        };
        Ok(Self {
            envelope: &grant.envelope,
            transaction,
            endorsed: endorsement_message(&transaction.proposal_bytes, &transaction.result_bytes),
            creator: of(&transaction.proposal.header.creator)?,
            endorsers: [of(&first.endorser)?, of(&second.endorser)?],
        })
    }

    fn messages(&self) -> [SignedMessage<'_>; 1 + ENDORSEMENTS] {
        let endorsement = |place: usize| SignedMessage {
            key: self.endorsers[place].public_key(),
            domain: domain::ENDORSEMENT,
            message: &self.endorsed,
            signature: &self.transaction.endorsements[place].signature,
        };
        let creator = SignedMessage {
            key: self.creator.public_key(),
            domain: domain::ENVELOPE,
            message: &self.envelope.signed.bytes,
            signature: &self.envelope.signed.signature,
        };
        [creator, endorsement(0), endorsement(1)]
    }
}

/// Makes the call of a transaction again, on the state before the run.
fn call(
    contract: &Contract,
    view: &View<'_>,
    grant: &Grant,
    certificates: &Certificates,
) -> anyhow::Result<()> {
    let proposal = &grant.transaction().context("no call")?.proposal;
    let header = &proposal.header;
    let creator = certificates
        .get(&header.creator)
        .context("a certificate is not known")?;
    let attributes = creator.attributes().iter();
    let invocation = Invocation {
        channel: header.channel.clone(),
        contract: proposal.contract.clone(),
        function: proposal.function.clone(),
        arguments: proposal.arguments.clone(),
        caller: Caller {
            organization: creator.organization().clone(),
            role: creator.role().to_owned(),
            attributes: attributes
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            fingerprint: header.creator,
        },
        transaction_id: header.id(),
        timestamp_ms: header.timestamp_ms,
        side: Vec::new(),
        settings: Bytes::new(),
        mode: Mode::Endorse,
    };
    std::hint::black_box(contract.invoke(view, invocation)?);
    Ok(())
}

/// The contract's state in a ledger.
struct View<'a> {
    snapshot: &'a StateSnapshot,
    namespace: ContractName,
}

impl StateView for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
        let found = self
            .snapshot
            .get(&self.namespace, key)
            .map_err(unreadable)?;
        Ok(found.map(|found| (found.value, found.height)))
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
        let found = self.snapshot.range(&self.namespace, start, end, limit);
        let found = found.map_err(unreadable)?.into_iter();
        Ok(found
            .map(|(key, found)| (key, found.value, found.height))
            .collect())
    }

    /// A transaction cannot ask for it.
    fn history(
        &self,
        _key: &[u8],
        _before: Option<Height>,
        _limit: usize,
    ) -> Result<Vec<KeyVersion>, StateError> {
        Err(StateError("a transaction reads no history".to_owned()))
    }
}

fn unreadable(error: StoreError) -> StateError {
    StateError(error.to_string())
}
