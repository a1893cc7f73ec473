//! What a node does of its own accord, when it is told the time.

use stela_client::Event;
use stela_ipfs::{BlobStore, Cid, FetchError, PinKind};
use stela_protocol::config::ChannelConfig;

use crate::config::Replication;
use crate::events::{self, Action};
use crate::limits::{COLLECT_AGE_MS, FETCH_TIMEOUT, WANTED_IN_FLIGHT_MAX};
use crate::service::StorageNode;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It does not concern this node.
    Nothing,
    /// The blob that it names is wanted from now on.
    Wanted,
    /// The blob's name must be looked up in its transaction, and the blob kept so.
    LookUp(PinKind),
}

impl StorageNode {
    /// Lets the other storage nodes of the configuration into the swarm, and keeps connected with
    /// them.
    pub async fn join_swarm(&self) {
        for member in self.0.membership.view().neighbours(&self.0.node.peer_id()) {
            let peer = member.peer;
            if !self.0.node.allow(member).await {
                tracing::error!(%peer, "the allow-list is full");
            }
        }
    }

    /// Acts on an event: what it names is on disk as wanted when this returns.
    ///
    /// # Errors
    /// When the disk fails; the event is then not dealt with.
    pub fn handle(&self, event: &Event, replication: Replication) -> std::io::Result<Handled> {
        let holds = |cid: &Cid| self.0.leases.contains(cid);
        match events::action(event, replication, holds) {
            Ok(Action::Keep { cid, kind }) => self.keep(cid, kind, replication),
            Ok(Action::LookUp { kind }) => Ok(Handled::LookUp(kind)),
            Ok(Action::Nothing) => Ok(Handled::Nothing),
            Err(error) => {
                tracing::warn!(%error, transaction = %event.transaction, "an event is skipped");
                Ok(Handled::Nothing)
            }
        }
    }

    /// Remembers that the ledger names a blob, if it is this node's to keep.
    ///
    /// # Errors
    /// When the disk fails; nothing is then remembered.
    pub fn keep(
        &self,
        cid: Cid,
        kind: PinKind,
        replication: Replication,
    ) -> std::io::Result<Handled> {
        if !replication.concerns(&cid, |cid| self.0.leases.contains(cid)) {
            return Ok(Handled::Nothing);
        }
        tracing::info!(%cid, ?kind, "named by the ledger");
        self.0.wanted.want(cid, kind)?;
        Ok(Handled::Wanted)
    }

    /// Ends leases and admissions whose time has come, and begins to fetch what is wanted. To be
    /// called every [`TICK`](crate::limits::TICK) or so; needs a Tokio runtime around it.
    pub async fn tick(&self, now_ms: u64) {
        self.expire(now_ms).await;
        for (cid, kind) in self.0.wanted.take_due(now_ms, WANTED_IN_FLIGHT_MAX) {
            let node = self.clone();
            tokio::spawn(async move { node.bring(cid, kind, now_ms).await });
        }
    }

    async fn expire(&self, now_ms: u64) {
        if let Err(error) = self.0.leases.expire(now_ms) {
            tracing::error!(%error, "leases that ended cannot be forgotten");
        }
        match self.0.node.expire(now_ms).await {
            Ok(ended) => ended
                .iter()
                .for_each(|cid| tracing::info!(%cid, "the lease has ended")),
            Err(error) => tracing::error!(%error, "leases that ended cannot be unpinned"),
        }
        self.end_admissions(now_ms).await;
    }

    /// Has those leave the swarm whose time has come, or for whom nobody vouches any more.
    async fn end_admissions(&self, now_ms: u64) {
        let view = self.0.membership.view();
        let counts = |by: &_| view.msp.validate(by, now_ms).is_ok();
        let leave = self.0.admissions.lock().expire(now_ms, counts);
        for peer in leave {
            tracing::info!(%peer, "leaves the swarm");
            self.0.node.disallow(peer).await;
        }
    }

