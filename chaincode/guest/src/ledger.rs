//! The ledger as a contract sees it.

use crate::key::{Key, KeyRange};

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key's bytes; [`Key::decode`] takes them apart.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// A part of a range, in ascending order of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// What was found.
    pub entries: Vec<Entry>,
    /// Where the next page starts, when there may be one: it is set whenever the limit was reached,
    /// even if nothing follows.
    pub next: Option<Vec<u8>>,
}

/// Where a transaction stands in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The block's number.
    pub block: u64,
    /// Its index in the block.
    pub transaction: u32,
}

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Where it was changed.
    pub at: Position,
    /// The transaction that did.
    pub transaction_id: [u8; 32],
    /// The time of its block, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What it wrote; nothing when it deleted the key.
    pub value: Option<Vec<u8>>,
}

/// A part of a key's history, the newest change first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// What was found.
    pub versions: Vec<Version>,
    /// What to ask for next, when there may be more.
    pub next: Option<Position>,
}

/// Why the contract runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The answer will be endorsed and may become a transaction.
    Endorse,
    /// A question to one peer; what is written is dropped.
    Evaluate,
}

/// Who signed the proposal, as the certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The member organization that issued the certificate.
    pub organization: String,
    /// The role in it; empty when the certificate has none.
    pub role: String,
    /// Further attributes: names and values.
    pub attributes: Vec<(String, String)>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

impl Caller {
    /// A caller without further attributes.
    pub fn new(organization: &str, role: &str, fingerprint: [u8; 32]) -> Self {
        Self {
            organization: organization.to_owned(),
            role: role.to_owned(),
            attributes: Vec::new(),
            fingerprint,
        }
    }

    /// The same caller with one attribute more.
    #[must_use]
    pub fn with_attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|(n, value)| (n == name).then_some(value.as_str()))
    }
}

/// The invocation's circumstances, the same on every endorsing peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The channel.
    pub channel: String,
    /// The contract's own name.
    pub contract: String,
    /// The transaction's id.
    pub transaction_id: [u8; 32],
    /// When the proposal was made, in milliseconds since the Unix epoch, by its creator's clock;
    /// within the channel's window around the time of the block that commits it.
    pub timestamp_ms: u64,
    /// Why the contract runs.
    pub mode: Mode,
    /// Who called.
    pub caller: Caller,
    /// Commitments to the erasable data that travels beside the proposal.
    pub side: Vec<[u8; 32]>,
    /// What the channel's configuration sets for the contract; empty when it sets nothing.
    pub settings: Vec<u8>,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For finding a defect.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warn,
    /// Something failed.
    Error,
}

/// The state of one contract, and the circumstances of one invocation.
///
/// Reads see the state as it was when the invocation began, never the invocation's own writes. A
/// call that breaks one of the host's limits ends the invocation.
pub trait Ledger {
    /// The value of a key, if it exists.
    fn get(&self, key: &Key) -> Option<Vec<u8>>;

    /// Writes a key when the transaction is committed; the last write of a key counts.
    fn put(&mut self, key: &Key, value: &[u8]);

    /// Deletes a key when the transaction is committed.
    fn delete(&mut self, key: &Key);

    /// At most `limit` entries of a range.
    fn range(&self, range: &KeyRange, limit: u32) -> Page;

    /// At most `limit` changes of a key, the newest first; with `before` only those before that
    /// place. For questions only: an invocation that is to be endorsed is ended by a call.
    fn history(&self, key: &Key, before: Option<Position>, limit: u32) -> Part;

    /// The circumstances.
    fn invocation(&self) -> &Invocation;

    /// Tells listeners something when the transaction is committed.
    fn set_event(&mut self, name: &str, payload: &[u8]);

    /// Lets the transaction be committed only in a block whose time is before `time_ms`; of
    /// several times the earliest counts.
    fn expire_at(&mut self, time_ms: u64);

    /// Has the endorsing peer itself call `function` with `argument` in a transaction, when the
    /// one that this invocation was endorsed for is not committed in its window: what was found
    /// must not depend on the will of the one who asked. Every endorser makes the call until it is
    /// committed, or the function refuses it with the code `already-exists`. The last call counts; it
    /// is never part of the result.
    fn on_absence(&mut self, function: &str, argument: &[u8]);

    /// Tells the operators of this peer something; never part of the result.
    fn log(&self, level: Level, message: &str);
}
