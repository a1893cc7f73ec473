//! What was measured. Every figure has its unit in its name.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::{Growing, LedgerPoint};
use crate::bench::{Part, Run, Setting};

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was run, and where; numbers of nodes are those of the first network.
    pub setting: Setting,
    /// How many calls were in flight.
    pub in_flight: usize,
    /// What was measured while one thing grew.
    pub series: Vec<Series>,
    /// What was measured while the ledger became longer.
    pub ledger: Vec<LedgerPoint>,
}

/// One thing that grew.
#[derive(Debug, Serialize)]
pub struct Series {
    /// What.
    pub growing: Growing,
    /// At each size, from the smallest to the largest.
    pub points: Vec<Point>,
}

/// One size.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// How many there were, or how many bytes.
    pub size: u64,
    /// What was written before.
    pub filled: Option<Filled>,
    /// Bytes of one node's folder before the runs, by part.
    pub disk_bytes: BTreeMap<Part, f64>,
    /// All runs.
    pub runs: Vec<Run>,
    /// The one with the median rate.
    pub median: Run,
    /// Its processor time for each call against that at the smallest size.
    pub cpu_ratio: f64,
    /// By how many microseconds that time is longer than at the size before, for each that was added.
    pub cpu_us_per_added: Option<f64>,
}

/// Entries that were written before anything was measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Filled {
    /// How many.
    pub keys: u64,
    /// Bytes of the value of each.
    pub value_bytes: usize,
    /// Transactions that wrote them.
    pub transactions: u64,
    /// How long that took, in seconds.
    pub fill_s: f64,
    /// How long the nodes' databases then went on to put them in order, in seconds.
    pub settle_s: f64,
}

impl Point {
    pub(super) fn of(
        size: u64,
        disk_bytes: BTreeMap<Part, f64>,
        runs: Vec<Run>,
        median: Run,
    ) -> Self {
        Self {
            size,
            filled: None,
            disk_bytes,
            runs,
            median,
            cpu_ratio: 1.0,
            cpu_us_per_added: None,
        }
    }

    pub(super) fn filled(self, filled: Filled) -> Self {
        Self {
            filled: Some(filled),
            ..self
        }
    }

    fn cpu_us(&self) -> f64 {
        self.median.cpu_us_per_call_total
    }
}

impl Series {
    /// Compares each size with the first and with the one before.
    pub(super) fn of(growing: Growing, mut points: Vec<Point>) -> Self {
        let sizes = points.iter().map(|point| (point.size, point.cpu_us()));
        let sizes: Vec<(u64, f64)> = sizes.collect();
        let Some(first) = sizes.first() else {
            return Self { growing, points };
        };
        let before = std::iter::once(None).chain(sizes.iter().map(Some));
        for (point, before) in points.iter_mut().zip(before) {
            point.cpu_ratio = point.cpu_us() / first.1.max(f64::MIN_POSITIVE);
            point.cpu_us_per_added = before.map(|(size, cpu_us)| {
                let added = point.size.saturating_sub(*size).max(1);
                (point.cpu_us() - cpu_us) / added as f64
            });
        }
        Self { growing, points }
    }

    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{}: {}\n{:>10} {:>8} {:>8} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6} {:>8} {:>7} {:>8} {:>8}",
            self.growing.name(),
            self.growing.words(),
            "",
            "per s",
            "p50 ms",
            "p99 ms",
            "CPU µs",
            "peers",
            "order.",
            "client",
            "ratio",
            "µs/added",
            "peer MB",
            "peer GB",
            "order GB"
        );
        for point in &self.points {
            point.write(text, self.growing);
        }
    }
}

fn part(map: &BTreeMap<Part, f64>, part: Part) -> f64 {
    map.get(&part).copied().unwrap_or_default()
}

impl Point {
    fn write(&self, text: &mut String, growing: Growing) {
        let run = &self.median;
        let cpu = &run.cpu_us_per_call;
        let added = self.cpu_us_per_added.filter(|_| !growing.by_factors());
        let _ = writeln!(
            text,
            "{:>10} {:>8.0} {:>8.1} {:>8.1} {:>7.0} {:>6.0} {:>6.0} {:>6.0} {:>6.2} {:>8} {:>7.0} \
             {:>8.2} {:>8.2}",
            self.size,
            run.done_per_s,
            run.latency.p50_ms,
            run.latency.p99_ms,
            run.cpu_us_per_call_total,
            part(cpu, Part::Peer),
            part(cpu, Part::Orderer),
            part(cpu, Part::LoadGenerator),
            self.cpu_ratio,
            added.map_or_else(String::new, |us| format!("{us:.0}")),
            run.peak_bytes(Part::Peer) as f64 / 1e6,
            part(&self.disk_bytes, Part::Peer) / 1e9,
            part(&self.disk_bytes, Part::Orderer) / 1e9
        );
    }
}

