//! One input cut into several: each part but the last has its length in front, two bytes. A length
//! beyond the end takes what there is, so that every input means something.

/// What is left of an input.
pub(crate) struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn of(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte; 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number of eight bytes; the missing ones are zeros.
    pub(crate) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_be_bytes(bytes)
    }

    /// A part with its length in front.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()) << 8 | usize::from(self.byte());
        self.take(length)
    }

    /// Up to `max` parts, to the end of the input.
    pub(crate) fn parts(&mut self, max: usize) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        while !self.is_empty() && parts.len() < max {
            parts.push(self.part());
        }
        parts
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A part as [`Parts::part`] reads it.
pub(crate) fn part(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("seeds are small");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Several parts, one after the other.
pub(crate) fn joined<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Vec<u8> {
    parts
        .into_iter()
        .flat_map(|bytes| part(bytes.as_ref()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_a_cut_input_still_means_something() {
        let input = [joined([&b"one"[..], b"", b"two"]), vec![7]].concat();
        let mut parts = Parts::of(&input);
        assert_eq!((parts.part(), parts.part()), (&b"one"[..], &b""[..]));
        assert_eq!(
            (parts.part(), parts.byte(), parts.byte()),
            (&b"two"[..], 7, 0)
        );
        assert_eq!(Parts::of(&input[..4]).parts(9), [b"on"]);
        assert_eq!(Parts::of(&[1, 2]).number(), 0x0102 << 48);
    }
}
