//! Raft's messages as bytes. This is the one module in which bytes of the network reach the
//! `protobuf` crate.
//!
//! Its decoder skips unknown groups by recursion without a bound (RUSTSEC-2024-0437), which the
//! size of a message alone does not cure. So [`decode`] first walks over the bytes with a loop and
//! lets through only the fields that Raft's messages have, with the wire types they have: no
//! unknown field, and with it no group, ever comes to the decoder.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, EntryType,
    Message, MessageType,
};
use stela_protocol::limits::MESSAGE_BYTES_MAX;

use crate::channel::Change;
use crate::limits::ENTRIES_PER_MESSAGE_MAX;
use crate::log::start_in;

/// Why a Raft message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Larger than a message may be.
    #[error("a raft message of {0} bytes exceeds the limit of {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    /// More entries than a message may have.
    #[error("a raft message exceeds the limit of {ENTRIES_PER_MESSAGE_MAX} entries")]
    TooManyEntries,
    /// The bytes are no Raft message.
    #[error("the raft message cannot be decoded: {0}")]
    Undecodable(&'static str),
    /// A kind of message that orderers do not send one another.
    #[error("a raft message of type {0:?} is not accepted from the network")]
    Type(MessageType),
    /// A snapshot that is not just where a log starts, or that is missing or too much.
    #[error("the snapshot in a raft message is not what orderers send one another")]
    Snapshot,
    /// An entry that orderers do not make.
    #[error("an entry of the log is not one that orderers make")]
    Entry,
    /// Entries that are not numbered in order, or that belong to a later term than the message.
    #[error("the entries of a raft message are not in order")]
    Entries,
}

/// The bytes of a message.
///
/// # Errors
/// [`CodecError::TooLarge`], which cannot happen for what [`crate::limits`] lets Raft send.
pub fn encode(message: &Message) -> Result<Bytes, CodecError> {
    let bytes = message
        .write_to_bytes()
        .map_err(|_| CodecError::Undecodable("not encoded"))?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    Ok(bytes.into())
}

/// The message that the bytes are, if it is one that orderers send one another.
///
/// # Errors
/// [`CodecError`] says what is wrong.
pub fn decode(bytes: &Bytes) -> Result<Message, CodecError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    check_fields(bytes)?;
    let message = Message::parse_from_carllerche_bytes(bytes)
        .map_err(|_| CodecError::Undecodable("a field has a wrong value"))?;
    check_type(message.msg_type)?;
    check_snapshot(&message)?;
    check_entries(&message)?;
    Ok(message)
}

/// A change of who takes part in Raft that carries the block which says so: one entry for both.
pub fn conf_change(change: Change, block: Vec<u8>) -> ConfChangeV2 {
    let (change_type, node_id) = match change {
        Change::Add(id) => (ConfChangeType::AddNode, id),
        Change::Remove(id) => (ConfChangeType::RemoveNode, id),
    };
    let single = ConfChangeSingle {
        change_type,
        node_id,
        ..Default::default()
    };
    ConfChangeV2 {
        changes: vec![single].into(),
        context: block.into(),
        ..Default::default()
    }
}

/// The encoded block in an entry, and what the entry changes about who takes part in Raft.
///
/// # Errors
/// [`CodecError`] when the entry is not one that orderers make.
pub fn block_in(entry: &Entry) -> Result<(Bytes, Option<Change>), CodecError> {
    match entry.entry_type {
        EntryType::EntryNormal => return Ok((entry.data.clone(), None)),
        EntryType::EntryConfChange => return Err(CodecError::Entry),
        EntryType::EntryConfChangeV2 => {}
    }
    walk(
        &entry.data,
        CONF_CHANGE_FIELDS,
        |field, content| match field {
            CHANGES => walk(content, CHANGE_FIELDS, |_, _| Ok(())),
            _ => Ok(()),
        },
    )?;
    let decoded = ConfChangeV2::parse_from_carllerche_bytes(&entry.data)
        .map_err(|_| CodecError::Undecodable("a field has a wrong value"))?;
    let [single] = &*decoded.changes else {
        return Err(CodecError::Entry);
    };
    let change = match single.change_type {
        ConfChangeType::AddNode => Change::Add(single.node_id),
        ConfChangeType::RemoveNode => Change::Remove(single.node_id),
        ConfChangeType::AddLearnerNode => return Err(CodecError::Entry),
    };
    if decoded.transition != ConfChangeTransition::Auto {
        return Err(CodecError::Entry);
    }
    Ok((decoded.context, Some(change)))
}

