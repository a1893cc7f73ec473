//! What a node does of its own accord, when it is told the time.

use std::collections::BTreeSet;
use std::io;

use stela_client::Event;
use stela_ipfs::{Cid, FetchError, Fetched, KuboError, Pin, PinKind, StoreError};
use stela_protocol::config::ChannelConfig;

use crate::config::Replication;
use crate::events::{self, Action};
use crate::findings::{Cause, Finding, Outcome};
use crate::limits::{
    ABSENT_TRIES, COLLECT_AGE_MS, FETCH_TIMEOUT, MEND_ROUNDS_MAX, WANTED_IN_FLIGHT_MAX,
};
use crate::service::StorageNode;
use crate::sweep::Counts;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// It does not concern this node.
    Nothing,
    /// The blob that it names is wanted from now on.
    Wanted,
    /// The blob's name must be looked up in its transaction, and the blob kept so.
    LookUp(PinKind),
    /// These blobs are kept no longer, and have to be unpinned ([`StorageNode::let_go`]).
    LetGo(Vec<Cid>),
}

impl StorageNode {
    /// Lets the other storage nodes of the configuration into the swarm, and keeps connected with
    /// them.
    pub async fn join_swarm(&self) {
        for member in self.0.membership.view().neighbours(&self.0.node.peer_id()) {
            let peer = member.peer;
            if !self.0.node.let_in(member).await {
                tracing::error!(%peer, "the allow-list is full");
            }
        }
    }

    /// Acts on an event: what it names is on disk as wanted when this returns.
    ///
    /// # Errors
    /// When the disk fails; the event is then not dealt with.
    pub fn handle(&self, event: &Event, replication: Replication) -> io::Result<Handled> {
        let holds = |cid: &Cid| self.0.leases.contains(cid);
        match events::action(event, replication, holds) {
            Ok(Action::Keep { cid, kind }) => self.keep(cid, kind, replication, event),
            Ok(Action::LookUp { kind }) => Ok(Handled::LookUp(kind)),
            Ok(Action::LetGo { cids }) => {
                for cid in &cids {
                    self.0.erased.erase(*cid, event.checkpoint)?;
                    self.0.wanted.forget(cid)?;
                    self.0.findings.forget(cid)?;
                    self.0.leases.release(cid)?;
                }
                Ok(Handled::LetGo(cids))
            }
            Ok(Action::Nothing) => Ok(Handled::Nothing),
            Err(error) => {
                tracing::warn!(%error, transaction = %event.transaction, "an event is skipped");
                Ok(Handled::Nothing)
            }
        }
    }

    /// Unpins blobs that the ledger let go; their blocks go with the next collection.
    ///
    /// # Errors
    /// When a pin cannot be removed; it is then tried again with the event.
    pub async fn let_go(&self, cids: &[Cid]) -> io::Result<()> {
        for cid in cids {
            let unpinned = self.0.node.unpin(cid).await.map_err(io::Error::other)?;
            tracing::info!(%cid, unpinned, "let go: its record is erased");
        }
        Ok(())
    }

    /// Remembers that an event names a blob, if it is this node's to keep and its record was not
    /// erased since.
    ///
    /// # Errors
    /// When the disk fails; nothing is then remembered.
    pub fn keep(
        &self,
        cid: Cid,
        kind: PinKind,
        replication: Replication,
        event: &Event,
    ) -> io::Result<Handled> {
        let is_over = self.0.erased.is_over(&cid, event.checkpoint);
        if is_over || !replication.concerns(&cid, |cid| self.0.leases.contains(cid)) {
            return Ok(Handled::Nothing);
        }
        self.0.erased.forget(&cid)?;
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
        match self.0.node.end_leases(now_ms).await {
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
            self.0.node.shut_out(peer).await;
        }
    }

    /// Fetches a wanted blob.
    async fn bring(&self, cid: Cid, kind: PinKind, now_ms: u64) {
        if matches!(kind, PinKind::Leased { until_ms } if until_ms <= now_ms) {
            return self.let_lease_end(&cid, kind);
        }
        let noted = match &self.fetch_whole(&cid, kind).await {
            Ok(fetched) => self.brought(&cid, kind, fetched),
            Err(error) if is_hopeless(error) => self.given_up(&cid, kind, error),
            Err(error) => self.not_brought(&cid, kind, error),
        };
        if let Err(error) = noted {
            tracing::error!(%cid, %error, "what became of a blob cannot be noted");
            let now_ms = self.0.sources.now_ms();
            self.0.wanted.failed(&cid, now_ms, &error.to_string());
        }
        // It may have been erased while it was on its way.
        if self.0.erased.contains(&cid)
            && let Err(error) = self.let_go(&[cid]).await
        {
            tracing::error!(%cid, %error, "an erased record's blob is still kept");
        }
    }

