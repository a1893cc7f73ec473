//! Reading, writing and pinning through a daemon.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use libp2p::PeerId;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::commands::{Reach, soon};
use super::{KuboError, KuboNode, add};
use crate::blob::{BlobStat, BlobStore, Fetched, Pin, PinKind};
use crate::block;
use crate::config::NodeLimits;
use crate::error::{DhtError, FetchError, PinError, PutError, StoreError};
use crate::fetch::{self, Origin, Source};
use crate::reader::BlobReader;
use crate::store::Depth;
use crate::walk;

#[async_trait]
impl Source for KuboNode {
    async fn block(
        &self,
        cid: Cid,
        root: Cid,
        deadline: Instant,
    ) -> Result<(Bytes, Origin), FetchError> {
        let get = || self.inner.http.block_get(&cid, Reach::Swarm, deadline);
        let data = match get().await {
            Err(KuboError::WrongBytes { .. }) => {
                self.discard(&root, &cid).await;
                get().await
            }
            data => data,
        };
        match data {
            Ok(data) => Ok((data, Origin::Daemon)),
            Err(KuboError::Timeout { .. }) => Err(FetchError::Timeout { cid }),
            Err(error) if error.is_time_up() => Err(FetchError::Timeout { cid }),
            Err(error) if error.is_not_found() => Err(FetchError::NotFound { cid }),
            Err(error) => Err(error.into()),
        }
    }

    /// What a daemon is to keep is read once, whether it had it or not: only then is it known to be
    /// what it should be.
    async fn has_leaf(&self, _: Cid, _: Option<u64>) -> Result<bool, FetchError> {
        Ok(false)
    }

    fn limits(&self) -> &NodeLimits {
        &self.inner.limits
    }
}

#[async_trait]
impl BlobStore for KuboNode {
    async fn put(&self, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Cid, PutError> {
        add::add(&self.inner.http, reader, self.inner.form).await
    }

    async fn get(&self, cid: &Cid, timeout: Duration) -> Result<BlobReader, FetchError> {
        walk::open(self.clone(), block::parse(cid)?, 0..u64::MAX, timeout).await
    }

    async fn get_range(
        &self,
        cid: &Cid,
        offset: u64,
        length: u64,
        timeout: Duration,
    ) -> Result<BlobReader, FetchError> {
        let range = offset..offset.saturating_add(length);
        walk::open(self.clone(), block::parse(cid)?, range, timeout).await
    }

    async fn pin(&self, cid: &Cid, kind: PinKind) -> Result<(), PinError> {
        let root = block::parse(cid)?;
        let survey = self.survey(&root, Depth::Presence, None).await;
        let survey = survey.map_err(|error| match error {
            FetchError::Malformed { reason, .. } => PinError::Malformed { root, reason },
            FetchError::Disk(error) => PinError::Disk(error),
            _ => PinError::Incomplete {
                root,
                missing: root,
            },
        })?;
        if let Some(missing) = survey.missing.first().copied() {
            return Err(PinError::Incomplete { root, missing });
        }
        self.set_pin(root, kind, survey.blocks.len() as u64).await
    }

    async fn fetch_and_pin(
        &self,
        cid: &Cid,
        kind: PinKind,
        timeout: Duration,
    ) -> Result<Fetched, FetchError> {
        let cid = block::parse(cid)?;
        let deadline = Instant::now() + timeout;
        // What was read once and is kept needs no more than the longer term.
        if self.is_kept(&cid).await? {
            self.on_disk(move |pins| pins.set(&cid, kind)).await?;
            return Ok(Fetched::default());
        }
        let mut fetched = fetch::gather(self, cid, deadline).await?;
        if let Err(error) = self.set_pin(cid, kind, fetched.blocks).await {
            if !error.is_retryable() || Instant::now() >= deadline {
                return Err(error.into());
            }
            // A collection may have come between the two: the blob is fetched once more.
            fetched = fetch::gather(self, cid, deadline).await?;
            self.set_pin(cid, kind, fetched.blocks).await?;
        }
        self.inner.suspect.lock().remove(&cid);
        Ok(fetched)
    }

    async fn unpin(&self, cid: &Cid) -> Result<bool, PinError> {
        self.remove_pin(block::parse(cid)?).await
    }

    async fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        Ok(self.inner.pins.list())
    }

    async fn provide(&self, cid: &Cid, timeout: Duration) -> Result<(), DhtError> {
        let cid = block::parse(cid)?;
        let provided = self.inner.http.provide(&cid, soon(timeout)).await;
        provided.map_err(|error| dht(cid, error))
    }

    async fn find_providers(&self, cid: &Cid, timeout: Duration) -> Result<Vec<PeerId>, DhtError> {
        let cid = block::parse(cid)?;
        let found = self.inner.http.find_providers(&cid, soon(timeout)).await;
        let mut found = found.map_err(|error| dht(cid, error))?;
        found.remove(&self.inner.identity.peer);
        Ok(found.into_iter().collect())
    }

    async fn has(&self, cid: &Cid) -> Result<bool, FetchError> {
        let survey = self
            .survey(&block::parse(cid)?, Depth::Presence, None)
            .await?;
        Ok(survey.missing.is_empty())
    }

    async fn stat(&self, cid: &Cid) -> Result<BlobStat, FetchError> {
        let survey = self
            .survey(&block::parse(cid)?, Depth::Presence, None)
            .await?;
        match survey.missing.first() {
            Some(missing) => Err(FetchError::NotFound { cid: *missing }),
            None => Ok(BlobStat {
                bytes: survey.bytes,
                blocks: survey.blocks.len() as u64,
                stored_bytes: survey.stored_bytes,
            }),
        }
    }

    async fn stored_bytes(&self, cid: &Cid) -> Result<u64, FetchError> {
        let (cid, depth) = (block::parse(cid)?, Depth::Presence);
        Ok(self.survey(&cid, depth, None).await?.stored_bytes)
    }
}

fn dht(cid: Cid, error: KuboError) -> DhtError {
    match error {
        KuboError::Timeout { .. } => DhtError::Timeout { cid },
        error => error.into(),
    }
}
