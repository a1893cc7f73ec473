//! What a ledger keeps and gives out.

use std::fmt;

use bytes::Bytes;
use stela_protocol::limits::SIGNATURE_BYTES;
use stela_protocol::{
    BlockNumber, ContractName, Fingerprint, Hash32, Height, OrgId, TransactionId, ValidationCode,
};

use crate::layout;

/// How far a ledger has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of blocks, so also the number of the next one.
    pub height: u64,
    /// The hash of the newest block's header; zeros before block 0.
    pub header_hash: Hash32,
    /// The running hash of the state; zeros before block 0.
    pub state_hash: Hash32,
    /// The newest configuration block.
    pub last_config: BlockNumber,
    /// The newest block's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl Head {
    /// The head of a ledger without blocks.
    pub const EMPTY: Self = Self {
        height: 0,
        header_hash: Hash32::ZERO,
        state_hash: Hash32::ZERO,
        last_config: BlockNumber(0),
        time_ms: 0,
    };
}

/// Why a channel is no longer served. It holds across restarts, until the ledger was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The kind of reason.
    pub cause: HaltCause,
    /// The number of blocks at which it was found.
    pub height: u64,
    /// The reason, for the operator; it names no value.
    pub what: String,
}

/// The kinds of reasons to serve a channel no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaltCause {
    /// A majority of the organizations has another state.
    Outvoted {
        /// Their state hash at that height.
        majority: Hash32,
    },
    /// What is stored contradicts itself.
    Damaged,
}

/// A block as it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// The encoded `Block`, as it came.
    pub block: Bytes,
    /// One verdict per envelope.
    pub codes: Vec<ValidationCode>,
    /// The running hash of the state after this block.
    pub state_hash: Hash32,
}

/// A value and the transaction that wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct VersionedValue {
    /// Where it was written.
    pub height: Height,
    /// The value.
    pub value: Bytes,
}

impl fmt::Debug for VersionedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VersionedValue({}, {} bytes)",
            self.height,
            self.value.len()
        )
    }
}

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Where the change is.
    pub height: Height,
    /// The transaction that made it.
    pub transaction: TransactionId,
    /// Whether the key was deleted, else it was written.
    pub deleted: bool,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionRecord {
    /// Where it is.
    pub height: Height,
    /// The verdict.
    pub code: ValidationCode,
    /// Its block's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// A certificate that the channel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// The first block in which it counts.
    pub from: BlockNumber,
    /// The certificate, DER.
    pub der: Bytes,
}

/// Whether a side item's transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideState {
    /// Not yet; it is not given out, and removed when it has waited too long.
    Pending,
    /// It is, and its creator had the item: it came here with the signed proposal.
    Committed,
    /// It is, but the item was fetched by its commitment, which whoever reads the ledger knows: that
    /// says nothing about what the creator may decide. Such an item is for the own organization.
    Fetched,
}

/// A side item: erasable data that a transaction commits to.
#[derive(Clone, PartialEq, Eq)]
pub struct SideRecord {
    /// The hash of salt and payload.
    pub commitment: Hash32,
    /// Whether its transaction is committed.
    pub state: SideState,
    /// The transaction that names it.
    pub transaction: TransactionId,
    /// When it came, in milliseconds since the Unix epoch.
    pub received_ms: u64,
    /// Whose peers keep it.
    pub organizations: Vec<OrgId>,
    /// The random salt.
    pub salt: Bytes,
    /// The data.
    pub payload: Bytes,
}

impl fmt::Debug for SideRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideRecord")
            .field("commitment", &self.commitment)
            .field("state", &self.state)
            .field("transaction", &self.transaction)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The entry of an item that waits for its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingSide {
    pub(crate) commitment: Hash32,
    pub(crate) transaction: TransactionId,
    pub(crate) received_ms: u64,
    /// Who proposed the transaction.
    pub(crate) creator: Fingerprint,
    /// Of salt and payload.
    pub(crate) bytes: usize,
}

