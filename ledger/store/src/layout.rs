//! Every key and value of a peer's ledger. One database holds one channel.
//!
//! Numbers are big-endian, so that their order is the order of the keys. Every value starts with
//! the version byte [`FORMAT`], which the tables leave out, and so does no key. `len16(x)` is the
//! length of `x` in two bytes and then `x`.
//!
//! | Family | Key | Value |
//! |---|---|---|
//! | `meta` | `channel` | the channel's name |
//! | `meta` | `head` | height u64, header hash 32, state hash 32, last config u64, time in ms u64 |
//! | `meta` | `config` | the encoded `ChannelConfig` in force |
//! | `meta` | `halt` | `1` outvoted or `2` damaged, height u64, the majority's state hash 32 or zeros, then the reason in UTF-8; absent while the channel is served |
//! | `blocks` | number u64 | the encoded `Block` |
//! | `codes` | number u64 | state hash after the block 32, then one validation code u8 per envelope |
//! | `state` | namespace, `0`, key | height (block u64, transaction u32), then the value |
//! | `history` | namespace, `0`, len16(key), height | `1` written or `0` deleted, transaction id 32 |
//! | `transactions` | transaction id 32 | height, validation code u8, block's time in ms u64 |
//! | `certificates` | fingerprint 32 | the block from which it counts u64, then the DER |
//! | `side` | commitment 32, transaction id 32 | `0` pending, `1` committed or `2` fetched, received ms u64, number of organizations u16, len16(organization)…, len16(salt), then the payload |
//! | `pending` | received ms u64, commitment 32, transaction id 32 | the creator's fingerprint 32, bytes of salt and payload u64 |
//! | `missing` | commitment 32, transaction id 32 | block u64, number of organizations u16, len16(organization)… |
//! | `notes` | transaction id 32 | due ms u64, the requester's fingerprint 32, len16(contract), len16(function that she called), len16(function to call), len16(argument), the endorser's fingerprint 32, its signature 64 |
//!
//! `state` holds only keys that exist; `history` also tells deletions. A namespace is a contract's
//! name and has no zero byte. `pending` is an index over the pending items of `side`. `missing`
//! names what committed transactions promise to this organization and has not come yet. An item
//! belongs to one transaction: anybody can repeat a commitment, but not for another's transaction.
//! A note's signature is over its key and the rest of its value, without the version byte.

use bytes::{BufMut, Bytes, BytesMut};
use stela_protocol::{
    BlockNumber, ContractName, Fingerprint, Hash32, Height, OrgId, TransactionId, ValidationCode,
};

use crate::error::StoreError;
use crate::kv::Family;
use crate::ledger::{
    CertificateRecord, Halt, HaltCause, Head, HistoryEntry, MissingSide, Note, PendingSide,
    SideRecord, SideState, TransactionRecord, VersionedValue,
};

/// The version byte of every value.
pub const FORMAT: u8 = 1;

/// Single values about the channel.
pub const META: Family = "meta";
/// Blocks by number.
pub const BLOCKS: Family = "blocks";
/// Verdicts and state hashes by block number.
pub const CODES: Family = "codes";
/// The current value and height of every key.
pub const STATE: Family = "state";
/// Who wrote a key, and when.
pub const HISTORY: Family = "history";
/// Where a transaction is and what became of it.
pub const TRANSACTIONS: Family = "transactions";
/// Known certificates.
pub const CERTIFICATES: Family = "certificates";
/// Erasable data that travels beside transactions.
pub const SIDE: Family = "side";
/// Pending side items by the time of their arrival.
pub const PENDING: Family = "pending";
/// Side items that were promised and have not come.
pub const MISSING: Family = "missing";
/// Calls to be made when transactions do not come.
pub const NOTES: Family = "notes";

/// All families of a peer's ledger, for opening its store.
pub const FAMILIES: &[Family] = &[
    META,
    BLOCKS,
    CODES,
    STATE,
    HISTORY,
    TRANSACTIONS,
    CERTIFICATES,
    SIDE,
    PENDING,
    MISSING,
    NOTES,
];

