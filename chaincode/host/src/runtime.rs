//! The runtime: installs contracts.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use stela_protocol::{Hash32, hash};
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::bindings::{Chaincode, ChaincodePre, Host};
use crate::cache::{Cache, CacheError};
use crate::compile::Compiler;
use crate::contract::Contract;
use crate::engine::engine;
use crate::limits::{EPOCH_TICK_MS, RuntimeLimits};
use crate::package::{self, PackageError, reason};

/// Why a runtime could not start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refuses the limits, or the machine lacks what it needs.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    /// The folder for compiled contracts cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Why a package was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The package is at fault.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Compiling it took too long.
    #[error("compiling the package took longer than {limit_ms} ms")]
    Deadline {
        /// The limit.
        limit_ms: u64,
    },
    /// Another package is being compiled.
    #[error("another package is being compiled; try again later")]
    Busy,
    /// The machine gave no thread.
    #[error("no thread to compile on: {0}")]
    Thread(String),
}

impl InstallError {
    /// Whether the same package may be installed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::Thread(_))
    }
}

/// Installs contracts; one per process is enough. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

/// What a runtime and its contracts have in common.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) limits: Arc<RuntimeLimits>,
    linker: Linker<Host>,
    cache: Option<Cache>,
    compiler: Compiler,
    _ticker: Ticker,
}

impl Runtime {
    /// A runtime that compiles each package anew.
    ///
    /// # Errors
    /// [`RuntimeError::Engine`] when the engine cannot start.
    pub fn new(limits: RuntimeLimits) -> Result<Self, RuntimeError> {
        Self::start(limits, None)
    }

    /// A runtime that keeps compiled contracts in a private folder, which it makes when it is not
    /// there.
    ///
    /// # Errors
    /// [`RuntimeError`] when the engine cannot start or the folder is not private.
    pub fn with_cache(limits: RuntimeLimits, folder: &Path) -> Result<Self, RuntimeError> {
        Self::start(limits, Some(folder))
    }

    fn start(limits: RuntimeLimits, folder: Option<&Path>) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine(reason(format!("{error:#}")));
        let engine = engine(&limits).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        Chaincode::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host).map_err(failed)?;
        let cache = folder.map(|folder| Cache::open(folder, &engine));
        Ok(Self {
            shared: Arc::new(Shared {
                _ticker: Ticker::start(&engine),
                linker,
                cache: cache.transpose()?,
                compiler: Compiler::default(),
                limits: Arc::new(limits),
                engine,
            }),
        })
    }

    /// Checks, compiles and loads a package: a WebAssembly component, or a core module that was
    /// built against `chaincode.wit`. The contract's hash is that of the package's bytes.
    ///
    /// This blocks for as long as a compilation takes.
    ///
    /// # Errors
    /// [`InstallError`] says what is wrong with the package.
    pub fn install(&self, package: &[u8]) -> Result<Contract, InstallError> {
        let hash = hash::package(package);
        let code = self.code(package, &hash)?;
        self.contract(&code, hash)
    }

    /// Checks and loads a package that was compiled before; nothing when the cache does not have it.
    /// This never compiles.
    ///
    /// # Errors
    /// As [`Runtime::install`].
    pub fn install_compiled(&self, package: &[u8]) -> Result<Option<Contract>, InstallError> {
        let Shared { limits, cache, .. } = &*self.shared;
        package::component(package, limits)?;
        let hash = hash::package(package);
        let code = cache.as_ref().and_then(|cache| cache.load(&hash));
        code.map(|code| self.contract(&code, hash)).transpose()
    }

    fn contract(&self, code: &[u8], hash: Hash32) -> Result<Contract, InstallError> {
        let rejected =
            |error: wasmtime::Error| PackageError::Rejected(reason(format!("{error:#}")));
        let component = load(&self.shared.engine, code).map_err(rejected)?;
        let pre = self
            .shared
            .linker
            .instantiate_pre(&component)
            .and_then(ChaincodePre::new)
            .map_err(rejected)?;
        Ok(Contract::new(pre, hash, Arc::clone(&self.shared)))
    }

    /// Checks and compiles a package into the cache, for [`Runtime::install`] in another process
    /// that shares the folder: so a peer can compile in a child that it may kill.
    ///
    /// # Errors
    /// [`InstallError`] says what is wrong with the package.
    pub fn precompile(&self, package: &[u8]) -> Result<Hash32, InstallError> {
        let hash = hash::package(package);
        self.code(package, &hash)?;
        Ok(hash)
    }

    fn code(&self, package: &[u8], hash: &Hash32) -> Result<Vec<u8>, InstallError> {
        let Shared {
            engine,
            limits,
            cache,
            compiler,
            ..
        } = &*self.shared;
        let component = package::component(package, limits)?;
        if let Some(code) = cache.as_ref().and_then(|cache| cache.load(hash)) {
            return Ok(code);
        }
        let code = compiler.compile(engine, component, limits.compile_ms)?;
        if let Some(cache) = cache {
            cache.store(hash, &code);
        }
        Ok(code)
    }
}

#[allow(
    unsafe_code,
    reason = "loading compiled code is the point at which it becomes code"
)]
fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` comes from `Engine::precompile_component` of an engine with the same
    // compatibility hash, either just now in this process or from a file in a folder that only this
    // process's user can write, with a checksum over its bytes.
    unsafe { Component::deserialize(engine, code) }
}

/// Moves the engine's epoch on until it is dropped.
struct Ticker {
    _stop: mpsc::Sender<()>,
}

impl Ticker {
    fn start(engine: &Engine) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let engine = engine.weak();
        let tick = Duration::from_millis(EPOCH_TICK_MS);
        thread::Builder::new()
            .name("contract-epochs".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                    if let Some(engine) = engine.upgrade() {
                        engine.increment_epoch();
                    }
                }
            })
            .expect("a process that starts can start one more thread");
        Self { _stop: stop }
    }
}