/// A side item that a committed transaction promises and that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSide {
    /// The hash of salt and payload.
    pub commitment: Hash32,
    /// The transaction that names it.
    pub transaction: TransactionId,
    /// The block that holds the transaction.
    pub block: BlockNumber,
    /// Whose peers keep it, so who can be asked.
    pub organizations: Vec<OrgId>,
}

/// A call that this peer makes itself when a transaction that it endorsed is not committed.
#[derive(Clone, PartialEq, Eq)]
pub struct Note {
    /// The transaction.
    pub transaction: TransactionId,
    /// Who proposed it.
    pub requester: Fingerprint,
    /// The contract that was called, and is called again.
    pub contract: ContractName,
    /// The function that the requester called.
    pub called: String,
    /// The function that this peer calls.
    pub function: String,
    /// Its only argument.
    pub argument: Bytes,
    /// From when on, in milliseconds since the Unix epoch: then the transaction cannot come any more.
    pub due_ms: u64,
    /// The certificate under which this peer endorsed the transaction, and signed the note.
    pub endorser: Fingerprint,
    /// Its signature over [`Note::message`], in
    /// [`domain::NOTE`](stela_protocol::hash::domain::NOTE).
    pub signature: [u8; SIGNATURE_BYTES],
}

impl Note {
    /// What the endorser signs: everything but the signature.
    pub fn message(&self) -> Bytes {
        layout::note_message(self)
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note")
            .field("transaction", &self.transaction)
            .field("function", &self.function)
            .field("argument_bytes", &self.argument.len())
            .finish_non_exhaustive()
    }
}

/// One change of the state by a valid transaction.
#[derive(Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The contract whose key it is.
    pub namespace: ContractName,
    /// The key.
    pub key: Bytes,
    /// The new value; nothing deletes the key.
    pub value: Option<Bytes>,
    /// The index of the transaction in the block.
    pub index: u32,
    /// The transaction.
    pub transaction: TransactionId,
}

impl fmt::Debug for StateWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateWrite")
            .field("namespace", &self.namespace)
            .field("index", &self.index)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

/// A side item that a valid transaction of a block names and that this organization must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidePromise {
    /// The hash of salt and payload.
    pub commitment: Hash32,
    /// The transaction that names it.
    pub transaction: TransactionId,
    /// Whose peers keep it.
    pub organizations: Vec<OrgId>,
}

/// Everything that a validated block changes.
#[derive(Debug, Clone)]
pub struct BlockCommit {
    /// The block's number; has to be the ledger's height.
    pub number: BlockNumber,
    /// The header's previous hash; has to be the ledger's header hash.
    pub previous_hash: Hash32,
    /// The hash of the header.
    pub header_hash: Hash32,
    /// The header's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The header's newest configuration block.
    pub last_config: BlockNumber,
    /// The encoded `Block`.
    pub block: Bytes,
    /// One verdict per envelope.
    pub codes: Vec<ValidationCode>,
    /// The running hash of the state after this block.
    pub state_hash: Hash32,
    /// The changes of the valid transactions, in the order of the block.
    pub writes: Vec<StateWrite>,
    /// The transactions to index, with their index in the block. The caller leaves out ids that
    /// were taken before.
    pub transactions: Vec<(TransactionId, u32)>,
    /// New certificates; they count from the next block on. Known ones keep their place.
    pub certificates: Vec<(Fingerprint, Bytes)>,
    /// Side items that valid transactions promise to this organization.
    pub side: Vec<SidePromise>,
    /// The encoded `ChannelConfig`, if this block puts one into force; block 0 does.
    pub config: Option<Bytes>,
}

/// What a commit left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The new head.
    pub head: Head,
    /// The commitments of promised side items that are not here; see [`LedgerRead::side_missing`].
    ///
    /// [`LedgerRead::side_missing`]: crate::LedgerRead::side_missing
    pub missing_side: Vec<Hash32>,
}