pub(crate) const CHANNEL_KEY: &[u8] = b"channel";
pub(crate) const HEAD_KEY: &[u8] = b"head";
pub(crate) const CONFIG_KEY: &[u8] = b"config";
pub(crate) const HALT_KEY: &[u8] = b"halt";

/// Bytes of a height at the end of a key.
pub(crate) const HEIGHT_BYTES: usize = 12;

// ------------------------------------------------------------------------------------------ keys

pub(crate) fn number_key(number: BlockNumber) -> Bytes {
    Bytes::copy_from_slice(&number.0.to_be_bytes())
}

pub(crate) fn namespace_prefix(namespace: &ContractName) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[0]].concat()
}

/// The first key behind all of the namespace's.
pub(crate) fn namespace_end(namespace: &ContractName) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[1]].concat()
}

pub(crate) fn state_key(namespace: &ContractName, key: &[u8]) -> Bytes {
    [namespace.as_str().as_bytes(), &[0], key].concat().into()
}

pub(crate) fn history_prefix(namespace: &ContractName, key: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::from(namespace_prefix(namespace).as_slice());
    put16(&mut out, key);
    out.to_vec()
}

pub(crate) fn history_key(namespace: &ContractName, key: &[u8], height: Height) -> Bytes {
    let mut out = BytesMut::from(history_prefix(namespace, key).as_slice());
    put_height(&mut out, height);
    out.freeze()
}

/// The key of an item of one transaction, in the families `side` and `missing`.
pub(crate) fn side_key(commitment: &Hash32, transaction: &TransactionId) -> Bytes {
    [commitment.0, transaction.0].concat().into()
}

pub(crate) fn pending_key(
    received_ms: u64,
    commitment: &Hash32,
    transaction: &TransactionId,
) -> Bytes {
    [
        received_ms.to_be_bytes().as_slice(),
        &commitment.0,
        &transaction.0,
    ]
    .concat()
    .into()
}

// ---------------------------------------------------------------------------------------- values

fn value() -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    out
}

/// For what the callers have checked to be shorter than 64 KiB: keys, salts and names.
fn put16(out: &mut BytesMut, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("keys, salts and names are limited to less");
    out.put_u16(len);
    out.put_slice(bytes);
}

fn put_height(out: &mut BytesMut, height: Height) {
    out.put_u64(height.block);
    out.put_u32(height.transaction);
}

fn put_organizations(out: &mut BytesMut, organizations: &[OrgId]) {
    let count = u16::try_from(organizations.len()).expect("a channel has fewer organizations");
    out.put_u16(count);
    for organization in organizations {
        put16(out, organization.as_str().as_bytes());
    }
}

/// A value that is bytes only.
pub(crate) fn encode_bytes(bytes: &[u8]) -> Bytes {
    let mut out = value();
    out.put_slice(bytes);
    out.freeze()
}

pub(crate) fn encode_head(head: &Head) -> Bytes {
    let mut out = value();
    out.put_u64(head.height);
    out.put_slice(&head.header_hash.0);
    out.put_slice(&head.state_hash.0);
    out.put_u64(head.last_config.0);
    out.put_u64(head.time_ms);
    out.freeze()
}

pub(crate) fn encode_halt(halt: &Halt) -> Bytes {
    let (cause, hash) = match halt.cause {
        HaltCause::Outvoted { majority } => (1, majority),
        HaltCause::Damaged => (2, Hash32::ZERO),
    };
    let mut out = value();
    out.put_u8(cause);
    out.put_u64(halt.height);
    out.put_slice(&hash.0);
    out.put_slice(halt.what.as_bytes());
    out.freeze()
}

pub(crate) fn encode_codes(state_hash: &Hash32, codes: &[ValidationCode]) -> Bytes {
    let mut out = value();
    out.put_slice(&state_hash.0);
    out.extend(codes.iter().map(|code| *code as u8));
    out.freeze()
}

pub(crate) fn encode_state(height: Height, bytes: &[u8]) -> Bytes {
    let mut out = value();
    put_height(&mut out, height);
    out.put_slice(bytes);
    out.freeze()
}

