//! Every corpus, every finding and changed copies of both, as an ordinary test.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stela_fuzz::mutate::Mutator;
use stela_fuzz::{TARGETS, Target, corpus};

/// Changed copies of each input, as long as there is time.
const COPIES: usize = 2_000;
/// For the copies of one target; they are the same in every run, so a slow machine only makes fewer.
const TIME: Duration = Duration::from_millis(1_000);
/// Of one input in the corpus, and of all of them.
const INPUT_BYTES_MAX: usize = 5 << 10;
const CORPUS_BYTES_MAX: usize = 1 << 20;
const SEED: u64 = 20_260_101;

fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let mut inputs = corpus::read(&corpus::seeds_folder(target)).unwrap();
    assert!(
        !inputs.is_empty(),
        "{} has no corpus: run `stela-fuzz seed {}`",
        target.name,
        target.name
    );
    inputs.extend(corpus::read(&corpus::regressions_folder(target)).unwrap());
    inputs
}

/// Runs a target and, should it fall, says on what.
fn run(target: &Target, origin: &str, input: &[u8]) {
    let fallen = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if let Err(panic) = fallen {
        let file = std::env::temp_dir().join(format!("stela-fuzz-{}", target.name));
        std::fs::write(&file, input).unwrap();
        eprintln!(
            "{} fell on {origin}; the input is in {}",
            target.name,
            file.display()
        );
        resume_unwind(panic);
    }
}

#[test]
fn every_input_of_every_corpus_passes() {
    for target in TARGETS {
        for (path, input) in inputs(target) {
            run(target, &path.display().to_string(), &input);
        }
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the clock only bounds how much is tried"
)]
fn changed_copies_of_every_input_pass() {
    let seed = std::env::var("STELA_FUZZ_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("STELA_FUZZ_SEED={seed}");
    for target in TARGETS {
        let (inputs, begun) = (inputs(target), Instant::now());
        let mut mutator = Mutator::new(seed, target.words);
        let mut copies = 0;
        'time: for _ in 0..COPIES {
            for (index, (path, input)) in inputs.iter().enumerate() {
                if begun.elapsed() > TIME {
                    break 'time;
                }
                let other = &inputs[(index + 1 + copies) % inputs.len()].1;
                let copy = mutator.copy(input, other);
                copies += 1;
                run(
                    target,
                    &format!("copy {copies} (seed {seed}) of {}", path.display()),
                    &copy,
                );
            }
        }
        println!("{}: {} inputs, {copies} copies", target.name, inputs.len());
    }
}

#[test]
fn every_folder_belongs_to_a_target() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name is used twice");
    for kind in ["corpus", "regressions"] {
        for entry in std::fs::read_dir(corpus::home().join(kind))
            .into_iter()
            .flatten()
        {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(names.contains(&*name), "{kind}/{name} belongs to no target");
        }
    }
}

/// Whoever writes a target and forgets to list it is told.
#[test]
fn every_target_is_listed() {
    let listed: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    let mut written = BTreeSet::new();
    for (path, text) in corpus::read(&corpus::home().join("src/targets")).unwrap() {
        let text = String::from_utf8(text).unwrap();
        let names = text.lines().filter_map(|line| {
            line.strip_prefix("pub(super) fn ")?
                .strip_suffix("(input: &[u8]) {")
        });
        let names: Vec<String> = names.map(str::to_owned).collect();
        let list = path.file_name() == Some(Path::new("mod.rs").as_os_str());
        assert!(list || !names.is_empty(), "no target in {}", path.display());
        written.extend(names);
    }
    assert_eq!(written, listed);
}

#[test]
fn the_corpora_are_small_and_what_the_seeds_make() {
    let mut bytes = 0;
    for target in TARGETS {
        let found = corpus::read(&corpus::seeds_folder(target)).unwrap();
        let found: BTreeSet<Vec<u8>> = found.into_iter().map(|(_, input)| input).collect();
        assert!(
            found.iter().all(|input| input.len() <= INPUT_BYTES_MAX),
            "{}",
            target.name
        );
        bytes += found.iter().map(Vec::len).sum::<usize>();
        let made: BTreeSet<Vec<u8>> = (target.seeds)().into_iter().collect();
        assert_eq!(found, made, "run `stela-fuzz seed {}`", target.name);
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}
