//! Entries without a meaning, while they become more or their values larger.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use stela_consent::Role;
use stela_entries::{FILL, FILL_ENTRIES_MAX, KEY_BYTES, REPLACE, value};
use tokio::time::Instant;

use super::{Filled, Point, Session, Site};
use crate::bench::{Call, Calls, Person, Registrar, at_once, chosen, commit, make, register};
use crate::limits::{
    GROWTH_CLIENTS, GROWTH_FILL_BYTES_MAX, GROWTH_FILLING, GROWTH_VALUE_BYTES,
    GROWTH_VALUE_ENTRIES, POLL, READY,
};
use crate::process::stopwatch;

/// The channel of the entries, and their contract.
const ENTRIES: &str = "entries";
/// Bytes of a write in an envelope beside its key and its value, at most.
const WRITE_FRAME_BYTES: usize = 24;

/// Entries that get other values: each is read and written once before one is again, and never by two
/// calls in flight.
struct Replacements {
    people: Arc<Vec<Person>>,
    entries: Range<u64>,
    value_bytes: usize,
    /// What the values begin with, so that they are others than those of earlier replacements.
    seed: u64,
    calls: AtomicU64,
    in_flight: Mutex<BTreeSet<u64>>,
}

impl Replacements {
    fn of(people: &Arc<Vec<Person>>, entries: Range<u64>, value_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            people: people.clone(),
            entries,
            value_bytes,
            seed: rand::random(),
            calls: AtomicU64::new(0),
            in_flight: Mutex::default(),
        })
    }

    /// The next call's number and its entry: the next one in turn that no other call is about. There are
    /// more entries than calls in flight.
    fn begin(&self) -> (u64, u64) {
        let mut in_flight = self.in_flight.lock();
        loop {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            let entry = drawn(&self.entries, number);
            if in_flight.insert(entry) {
                return (number, entry);
            }
        }
    }
}

impl Calls for Replacements {
    async fn make(&self) -> Call {
        let (number, entry) = self.begin();
        let new = value(self.seed.wrapping_add(number), self.value_bytes);
        let contract = &chosen(&self.people, number).contract;
        let proposal = contract.proposal(REPLACE).text(&entry.to_string());
        let call = make(Ok(proposal.argument(new)), true).await;
        self.in_flight.lock().remove(&entry);
        call
    }
}

/// The entry that is replaced by a call: all in turn, and those of consecutive calls far apart.
fn drawn(entries: &Range<u64>, number: u64) -> u64 {
    let count = (entries.end - entries.start).max(1);
    let place = u128::from(number % count) * u128::from(stride(count)) % u128::from(count);
    entries.start + place as u64
}

/// The step of the golden section or the next one that comes past all of so many places.
fn stride(count: u64) -> u64 {
    let golden = (u128::from(count) * 618_034 / 1_000_000) as u64;
    let steps = golden.max(1)..=count;
    steps
        .into_iter()
        .find(|step| divisor(*step, count) == 1)
        .unwrap_or(1)
}

/// The greatest common divisor.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// How many entries one transaction writes.
fn entries_per_fill(value_bytes: usize) -> u64 {
    let entries = GROWTH_FILL_BYTES_MAX / (KEY_BYTES + value_bytes + WRITE_FRAME_BYTES);
    (entries as u64).clamp(1, FILL_ENTRIES_MAX)
}