pub(crate) fn encode_history(deleted: bool, transaction: &TransactionId) -> Bytes {
    let mut out = value();
    out.put_u8(u8::from(!deleted));
    out.put_slice(&transaction.0);
    out.freeze()
}

pub(crate) fn encode_transaction(record: &TransactionRecord) -> Bytes {
    let mut out = value();
    put_height(&mut out, record.height);
    out.put_u8(record.code as u8);
    out.put_u64(record.time_ms);
    out.freeze()
}

pub(crate) fn encode_certificate(record: &CertificateRecord) -> Bytes {
    let mut out = value();
    out.put_u64(record.from.0);
    out.put_slice(&record.der);
    out.freeze()
}

pub(crate) fn encode_side(record: &SideRecord) -> Bytes {
    let mut out = value();
    out.put_u8(match record.state {
        SideState::Pending => 0,
        SideState::Committed => 1,
        SideState::Fetched => 2,
    });
    out.put_u64(record.received_ms);
    put_organizations(&mut out, &record.organizations);
    put16(&mut out, &record.salt);
    out.put_slice(&record.payload);
    out.freeze()
}

pub(crate) fn encode_missing(missing: &MissingSide) -> Bytes {
    let mut out = value();
    out.put_u64(missing.block.0);
    put_organizations(&mut out, &missing.organizations);
    out.freeze()
}

pub(crate) fn encode_pending(pending: &PendingSide) -> Bytes {
    let mut out = value();
    out.put_slice(&pending.creator.0);
    out.put_u64(pending.bytes as u64);
    out.freeze()
}

fn put_note(out: &mut BytesMut, note: &Note) {
    out.put_u64(note.due_ms);
    out.put_slice(&note.requester.0);
    put16(out, note.contract.as_str().as_bytes());
    put16(out, note.called.as_bytes());
    put16(out, note.function.as_bytes());
    put16(out, &note.argument);
    out.put_slice(&note.endorser.0);
}

pub(crate) fn note_message(note: &Note) -> Bytes {
    let mut out = BytesMut::from(&note.transaction.0[..]);
    put_note(&mut out, note);
    out.freeze()
}

pub(crate) fn encode_note(note: &Note) -> Bytes {
    let mut out = value();
    put_note(&mut out, note);
    out.put_slice(&note.signature);
    out.freeze()
}

// --------------------------------------------------------------------------------------- reading

/// Takes a value apart; everything that does not fit is damage.
struct Parts {
    what: &'static str,
    rest: Bytes,
}

impl Parts {
    fn new(what: &'static str, bytes: Bytes) -> Result<Self, StoreError> {
        let mut parts = Self { what, rest: bytes };
        match parts.u8()? {
            FORMAT => Ok(parts),
            found => Err(StoreError::Format {
                found,
                expected: FORMAT,
            }),
        }
    }

    fn damaged(&self) -> StoreError {
        StoreError::corrupt(self.what)
    }

    fn take(&mut self, len: usize) -> Result<Bytes, StoreError> {
        if self.rest.len() < len {
            Err(self.damaged())
        } else {
            Ok(self.rest.split_to(len))
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.take(N)?;
        bytes.as_ref().try_into().map_err(|_| self.damaged())
    }

    fn u8(&mut self) -> Result<u8, StoreError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, StoreError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, StoreError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged()),
        }
    }

    fn height(&mut self) -> Result<Height, StoreError> {
        Ok(Height {
            block: self.u64()?,
            transaction: self.u32()?,
        })
    }

    fn code(&mut self) -> Result<ValidationCode, StoreError> {
        let number = self.u8()?;
        ValidationCode::try_from(u32::from(number)).map_err(|_| self.damaged())
    }

    fn bytes16(&mut self) -> Result<Bytes, StoreError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn organizations(&mut self) -> Result<Vec<OrgId>, StoreError> {
        let count = self.u16()?;
        (0..count).map(|_| self.organization()).collect()
    }

    fn organization(&mut self) -> Result<OrgId, StoreError> {
        let name = self.bytes16()?;
        let name = std::str::from_utf8(&name).map_err(|_| self.damaged())?;
        OrgId::new(name).map_err(|_| self.damaged())
    }

    fn text16(&mut self) -> Result<String, StoreError> {
        let bytes = self.bytes16()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.damaged())
    }

    fn end(self) -> Result<(), StoreError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.damaged())
        }
    }
}

