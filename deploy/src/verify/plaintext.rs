//! The search for plaintext, and the proof that it would find some.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use stela_store::{Durability, Kv, RocksKv, RocksSettings, WriteBatch};

use crate::canary;
use crate::evidence::Evidence;
use crate::limits::WIRE_BYTES_MAX;
use crate::network::{commands_log, wire_folder};
use crate::report::Findings;

/// Searches the network's folder and whatever else the evidence names.
pub(super) fn judge(evidence: &Evidence, findings: &mut Findings) -> anyhow::Result<()> {
    let (hits, searched) = canary::search(&folders(evidence)?, &evidence.canaries)?;
    findings.canary_hits = hits.len();
    findings.searched_files = searched.files;
    findings.searched_bytes = searched.bytes;
    for hit in &hits {
        let (canary, file) = (hit.canary, hit.file.display());
        let what = format!("canary {canary} stands in {file}");
        findings.remarks.push(what);
    }
    findings.canary_control_found = true;
    for (holds, what) in [
        (written_found(evidence)?, "a canary is in no document"),
        (forms_found(evidence)?, "a form of a canary is not found"),
        (
            database_found(evidence)?,
            "a canary in a database is not found",
        ),
        (
            wire_found(evidence)?,
            "what was sent in the clear is not found",
        ),
        (wire_whole(evidence)?, "a part of the wire was not recorded"),
        (
            commands_kept(evidence),
            "what the commands printed is not kept",
        ),
    ] {
        if !holds {
            findings.remarks.push(what.to_owned());
        }
        findings.canary_control_found &= holds;
    }
    Ok(())
}

/// The network's folder and the others, each once.
fn folders(evidence: &Evidence) -> anyhow::Result<Vec<PathBuf>> {
    let folders = evidence.searched.iter().chain([&evidence.network]);
    let real = folders.map(|folder| {
        let real = folder.canonicalize();
        real.with_context(|| format!("{} cannot be searched", folder.display()))
    });
    let once = real.collect::<anyhow::Result<BTreeSet<_>>>()?;
    Ok(once.into_iter().collect())
}

/// What was written outside of the network is not searched above; the canaries must be found there.
fn written_found(evidence: &Evidence) -> anyhow::Result<bool> {
    let notes = [&evidence.asked.note, &evidence.emergency.justification];
    let written: Vec<PathBuf> = evidence
        .written
        .iter()
        .chain(&evidence.study.written)
        .chain(notes)
        .chain([&evidence.ward.proof])
        .cloned()
        .collect();
    let (hits, _) = canary::search(&written, &evidence.canaries)?;
    let found: BTreeSet<usize> = hits.iter().map(|hit| hit.canary).collect();
    Ok(!found.is_empty() && found.len() == evidence.canaries.len())
}

/// Every form of every canary is found where it is planted.
fn forms_found(evidence: &Evidence) -> anyhow::Result<bool> {
    let folder = beside(evidence, "control")?;
    std::fs::create_dir_all(&folder)?;
    let mut planted = 0;
    for (index, word) in evidence.canaries.iter().enumerate() {
        for (form, bytes) in canary::forms(word).iter().enumerate() {
            let content = [b"before ".as_slice(), bytes, b" behind"].concat();
            std::fs::write(folder.join(format!("{index}-{form}")), content)?;
            planted += 1;
        }
    }
    let (hits, _) = canary::search(std::slice::from_ref(&folder), &evidence.canaries)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(hits.len() == planted)
}

/// Every canary is found in the compressed tables of a database as the nodes have it.
fn database_found(evidence: &Evidence) -> anyhow::Result<bool> {
    let folder = beside(evidence, "control-database")?;
    let found = in_tables(&folder, &evidence.canaries);
    std::fs::remove_dir_all(&folder)?;
    found
}

const FAMILY: &str = "control";

/// Writes the words into a new database, closes it, and looks for them in its tables only: there
/// the text between them must have become smaller.
fn in_tables(folder: &Path, words: &[String]) -> anyhow::Result<bool> {
    let planted = plant(folder, words)?;
    let (hits, _) = canary::search(&[folder.to_owned()], words)?;
    let in_table = |hit: &&canary::Hit| hit.file.extension() == Some(OsStr::new("sst"));
    let found: BTreeSet<usize> = hits.iter().filter(in_table).map(|hit| hit.canary).collect();
    Ok(found.len() == words.len() && tables_bytes(folder)? < planted)
}

/// Answers how many bytes of values were written.
fn plant(folder: &Path, words: &[String]) -> anyhow::Result<u64> {
    let filler = r#"{"resourceType":"Basic","code":{"text":"note"},"status":"final"},"#.repeat(40);
    let mut batch = WriteBatch::new();
    let mut bytes = 0;
    for (index, word) in words.iter().enumerate() {
        let value = format!(r#"{filler}{{"valueString":"{word}"}},{filler}"#);
        bytes += value.len() as u64;
        batch.put(FAMILY, format!("key-{index}"), value);
    }
    let database = RocksKv::open(folder, &[FAMILY], &RocksSettings::new(1 << 20))?;
    database.write(batch, Durability::Synced)?;
    // Erasing something else writes what is in memory and in the log into tables.
    database.erase(FAMILY, &[b"nothing"])?;
    Ok(bytes)
}

fn tables_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension() == Some(OsStr::new("sst")) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// The word that was sent in the clear is found among what the recorder wrote.
fn wire_found(evidence: &Evidence) -> anyhow::Result<bool> {
    let wire = wire_folder(&evidence.network);
    let (hits, _) = canary::search(&[wire], std::slice::from_ref(&evidence.wire_control))?;
    Ok(!hits.is_empty())
}

/// The recorder stops at a limit; no recording has reached it.
fn wire_whole(evidence: &Evidence) -> anyhow::Result<bool> {
    for entry in std::fs::read_dir(wire_folder(&evidence.network))? {
        if entry?.metadata()?.len() >= WIRE_BYTES_MAX {
            return Ok(false);
        }
    }
    Ok(true)
}

fn commands_kept(evidence: &Evidence) -> bool {
    let log = std::fs::metadata(commands_log(&evidence.network));
    log.is_ok_and(|log| log.len() > 0)
}

/// A place beside the documents where nothing is.
fn beside(evidence: &Evidence, name: &str) -> anyhow::Result<PathBuf> {
    let folder = evidence.written[0].with_file_name(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_the_tables_of_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["kq7Zx0pVt3Lm9Rw2", "Wn5bHs8dQy1Fc6Tg"].map(str::to_owned);
        assert!(in_tables(&folder.path().join("database"), &words).unwrap());
    }

    #[test]
    fn words_are_found_though_compression_takes_letters_from_their_ends() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["kq7Zx0pVt3Lm9Rw2", "kqWn5bHs8dQy1Fw2"].map(str::to_owned);
        assert!(in_tables(&folder.path().join("database"), &words).unwrap());
    }
}
