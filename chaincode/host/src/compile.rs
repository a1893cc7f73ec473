//! Compilation of code that may be made to compile for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

use crate::package::{PackageError, reason};
use crate::runtime::InstallError;

/// One compilation at a time, on a thread of its own. One that does not end keeps its thread until
/// the process ends, and no other one begins: a peer that wants to kill it compiles in a child
/// process with [`crate::Runtime::precompile`].
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    busy: Arc<AtomicBool>,
}

/// Says that the compilation is over, however it ends.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Compiler {
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        component: Vec<u8>,
        limit_ms: u64,
    ) -> Result<Vec<u8>, InstallError> {
        let engine = engine.clone();
        let compiled = self.run(limit_ms, move || engine.precompile_component(&component))?;
        compiled.map_err(|error| PackageError::Rejected(reason(format!("{error:#}"))).into())
    }

    fn run<T: Send + 'static>(
        &self,
        limit_ms: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, InstallError> {
        if self.busy.swap(true, Ordering::Acquire) {
            return Err(InstallError::Busy);
        }
        let busy = Busy(Arc::clone(&self.busy));
        let (sender, receiver) = mpsc::sync_channel(1);
        let started = thread::Builder::new()
            .name("contract-compiler".to_owned())
            .spawn(move || {
                let done = work();
                drop(busy);
                // Nobody listens any more when the deadline has passed.
                let _ = sender.send(done);
            });
        started.map_err(|error| InstallError::Thread(error.to_string()))?;
        receiver
            .recv_timeout(Duration::from_millis(limit_ms))
            .map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => InstallError::Deadline { limit_ms },
                mpsc::RecvTimeoutError::Disconnected => {
                    PackageError::Rejected("the compiler failed on it".to_owned()).into()
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compiles_for_ever_is_given_up_and_blocks_the_next() {
        let compiler = Compiler::default();
        let (end, wait) = mpsc::channel::<()>();
        let for_ever = move || wait.recv().is_err();
        let given_up = compiler.run(1, for_ever);
        assert!(matches!(
            given_up,
            Err(InstallError::Deadline { limit_ms: 1 })
        ));
        assert!(matches!(compiler.run(1, || ()), Err(InstallError::Busy)));
        drop(end);
        while compiler.busy.load(Ordering::Acquire) {
            thread::yield_now();
        }
        assert!(matches!(compiler.run(60_000, || 7), Ok(7)));
    }

    #[test]
    fn a_compiler_that_panics_is_a_refusal() {
        let compiler = Compiler::default();
        let failed: Result<(), _> = compiler.run(60_000, || panic!("as a test"));
        assert!(matches!(
            failed,
            Err(InstallError::Package(PackageError::Rejected(_)))
        ));
        assert!(compiler.run(60_000, || ()).is_ok());
    }
}
