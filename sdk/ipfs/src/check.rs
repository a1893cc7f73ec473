//! A walk over a blob's blocks that takes its time: whoever reads everything that is kept must
//! leave room for those who want something now.

use std::time::Duration;

use cid::Cid;
use futures::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::error::StoreError;
use crate::store::{Look, Step, Survey, SurveyError, Walk};

/// Walks over a blob, `at_once` blocks at a time and no faster than so many bytes in a second.
/// `look` says what is found at a block.
pub(crate) async fn walk<F: Future<Output = Result<Look, StoreError>>>(
    root: &Cid,
    at_once: usize,
    bytes_per_second: Option<u64>,
    look: impl Fn(Step) -> F,
) -> Result<Survey, SurveyError> {
    let mut walk = Walk::new(root);
    let mut due = Instant::now();
    loop {
        let steps: Vec<Step> = std::iter::from_fn(|| walk.next()).take(at_once).collect();
        if steps.is_empty() {
            return Ok(walk.finish());
        }
        let looks = join_all(steps.iter().map(|step| look(*step))).await;
        let mut bytes = 0;
        for (step, found) in steps.iter().zip(looks) {
            let found = found?;
            if let Look::Content(data) = &found {
                bytes += data.len() as u64;
            }
            walk.found(step, found)?;
        }
        if let Some(rate) = bytes_per_second {
            due = due.max(Instant::now()) + time_for(bytes, rate);
            sleep_until(due).await;
        }
    }
}

/// How long so many bytes take at a rate of so many in a second.
fn time_for(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::block::raw_cid;
    use crate::dag::tests::node;

    /// Four leaves of 1,000 bytes, at 40,000 bytes in a second.
    #[tokio::test]
    async fn no_more_is_read_in_a_second_than_allowed() {
        let leaves: Vec<Bytes> = (0..4u8).map(|n| vec![n; 1_000].into()).collect();
        let children: Vec<_> = leaves.iter().map(|leaf| (raw_cid(leaf), 1_000)).collect();
        let root = node(2, b"", 4_000, &children);
        let look = async |step: Step| {
            let leaf = leaves.iter().find(|leaf| raw_cid(leaf) == step.cid);
            Ok(Look::Content(leaf.unwrap_or(root.data()).clone()))
        };
        let since = Instant::now();
        let survey = walk(root.cid(), 1, Some(40_000), look)
            .await
            .expect("a walk");
        assert_eq!(survey.blocks.len(), 5);
        assert!(since.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn a_rate_of_nothing_still_ends() {
        assert_eq!(time_for(3_000, 2_000), Duration::from_millis(1_500));
        assert_eq!(time_for(3, 0), Duration::from_secs(3));
    }
}
