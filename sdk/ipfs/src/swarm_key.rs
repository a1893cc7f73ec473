//! The key that closes a private swarm.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use libp2p::pnet::PreSharedKey;
use multihash_codetable::{Code, MultihashDigest};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::limits::KEY_FILE_BYTES_MAX;

const HEADER: &str = "/key/swarm/psk/1.0.0/";
const ENCODING: &str = "/base16/";
/// No other hash of the key is made with these bytes before it.
const FINGERPRINT_DOMAIN: &[u8] = b"stela/v1/swarm-key-fingerprint\0";

/// The pre-shared key of a private swarm: 32 bytes that every member has and nobody else. A node
/// without it does not get as far as a handshake.
///
/// The key shuts out outsiders; it cannot shut out a former member, which is what the allow-list
/// is for. Hazard: the transport keeps a copy for the life of the node, which is not wiped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SwarmKey([u8; 32]);

/// Why a swarm key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SwarmKeyError {
    /// The file cannot be read.
    #[error("cannot read the swarm key {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Not the format of `swarm.key`: a line `/key/swarm/psk/1.0.0/`, a line `/base16/`, and 64
    /// hexadecimal digits.
    #[error("not a swarm key: {0}")]
    Format(&'static str),
}

/// Makes a new swarm key from the operating system's random numbers.
pub fn generate_swarm_key() -> SwarmKey {
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the operating system gives random numbers");
    SwarmKey(key)
}

impl SwarmKey {
    /// A key from its bytes.
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Reads a `swarm.key` file as Kubo uses it.
    pub fn read(path: &Path) -> Result<Self, SwarmKeyError> {
        let mut text = Zeroizing::new(String::new());
        File::open(path)
            .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|source| SwarmKeyError::Read {
                path: path.to_path_buf(),
                source,
            })?;
        text.parse()
    }

    /// The content of a `swarm.key` file. It is the secret itself.
    pub fn to_key_file(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(HEXLOWER.encode(&self.0));
        Zeroizing::new(format!("{HEADER}\n{ENCODING}\n{}\n", *digits))
    }

    /// What may be told of the key: two nodes have the same one if their fingerprints are alike. It
    /// does not lead back to the key, which is random.
    pub fn fingerprint(&self) -> [u8; 32] {
        let bytes = Zeroizing::new([FINGERPRINT_DOMAIN, &self.0].concat());
        let hash = Code::Sha2_256.digest(&bytes);
        hash.digest().try_into().expect("SHA-256 has 32 bytes")
    }

    pub(crate) fn pre_shared(&self) -> PreSharedKey {
        PreSharedKey::new(self.0)
    }
}

impl FromStr for SwarmKey {
    type Err = SwarmKeyError;

    fn from_str(text: &str) -> Result<Self, SwarmKeyError> {
        let mut lines = text.lines().map(str::trim_end);
        if lines.next() != Some(HEADER) {
            return Err(SwarmKeyError::Format(
                "the first line must be /key/swarm/psk/1.0.0/",
            ));
        }
        if lines.next() != Some(ENCODING) {
            return Err(SwarmKeyError::Format("the second line must be /base16/"));
        }
        let digits = lines.next().unwrap_or_default().as_bytes();
        let decoded = HEXLOWER_PERMISSIVE.decode(digits).map(Zeroizing::new).ok();
        let key = decoded.and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
        key.map(Self).ok_or(SwarmKeyError::Format(
            "the third line must be 64 hexadecimal digits",
        ))
    }
}

impl fmt::Debug for SwarmKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SwarmKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/key/swarm/psk/1.0.0/\n/base16/\n\
        6189c5cf0b87fb800c1a9feeda73c6ab5e998db48fb9e6a978575c770ceef683\n";

    #[test]
    fn the_format_is_that_of_kubo() {
        let key: SwarmKey = FILE.parse().expect("a key");
        assert_eq!(*key.to_key_file(), FILE);
        // The fingerprint of this key as go-libp2p prints it.
        let fingerprint = key.pre_shared().fingerprint().to_string();
        assert_eq!(fingerprint, "45fc986bbc9388a11d939df26f730f0c");
        assert!(FILE.replace('\n', "\r\n").parse::<SwarmKey>().is_ok());
        assert_eq!(format!("{key:?}"), "SwarmKey(redacted)");
    }

    #[test]
    fn golden_fingerprint() {
        // Computed by another implementation, Python's hashlib.
        let key: SwarmKey = FILE.parse().expect("a key");
        let fingerprint = HEXLOWER.encode(&key.fingerprint());
        assert_eq!(
            fingerprint,
            "8fea08e682f67f035901d03083a4b85715989279d82008bc4624031848a9fa46"
        );
        assert_ne!(key.fingerprint(), generate_swarm_key().fingerprint());
    }

    #[test]
    fn other_files_are_refused() {
        let digits = "6189c5cf0b87fb800c1a9feeda73c6ab5e998db48fb9e6a978575c770ceef683";
        let multibyte = "é".repeat(32);
        for bad in [
            "",
            "/key/swarm/psk/1.0.0/",
            &FILE.replace("1.0.0", "2.0.0"),
            &FILE.replace("base16", "base64"),
            &FILE.replace(digits, &digits[1..]),
            &FILE.replace(digits, &digits.replace('6', "g")),
            &FILE.replace(digits, &multibyte),
        ] {
            assert!(bad.parse::<SwarmKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_not_alike() {
        assert_ne!(
            *generate_swarm_key().to_key_file(),
            *generate_swarm_key().to_key_file()
        );
    }
}
