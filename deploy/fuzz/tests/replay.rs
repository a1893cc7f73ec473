//! Every corpus, every finding and changed copies of both, as an ordinary test.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stela_fuzz::mutate::Mutator;
use stela_fuzz::{TARGETS, Target, corpus};

/// Changed copies of each input, as long as there is time.
const COPIES: usize = 1_000;
/// For the copies of one target. They come in the same order in every run, so a slow machine only
/// makes fewer of them.
const TIME: Duration = Duration::from_millis(500);
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

/// Runs a target and says whether it stood; if not, on what it fell.
fn stands(target: &Target, origin: &str, input: &[u8]) -> bool {
    let stood = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok();
    if !stood {
        let file = std::env::temp_dir().join(format!("stela-fuzz-{}", target.name));
        std::fs::write(&file, input).unwrap();
        let (name, file) = (target.name, file.display());
        eprintln!("{name} fell on {origin}; the input is in {file}");
    }
    stood
}

#[test]
fn every_input_of_every_corpus_passes() {
    let stand = |target: &&Target| {
        let mut inputs = inputs(target).into_iter();
        inputs.all(|(path, input)| stands(target, &path.display().to_string(), &input))
    };
    let fell: Vec<&str> = TARGETS
        .iter()
        .filter(|target| !stand(target))
        .map(|target| target.name)
        .collect();
    assert!(fell.is_empty(), "{fell:?}");
}

#[test]
fn changed_copies_of_every_input_pass() {
    let seed = std::env::var("STELA_FUZZ_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("STELA_FUZZ_SEED={seed}");
    let fell: Vec<&str> = TARGETS
        .iter()
        .filter(|target| !copies_stand(target, seed))
        .map(|target| target.name)
        .collect();
    assert!(fell.is_empty(), "{fell:?}");
}

#[allow(
    clippy::disallowed_methods,
    reason = "the clock only bounds how much is tried"
)]
fn copies_stand(target: &Target, seed: u64) -> bool {
    let (inputs, begun) = (inputs(target), Instant::now());
    let mut mutator = Mutator::new(seed, target.words);
    for copy in 0..COPIES * inputs.len() {
        if begun.elapsed() > TIME {
            println!("{}: {copy} copies, then the time was up", target.name);
            break;
        }
        let (path, input) = &inputs[copy % inputs.len()];
        let other = &inputs[(copy / inputs.len() + copy + 1) % inputs.len()].1;
        let origin = format!("copy {copy} (seed {seed}) of {}", path.display());
        if !stands(target, &origin, &mutator.copy(input, other)) {
            return false;
        }
    }
    true
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
