//! Whether the killed leader was replaced, and what was acknowledged is committed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use stela_consent::Hex;

use super::chain::{Committed, Ledger};
use crate::evidence::{Evidence, Killed};
use crate::network::{NetworkFile, node_log};
use crate::process::runs;
use crate::report::Findings;

/// Judges the kill of the leader.
pub(super) fn judge(
    evidence: &Evidence,
    file: &NetworkFile,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let killed = &evidence.killed;
    let lost = lost(&evidence.acknowledged, &ledger.valid);
    if lost > 0 {
        let what = format!("{lost} acknowledged transactions are not committed exactly once");
        findings.remarks.push(what);
    }
    let problem = problem(killed, file, runs);
    if let Some(problem) = problem {
        findings.remarks.push(format!("{} {problem}", killed.title));
    }
    let starts = starts(&log(evidence, file)?);
    if starts != 2 {
        let what = format!("the log of {} shows {starts} starts, not 2", killed.title);
        findings.remarks.push(what);
    }
    let meanwhile = meanwhile(evidence, &ledger.valid);
    if meanwhile == 0 {
        let what = "nothing acknowledged was committed while the leader was away";
        findings.remarks.push(what.to_owned());
    }
    findings.committed_while_killed = meanwhile;
    findings.leader_killed_nothing_lost =
        lost == 0 && problem.is_none() && starts == 2 && meanwhile > 0;
    Ok(())
}

/// How many of the acknowledged are not committed exactly once.
fn lost(acknowledged: &[Hex<32>], valid: &[Committed]) -> usize {
    let mut times: BTreeMap<Hex<32>, usize> = BTreeMap::new();
    for committed in valid {
        *times.entry(committed.id).or_default() += 1;
    }
    let once = |id: &&Hex<32>| times.get(id) == Some(&1);
    acknowledged.len() - acknowledged.iter().filter(once).count()
}

/// Acknowledged transactions in blocks from between the kill and the second start.
fn meanwhile(evidence: &Evidence, valid: &[Committed]) -> usize {
    let killed = &evidence.killed;
    let away = |ms: u64| killed.at_ms < ms && ms < killed.restarted_ms;
    let those = valid.iter().filter(|committed| away(committed.block_ms));
    those
        .filter(|committed| evidence.acknowledged.contains(&committed.id))
        .count()
}

/// What speaks against it that another process of the same node replaced the killed one.
fn problem(
    killed: &Killed,
    file: &NetworkFile,
    runs: impl Fn(u32, &Path) -> bool,
) -> Option<&'static str> {
    let Some((now, program)) = file.processes.get(&killed.title) else {
        return Some("is not among the processes");
    };
    if !program.ends_with("stela-orderer") {
        Some("is no orderer")
    } else if *now == killed.process {
        Some("has the process that is said to be killed")
    } else if runs(killed.process, program) {
        Some("still runs as the process that is said to be killed")
    } else if !runs(*now, program) {
        Some("does not run again")
    } else {
        None
    }
}

fn log(evidence: &Evidence, file: &NetworkFile) -> anyhow::Result<String> {
    let title = &evidence.killed.title;
    let mut nodes = file.topology.nodes.iter();
    let node = nodes.find(|node| node.title() == *title);
    let path = node_log(&evidence.network, node.context("no node was killed")?);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// How often a node says in its log that it is ready, which it does once at each start.
fn starts(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" ready ")).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    const TITLE: &str = "HospitalA/orderer0";

    fn killed() -> Killed {
        Killed {
            title: TITLE.to_owned(),
            process: 7,
            at_ms: 10,
            restarted_ms: 20,
        }
    }

    fn file(process: u32, program: &str) -> NetworkFile {
        NetworkFile {
            topology: Topology { nodes: Vec::new() },
            processes: BTreeMap::from([(TITLE.to_owned(), (process, program.into()))]),
        }
    }

    #[test]
    fn another_running_process_of_the_node_is_as_it_should_be() {
        let new = |id, _: &Path| id == 8;
        assert_eq!(
            problem(&killed(), &file(8, "/bin/stela-orderer"), new),
            None
        );
    }

    #[test]
    fn every_other_state_of_the_processes_is_a_problem() {
        let wrong = |file: NetworkFile, running: &[u32]| {
            problem(&killed(), &file, |id, _| running.contains(&id)).is_some()
        };
        assert!(wrong(file(8, "/bin/stela-peer"), &[8]));
        assert!(wrong(file(7, "/bin/stela-orderer"), &[7]));
        assert!(wrong(file(8, "/bin/stela-orderer"), &[7, 8]));
        assert!(wrong(file(8, "/bin/stela-orderer"), &[]));
        let mut without = file(8, "/bin/stela-orderer");
        without.processes.clear();
        assert!(wrong(without, &[8]));
    }

    #[test]
    fn starts_are_counted_with_and_without_colours() {
        let log = "1 INFO stela_orderer: ready node=\"A\" listen=127.0.0.1:1\n\
                   2 INFO stela_orderer::chain: leader channel=care\n\
                   3 \u{1b}[32m INFO\u{1b}[0m \u{1b}[2m:\u{1b}[0m ready \u{1b}[3mnode\n";
        assert_eq!(starts(log), 2);
        assert_eq!(starts("already there\nreadying"), 0);
    }
}
