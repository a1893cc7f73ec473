//! The contract of the simulation, run natively on a snapshot as the host would run it.
//!
//! | Function | Reads | Writes |
//! |---|---|---|
//! | `add COUNTER` | the counter | the counter, one higher, and `entry/<transaction>` |
//! | `put` | nothing | `entry/<transaction>` |
//! | `count` | all entries, as a range | `entries`, their number |
//!
//! So at the end a counter is as high as valid `add`s were committed, and the entries are those of
//! the valid transactions: what is applied twice, lost, or applied on a stale read shows.

use anyhow::Context;
use bytes::Bytes;
use stela_protocol::transaction::Proposal;
use stela_protocol::{ContractName, FORMAT_VERSION, Message, TransactionId, hash, pb};
use stela_store::{StateSnapshot, VersionedValue};

use crate::consortium::{CONTRACT, PACKAGE};
use crate::limits::ENTRIES_MAX;

/// Where entries begin and end.
const ENTRIES: (&str, &str) = ("entry/", "entry0");
const COUNT: &str = "entries";

pub(crate) fn name() -> anyhow::Result<ContractName> {
    Ok(ContractName::new(CONTRACT)?)
}

pub(crate) fn counter_key(counter: u64) -> String {
    format!("counter/{counter}")
}

/// The result of a call, encoded.
pub(crate) fn run(proposal: &Proposal, snapshot: &StateSnapshot) -> anyhow::Result<Bytes> {
    let namespace = name()?;
    let mut result = pb::Result {
        version: FORMAT_VERSION,
        package_hash: PACKAGE.to_bytes(),
        response: Some(pb::Response::default()),
        ..Default::default()
    };
    let entry = format!("{}{}", ENTRIES.0, proposal.header.id());
    match proposal.function.as_str() {
        "add" => {
            let key = proposal.arguments.first().context("no counter")?;
            let found = snapshot.get(&namespace, key)?;
            let before = found.as_ref().map_or(Ok(0), |found| number(&found.value))?;
            result.reads.push(pb::Read {
                key: key.clone(),
                height: found.map(|found| found.height.into()),
            });
            result.writes.push(write(key.clone(), before + 1));
            result.writes.push(write(entry.into(), 1));
        }
        "put" => result.writes.push(write(entry.into(), 1)),
        "count" => {
            let (start, end) = (ENTRIES.0.as_bytes(), ENTRIES.1.as_bytes());
            let found = read_entries(snapshot)?;
            let versions = found
                .iter()
                .map(|(key, value)| (key.as_ref(), value.height));
            result.ranges.push(pb::RangeRead {
                start: start.into(),
                end: end.into(),
                results_hash: hash::range_results(versions).to_bytes(),
            });
            result.writes.push(write(COUNT.into(), found.len() as u64));
        }
        other => anyhow::bail!("no function {other}"),
    }
    Ok(result.encode_to_vec().into())
}

fn write(key: Bytes, value: u64) -> pb::Write {
    let value = Bytes::copy_from_slice(&value.to_be_bytes());
    pb::Write {
        key,
        change: Some(pb::write::Change::Value(value)),
        ..Default::default()
    }
}

fn number(value: &[u8]) -> anyhow::Result<u64> {
    Ok(u64::from_be_bytes(value.try_into()?))
}

/// How high a counter is.
pub(crate) fn counter(snapshot: &StateSnapshot, counter: u64) -> anyhow::Result<u64> {
    let found = snapshot.get(&name()?, counter_key(counter).as_bytes())?;
    found.map_or(Ok(0), |found| number(&found.value))
}

/// The transactions that have an entry, in the order of their ids, each as text.
pub(crate) fn entries(snapshot: &StateSnapshot) -> anyhow::Result<Vec<String>> {
    let found = read_entries(snapshot)?.into_iter();
    let id = |(key, _): (Bytes, VersionedValue)| key[ENTRIES.0.len()..].to_vec();
    Ok(found
        .map(|entry| String::from_utf8(id(entry)))
        .collect::<Result<_, _>>()?)
}

fn read_entries(snapshot: &StateSnapshot) -> anyhow::Result<Vec<(Bytes, VersionedValue)>> {
    let (start, end) = (ENTRIES.0.as_bytes(), ENTRIES.1.as_bytes());
    let found = snapshot.range(&name()?, start, end, ENTRIES_MAX)?;
    anyhow::ensure!(
        found.len() < ENTRIES_MAX,
        "more entries than a simulation can make"
    );
    Ok(found)
}

/// The entry of a transaction, as [`entries`] lists it.
pub(crate) fn entry_of(id: &TransactionId) -> String {
    id.to_string()
}
