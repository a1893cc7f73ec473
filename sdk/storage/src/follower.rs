//! The drivers: they own the clock and the connections, and tell the node what happens.

use std::io;
use std::path::Path;

use futures::StreamExt;
use stela_client::{
    CheckpointError, Event, EventStream, EventsError, FileCheckpointer, Network, Start,
};
use stela_identity::tls::{TlsRoots, TlsSettings};
use stela_ipfs::PinKind;
use stela_protocol::config::ChannelConfig;
use stela_protocol::{BlockNumber, ContractName, ErrorCode};
use tokio::time::{Duration, interval, sleep};

use crate::config::Replication;
use crate::configuration::Known;
use crate::events;
use crate::limits::{
    CHECK_PAUSE, COLLECT_INTERVAL, COMPARE_FIRST, COMPARE_INTERVAL, CONFIG_PAUSE, EVENTS_PAUSE,
    REGISTER_TIMEOUT, TICK,
};
use crate::service::StorageNode;
use crate::upkeep::Handled;

/// Events that concern nothing here after which the checkpoint is saved all the same.
const EVENTS_PER_SAVE: u32 = 64;

/// Follows the events of a contract.
pub struct Follower {
    node: StorageNode,
    network: Network,
    contract: ContractName,
    replication: Replication,
    checkpoint: FileCheckpointer,
    unsaved: u32,
}

impl Follower {
    /// Goes on from the checkpoint in the data folder, or from the beginning of the channel.
    ///
    /// # Errors
    /// [`CheckpointError`] when the checkpoint cannot be read or belongs to something else.
    pub fn open(
        node: StorageNode,
        network: Network,
        contract: ContractName,
        replication: Replication,
        data: &Path,
    ) -> Result<Self, CheckpointError> {
        let path = data.join("checkpoint");
        let checkpoint = FileCheckpointer::open(path, network.channel(), &contract)?;
        *node.0.followed.lock() = checkpoint.checkpoint();
        Ok(Self {
            node,
            network,
            contract,
            replication,
            checkpoint,
            unsaved: 0,
        })
    }

    /// Makes the node's identity known to the channel, then follows for ever.
    pub async fn run(mut self) {
        while let Err(error) = self.network.register(REGISTER_TIMEOUT).await {
            tracing::warn!(%error, "the node's identity is not known to the channel yet");
            sleep(EVENTS_PAUSE).await;
        }
        let mut start = self.checkpoint.start_or(Start::Block(BlockNumber(1)));
        loop {
            tracing::info!(?start, contract = %self.contract, "following events");
            let events = self.network.events(&self.contract, start);
            let resume = self.follow(events).await;
            start = self.checkpoint.start_or(Start::Block(BlockNumber(1)));
            if let Ended::Pruned = resume {
                tracing::error!(
                    "events were pruned before they were read; some blobs may be missed"
                );
                start = Start::Next;
            }
            sleep(EVENTS_PAUSE).await;
        }
    }

    async fn follow(&mut self, mut events: EventStream) -> Ended {
        while let Some(event) = events.next().await {
            let dealt = match event {
                Ok(event) => self.handle(&event).await,
                Err(EventsError::Rpc { source, .. }) if source.code == ErrorCode::OutOfRange => {
                    return Ended::Pruned;
                }
                Err(error) => {
                    tracing::warn!(%error, "the events ended");
                    return Ended::Failed;
                }
            };
            if let Err(error) = dealt {
                tracing::error!(%error, "an event cannot be dealt with");
                return Ended::Failed;
            }
        }
        Ended::Failed
    }

    /// The checkpoint follows what it promises: the node remembers first.
    async fn handle(&mut self, event: &Event) -> io::Result<()> {
        let handled = match self.node.handle(event, self.replication)? {
            Handled::LookUp(kind) => self.look_up(event, kind).await?,
            Handled::LetGo(cids) => {
                self.node.let_go(&cids).await?;
                Handled::LetGo(cids)
            }
            handled => handled,
        };
        *self.node.0.followed.lock() = Some(event.checkpoint);
        self.unsaved += 1;
        if handled == Handled::Wanted || self.unsaved >= EVENTS_PER_SAVE {
            self.checkpoint
                .save(event.checkpoint)
                .map_err(io::Error::other)?;
            self.unsaved = 0;
        }
        Ok(())
    }