    /// Fetches a blob. One that was found lost is read again afterwards, and fetched once more until
    /// it is whole: a damaged tree node hides what is below it.
    async fn fetch_whole(&self, cid: &Cid, kind: PinKind) -> Result<Fetched, FetchError> {
        let (node, rate) = (&self.0.node, self.0.checking.bytes_per_second);
        let mut fetched = node.fetch_and_pin(cid, kind, FETCH_TIMEOUT).await?;
        if !self.0.findings.is_open(cid) {
            return Ok(fetched);
        }
        for _ in 0..MEND_ROUNDS_MAX {
            let found = node.check(cid, rate).await?;
            let Some(missing) = found.missing.first() else {
                return Ok(fetched);
            };
            tracing::error!(%cid, block = %missing, "more of a blob is lost");
            fetched.add(&node.fetch_and_pin(cid, kind, FETCH_TIMEOUT).await?);
        }
        Err(FetchError::NotFound { cid: *cid })
    }

    /// The lease of a blob that did not come has ended.
    fn let_lease_end(&self, cid: &Cid, kind: PinKind) {
        let noted = self.0.findings.forget(cid);
        if let Err(error) = noted.and_then(|()| self.0.wanted.done(cid, kind)) {
            tracing::error!(%cid, %error, "what need not come any more cannot be forgotten");
            let now_ms = self.0.sources.now_ms();
            self.0.wanted.failed(cid, now_ms, &error.to_string());
        }
    }

    fn brought(&self, cid: &Cid, kind: PinKind, fetched: &Fetched) -> io::Result<()> {
        if kind == PinKind::Permanent {
            self.0.leases.release(cid)?;
        }
        let (blocks, bytes) = (fetched.blocks, fetched.bytes);
        let now_ms = self.0.sources.now_ms();
        if self.0.findings.mended(cid, now_ms, fetched)? {
            let view = self.0.membership.view();
            let owners = fetched.from.keys().map(|peer| view.owner(peer));
            let from: BTreeSet<_> = owners
                .map(|owner| owner.unwrap_or_else(|| "a member".to_owned()))
                .collect();
            tracing::warn!(%cid, blocks, bytes, ?from, "what was lost is mended");
        }
        tracing::info!(%cid, ?kind, blocks, "kept");
        self.0.wanted.done(cid, kind)
    }

    /// Another try may help. What the ledger names and nobody gives for a while counts as lost.
    fn not_brought(&self, cid: &Cid, kind: PinKind, error: &FetchError) -> io::Result<()> {
        let now_ms = self.0.sources.now_ms();
        let tries = self.0.wanted.failed(cid, now_ms, &error.to_string());
        tracing::warn!(%cid, %error, tries, "did not arrive; trying again later");
        if kind == PinKind::Permanent && tries == ABSENT_TRIES {
            tracing::error!(%cid, tries, "a committed record's blob is not to be had");
            self.0.findings.found(*cid, absent(Cause::Absent, now_ms))?;
        }
        Ok(())
    }

    /// No other try can help: the blob itself is at fault.
    fn given_up(&self, cid: &Cid, kind: PinKind, error: &FetchError) -> io::Result<()> {
        tracing::error!(%cid, %error, "can never be kept");
        let now_ms = self.0.sources.now_ms();
        self.0.findings.found(*cid, absent(Cause::Absent, now_ms))?;
        self.0.findings.hopeless(cid, now_ms)?;
        self.0.wanted.done(cid, kind)
    }

    /// Removes the blocks that nothing keeps.
    pub async fn collect(&self, now_ms: u64) {
        match self
            .0
            .node
            .collect(now_ms.saturating_sub(COLLECT_AGE_MS))
            .await
        {
            Ok(collected) => tracing::info!(?collected, "collected what nothing keeps"),
            Err(error) => tracing::warn!(%error, "nothing was collected"),
        }
    }

