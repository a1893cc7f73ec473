//! What processes use, as the system counts it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::network::{Network, node_log};
use crate::process::{peak_bytes, resident_bytes};
use crate::topology::Kind;

/// Ticks of `/proc/PID/stat` in a second: the kernel's `USER_HZ`, which is 100 on x86-64 and AArch64.
const TICKS_PER_SECOND: u64 = 100;

/// Who uses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The peers.
    Peer,
    /// The orderers.
    Orderer,
    /// The program that makes the calls.
    LoadGenerator,
}

/// A process that is watched.
struct Watched {
    part: Part,
    id: u32,
    /// A node's folders and log.
    node: Option<(PathBuf, PathBuf)>,
}

/// Watches the processes of a network and this one.
pub(crate) struct Meter {
    watched: Vec<Watched>,
}

/// What was used since the processes began, summed by part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) cpu_us: BTreeMap<Part, u64>,
    /// Bytes that the processes had the system write to disks.
    pub(crate) written_bytes: BTreeMap<Part, u64>,
    /// Bytes that crossed the loopback, with the headers of TCP and IP, whoever sent them.
    pub(crate) loopback_bytes: u64,
}

/// Memory of one process.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// Whose.
    pub part: Part,
    /// Resident when it was looked at, in bytes.
    pub resident_bytes: u64,
    /// The most that was ever resident, in bytes.
    pub peak_bytes: u64,
}

impl Meter {
    /// Watches the nodes that run now.
    ///
    /// # Errors
    /// When one does not run.
    pub(crate) fn of(network: &Network) -> anyhow::Result<Self> {
        let mut watched = vec![Watched {
            part: Part::LoadGenerator,
            id: std::process::id(),
            node: None,
        }];
        for node in &network.topology().nodes {
            let part = match node.kind {
                Kind::Orderer => Part::Orderer,
                Kind::Peer => Part::Peer,
                Kind::Storage => continue,
            };
            let log = node_log(network.folder(), node);
            watched.push(Watched {
                part,
                id: network.process_id(node)?,
                node: Some((network.node_folder(node).join("data"), log)),
            });
        }
        Ok(Self { watched })
    }

    /// What was used until now.
    ///
    /// # Errors
    /// When a process is gone or the system does not say.
    pub(crate) fn read(&self) -> anyhow::Result<Reading> {
        let mut reading = Reading {
            loopback_bytes: loopback_bytes(&std::fs::read_to_string("/proc/net/dev")?)
                .context("/proc/net/dev has no line for lo")?,
            ..Reading::default()
        };
        for process in &self.watched {
            let file = |name: &str| {
                let path = format!("/proc/{}/{name}", process.id);
                std::fs::read_to_string(&path).context(path)
            };
            let cpu_us = cpu_us(&file("stat")?).context("/proc/PID/stat has another form")?;
            *reading.cpu_us.entry(process.part).or_default() += cpu_us;
            let written = field(&file("io")?, "write_bytes:").context("/proc/PID/io")?;
            *reading.written_bytes.entry(process.part).or_default() += written;
        }
        Ok(reading)
    }

    /// Bytes of all files in the nodes' data folders, by part.
    pub(crate) fn disk_bytes(&self) -> BTreeMap<Part, u64> {
        self.bytes_below("")
    }

    /// Bytes of all files of the nodes' ledgers, by part.
    pub(crate) fn ledger_bytes(&self) -> BTreeMap<Part, u64> {
        self.bytes_below("channels")
    }

    fn bytes_below(&self, folder: &str) -> BTreeMap<Part, u64> {
        let mut bytes: BTreeMap<Part, u64> = BTreeMap::new();
        for process in &self.watched {
            if let Some((data, _)) = &process.node {
                *bytes.entry(process.part).or_default() += folder_bytes(&data.join(folder));
            }
        }
        bytes
    }

    /// The same of one node, on average.
    pub(crate) fn disk_bytes_of_one(&self) -> BTreeMap<Part, f64> {
        let all = self.disk_bytes().into_iter();
        let one = |(part, bytes)| (part, bytes as f64 / self.count(part).max(1) as f64);
        all.map(one).collect()
    }

