//! Installed packages, and running them.
//!
//! | File in the node's data folder | What |
//! |---|---|
//! | `packages/<hash>.wasm` | a package as it was installed |
//! | `compiled/` | what the host compiled, see there |
//!
//! A package is compiled by a child process that is killed when it takes too long; what is compiled
//! already is only loaded.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use bytes::Bytes;
use parking_lot::RwLock;
use stela_host::{
    Contract, Execution, InstallError, Invocation, InvokeError, KeyVersion, Runtime, RuntimeError,
    RuntimeLimits, StateError, StateView,
};
use stela_protocol::limits::PACKAGE_BYTES_MAX;
use stela_protocol::{ContractName, ErrorCode, Hash32, Height, RpcError, hash};
use stela_store::{StateSnapshot, StoreError};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::answer;
use crate::limits::{
    COMPILE_TIMEOUT, COMPILER_WORDS_BYTES_MAX, PACKAGES_MAX, PROPOSALS_WAITING_MAX,
};
use crate::versions;
use crate::workers::{Workers, processors};

/// The exit code of the compiler for a package that is at fault.
const REFUSED: i32 = 3;

/// Why packages could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The folder cannot be used.
    #[error("the folder {folder} for packages cannot be used: {source}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine cannot start.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The system has no threads to run contracts on.
    #[error("no thread to run contracts on: {0}")]
    Threads(io::Error),
}

/// The packages of a node.
pub(crate) struct Contracts {
    runtime: Runtime,
    packages: PathBuf,
    compiled: PathBuf,
    /// The program that compiles; without one this process does.
    compiler: Option<PathBuf>,
    installed: RwLock<BTreeMap<Hash32, Contract>>,
    installing: Mutex<()>,
    workers: Workers,
}

impl Contracts {
    /// Opens the packages in a data folder.
    pub(crate) async fn open(
        data: &Path,
        compiler: Option<PathBuf>,
    ) -> Result<Self, PackagesError> {
        let (packages, compiled) = (data.join("packages"), data.join("compiled"));
        let failed = |source| PackagesError::Io {
            folder: packages.clone(),
            source,
        };
        fs::create_dir_all(&packages).map_err(failed)?;
        let found = packages_in(&packages).map_err(failed)?;
        let contracts = Self {
            runtime: Runtime::with_cache(RuntimeLimits::default(), &compiled)?,
            packages,
            compiled,
            compiler,
            installed: RwLock::default(),
            installing: Mutex::default(),
            workers: Workers::start("contract", contracts_at_once(), PROPOSALS_WAITING_MAX)
                .map_err(PackagesError::Threads)?,
        };
        for (hash, path) in found {
            match contracts.reopen(&hash, &path).await {
                Ok(()) => tracing::info!(package = %hash, "opened a package"),
                Err(error) => {
                    tracing::error!(package = %hash, "a package cannot be used: {error}");
                }
            }
        }
        Ok(contracts)
    }

    async fn reopen(&self, expected: &Hash32, path: &Path) -> Result<(), RpcError> {
        let package = fs::read(path).map_err(|error| disk("read", &error))?;
        if hash::package(&package) != *expected {
            let why = "the file is damaged: install the package again";
            return Err(RpcError::new(ErrorCode::Damaged, why));
        }
        let package = Bytes::from(package);
        if self.load_compiled(package.clone()).await? {
            return Ok(());
        }
        self.compile(path).await?;
        self.load(package).await
    }

    /// The hashes of what is installed.
    pub(crate) fn installed(&self) -> Vec<Hash32> {
        self.installed.read().keys().copied().collect()
    }

    /// An installed package.
    ///
    /// # Errors
    /// `NotInstalled`.
    pub(crate) fn get(&self, package: &Hash32) -> Result<Contract, RpcError> {
        self.installed.read().get(package).cloned().ok_or_else(|| {
            let why = format!(
                "package {package} is not installed on this peer: its administrator has to install it"
            );
            RpcError::new(ErrorCode::NotInstalled, why)
        })
    }

