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
///
/// Work at the same time is endorsed first, all of it over one state, and committed afterwards, in
/// order ([`MockLedger::endorse`], [`MockLedger::commit`]): whatever read what another one has
/// changed since then conflicts, as in a peer's validation.
///
/// ```
/// use stela_guest::{Caller, Conflict, ContractError, Key, Ledger, MockLedger};
///
/// fn count(
///     ledger: &mut dyn Ledger,
///     _function: &str,
///     _arguments: &[Vec<u8>],
/// ) -> Result<Vec<u8>, ContractError> {
///     let key = Key::composite("count", &["all"])?;
///     let before = ledger.get(&key).map_or(0, |value| value[0]);
///     ledger.put(&key, &[before + 1]);
///     Ok(Vec::new())
/// }
///
/// let mut ledger = MockLedger::new(count);
/// let alice = Caller::new("HospitalA", "practitioner", [1; 32]);
/// let first = ledger.endorse(&alice, "count", &[], &[]).expect("an endorsement");
/// let second = ledger.endorse(&alice, "count", &[], &[]).expect("another one");
/// assert!(ledger.commit(&first).is_ok());
/// assert!(matches!(ledger.commit(&second), Err(Conflict::Read { .. })));
/// ```
pub struct MockLedger<C> {
    contract: C,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every change of each key, the oldest first.
    history: History,
    time_ms: u64,
    settings: Vec<u8>,
    transactions: u64,
    blocks: u64,
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

/// A transaction that was endorsed and is not committed.
#[derive(Debug, Clone)]
pub struct Endorsed {
    /// What the invocation gave.
    pub outcome: Outcome,
    /// The keys that were read, each with where its value came from.
    reads: BTreeMap<Vec<u8>, Option<Position>>,
    ranges: Vec<RangeRead>,
    time_ms: u64,
}

/// A range as it was read: what stands from `start` up to, but not including, `end`.
#[derive(Debug, Clone)]
struct RangeRead {
    start: Vec<u8>,
    end: Vec<u8>,
    found: Vec<(Vec<u8>, Option<Position>)>,
}

/// Why an endorsed transaction is not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// A key that it read has changed (`MVCC_READ_CONFLICT`).
    Read {
        /// The key.
        key: Vec<u8>,
    },
    /// A range that it read has other entries (`PHANTOM_READ_CONFLICT`).
    Range {
        /// Where the range starts.
        start: Vec<u8>,
    },
    /// The contract let it be committed only before a time that has come.
    Expired,
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
            blocks: 0,
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
        let endorsed = self.endorse(caller, function, arguments, side)?;
        match self.commit(&endorsed) {
            Ok(()) => Ok(endorsed.outcome),
            Err(_) => Err(ContractError::new(
                "expired",
                "the contract let the transaction expire before it could be committed",
            )),
        }
    }

    /// Runs a function as a transaction and writes nothing; [`MockLedger::commit`] does.
    ///
    /// # Errors
    /// The contract's refusal.
    pub fn endorse(
        &mut self,
        caller: &Caller,
        function: &str,
        arguments: &[&[u8]],
        side: &[[u8; 32]],
    ) -> Result<Endorsed, ContractError> {
        self.transactions += 1;
        self.run(Mode::Endorse, caller, function, arguments, side)
    }

    /// Commits what was endorsed, unless something that it read has changed since, or its time is
    /// over. Each transaction is a block of its own, whose time is the mock's.
    ///
    /// # Errors
    /// [`Conflict`] says what has changed; then nothing is written.
    pub fn commit(&mut self, endorsed: &Endorsed) -> Result<(), Conflict> {
        self.validate(endorsed)?;
        self.blocks += 1;
        let at = Position {
            block: self.blocks,
            transaction: 0,
        };
        for (key, change) in &endorsed.outcome.writes {
            let version = Version {
                at,
                transaction_id: endorsed.outcome.transaction_id,
                time_ms: endorsed.time_ms,
                value: change.clone(),
            };
            self.history.entry(key.clone()).or_default().push(version);
            match change {
                Some(value) => self.state.insert(key.clone(), value.clone()),
                None => self.state.remove(key),
            };
        }
        Ok(())
    }

    fn validate(&self, endorsed: &Endorsed) -> Result<(), Conflict> {
        let expires_at_ms = endorsed.outcome.expires_at_ms;
        if expires_at_ms.is_some_and(|time_ms| self.time_ms >= time_ms) {
            return Err(Conflict::Expired);
        }
        for (key, seen) in &endorsed.reads {
            if changed_at(&self.history, key) != *seen {
                return Err(Conflict::Read { key: key.clone() });
            }
        }
        for range in &endorsed.ranges {
            let now = self.state.range(range.start.clone()..range.end.clone());
            let now = now.map(|(key, _)| (key.clone(), changed_at(&self.history, key)));
            if !now.eq(range.found.iter().cloned()) {
                let start = range.start.clone();
                return Err(Conflict::Range { start });
            }
        }
        Ok(())
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
        let evaluated = self.run(Mode::Evaluate, caller, function, arguments, &[])?;
        Ok(evaluated.outcome)
    }

    fn run(
        &self,
        mode: Mode,
        caller: &Caller,
        function: &str,
        arguments: &[&[u8]],
        side: &[[u8; 32]],
    ) -> Result<Endorsed, ContractError> {
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
            seen: RefCell::new(BTreeMap::new()),
            ranges: RefCell::new(Vec::new()),
            logs: RefCell::new(Vec::new()),
            writes: BTreeMap::new(),
            events: Vec::new(),
            expires_at_ms: None,
            on_absence: None,
        };
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|a| a.to_vec()).collect();
        let payload = (self.contract)(&mut view, function, &arguments)?;
        let ranges = view.ranges.into_inner();
        let outcome = Outcome {
            payload,
            events: view.events,
            logs: view.logs.into_inner(),
            reads: view.reads.get(),
            ranges: ranges.len(),
            writes: view.writes,
            expires_at_ms: view.expires_at_ms,
            on_absence: view.on_absence,
            transaction_id,
        };
        Ok(Endorsed {
            outcome,
            reads: view.seen.into_inner(),
            ranges,
            time_ms: self.time_ms,
        })
    }
}

