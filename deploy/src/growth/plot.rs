//! Curves over what grows.

use super::{Growing, LedgerPoint, Point, Report, Series};
use crate::bench::{Axis, Line, Part, draw};

/// Every plot of a report with the name of its file: of each series with more than one size processor
/// time for each call, rate and latency; of a ledger start-up and catch-up.
pub fn plots(report: &Report) -> Vec<(String, String)> {
    let series = report
        .series
        .iter()
        .filter(|series| series.points.len() > 1);
    let mut plots: Vec<(String, String)> = series.flat_map(of_series).collect();
    if report.ledger.len() > 1 {
        plots.extend(of_ledger(&report.ledger));
    }
    plots
}

fn axis(growing: Growing) -> Axis {
    Axis {
        name: match growing {
            Growing::Values => "bytes of a value",
            Growing::Ledger => "transactions",
            other => other.name(),
        },
        by_factors: growing.by_factors(),
    }
}

fn of_series(series: &Series) -> [(String, String); 3] {
    let axis = axis(series.growing);
    let name = series.growing.name();
    let line = |name: &'static str, value: &dyn Fn(&Point) -> f64| Line {
        name,
        points: series
            .points
            .iter()
            .map(|point| (point.size as f64, value(point)))
            .collect(),
    };
    let cpu = |part: Part| {
        move |point: &Point| {
            let each = point.median.cpu_us_per_call.get(&part);
            each.copied().unwrap_or_default()
        }
    };
    let plot = |what: &str, words: &str, lines: &[Line]| {
        let title = format!("{name}: {words}");
        (format!("{name}-{what}.svg"), draw(&title, &axis, lines))
    };
    [
        plot(
            "cpu",
            "processor time for each call, µs",
            &[
                line("all", &|point| point.median.cpu_us_per_call_total),
                line("peers", &cpu(Part::Peer)),
                line("orderers", &cpu(Part::Orderer)),
                line("load generator", &cpu(Part::LoadGenerator)),
            ],
        ),
        plot(
            "rate",
            "committed per second",
            &[line("committed per second", &|point| {
                point.median.done_per_s
            })],
        ),
        plot(
            "latency",
            "latency, ms",
            &[
                line("p50", &|point| point.median.latency.p50_ms),
                line("p99", &|point| point.median.latency.p99_ms),
            ],
        ),
    ]
}

fn of_ledger(ledger: &[LedgerPoint]) -> [(String, String); 2] {
    let axis = axis(Growing::Ledger);
    let line = |name: &'static str, value: fn(&LedgerPoint) -> f64| Line {
        name,
        points: ledger
            .iter()
            .map(|point| (point.transactions as f64, value(point)))
            .collect(),
    };
    let start_up = [
        line("after a stop", |point| 1e3 * point.after_stop.evaluated_s),
        line("after a kill", |point| 1e3 * point.after_kill.evaluated_s),
    ];
    let catch_up = [line("transactions per second", |point| {
        point.catch_up.transactions_per_s
    })];
    [
        (
            "ledger-start-up.svg".to_owned(),
            draw(
                "ledger: start of a peer until it serves, ms",
                &axis,
                &start_up,
            ),
        ),
        (
            "ledger-catch-up.svg".to_owned(),
            draw(
                "ledger: transactions per second of a new peer",
                &axis,
                &catch_up,
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::report::tests::point;

    #[test]
    fn sizes_are_marked_and_each_part_has_a_line() {
        let points = vec![point(10_000, 400.0), point(100_000, 420.0)];
        let series = Series::of(Growing::Keys, points);
        let [(name, cpu), (_, rate), _] = of_series(&series);
        assert_eq!(name, "keys-cpu.svg");
        assert!(cpu.contains(">100000</text>") && cpu.contains(">keys</text>"));
        assert_eq!(cpu.matches("<polyline").count(), 4);
        assert_eq!(rate.matches("<polyline").count(), 1);
    }
}