    /// Checks, compiles and keeps a package; installing it again changes nothing.
    pub(crate) async fn install(&self, package: Bytes) -> Result<Hash32, RpcError> {
        if package.is_empty() || package.len() > PACKAGE_BYTES_MAX {
            let why = format!("a package takes 1 to {PACKAGE_BYTES_MAX} bytes");
            return Err(RpcError::new(ErrorCode::TooLarge, why));
        }
        let hash = hash::package(&package);
        let _turn = self.installing.lock().await;
        if self.installed.read().contains_key(&hash) {
            return Ok(hash);
        }
        if self.installed.read().len() >= PACKAGES_MAX {
            let why = format!("{PACKAGES_MAX} packages are installed already");
            return Err(RpcError::new(ErrorCode::TooLarge, why));
        }
        let path = self.packages.join(format!("{hash}.wasm"));
        let new = self.packages.join(format!("{hash}.new"));
        write_synced(&new, &package).map_err(|error| disk("written", &error))?;
        let usable = match self.compile(&new).await {
            Ok(()) => self.load(package).await,
            Err(error) => Err(error),
        };
        let kept = match &usable {
            Ok(()) => fs::rename(&new, &path).and_then(|()| sync_folder(&self.packages)),
            Err(_) => fs::remove_file(&new),
        };
        usable?;
        kept.map_err(|error| disk("kept", &error))?;
        Ok(hash)
    }

    /// Compiles a package into the cache, in a child process that can be killed.
    async fn compile(&self, package: &Path) -> Result<(), RpcError> {
        let Some(compiler) = &self.compiler else {
            return Ok(());
        };
        let child = Command::new(compiler)
            .arg("compile")
            .arg("--cache")
            .arg(&self.compiled)
            .arg(package)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(COMPILE_TIMEOUT, child).await {
            Ok(Ok(output)) => outcome(&output),
            Ok(Err(error)) => {
                let why = format!("the compiler cannot be started: {error}");
                Err(RpcError::new(ErrorCode::Internal, why))
            }
            Err(_) => {
                let seconds = COMPILE_TIMEOUT.as_secs();
                let why = format!("compiling the package took longer than {seconds} s");
                Err(RpcError::new(ErrorCode::ContractFailed, why))
            }
        }
    }

    async fn load(&self, package: Bytes) -> Result<(), RpcError> {
        let runtime = self.runtime.clone();
        let loaded = tokio::task::spawn_blocking(move || runtime.install(&package)).await;
        let contract = loaded
            .map_err(|_| answer::fallen())?
            .map_err(install_error)?;
        self.keep(contract);
        Ok(())
    }

    /// Loads what an earlier run of this node compiled; says whether it is there.
    async fn load_compiled(&self, package: Bytes) -> Result<bool, RpcError> {
        let runtime = self.runtime.clone();
        let loaded = tokio::task::spawn_blocking(move || runtime.install_compiled(&package)).await;
        let contract = loaded
            .map_err(|_| answer::fallen())?
            .map_err(install_error)?;
        Ok(contract.map(|contract| self.keep(contract)).is_some())
    }

    fn keep(&self, contract: Contract) {
        let hash = contract.package_hash();
        self.installed.write().insert(hash, contract);
    }

    /// Runs a contract on a snapshot, when a thread is free.
    pub(crate) async fn run(
        &self,
        contract: Contract,
        snapshot: StateSnapshot,
        invocation: Invocation,
    ) -> Result<Execution, RpcError> {
        let work = move || {
            let view = View {
                snapshot: &snapshot,
                namespace: invocation.contract.clone(),
            };
            contract.invoke(&view, invocation)
        };
        self.workers.run(work).await?.map_err(invoke_error)
    }
}

/// What the compiling child process does. Returns its exit code and what it says.
pub fn compile(cache: &Path, package: &Path) -> (i32, String) {
    let bytes = match fs::read(package) {
        Ok(bytes) => bytes,
        Err(error) => return (1, format!("{} cannot be read: {error}", package.display())),
    };
    let runtime = match Runtime::with_cache(RuntimeLimits::default(), cache) {
        Ok(runtime) => runtime,
        Err(error) => return (1, error.to_string()),
    };
    match runtime.precompile(&bytes) {
        Ok(hash) => (0, hash.to_string()),
        Err(error) => (REFUSED, error.to_string()),
    }
}