pub(crate) fn decode_bytes(what: &'static str, bytes: Bytes) -> Result<Bytes, StoreError> {
    Ok(Parts::new(what, bytes)?.rest)
}

pub(crate) fn decode_head(bytes: Bytes) -> Result<Head, StoreError> {
    let mut parts = Parts::new("the head", bytes)?;
    let head = Head {
        height: parts.u64()?,
        header_hash: Hash32(parts.array()?),
        state_hash: Hash32(parts.array()?),
        last_config: BlockNumber(parts.u64()?),
        time_ms: parts.u64()?,
    };
    parts.end().map(|()| head)
}

pub(crate) fn decode_halt(bytes: Bytes) -> Result<Halt, StoreError> {
    let mut parts = Parts::new("why the channel was halted", bytes)?;
    let cause = parts.u8()?;
    let height = parts.u64()?;
    let majority = Hash32(parts.array()?);
    let cause = match cause {
        1 => HaltCause::Outvoted { majority },
        2 => HaltCause::Damaged,
        _ => return Err(parts.damaged()),
    };
    let what = std::str::from_utf8(&parts.rest).map_err(|_| parts.damaged())?;
    Ok(Halt {
        cause,
        height,
        what: what.to_owned(),
    })
}

pub(crate) fn decode_codes(bytes: Bytes) -> Result<(Hash32, Vec<ValidationCode>), StoreError> {
    let mut parts = Parts::new("the verdicts on a block", bytes)?;
    let state_hash = Hash32(parts.array()?);
    let count = parts.rest.len();
    let codes = (0..count).map(|_| parts.code()).collect::<Result<_, _>>()?;
    Ok((state_hash, codes))
}

pub(crate) fn decode_state(bytes: Bytes) -> Result<VersionedValue, StoreError> {
    let mut parts = Parts::new("a value of the state", bytes)?;
    let height = parts.height()?;
    Ok(VersionedValue {
        height,
        value: parts.rest,
    })
}

/// Takes a key of the family `history` apart: the namespace, the contract's key, and the height.
pub(crate) fn decode_history_key(key: &Bytes) -> Result<(ContractName, Bytes, Height), StoreError> {
    let damaged = || StoreError::corrupt("the key of a history entry");
    let name = key.iter().position(|byte| *byte == 0).ok_or_else(damaged)?;
    let namespace = namespace(&key[..name]).ok_or_else(damaged)?;
    let mut parts = Parts {
        what: "the key of a history entry",
        rest: key.slice(name + 1..),
    };
    let of = parts.bytes16()?;
    let height = parts.height()?;
    parts.end().map(|()| (namespace, of, height))
}

/// Takes a key of the family `state` apart: the namespace and the contract's key.
pub(crate) fn decode_state_key(key: &Bytes) -> Result<(ContractName, Bytes), StoreError> {
    let damaged = || StoreError::corrupt("a key of the state");
    let name = key.iter().position(|byte| *byte == 0).ok_or_else(damaged)?;
    let namespace = namespace(&key[..name]).ok_or_else(damaged)?;
    Ok((namespace, key.slice(name + 1..)))
}

fn namespace(bytes: &[u8]) -> Option<ContractName> {
    ContractName::new(std::str::from_utf8(bytes).ok()?).ok()
}

/// `height` is the end of an entry's key, `bytes` its value.
pub(crate) fn decode_history(height: &[u8], bytes: Bytes) -> Result<HistoryEntry, StoreError> {
    let mut key = Parts {
        what: "the key of a history entry",
        rest: Bytes::copy_from_slice(height),
    };
    let height = key.height()?;
    key.end()?;
    let mut parts = Parts::new("a history entry", bytes)?;
    let deleted = !parts.flag()?;
    let transaction = TransactionId(parts.array()?);
    parts.end().map(|()| HistoryEntry {
        height,
        transaction,
        deleted,
    })
}