impl Session<'_> {
    pub(super) async fn keys(&mut self) -> anyhow::Result<Vec<Point>> {
        let (mut site, people) = self.entries().await?;
        let (mut points, mut there) = (Vec::new(), 0);
        for count in self.plan.keys.clone() {
            let filled = self.fill(&mut site, &people, there..count, GROWTH_VALUE_BYTES);
            let filled = filled.await?;
            there = count;
            let calls = Replacements::of(&people, 0..count, GROWTH_VALUE_BYTES);
            let point = self.measure(&mut site, count, &calls).await?;
            points.push(point.filled(filled));
        }
        self.end(site)?;
        Ok(points)
    }

    pub(super) async fn values(&mut self) -> anyhow::Result<Vec<Point>> {
        let (mut site, people) = self.entries().await?;
        let (mut points, mut there) = (Vec::new(), 0);
        for bytes in self.plan.values.clone() {
            let entries = there..there + GROWTH_VALUE_ENTRIES;
            there = entries.end;
            let filled = self
                .fill(&mut site, &people, entries.clone(), bytes)
                .await?;
            let calls = Replacements::of(&people, entries, bytes);
            let point = self.measure(&mut site, bytes as u64, &calls).await?;
            points.push(point.filled(filled));
        }
        self.end(site)?;
        Ok(points)
    }

    /// A network with the channel of the entries, and those who call their contract.
    async fn entries(&mut self) -> anyhow::Result<(Site, Arc<Vec<Person>>)> {
        let mut network = self.start(2, 3).await?;
        let package = &self.packages.entries;
        network.open_channel(ENTRIES, ENTRIES, package).await?;
        let registrar = Registrar::at(&network, ENTRIES, ENTRIES)?;
        let people = (0..GROWTH_CLIENTS).map(|place| registrar.person(place, Role::Practitioner));
        let people: Vec<Person> = people.collect::<anyhow::Result<_>>()?;
        at_once(people.iter().map(register)).await?;
        let site = Site::open(network, &[&registrar]).await?;
        Ok((site, Arc::new(people)))
    }

    /// Writes new entries and waits until the databases have put them in order on their disks.
    async fn fill(
        &self,
        site: &mut Site,
        people: &[Person],
        entries: Range<u64>,
        value_bytes: usize,
    ) -> anyhow::Result<Filled> {
        let started = stopwatch();
        let each = entries_per_fill(value_bytes);
        let firsts = entries.clone().step_by(usize::try_from(each)?);
        let calls = firsts.map(|first| {
            let count = each.min(entries.end - first);
            let contract = &chosen(people, first / each).contract;
            commit(move || {
                let proposal = contract.proposal(FILL).text(&first.to_string());
                let proposal = proposal.text(&count.to_string());
                Ok(proposal.text(&value_bytes.to_string()))
            })
        });
        let filling = stream::iter(calls).buffer_unordered(GROWTH_FILLING);
        let transactions = filling.try_fold(0u64, |count, ()| async move { Ok(count + 1) });
        let transactions = transactions.await?;
        let fill_s = started.elapsed().as_secs_f64();
        site.restart().await?;
        for (person, entry) in people.iter().zip(entries.clone()) {
            call_again(person, entry, value_bytes).await?;
        }
        let keys = entries.end - entries.start;
        let filled = Filled {
            keys,
            value_bytes,
            transactions,
            fill_s,
            settle_s: site.settle().await?,
        };
        (self.say)(&format!(
            "  {keys} keys with values of {value_bytes} bytes written in {fill_s:.1} s, in order after \
             another {:.1} s",
            filled.settle_s
        ));
        Ok(filled)
    }
}

/// Replaces an entry, as soon as the nodes take that again.
async fn call_again(person: &Person, entry: u64, value_bytes: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    let replacement = || {
        let proposal = person.contract.proposal(REPLACE).text(&entry.to_string());
        Ok(proposal.argument(value(entry, value_bytes)))
    };
    while let Err(error) = commit(replacement).await {
        let in_time = Instant::now() < deadline;
        ensure!(in_time, "the network does not come up again: {error:#}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stela_protocol::limits::{RWSET_ENTRIES_MAX, WRITE_BYTES_MAX};

    use super::*;

    #[test]
    fn every_entry_is_drawn_once_in_a_round() {
        for count in [1, 2, 3, 10, 1_000, 2_000, 9_973] {
            let entries = 500..500 + count;
            let round: BTreeSet<u64> = (0..count).map(|call| drawn(&entries, call)).collect();
            assert_eq!(round, entries.clone().collect(), "{count}");
            assert_eq!(drawn(&entries, 0), drawn(&entries, count));
        }
    }

    #[test]
    fn no_two_calls_in_flight_are_about_the_same_entry() {
        let calls = Replacements::of(&Arc::new(Vec::new()), 0..10, 100);
        let first = calls.begin().1;
        let others: BTreeSet<u64> = (0..9).map(|_| calls.begin().1).collect();
        assert_eq!((others.len(), others.contains(&first)), (9, false));
        assert!(calls.in_flight.lock().remove(&7));
        assert_eq!(calls.begin().1, 7);
    }

    #[test]
    fn a_fill_stays_within_what_a_transaction_may_write() {
        let check = |value_bytes: usize| {
            let entries = entries_per_fill(value_bytes) as usize;
            assert!((1..=RWSET_ENTRIES_MAX).contains(&entries));
            assert!(entries * (KEY_BYTES + value_bytes) <= WRITE_BYTES_MAX);
        };
        [1, 100, 300, 4 << 10, 64 << 10, 256 << 10]
            .into_iter()
            .for_each(check);
    }
}