fn check_type(kind: MessageType) -> Result<(), CodecError> {
    use MessageType as T;
    match kind {
        T::MsgAppend
        | T::MsgAppendResponse
        | T::MsgRequestVote
        | T::MsgRequestVoteResponse
        | T::MsgRequestPreVote
        | T::MsgRequestPreVoteResponse
        | T::MsgSnapshot
        | T::MsgHeartbeat
        | T::MsgHeartbeatResponse => Ok(()),
        // Proposals have a way of their own, and nobody transfers leadership or reads by index.
        _ => Err(CodecError::Type(kind)),
    }
}

/// A snapshot is where a log starts, and comes in a message of its own.
fn check_snapshot(message: &Message) -> Result<(), CodecError> {
    let is_snapshot = message.msg_type == MessageType::MsgSnapshot;
    if is_snapshot != message.has_snapshot()
        || is_snapshot && start_in(message.get_snapshot()).is_none()
    {
        return Err(CodecError::Snapshot);
    }
    Ok(())
}

fn check_entries(message: &Message) -> Result<(), CodecError> {
    if message.term == 0 {
        return Err(CodecError::Undecodable("the term is missing"));
    }
    // Raft takes term 0 for that of every entry that it does not have, and would append behind a gap.
    let append = message.msg_type == MessageType::MsgAppend;
    if append && (message.index == 0) != (message.log_term == 0) {
        return Err(CodecError::Entries);
    }
    let mut previous = (message.index, message.log_term);
    for entry in &message.entries {
        let in_order = previous.0.checked_add(1) == Some(entry.index)
            && (previous.1.max(1)..=message.term).contains(&entry.term)
            && entry.context.is_empty();
        if !in_order {
            return Err(CodecError::Entries);
        }
        previous = (entry.index, entry.term);
    }
    Ok(())
}

/// `eraftpb.ConfChangeV2`.
const CONF_CHANGE_FIELDS: &[Field] = &[(1, false), (CHANGES, true), (3, true)];
const CHANGES: u64 = 2;
/// `eraftpb.ConfChangeSingle`.
const CHANGE_FIELDS: &[Field] = &[(1, false), (2, false)];

/// A field: its number, and whether it holds bytes (else a number).
type Field = (u64, bool);

/// `eraftpb.Message`.
const MESSAGE_FIELDS: &[Field] = &[
    (1, false),
    (2, false),
    (3, false),
    (4, false),
    (5, false),
    (6, false),
    (ENTRIES, true),
    (8, false),
    (SNAPSHOT, true),
    (10, false),
    (11, false),
    (12, true),
    (13, false),
    (14, false),
    (15, false),
    (16, false),
];
const ENTRIES: u64 = 7;
const SNAPSHOT: u64 = 9;
/// `eraftpb.Entry`.
const ENTRY_FIELDS: &[Field] = &[
    (1, false),
    (2, false),
    (3, false),
    (4, true),
    (5, false),
    (6, true),
];
/// `eraftpb.Snapshot`, its metadata, and of their `ConfState` the voters, packed or one by one.
const SNAPSHOT_FIELDS: &[Field] = &[(1, true), (METADATA, true)];
const METADATA: u64 = 2;
const METADATA_FIELDS: &[Field] = &[(CONF_STATE, true), (2, false), (3, false)];
const CONF_STATE: u64 = 1;
const CONF_STATE_FIELDS: &[Field] = &[(1, false), (1, true)];

