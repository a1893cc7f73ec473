//! How soon the first byte of a study is there, and what reading anywhere in it costs.

use std::ops::Range;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::command::Ran;
use super::study::{Noise, Study};
use super::{Large, users};
use crate::limits::{LARGE_HEAD_BYTES, LARGE_RANGE_BYTES};

/// Blocks that a range can need beside its own: the root, a node of the tree for each end and for the
/// beginning, and the first chunk, which says where in the chunks the document is.
pub(super) const BLOCKS_BESIDE: u64 = 1 + 3 + 1;

/// When the first plaintext byte was out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FirstByte {
    /// Of what.
    pub of: String,
    /// From the beginning of the command until the ledger had permitted it, the key was open and the
    /// blob and its beginning were found.
    pub permitted_seconds: f64,
    /// From the beginning of the command until the byte.
    pub seconds: f64,
}

/// A range that was read by a command of its own, with a permit of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RangeRead {
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub bytes: u64,
    /// Blocks that were fetched for it.
    pub blocks: u64,
    /// Bytes of these.
    pub fetched_bytes: u64,
    /// From the beginning of the command until the ledger had permitted it, the key was open and the
    /// blob and its beginning were found.
    pub permitted_seconds: f64,
    /// From then until the range was out.
    pub fetch_seconds: f64,
    /// The whole command, as a process.
    pub seconds: f64,
}

impl Large<'_> {
    /// Reads the beginning, then ranges that the seed draws.
    pub(super) async fn read_anywhere(
        &mut self,
        study: &Study,
        record: &str,
        ranges: usize,
        seed: u64,
    ) -> anyhow::Result<()> {
        let head = 0..study.bytes().min(LARGE_HEAD_BYTES);
        let ran = self.read_range(study, record, &head).await?;
        self.note_peak("head", &ran);
        self.note_first_byte("of the head, as it comes", &ran, "fetch")?;
        for range in draw(study.bytes(), ranges, seed) {
            let ran = self.read_range(study, record, &range).await?;
            self.note_peak("range", &ran);
            let fetch = stage(&ran, "fetch")?;
            let (blocks, bytes) = (ran.number("fetched_blocks")?, range.end - range.start);
            // A range of a few chunks lies in one more than it is long.
            let own = bytes.div_ceil(super::study::CHUNK_BYTES) + 1;
            self.measured.check(
                "for a range anywhere only its blocks were fetched",
                blocks <= BLOCKS_BESIDE + own,
            );
            self.way.ranges.push(RangeRead {
                start: range.start,
                bytes,
                blocks,
                fetched_bytes: ran.number("fetched_bytes")?,
                permitted_seconds: fetch.began_seconds,
                fetch_seconds: fetch.seconds,
                seconds: ran.seconds,
            });
        }
        Ok(())
    }

    async fn read_range(
        &mut self,
        study: &Study,
        record: &str,
        range: &Range<u64>,
    ) -> anyhow::Result<Ran> {
        let out = self.folder.join("range.bin");
        let mut words = self.read_words(record, &out);
        words.push("--range".to_owned());
        words.push(format!("{}-{}", range.start, range.end - 1));
        let ran = self.command(&users::reader()).must(&words).await?;
        let same = std::fs::read(&out)? == study.part(range.clone())?;
        self.measured
            .check("a range anywhere is that of the study", same);
        std::fs::remove_file(&out)?;
        Ok(ran)
    }

    /// Takes down when the first byte of a stage was done that gives out plaintext.
    pub(super) fn note_first_byte(
        &mut self,
        of: &str,
        ran: &Ran,
        giving: &str,
    ) -> anyhow::Result<()> {
        let (fetch, giving) = (stage(ran, "fetch")?, stage(ran, giving)?);
        self.way.first_byte.push(FirstByte {
            of: of.to_owned(),
            permitted_seconds: fetch.began_seconds,
            seconds: giving.began_seconds + giving.first_seconds,
        });
        Ok(())
    }
}

fn stage(ran: &Ran, name: &str) -> anyhow::Result<super::Stage> {
    let mut stages = ran.stages()?.into_iter();
    let found = stages.find(|stage| stage.stage == name);
    found.with_context(|| format!("the answer has no stage {name}: {}", ran.json))
}

/// So many ranges inside a study.
fn draw(study_bytes: u64, count: usize, seed: u64) -> Vec<Range<u64>> {
    let bytes = LARGE_RANGE_BYTES.min(study_bytes);
    let mut noise = Noise::new(seed);
    let starts = std::iter::repeat_with(|| noise.below(study_bytes - bytes + 1));
    let ranges = starts.map(|start| start..start + bytes);
    ranges.take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lie_inside_and_are_what_their_seed_says() {
        for study_bytes in [1, LARGE_RANGE_BYTES, 1_000_000, 2 << 30] {
            let ranges = draw(study_bytes, 50, 6);
            assert_eq!(ranges.len(), 50);
            assert_eq!(ranges, draw(study_bytes, 50, 6));
            for range in ranges {
                assert!(
                    range.start < range.end && range.end <= study_bytes,
                    "{range:?}"
                );
            }
        }
        assert_ne!(draw(2 << 30, 50, 6), draw(2 << 30, 50, 8));
    }

    #[test]
    fn the_first_byte_is_counted_from_the_beginning_of_the_command() {
        let json = serde_json::json!({"stages": [{
            "stage": "fetch", "bytes": 9, "began_seconds": 0.5, "first_seconds": 0.25, "seconds": 2.0,
        }]});
        let ran = Ran {
            code: 0,
            json,
            said: String::new(),
            peak_bytes: 0,
            seconds: 3.0,
        };
        let fetch = stage(&ran, "fetch").unwrap();
        assert_eq!(fetch.began_seconds + fetch.first_seconds, 0.75);
        assert!(stage(&ran, "decrypt").is_err());
    }
}
