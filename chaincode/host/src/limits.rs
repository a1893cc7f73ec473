//! Every bound on a contract. Those on what ends in a transaction must be the same on every
//! endorser, or honest endorsers differ; they follow [`stela_protocol::limits`].

use stela_protocol::limits::{
    EVENT_BYTES_MAX, EVENT_NAME_BYTES_MAX, EVENTS_MAX, NAME_BYTES_MAX, PACKAGE_BYTES_MAX,
    RANGE_RESULTS_MAX, RANGES_MAX, RWSET_ENTRIES_MAX, VALUE_BYTES_MAX, WRITE_BYTES_MAX,
};

/// How often the epoch moves on, in milliseconds.
pub const EPOCH_TICK_MS: u64 = 10;
/// Core modules in one package; `wit-component` makes three.
pub const MODULES_MAX: usize = 8;
/// Components nested in a package.
pub const NESTED_COMPONENTS_MAX: usize = 4;
/// Entries of a range that the state is asked for at a time; each may be large.
pub const RANGE_READ_ENTRIES: usize = 32;
/// Bytes of the name of a limit or a defect in an error.
pub const REASON_BYTES_MAX: usize = 300;
/// Bytes of a contract's error code and field.
pub const ERROR_NAME_BYTES_MAX: usize = 64;
/// Bytes of a contract's error message.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 1024;

/// The bounds of a [`crate::Runtime`]. The default is meant for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeLimits {
    /// Bytes of a package.
    pub package_bytes: usize,
    /// Bytes of the code of one function: compiling takes more than linear time.
    pub function_bytes: usize,
    /// How long a compilation may take.
    pub compile_ms: u64,
    /// Invocations at the same time.
    pub instances: u32,
    /// Bytes of linear memory of one invocation.
    pub memory_bytes: usize,
    /// Elements of each table.
    pub table_elements: usize,
    /// Bytes of native stack that a contract may use.
    pub stack_bytes: usize,
    /// Fuel of one invocation: one per instruction, and one per byte moved in bulk.
    pub fuel: u64,
    /// How long an invocation may take; a backstop, fuel comes first.
    pub deadline_ms: u64,
    /// Calls of the host by one invocation.
    pub host_calls: u64,
    /// Entries of one page of a range; a longer one is cut.
    pub range_entries: u32,
    /// Ranges that are read.
    pub ranges: u64,
    /// Entries of all ranges together. Validation reads them again, within the same bound.
    pub range_results: u64,
    /// Changes of a key in one part of its history; a longer part is cut.
    pub history_entries: u32,
    /// Changes in all parts of histories together: for each a block may have to be read.
    pub history_results: u64,
    /// Keys read one by one, and keys written, each.
    pub set_entries: u64,
    /// Bytes of keys and values that are read.
    pub read_bytes: u64,
    /// Bytes of keys and values that are written.
    pub write_bytes: u64,
    /// Bytes of one value.
    pub value_bytes: usize,
    /// Events.
    pub events: u64,
    /// Bytes of an event's name.
    pub event_name_bytes: usize,
    /// Bytes of an event's payload.
    pub event_bytes: usize,
    /// Bytes of the function that is called when a transaction does not come.
    pub absence_function_bytes: usize,
    /// Bytes of its argument; peers keep it until then.
    pub absence_argument_bytes: usize,
    /// Lines that are logged.
    pub log_lines: u64,
    /// Bytes of one line; a longer one is cut.
    pub log_line_bytes: usize,
    /// Bytes of the answer.
    pub response_bytes: usize,
}

impl Default for RuntimeLimits {
    fn default() -> Self {
        Self {
            package_bytes: PACKAGE_BYTES_MAX,
            function_bytes: 256 << 10,
            compile_ms: 90_000,
            instances: 64,
            memory_bytes: 32 << 20,
            table_elements: 20_000,
            stack_bytes: 512 << 10,
            fuel: 1_000_000_000,
            deadline_ms: 5_000,
            host_calls: 20_000,
            range_entries: 1_000,
            ranges: RANGES_MAX as u64,
            range_results: RANGE_RESULTS_MAX as u64,
            history_entries: 50,
            history_results: 1_000,
            set_entries: RWSET_ENTRIES_MAX as u64,
            read_bytes: 16 << 20,
            write_bytes: WRITE_BYTES_MAX as u64,
            value_bytes: VALUE_BYTES_MAX,
            events: EVENTS_MAX as u64,
            event_name_bytes: EVENT_NAME_BYTES_MAX,
            event_bytes: EVENT_BYTES_MAX,
            absence_function_bytes: NAME_BYTES_MAX,
            absence_argument_bytes: 4 << 10,
            log_lines: 100,
            log_line_bytes: 512,
            response_bytes: 512 << 10,
        }
    }
}
