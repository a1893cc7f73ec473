//! What contract authors write against.
//!
//! A contract is a function from a [`Ledger`], the name of a function and its arguments to an
//! answer or a [`ContractError`]; [`export_contract!`] makes it what a peer can run. Everything a
//! contract may know comes from the [`Ledger`]: it has no clock, no randomness and no network, so
//! that every peer that runs it finds the same.
//!
//! ```
//! use stela_guest::{ContractError, Key, Ledger, MockLedger, Caller, export_contract};
//!
//! fn invoke(
//!     ledger: &mut dyn Ledger,
//!     function: &str,
//!     arguments: &[Vec<u8>],
//! ) -> Result<Vec<u8>, ContractError> {
//!     let key = Key::composite("note", &["1"])?;
//!     match (function, arguments) {
//!         ("write", [text]) => {
//!             ledger.put(&key, text);
//!             Ok(Vec::new())
//!         }
//!         ("read", []) => ledger.get(&key).ok_or_else(|| ContractError::not_found("note")),
//!         _ => Err(ContractError::unknown_function()),
//!     }
//! }
//!
//! export_contract!(invoke);
//!
//! let mut ledger = MockLedger::new(invoke);
//! let alice = Caller::new("HospitalA", "practitioner", [1; 32]);
//! ledger.submit(&alice, "write", &[b"hello"]).expect("a note can be written");
//! let outcome = ledger.evaluate(&alice, "read", &[]).expect("and read");
//! assert_eq!(outcome.payload, b"hello");
//! ```
//!
//! Reads see the state as it was when the invocation began, as in Fabric: never the invocation's
//! own writes.

#[cfg(any(target_arch = "wasm32", test))]
mod arena;
mod error;
pub mod json;
mod key;
mod ledger;
pub mod limits;
mod mock;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;

pub use error::ContractError;
pub use key::{Key, KeyError, KeyRange};
pub use ledger::{Caller, Entry, Invocation, Ledger, Level, Mode, Page, Part, Position, Version};
pub use mock::{Conflict, Endorsed, MockLedger, Outcome};

/// The function that is a contract.
pub type Contract = fn(&mut dyn Ledger, &str, &[Vec<u8>]) -> Result<Vec<u8>, ContractError>;

/// Makes a [`Contract`] the one that this crate's WebAssembly component runs.
///
/// A panic in it is reported through the log before the invocation ends. Compiled natively, for
/// tests, the macro does nothing.
#[macro_export]
macro_rules! export_contract {
    ($contract:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::wasm::bindings::Guest for Exported {
                fn invoke(
                    function: ::std::string::String,
                    arguments: ::std::vec::Vec<::std::vec::Vec<u8>>,
                ) -> ::core::result::Result<
                    ::std::vec::Vec<u8>,
                    $crate::wasm::bindings::ContractError,
                > {
                    $crate::wasm::run($contract, &function, &arguments)
                }
            }

    $crate::wasm::bindings::export!(Exported with_types_in $crate::wasm::bindings);
        };
    };
}