/// Where a key got its value, if it has one.
fn changed_at(history: &History, key: &[u8]) -> Option<Position> {
    let last = history.get(key)?.last()?;
    last.value.as_ref().map(|_| last.at)
}

struct View<'a> {
    state: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    history: &'a History,
    invocation: Invocation,
    reads: Cell<usize>,
    seen: RefCell<BTreeMap<Vec<u8>, Option<Position>>>,
    ranges: RefCell<Vec<RangeRead>>,
    logs: RefCell<Vec<(Level, String)>>,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    events: Vec<(String, Vec<u8>)>,
    expires_at_ms: Option<u64>,
    on_absence: Option<(String, Vec<u8>)>,
}

impl Ledger for View<'_> {
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        self.reads.set(self.reads.get() + 1);
        let seen = changed_at(self.history, key.as_bytes());
        self.seen.borrow_mut().insert(key.as_bytes().to_vec(), seen);
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
        let next = next.filter(|next| next.as_slice() < range.end());
        // A page says nothing about what lies behind it.
        self.ranges.borrow_mut().push(RangeRead {
            start: range.start().to_vec(),
            end: next.clone().unwrap_or_else(|| range.end().to_vec()),
            found: entries
                .iter()
                .map(|entry| (entry.key.clone(), changed_at(self.history, &entry.key)))
                .collect(),
        });
        Page { entries, next }
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
            ("first", [limit]) => {
                let page = ledger.range(&KeyRange::prefix("k", &[])?, u32::from(limit[0]));
                Ok(vec![page.entries.len() as u8])
            }
            ("soon", []) => {
                ledger.put(&key(b"soon")?, b"1");
                let time_ms = ledger.invocation().timestamp_ms;
                ledger.expire_at(time_ms + 1000);
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
    fn what_has_changed_since_the_endorsement_conflicts() {
        let caller = Caller::new("A", "client", [0; 32]);
        let check = |function: &str, argument: &[u8], change: &[&[u8]], expected: Option<&str>| {
            let mut ledger = MockLedger::new(contract);
            for name in [b"b", b"d"] {
                ledger.submit(&caller, "put", &[name, b"1"]).unwrap();
            }
            let mut arguments = vec![argument];
            arguments.extend((function == "put").then_some(&b"2"[..]));
            let endorsed = ledger.endorse(&caller, function, &arguments, &[]).unwrap();
            let function = if change.len() == 2 { "put" } else { "delete" };
            ledger.submit(&caller, function, change).unwrap();
            let before = ledger.state().clone();
            let conflict = ledger
                .commit(&endorsed)
                .err()
                .map(|conflict| match conflict {
                    Conflict::Read { .. } => "read",
                    Conflict::Range { .. } => "range",
                    Conflict::Expired => "expired",
                });
            assert_eq!(conflict, expected);
            assert_eq!(conflict.is_some(), before == *ledger.state());
        };
        check("put", b"b", &[b"b", b"3"], Some("read"));
        check("put", b"b", &[b"b"], Some("read"));
        check("put", b"a", &[b"a", b"3"], Some("read"));
        check("put", b"b", &[b"d", b"3"], None);
        check("delete", b"b", &[b"b", b"3"], None);
    }

    #[test]
    fn a_range_conflicts_with_what_comes_into_it_alone() {
        let caller = Caller::new("A", "client", [0; 32]);
        let check = |limit: u8, change: &[&[u8]], conflicts: bool| {
            let mut ledger = MockLedger::new(contract);
            for name in [b"b", b"d"] {
                ledger.submit(&caller, "put", &[name, b"1"]).unwrap();
            }
            let endorsed = ledger.endorse(&caller, "first", &[&[limit]], &[]).unwrap();
            let function = if change.len() == 2 { "put" } else { "delete" };
            ledger.submit(&caller, function, change).unwrap();
            let conflict = ledger.commit(&endorsed);
            let range = matches!(conflict, Err(Conflict::Range { .. }));
            assert_eq!((range, conflict.is_err()), (conflicts, conflicts));
        };
        check(9, &[b"a", b"1"], true);
        check(9, &[b"e", b"1"], true);
        check(9, &[b"b", b"9"], true);
        check(9, &[b"d"], true);
        // The first page ends with the key b.
        check(1, &[b"a", b"1"], true);
        check(1, &[b"c", b"1"], false);
        check(1, &[b"d"], false);
    }

    #[test]
    fn a_transaction_is_not_committed_when_its_time_has_come() {
        let caller = Caller::new("A", "client", [0; 32]);
        for (wait_ms, committed) in [(999, true), (1000, false)] {
            let mut ledger = MockLedger::new(contract);
            let endorsed = ledger.endorse(&caller, "soon", &[], &[]).unwrap();
            ledger.advance_ms(wait_ms);
            let outcome = ledger.commit(&endorsed);
            assert_eq!(outcome.is_ok(), committed);
            assert_eq!(ledger.state().len(), usize::from(committed));
        }
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
