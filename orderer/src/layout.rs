//! Every key and value that an orderer keeps for one channel. All numbers are big-endian, every
//! value begins with the version of its encoding, one byte, now 1. The value of `channel` begins with
//! the version of the layout as a whole instead, now 2: [`upgrade`] brings an older one up to it.
//!
//! | Family | Key | Value after the version |
//! |---|---|---|
//! | `meta` | `channel` | name of the channel |
//! | `meta` | `genesis` | block 0: header and envelope, an encoded `Block` |
//! | `meta` | `orderer` | number u64 under which this node joined; absent in a database of layout 1 |
//! | `meta` | `joined` | the encoded `ChannelConfig` with which it joined, if block 0 does not name it |
//! | `meta` | `hard_state` | term u64, vote u64, commit u64 |
//! | `meta` | `conf_state` | the voters' numbers, u64 each, ascending |
//! | `meta` | `start` | where Raft's log begins: log index u64 and term u64 of the newest entry before it, number u64 and header hash \[32\] of the newest block there, the voters' numbers there, u64 each |
//! | `meta` | `applied` | log index u64, number u64 and header hash \[32\] of the newest block |
//! | `meta` | `deliverable` | number u64 of the newest block up to which all have a quorum of signatures |
//! | `log` | log index u64 | term u64, entry type u8 (0 normal, 2 a change of Raft's voters), data: an encoded `Block` without signatures, or nothing; of type 2 a `ConfChangeV2` whose context is that `Block` |
//! | `terms` | log index u64 of a term's first entry after the start | term u64 |
//! | `blocks` | block number u64 | log index u64 (0: not in the log), header hash \[32\] |
//! | `fetched` | block number u64 | an encoded `Block` without signatures, which came from another orderer as a block and not as an entry of the log |
//! | `signatures` | block number u64 | per signature: orderer u64, signature \[64\]; ascending by orderer |
//! | `certificates` | fingerprint \[32\] | number u64 of the block that made it known, certificate (DER) |
//!
//! There is one durable copy of each block: in `log`, in `fetched`, or for block 0 in `meta`. The
//! log's start moves on, and what lies before it belongs to Raft no longer; the blocks there stay
//! where they are, and no committed block is ever removed.

use bytes::{Buf, BufMut, Bytes};
use raft::eraftpb::{Entry, EntryType, HardState};
use stela_protocol::limits::SIGNATURE_BYTES;
use stela_protocol::{BlockNumber, Hash32};
use stela_store::{Durability, Family, Kv, StoreError, WriteBatch};

/// The version that every value but that of [`CHANNEL`] begins with.
pub const VERSION: u8 = 1;
/// The version of the layout, with which the value of [`CHANNEL`] begins.
pub const LAYOUT: u8 = 2;

/// What there is one of.
pub const META: Family = "meta";
/// Raft's log.
pub const LOG: Family = "log";
/// Where Raft's terms begin in the log.
pub const TERMS: Family = "terms";
/// Where blocks are in the log.
pub const BLOCKS: Family = "blocks";
/// Blocks that are not in the log.
pub const FETCHED: Family = "fetched";
/// The orderers' signatures.
pub const SIGNATURES: Family = "signatures";
/// Known certificates.
pub const CERTIFICATES: Family = "certificates";
/// All families of a channel's database.
pub const FAMILIES: &[Family] = &[META, LOG, TERMS, BLOCKS, FETCHED, SIGNATURES, CERTIFICATES];

/// Key in [`META`].
pub const CHANNEL: &[u8] = b"channel";
/// Key in [`META`].
pub const GENESIS: &[u8] = b"genesis";
/// Key in [`META`].
pub const ORDERER: &[u8] = b"orderer";
/// Key in [`META`].
pub const JOINED: &[u8] = b"joined";
/// Key in [`META`].
pub const HARD_STATE: &[u8] = b"hard_state";
/// Key in [`META`].
pub const CONF_STATE: &[u8] = b"conf_state";
/// Key in [`META`].
pub const START: &[u8] = b"start";
/// Key in [`META`].
pub const APPLIED: &[u8] = b"applied";
/// Key in [`META`].
pub const DELIVERABLE: &[u8] = b"deliverable";

/// The channel's name as a value.
pub fn encode_channel(name: &str) -> Bytes {
    [&[LAYOUT], name.as_bytes()].concat().into()
}

/// The channel's name.
///
/// # Errors
/// [`StoreError::Corrupt`], or [`StoreError::Format`] for another layout than [`LAYOUT`].
pub fn decode_channel(mut value: Bytes) -> Result<Bytes, StoreError> {
    open_as(LAYOUT, "the channel's name", &mut value, 0)?;
    Ok(value)
}

