//! Changed copies of an input, always the same ones for the same seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes that a changed copy may have more than its original.
const GROWTH_BYTES_MAX: usize = 512;
/// Changes of one copy.
const CHANGES_MAX: usize = 4;
/// Numbers at which decoders turn, as they stand in the input.
const TURNS: [&[u8]; 8] = [
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// Makes changed copies.
pub struct Mutator<'a> {
    rng: StdRng,
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// The changes of this seed; `words` are sometimes inserted.
    pub fn new(seed: u64, words: &'a [&'a str]) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, words }
    }

    /// A changed copy of `original`, in which parts of `other` may stand.
    pub fn copy(&mut self, original: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..self.rng.random_range(1..=CHANGES_MAX) {
            self.change(&mut bytes, other);
        }
        bytes.truncate(original.len() + GROWTH_BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.rng.random_range(0..=bytes.len());
        match self.rng.random_range(0..10u8) {
            0..=2 => self.flip(bytes),
            3 => self.set(bytes),
            4 => {
                let turn = TURNS[self.rng.random_range(0..TURNS.len())];
                replace(bytes, at, turn.len(), turn);
            }
            5 if !self.words.is_empty() => {
                let word = self.words[self.rng.random_range(0..self.words.len())];
                replace(bytes, at, 0, word.as_bytes());
            }
            6 => bytes.truncate(at),
            7 => {
                let gone = self.length(bytes.len() - at);
                bytes.drain(at..at + gone);
            }
            8 => {
                let length = self.length(bytes.len() - at);
                let again = bytes[at..at + length].to_vec();
                replace(bytes, at, 0, &again);
            }
            _ => {
                let from = self.rng.random_range(0..=other.len());
                let length = self.length(other.len() - from);
                let over = self.length(bytes.len() - at);
                replace(bytes, at, over, &other[from..from + length]);
            }
        }
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() {
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << self.rng.random_range(0..8u8);
        }
    }

    fn set(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() {
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] = self.rng.random();
        }
    }

    /// Mostly short, sometimes all there is.
    fn length(&mut self, max: usize) -> usize {
        let short = if self.rng.random_ratio(1, 4) {
            max
        } else {
            max.min(16)
        };
        self.rng.random_range(0..=short)
    }
}

/// Puts `new` in the place of up to `old` bytes.
fn replace(bytes: &mut Vec<u8>, at: usize, old: usize, new: &[u8]) {
    let end = bytes.len().min(at + old);
    bytes.splice(at..end, new.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_copies_and_another_one_others() {
        let copies = |seed| {
            let mut mutator = Mutator::new(seed, &["word"]);
            (0..200)
                .map(|_| mutator.copy(b"original", b"other"))
                .collect::<Vec<_>>()
        };
        assert_eq!(copies(1), copies(1));
        assert_ne!(copies(1), copies(2));
        assert!(
            copies(3)
                .iter()
                .any(|copy| copy.windows(4).any(|w| w == b"word"))
        );
        let mut mutator = Mutator::new(4, &[]);
        assert!((0..1000).all(|_| mutator.copy(b"", b"").len() <= GROWTH_BYTES_MAX));
    }
}