    /// Reads the event's transaction to see which blob it names.
    async fn look_up(&self, event: &Event, kind: PinKind) -> io::Result<Handled> {
        let number = event.checkpoint.block;
        let skip = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, transaction = %event.transaction, "an event is skipped");
            Ok(Handled::Nothing)
        };
        let block = match self
            .network
            .blocks(number, Some(number.next()))
            .next()
            .await
        {
            Some(Ok(block)) => block.block,
            Some(Err(error)) if error.is_retryable() => return Err(io::Error::other(error)),
            Some(Err(error)) => return skip(&error),
            None => return skip(&"its block does not exist"),
        };
        let envelope = block.envelopes.get(event.checkpoint.transaction as usize);
        match events::submitted_cid(envelope.cloned().unwrap_or_default()) {
            Ok(cid) => self.node.keep(cid, kind, self.replication, event),
            Err(error) => skip(&error),
        }
    }
}

/// Why a stream of events is asked for again.
enum Ended {
    Failed,
    Pruned,
}

/// Tells the node the time, for ever.
pub async fn keep_time(node: StorageNode) {
    let mut tick = interval(TICK);
    loop {
        tick.tick().await;
        node.tick(node.0.sources.now_ms()).await;
    }
}

/// Has the node collect what nothing keeps, for ever.
pub async fn keep_clean(node: StorageNode) {
    let mut collect = later(COLLECT_INTERVAL, COLLECT_INTERVAL);
    loop {
        collect.tick().await;
        node.collect(node.0.sources.now_ms()).await;
    }
}

/// Has the node read what it keeps, one blob after the other, for ever.
pub async fn keep_checked(node: StorageNode) {
    loop {
        if node.check_next().await.is_none() {
            sleep(CHECK_PAUSE).await;
        }
    }
}

fn later(first: Duration, period: Duration) -> tokio::time::Interval {
    tokio::time::interval_at(tokio::time::Instant::now() + first, period)
}

/// Compares what the node keeps with what the ledger names, from the channel's beginning to the
/// last event that was dealt with, now and then for ever. A node that keeps only what was uploaded
/// to it cannot tell afterwards what that was, so that it compares nothing.
pub async fn keep_compared(
    node: StorageNode,
    network: Network,
    contract: ContractName,
    replication: Replication,
) {
    if replication == Replication::Held {
        return;
    }
    let mut again = later(COMPARE_FIRST, COMPARE_INTERVAL);
    loop {
        again.tick().await;
        let Some(last) = *node.0.followed.lock() else {
            continue;
        };
        let mut events = network.events(&contract, Start::Block(BlockNumber(1)));
        let (mut compared, mut unkept) = (0u64, 0u64);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    tracing::warn!(%error, compared, "the comparison with the ledger broke off");
                    break;
                }
            };
            compared += 1;
            unkept += u64::from(node.compare(&event, replication).await);
            if event.checkpoint >= last {
                tracing::info!(compared, unkept, "compared what is kept with the ledger");
                break;
            }
        }
    }
}

/// Keeps the node's idea of the members, and of whom to trust in TLS, up to date, for ever: as soon
/// as a peer has another configuration, and only if it follows from the one that is known.
pub async fn keep_members(node: StorageNode, network: Network, tls: TlsSettings, mut known: Known) {
    loop {
        let sequence = known.current().config().sequence;
        match network.info_after(sequence).await {
            Ok(info) if info.config.sequence > sequence => {
                match network.configuration(known.current().clone()).await {
                    Ok(newer) => {
                        reconfigure(&node, newer.config(), &tls).await;
                        if let Err(error) = known.replace(newer) {
                            tracing::error!(%error, "the new configuration cannot be kept");
                        }
                        continue;
                    }
                    Err(error) => tracing::warn!(%error, "a configuration was not taken over"),
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the configuration was not read"),
        }
        sleep(CONFIG_PAUSE).await;
    }
}

async fn reconfigure(node: &StorageNode, config: &ChannelConfig, tls: &TlsSettings) {
    match node.reconfigure(config).await {
        Ok(false) => return,
        Ok(true) => {}
        Err(error) => {
            tracing::error!(%error, "the new configuration cannot be used");
            return;
        }
    }
    let roots = TlsRoots::new().add_config(config);
    if let Err(error) = roots.and_then(|roots| tls.replace_roots(&roots)) {
        tracing::error!(%error, "the new configuration's TLS roots cannot be used");
    }
}
