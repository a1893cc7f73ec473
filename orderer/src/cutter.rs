//! Where one block ends and the next begins.

use stela_protocol::config::ChannelLimits;

/// Bytes that a block has beside its envelopes and signatures: a header with the longest name.
const HEADER_BYTES: usize = 256;
/// Bytes of one signature in a block.
const SIGNATURE_BYTES: usize = 96;
/// Bytes that a block adds to an envelope.
const ENVELOPE_FRAME_BYTES: usize = 6;

/// Cuts by count and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Cutter {
    transactions_max: usize,
    bytes_max: usize,
}

/// What a block takes from the front of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How many envelopes.
    pub count: usize,
    /// Whether nothing more would fit.
    pub full: bool,
}

impl Cutter {
    /// A cutter for a channel with that many orderers.
    pub fn new(limits: &ChannelLimits, orderers: usize) -> Self {
        let fixed = HEADER_BYTES + orderers * SIGNATURE_BYTES;
        Self {
            transactions_max: limits.block_transactions_max,
            bytes_max: limits.block_bytes_max.saturating_sub(fixed),
        }
    }

    /// Cuts a queue of envelopes of these sizes. A block takes at least one of them: an envelope
    /// has at most 1 MiB, so even alone and with its frame it fits what the transport carries.
    pub fn cut(&self, sizes: impl IntoIterator<Item = usize>) -> Cut {
        let (mut count, mut bytes) = (0, 0usize);
        for size in sizes {
            bytes = bytes
                .saturating_add(size)
                .saturating_add(ENVELOPE_FRAME_BYTES);
            if count > 0 && bytes > self.bytes_max {
                return Cut { count, full: true };
            }
            count += 1;
            if count == self.transactions_max {
                return Cut { count, full: true };
            }
        }
        Cut {
            count,
            full: bytes >= self.bytes_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stela_protocol::block::Block;
    use stela_protocol::limits::{BLOCK_BYTES_MAX, ENVELOPE_BYTES_MAX, MESSAGE_BYTES_MAX};
    use stela_protocol::{BlockNumber, ChannelId, Hash32, Message, pb};

    fn cutter(block_transactions_max: usize, block_bytes_max: usize) -> Cutter {
        let limits = ChannelLimits {
            window_ms: 1,
            block_transactions_max,
            block_bytes_max,
            envelope_bytes_max: 1,
        };
        Cutter::new(&limits, 3)
    }

    fn check(sizes: &[usize], count: usize, full: bool) {
        let cut = cutter(4, 10_000).cut(sizes.iter().copied());
        assert_eq!(cut, Cut { count, full }, "{sizes:?}");
    }

    #[test]
    fn it_cuts_by_count_and_by_bytes() {
        check(&[], 0, false);
        check(&[100, 100], 2, false);
        check(&[1; 4], 4, true);
        check(&[1; 9], 4, true);
        check(&[5_000, 5_000], 1, true);
        check(&[3_000, 3_000, 3_000, 3_000], 3, true);
        check(&[20_000, 1], 1, true);
        check(&[20_000], 1, true);
    }

    #[test]
    fn the_largest_block_fits_the_transport() {
        let alone = Cutter::new(
            &ChannelLimits {
                window_ms: 1,
                block_transactions_max: 1,
                block_bytes_max: 1,
                envelope_bytes_max: 1,
            },
            stela_protocol::limits::ORDERERS_MAX,
        );
        assert_eq!(alone.cut([ENVELOPE_BYTES_MAX]).count, 1);
        const { assert!(ENVELOPE_BYTES_MAX + (64 << 10) < MESSAGE_BYTES_MAX) };
        const { assert!(BLOCK_BYTES_MAX + (64 << 10) < MESSAGE_BYTES_MAX) };
    }

    proptest! {
        #[test]
        fn a_cut_block_keeps_the_limit(sizes in prop::collection::vec(1usize..3_000, 1..40)) {
            let cut = cutter(1_000, 10_000).cut(sizes.iter().copied());
            let envelopes: Vec<_> =
                sizes[..cut.count].iter().map(|size| vec![7u8; *size].into()).collect();
            let channel = ChannelId::new(&"c".repeat(64)).unwrap();
            let (number, zero) = (BlockNumber(u64::MAX), Hash32([0xff; 32]));
            let mut block = Block::new(channel, number, zero, number, u64::MAX, envelopes).to_pb();
            block.signatures = (0..3)
                .map(|n| pb::HeaderSignature { orderer: u64::MAX - n, signature: vec![1; 64].into() })
                .collect();
            prop_assert!(block.encoded_len() <= 10_000);
            prop_assert!(cut.count == sizes.len() || cut.full);
        }
    }
}
