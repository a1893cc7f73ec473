//! Fuzz targets at every boundary that takes bytes from a network, a disk or a user.
//!
//! A [`Target`] is a plain function of bytes that panics when something does not hold: not only that
//! nothing falls, but that what was accepted keeps its limits, survives the round trip, is accepted
//! again, and gets the same verdict from every implementation that judges it.
//!
//! | Folder | What |
//! |---|---|
//! | `corpus/TARGET/` | inputs to begin with, made by `stela-fuzz seed` from valid ones |
//! | `regressions/TARGET/` | inputs that found something, kept for good |
//! | `fixture/` | the genesis block of the consortium that the targets play in, and the configuration of one that changes its own |
//!
//! `cargo test -p stela-fuzz` replays every file of both and a few thousand changed copies of each;
//! `./deploy/fuzz.sh` lets LLVM's fuzzer search on, guided by coverage.

pub mod corpus;
mod governed;
pub mod mutate;
mod parts;
pub mod targets;
mod world;

pub use targets::TARGETS;
pub use world::make_fixture;

/// One boundary.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, that of its function and of its folders.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
    /// Valid and nearly valid inputs. They are always the same.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that are worth inserting.
    pub words: &'static [&'static str],
}

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}
