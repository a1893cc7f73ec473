//! A device's observations of a while: what is encrypted as one document, and the Merkle tree
//! (RFC 6962) over its salted observations, with which one can be proved without the others.
//!
//! The document is JSON: `{"observations": [{"salt", "text"}, …]}`, where `text` is one FHIR R4
//! `Observation` exactly as it is hashed, and `salt` 32 random bytes in hexadecimal. Leaf *i* is the
//! salt's bytes followed by the text's. Without its salt a value cannot be guessed from its leaf,
//! and a proof shows the salt of its own observation alone.

use std::fmt;

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use stela_consent::Hex;
use stela_protocol::{Hash32, merkle};
use zeroize::Zeroize;

use crate::limits::{OBSERVATION_BYTES_MAX, WINDOW_OBSERVATIONS_MAX};

/// The media type of a window.
pub const WINDOW_MEDIA_TYPE: &str = "application/vnd.stela.window+json";

/// The name of its format in a record's metadata.
pub const WINDOW_FORMAT: &str = "vital-signs";

/// Observations are no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// There are none, or more than [`WINDOW_OBSERVATIONS_MAX`].
    #[error("a window has 1 to {WINDOW_OBSERVATIONS_MAX} observations, not {count}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// One is longer than [`OBSERVATION_BYTES_MAX`].
    #[error("observation {index} has more than {OBSERVATION_BYTES_MAX} bytes")]
    TooLong {
        /// Which one, counted from 0.
        index: usize,
    },
    /// The document is not what is described above.
    #[error("the document is no window of observations")]
    Malformed,
    /// There is no such observation.
    #[error("the window has {count} observations, there is none at {index}")]
    NoSuch {
        /// Which one was asked for, counted from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

/// One observation, salted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Salted {
    salt: Hex<32>,
    text: String,
}

impl Salted {
    fn leaf(&self) -> Vec<u8> {
        [&self.salt.0[..], self.text.as_bytes()].concat()
    }
}

impl Drop for Salted {
    fn drop(&mut self) {
        self.salt.0.zeroize();
        self.text.zeroize();
    }
}

/// The observations of a while, in order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    observations: Vec<Salted>,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window of {}", self.observations.len())
    }
}

impl Window {
    /// Salts observations.
    ///
    /// # Errors
    /// [`WindowError::Count`], [`WindowError::TooLong`].
    pub fn new(
        observations: impl IntoIterator<Item = String>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, WindowError> {
        let salted = observations.into_iter().map(|text| {
            let mut salt = [0; 32];
            rng.fill_bytes(&mut salt);
            Salted {
                salt: Hex(salt),
                text,
            }
        });
        let window = Self {
            observations: salted.collect(),
        };
        window.check()?;
        Ok(window)
    }

    fn check(&self) -> Result<(), WindowError> {
        let count = self.observations.len();
        if !(1..=WINDOW_OBSERVATIONS_MAX).contains(&count) {
            return Err(WindowError::Count { count });
        }
        let long = |one: &Salted| one.text.len() > OBSERVATION_BYTES_MAX;
        match self.observations.iter().position(long) {
            Some(index) => Err(WindowError::TooLong { index }),
            None => Ok(()),
        }
    }

    /// How many observations there are.
    pub fn count(&self) -> usize {
        self.observations.len()
    }

    /// The observations as they are hashed.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.observations.iter().map(|one| one.text.as_str())
    }

    fn leaves(&self) -> Vec<Vec<u8>> {
        self.observations.iter().map(Salted::leaf).collect()
    }

    /// The Merkle root.
    pub fn root(&self) -> Hash32 {
        merkle::root(&self.leaves())
    }

    /// The document.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts become JSON")
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`WindowError`] when it is no window.
    pub fn decode(document: &[u8]) -> Result<Self, WindowError> {
        let window: Self = serde_json::from_slice(document).map_err(|_| WindowError::Malformed)?;
        window.check()?;
        Ok(window)
    }

    /// What proves that one observation belongs to the window.
    ///
    /// # Errors
    /// [`WindowError::NoSuch`].
    pub fn prove(&self, index: usize) -> Result<ObservationProof, WindowError> {
        let count = self.observations.len();
        let no_such = WindowError::NoSuch { index, count };
        let shown = self.observations.get(index).ok_or(no_such.clone())?;
        let path = merkle::proof(&self.leaves(), index).ok_or(no_such)?;
        Ok(ObservationProof {
            observation: shown.text.clone(),
            salt: shown.salt,
            index: index as u64,
            count: count as u64,
            path: path.into_iter().map(|hash| Hex(hash.0)).collect(),
        })
    }
}

/// One observation, and what proves that it belongs to a window whose root is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationProof {
    /// The FHIR R4 `Observation`, exactly as it is hashed.
    pub observation: String,
    /// Its salt.
    pub salt: Hex<32>,
    /// Its place in the window, from 0.
    pub index: u64,
    /// How many observations the window has.
    pub count: u64,
    /// The hashes beside the way to the root, the lowest first.
    pub path: Vec<Hex<32>>,
}

impl ObservationProof {
    /// Whether the observation belongs to the window with this root.
    pub fn verify(&self, root: &Hash32) -> bool {
        let leaf = [&self.salt.0[..], self.observation.as_bytes()].concat();
        let path: Vec<Hash32> = self.path.iter().map(|hash| Hash32(hash.0)).collect();
        merkle::verify(&leaf, self.index, self.count, &path, root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(count: usize) -> Window {
        let texts = (0..count).map(|n| format!("{{\"value\":{n}}}"));
        Window::new(texts, &mut rand::rng()).unwrap()
    }

    #[test]
    fn each_observation_is_proved_alone() {
        for count in [1, 2, 3, 7, 8, 60] {
            let window = window(count);
            for index in 0..count {
                let proof = window.prove(index).unwrap();
                assert!(proof.verify(&window.root()));
                let shown = serde_json::to_string(&proof).unwrap();
                for other in window.texts().filter(|text| *text != proof.observation) {
                    assert!(!shown.contains(&other.replace('"', "\\\"")));
                }
                assert!(!proof.verify(&Hash32([0; 32])));
                let mut changed = proof.clone();
                changed.observation.push(' ');
                assert!(!changed.verify(&window.root()));
                let mut moved = proof;
                moved.index += 1;
                assert!(!moved.verify(&window.root()));
            }
            let no_such = window.prove(count);
            assert_eq!(
                no_such,
                Err(WindowError::NoSuch {
                    index: count,
                    count
                })
            );
        }
    }

    #[test]
    fn equal_observations_have_different_leaves() {
        let (one, two) = (window(3), window(3));
        assert_ne!(one.root(), two.root());
        assert_eq!(Window::decode(&one.encode()).unwrap().root(), one.root());
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for document in [
            &b""[..],
            b"{}",
            b"[]",
            b"{\"observations\":[{\"text\":\"x\"}]}",
        ] {
            assert_eq!(Window::decode(document), Err(WindowError::Malformed));
        }
        let empty = Window::decode(b"{\"observations\":[]}");
        assert_eq!(empty, Err(WindowError::Count { count: 0 }));
        let long = "x".repeat(OBSERVATION_BYTES_MAX + 1);
        let refused = Window::new([long], &mut rand::rng());
        assert_eq!(refused, Err(WindowError::TooLong { index: 0 }));
    }
}
