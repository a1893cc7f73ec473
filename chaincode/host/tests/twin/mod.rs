//! One invocation of the healthcare contract in both forms: natively over the ledger that it is
//! given, then in WebAssembly over what the native one saw of it. Whatever the two leave is compared.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use bytes::Bytes;
use stela_guest::{
    ContractError, Entry, Invocation, Key, KeyRange, Ledger, Level, Mode, Page, Part, Position,
};
use stela_host::{
    Caller, Contract, Execution, InvokeError, KeyVersion, Runtime, RuntimeLimits, StateError,
    StateView,
};
use stela_protocol::{Fingerprint, Hash32, Height, OrgId, TransactionId, hash, pb};

use crate::support::healthcare::package;

/// The native contract's outcome, which is the component's too.
///
/// # Panics
/// When they differ.
pub(crate) fn invoke(
    ledger: &mut dyn Ledger,
    function: &str,
    arguments: &[Vec<u8>],
) -> Result<Vec<u8>, ContractError> {
    let Ok(organization) = ledger.invocation().caller.organization.parse() else {
        // A peer has no such caller.
        return stela_healthcare::invoke(ledger, function, arguments);
    };
    let invocation = as_host(ledger.invocation(), organization, function, arguments);
    let sent = invocation.arguments.clone();
    let endorsed = invocation.mode == stela_host::Mode::Endorse;
    let mut recording = Recording::new(ledger);
    let native = stela_healthcare::invoke(&mut recording, function, arguments);
    let (seen, mut effects) = (recording.seen.into_inner(), recording.effects);
    match (&native, component().invoke(&seen, invocation)) {
        (Ok(answer), Ok(execution)) => {
            effects.answer = answer.clone().into();
            effects.reads = seen.keys.keys().cloned().collect();
            effects.ranges.clone_from(&seen.ranges);
            // A question has no transaction whose absence would matter.
            effects.on_absence = effects.on_absence.filter(|_| endorsed);
            assert_eq!(effects, Effects::of(execution, &sent), "{function}");
        }
        (Err(native), Err(InvokeError::Refused(refused))) => assert_eq!(
            (&native.code, &native.message, &native.field),
            (&refused.code, &refused.message, &refused.field),
            "{function}"
        ),
        (native, component) => panic!(
            "{function}: natively {native:?}, in WebAssembly {component:?}; the component may be \
             older than the contract: run ./deploy/build-contract.sh"
        ),
    }
    native
}

/// Compiled once, and kept until the package changes.
fn component() -> &'static Contract {
    static CONTRACT: OnceLock<Contract> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        // As many tests run at once as there are processors.
        let processors = available_parallelism().unwrap().get();
        let limits = RuntimeLimits {
            instances: u32::try_from(processors).unwrap(),
            ..RuntimeLimits::default()
        };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-contracts");
        let runtime = Runtime::with_cache(limits, &folder).unwrap();
        runtime.install(&package()).unwrap()
    })
}

/// What an invocation leaves, but for where in the chain its reads come from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Effects {
    answer: Bytes,
    reads: BTreeSet<Bytes>,
    /// From where, up to where, and the hash of what was found.
    ranges: Vec<(Bytes, Bytes, Hash32)>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    events: Vec<(String, Bytes)>,
    expires_at_ms: Option<u64>,
    on_absence: Option<(String, Bytes)>,
}

impl Effects {
    fn of(execution: Execution, arguments: &[Bytes]) -> Self {
        let result = execution.result;
        let writes = result.writes.into_iter().map(|write| {
            let key = match write.read {
                0 => write.key,
                place => result.reads[place as usize - 1].key.clone(),
            };
            let value = match write.change.unwrap() {
                pb::write::Change::Value(value) => Some(value),
                pb::write::Change::Argument(index) => Some(arguments[index as usize].clone()),
                pb::write::Change::Delete(_) => None,
            };
            (key, value)
        });
        let writes = writes.collect();
        let ranges = result.ranges.into_iter().map(|range| {
            let found = Hash32(range.results_hash[..].try_into().unwrap());
            (range.start, range.end, found)
        });
        let events = result.events.into_iter();
        let call = execution.on_absence;
        Self {
            answer: result.response.unwrap().payload,
            reads: result.reads.into_iter().map(|read| read.key).collect(),
            ranges: ranges.collect(),
            writes,
            events: events.map(|event| (event.name, event.payload)).collect(),
            expires_at_ms: result.expires_at_ms,
            on_absence: call.map(|call| (call.function, call.argument)),
        }
    }
}

/// A ledger that keeps what is asked of it.
struct Recording<'l> {
    ledger: &'l mut dyn Ledger,
    seen: RefCell<Seen>,
    effects: Effects,
}

/// The part of a state that an invocation saw.
#[derive(Default)]
struct Seen {
    keys: BTreeMap<Bytes, Option<Bytes>>,
    ranges: Vec<(Bytes, Bytes, Hash32)>,
    /// The entries of all those ranges.
    entries: BTreeMap<Bytes, Bytes>,
    histories: Vec<(Asked, Part)>,
}

/// A part of a key's history: before which change, and how many at most.
type Asked = (Vec<u8>, Option<Position>, u32);

