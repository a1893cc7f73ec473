//! Threads that run contracts.
//!
//! They take one job after the other from a queue of their own, so that under load none of them has
//! to be woken for the next one.

use std::collections::VecDeque;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use parking_lot::{Condvar, Mutex};
use stela_protocol::{ErrorCode, RpcError};
use tokio::sync::oneshot;

use crate::answer;

type Job = Box<dyn FnOnce() + Send>;

/// How many processors there are. The system reads files to find out, so it is asked once.
pub(crate) fn processors() -> usize {
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    *PROCESSORS
}

/// A number of threads, and room for jobs that wait for one. The threads end when this is dropped,
/// after the jobs that they have begun.
pub(crate) struct Workers(Arc<Shared>);

struct Shared {
    waiting_max: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    stopped: bool,
}

impl Workers {
    /// Starts `threads` threads with this name, for which at most `waiting_max` jobs wait.
    ///
    /// # Errors
    /// When the system has no thread.
    pub(crate) fn start(name: &str, threads: usize, waiting_max: usize) -> std::io::Result<Self> {
        let workers = Self(Arc::new(Shared {
            waiting_max,
            queue: Mutex::default(),
            changed: Condvar::new(),
        }));
        for number in 0..threads {
            let shared = workers.0.clone();
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(workers)
    }

    /// Runs a job when a thread is free, and returns what it returns. Whoever drops the future gives
    /// up a job that has not begun; one that has goes on.
    ///
    /// # Errors
    /// `Overloaded` when too many wait; `Internal` when the job panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RpcError> {
        let (done, found) = oneshot::channel();
        self.0.push(Box::new(move || {
            if !done.is_closed() {
                // Whoever has gone away meanwhile does not mind.
                let _ = done.send(job());
            }
        }))?;
        found.await.map_err(|_| answer::fallen())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.stopped = true;
        queue.jobs.clear();
        drop(queue);
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn push(&self, job: Job) -> Result<(), RpcError> {
        let mut queue = self.queue.lock();
        if queue.jobs.len() >= self.waiting_max + queue.idle {
            let why = "too many proposals wait already; try again later";
            return Err(RpcError::new(ErrorCode::Overloaded, why));
        }
        queue.jobs.push_back(job);
        let wake = queue.idle > 0;
        drop(queue);
        if wake {
            self.changed.notify_one();
        }
        Ok(())
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // The panic is in the log, and whoever waits for the job is told.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue.idle += 1;
            self.changed.wait(&mut queue);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// A thread that has begun a job which ends with the sender that is returned.
    async fn busy(workers: &Arc<Workers>) -> std::sync::mpsc::Sender<()> {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let workers = workers.clone();
        tokio::spawn(async move {
            let job = move || {
                begin.send(()).unwrap();
                ended.recv().is_err()
            };
            workers.run(job).await
        });
        begun.await.unwrap();
        end
    }

    #[tokio::test]
    async fn what_finds_no_thread_waits_and_what_finds_no_room_is_refused() {
        let workers = Arc::new(Workers::start("test", 1, 1).unwrap());
        let end = busy(&workers).await;
        let mut waiting = Box::pin(workers.run(|| 7));
        assert!((&mut waiting).now_or_never().is_none());
        let refused = workers.run(|| 8).await.err().map(|error| error.code);
        assert_eq!(refused, Some(ErrorCode::Overloaded));
        drop(end);
        assert_eq!(waiting.await.unwrap(), 7);
        assert_eq!(workers.run(|| 9).await.unwrap(), 9);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_begun() {
        let workers = Arc::new(Workers::start("test", 1, 2).unwrap());
        let end = busy(&workers).await;
        let mut given_up = Box::pin(workers.run::<()>(|| panic!("it was begun")));
        assert!((&mut given_up).now_or_never().is_none());
        drop(given_up);
        drop(end);
        assert_eq!(workers.run(|| 9).await.unwrap(), 9);
    }

    #[tokio::test]
    async fn a_job_that_panics_fails_alone() {
        let workers = Workers::start("test", 1, 1).unwrap();
        let failed: Result<(), RpcError> = workers.run(|| panic!("told to")).await;
        assert_eq!(failed.unwrap_err().code, ErrorCode::Internal);
        assert_eq!(workers.run(|| 9).await.unwrap(), 9);
    }
}
