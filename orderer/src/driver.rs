//! The thread that runs one channel: it owns the clock and the disk, and hands messages to the
//! links. When another configuration is in force it says so, and opens and closes links.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use stela_protocol::{BlockNumber, ChannelId, ErrorCode, RpcError, pb};
use stela_store::Kv;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::chain::{Chain, ChainFault, ChainView, Input, Outgoing, SubmitError};
use crate::configurations::InForce;
use crate::limits::{CONSENSUS_QUEUE_MAX, INPUTS_PER_TURN_MAX, SUBMIT_QUEUE_MAX, TICK};
use crate::links::{Link, Links};
use crate::pending::Admitted;

/// That a channel stopped by itself; the process has to end.
#[derive(Debug, thiserror::Error)]
#[error("channel {channel}: {cause}")]
pub struct Fault {
    /// The channel.
    pub channel: ChannelId,
    /// What happened.
    pub cause: FaultCause,
}

/// Why a channel stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum FaultCause {
    /// Its disk failed, or its data is damaged.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// This program is wrong.
    #[error("a fault of this program; the log has the details")]
    Panic,
}

/// Milliseconds since the Unix epoch by this machine's clock.
#[allow(clippy::disallowed_methods, reason = "the driver owns the clock")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// How others reach a running chain.
pub struct Handle {
    /// Takes what other orderers send; waits while the chain is busy.
    pub consensus: mpsc::Sender<Input>,
    submit: mpsc::Sender<Submission>,
    view: watch::Receiver<ChainView>,
    in_force: watch::Receiver<Arc<InForce>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Submission {
    envelope: Admitted,
    answer: oneshot::Sender<Result<(), SubmitError>>,
}

impl Handle {
    /// Hands an admitted envelope in.
    ///
    /// # Errors
    /// [`SubmitError`] as an [`RpcError`], or that the channel is busy or stopping.
    pub async fn submit(&self, envelope: Admitted) -> Result<(), RpcError> {
        let (answer, answered) = oneshot::channel();
        self.submit
            .try_send(Submission { envelope, answer })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => RpcError::from(SubmitError::Full),
                mpsc::error::TrySendError::Closed(_) => stopping(),
            })?;
        Ok(answered.await.map_err(|_| stopping())??)
    }

    /// What can be seen of the chain, and when it changes.
    pub fn view(&self) -> watch::Receiver<ChainView> {
        self.view.clone()
    }

    /// The configuration in force, and when another one is.
    pub fn in_force(&self) -> watch::Receiver<Arc<InForce>> {
        self.in_force.clone()
    }

    /// Waits until the thread has ended, after a stop. Blocks.
    pub fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // A panic was reported as a fault already.
            let _ = thread.join();
        }
    }
}

/// That the node is stopping.
pub(crate) fn stopping() -> RpcError {
    RpcError::new(
        ErrorCode::Unavailable,
        "this orderer is stopping; ask another one",
    )
}

/// Why a channel could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its database cannot be read.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// The system has no thread.
    #[error("no thread for the channel: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts a thread that runs `chain` on `kv` until `stop`, until the orderer is removed from the
/// channel, or until it fails.
///
/// # Errors
/// [`StartError`] says why not.
pub fn start(
    chain: Chain,
    kv: Arc<dyn Kv>,
    links: Arc<Links>,
    stop: CancellationToken,
    faults: mpsc::UnboundedSender<Fault>,
) -> Result<Handle, StartError> {
    let (consensus, consensus_queue) = mpsc::channel(CONSENSUS_QUEUE_MAX);
    let (submit, submit_queue) = mpsc::channel(SUBMIT_QUEUE_MAX);
    let (seen, view) = watch::channel(chain.view());
    let (in_force, in_force_seen) = watch::channel(Arc::new(chain.in_force()?));
    let mut driver = Driver {
        channel: chain.channel().id().clone(),
        since: chain.channel().since,
        chain,
        kv,
        links,
        open: BTreeMap::new(),
        consensus_queue,
        submit_queue,
        seen,
        in_force,
        stop,
    };
    driver.open_links();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let thread = std::thread::Builder::new()
        .name(format!("chain-{}", driver.channel))
        .spawn(move || run(&runtime, driver, &faults))?;
    Ok(Handle {
        consensus,
        submit,
        view,
        in_force: in_force_seen,
        thread: Mutex::new(Some(thread)),
    })
}