    /// Fetches a wanted blob.
    async fn bring(&self, cid: Cid, kind: PinKind, now_ms: u64) {
        let is_over = matches!(kind, PinKind::Leased { until_ms } if until_ms <= now_ms);
        let fetched = match is_over {
            true => Ok(()),
            false => self.0.node.fetch_and_pin(&cid, kind, FETCH_TIMEOUT).await,
        };
        let noted = match fetched {
            Ok(()) => self.brought(&cid, kind),
            Err(error) if is_hopeless(&error) => {
                tracing::error!(%cid, %error, "can never be kept");
                self.0.wanted.done(&cid, kind)
            }
            Err(error) => {
                tracing::warn!(%cid, %error, "did not arrive; trying again later");
                self.0.wanted.failed(&cid, self.0.sources.now_ms());
                Ok(())
            }
        };
        if let Err(error) = noted {
            tracing::error!(%cid, %error, "what was fetched cannot be noted");
            self.0.wanted.failed(&cid, self.0.sources.now_ms());
        }
    }

    fn brought(&self, cid: &Cid, kind: PinKind) -> std::io::Result<()> {
        if kind == PinKind::Permanent {
            self.0.leases.release(cid)?;
        }
        tracing::info!(%cid, ?kind, "kept");
        self.0.wanted.done(cid, kind)
    }

    /// Removes the blocks that nothing keeps.
    pub async fn collect(&self, now_ms: u64) {
        match self
            .0
            .node
            .collect_garbage(now_ms.saturating_sub(COLLECT_AGE_MS))
            .await
        {
            Ok(collected) => tracing::info!(?collected, "collected what nothing keeps"),
            Err(error) => tracing::warn!(%error, "nothing was collected"),
        }
    }

    /// Reads every blob that is kept for good, and has those repaired from other nodes that are
    /// damaged or incomplete. Answers which these are.
    pub async fn check(&self) -> Vec<Cid> {
        let mut damaged = Vec::new();
        for pin in self.0.node.pins().await.unwrap_or_default() {
            if pin.kind == PinKind::Permanent && !self.is_whole(&pin.cid).await {
                damaged.push(pin.cid);
            }
        }
        for cid in &damaged {
            if let Err(error) = self.0.wanted.want(*cid, PinKind::Permanent) {
                tracing::error!(%cid, %error, "the repair cannot be noted");
            }
        }
        damaged
    }

    async fn is_whole(&self, cid: &Cid) -> bool {
        match self.0.node.verify(cid).await {
            Ok(found) if found.missing.is_empty() && found.damaged.is_empty() => true,
            Ok(found) => {
                let (missing, damaged) = (found.missing.len(), found.damaged.len());
                tracing::error!(%cid, missing, damaged, "a kept blob is damaged");
                false
            }
            Err(error) => {
                tracing::error!(%cid, %error, "a kept blob cannot be read");
                !error.is_retryable()
            }
        }
    }

    /// Takes a configuration if it is newer than the one in force: from then on it says who the
    /// members are and which storage nodes are in the swarm. Says whether it was.
    ///
    /// # Errors
    /// When an organization's root certificate cannot be used; nothing then changes.
    pub async fn reconfigure(
        &self,
        config: &ChannelConfig,
    ) -> Result<bool, stela_identity::MspError> {
        let before = self.0.membership.view();
        if !self.0.membership.update(config)? {
            return Ok(false);
        }
        let after = self.0.membership.view();
        tracing::info!(
            sequence = config.sequence,
            "a new configuration is in force"
        );
        for gone in before
            .storage
            .iter()
            .filter(|node| !after.is_storage(&node.peer_id))
        {
            if !self.0.admissions.lock().contains(&gone.peer_id) {
                self.0.node.disallow(gone.peer_id).await;
            }
        }
        self.end_admissions(self.0.sources.now_ms()).await;
        self.join_swarm().await;
        Ok(true)
    }
}

/// Whether no later try can help: the blob itself is at fault.
fn is_hopeless(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Malformed { .. } | FetchError::TooLarge { .. }
    )
}
