//! The bitswap message and its bytes.
//!
//! ```text
//! message Message {
//!   message Wantlist {
//!     message Entry { bytes cid = 1; int32 priority = 2; bool cancel = 3; WantType want_type = 4; bool send_dont_have = 5; }
//!     repeated Entry entries = 1; bool full = 2;
//!   }
//!   message Block { bytes prefix = 1; bytes data = 2; }
//!   message Presence { bytes cid = 1; PresenceType type = 2; }
//!   Wantlist wantlist = 1; repeated Block payload = 3; repeated Presence presences = 4; int32 pending_bytes = 5;
//! }
//! ```
//!
//! Entries that name a block this crate does not handle (another hash, or version 0) are left out:
//! nobody here can have asked for one or could serve it.

use bytes::Bytes;
use cid::{Cid, Version};

use crate::block::{Block, DAG_PB, RAW, SHA2_256};
use crate::dag::parse_cid;
use crate::limits::{
    BLOCK_BYTES_MAX, BLOCKS_PER_MESSAGE_MAX, ENTRIES_PER_MESSAGE_MAX, FRAME_BYTES_MAX,
    PRESENCES_PER_MESSAGE_MAX,
};
use crate::wire::{
    FIELD_HEAD_BYTES_MAX, Fields, Value, WireError, put_bytes, put_bytes_head, put_number,
    put_varint, take_varint,
};

/// Bytes of the length before a message of at most [`FRAME_BYTES_MAX`].
const LENGTH_BYTES_MAX: usize = 4;

/// What a message asks for or takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) cid: Cid,
    pub(crate) want: Want,
    /// Whether the sender wants to hear of it when the receiver does not have the block.
    pub(crate) dont_have: bool,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Send the block.
    Block,
    /// Say whether it is there.
    Have,
    /// Forget the entry that was sent before.
    Cancel,
}

/// Whether a peer has a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) cid: Cid,
    pub(crate) have: bool,
}

/// A received or outgoing message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) entries: Vec<Entry>,
    /// Whether the entries replace everything asked for before.
    pub(crate) full: bool,
    pub(crate) blocks: Vec<Block>,
    pub(crate) presences: Vec<Presence>,
}

/// Why bytes are not a message that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("more {0} than a message may have")]
    TooMany(&'static str),
    #[error("a block larger than a block may be")]
    BlockTooLarge,
}

impl Message {
    pub(crate) fn of_entries(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            ..Self::default()
        }
    }

    pub(crate) fn of_block(block: Block) -> Self {
        Self {
            blocks: vec![block],
            ..Self::default()
        }
    }

    pub(crate) fn of_presence(cid: Cid, have: bool) -> Self {
        Self {
            presences: vec![Presence { cid, have }],
            ..Self::default()
        }
    }

    /// The message with its length in front, ready for a stream.
    pub(crate) fn to_frame(&self) -> Bytes {
        let room = LENGTH_BYTES_MAX;
        let mut frame = vec![0; room];
        self.encode_into(&mut frame);
        let body_bytes = frame.len() - room;
        debug_assert!(
            body_bytes <= FRAME_BYTES_MAX,
            "one block, or the wants of one window"
        );
        let mut length = Vec::with_capacity(room);
        put_varint(&mut length, body_bytes as u64);
        let start = room - length.len();
        frame[start..room].copy_from_slice(&length);
        Bytes::from(frame).slice(start..)
    }

    /// The message without its length.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        if !self.entries.is_empty() || self.full {
            put_bytes(out, 1, &self.encode_wantlist());
        }
        for block in &self.blocks {
            put_block(out, 3, block);
        }
        for presence in &self.presences {
            put_bytes(out, 4, &encode_presence(presence));
        }
    }

    fn encode_wantlist(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for entry in &self.entries {
            put_bytes(&mut out, 1, &encode_entry(entry));
        }
        put_number(&mut out, 2, self.full.into());
        out
    }

    /// Reads a message without its length prefix, and hashes its blocks.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(wantlist)) => message.decode_wantlist(wantlist)?,
                (3, Value::Bytes(block)) => {
                    room(message.blocks.len(), BLOCKS_PER_MESSAGE_MAX, "blocks")?;
                    message.blocks.extend(decode_block(bytes, block)?);
                }
                (4, Value::Bytes(presence)) => {
                    room(
                        message.presences.len(),
                        PRESENCES_PER_MESSAGE_MAX,
                        "presences",
                    )?;
                    message.presences.extend(decode_presence(presence)?);
                }
                _ => {}
            }
        }
        Ok(message)
    }

    fn decode_wantlist(&mut self, wantlist: &[u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(wantlist);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(entry)) => {
                    room(self.entries.len(), ENTRIES_PER_MESSAGE_MAX, "wants")?;
                    self.entries.extend(decode_entry(entry)?);
                }
                (2, Value::Number(full)) => self.full = full != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

fn room(length: usize, length_max: usize, what: &'static str) -> Result<(), DecodeError> {
    if length < length_max {
        Ok(())
    } else {
        Err(DecodeError::TooMany(what))
    }
}

fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &entry.cid.to_bytes());
    put_number(&mut out, 2, 1);
    put_number(&mut out, 3, (entry.want == Want::Cancel).into());
    put_number(&mut out, 4, (entry.want == Want::Have).into());
    put_number(&mut out, 5, entry.dont_have.into());
    out
}