/// Brings a database of an older layout up to [`LAYOUT`], in one write.
///
/// # Errors
/// [`StoreError`] when it cannot be read or written.
pub fn upgrade(kv: &dyn Kv) -> Result<(), StoreError> {
    const WITHOUT_START: u8 = 1;
    let Some(name) = kv.get(META, CHANNEL)? else {
        return Ok(());
    };
    if name.first() != Some(&WITHOUT_START) {
        return Ok(());
    }
    let missing = || corrupt("the state of raft is missing");
    let voters = kv.get(META, CONF_STATE)?.ok_or_else(missing)?;
    let first = kv.get(BLOCKS, &key(0))?.ok_or_else(missing)?;
    let start = Start {
        index: 0,
        term: 0,
        number: BlockNumber(0),
        hash: BlockPlace::decode(first)?.hash,
        voters: decode_numbers("conf_state", voters)?,
    };
    let mut batch = WriteBatch::new();
    batch.put(META, START, start.encode());
    batch.put(META, CHANNEL, [&[LAYOUT], &name[1..]].concat());
    kv.write(batch, Durability::Synced)
}

/// A key that is a number.
pub fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// The number that a key is.
///
/// # Errors
/// [`StoreError::Corrupt`] when it has another length.
pub fn number(key: &[u8]) -> Result<u64, StoreError> {
    let bytes = key.try_into().map_err(|_| corrupt("a key"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// A value that is some bytes.
pub fn encode_bytes(bytes: &[u8]) -> Bytes {
    [&[VERSION], bytes].concat().into()
}

/// The bytes that a value is.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Format`].
pub fn decode_bytes(what: &'static str, mut value: Bytes) -> Result<Bytes, StoreError> {
    open(what, &mut value, 0)?;
    Ok(value)
}

/// A value that is numbers.
pub fn encode_numbers(numbers: &[u64]) -> Bytes {
    let mut value = vec![VERSION];
    numbers.iter().for_each(|number| value.put_u64(*number));
    value.into()
}

/// The numbers that a value is.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Format`].
pub fn decode_numbers(what: &'static str, mut value: Bytes) -> Result<Vec<u64>, StoreError> {
    open(what, &mut value, 0)?;
    if !value.len().is_multiple_of(8) {
        return Err(corrupt(what));
    }
    Ok(value
        .chunks_exact(8)
        .map(|mut number| number.get_u64())
        .collect())
}

/// Raft's term, vote and commit index as a value.
pub fn encode_hard_state(state: &HardState) -> Bytes {
    encode_numbers(&[state.term, state.vote, state.commit])
}

/// Raft's term, vote and commit index.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Format`].
pub fn decode_hard_state(value: Bytes) -> Result<HardState, StoreError> {
    let [term, vote, commit] = decode_numbers("hard_state", value)?[..] else {
        return Err(corrupt("hard_state"));
    };
    Ok(HardState {
        term,
        vote,
        commit,
        ..Default::default()
    })
}

/// Where Raft's log starts: a point at which everything before it is applied and can be had as
/// blocks from any orderer. A Raft snapshot is this and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The newest entry before the start; 0: none.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The newest block there.
    pub number: BlockNumber,
    /// Its header's hash.
    pub hash: Hash32,
    /// Raft's voters there, ascending.
    pub voters: Vec<u64>,
}

impl Start {
    /// As a value.
    pub fn encode(&self) -> Bytes {
        let mut value = vec![VERSION];
        value.put_u64(self.index);
        value.put_u64(self.term);
        value.put_u64(self.number.0);
        value.put_slice(self.hash.as_bytes());
        self.voters.iter().for_each(|voter| value.put_u64(*voter));
        value.into()
    }

    /// From a value.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Format`].
    pub fn decode(mut value: Bytes) -> Result<Self, StoreError> {
        const WHAT: &str = "where the log starts";
        open(WHAT, &mut value, 56)?;
        let (index, term) = (value.get_u64(), value.get_u64());
        let number = BlockNumber(value.get_u64());
        let hash = hash(WHAT, &value.split_to(32))?;
        if !value.len().is_multiple_of(8) {
            return Err(corrupt(WHAT));
        }
        let voters = value.chunks_exact(8).map(|mut voter| voter.get_u64());
        Ok(Self {
            index,
            term,
            number,
            hash,
            voters: voters.collect(),
        })
    }
}

/// How far the log is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The newest applied entry; 0: none.
    pub index: u64,
    /// The newest block.
    pub number: BlockNumber,
    /// Its header's hash.
    pub hash: Hash32,
}

impl Applied {
    /// As a value.
    pub fn encode(&self) -> Bytes {
        let mut value = vec![VERSION];
        value.put_u64(self.index);
        value.put_u64(self.number.0);
        value.put_slice(self.hash.as_bytes());
        value.into()
    }

    /// From a value.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Format`].
    pub fn decode(mut value: Bytes) -> Result<Self, StoreError> {
        open("applied", &mut value, 48)?;
        let (index, number) = (value.get_u64(), BlockNumber(value.get_u64()));
        Ok(Self {
            index,
            number,
            hash: hash("applied", &value)?,
        })
    }
}

/// An entry of Raft's log as a value.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let mut value = Vec::with_capacity(10 + entry.data.len());
    value.put_u8(VERSION);
    value.put_u64(entry.term);
    value.put_u8(entry.entry_type as u8);
    value.put_slice(&entry.data);
    value.into()
}