/// Where every value comes from: a contract does not see that.
const HEIGHT: Height = Height {
    block: 1,
    transaction: 0,
};

impl<'l> Recording<'l> {
    fn new(ledger: &'l mut dyn Ledger) -> Self {
        Self {
            ledger,
            seen: RefCell::default(),
            effects: Effects::default(),
        }
    }
}

impl Ledger for Recording<'_> {
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let value = self.ledger.get(key);
        let mut seen = self.seen.borrow_mut();
        let found = value.clone().map(Bytes::from);
        seen.keys.insert(bytes(key.as_bytes()), found);
        value
    }

    fn put(&mut self, key: &Key, value: &[u8]) {
        let change = Some(bytes(value));
        self.effects.writes.insert(bytes(key.as_bytes()), change);
        self.ledger.put(key, value);
    }

    fn delete(&mut self, key: &Key) {
        self.effects.writes.insert(bytes(key.as_bytes()), None);
        self.ledger.delete(key);
    }

    fn range(&self, range: &KeyRange, limit: u32) -> Page {
        // The host's pages are no longer than this.
        let limit = limit.min(RuntimeLimits::default().range_entries);
        let page = self.ledger.range(range, limit);
        let mut seen = self.seen.borrow_mut();
        let end = page.next.as_deref().unwrap_or(range.end());
        let found = page.entries.iter().map(|entry| (&entry.key[..], HEIGHT));
        let found = hash::range_results(found);
        seen.ranges.push((bytes(range.start()), bytes(end), found));
        let entries = page.entries.iter().cloned();
        seen.entries
            .extend(entries.map(|Entry { key, value }| (key.into(), value.into())));
        page
    }

    fn history(&self, key: &Key, before: Option<Position>, limit: u32) -> Part {
        let limit = limit.min(RuntimeLimits::default().history_entries);
        let part = self.ledger.history(key, before, limit);
        let asked = (key.as_bytes().to_vec(), before, limit);
        self.seen.borrow_mut().histories.push((asked, part.clone()));
        part
    }

    fn invocation(&self) -> &Invocation {
        self.ledger.invocation()
    }

    fn set_event(&mut self, name: &str, payload: &[u8]) {
        let event = (name.to_owned(), bytes(payload));
        self.effects.events.push(event);
        self.ledger.set_event(name, payload);
    }

    fn expire_at(&mut self, time_ms: u64) {
        let earliest = self
            .effects
            .expires_at_ms
            .map_or(time_ms, |at| at.min(time_ms));
        self.effects.expires_at_ms = Some(earliest);
        self.ledger.expire_at(time_ms);
    }

    fn on_absence(&mut self, function: &str, argument: &[u8]) {
        self.effects.on_absence = Some((function.to_owned(), bytes(argument)));
        self.ledger.on_absence(function, argument);
    }

    fn log(&self, level: Level, message: &str) {
        self.ledger.log(level, message);
    }
}

impl StateView for Seen {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
        let value = self.keys.get(key);
        let value = value.ok_or_else(|| unseen("a key"))?.clone();
        Ok(value.map(|value| (value, HEIGHT)))
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
        let entries = self.entries.range(bytes(start)..bytes(end)).take(limit);
        let entry = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone(), HEIGHT);
        Ok(entries.map(entry).collect())
    }

    fn history(
        &self,
        key: &[u8],
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyVersion>, StateError> {
        let before = before.map(|Height { block, transaction }| Position { block, transaction });
        let is_it =
            |asked: &Asked| asked.0 == key && asked.1 == before && asked.2 as usize == limit;
        let found = self.histories.iter().find(|(asked, _)| is_it(asked));
        let (_, part) = found.ok_or_else(|| unseen("a history"))?;
        let version = |version: &stela_guest::Version| KeyVersion {
            height: Height {
                block: version.at.block,
                transaction: version.at.transaction,
            },
            transaction: TransactionId(version.transaction_id),
            time_ms: version.time_ms,
            value: version.value.clone().map(Bytes::from),
        };
        Ok(part.versions.iter().map(version).collect())
    }
}

fn bytes(slice: &[u8]) -> Bytes {
    Bytes::copy_from_slice(slice)
}

fn unseen(what: &str) -> StateError {
    StateError(format!("the native contract did not read {what}"))
}

fn as_host(
    invocation: &Invocation,
    organization: OrgId,
    function: &str,
    arguments: &[Vec<u8>],
) -> stela_host::Invocation {
    let caller = &invocation.caller;
    stela_host::Invocation {
        channel: invocation.channel.parse().unwrap(),
        contract: invocation.contract.parse().unwrap(),
        function: function.to_owned(),
        arguments: arguments.iter().cloned().map(Bytes::from).collect(),
        caller: Caller {
            organization,
            role: caller.role.clone(),
            attributes: caller.attributes.clone(),
            fingerprint: Fingerprint(caller.fingerprint),
        },
        transaction_id: TransactionId(invocation.transaction_id),
        timestamp_ms: invocation.timestamp_ms,
        side: invocation.side.iter().copied().map(Hash32).collect(),
        settings: invocation.settings.clone().into(),
        mode: match invocation.mode {
            Mode::Endorse => stela_host::Mode::Endorse,
            Mode::Evaluate => stela_host::Mode::Evaluate,
        },
    }
}
