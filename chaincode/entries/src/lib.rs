//! The contract with which `deploy/bench.sh growth` makes a ledger large. Entries mean nothing: each
//! has a number, and a value of as many bytes as the caller likes.
//!
//! | function | arguments | what it does |
//! |---|---|---|
//! | [`FILL`] | first number, count, bytes of each value; all decimal | writes so many entries, with the values of [`value`] |
//! | [`REPLACE`] | number, decimal; value | reads an entry that is there, writes its new value, and tells it in one event |
//!
//! Whoever may call contracts of the channel may call both. A replacement is to a peer what a consent
//! grant is: a key that is read, a value from the arguments that is written, an event.

use stela_guest::{ContractError, Key, Ledger, export_contract};

/// Writes entries.
pub const FILL: &str = "fill";
/// Gives one another value.
pub const REPLACE: &str = "replace";
/// The event of a replacement; its payload is the entry's number, decimal.
pub const REPLACED: &str = "replaced";
/// Bytes of an entry's key.
pub const KEY_BYTES: usize = KIND.len() + 1 + 16 + 1;
/// Entries of one call of [`FILL`]: below what the host lets a call write.
pub const FILL_ENTRIES_MAX: u64 = 9_000;

const KIND: &str = "entry";

export_contract!(invoke);

/// The contract.
///
/// # Errors
/// [`ContractError`] with a stable code: `invalid-argument` (with the field), `not-found`,
/// `unknown-function`.
pub fn invoke(
    ledger: &mut dyn Ledger,
    function: &str,
    arguments: &[Vec<u8>],
) -> Result<Vec<u8>, ContractError> {
    match (function, arguments) {
        (FILL, [first, count, bytes]) => {
            let bytes = number("bytes", bytes)?;
            fill(
                ledger,
                number("first", first)?,
                number("count", count)?,
                bytes,
            )?;
        }
        (REPLACE, [entry, value]) => replace(ledger, number("entry", entry)?, value)?,
        (FILL | REPLACE, _) => {
            let rule = "another number of arguments";
            return Err(ContractError::invalid("arguments", rule));
        }
        _ => return Err(ContractError::unknown_function()),
    }
    Ok(Vec::new())
}

fn number(field: &str, text: &[u8]) -> Result<u64, ContractError> {
    let text = std::str::from_utf8(text).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| ContractError::invalid(field, "must be a decimal number"))
}

fn fill(ledger: &mut dyn Ledger, first: u64, count: u64, bytes: u64) -> Result<(), ContractError> {
    if count > FILL_ENTRIES_MAX {
        let rule = format!("at most {FILL_ENTRIES_MAX} entries in one call");
        return Err(ContractError::invalid("count", rule));
    }
    let bytes = usize::try_from(bytes)
        .map_err(|_| ContractError::invalid("bytes", "no value is that long"))?;
    for entry in (first..).take(count as usize) {
        ledger.put(&key(entry)?, &value(entry, bytes));
    }
    Ok(())
}

fn replace(ledger: &mut dyn Ledger, entry: u64, value: &[u8]) -> Result<(), ContractError> {
    let key = key(entry)?;
    if ledger.get(&key).is_none() {
        return Err(ContractError::not_found(KIND));
    }
    ledger.put(&key, value);
    ledger.set_event(REPLACED, entry.to_string().as_bytes());
    Ok(())
}

/// Entries with consecutive numbers stand far apart, as those with random ids do.
fn key(entry: u64) -> Result<Key, ContractError> {
    Key::composite(KIND, &[&format!("{:016x}", mixed(entry))])
        .map_err(|error| ContractError::invalid("entry", error.to_string()))
}

/// A value of so many bytes that looks random, the same for the same seed.
pub fn value(seed: u64, bytes: usize) -> Vec<u8> {
    let words = (1u64..).map(|place| mixed(mixed(seed).wrapping_add(place)).to_le_bytes());
    words.flatten().take(bytes).collect()
}

/// Another number for each number: the steps of SplitMix64 (Steele, Lea and Flood, 2014), each of which
/// can be undone.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_guest::{Caller, MockLedger};

    fn caller() -> Caller {
        Caller::new("HospitalA", "practitioner", [1; 32])
    }

    #[test]
    fn what_is_filled_can_be_replaced() {
        let mut ledger = MockLedger::new(invoke);
        let filled = ledger.submit(&caller(), FILL, &[b"10", b"3", b"100"]);
        let filled = filled.unwrap();
        assert_eq!((filled.reads, filled.writes.len()), (0, 3));
        for (key, value) in &filled.writes {
            assert_eq!(key.len(), KEY_BYTES);
            assert_eq!(value.as_ref().unwrap().len(), 100);
        }
        let replaced = ledger.submit(&caller(), REPLACE, &[b"12", b"new"]).unwrap();
        assert_eq!((replaced.reads, replaced.writes.len()), (1, 1));
        assert!(
            filled
                .writes
                .contains_key(replaced.writes.keys().next().unwrap())
        );
        assert_eq!(
            replaced.writes.values().next().unwrap(),
            &Some(b"new".to_vec())
        );
        assert_eq!(replaced.events, [(REPLACED.to_owned(), b"12".to_vec())]);
    }

    #[test]
    fn bad_calls_are_refused() {
        let check = |function: &str, arguments: &[&[u8]], expect: &str| {
            let mut ledger = MockLedger::new(invoke);
            let error = ledger.submit(&caller(), function, arguments).unwrap_err();
            assert_eq!(error.code, expect);
        };
        check(FILL, &[b"0", b"9001", b"1"], "invalid-argument");
        check(FILL, &[b"0", b"-1", b"1"], "invalid-argument");
        check(FILL, &[b"0", b"1"], "invalid-argument");
        check(REPLACE, &[b"0", b"new"], "not-found");
        check(REPLACE, &[b"\xff", b"new"], "invalid-argument");
        check("empty", &[], "unknown-function");
    }

    #[test]
    fn values_differ_by_seed_and_have_any_length() {
        assert_eq!(value(7, 11).len(), 11);
        assert_eq!(value(7, 11), value(7, 20)[..11]);
        assert_ne!(value(7, 8), value(8, 8));
        assert!(value(7, 0).is_empty());
    }
}