/// Entry `index` of Raft's log.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Format`].
pub fn decode_entry(index: u64, mut value: Bytes) -> Result<Entry, StoreError> {
    open("an entry of the log", &mut value, 9)?;
    let term = value.get_u64();
    let entry_type = match value.get_u8() {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(corrupt("the type of an entry of the log")),
    };
    Ok(Entry {
        entry_type,
        term,
        index,
        data: value,
        ..Default::default()
    })
}

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPlace {
    /// Its entry in the log; 0: it is not in the log.
    pub index: u64,
    /// Its header's hash.
    pub hash: Hash32,
}

impl BlockPlace {
    /// As a value.
    pub fn encode(&self) -> Bytes {
        let mut value = vec![VERSION];
        value.put_u64(self.index);
        value.put_slice(self.hash.as_bytes());
        value.into()
    }

    /// From a value.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Format`].
    pub fn decode(mut value: Bytes) -> Result<Self, StoreError> {
        open("the place of a block", &mut value, 40)?;
        let index = value.get_u64();
        Ok(Self {
            index,
            hash: hash("the place of a block", &value)?,
        })
    }
}

/// An orderer's number and its signature.
pub type Signature = (u64, [u8; SIGNATURE_BYTES]);

/// The signatures of a block, ascending by orderer, as a value.
pub fn encode_signatures<'a>(signatures: impl IntoIterator<Item = &'a Signature>) -> Bytes {
    let mut value = vec![VERSION];
    for (orderer, signature) in signatures {
        value.put_u64(*orderer);
        value.put_slice(signature);
    }
    value.into()
}

/// The signatures of a block.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Format`].
pub fn decode_signatures(mut value: Bytes) -> Result<Vec<Signature>, StoreError> {
    const WHAT: &str = "the signatures of a block";
    open(WHAT, &mut value, 0)?;
    let chunks = value.chunks_exact(8 + SIGNATURE_BYTES);
    if !chunks.remainder().is_empty() {
        return Err(corrupt(WHAT));
    }
    chunks
        .map(|mut chunk| {
            let orderer = chunk.get_u64();
            Ok((orderer, chunk.try_into().map_err(|_| corrupt(WHAT))?))
        })
        .collect()
}

/// A known certificate as a value.
pub fn encode_certificate(from: BlockNumber, der: &[u8]) -> Bytes {
    let mut value = vec![VERSION];
    value.put_u64(from.0);
    value.put_slice(der);
    value.into()
}

/// The block that made a certificate known, and the certificate.
///
/// # Errors
/// [`StoreError::Corrupt`] or [`StoreError::Format`].
pub fn decode_certificate(mut value: Bytes) -> Result<(BlockNumber, Bytes), StoreError> {
    open("a certificate", &mut value, 8)?;
    Ok((BlockNumber(value.get_u64()), value))
}

/// That something stored is not what was written.
pub(crate) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::Corrupt { what: what.into() }
}

fn hash(what: &'static str, bytes: &[u8]) -> Result<Hash32, StoreError> {
    Hash32::from_slice(bytes).map_err(|_| corrupt(what))
}

/// Takes the version off; at least `rest` bytes must follow it.
fn open(what: &'static str, value: &mut Bytes, rest: usize) -> Result<(), StoreError> {
    open_as(VERSION, what, value, rest)
}

