//! Measures what studies of several sizes cost, as `deploy/large.sh` runs it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stela_consent::Hex;
use stela_deploy::large::{Large, Measured, Plan, RangeRead, Stage, Way};
use stela_deploy::limits::{LARGE_BYTES_MIN, LARGE_SIZES_MAX};
use stela_deploy::network::{Network, commands_log};
use stela_deploy::process::{Interrupts, log_to_stderr};
use stela_deploy::users;

/// Binary studies go their whole way on a real network on this machine: encrypted, held by two
/// hospitals, reviewed, found, fetched, verified, decrypted, whole, in part and anywhere, and
/// interrupted wherever they can be. Says what each stage takes beside its parts alone, how soon the
/// first byte is there, and how much memory the client and each storage node need.
///
/// Needs about six times the sizes together on the disk; all but the report is removed at the end.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How large the studies are, such as 96MiB or 1MB,64MB,2GiB: one after the other.
    #[arg(long, default_value = "2GiB", value_delimiter = ',', value_parser = bytes)]
    size: Vec<u64>,
    /// Leave out the parts alone, and read one range only.
    #[arg(long)]
    brief: bool,
    /// What the study's bytes are drawn from; without it, a random one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report and, while it runs, everything else goes.
    #[arg(long, default_value = "target/large")]
    out: PathBuf,
    /// Leave the network's folder and the documents there; the processes end.
    #[arg(long)]
    keep: bool,
    /// The contract's WebAssembly module; without it, the one built beside this program.
    #[arg(long)]
    contract: Option<PathBuf>,
}