fn decode_entry(entry: &[u8]) -> Result<Option<Entry>, DecodeError> {
    let (mut cid, mut cancel, mut have, mut dont_have) = (None, false, false, false);
    let mut fields = Fields::new(entry);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => cid = parse_version_1(bytes),
            (3, Value::Number(number)) => cancel = number != 0,
            (4, Value::Number(number)) => have = number != 0,
            (5, Value::Number(number)) => dont_have = number != 0,
            _ => {}
        }
    }
    let want = match (cancel, have) {
        (true, _) => Want::Cancel,
        (false, true) => Want::Have,
        (false, false) => Want::Block,
    };
    Ok(cid.map(|cid| Entry {
        cid,
        want,
        dont_have,
    }))
}

fn encode_presence(presence: &Presence) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &presence.cid.to_bytes());
    put_number(&mut out, 2, (!presence.have).into());
    out
}

fn decode_presence(presence: &[u8]) -> Result<Option<Presence>, DecodeError> {
    let (mut cid, mut have) = (None, true);
    let mut fields = Fields::new(presence);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => cid = parse_version_1(bytes),
            (2, Value::Number(number)) => have = number == 0,
            _ => {}
        }
    }
    Ok(cid.map(|cid| Presence { cid, have }))
}

fn parse_version_1(bytes: &[u8]) -> Option<Cid> {
    (bytes.first() == Some(&(u64::from(Version::V1) as u8))).then_some(())?;
    parse_cid(bytes)
}

/// Appends a field with a block, whose bytes are copied only here.
fn put_block(out: &mut Vec<u8>, field: u64, block: &Block) {
    let mut prefix = Vec::new();
    for number in [u64::from(Version::V1), block.cid().codec(), SHA2_256, 32] {
        put_varint(&mut prefix, number);
    }
    let mut head = Vec::new();
    put_bytes(&mut head, 1, &prefix);
    put_bytes_head(&mut head, 2, block.data().len());
    let bytes = head.len() + block.data().len();
    out.reserve(FIELD_HEAD_BYTES_MAX + bytes);
    put_bytes_head(out, field, bytes);
    out.extend_from_slice(&head);
    out.extend_from_slice(block.data());
}

fn decode_block(message: &Bytes, block: &[u8]) -> Result<Option<Block>, DecodeError> {
    let (mut codec, mut data) = (None, &[][..]);
    let mut fields = Fields::new(block);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(prefix)) => codec = decode_prefix(prefix),
            (2, Value::Bytes(bytes)) => data = bytes,
            _ => {}
        }
    }
    if data.len() > BLOCK_BYTES_MAX {
        return Err(DecodeError::BlockTooLarge);
    }
    Ok(codec.map(|codec| Block::hash(codec, detach(message, data))))
}

/// The codec in a block's prefix, if the rest of it is what this crate handles.
fn decode_prefix(mut prefix: &[u8]) -> Option<u64> {
    let mut next = || take_varint(&mut prefix).ok();
    let (version, codec, hash, length) = (next()?, next()?, next()?, next()?);
    let handled = version == 1 && matches!(codec, RAW | DAG_PB) && (hash, length) == (SHA2_256, 32);
    handled.then_some(codec)
}