fn open_as(
    expected: u8,
    what: &'static str,
    value: &mut Bytes,
    rest: usize,
) -> Result<(), StoreError> {
    if value.len() < 1 + rest {
        return Err(corrupt(what));
    }
    match value.get_u8() {
        found if found == expected => Ok(()),
        found => Err(StoreError::Format { found, expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_store::{KvRead, MemoryKv};

    fn check(value: Bytes, expect: &str) -> Bytes {
        assert_eq!(hex::encode(&value), expect.replace(' ', ""));
        value
    }

    #[test]
    fn golden_bytes() {
        let state = HardState {
            term: 2,
            vote: 3,
            commit: 4,
            ..Default::default()
        };
        let bytes = "01 0000000000000002 0000000000000003 0000000000000004";
        assert_eq!(
            decode_hard_state(check(encode_hard_state(&state), bytes)),
            Ok(state)
        );

        let entry = Entry {
            term: 7,
            index: 9,
            data: Bytes::from_static(b"block"),
            ..Default::default()
        };
        let bytes = "01 0000000000000007 00 626c6f636b";
        assert_eq!(
            decode_entry(9, check(encode_entry(&entry), bytes)),
            Ok(entry)
        );

        let hash = Hash32([0xaa; 32]);
        let applied = Applied {
            index: 5,
            number: BlockNumber(3),
            hash,
        };
        let bytes = format!("01 0000000000000005 0000000000000003 {hash}");
        assert_eq!(
            Applied::decode(check(applied.encode(), &bytes)),
            Ok(applied)
        );

        let start = Start {
            index: 5,
            term: 2,
            number: BlockNumber(3),
            hash,
            voters: vec![1, 4],
        };
        let bytes = format!(
            "01 0000000000000005 0000000000000002 0000000000000003 {hash} \
             0000000000000001 0000000000000004"
        );
        assert_eq!(Start::decode(check(start.encode(), &bytes)), Ok(start));

        let place = BlockPlace { index: 5, hash };
        let bytes = format!("01 0000000000000005 {hash}");
        assert_eq!(BlockPlace::decode(check(place.encode(), &bytes)), Ok(place));

        let signatures = vec![(1, [0x11; 64]), (2, [0x22; 64])];
        let bytes = format!(
            "01 0000000000000001 {} 0000000000000002 {}",
            "11".repeat(64),
            "22".repeat(64)
        );
        let value = check(encode_signatures(&signatures), &bytes);
        assert_eq!(decode_signatures(value), Ok(signatures));

        let value = check(
            encode_certificate(BlockNumber(6), b"der"),
            "01 0000000000000006 646572",
        );
        assert_eq!(
            decode_certificate(value),
            Ok((BlockNumber(6), Bytes::from_static(b"der")))
        );

        let value = check(
            encode_numbers(&[1, 2]),
            "01 0000000000000001 0000000000000002",
        );
        assert_eq!(decode_numbers("conf_state", value), Ok(vec![1, 2]));
        check(encode_bytes(b"care"), "01 63617265");
        let name = check(encode_channel("care"), "02 63617265");
        assert_eq!(decode_channel(name), Ok(Bytes::from_static(b"care")));
        check(key(258), "0000000000000102");
    }

    #[test]
    fn damage_is_noticed() {
        let damaged = |bytes: &'static [u8]| Bytes::from_static(bytes);
        assert!(decode_hard_state(damaged(b"\x01\0\0")).is_err());
        assert!(Applied::decode(damaged(b"\x01short")).is_err());
        assert!(BlockPlace::decode(damaged(b"\x01short")).is_err());
        assert!(decode_entry(1, damaged(b"\x01\0\0\0\0\0\0\0\x01\x09")).is_err());
        assert!(decode_signatures(damaged(b"\x01\0")).is_err());
        assert!(decode_certificate(damaged(b"")).is_err());
        assert!(number(b"abc").is_err());
        let other = StoreError::Format {
            found: 2,
            expected: VERSION,
        };
        assert_eq!(decode_bytes("genesis", damaged(b"\x02care")), Err(other));
        assert!(Start::decode(damaged(&[1; 58])).is_err());
        assert!(decode_channel(damaged(b"\x03care")).is_err());
    }

    #[test]
    fn the_layout_without_a_start_is_brought_up_to_date() {
        let kv = MemoryKv::new(FAMILIES);
        upgrade(&kv).unwrap();
        let mut batch = WriteBatch::new();
        let hash = Hash32([7; 32]);
        batch.put(META, CHANNEL, encode_bytes(b"care"));
        batch.put(META, CONF_STATE, encode_numbers(&[1, 2]));
        batch.put(BLOCKS, key(0), BlockPlace { index: 0, hash }.encode());
        kv.write(batch, Durability::Synced).unwrap();
        for _ in 0..2 {
            upgrade(&kv).unwrap();
            let name = kv.get(META, CHANNEL).unwrap().unwrap();
            assert_eq!(decode_channel(name), Ok(Bytes::from_static(b"care")));
            let start = Start::decode(kv.get(META, START).unwrap().unwrap()).unwrap();
            assert_eq!((start.index, start.hash), (0, hash));
            assert_eq!(start.voters, [1, 2]);
        }
    }
}