    /// How many processes a part has.
    pub(crate) fn count(&self, part: Part) -> usize {
        let same = self.watched.iter().filter(|process| process.part == part);
        same.count()
    }

    /// The memory of every process.
    pub(crate) fn memory(&self) -> Vec<Memory> {
        let memory = |process: &Watched| {
            Some(Memory {
                part: process.part,
                resident_bytes: resident_bytes(process.id)?,
                peak_bytes: peak_bytes(process.id)?,
            })
        };
        self.watched.iter().filter_map(memory).collect()
    }

    /// How long the nodes' logs are, to look later at what is new in them.
    pub(crate) fn log_bytes(&self) -> Vec<usize> {
        let logs = self.logs();
        logs.map(|log| std::fs::metadata(log).map_or(0, |file| file.len() as usize))
            .collect()
    }

    /// The lines that nodes logged as errors since their logs were that long.
    pub(crate) fn errors_since(&self, bytes: &[usize]) -> Vec<String> {
        let logs = self.logs().zip(bytes);
        logs.flat_map(|(log, start)| {
            let text = std::fs::read(log).unwrap_or_default();
            let new = String::from_utf8_lossy(text.get(*start..).unwrap_or_default());
            let lines = new.lines().filter(|line| line.contains("ERROR"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
    }

    fn logs(&self) -> impl Iterator<Item = &Path> {
        let nodes = self
            .watched
            .iter()
            .filter_map(|process| process.node.as_ref());
        nodes.map(|(_, log)| log.as_path())
    }
}

impl Reading {
    /// What was used since an earlier reading.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            cpu_us: difference(&self.cpu_us, &before.cpu_us),
            written_bytes: difference(&self.written_bytes, &before.written_bytes),
            loopback_bytes: self.loopback_bytes.saturating_sub(before.loopback_bytes),
        }
    }
}

fn difference(after: &BTreeMap<Part, u64>, before: &BTreeMap<Part, u64>) -> BTreeMap<Part, u64> {
    let used = |(part, after): (&Part, &u64)| {
        let before = before.get(part).copied().unwrap_or_default();
        (*part, after.saturating_sub(before))
    };
    after.iter().map(used).collect()
}

/// By how much each part has grown, or shrunk: a database does both.
pub(crate) fn grown_by(
    after: &BTreeMap<Part, u64>,
    before: &BTreeMap<Part, u64>,
) -> BTreeMap<Part, f64> {
    let grown = |(part, after): (&Part, &u64)| {
        let before = before.get(part).copied().unwrap_or_default();
        (*part, *after as f64 - before as f64)
    };
    after.iter().map(grown).collect()
}

/// Time on processors in user and system mode, from `/proc/PID/stat`.
fn cpu_us(stat: &str) -> Option<u64> {
    // The name of the program stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * (1_000_000 / TICKS_PER_SECOND))
}

/// Time on processors that this process has used, all threads together.
///
/// # Errors
/// When the system does not say.
pub(crate) fn own_cpu_us() -> anyhow::Result<u64> {
    cpu_us(&std::fs::read_to_string("/proc/self/stat")?).context("/proc/self/stat has another form")
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// Received bytes of the loopback, from `/proc/net/dev`.
fn loopback_bytes(table: &str) -> Option<u64> {
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes of all files below a folder; files that vanish meanwhile count nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
        _ => entry.metadata().map_or(0, |file| file.len()),
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 5 0 100 1 1";
        assert_eq!(cpu_us(stat), Some(3_000_000));
        assert_eq!(cpu_us("7 (a) S 1"), None);
    }

    #[test]
    fn the_line_of_the_loopback_is_found() {
        let table = "Inter-|   Receive\n face |bytes\n  eth0: 1 2\n    lo: 4711 12 0 0\n";
        assert_eq!(loopback_bytes(table), Some(4711));
        assert_eq!(loopback_bytes("eth0: 1"), None);
    }

    #[test]
    fn files_in_folders_within_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("one"), [0; 3]).unwrap();
        std::fs::write(folder.path().join("inner/two"), [0; 4]).unwrap();
        assert_eq!(folder_bytes(folder.path()), 7);
    }

    #[test]
    fn this_process_uses_processors() {
        assert!(own_cpu_us().is_ok());
    }
}