impl Report {
    /// The report as people read it.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}; profile {}; {} calls in flight\n",
            self.setting.machine, self.setting.profile, self.in_flight
        );
        self.series
            .iter()
            .for_each(|series| series.write(&mut text));
        self.write_ledger(&mut text);
        text
    }

    fn write_ledger(&self, text: &mut String) {
        if self.ledger.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "\n{}: {}; a peer that starts again, and one that is new\n{:>10} {:>8} {:>8} {:>7} {:>7} \
             {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            Growing::Ledger.name(),
            Growing::Ledger.words(),
            "",
            "blocks",
            "per s",
            "CPU µs",
            "peer B",
            "order B",
            "stopped s",
            "killed s",
            "then MB",
            "new s",
            "blocks/s",
            "tx/s",
            "CPU µs"
        );
        for point in &self.ledger {
            let disk = &point.disk_bytes_per_transaction;
            let new = &point.catch_up;
            let _ = writeln!(
                text,
                "{:>10} {:>8} {:>8.0} {:>7.0} {:>7.0} {:>7.0} {:>9.2} {:>9.2} {:>9.0} {:>9.1} {:>9.0} \
                 {:>9.0} {:>9.0}",
                point.transactions,
                point.blocks,
                point.last.done_per_s,
                point.last.cpu_us_per_call_total,
                part(disk, Part::Peer),
                part(disk, Part::Orderer),
                point.after_stop.evaluated_s,
                point.after_kill.evaluated_s,
                point.after_stop.resident_bytes as f64 / 1e6,
                new.seconds,
                new.blocks_per_s,
                new.transactions_per_s,
                part(&new.cpu_us_per_transaction, Part::Peer)
            );
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Latency, Pace};

    /// A point with so much processor time for each call.
    pub(in crate::growth) fn point(size: u64, cpu_us: f64) -> Point {
        let run = Run {
            pace: Pace::InFlight(128),
            measured_s: 1.0,
            done_per_s: 1e6 / cpu_us,
            done_per_s_to_the_end: 0.0,
            latency: Latency::default(),
            endorse_p50_ms: 0.0,
            commit_p50_ms: 0.0,
            refused: BTreeMap::new(),
            refused_retryable: 0,
            conflicts: BTreeMap::new(),
            unsent: 0,
            unsure_and_committed: 0,
            others: 0,
            cpu_us_per_call: BTreeMap::from([(Part::Peer, cpu_us)]),
            cpu_us_per_call_total: cpu_us,
            processors_used: 1.0,
            transactions: 1,
            envelope_bytes: 0.0,
            transactions_per_block: 1.0,
            wire_bytes_per_call: 0.0,
            disk_bytes_per_transaction: BTreeMap::new(),
            written_bytes_per_call: BTreeMap::new(),
            memory: Vec::new(),
        };
        Point::of(size, BTreeMap::new(), vec![run.clone()], run)
    }

    #[test]
    fn each_size_is_compared_with_the_first_and_the_one_before() {
        let points = [(2, 500.0), (3, 600.0), (6, 750.0)];
        let points = points.map(|(size, cpu_us)| point(size, cpu_us)).to_vec();
        let series = Series::of(Growing::Organizations, points);
        let compared = series.points.iter();
        let compared: Vec<_> = compared
            .map(|p| (p.cpu_ratio, p.cpu_us_per_added))
            .collect();
        assert_eq!(
            compared,
            [(1.0, None), (1.2, Some(100.0)), (1.5, Some(50.0))]
        );
        let mut text = String::new();
        series.write(&mut text);
        let last = text.lines().last().unwrap();
        let cells: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(cells[0], "6");
        assert!(cells.contains(&"1.50") && cells.contains(&"50"), "{text}");
    }

    #[test]
    fn every_row_has_as_many_columns_as_the_head() {
        let series = Series::of(
            Growing::Organizations,
            vec![point(2, 500.0), point(3, 510.0)],
        );
        let mut text = String::new();
        series.write(&mut text);
        let lengths: Vec<usize> = text.lines().skip(2).map(|l| l.chars().count()).collect();
        assert_eq!(lengths.len(), 3);
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{text}");
    }
}
