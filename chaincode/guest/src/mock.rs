//! A ledger in memory, for unit tests of contracts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::error::ContractError;
use crate::key::{Key, KeyRange};
use crate::ledger::{
    Caller, Entry, Invocation, Ledger, Level, Mode, Page, Part, Position, Version,
};

/// The time at which a mock ledger begins: 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

/// A contract with a state in memory. Each submission that succeeds is committed at once; time
/// stands still until a test moves it.
pub struct MockLedger<C> {
    contract: C,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every change of each key, the oldest first.
    history: History,
    time_ms: u64,
    settings: Vec<u8>,
    transactions: u64,
}

type History = BTreeMap<Vec<u8>, Vec<Version>>;

/// What one invocation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub payload: Vec<u8>,
    /// The events, in order: names and payloads.
    pub events: Vec<(String, Vec<u8>)>,
    /// What was logged.
    pub logs: Vec<(Level, String)>,
    /// Keys that were read one by one.
    pub reads: usize,
    /// Ranges that were read.
    pub ranges: usize,
    /// Writes and deletions by key; `None` deletes.
    pub writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Before which block time the transaction has to be committed.
    pub expires_at_ms: Option<u64>,
    /// The function that the endorser calls, and its argument, when the transaction does not come.
    pub on_absence: Option<(String, Vec<u8>)>,
    /// The transaction's id.
    pub transaction_id: [u8; 32],
}

impl<C> MockLedger<C>
where
    C: Fn(&mut dyn Ledger, &str, &[Vec<u8>]) -> Result<Vec<u8>, ContractError>,
{
    /// An empty ledger that runs `contract`.
    pub fn new(contract: C) -> Self {
        Self {
            contract,
            state: BTreeMap::new(),
            history: History::new(),
            time_ms: START_MS,
            settings: Vec::new(),
            transactions: 0,
        }
    }

    /// The time that the next invocation sees.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Moves the time forward.
    pub fn advance_ms(&mut self, by: u64) {
        self.time_ms += by;
    }

    /// What the channel's configuration sets for the contract from now on.
    pub fn set_settings(&mut self, settings: &[u8]) {
        self.settings = settings.to_vec();
    }

    /// The committed value of a key.
    pub fn value(&self, key: &Key) -> Option<&[u8]> {
        self.state.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// Every committed key with its value.
    pub fn state(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.state
    }

    /// Runs a function as a transaction and, when it succeeds, commits what it wrote.
    ///
    /// # Errors
    /// The contract's refusal; then nothing is written.
    pub fn submit(
        &mut self,
        caller: &Caller,
        function: &str,
        arguments: &[&[u8]],
    ) -> Result<Outcome, ContractError> {
        self.submit_with_side(caller, function, arguments, &[])
    }

    /// [`MockLedger::submit`] with commitments to data beside the proposal.
    ///
    /// # Errors
    /// The contract's refusal; then nothing is written.
    pub fn submit_with_side(
        &mut self,
        caller: &Caller,
        function: &str,
        arguments: &[&[u8]],
        side: &[[u8; 32]],
    ) -> Result<Outcome, ContractError> {
        self.transactions += 1;
        let outcome = self.run(Mode::Endorse, caller, function, arguments, side)?;
        // Each transaction is a block of its own.
        let at = Position {
            block: self.transactions,
            transaction: 0,
        };
        for (key, change) in &outcome.writes {
            let version = Version {
                at,
                transaction_id: outcome.transaction_id,
                time_ms: self.time_ms,
                value: change.clone(),
            };
            self.history.entry(key.clone()).or_default().push(version);
            match change {
                Some(value) => self.state.insert(key.clone(), value.clone()),
                None => self.state.remove(key),
            };
        }
        Ok(outcome)
    }

    /// Runs a function as a question; what it writes is in the outcome and nowhere else.
    ///
    /// # Errors
    /// The contract's refusal.
    pub fn evaluate(
        &self,
        caller: &Caller,
        function: &str,
        arguments: &[&[u8]],
    ) -> Result<Outcome, ContractError> {
        self.run(Mode::Evaluate, caller, function, arguments, &[])
    }

    fn run(
        &self,
        mode: Mode,
        caller: &Caller,
        function: &str,
        arguments: &[&[u8]],
        side: &[[u8; 32]],
    ) -> Result<Outcome, ContractError> {
        let mut transaction_id = [0; 32];
        transaction_id[24..].copy_from_slice(&self.transactions.to_be_bytes());
        let mut view = View {
            state: &self.state,
            history: &self.history,
            invocation: Invocation {
                channel: "test".to_owned(),
                contract: "contract".to_owned(),
                transaction_id,
                timestamp_ms: self.time_ms,
                mode,
                caller: caller.clone(),
                side: side.to_vec(),
                settings: self.settings.clone(),
            },
            reads: Cell::new(0),
            ranges: Cell::new(0),
            logs: RefCell::new(Vec::new()),
            writes: BTreeMap::new(),
            events: Vec::new(),
            expires_at_ms: None,
            on_absence: None,
        };
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|a| a.to_vec()).collect();
        let payload = (self.contract)(&mut view, function, &arguments)?;
        Ok(Outcome {
            payload,
            events: view.events,
            logs: view.logs.into_inner(),
            reads: view.reads.get(),
            ranges: view.ranges.get(),
            writes: view.writes,
            expires_at_ms: view.expires_at_ms,
            on_absence: view.on_absence,
            transaction_id,
        })
    }
}

