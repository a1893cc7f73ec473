//! Findings as a table, or as JSON.

use std::io::IsTerminal;

use serde::Serialize;

use super::finding::{Check, Finding, Verdict};
use crate::output::{Output, printable, table};

#[derive(Serialize)]
struct Report<'a> {
    /// Whether nothing failed.
    well: bool,
    findings: &'a [Finding],
}

pub(super) fn all(findings: &[Finding], output: &Output) -> anyhow::Result<()> {
    let well = findings.iter().all(|f| f.verdict != Verdict::Failed);
    let report = Report { well, findings };
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    output.answer(&report, |report| text(report.findings, coloured))
}

fn text(findings: &[Finding], coloured: bool) -> String {
    let mut checks: Vec<Check> = findings.iter().map(|finding| finding.check).collect();
    checks.sort_unstable();
    checks.dedup();
    let rows: Vec<Vec<String>> = checks
        .iter()
        .flat_map(|check| rows(*check, findings))
        .collect();
    let mut text = table(&["CHECK", "WHERE", "VERDICT", "FOUND"], &rows);
    if coloured {
        text = text.lines().map(colour).collect();
    }
    let wrong: Vec<&Finding> = findings.iter().filter(|f| f.cure.is_some()).collect();
    if !wrong.is_empty() {
        text.push_str("\nWhat to do:\n");
    }
    for finding in &wrong {
        text.push_str(&cure(finding));
    }
    let failed = findings
        .iter()
        .filter(|f| f.verdict == Verdict::Failed)
        .count();
    text + &match failed {
        0 => "\nNothing is wrong.".to_owned(),
        1 => "\n1 thing is wrong.".to_owned(),
        _ => format!("\n{failed} things are wrong."),
    }
}

/// One line for all that is well, and one for each that is not.
fn rows(check: Check, findings: &[Finding]) -> Vec<Vec<String>> {
    let of_check = || findings.iter().filter(|finding| finding.check == check);
    let row = |place: &str, verdict: Verdict, found: &str| {
        let cells = [check.name(), place, verdict.words(), found];
        cells.map(printable).to_vec()
    };
    let well: Vec<&Finding> = of_check().filter(|f| f.verdict == Verdict::Ok).collect();
    let mut rows = Vec::new();
    match well.as_slice() {
        [] => {}
        [one] => rows.push(row(&one.subject, one.verdict, &one.found)),
        many => {
            let found = format!("{} looked at", many.len());
            rows.push(row("", Verdict::Ok, &found));
        }
    }
    let others = of_check().filter(|finding| finding.verdict != Verdict::Ok);
    rows.extend(others.map(|f| row(&f.subject, f.verdict, &f.found)));
    rows
}

fn cure(finding: &Finding) -> String {
    let Some(cure) = &finding.cure else {
        return String::new();
    };
    let command = cure.command.as_ref();
    let command = command.map(|command| format!("    $ {}\n", printable(command)));
    format!(
        "  {}, {} ({}): {}\n{}",
        finding.check.name(),
        printable(&finding.subject),
        printable(&finding.looked_at),
        printable(&cure.what),
        command.unwrap_or_default()
    )
}

fn colour(line: &str) -> String {
    let code = if line.contains(Verdict::Failed.words()) {
        31
    } else if line.contains("  warning  ") || line.contains("  could not look  ") {
        33
    } else {
        return format!("{line}\n");
    };
    format!("\u{1b}[{code}m{line}\u{1b}[0m\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_is_one_line_and_what_is_not_comes_with_its_cure() {
        let findings = [
            Finding::ok(Check::Clock, "A/peer0", "a:1", "3 ms"),
            Finding::ok(Check::Clock, "A/orderer0", "a:2", "4 ms"),
            Finding::ok(Check::Contract, "A/peer0", "packages at a:1", "missing")
                .but(Verdict::Failed)
                .cured_by("install it")
                .with("stela admin install"),
        ];
        let plain = text(&findings, false);
        assert_eq!(
            plain,
            "CHECK     WHERE    VERDICT  FOUND\n\
             clock              ok       2 looked at\n\
             contract  A/peer0  FAILED   missing\n\
             \nWhat to do:\n  contract, A/peer0 (packages at a:1): install it\n    $ stela admin install\n\
             \n1 thing is wrong."
        );
        assert!(!plain.contains('\u{1b}'));
        assert!(text(&findings, true).contains("\u{1b}[31mcontract"));
        assert!(text(&findings[..2], false).ends_with("Nothing is wrong."));
    }

    #[test]
    fn what_a_node_says_does_nothing_to_the_terminal() {
        let hostile = "\u{1b}]0;owned\u{7}\r\nok";
        let finding = Finding::ok(Check::Reachable, hostile, hostile, hostile)
            .but(Verdict::Failed)
            .cured_by(hostile)
            .with(hostile);
        let text = text(&[finding], false);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}') && !text.contains('\r'));
        assert!(!text.lines().any(|line| line == "ok"), "{text}");
    }
}