/// A size as people write it.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err("expected a number of MB, MiB, GB or GiB".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number".to_owned())?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= LARGE_BYTES_MIN => Ok(bytes),
        _ => Err(format!(
            "at least {LARGE_BYTES_MIN} bytes, and fewer than 2^64"
        )),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    log_to_stderr(tracing::Level::WARN);
    let arguments = Arguments::parse();
    let outcome = match Interrupts::new() {
        Ok(interrupts) => interrupts.or(run(&arguments)).await,
        Err(error) => Err(error),
    };
    let removed = match arguments.keep {
        true => Ok(()),
        false => clear(&arguments.out),
    };
    match outcome.and_then(|measured| removed.map(|()| measured)) {
        Ok(measured) if measured.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stela-large: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<Measured> {
    anyhow::ensure!(
        arguments.size.len() <= LARGE_SIZES_MAX,
        "at most {LARGE_SIZES_MAX} sizes"
    );
    let out = &arguments.out;
    clear(out)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    let report = out.join("report.json");
    if report.exists() {
        std::fs::remove_file(&report)?;
    }
    let contract = stela_deploy::contract_module(arguments.contract.as_deref())?;
    let module = std::fs::read(&contract)
        .with_context(|| format!("no contract at {}", contract.display()))?;
    let package = stela_deploy::package(&module)?;
    let (patient, seed) = (
        Hex(rand::random()),
        arguments.seed.unwrap_or_else(rand::random),
    );
    let sizes = arguments.size.iter();
    let sizes: Vec<String> = sizes
        .map(|bytes| format!("{:.1} MB", megabytes(*bytes)))
        .collect();
    println!("Studies: {}; seed {seed}.\n", sizes.join(", "));
    let say = |line: &str| println!("{line}");
    let folder = out.join("network");
    let everybody = users::everybody(patient);
    let mut network = Network::create_unrecorded(&folder, &package, &everybody, &|step| {
        say(&format!("            {step}"));
    })
    .await?;
    let documents = out.join("documents");
    std::fs::create_dir_all(&documents)?;
    let run = Large::new(&mut network, documents, patient, &say);
    let plan = Plan {
        sizes: arguments.size.clone(),
        seed,
        brief: arguments.brief,
    };
    let measured = run.run(&plan).await?;
    network.stop()?;
    std::fs::write(&report, serde_json::to_vec_pretty(&measured)?)?;
    show(&measured, &report);
    Ok(measured)
}

/// Removes everything but the report and the log of the commands.
fn clear(out: &Path) -> anyhow::Result<()> {
    let log = commands_log(&out.join("network"));
    if log.exists() {
        std::fs::rename(&log, commands_log(out))
            .with_context(|| format!("cannot keep {}", log.display()))?;
    }
    for folder in ["network", "documents"].map(|name| out.join(name)) {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn rate(bytes: u64, seconds: f64) -> f64 {
    megabytes(bytes) / seconds.max(1e-6)
}

fn show(measured: &Measured, report: &Path) {
    measured.studies.iter().for_each(show_study);
    println!(
        "\npeak memory (VmHWM), at most {:.0} MB; with interruptions",
        megabytes(measured.memory_bytes_max)
    );
    let peaks = measured.client_peak_bytes.iter();
    peaks
        .chain(&measured.storage_peak_bytes)
        .for_each(show_peak);
    println!();
    for shown in &measured.shown {
        println!("  yes  {shown}");
    }
    for failure in &measured.failures {
        println!("   NO  {failure}");
    }
    println!("Report: {}", report.display());
}

fn show_study(way: &Way) {
    println!("\n== {:.1} MB ==", megabytes(way.study_bytes));
    println!(
        "{:<8} {:<26} {:>9} {:>8} {:>7} {:>9} {:>6}",
        "command", "stage", "MB", "seconds", "MB/s", "parts, s", "ratio"
    );
    way.stages.iter().for_each(show_stage);
    if !way.alone.is_empty() {
        println!(
            "\n{:<35} {:>9} {:>8} {:>7}",
            "a part alone", "MB", "seconds", "MB/s"
        );
    }
    for alone in &way.alone {
        println!(
            "{:<35} {:>9.1} {:>8.3} {:>7.0}",
            alone.part.text(),
            megabytes(alone.bytes),
            alone.seconds,
            rate(alone.bytes, alone.seconds)
        );
    }
    println!();
    for first in &way.first_byte {
        println!(
            "first byte {}: {:.0} ms, of which until permit, key and blob {:.0} ms",
            first.of,
            first.seconds * 1e3,
            first.permitted_seconds * 1e3
        );
    }
    show_ranges(&way.ranges);
    println!("peak memory (VmHWM)");
    let peaks = way.client_peak_bytes.iter();
    peaks.chain(&way.storage_peak_bytes).for_each(show_peak);
}

fn show_stage(stage: &Stage) {
    let beside = stage.parts_seconds.map_or(String::new(), |parts| {
        format!(" {parts:>9.2} {:>6.2}", stage.seconds / parts)
    });
    println!(
        "{:<8} {:<26} {:>9.1} {:>8.2} {:>7.1}{beside}",
        stage.command,
        stage.stage,
        megabytes(stage.bytes),
        stage.seconds,
        rate(stage.bytes, stage.seconds)
    );
}

/// Ranges anywhere: half took no longer, and the slowest.
fn show_ranges(ranges: &[RangeRead]) {
    let Some(first) = ranges.first() else {
        return;
    };
    let of = |value: fn(&RangeRead) -> f64| {
        let mut values: Vec<f64> = ranges.iter().map(|range| value(range) * 1e3).collect();
        values.sort_by(f64::total_cmp);
        format!(
            "{:.0} ms (at most {:.0})",
            values[(values.len() - 1) / 2],
            values[values.len() - 1]
        )
    };
    let most = |value: fn(&RangeRead) -> u64| ranges.iter().map(value).max().unwrap_or(0);
    println!(
        "{} range(s) of {} KiB anywhere: {} of fetching, {} with permit, key and blob, {} the whole \
         command; at most {} blocks of {:.1} MB fetched",
        ranges.len(),
        first.bytes >> 10,
        of(|range| range.fetch_seconds),
        of(|range| range.permitted_seconds + range.fetch_seconds),
        of(|range| range.seconds),
        most(|range| range.blocks),
        megabytes(most(|range| range.fetched_bytes))
    );
}

fn show_peak((who, bytes): (&String, &u64)) {
    println!("{:>8.1} MB  {who}", megabytes(*bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("96MiB"), Ok(96 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("1MB"), Ok(1_000_000));
        for wrong in [
            "",
            "2",
            "GiB",
            "2TB",
            "-1GiB",
            "0MiB",
            "99999999999999GiB",
            "2GiBé",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_sizes_stand_in_one_argument() {
        let parsed = |text| Arguments::try_parse_from(["stela-large", "--size", text]);
        let arguments = parsed("1MB,64MB,2GiB").unwrap();
        assert_eq!(arguments.size, [1_000_000, 64_000_000, 2 << 30]);
        assert!(parsed("1MB,,2GiB").is_err());
    }

    #[test]
    fn the_arguments_contradict_one_another_nowhere() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
