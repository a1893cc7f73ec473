//! Padmé padding, so that the length of a stored record says little about the record.
//!
//! Source: Nikitin, Barman, Lueks, Underwood, Hubaux and Ford, *Reducing Metadata Leakage from
//! Encrypted Files and Communication with PURBs*, PoPETs 2019(4), section 4. A length keeps only
//! its ⌊log₂ log₂ L⌋ + 1 highest significant bits, so all lengths up to *M* leak O(log log M)
//! bits in total, and at most 12 % is added, less for long documents.

use crate::limits::{PADDED_BYTES_MAX, PADDED_BYTES_MIN};

/// The length to which a plaintext stream of `stream_bytes` is padded: Padmé, and at least
/// [`PADDED_BYTES_MIN`]. `None` if that would exceed [`PADDED_BYTES_MAX`].
///
/// The result is a fixed point: padding it again changes nothing.
pub fn padded_bytes(stream_bytes: u64) -> Option<u64> {
    padme(stream_bytes.max(PADDED_BYTES_MIN)).filter(|padded| *padded <= PADDED_BYTES_MAX)
}

/// The Padmé length for `length`: never smaller, monotone, idempotent, and larger by less than
/// `length / 2^S`, where S = ⌊log₂ ⌊log₂ length⌋⌋ + 1. `None` if it does not fit in 64 bits.
pub fn padme(length: u64) -> Option<u64> {
    if length < 2 {
        return Some(length);
    }
    let exponent = length.ilog2();
    let kept_bits = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - kept_bits)) - 1;
    Some(length.checked_add(mask)? & !mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_computed_by_hand() {
        for (length, padded) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 3),
            (8, 8),
            (9, 10),
            (200, 208),
            (1_000, 1_024),
            (4_096, 4_096),
            (4_097, 4_352),
            (262_128, 262_144),
            (1_000_000, 1_015_808),
        ] {
            assert_eq!(padme(length), Some(padded), "length {length}");
        }
    }

    #[test]
    fn the_largest_overhead_is_that_of_the_paper() {
        let worst = (1..1u64 << 20)
            .map(|length| (padme(length).expect("short") - length) as f64 / length as f64)
            .fold(0.0, f64::max);
        assert!(
            (worst - 15.0 / 129.0).abs() < 1e-9,
            "worst overhead {worst}"
        );
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(padded_bytes(0), Some(PADDED_BYTES_MIN));
        assert_eq!(padded_bytes(PADDED_BYTES_MAX), Some(PADDED_BYTES_MAX));
        assert_eq!(padded_bytes(PADDED_BYTES_MAX + 1), None);
        assert_eq!(padded_bytes(u64::MAX), None);
        assert_eq!(padme(u64::MAX), None);
    }

    /// Lengths of every magnitude, not only the largest.
    fn any_length() -> impl Strategy<Value = u64> {
        (0u32..62, any::<u64>()).prop_map(|(bits, value)| value >> (63 - bits))
    }

    proptest! {
        #[test]
        fn overhead_is_bounded(length in any_length()) {
            prop_assume!(length >= 2);
            let added = padme(length).expect("below 2^63") - length;
            let kept_bits = length.ilog2().ilog2() + 1;
            prop_assert!(u128::from(added) << kept_bits < u128::from(length).max(1) + 1);
            prop_assert!(u128::from(added) * 100 <= u128::from(length) * 12);
        }

        #[test]
        fn padding_is_monotone(a in any_length(), b in any_length()) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(padme(low) <= padme(high));
            prop_assert!(padded_bytes(low).unwrap_or(u64::MAX) <= padded_bytes(high).unwrap_or(u64::MAX));
        }

        #[test]
        fn padding_is_idempotent(length in any_length()) {
            let padded = padme(length).expect("below 2^63");
            prop_assert!(padded >= length);
            prop_assert_eq!(padme(padded), Some(padded));
        }
    }
}
