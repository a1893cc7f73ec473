//! `stela-fuzz`: the targets at a terminal, without a fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use stela_fuzz::{TARGETS, Target, corpus};

/// Fuzz targets and their corpora.
#[derive(Parser)]
#[command(name = "stela-fuzz")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names every target.
    List,
    /// Writes the corpora anew, of all targets or of these.
    Seed {
        /// Targets.
        targets: Vec<String>,
    },
    /// Runs a target over files; a panic is a finding.
    Replay {
        /// The target.
        target: String,
        /// Inputs.
        files: Vec<PathBuf>,
    },
    /// Writes a target's words as a dictionary of libFuzzer.
    Words {
        /// The target.
        target: String,
    },
    /// Makes the consortium of the targets anew, which makes every corpus outdated.
    Fixture,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::List => TARGETS
            .iter()
            .for_each(|target| println!("{}", target.name)),
        Command::Seed { targets } => seed(&targets)?,
        Command::Replay { target, files } => replay(named(&target)?, &files)?,
        Command::Words { target } => words(named(&target)?),
        Command::Fixture => {
            let made = stela_fuzz::make_fixture(&corpus::home().join("fixture"));
            made.map_err(|error| anyhow::anyhow!("{error}"))?;
        }
    }
    Ok(())
}

fn named(name: &str) -> anyhow::Result<&'static Target> {
    Target::named(name).with_context(|| format!("there is no target {name}; see `stela-fuzz list`"))
}

fn seed(names: &[String]) -> anyhow::Result<()> {
    let chosen: Vec<&Target> = match names {
        [] => TARGETS.iter().collect(),
        names => names
            .iter()
            .map(|name| named(name))
            .collect::<Result<_, _>>()?,
    };
    for target in chosen {
        let (inputs, bytes) = corpus::write_seeds(target)
            .with_context(|| format!("the corpus of {}", target.name))?;
        println!("{:<20} {inputs:>3} inputs, {bytes:>6} bytes", target.name);
    }
    Ok(())
}

fn replay(target: &Target, files: &[PathBuf]) -> anyhow::Result<()> {
    if files.is_empty() {
        bail!("name the files to run {} over", target.name);
    }
    for file in files {
        let inputs = match file.is_dir() {
            true => corpus::read(file)?,
            false => vec![(file.clone(), read(file)?)],
        };
        for (path, input) in inputs {
            println!("{} ({} bytes)", path.display(), input.len());
            (target.run)(&input);
        }
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| file.display().to_string())
}

fn words(target: &Target) {
    for word in target.words {
        let escaped: String = word.bytes().map(escape).collect();
        println!("\"{escaped}\"");
    }
}

fn escape(byte: u8) -> String {
    match byte {
        b'"' | b'\\' => format!("\\{}", byte as char),
        b' '..=b'~' => (byte as char).to_string(),
        _ => format!("\\x{byte:02X}"),
    }
}
