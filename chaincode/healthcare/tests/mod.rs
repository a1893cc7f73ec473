//! Every test of the contract. They run natively here, and in `chaincode/host` a second time with
//! the WebAssembly component beside it: whoever includes this has an `invoke` at the crate's root.

mod access;
mod conflicts;
mod devices;
mod emergency;
mod erasure;
mod people;
mod records;
mod review;
mod rights;
mod study;
mod support;