struct View<'a> {
    state: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    history: &'a History,
    invocation: Invocation,
    reads: Cell<usize>,
    ranges: Cell<usize>,
    logs: RefCell<Vec<(Level, String)>>,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    events: Vec<(String, Vec<u8>)>,
    expires_at_ms: Option<u64>,
    on_absence: Option<(String, Vec<u8>)>,
}

impl Ledger for View<'_> {
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        self.reads.set(self.reads.get() + 1);
        self.state.get(key.as_bytes()).cloned()
    }

    fn put(&mut self, key: &Key, value: &[u8]) {
        self.writes
            .insert(key.as_bytes().to_vec(), Some(value.to_vec()));
    }

    fn delete(&mut self, key: &Key) {
        self.writes.insert(key.as_bytes().to_vec(), None);
    }

    fn range(&self, range: &KeyRange, limit: u32) -> Page {
        self.ranges.set(self.ranges.get() + 1);
        let entries: Vec<Entry> = self
            .state
            .range(range.start().to_vec()..range.end().to_vec())
            .take(limit as usize)
            .map(|(key, value)| Entry {
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        let full = entries.len() == limit as usize;
        let next = entries.last().filter(|_| full).map(|last| {
            let mut next = last.key.clone();
            next.push(0);
            next
        });
        Page {
            entries,
            next: next.filter(|next| next.as_slice() < range.end()),
        }
    }

    /// # Panics
    /// When it is called in a transaction, as the peer would end the invocation.
    fn history(&self, key: &Key, before: Option<Position>, limit: u32) -> Part {
        assert_eq!(
            self.invocation.mode,
            Mode::Evaluate,
            "the history of a key is for questions only"
        );
        let changes = self.history.get(key.as_bytes()).into_iter().flatten();
        let older = changes
            .rev()
            .filter(|change| before.is_none_or(|before| change.at < before));
        let versions: Vec<Version> = older.take(limit as usize).cloned().collect();
        let next = versions.last().filter(|_| versions.len() == limit as usize);
        Part {
            next: next.map(|last| last.at),
            versions,
        }
    }

    fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    fn set_event(&mut self, name: &str, payload: &[u8]) {
        self.events.push((name.to_owned(), payload.to_vec()));
    }

    fn expire_at(&mut self, time_ms: u64) {
        let earlier = self.expires_at_ms.map_or(time_ms, |at| at.min(time_ms));
        self.expires_at_ms = Some(earlier);
    }

    fn on_absence(&mut self, function: &str, argument: &[u8]) {
        self.on_absence = Some((function.to_owned(), argument.to_vec()));
    }

    fn log(&self, level: Level, message: &str) {
        self.logs.borrow_mut().push((level, message.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(
        ledger: &mut dyn Ledger,
        function: &str,
        arguments: &[Vec<u8>],
    ) -> Result<Vec<u8>, ContractError> {
        let key = |name: &[u8]| Key::composite("k", &[&String::from_utf8_lossy(name)]);
        match (function, arguments) {
            ("put", [name, value]) => {
                ledger.put(&key(name)?, value);
                ledger.set_event("put", name);
                // Its own write is not seen.
                Ok(ledger.get(&key(name)?).unwrap_or_default())
            }
            ("fail", [name]) => {
                ledger.put(&key(name)?, b"x");
                Err(ContractError::wrong_state("always"))
            }
            ("delete", [name]) => {
                ledger.delete(&key(name)?);
                Ok(Vec::new())
            }
            ("history", [name, limit]) => {
                let (mut told, mut before) = (Vec::new(), None);
                loop {
                    let part = ledger.history(&key(name)?, before, u32::from(limit[0]));
                    for version in part.versions {
                        told.extend(version.value.unwrap_or(b"-".to_vec()));
                    }
                    before = part.next;
                    if before.is_none() {
                        return Ok(told);
                    }
                }
            }
            ("page", [limit]) => {
                let range = KeyRange::prefix("k", &[])?;
                let page = ledger.range(&range, u32::from(limit[0]));
                let rest = page.next.as_deref().and_then(|next| range.from(next));
                let more = rest.map_or(0, |rest| ledger.range(&rest, 100).entries.len());
                Ok(vec![page.entries.len() as u8, more as u8])
            }
            _ => Err(ContractError::unknown_function()),
        }
    }

    #[test]
    fn commits_what_succeeds_and_nothing_else() {
        let mut ledger = MockLedger::new(contract);
        let caller = Caller::new("A", "client", [0; 32]);
        let outcome = ledger.submit(&caller, "put", &[b"a", b"1"]).unwrap();
        assert_eq!((outcome.payload, outcome.reads), (Vec::new(), 1));
        assert_eq!(outcome.events, [("put".to_owned(), b"a".to_vec())]);
        assert!(ledger.submit(&caller, "fail", &[b"b"]).is_err());
        let outcome = ledger.evaluate(&caller, "put", &[b"a", b"2"]).unwrap();
        assert_eq!(outcome.payload, b"1");
        assert_eq!(ledger.state().len(), 1);
    }

    #[test]
    fn a_keys_history_is_told_newest_first_to_questions_alone() {
        let mut ledger = MockLedger::new(contract);
        let caller = Caller::new("A", "client", [0; 32]);
        for value in [b"1", b"2"] {
            ledger.submit(&caller, "put", &[b"a", value]).unwrap();
        }
        ledger.submit(&caller, "delete", &[b"a"]).unwrap();
        ledger.submit(&caller, "put", &[b"b", b"9"]).unwrap();
        for limit in 1..5 {
            let told = ledger.evaluate(&caller, "history", &[b"a", &[limit]]);
            assert_eq!(told.unwrap().payload, b"-21", "{limit}");
        }
        let mut in_a_transaction = std::panic::AssertUnwindSafe(ledger);
        let ended = std::panic::catch_unwind(move || {
            in_a_transaction.submit(&caller, "history", &[b"a", &[1]])
        });
        assert!(ended.is_err());
    }

    #[test]
    fn pages_end_at_their_limit() {
        let mut ledger = MockLedger::new(contract);
        let caller = Caller::new("A", "client", [0; 32]);
        for name in [b"a", b"b", b"c"] {
            ledger.submit(&caller, "put", &[name, b"1"]).unwrap();
        }
        let page = |limit: u8| {
            ledger
                .evaluate(&caller, "page", &[&[limit]])
                .unwrap()
                .payload
        };
        assert_eq!(page(2), [2, 1]);
        assert_eq!(page(3), [3, 0]);
        assert_eq!(page(4), [3, 0]);
    }
}
