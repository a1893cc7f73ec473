//! The protobuf wire format, read without allocating and written by hand.
//!
//! Bitswap messages and UnixFS nodes come from peers. A derived decoder would build whatever the
//! bytes describe before anybody can count: four megabytes of empty list entries become a hundred
//! in memory. Reading field by field lets each caller stop at its own limit.

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a field ends after the message")]
    Truncated,
    #[error("a number has more than 64 bits")]
    Overflow,
    #[error("a field has the number 0 or an unknown wire type")]
    Tag,
}

/// Bytes of what [`put_bytes_head`] appends, at most.
pub(crate) const FIELD_HEAD_BYTES_MAX: usize = 20;

/// The value of a field. Fixed-width numbers are skipped over: nothing here uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Reads the fields of one message in the order in which they were written.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = take_varint(&mut self.rest)?;
        let value = match tag & 7 {
            0 => Value::Number(take_varint(&mut self.rest)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = take_varint(&mut self.rest)?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| WireError::Truncated)?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(WireError::Tag),
        };
        match tag >> 3 {
            0 => Err(WireError::Tag),
            number => Ok(Some((number, value))),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Reads one variable-length number from the front of `bytes`.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(WireError::Overflow);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(WireError::Overflow)
}

/// Appends a variable-length number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number field; the default, zero, is left out as protobuf version 3 does.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    if number != 0 {
        put_varint(out, field << 3);
        put_varint(out, number);
    }
}

/// Appends a field of bytes, even an empty one.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_bytes_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends what stands before so many bytes of a field.
pub(crate) fn put_bytes_head(out: &mut Vec<u8>, field: u64, length: usize) {
    put_varint(out, field << 3 | 2);
    put_varint(out, length as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varint(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, number);
        out
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let check = |bytes: &[u8], expect| assert_eq!(take_varint(&mut &*bytes), expect);
        check(&varint(u64::MAX), Ok(u64::MAX));
        check(&[0xff; 11], Err(WireError::Overflow));
        check(
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            Err(WireError::Overflow),
        );
        check(&[0x80], Err(WireError::Truncated));
    }

    #[test]
    fn unknown_fields_are_read_over() {
        let mut out = Vec::new();
        put_varint(&mut out, 9 << 3 | 1);
        out.extend_from_slice(&[0; 8]);
        put_varint(&mut out, 10 << 3 | 5);
        out.extend_from_slice(&[0; 4]);
        put_bytes(&mut out, 3, b"abc");
        let mut fields = Fields::new(&out);
        assert_eq!(fields.next(), Ok(Some((9, Value::Fixed))));
        assert_eq!(fields.next(), Ok(Some((10, Value::Fixed))));
        assert_eq!(fields.next(), Ok(Some((3, Value::Bytes(b"abc")))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        for length in [4, u64::from(u32::MAX), u64::MAX] {
            let mut out = vec![3 << 3 | 2];
            put_varint(&mut out, length);
            out.extend_from_slice(b"abc");
            assert_eq!(
                Fields::new(&out).next(),
                Err(WireError::Truncated),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn numbers_survive_the_round_trip(number: u64) {
            let bytes = varint(number);
            prop_assert_eq!(take_varint(&mut &bytes[..]), Ok(number));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut fields = Fields::new(&bytes);
            while let Ok(Some(_)) = fields.next() {}
        }
    }
}
