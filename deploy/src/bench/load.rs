//! Clients that make calls: as many at a time, or as many in a second.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::usage::{Meter, Reading};
use super::world::{Call, Outcome};
use crate::limits::{BENCH_OPEN_MAX, BENCH_REFUSED_PAUSE, BENCH_SETTLE, POLL};

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// So many clients make one call after another. How long a call took counts from its beginning.
    InFlight(usize),
    /// So many calls begin in every second, whatever became of those before. How long one took counts
    /// from when it was to begin, so that a pause of the network or of this program hides nothing.
    PerSecond(f64),
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InFlight(count) => write!(f, "{count} in flight"),
            Self::PerSecond(rate) => write!(f, "{rate:.0} per s due"),
        }
    }
}

/// How long a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Not measured.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What is called in a run.
pub(crate) trait Calls: Send + Sync + 'static {
    /// Makes the next call.
    fn make(&self) -> impl Future<Output = Call> + Send;
}

/// A call, and when it was due and done, counted from the beginning of the run.
pub(super) struct Sample {
    pub(super) due: Duration,
    pub(super) done: Duration,
    pub(super) call: Call,
}

/// Everything that was called in a run.
pub(super) struct Taken {
    pub(super) samples: Vec<Sample>,
    /// The part of the run that is measured.
    pub(super) window: Range<Duration>,
    /// What was used in it.
    pub(super) used: Reading,
    /// Calls that were due and not made, because too many were under way.
    pub(super) unsent: u64,
}

impl Taken {
    /// When the last call was over, in seconds from the beginning of the run.
    pub(super) fn ended_s(&self) -> f64 {
        let ended = self.samples.iter().map(|sample| sample.done);
        ended.max().unwrap_or_default().as_secs_f64()
    }
}

/// Makes calls at that pace, and waits for all that were begun.
///
/// # Errors
/// When a process is gone.
pub(super) async fn take<C: Calls>(
    calls: &Arc<C>,
    pace: Pace,
    span: Span,
    meter: &Meter,
) -> anyhow::Result<Taken> {
    let book = Arc::new(Book::open());
    let mut clients = Clients {
        calls: calls.clone(),
        book: book.clone(),
        tasks: JoinSet::new(),
    };
    let (watched, unsent) = match pace {
        Pace::InFlight(count) => {
            clients.take_turns(count);
            (watch(&book, span, count, meter).await, 0)
        }
        Pace::PerSecond(rate) => {
            tokio::join!(watch(&book, span, 0, meter), clients.keep_pace(rate))
        }
    };
    clients.end().await?;
    let (window, used) = watched?;
    Ok(Taken {
        samples: std::mem::take(&mut *book.samples.lock()),
        window,
        used,
        unsent,
    })
}

/// Waits until the run is over and says what was used in its measured part. Neither of its parts ends
/// before `least` calls are done in it: as many as are in flight, so that what is measured is no
/// beginning.
async fn watch(
    book: &Book,
    span: Span,
    least: usize,
    meter: &Meter,
) -> anyhow::Result<(Range<Duration>, Reading)> {
    book.pass(span.warm_up, least).await;
    let (begin, before) = (book.now(), meter.read());
    book.pass(span.measured, least).await;
    let (end, after) = (book.now(), meter.read());
    book.close();
    Ok((begin..end, after?.since(&before?)))
}

/// What the clients of a run write down.
struct Book {
    begun: Instant,
    open: AtomicBool,
    under_way: AtomicUsize,
    done: AtomicUsize,
    samples: Mutex<Vec<Sample>>,
}

impl Book {
    fn open() -> Self {
        Self {
            begun: Instant::now(),
            open: AtomicBool::new(true),
            under_way: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            samples: Mutex::default(),
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for so long, and then until so many calls are done since.
    async fn pass(&self, time: Duration, least: usize) {
        let (wanted, deadline) = (self.done() + least, Instant::now() + BENCH_SETTLE);
        sleep(time).await;
        while self.is_open() && self.done() < wanted && Instant::now() < deadline {
            sleep(POLL).await;
        }
    }

    /// How many calls were not refused.
    fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Enters a call. One that failed ends the run: it will not be reported.
    fn enter(&self, due: Duration, call: Call) {
        match call.outcome {
            Outcome::Failed(_) => self.close(),
            Outcome::Refused(_) => {}
            _ => drop(self.done.fetch_add(1, Ordering::Relaxed)),
        }
        let done = self.now();
        self.samples.lock().push(Sample { due, done, call });
    }
}

struct Clients<C> {
    calls: Arc<C>,
    book: Arc<Book>,
    tasks: JoinSet<()>,
}

impl<C: Calls> Clients<C> {
    fn take_turns(&mut self, count: usize) {
        for _ in 0..count {
            let (calls, book) = (self.calls.clone(), self.book.clone());
            self.tasks.spawn(async move {
                while book.is_open() {
                    let due = book.now();
                    let call = calls.make().await;
                    let refused = matches!(call.outcome, Outcome::Refused(_));
                    book.enter(due, call);
                    if refused {
                        sleep(BENCH_REFUSED_PAUSE).await;
                    }
                }
            });
        }
    }

    /// Begins calls when they are due, until the book is closed; says how many were not made.
    async fn keep_pace(&mut self, rate: f64) -> u64 {
        let (mut number, mut unsent) = (0u64, 0);
        loop {
            let due = Duration::from_secs_f64(number as f64 / rate);
            number += 1;
            sleep_until(self.book.begun + due).await;
            if !self.book.is_open() {
                return unsent;
            }
            while self.tasks.try_join_next().is_some() {}
            if self.book.under_way.load(Ordering::Relaxed) >= BENCH_OPEN_MAX {
                unsent += 1;
                continue;
            }
            self.book.under_way.fetch_add(1, Ordering::Relaxed);
            let (calls, book) = (self.calls.clone(), self.book.clone());
            self.tasks.spawn(async move {
                let call = calls.make().await;
                book.enter(due, call);
                book.under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// How long calls took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 95 of a hundred.
    pub p95_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
}

impl Latency {
    /// The exact quantiles: every call is kept, none is put into a bucket.
    pub(super) fn of(calls: impl IntoIterator<Item = Duration>) -> Self {
        let mut calls: Vec<Duration> = calls.into_iter().collect();
        calls.sort_unstable();
        let quantile = |percent: usize| {
            // The smallest that so many of them do not exceed.
            let rank = (calls.len() * percent).div_ceil(100).max(1);
            let found = calls.get(rank - 1).copied().unwrap_or_default();
            found.as_secs_f64() * 1e3
        };
        Self {
            p50_ms: quantile(50),
            p95_ms: quantile(95),
            p99_ms: quantile(99),
            max_ms: quantile(100),
        }
    }
}

/// What became of calls, by code, without those that went well.
pub(super) fn refusals(samples: &[Sample]) -> BTreeMap<&'static str, u64> {
    let mut refusals = BTreeMap::new();
    for sample in samples {
        if let Outcome::Refused(code) = sample.call.outcome {
            *refusals.entry(code.as_str()).or_default() += 1;
        }
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_calls() {
        let calls = (1..=200).rev().map(Duration::from_millis);
        let latency = Latency::of(calls);
        let expect = Latency {
            p50_ms: 100.0,
            p95_ms: 190.0,
            p99_ms: 198.0,
            max_ms: 200.0,
        };
        assert_eq!(latency, expect);
        assert_eq!(Latency::of([]), Latency::default());
    }
}
