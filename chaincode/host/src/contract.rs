//! An installed contract and its invocations.

use std::sync::Arc;

use stela_protocol::{Hash32, hash};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::abort::Abort;
use crate::bindings::{self, Ceilings, ChaincodePre, Host};
use crate::invocation::{ContractError, Execution, Invocation, Mode};
use crate::limits::{EPOCH_TICK_MS, ERROR_MESSAGE_BYTES_MAX, ERROR_NAME_BYTES_MAX};
use crate::package::reason;
use crate::recorder::{Recorder, printable};
use crate::runtime::Shared;
use crate::view::{StateError, StateView};

/// Bytes that one call of the host may carry beside the largest value.
const HOST_CALL_SLACK_BYTES: usize = 16 << 10;

/// Why an invocation gave no result. Nothing that the contract wrote remains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The contract itself refused the call.
    #[error(transparent)]
    Refused(#[from] ContractError),
    /// The contract broke a limit.
    #[error("the contract was stopped: the limit for {what} is {max}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The contract used up its fuel.
    #[error("the contract was stopped: it used up its {fuel} units of fuel")]
    OutOfFuel {
        /// The limit.
        fuel: u64,
    },
    /// The invocation took too long on this machine.
    #[error("the contract was stopped after {limit_ms} ms")]
    Deadline {
        /// The limit.
        limit_ms: u64,
    },
    /// The contract named a key or a range that cannot be.
    #[error("the contract was stopped: {0}")]
    Key(String),
    /// The contract crashed or broke the rules of its interface.
    #[error("the contract failed: {0}")]
    Fault(String),
    /// As many invocations as may run at once are running.
    #[error("too many contracts run at once; try again later")]
    Busy,
    /// This peer cannot read its state.
    #[error(transparent)]
    State(#[from] StateError),
}

impl InvokeError {
    /// Whether the same call may succeed later, or on another peer.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::Deadline { .. } | Self::State(_))
    }
}

/// An installed contract. Cheap to clone.
#[derive(Clone)]
pub struct Contract {
    pre: Arc<ChaincodePre<Host>>,
    package_hash: Hash32,
    shared: Arc<Shared>,
}

impl Contract {
    pub(crate) fn new(pre: ChaincodePre<Host>, package_hash: Hash32, shared: Arc<Shared>) -> Self {
        Self {
            pre: Arc::new(pre),
            package_hash,
            shared,
        }
    }

    /// The hash of the package that was installed.
    pub fn package_hash(&self) -> Hash32 {
        self.package_hash
    }

    /// Runs the contract over a view of its state, on the calling thread, which must have the
    /// limits' stack to spare.
    ///
    /// The result depends on nothing but the package, the invocation, what the view holds, and the
    /// limits. It names the package with the invocation's settings. In [`Mode::Evaluate`] nothing is
    /// to become of the answer, so a call in absence is left out.
    ///
    /// # Errors
    /// [`InvokeError`]; nothing that the contract wrote remains.
    pub fn invoke(
        &self,
        view: &dyn StateView,
        invocation: Invocation,
    ) -> Result<Execution, InvokeError> {
        let invocation = Arc::new(invocation);
        let mut store = self.store(view, &invocation)?;
        let answer = self.run(&mut store, &invocation);
        let fuel = self.shared.limits.fuel;
        let fuel_used = fuel - store.get_fuel().unwrap_or_default();
        let payload = answer.map_err(|error| self.explain(&error))?;
        let payload = payload.map_err(refusal)?;
        Abort::check(
            "bytes of the answer",
            payload.len() as u64,
            self.shared.limits.response_bytes as u64,
        )
        .map_err(InvokeError::from)?;
        // The store, and with it the borrowed view, ends here.
        let recorder = store.into_data().recorder;
        let package = hash::package_with_settings(&self.package_hash, &invocation.settings);
        let recorded = recorder.finish(&package, &invocation.arguments, payload);
        let endorsed = invocation.mode == Mode::Endorse;
        Ok(Execution {
            result: recorded.result,
            on_absence: recorded.on_absence.filter(|_| endorsed),
            logs: recorded.logs,
            fuel_used,
        })
    }

    fn store(
        &self,
        view: &dyn StateView,
        invocation: &Arc<Invocation>,
    ) -> Result<Store<Host>, InvokeError> {
        let limits = &self.shared.limits;
        let host = Host {
            recorder: Recorder::new(outlive(view), Arc::clone(limits)),
            invocation: Arc::clone(invocation),
            ceilings: Ceilings(Arc::clone(limits)),
        };
        let mut store = Store::new(&self.shared.engine, host);
        store.limiter(|host| &mut host.ceilings);
        store
            .set_fuel(limits.fuel)
            .map_err(|error| self.explain(&error))?;
        store.set_epoch_deadline(limits.deadline_ms.div_ceil(EPOCH_TICK_MS) + 1);
        store.set_hostcall_fuel(limits.value_bytes + HOST_CALL_SLACK_BYTES);
        Ok(store)
    }

    fn run(
        &self,
        store: &mut Store<Host>,
        invocation: &Invocation,
    ) -> wasmtime::Result<Result<Vec<u8>, bindings::ContractError>> {
        let instance = self.pre.instantiate(&mut *store)?;
        let arguments: Vec<Vec<u8>> = invocation.arguments.iter().map(|a| a.to_vec()).collect();
        instance.call_invoke(store, &invocation.function, &arguments)
    }

    fn explain(&self, error: &wasmtime::Error) -> InvokeError {
        let limits = &self.shared.limits;
        if let Some(abort) = error.downcast_ref::<Abort>() {
            return abort.clone().into();
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return InvokeError::Busy;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => InvokeError::OutOfFuel { fuel: limits.fuel },
            Some(Trap::Interrupt) => InvokeError::Deadline {
                limit_ms: limits.deadline_ms,
            },
            Some(Trap::StackOverflow) => InvokeError::Limit {
                what: "bytes of stack",
                max: limits.stack_bytes as u64,
            },
            Some(trap) => InvokeError::Fault(trap.to_string()),
            None => InvokeError::Fault(reason(format!("{error:#}"))),
        }
    }
}

impl From<Abort> for InvokeError {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Limit { what, max } => Self::Limit { what, max },
            Abort::Key(error) => Self::Key(error.to_string()),
            Abort::Range => Self::Key(Abort::Range.to_string()),
            Abort::History | Abort::AbsenceFunction => Self::Fault(abort.to_string()),
            Abort::State(error) => Self::State(error),
        }
    }
}

fn refusal(error: bindings::ContractError) -> InvokeError {
    InvokeError::Refused(ContractError {
        code: printable(&error.code, ERROR_NAME_BYTES_MAX),
        message: printable(&error.message, ERROR_MESSAGE_BYTES_MAX),
        field: error
            .field
            .map(|field| printable(&field, ERROR_NAME_BYTES_MAX)),
    })
}

/// A store's data cannot borrow, and a view is borrowed for one invocation.
#[allow(
    unsafe_code,
    reason = "wasmtime stores hold only data without lifetimes"
)]
fn outlive(view: &dyn StateView) -> &'static dyn StateView {
    // SAFETY: the reference goes into a `Recorder` in a `Store` that is a local variable of
    // `Contract::invoke`, which holds the borrow of the view. The store or the recorder taken out of
    // it is dropped before that function returns or unwinds. Neither hands the reference out:
    // `Recorder` keeps it in a private field, never copies it elsewhere, and the guest's instances
    // end with their store.
    unsafe { std::mem::transmute::<&dyn StateView, &'static dyn StateView>(view) }
}