    /// Reads the next blob that is due, no faster than configured, and has it mended from other
    /// nodes if it is damaged or incomplete. Answers its name, or `None` when nothing is due.
    pub async fn check_next(&self) -> Option<Cid> {
        let pin = match self.next_to_check().await {
            Ok(pin) => pin?,
            Err(error) => {
                tracing::error!(%error, "nothing can be checked");
                return None;
            }
        };
        let Some(read) = self.check(&pin.cid, pin.kind).await else {
            self.0.sweep.put_back(pin);
            return None;
        };
        if let Err(error) = self.0.sweep.note(pin.cid, read) {
            tracing::error!(%error, "how far the check has come cannot be written down");
        }
        Some(pin.cid)
    }

    async fn next_to_check(&self) -> io::Result<Option<Pin>> {
        let (sweep, now_ms) = (&self.0.sweep, self.0.sources.now_ms());
        if !sweep.begin(now_ms, self.0.checking.interval_ms()) {
            return Ok(None);
        }
        if sweep.is_out() {
            sweep.refill(self.0.node.pins().await.map_err(io::Error::other)?);
        }
        sweep.next(now_ms)
    }

    /// Reads a blob; `None` when it cannot be asked for at the moment.
    async fn check(&self, cid: &Cid, kind: PinKind) -> Option<Counts> {
        let rate = self.0.checking.bytes_per_second;
        let mut read = Counts {
            blobs: 1,
            ..Counts::default()
        };
        let (missing, damaged) = match self.0.node.check(cid, rate).await {
            Ok(found) => {
                (read.blocks, read.bytes) = (found.blocks, found.bytes);
                if found.is_whole() {
                    return Some(read);
                }
                (found.missing.len() as u64, found.damaged.len() as u64)
            }
            // That a daemon is down says nothing about its blobs.
            Err(FetchError::Disk(StoreError::Daemon(error)))
                if matches!(error, KuboError::Unreachable { .. }) =>
            {
                tracing::warn!(%error, "the check waits");
                return None;
            }
            Err(error) => {
                tracing::error!(%cid, %error, "a kept blob cannot be read");
                (1, 0)
            }
        };
        // What was let go while it was being read is not lost.
        if matches!(self.0.node.pinned(cid).await, Ok(None)) {
            return Some(read);
        }
        (read.lost_blobs, read.lost_blocks) = (1, missing);
        tracing::error!(%cid, missing, damaged, "a kept blob is damaged; it is being mended");
        let finding = Finding {
            missing,
            damaged,
            ..absent(Cause::Damaged, self.0.sources.now_ms())
        };
        self.mend(*cid, kind, finding);
        Some(read)
    }

    /// Compares an event that was dealt with before with what is kept: what the ledger names for
    /// good and nothing keeps is reported and brought. Answers whether that was so.
    pub async fn compare(&self, event: &Event, replication: Replication) -> bool {
        let holds = |cid: &Cid| self.0.leases.contains(cid);
        let Ok(Action::Keep {
            cid,
            kind: PinKind::Permanent,
        }) = events::action(event, replication, holds)
        else {
            return false;
        };
        if self.0.erased.is_over(&cid, event.checkpoint) {
            return false;
        }
        let kept = self.0.node.pinned(&cid).await;
        if self.0.wanted.contains(&cid) || !matches!(kept, Ok(None | Some(PinKind::Leased { .. })))
        {
            return false;
        }
        tracing::error!(%cid, transaction = %event.transaction,
            "a committed record's blob was not kept; it is being brought");
        let finding = absent(Cause::Unkept, self.0.sources.now_ms());
        self.mend(cid, PinKind::Permanent, finding);
        true
    }

    fn mend(&self, cid: Cid, kind: PinKind, finding: Finding) {
        if let Err(error) = self.0.findings.found(cid, finding) {
            tracing::error!(%cid, %error, "the loss cannot be written down");
        }
        if let Err(error) = self.0.wanted.want(cid, kind) {
            tracing::error!(%cid, %error, "the repair cannot be written down");
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
                self.0.node.shut_out(gone.peer_id).await;
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

/// A loss of which nothing more is known than that the blob is not here.
fn absent(cause: Cause, found_ms: u64) -> Finding {
    Finding {
        found_ms,
        cause,
        missing: 1,
        damaged: 0,
        outcome: Outcome::Open,
    }
}

#[cfg(test)]
mod tests;
