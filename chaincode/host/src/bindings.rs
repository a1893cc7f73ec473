//! The imports of `chaincode.wit`, answered by the recorder.

use std::sync::Arc;

use stela_protocol::Height;
use wasmtime::ResourceLimiter;

use crate::abort::Abort;
use crate::invocation::{Invocation, LogLevel, Mode};
use crate::limits::RuntimeLimits;
use crate::recorder::Recorder;
use crate::view::KeyVersion;

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from chaincode.wit"
)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "chaincode",
        imports: { default: trappable },
    });
}

use generated::stela::chaincode::{context, events, history, logging, outcome, state};
pub(crate) use generated::{Chaincode, ChaincodePre, ContractError};

/// What one invocation's store holds.
pub(crate) struct Host {
    pub(crate) recorder: Recorder<'static>,
    pub(crate) invocation: Arc<Invocation>,
    pub(crate) ceilings: Ceilings,
}

/// How far memories and tables may grow.
pub(crate) struct Ceilings(pub(crate) Arc<RuntimeLimits>);

impl state::Host for Host {
    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Option<Vec<u8>>> {
        self.recorder.call()?;
        Ok(self.recorder.get(key)?.map(Into::into))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<()> {
        self.recorder.call()?;
        Ok(self.recorder.put(key, value)?)
    }

    fn delete(&mut self, key: Vec<u8>) -> wasmtime::Result<()> {
        self.recorder.call()?;
        Ok(self.recorder.delete(key)?)
    }

    fn range(&mut self, start: Vec<u8>, end: Vec<u8>, limit: u32) -> wasmtime::Result<state::Page> {
        self.recorder.call()?;
        let page = self.recorder.range(start, end, limit)?;
        let entry = |(key, value): (bytes::Bytes, bytes::Bytes)| state::Entry {
            key: key.into(),
            value: value.into(),
        };
        Ok(state::Page {
            entries: page.entries.into_iter().map(entry).collect(),
            next: page.next,
        })
    }
}

impl history::Host for Host {
    fn of_key(
        &mut self,
        key: Vec<u8>,
        before: Option<history::Position>,
        limit: u32,
    ) -> wasmtime::Result<history::Part> {
        self.recorder.call()?;
        if self.invocation.mode != Mode::Evaluate {
            return Err(Abort::History.into());
        }
        let before = before.map(|before| Height {
            block: before.block,
            transaction: before.transaction,
        });
        let part = self.recorder.history(&key, before, limit)?;
        let position = |height: Height| history::Position {
            block: height.block,
            transaction: height.transaction,
        };
        let version = |version: KeyVersion| history::Version {
            at: position(version.height),
            transaction_id: version.transaction.0.to_vec(),
            time_ms: version.time_ms,
            value: version.value.map(Into::into),
        };
        Ok(history::Part {
            versions: part.versions.into_iter().map(version).collect(),
            next: part.next.map(position),
        })
    }
}

impl context::Host for Host {
    fn current(&mut self) -> wasmtime::Result<context::Invocation> {
        self.recorder.call()?;
        let invocation = &self.invocation;
        let caller = &invocation.caller;
        let attribute = |(name, value): &(String, String)| context::Attribute {
            name: name.clone(),
            value: value.clone(),
        };
        Ok(context::Invocation {
            channel: invocation.channel.to_string(),
            contract: invocation.contract.to_string(),
            transaction_id: invocation.transaction_id.0.to_vec(),
            timestamp_ms: invocation.timestamp_ms,
            mode: match invocation.mode {
                Mode::Endorse => context::Mode::Endorse,
                Mode::Evaluate => context::Mode::Evaluate,
            },
            caller: context::Caller {
                organization: caller.organization.to_string(),
                role: caller.role.clone(),
                attributes: caller.attributes.iter().map(attribute).collect(),
                fingerprint: caller.fingerprint.0.to_vec(),
            },
            side: invocation.side.iter().map(|hash| hash.0.to_vec()).collect(),
            settings: invocation.settings.to_vec(),
        })
    }
}

impl events::Host for Host {
    fn set_event(&mut self, name: String, payload: Vec<u8>) -> wasmtime::Result<()> {
        self.recorder.call()?;
        Ok(self.recorder.set_event(name, payload)?)
    }
}

impl outcome::Host for Host {
    fn expire_at(&mut self, time_ms: u64) -> wasmtime::Result<()> {
        self.recorder.call()?;
        self.recorder.expire_at(time_ms);
        Ok(())
    }

    fn on_absence(&mut self, function: String, argument: Vec<u8>) -> wasmtime::Result<()> {
        self.recorder.call()?;
        Ok(self.recorder.on_absence(function, argument)?)
    }
}

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        self.recorder.call()?;
        let level = match level {
            logging::Level::Debug => LogLevel::Debug,
            logging::Level::Info => LogLevel::Info,
            logging::Level::Warn => LogLevel::Warn,
            logging::Level::Error => LogLevel::Error,
        };
        let line = self.recorder.log(level, &message)?;
        let contract = self.invocation.contract.as_str();
        match level {
            LogLevel::Debug => tracing::debug!(contract, "{}", line.message),
            LogLevel::Info => tracing::info!(contract, "{}", line.message),
            LogLevel::Warn => tracing::warn!(contract, "{}", line.message),
            LogLevel::Error => tracing::error!(contract, "{}", line.message),
        }
        Ok(())
    }
}

impl ResourceLimiter for Ceilings {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = self.0.memory_bytes as u64;
        Abort::check("bytes of memory", desired as u64, max)?;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = self.0.table_elements as u64;
        Abort::check("elements of a table", desired as u64, max)?;
        Ok(true)
    }
}
