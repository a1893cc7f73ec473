//! Blocks and their names. This crate speaks of blocks hashed with SHA-256 and of two kinds of
//! content: raw bytes and tree nodes (dag-pb). Every other CID is refused at the edge.

use std::fmt;

use bytes::Bytes;
use cid::Cid;
use data_encoding::{BASE32_NOPAD, Encoding};
use multihash_codetable::{Code, MultihashDigest};

/// Multicodec of raw bytes.
pub(crate) const RAW: u64 = 0x55;
/// Multicodec of a tree node.
pub(crate) const DAG_PB: u64 = 0x70;
/// Multicodec of SHA-256.
pub(crate) const SHA2_256: u64 = 0x12;

const FILE_NAME: Encoding = BASE32_NOPAD;

/// A CID that this crate does not handle: another hash than SHA-256, or another codec than raw
/// and dag-pb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cid} is not a raw or dag-pb block hashed with SHA-256")]
pub struct UnsupportedCid {
    /// The CID.
    pub cid: Cid,
}

/// Checks that `cid` is one this crate handles and returns it as version 1.
pub(crate) fn parse(cid: &Cid) -> Result<Cid, UnsupportedCid> {
    Digest::of_cid(cid).and_then(|_| cid.into_v1().map_err(|_| UnsupportedCid { cid: *cid }))
}

/// Whether the block holds bytes of a file and nothing else.
pub(crate) fn is_raw(cid: &Cid) -> bool {
    cid.codec() == RAW
}

/// The CID of `data` as a raw block.
pub(crate) fn raw_cid(data: &[u8]) -> Cid {
    Cid::new_v1(RAW, Code::Sha2_256.digest(data))
}

/// The hash in a CID, which alone names a block on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(data: &[u8]) -> Self {
        Self::of_cid(&raw_cid(data)).expect("a SHA-256 digest has 32 bytes")
    }

    pub(crate) fn of_cid(cid: &Cid) -> Result<Self, UnsupportedCid> {
        let digest = <[u8; 32]>::try_from(cid.hash().digest());
        match (cid.codec(), cid.hash().code(), digest) {
            (RAW | DAG_PB, SHA2_256, Ok(digest)) => Ok(Self(digest)),
            _ => Err(UnsupportedCid { cid: *cid }),
        }
    }

    /// The block's file name: the multihash in base 32, as Kubo's own block store writes it.
    pub(crate) fn file_name(&self) -> String {
        FILE_NAME.encode(&[&[SHA2_256 as u8, 32], &self.0[..]].concat())
    }

    pub(crate) fn of_file_name(name: &str) -> Option<Self> {
        let bytes = FILE_NAME.decode(name.as_bytes()).ok()?;
        let digest = bytes.strip_prefix(&[SHA2_256 as u8, 32])?;
        Some(Self(digest.try_into().ok()?))
    }

    /// The CID of a raw block with this hash, for reports where the codec is not known.
    pub(crate) fn to_raw_cid(self) -> Cid {
        let hash = cid::multihash::Multihash::wrap(SHA2_256, &self.0)
            .expect("a multihash has room for 32 bytes");
        Cid::new_v1(RAW, hash)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file_name())
    }
}

/// A block whose bytes were hashed here: nothing else can make one.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    cid: Cid,
    data: Bytes,
}

impl Block {
    /// Hashes `data` and names it with the codec that its sender claims.
    pub(crate) fn hash(codec: u64, data: Bytes) -> Self {
        Self {
            cid: Cid::new_v1(codec, Code::Sha2_256.digest(&data)),
            data,
        }
    }

    /// Hashes `data`; `None` if it has not the hash in `cid`.
    pub(crate) fn verify(cid: &Cid, data: Bytes) -> Result<Option<Self>, UnsupportedCid> {
        let digest = Digest::of_cid(cid)?;
        Ok((Digest::of(&data) == digest).then_some(Self { cid: *cid, data }))
    }

    pub(crate) fn cid(&self) -> &Cid {
        &self.cid
    }

    pub(crate) fn data(&self) -> &Bytes {
        &self.data
    }

    pub(crate) fn into_data(self) -> Bytes {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names() {
        let check = |data: &[u8], expect: &str| assert_eq!(raw_cid(data).to_string(), expect);
        check(
            b"",
            "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        );
        check(
            b"hello world",
            "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
        );
    }

    #[test]
    fn a_block_is_made_only_of_the_bytes_that_its_name_says() {
        let cid = raw_cid(b"hello world");
        let made = |data: &'static [u8]| Block::verify(&cid, Bytes::from_static(data));
        let block = made(b"hello world").expect("SHA-256").expect("its bytes");
        assert_eq!(
            (block.cid(), &block.data()[..]),
            (&cid, &b"hello world"[..])
        );
        assert!(made(b"hello worle").expect("SHA-256").is_none());
        let identity = cid::multihash::Multihash::wrap(0, b"inline").expect("short");
        let other = Block::verify(&Cid::new_v1(RAW, identity), Bytes::from_static(b"inline"));
        assert!(other.is_err());
    }

    #[test]
    fn file_names_come_back_as_the_digest() {
        let digest = Digest::of(b"hello world");
        let name = digest.file_name();
        assert!(name.starts_with("CIQ"), "{name}");
        assert_eq!(Digest::of_file_name(&name), Some(digest));
        for bad in [
            "",
            "CIQ",
            "../../etc/passwd",
            &name[1..],
            &format!("{name}A"),
        ] {
            assert_eq!(Digest::of_file_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn other_hashes_and_codecs_are_refused() {
        let identity = cid::multihash::Multihash::wrap(0, b"inline").expect("short");
        assert!(parse(&Cid::new_v1(RAW, identity)).is_err());
        let short = cid::multihash::Multihash::wrap(SHA2_256, b"short").expect("short");
        assert!(parse(&Cid::new_v1(RAW, short)).is_err());
        assert!(parse(&Cid::new_v1(0x71, *raw_cid(b"cbor").hash())).is_err());
        let version_0 = Cid::new_v0(*raw_cid(b"node").hash()).expect("SHA-256");
        assert_eq!(parse(&version_0).map(|cid| cid.codec()), Ok(DAG_PB));
    }
}