fn outcome(output: &Output) -> Result<(), RpcError> {
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let end = words.floor_char_boundary(COMPILER_WORDS_BYTES_MAX);
    let words = words[..end].trim();
    let code = match output.status.code() {
        Some(REFUSED) => ErrorCode::Malformed,
        Some(_) => ErrorCode::Internal,
        // It was killed, as the system does with what takes too much memory.
        None => ErrorCode::ContractFailed,
    };
    Err(RpcError::new(
        code,
        format!("the package was not compiled: {words}"),
    ))
}

fn install_error(error: InstallError) -> RpcError {
    let code = match &error {
        InstallError::Package(_) => ErrorCode::Malformed,
        error if error.is_retryable() => ErrorCode::Overloaded,
        _ => ErrorCode::ContractFailed,
    };
    RpcError::new(code, error.to_string())
}

fn invoke_error(error: InvokeError) -> RpcError {
    let (code, message) = match &error {
        InvokeError::Refused(refused) => (ErrorCode::ContractRefused, refusal(refused)),
        InvokeError::Busy | InvokeError::Deadline { .. } => {
            (ErrorCode::Overloaded, error.to_string())
        }
        InvokeError::State(_) => (ErrorCode::Internal, error.to_string()),
        _ => (ErrorCode::ContractFailed, error.to_string()),
    };
    RpcError::new(code, message)
}

fn refusal(refused: &stela_host::ContractError) -> String {
    match &refused.field {
        Some(field) => format!("{}: {} ({field})", refused.code, refused.message),
        None => format!("{}: {}", refused.code, refused.message),
    }
}

/// A contract's part of a snapshot.
struct View<'a> {
    snapshot: &'a StateSnapshot,
    namespace: ContractName,
}

impl StateView for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
        let found = self
            .snapshot
            .get(&self.namespace, key)
            .map_err(state_error)?;
        Ok(found.map(|found| (found.value, found.height)))
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
        let found = self
            .snapshot
            .range(&self.namespace, start, end, limit)
            .map_err(state_error)?;
        Ok(found
            .into_iter()
            .map(|(key, found)| (key, found.value, found.height))
            .collect())
    }

    fn history(
        &self,
        key: &[u8],
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyVersion>, StateError> {
        let found = versions::of_key(self.snapshot, &self.namespace, key, before, limit)
            .map_err(state_error)?;
        Ok(found
            .into_iter()
            .map(|version| KeyVersion {
                height: version.entry.height,
                transaction: version.entry.transaction,
                time_ms: version.time_ms,
                value: version.value,
            })
            .collect())
    }
}

fn state_error(error: StoreError) -> StateError {
    StateError(error.to_string())
}

/// One more than there are processors, because a contract may wait for the disk.
fn contracts_at_once() -> usize {
    processors() + 1
}

fn packages_in(folder: &Path) -> io::Result<Vec<(Hash32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if let Some(Ok(hash)) = name.strip_suffix(".wasm").map(str::parse) {
            found.push((hash, path));
        }
    }
    Ok(found)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn disk(what: &str, error: &io::Error) -> RpcError {
    RpcError::new(
        ErrorCode::Internal,
        format!("the package cannot be {what}: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_compiler_that_is_not_there_or_fails_is_an_error_and_leaves_nothing() {
        let data = tempfile::tempdir().unwrap();
        for (compiler, expect) in [("/nowhere/compiler", "started"), ("/bin/false", "compiled")] {
            let contracts = Contracts::open(data.path(), Some(compiler.into()))
                .await
                .unwrap();
            let error = contracts
                .install(Bytes::from_static(b"package"))
                .await
                .unwrap_err();
            assert_eq!(error.code, ErrorCode::Internal);
            assert!(error.message.contains(expect), "{error}");
            assert_eq!(
                fs::read_dir(data.path().join("packages")).unwrap().count(),
                0
            );
        }
    }

    #[tokio::test]
    async fn a_damaged_package_is_not_opened() {
        let data = tempfile::tempdir().unwrap();
        let name = format!("packages/{}.wasm", Hash32([1; 32]));
        fs::create_dir_all(data.path().join("packages")).unwrap();
        fs::write(data.path().join(name), b"not what the name says").unwrap();
        let contracts = Contracts::open(data.path(), None).await.unwrap();
        assert!(contracts.installed().is_empty());
        let missing = contracts
            .get(&Hash32([1; 32]))
            .err()
            .map(|error| error.code);
        assert_eq!(missing, Some(ErrorCode::NotInstalled));
    }
}