pub(crate) fn decode_transaction(bytes: Bytes) -> Result<TransactionRecord, StoreError> {
    let mut parts = Parts::new("a transaction's record", bytes)?;
    let record = TransactionRecord {
        height: parts.height()?,
        code: parts.code()?,
        time_ms: parts.u64()?,
    };
    parts.end().map(|()| record)
}

pub(crate) fn decode_certificate(bytes: Bytes) -> Result<CertificateRecord, StoreError> {
    let mut parts = Parts::new("a certificate", bytes)?;
    let from = BlockNumber(parts.u64()?);
    Ok(CertificateRecord {
        from,
        der: parts.rest,
    })
}

/// The commitment and the transaction in a key of the families `side` and `missing`.
pub(crate) fn decode_side_key(key: &[u8]) -> Result<(Hash32, TransactionId), StoreError> {
    let mut parts = Parts {
        what: "the key of a side item",
        rest: Bytes::copy_from_slice(key),
    };
    let ids = (Hash32(parts.array()?), TransactionId(parts.array()?));
    parts.end().map(|()| ids)
}

pub(crate) fn decode_side(key: &[u8], bytes: Bytes) -> Result<SideRecord, StoreError> {
    let (commitment, transaction) = decode_side_key(key)?;
    let mut parts = Parts::new("a side item", bytes)?;
    let state = match parts.u8()? {
        0 => SideState::Pending,
        1 => SideState::Committed,
        2 => SideState::Fetched,
        _ => return Err(parts.damaged()),
    };
    Ok(SideRecord {
        commitment,
        state,
        transaction,
        received_ms: parts.u64()?,
        organizations: parts.organizations()?,
        salt: parts.bytes16()?,
        payload: parts.rest,
    })
}

pub(crate) fn decode_missing(key: &[u8], bytes: Bytes) -> Result<MissingSide, StoreError> {
    let (commitment, transaction) = decode_side_key(key)?;
    let mut parts = Parts::new("a missing side item", bytes)?;
    let missing = MissingSide {
        commitment,
        transaction,
        block: BlockNumber(parts.u64()?),
        organizations: parts.organizations()?,
    };
    parts.end().map(|()| missing)
}

/// An entry of the family `pending`.
pub(crate) fn decode_pending(key: &[u8], bytes: Bytes) -> Result<PendingSide, StoreError> {
    let mut key = Parts {
        what: "the key of a pending entry",
        rest: Bytes::copy_from_slice(key),
    };
    let received_ms = key.u64()?;
    let (commitment, transaction) = decode_side_key(&key.rest)?;
    let mut parts = Parts::new("a pending entry", bytes)?;
    let creator = Fingerprint(parts.array()?);
    let bytes = usize::try_from(parts.u64()?).map_err(|_| parts.damaged())?;
    parts.end().map(|()| PendingSide {
        commitment,
        transaction,
        received_ms,
        creator,
        bytes,
    })
}

