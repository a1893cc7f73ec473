//! What is measured, at which sizes.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use stela_entries::KEY_BYTES;

use crate::bench::Span;
use crate::limits::{
    GROWTH_CONSENT_BYTES, GROWTH_IN_FLIGHT, GROWTH_STEPS_FIRST, GROWTH_VALUE_BYTES,
    GROWTH_VALUE_ENTRIES,
};

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growing {
    /// The keys of the state.
    Keys,
    /// The bytes of the value that a transaction reads and writes.
    Values,
    /// The organizations, each with a peer; two of them endorse.
    Organizations,
    /// The orderers.
    Orderers,
    /// The channels, all on the same nodes.
    Channels,
    /// The transactions of a ledger.
    Ledger,
}

impl Growing {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 6] = [
        Self::Organizations,
        Self::Orderers,
        Self::Channels,
        Self::Values,
        Self::Keys,
        Self::Ledger,
    ];

    /// Its name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Values => "values",
            Self::Organizations => "organizations",
            Self::Orderers => "orderers",
            Self::Channels => "channels",
            Self::Ledger => "ledger",
        }
    }

    /// What is called, and what does not grow.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Keys => {
                "keys of the state; a value of 300 bytes is read and written; 3 orderers, 2 organizations"
            }
            Self::Values => {
                "bytes of the value that is read and written; 3 orderers, 2 organizations"
            }
            Self::Organizations => "organizations; consent grants; 3 orderers",
            Self::Orderers => "orderers; consent grants; 2 organizations",
            Self::Channels => {
                "channels on the same nodes; consent grants; 3 orderers, 2 organizations"
            }
            Self::Ledger => "transactions; consent grants; 3 orderers, 2 organizations",
        }
    }

    /// Whether its sizes are factors apart.
    pub(super) fn by_factors(self) -> bool {
        !matches!(self, Self::Organizations | Self::Orderers)
    }
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What grows.
    pub growing: Vec<Growing>,
    /// How many calls are in flight.
    pub in_flight: usize,
    /// How long each run is measured.
    pub measured: Duration,
    /// How long it runs before that.
    pub warm_up: Duration,
    /// How often each size is measured.
    pub repeats: usize,
    /// Numbers of organizations.
    pub organizations: Vec<usize>,
    /// Numbers of orderers.
    pub orderers: Vec<usize>,
    /// Numbers of channels, ascending.
    pub channels: Vec<usize>,
    /// Bytes of values.
    pub values: Vec<usize>,
    /// Numbers of keys, ascending.
    pub keys: Vec<u64>,
    /// Transactions of a ledger, ascending.
    pub transactions: Vec<u64>,
}

impl Plan {
    /// Everything, with a state of so many keys and a ledger of so many transactions in the end.
    pub fn full(keys_max: u64, transactions_max: u64) -> Self {
        Self {
            growing: Growing::ALL.to_vec(),
            in_flight: GROWTH_IN_FLIGHT,
            measured: Duration::from_secs(10),
            warm_up: Duration::from_secs(4),
            repeats: 3,
            organizations: (2..=6).collect(),
            orderers: vec![1, 3, 5],
            channels: vec![1, 2, 4, 8],
            values: vec![100, 300, 1 << 10, 4 << 10, 16 << 10, 64 << 10],
            keys: decades(keys_max),
            transactions: decades(transactions_max),
        }
    }

    /// The same in a few minutes: fewer sizes, short runs, none repeated.
    pub fn quick(keys_max: u64, transactions_max: u64) -> Self {
        Self {
            measured: Duration::from_secs(1),
            warm_up: Duration::from_millis(750),
            repeats: 1,
            organizations: vec![2, 4, 6],
            channels: vec![1, 4],
            values: vec![100, 1 << 10, 16 << 10],
            ..Self::full(keys_max, transactions_max)
        }
    }

    pub(super) fn span(&self) -> Span {
        Span {
            warm_up: self.warm_up,
            measured: self.measured,
        }
    }

    /// About how much disk the largest of its networks takes: each of two peers has an entry in a block,
    /// in the state and once more while the state is put in order, each of three orderers in a block.
    pub(super) fn disk_bytes(&self) -> u64 {
        let of = |growing: Growing, count: u64, each: usize| match self.growing.contains(&growing) {
            true => count.saturating_mul(each as u64),
            false => 0,
        };
        let keys = self.keys.last().copied().unwrap_or_default();
        let transactions = self.transactions.last().copied().unwrap_or_default();
        let values: usize = self.values.iter().sum();
        let networks = [
            of(Growing::Keys, keys, 9 * (KEY_BYTES + GROWTH_VALUE_BYTES)),
            of(Growing::Values, GROWTH_VALUE_ENTRIES, 9 * values),
            of(Growing::Ledger, transactions, 9 * GROWTH_CONSENT_BYTES),
        ];
        networks.into_iter().max().unwrap_or_default()
    }
}

/// Ten times as many from step to step, and so many in the end.
fn decades(last: u64) -> Vec<u64> {
    let steps = std::iter::successors(Some(GROWTH_STEPS_FIRST), |step| step.checked_mul(10));
    let steps = steps.take_while(|step| *step < last);
    steps.chain([last]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_tenfold_up_to_the_last() {
        let check = |last, expect: &[u64]| assert_eq!(decades(last), expect);
        check(1_000, &[1_000]);
        check(10_000, &[10_000]);
        check(20_000, &[10_000, 20_000]);
        check(1_000_000, &[10_000, 100_000, 1_000_000]);
    }

    #[test]
    fn only_what_is_measured_needs_disk() {
        let mut plan = Plan::full(10_000_000, 1_000_000);
        assert!((25..35).contains(&(plan.disk_bytes() / 1_000_000_000)));
        plan.growing = vec![Growing::Orderers];
        assert_eq!(plan.disk_bytes(), 0);
    }

    #[test]
    fn everything_is_measured_once() {
        let mut all = Growing::ALL.to_vec();
        all.sort();
        assert_eq!(all, Growing::value_variants());
    }
}