fn check_fields(bytes: &[u8]) -> Result<(), CodecError> {
    let mut entries = 0;
    walk(bytes, MESSAGE_FIELDS, |field, content| match field {
        ENTRIES => {
            entries += 1;
            if entries > ENTRIES_PER_MESSAGE_MAX {
                return Err(CodecError::TooManyEntries);
            }
            walk(content, ENTRY_FIELDS, |_, _| Ok(()))
        }
        SNAPSHOT => check_snapshot_fields(content),
        _ => Ok(()),
    })
}

fn check_snapshot_fields(bytes: &[u8]) -> Result<(), CodecError> {
    walk(bytes, SNAPSHOT_FIELDS, |field, content| {
        if field != METADATA {
            return Ok(());
        }
        walk(content, METADATA_FIELDS, |field, content| match field {
            CONF_STATE => walk(content, CONF_STATE_FIELDS, |_, _| Ok(())),
            _ => Ok(()),
        })
    })
}

fn walk(
    mut bytes: &[u8],
    fields: &[Field],
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        match wire_type {
            0 if fields.contains(&(field, false)) => drop(varint(&mut bytes)?),
            2 if fields.contains(&(field, true)) => {
                let length = usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX);
                let (content, rest) = bytes
                    .split_at_checked(length)
                    .ok_or(CodecError::Undecodable("it ends in the middle of a field"))?;
                visit(field, content)?;
                bytes = rest;
            }
            _ => {
                return Err(CodecError::Undecodable(
                    "it has a field that raft does not know",
                ));
            }
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, CodecError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            return Err(CodecError::Undecodable("it ends in the middle of a number"));
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(CodecError::Undecodable("a number is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Start;
    use crate::log::snapshot_of;
    use proptest::prelude::*;
    use stela_protocol::{BlockNumber, Hash32};

    fn append() -> Message {
        let entry = |index| Entry {
            term: 3,
            index,
            data: Bytes::from_static(b"data"),
            ..Default::default()
        };
        Message {
            msg_type: MessageType::MsgAppend,
            from: 1,
            to: 2,
            term: 3,
            log_term: 2,
            index: 6,
            commit: 5,
            entries: vec![entry(7), entry(8)].into(),
            ..Default::default()
        }
    }

    fn refused(change: impl FnOnce(&mut Message)) -> CodecError {
        let mut message = append();
        change(&mut message);
        decode(&message.write_to_bytes().unwrap().into()).unwrap_err()
    }

    #[test]
    fn a_message_there_and_back() {
        let message = append();
        assert_eq!(decode(&encode(&message).unwrap()), Ok(message));
    }

    #[test]
    fn nested_groups_do_not_reach_the_decoder() {
        let depth = 200_000;
        for field in [1, 7, 9, 99u32] {
            let start: Vec<u8> = varint_bytes(u64::from(field) << 3 | 3);
            let end: Vec<u8> = varint_bytes(u64::from(field) << 3 | 4);
            let nested = [start.repeat(depth), end.repeat(depth)].concat();
            assert!(decode(&nested.clone().into()).is_err());
            for outer in [ENTRIES, SNAPSHOT] {
                let mut within = varint_bytes(outer << 3 | 2);
                within.extend(varint_bytes(nested.len() as u64));
                within.extend(nested.clone());
                assert!(decode(&within.into()).is_err());
            }
        }
    }

    fn varint_bytes(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    #[test]
    fn what_orderers_do_not_send_is_refused() {
        for kind in [
            MessageType::MsgHup,
            MessageType::MsgBeat,
            MessageType::MsgPropose,
            MessageType::MsgTransferLeader,
            MessageType::MsgTimeoutNow,
            MessageType::MsgReadIndex,
        ] {
            assert_eq!(refused(|m| m.msg_type = kind), CodecError::Type(kind));
        }
        refused(|m| m.term = 0);
        let snapshot = || snapshot_of(&start());
        assert_eq!(
            refused(|m| m.snapshot = Some(snapshot()).into()),
            CodecError::Snapshot
        );
        assert_eq!(
            refused(|m| m.msg_type = MessageType::MsgSnapshot),
            CodecError::Snapshot
        );
        refused(|m| {
            m.msg_type = MessageType::MsgSnapshot;
            m.snapshot = Some(snapshot()).into();
            m.mut_snapshot().data = Bytes::from_static(b"snapshot");
        });
    }

    fn start() -> Start {
        Start {
            index: 9,
            term: 3,
            number: BlockNumber(7),
            hash: Hash32([7; 32]),
            voters: vec![1, 2, 300],
        }
    }

    #[test]
    fn a_snapshot_there_and_back() {
        let message = Message {
            msg_type: MessageType::MsgSnapshot,
            from: 1,
            to: 2,
            term: 3,
            snapshot: Some(snapshot_of(&start())).into(),
            ..Default::default()
        };
        assert_eq!(decode(&encode(&message).unwrap()), Ok(message));
    }

    #[test]
    fn a_change_of_voters_carries_a_block() {
        let entry = |entry_type, data: Vec<u8>| Entry {
            entry_type,
            data: data.into(),
            ..Default::default()
        };
        let v2 = EntryType::EntryConfChangeV2;
        for change in [Change::Add(4), Change::Remove(1)] {
            let data = conf_change(change, b"block".to_vec()).write_to_bytes();
            let found = block_in(&entry(v2, data.unwrap()));
            assert_eq!(found, Ok((Bytes::from_static(b"block"), Some(change))));
        }
        let refused = |change: fn(&mut ConfChangeV2)| {
            let mut data = conf_change(Change::Add(4), b"block".to_vec());
            change(&mut data);
            block_in(&entry(v2, data.write_to_bytes().unwrap())).unwrap_err()
        };
        assert_eq!(refused(|c| c.changes.clear()), CodecError::Entry);
        assert_eq!(
            refused(|c| {
                let twice = c.changes[0].clone();
                c.changes.push(twice);
            }),
            CodecError::Entry
        );
        assert_eq!(
            refused(|c| c.transition = ConfChangeTransition::Explicit),
            CodecError::Entry
        );
        assert_eq!(
            refused(|c| c.changes[0].change_type = ConfChangeType::AddLearnerNode),
            CodecError::Entry
        );
        assert!(block_in(&entry(v2, vec![0x0b; 200_000])).is_err());
        assert!(block_in(&entry(v2, Vec::new())).is_err());
        let first = entry(EntryType::EntryConfChange, Vec::new());
        assert_eq!(block_in(&first), Err(CodecError::Entry));
        let normal = entry(EntryType::EntryNormal, b"block".to_vec());
        assert_eq!(block_in(&normal), Ok((Bytes::from_static(b"block"), None)));
    }

    #[test]
    fn entries_must_be_in_order() {
        assert_eq!(refused(|m| m.entries[1].index = 9), CodecError::Entries);
        assert_eq!(refused(|m| m.entries[1].term = 4), CodecError::Entries);
        assert_eq!(refused(|m| m.entries[0].term = 1), CodecError::Entries);
        assert_eq!(refused(|m| m.index = u64::MAX), CodecError::Entries);
        assert_eq!(refused(|m| m.log_term = 0), CodecError::Entries);
        let of_no_term = |m: &mut Message| {
            (m.index, m.log_term) = (0, 0);
            m.entries[0].index = 1;
            m.entries[1].index = 2;
            m.entries[0].term = 0;
        };
        assert_eq!(refused(of_no_term), CodecError::Entries);
        assert_eq!(
            refused(|m| m.entries[0].context = Bytes::from_static(b"x")),
            CodecError::Entries
        );
    }

    #[test]
    fn sizes_are_bounded() {
        let large = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(
            decode(&large),
            Err(CodecError::TooLarge(MESSAGE_BYTES_MAX + 1))
        );
        let entry = [varint_bytes(ENTRIES << 3 | 2), vec![0]].concat();
        let many = Bytes::from(entry.repeat(ENTRIES_PER_MESSAGE_MAX + 1));
        assert_eq!(decode(&many), Err(CodecError::TooManyEntries));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_fall(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes.into());
        }

        #[test]
        fn a_flipped_bit_never_makes_the_decoder_fall(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = encode(&append()).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = decode(&bytes.into());
        }
    }
}
