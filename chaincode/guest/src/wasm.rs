//! The ledger behind the WebAssembly imports.

use std::panic::PanicHookInfo;

use crate::Contract;
use crate::arena::Arena;
use crate::error::ContractError;
use crate::key::{Key, KeyRange};
use crate::ledger::{
    Caller, Entry, Invocation, Ledger, Level, Mode, Page, Part, Position, Version,
};

use bindings::stela::chaincode::{context, events, history, logging, outcome, state};

#[global_allocator]
static MEMORY: Arena = Arena::new();

#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from chaincode.wit"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "chaincode",
        pub_export_macro: true,
        default_bindings_module: "stela_guest::wasm::bindings",
    });
}

/// Runs a contract as the component's export.
pub fn run(
    contract: Contract,
    function: &str,
    arguments: &[Vec<u8>],
) -> Result<Vec<u8>, bindings::ContractError> {
    std::panic::set_hook(Box::new(report_panic));
    let mut ledger = Imports {
        invocation: invocation(),
    };
    contract(&mut ledger, function, arguments).map_err(|error| {
        let ContractError {
            code,
            message,
            field,
        } = error;
        bindings::ContractError {
            code,
            message,
            field,
        }
    })
}

/// Without this a panic is a bare `unreachable`. Only the place is reported: the message might
/// repeat what was sent.
fn report_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    let message = format!(
        "panic at {}",
        place.as_deref().unwrap_or("an unknown place")
    );
    logging::log(logging::Level::Error, &message);
}

fn invocation() -> Invocation {
    let current = context::current();
    let caller = current.caller;
    Invocation {
        channel: current.channel,
        contract: current.contract,
        transaction_id: hash(&current.transaction_id),
        timestamp_ms: current.timestamp_ms,
        mode: match current.mode {
            context::Mode::Endorse => Mode::Endorse,
            context::Mode::Evaluate => Mode::Evaluate,
        },
        caller: Caller {
            organization: caller.organization,
            role: caller.role,
            attributes: caller
                .attributes
                .into_iter()
                .map(|attribute| (attribute.name, attribute.value))
                .collect(),
            fingerprint: hash(&caller.fingerprint),
        },
        side: current.side.iter().map(|side| hash(side)).collect(),
        settings: current.settings,
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    bytes
        .try_into()
        .expect("the host gives hashes and fingerprints of 32 bytes")
}

struct Imports {
    invocation: Invocation,
}

impl Ledger for Imports {
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        state::get(key.as_bytes())
    }

    fn put(&mut self, key: &Key, value: &[u8]) {
        state::put(key.as_bytes(), value);
    }

    fn delete(&mut self, key: &Key) {
        state::delete(key.as_bytes());
    }

    fn range(&self, range: &KeyRange, limit: u32) -> Page {
        let page = state::range(range.start(), range.end(), limit);
        let entries = page.entries.into_iter().map(|entry| Entry {
            key: entry.key,
            value: entry.value,
        });
        Page {
            entries: entries.collect(),
            next: page.next,
        }
    }

    fn history(&self, key: &Key, before: Option<Position>, limit: u32) -> Part {
        let before = before.map(|before| history::Position {
            block: before.block,
            transaction: before.transaction,
        });
        let position = |at: history::Position| Position {
            block: at.block,
            transaction: at.transaction,
        };
        let part = history::of_key(key.as_bytes(), before, limit);
        let versions = part.versions.into_iter().map(|version| Version {
            at: position(version.at),
            transaction_id: hash(&version.transaction_id),
            time_ms: version.time_ms,
            value: version.value,
        });
        Part {
            versions: versions.collect(),
            next: part.next.map(position),
        }
    }

    fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    fn set_event(&mut self, name: &str, payload: &[u8]) {
        events::set_event(name, payload);
    }

    fn expire_at(&mut self, time_ms: u64) {
        outcome::expire_at(time_ms);
    }

    fn on_absence(&mut self, function: &str, argument: &[u8]) {
        outcome::on_absence(function, argument);
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => logging::Level::Debug,
            Level::Info => logging::Level::Info,
            Level::Warn => logging::Level::Warn,
            Level::Error => logging::Level::Error,
        };
        logging::log(level, message);
    }
}