fn run(runtime: &tokio::runtime::Runtime, driver: Driver, faults: &mpsc::UnboundedSender<Fault>) {
    let channel = driver.channel.clone();
    let cause = match catch_unwind(AssertUnwindSafe(|| runtime.block_on(driver.run()))) {
        Ok(Ok(())) => return,
        Ok(Err(fault)) => FaultCause::Chain(fault),
        Err(_) => FaultCause::Panic,
    };
    tracing::error!(%channel, error = %cause, "the channel cannot go on");
    // Nobody listens only when the process is ending anyway.
    let _ = faults.send(Fault { channel, cause });
}

struct Driver {
    channel: ChannelId,
    since: BlockNumber,
    chain: Chain,
    kv: Arc<dyn Kv>,
    links: Arc<Links>,
    open: BTreeMap<u64, Link>,
    consensus_queue: mpsc::Receiver<Input>,
    submit_queue: mpsc::Receiver<Submission>,
    seen: watch::Sender<ChainView>,
    in_force: watch::Sender<Arc<InForce>>,
    stop: CancellationToken,
}

impl Driver {
    async fn run(mut self) -> Result<(), ChainFault> {
        let mut ticks = interval(TICK);
        // After a stall the clock goes on, it does not catch up: nobody is elected for our delay.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        while !self.chain.is_removed() {
            let pause = self.chain.pause_ms(now_ms()).map(Duration::from_millis);
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.flush();
                    return Ok(());
                }
                _ = ticks.tick() => self.chain.handle(Input::Tick, now_ms())?,
                Some(input) = self.consensus_queue.recv() => self.chain.handle(input, now_ms())?,
                Some(submission) = self.submit_queue.recv() => self.submit(submission),
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
            self.take_what_waits()?;
            self.carry_out()?;
        }
        let (orderer, number) = (self.chain.orderer(), self.since.0);
        tracing::warn!(
            channel = %self.channel, orderer, number,
            "this orderer was removed from the channel and has stopped ordering it; its blocks can \
             still be read"
        );
        Ok(())
    }

    /// So that the next start does not read the database's log of writes again.
    fn flush(&self) {
        if let Err(error) = self.kv.flush() {
            tracing::warn!(channel = %self.channel, "the next start takes longer: {error}");
        }
    }

    /// What came meanwhile shares the next write.
    fn take_what_waits(&mut self) -> Result<(), ChainFault> {
        for _ in 0..INPUTS_PER_TURN_MAX {
            if let Ok(input) = self.consensus_queue.try_recv() {
                self.chain.handle(input, now_ms())?;
            } else if let Ok(submission) = self.submit_queue.try_recv() {
                self.submit(submission);
            } else {
                break;
            }
        }
        Ok(())
    }

    fn submit(&mut self, submission: Submission) {
        let answer = self.chain.submit(submission.envelope);
        // Whoever has gone away does not mind.
        let _ = submission.answer.send(answer);
    }

    fn carry_out(&mut self) -> Result<(), ChainFault> {
        while let Some(step) = self.chain.poll(now_ms())? {
            let lost: BTreeSet<u64> = step
                .send
                .into_iter()
                .filter_map(|outgoing| self.send(outgoing))
                .collect();
            if !step.write.is_empty() {
                self.kv.write(step.write, step.durability)?;
            }
            self.chain.written()?;
            for orderer in lost {
                self.chain.handle(Input::Unreachable(orderer), now_ms())?;
            }
        }
        if self.chain.channel().since != self.since {
            self.since = self.chain.channel().since;
            self.in_force.send_replace(Arc::new(self.chain.in_force()?));
            self.open_links();
        }
        let view = self.chain.view();
        self.seen
            .send_if_modified(|seen| std::mem::replace(seen, view) != view);
        Ok(())
    }

    /// Links to those who may have to be reached, and to nobody else.
    fn open_links(&mut self) {
        let in_force = self.in_force.borrow().clone();
        let contacts = in_force.contacts(self.chain.orderer());
        self.open = contacts
            .into_iter()
            .map(|(id, orderer)| (id, self.links.to(orderer)))
            .collect();
        self.links.close_unused();
    }

    /// The receiver, if a message of Raft was lost.
    fn send(&self, outgoing: Outgoing) -> Option<u64> {
        let to = outgoing.to;
        let is_raft = matches!(outgoing.body, pb::consensus_message::Body::Raft(_));
        let message = pb::ConsensusMessage {
            channel: self.channel.to_string(),
            from: self.chain.orderer(),
            body: Some(outgoing.body),
        };
        let sent = self.open.get(&to).is_some_and(|link| link.send(message));
        (!sent && is_raft).then_some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ChainSettings;
    use crate::channel::Channel;
    use crate::consortium::{CHANNEL, Consortium, encoded, registration, sign};
    use crate::layout::FAMILIES;
    use stela_identity::tls::{TlsRoots, TlsSettings};
    use stela_protocol::transaction::Envelope;
    use stela_store::MemoryKv;

    fn envelope(consortium: &Consortium) -> Admitted {
        let client = consortium.organizations[0].member("client", "practitioner");
        let bytes = sign(registration(CHANNEL, &client, now_ms()), &client);
        Admitted::parsed(&Envelope::decode(bytes.clone()).unwrap(), bytes)
    }

    fn opened(consortium: &Consortium, kv: Arc<dyn Kv>) -> Chain {
        let genesis = encoded(&consortium.genesis());
        let channel = Arc::new(Channel::from_genesis(genesis).unwrap());
        let credentials = consortium.orderers[0].credentials.clone();
        let (settings, logger) = (ChainSettings::new(1), crate::raft_logger());
        Chain::open(&settings, channel, credentials, kv, &logger).unwrap()
    }

    fn no_links(consortium: &Consortium, stop: &CancellationToken) -> Arc<Links> {
        let tls = consortium.organizations[0].tls("orderer0");
        let tls = TlsSettings::new(tls, &TlsRoots::new()).unwrap();
        Arc::new(Links::new(tls, stop.clone()))
    }

    #[tokio::test]
    async fn what_was_not_synced_is_never_acknowledged() {
        let consortium = Consortium::new(now_ms(), &["localhost:1".to_owned()]);
        let channel = Channel::from_genesis(encoded(&consortium.genesis())).unwrap();
        let kv = Arc::new(MemoryKv::new(FAMILIES));
        channel.create(kv.as_ref()).unwrap();
        kv.set_losing(true);
        let chain = opened(&consortium, kv.clone());
        let (faults, mut faulty) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let links = no_links(&consortium, &stop);
        let handle = start(chain, kv.clone(), links, stop, faults).unwrap();
        let fault = tokio::time::timeout(Duration::from_secs(60), faulty.recv());
        let fault = fault.await.unwrap().unwrap();
        let fault = fault.to_string();
        assert!(fault.contains("fsync failed"), "{fault}");
        handle.join();
        // Not even its vote for itself was kept.
        assert_eq!(handle.view().borrow().head, BlockNumber(0));
        let found = crate::log::Log::open(Arc::new(kv.crash())).unwrap();
        assert_eq!(found.hard_state().term, 0);
    }

    #[tokio::test]
    async fn a_failing_disk_stops_the_channel_and_nothing_is_delivered() {
        let consortium = Consortium::new(now_ms(), &["localhost:1".to_owned()]);
        let channel = Channel::from_genesis(encoded(&consortium.genesis())).unwrap();
        let kv = Arc::new(MemoryKv::new(FAMILIES));
        channel.create(kv.as_ref()).unwrap();
        let id = channel.id().clone();
        let chain = opened(&consortium, kv.clone());
        let (faults, mut faulty) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let links = no_links(&consortium, &stop);
        let handle = start(chain, kv.clone(), links, stop, faults).unwrap();

        let wait = Duration::from_secs(60);
        let mut view = handle.view();
        let leads = view.wait_for(|view| view.leader == 1);
        drop(tokio::time::timeout(wait, leads).await.unwrap().unwrap());
        handle.submit(envelope(&consortium)).await.unwrap();
        let delivers = view.wait_for(|view| view.deliverable == BlockNumber(1));
        drop(tokio::time::timeout(wait, delivers).await.unwrap().unwrap());

        kv.set_failing(true);
        // It is taken into the queue, or the thread has ended already.
        let _ = handle.submit(envelope(&consortium)).await;
        let fault = tokio::time::timeout(wait, faulty.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(fault.channel, id);
        let fault = fault.cause.to_string();
        assert!(fault.contains("told to fail"), "{fault}");
        handle.join();
        assert_eq!(view.borrow().deliverable, BlockNumber(1));
        assert!(
            handle
                .submit(envelope(&consortium))
                .await
                .unwrap_err()
                .is_retryable()
        );
    }
}
