//! Curves as SVG, without a library: two axes, lines and words.

use std::fmt::Write;

use super::load::Pace;
use super::report::{Measured, Report, Run};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Room for the words beside each axis.
const MARGIN: f64 = 60.0;
/// Colours that differ for the colour-blind, too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// A line of a plot.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What lines go over.
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    /// Whether equal distances are equal factors, and not equal differences.
    pub(crate) by_factors: bool,
}

/// Axis of the search for the saturation point.
const IN_FLIGHT: Axis = Axis {
    name: "calls in flight",
    by_factors: true,
};

/// Every plot of a report with the name of its file: for each function that was searched, rate and
/// latency by calls in flight.
pub fn plots(report: &Report) -> Vec<(String, String)> {
    let searched = report
        .workloads
        .iter()
        .filter(|measured| measured.search.len() > 1);
    searched.flat_map(of_workload).collect()
}

fn of_workload(measured: &Measured) -> [(String, String); 2] {
    let name = measured.workload.name();
    let line = |name: &'static str, value: fn(&Run) -> f64| Line {
        name,
        points: measured
            .search
            .iter()
            .filter_map(|run| Some((in_flight(run)?, value(run))))
            .collect(),
    };
    let rate = [line("done per second", |run| run.done_per_s)];
    let latency = [
        line("p50", |run| run.latency.p50_ms),
        line("p95", |run| run.latency.p95_ms),
        line("p99", |run| run.latency.p99_ms),
    ];
    [
        (
            format!("{name}-rate.svg"),
            draw(&format!("{name}: done per second"), &IN_FLIGHT, &rate),
        ),
        (
            format!("{name}-latency.svg"),
            draw(&format!("{name}: latency, ms"), &IN_FLIGHT, &latency),
        ),
    ]
}

fn in_flight(run: &Run) -> Option<f64> {
    match run.pace {
        Pace::InFlight(count) => Some(count as f64),
        Pace::PerSecond(_) => None,
    }
}

/// Lines over an axis that has a mark for each point of the first one.
pub(crate) fn draw(title: &str, axis: &Axis, lines: &[Line]) -> String {
    let place = |value: f64| match axis.by_factors {
        true => value.log2(),
        false => value,
    };
    let points = || lines.iter().flat_map(|line| &line.points);
    let (first, last) = points().fold((f64::MAX, f64::MIN), |(first, last), (x, _)| {
        (first.min(place(*x)), last.max(place(*x)))
    });
    let top = points()
        .fold(0.0f64, |top, (_, y)| top.max(*y))
        .max(f64::MIN_POSITIVE)
        * 1.05;
    let width = (last - first).max(1.0);
    let x = |value: f64| MARGIN + (place(value) - first) / width * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / top * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"30\" font-size=\"15\">{title}</text>\n"
    );
    // Writing to a string cannot fail.
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {y:.1}H{end}\" stroke=\"#ddd\"/>\
             <text x=\"{words}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.0}</text>",
            y = y(value),
            end = WIDTH - MARGIN,
            words = MARGIN - 6.0
        );
    }
    if let Some(line) = lines.first() {
        for (value, _) in &line.points {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
                x(*value),
                HEIGHT - MARGIN + 18.0
            );
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        WIDTH / 2.0,
        HEIGHT - 20.0,
        axis.name
    );
    for ((line, colour), place) in lines.iter().zip(COLOURS).zip(0..) {
        let points = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)));
        let points: Vec<String> = points.collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            WIDTH - MARGIN - 110.0,
            30.0 + 16.0 * f64::from(place),
            line.name
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_goes_by_factors_or_by_differences() {
        let check = |by_factors: bool, middle: &str| {
            let axis = Axis {
                name: "channels",
                by_factors,
            };
            let line = Line {
                name: "all",
                points: vec![(1.0, 1.0), (2.0, 1.0), (4.0, 1.0)],
            };
            let svg = draw("title", &axis, &[line]);
            assert!(svg.contains(&format!(" {middle},")), "{svg}");
        };
        check(true, "320.0");
        check(false, "233.3");
    }

    #[test]
    fn lines_go_from_one_margin_to_the_other() {
        let line = Line {
            name: "p50",
            points: vec![(8.0, 0.0), (32.0, 100.0)],
        };
        let svg = draw("title", &IN_FLIGHT, &[line]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("points=\"60.0,300.0 580.0,71.4\""), "{svg}");
    }
}