/// A part of a message: shared with it when it is most of it, copied when holding on to the part
/// would hold on to a message many times its size.
fn detach(message: &Bytes, part: &[u8]) -> Bytes {
    if part.len() >= message.len() / 2 {
        message.slice_ref(part)
    } else {
        Bytes::copy_from_slice(part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::raw_cid;

    fn round_trip(message: &Message) -> Message {
        let frame = message.to_frame();
        let mut body = &frame[..];
        let length = take_varint(&mut body).expect("a length");
        assert_eq!(length, body.len() as u64);
        Message::decode(&frame.slice_ref(body)).expect("a message")
    }

    #[test]
    fn golden_bytes() {
        let cid = raw_cid(b"hello world");
        let entry = Entry {
            cid,
            want: Want::Have,
            dont_have: true,
        };
        let expect = "300a2e0a2c0a2401551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee\
                      9088f7ace2efcde9100120012801";
        let frame = Message::of_entries(vec![entry]).to_frame();
        assert_eq!(data_encoding::HEXLOWER.encode(&frame), expect);

        let block = Block::hash(RAW, Bytes::from_static(b"hello world"));
        let expect = "151a130a0401551220120b68656c6c6f20776f726c64";
        let frame = Message::of_block(block).to_frame();
        assert_eq!(data_encoding::HEXLOWER.encode(&frame), expect);
    }

    #[test]
    fn the_name_of_a_block_is_its_hash() {
        let sent = Block::hash(RAW, Bytes::from_static(b"hello world"));
        let received = round_trip(&Message::of_block(sent));
        assert_eq!(*received.blocks[0].cid(), raw_cid(b"hello world"));
    }

    #[test]
    fn foreign_blocks_and_names_are_left_out() {
        let mut message = Vec::new();
        let mut block = Vec::new();
        put_bytes(&mut block, 1, &[1, RAW as u8, 0x13, 64]);
        put_bytes(&mut block, 2, b"hashed otherwise");
        put_bytes(&mut message, 3, &block);
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, &[1, RAW as u8, 0, 2, 7, 7]);
        let mut wantlist = Vec::new();
        put_bytes(&mut wantlist, 1, &entry);
        put_bytes(&mut message, 1, &wantlist);
        let message = Message::decode(&message.into()).expect("a message");
        assert!(message.blocks.is_empty() && message.entries.is_empty());
    }

    #[test]
    fn limits_hold_while_decoding() {
        let wantlist = |count: usize| {
            let cid = raw_cid(b"hello world");
            let entry = Entry {
                cid,
                want: Want::Block,
                dont_have: false,
            };
            Message::decode(&Message::of_entries(vec![entry; count]).encode().into()).map(|_| ())
        };
        assert_eq!(wantlist(ENTRIES_PER_MESSAGE_MAX), Ok(()));
        assert_eq!(
            wantlist(ENTRIES_PER_MESSAGE_MAX + 1),
            Err(DecodeError::TooMany("wants"))
        );

        let block = |bytes: usize| {
            let block = Block::hash(RAW, vec![0; bytes].into());
            Message::decode(&Message::of_block(block).encode().into()).map(|_| ())
        };
        assert_eq!(block(BLOCK_BYTES_MAX), Ok(()));
        assert_eq!(block(BLOCK_BYTES_MAX + 1), Err(DecodeError::BlockTooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Message::decode(&bytes.into());
        }

        #[test]
        fn mutilated_messages_never_panic(cut: prop::sample::Index, flip: prop::sample::Index) {
            let cid = raw_cid(b"hello world");
            let mut message = Message::of_block(Block::hash(RAW, Bytes::from_static(b"data")));
            message.entries = vec![Entry { cid, want: Want::Cancel, dont_have: true }; 2];
            message.presences = vec![Presence { cid, have: false }];
            let mut bytes = message.encode();
            let position = flip.index(bytes.len());
            bytes[position] ^= 0xff;
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = Message::decode(&bytes.into());
        }

        #[test]
        fn messages_survive_the_round_trip(
            entries in prop::collection::vec((any::<[u8; 4]>(), 0..3u8, any::<bool>()), 0..20),
            presences in prop::collection::vec((any::<[u8; 4]>(), any::<bool>()), 0..20),
            blocks in prop::collection::vec(any::<Vec<u8>>(), 0..5),
            full: bool,
        ) {
            let wants = [Want::Block, Want::Have, Want::Cancel];
            let sent = Message {
                entries: entries
                    .iter()
                    .map(|(name, want, dont_have)| Entry {
                        cid: raw_cid(name),
                        want: wants[usize::from(*want)],
                        dont_have: *dont_have,
                    })
                    .collect(),
                full,
                blocks: blocks.into_iter().map(|data| Block::hash(DAG_PB, data.into())).collect(),
                presences: presences
                    .iter()
                    .map(|(name, have)| Presence { cid: raw_cid(name), have: *have })
                    .collect(),
            };
            let received = round_trip(&sent);
            prop_assert_eq!(received.entries, sent.entries);
            prop_assert_eq!(received.presences, sent.presences);
            prop_assert_eq!(received.full, sent.full);
            let names = |blocks: &[Block]| blocks.iter().map(|block| *block.cid()).collect::<Vec<_>>();
            prop_assert_eq!(names(&received.blocks), names(&sent.blocks));
        }
    }
}