pub(crate) fn decode_note(key: &[u8], bytes: Bytes) -> Result<Note, StoreError> {
    let transaction =
        TransactionId::from_slice(key).map_err(|_| StoreError::corrupt("the key of a note"))?;
    let mut parts = Parts::new("a note", bytes)?;
    let due_ms = parts.u64()?;
    let requester = Fingerprint(parts.array()?);
    let contract = ContractName::new(&parts.text16()?).map_err(|_| parts.damaged())?;
    let note = Note {
        transaction,
        requester,
        contract,
        called: parts.text16()?,
        function: parts.text16()?,
        argument: parts.bytes16()?,
        due_ms,
        endorser: Fingerprint(parts.array()?),
        signature: parts.array()?,
    };
    parts.end().map(|()| note)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEIGHT: Height = Height {
        block: 0x0102_0304_0506_0708,
        transaction: 0x090a_0b0c,
    };
    const ID: TransactionId = TransactionId([0xaa; 32]);

    fn name() -> ContractName {
        ContractName::new("care").unwrap()
    }

    fn organizations() -> Vec<OrgId> {
        vec![OrgId::new("A").unwrap(), OrgId::new("Bc").unwrap()]
    }

    fn side() -> SideRecord {
        SideRecord {
            commitment: Hash32([0xcc; 32]),
            state: SideState::Committed,
            transaction: ID,
            received_ms: 7,
            organizations: organizations(),
            salt: Bytes::from_static(b"salt"),
            payload: Bytes::from_static(b"payload"),
        }
    }

    fn missing() -> MissingSide {
        MissingSide {
            commitment: Hash32([0xcc; 32]),
            transaction: ID,
            block: BlockNumber(9),
            organizations: organizations(),
        }
    }

    fn pending() -> PendingSide {
        PendingSide {
            commitment: Hash32([0xcc; 32]),
            transaction: ID,
            received_ms: 7,
            creator: Fingerprint([0xee; 32]),
            bytes: 9,
        }
    }

    fn note() -> Note {
        Note {
            transaction: ID,
            requester: Fingerprint([0xee; 32]),
            contract: name(),
            called: "ask".to_owned(),
            function: "note".to_owned(),
            argument: Bytes::from_static(b"{}"),
            due_ms: 7,
            endorser: Fingerprint([0xdd; 32]),
            signature: [0xcc; 64],
        }
    }

    fn head() -> Head {
        Head {
            height: 3,
            header_hash: Hash32([1; 32]),
            state_hash: Hash32([2; 32]),
            last_config: BlockNumber(1),
            time_ms: 5,
        }
    }

    fn halts() -> [Halt; 2] {
        let majority = Hash32([0xcc; 32]);
        [HaltCause::Outvoted { majority }, HaltCause::Damaged].map(|cause| Halt {
            cause,
            height: 9,
            what: "why".to_owned(),
        })
    }

    fn transaction() -> TransactionRecord {
        TransactionRecord {
            height: HEIGHT,
            code: ValidationCode::MvccReadConflict,
            time_ms: 5,
        }
    }

    /// Bytes on disks out there: if one of these fails, `FORMAT` has to change.
    #[test]
    fn golden_bytes() {
        let check = |actual: Bytes, expected: &str| {
            assert_eq!(hex::encode(actual), expected.replace([' ', '\n'], ""));
        };
        let (a32, c32) = ("aa".repeat(32), "cc".repeat(32));
        check(number_key(BlockNumber(258)), "0000000000000102");
        check(state_key(&name(), b"k"), "63617265 00 6b");
        check(
            history_key(&name(), b"k", HEIGHT),
            "63617265 00 0001 6b 0102030405060708 090a0b0c",
        );
        check(side_key(&Hash32([0xcc; 32]), &ID), &format!("{c32} {a32}"));
        check(
            pending_key(7, &Hash32([0xcc; 32]), &ID),
            &format!("0000000000000007 {c32} {a32}"),
        );
        check(
            encode_pending(&pending()),
            &format!("01 {} 0000000000000009", "ee".repeat(32)),
        );
        check(encode_bytes(b"x"), "01 78");
        check(
            encode_head(&head()),
            &format!(
                "01 0000000000000003 {} {} 0000000000000001 0000000000000005",
                "01".repeat(32),
                "02".repeat(32)
            ),
        );
        let zeros = "00".repeat(32);
        for (halt, cause, hash) in [(0, "01", &c32), (1, "02", &zeros)] {
            check(
                encode_halt(&halts()[halt]),
                &format!("01 {cause} 0000000000000009 {hash} 776879"),
            );
        }
        check(
            encode_codes(
                &Hash32([0xcc; 32]),
                &[ValidationCode::Valid, ValidationCode::Expired],
            ),
            &format!("01 {c32} 00 40"),
        );
        check(
            encode_state(HEIGHT, b"v"),
            "01 0102030405060708 090a0b0c 76",
        );
        check(encode_history(false, &ID), &format!("01 01 {a32}"));
        check(encode_history(true, &ID), &format!("01 00 {a32}"));
        check(
            encode_transaction(&transaction()),
            "01 0102030405060708 090a0b0c 0b 0000000000000005",
        );
        let der = Bytes::from_static(b"DER");
        check(
            encode_certificate(&CertificateRecord {
                from: BlockNumber(2),
                der,
            }),
            "01 0000000000000002 444552",
        );
        check(
            encode_side(&side()),
            "01 01 0000000000000007 0002 0001 41 0002 4263 0004 73616c74 7061796c6f6164",
        );
        for (state, byte) in [(SideState::Pending, 0), (SideState::Fetched, 2)] {
            assert_eq!(encode_side(&SideRecord { state, ..side() })[1], byte);
        }
        check(
            encode_missing(&missing()),
            "01 0000000000000009 0002 0001 41 0002 4263",
        );
        let body = format!(
            "0000000000000007 {} 0004 63617265 0003 61736b 0004 6e6f7465 0002 7b7d {}",
            "ee".repeat(32),
            "dd".repeat(32)
        );
        check(encode_note(&note()), &format!("01 {body} {c32} {c32}"));
        check(note_message(&note()), &format!("{a32} {body}"));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(decode_head(encode_head(&head())), Ok(head()));
        for halt in halts() {
            assert_eq!(decode_halt(encode_halt(&halt)), Ok(halt));
        }
        assert_eq!(
            decode_history_key(&history_key(&name(), b"k\0", HEIGHT)),
            Ok((name(), Bytes::from_static(b"k\0"), HEIGHT))
        );
        assert_eq!(
            decode_state_key(&state_key(&name(), b"k\0")),
            Ok((name(), Bytes::from_static(b"k\0")))
        );
        assert_eq!(
            decode_transaction(encode_transaction(&transaction())),
            Ok(transaction())
        );
        let key = side_key(&Hash32([0xcc; 32]), &ID);
        for state in [SideState::Pending, SideState::Committed, SideState::Fetched] {
            let side = SideRecord { state, ..side() };
            assert_eq!(decode_side(&key, encode_side(&side)), Ok(side));
        }
        assert_eq!(
            decode_missing(&key, encode_missing(&missing())),
            Ok(missing())
        );
        let codes = vec![ValidationCode::Valid, ValidationCode::DuplicateTxid];
        let encoded = encode_codes(&Hash32([3; 32]), &codes);
        assert_eq!(decode_codes(encoded), Ok((Hash32([3; 32]), codes)));
        let key = pending_key(7, &Hash32([0xcc; 32]), &ID);
        let value = encode_pending(&pending());
        assert_eq!(decode_pending(&key, value), Ok(pending()));
        assert_eq!(decode_note(&ID.0, encode_note(&note())), Ok(note()));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = encode_head(&head()).to_vec();
        bytes[0] = 2;
        let expected = StoreError::Format {
            found: 2,
            expected: 1,
        };
        assert_eq!(decode_head(bytes.into()), Err(expected));
    }

    #[test]
    fn the_history_of_a_key_is_not_that_of_a_longer_one() {
        let longer = [b"k".as_slice(), &[0; 12]].concat();
        let other = history_key(&name(), &longer, HEIGHT);
        assert!(!other.starts_with(&history_prefix(&name(), b"k")));
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            let bytes = Bytes::from(bytes);
            let _ = decode_head(bytes.clone());
            let _ = decode_codes(bytes.clone());
            let _ = decode_halt(bytes.clone());
            let _ = decode_history_key(&bytes);
            let _ = decode_state_key(&bytes);
            let _ = decode_state(bytes.clone());
            let _ = decode_history(&bytes, bytes.clone());
            let _ = decode_transaction(bytes.clone());
            let _ = decode_certificate(bytes.clone());
            let key = side_key(&Hash32::ZERO, &ID);
            let _ = decode_side(&key, bytes.clone());
            let _ = decode_missing(&key, bytes.clone());
            let _ = decode_pending(&pending_key(7, &Hash32::ZERO, &ID), bytes.clone());
            let _ = decode_side(&bytes, encode_side(&side()));
            let _ = decode_pending(&bytes, encode_pending(&pending()));
            let _ = decode_note(&ID.0, bytes.clone());
            let _ = decode_note(&bytes, encode_note(&note()));
        }

        #[test]
        fn a_shortened_value_is_refused(cut in 0..80_usize) {
            let whole = encode_head(&head());
            let cut = cut.min(whole.len() - 1);
            prop_assert!(decode_head(whole.slice(..cut)).is_err());
        }
    }
}
