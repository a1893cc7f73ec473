//! One channel, seen through a gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stela_protocol::config::ChannelConfig;
use stela_protocol::{
    BlockNumber, ChannelId, ContractName, Hash32, RpcError, TransactionId, hash, limits, pb,
};

use crate::blocks::BlockStream;
use crate::commit::Commit;
use crate::contract::Contract;
use crate::endpoints::{is_elsewhere, unary};
use crate::error::{EndorseError, ExplainError, QueryError, RegisterError, SideError};
use crate::events::{EventStream, Start};
use crate::explain::{self, ExplainOptions, Explanation};
use crate::gateway::Inner;
use crate::limits::{CONFIG_WAIT, SIDE_ITEMS_PER_CALL_MAX};
use crate::registration::{self, Registered};
use crate::transaction::Transaction;

/// One channel. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    pub(crate) inner: Arc<Inner>,
    pub(crate) channel: ChannelId,
}

/// What a peer says about a channel.
#[derive(Debug, Clone)]
pub struct ChannelInfo {
    /// How many blocks it has.
    pub height: u64,
    /// The hash of the newest block's header.
    pub header_hash: Hash32,
    /// The state hash after the newest block.
    pub state_hash: Hash32,
    /// The configuration in force, which is what memberships are made from.
    pub config: ChannelConfig,
    /// The same as it travelled.
    pub config_bytes: Bytes,
}

impl Network {
    pub(crate) fn new(inner: Arc<Inner>, channel: ChannelId) -> Self {
        Self { inner, channel }
    }

    /// The channel's name.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// A contract of the channel.
    pub fn contract(&self, name: ContractName) -> Contract {
        Contract::new(self.clone(), name)
    }

    /// Height, hashes and configuration as one peer has them. The configuration is well formed and
    /// of this channel; that it is the consortium's is the peer's word.
    ///
    /// # Errors
    /// [`QueryError`] when no peer answers, or an answer cannot be used.
    pub async fn info(&self) -> Result<ChannelInfo, QueryError> {
        self.ask_info(Duration::ZERO, 0).await
    }

    /// The same, as soon as a configuration with a higher number than `sequence` is in force; at
    /// the latest after [`CONFIG_WAIT`], with the one that is in force then.
    ///
    /// # Errors
    /// As [`Network::info`].
    pub async fn info_after(&self, sequence: u64) -> Result<ChannelInfo, QueryError> {
        self.ask_info(CONFIG_WAIT, sequence).await
    }

    async fn ask_info(&self, wait: Duration, sequence: u64) -> Result<ChannelInfo, QueryError> {
        let is_elsewhere = |error: &QueryError| match error {
            QueryError::Rpc { source, .. } => is_elsewhere(source),
            _ => true,
        };
        self.inner
            .endpoints
            .call(is_elsewhere, |mut client| async move {
                let header = self
                    .inner
                    .signer
                    .request_header(&self.channel, "ChannelInfo");
                let request = pb::ChannelInfoRequest {
                    header: Some(header),
                    wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
                    sequence,
                };
                let request = self.inner.signer.request(&request);
                let call = client.gateway.channel_info(request);
                let answer = unary(self.inner.timeouts.request + wait, call).await;
                let rpc = |source| QueryError::Rpc {
                    channel: self.channel.clone(),
                    source,
                };
                self.check_info(answer.map_err(rpc)?)
            })
            .await
    }

    fn check_info(&self, answer: pb::ChannelInfoResponse) -> Result<ChannelInfo, QueryError> {
        let channel = &self.channel;
        let format = |source| QueryError::Format {
            channel: channel.clone(),
            source,
        };
        let config =
            ChannelConfig::decode(&answer.config).map_err(|source| QueryError::Config {
                channel: channel.clone(),
                source,
            })?;
        if config.channel != *channel {
            let (channel, actual) = (channel.clone(), config.channel);
            return Err(QueryError::OtherChannel { channel, actual });
        }
        Ok(ChannelInfo {
            height: answer.height,
            header_hash: Hash32::from_slice(&answer.header_hash).map_err(format)?,
            state_hash: Hash32::from_slice(&answer.state_hash).map_err(format)?,
            config,
            config_bytes: answer.config,
        })
    }

    /// Makes the gateway's own certificate known to the channel, unless it is, and waits until the
    /// peer knows it. Peers of other organizations may need a moment longer.
    ///
    /// # Errors
    /// [`RegisterError`] when the registration is refused or not seen before the deadline.
    pub async fn register(&self, deadline: Duration) -> Result<Registered, RegisterError> {
        registration::register(self, deadline).await
    }

    /// The side items behind commitments of committed transactions: those that the peer has and
    /// the caller may see. Every payload fits its commitment.
    ///
    /// # Errors
    /// [`SideError`] when no peer answers, or with something else than was asked for.
    pub async fn side(&self, commitments: &[Hash32]) -> Result<BTreeMap<Hash32, Bytes>, SideError> {
        let asked: Vec<Hash32> = commitments
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .copied()
            .collect();
        let mut found = BTreeMap::new();
        for page in asked.chunks(SIDE_ITEMS_PER_CALL_MAX) {
            found.extend(self.side_page(page).await?);
        }
        Ok(found)
    }

    async fn side_page(&self, page: &[Hash32]) -> Result<BTreeMap<Hash32, Bytes>, SideError> {
        let is_elsewhere = |error: &SideError| match error {
            SideError::Rpc { source, .. } => is_elsewhere(source),
            _ => true,
        };
        self.inner
            .endpoints
            .call(is_elsewhere, |mut client| async move {
                let header = self.inner.signer.request_header(&self.channel, "Side");
                let commitments = page.iter().map(|hash| hash.to_bytes()).collect();
                let request = pb::SideRequest {
                    header: Some(header),
                    commitments,
                };
                let call = client.gateway.side(self.inner.signer.request(&request));
                let answer = unary(self.inner.timeouts.request, call).await;
                let rpc = |source: RpcError| SideError::Rpc {
                    count: page.len(),
                    source,
                };
                check_side(page, answer.map_err(rpc)?)
            })
            .await
    }

    /// The events of a contract, in order, each at least once. See [`EventStream`].
    pub fn events(&self, contract: &ContractName, start: Start) -> EventStream {
        EventStream::open(self.clone(), contract.clone(), start)
    }

    /// Blocks from `start` on, up to but without `end`, or for ever. See [`BlockStream`].
    pub fn blocks(&self, start: BlockNumber, end: Option<BlockNumber>) -> BlockStream {
        BlockStream::open(self.clone(), start, end)
    }

    /// Any transaction of the channel, to ask for its verdict.
    pub fn commit(&self, transaction: TransactionId) -> Commit {
        Commit::new(self.clone(), transaction)
    }

    /// Why a transaction has the verdict that it has: which of its reads were changed by whom, whose
    /// endorsement is missing, what can still become of it. `looked_at` hears how many blocks were
    /// looked at so far, of at most `EXPLAIN_BLOCKS_MAX`.
    ///
    /// # Errors
    /// [`ExplainError`] when no peer answers, or the blocks are not as they must be.
    pub async fn explain(
        &self,
        transaction: TransactionId,
        options: ExplainOptions,
        looked_at: impl Fn(u64),
    ) -> Result<Explanation, ExplainError> {
        explain::explain(self, transaction, options, looked_at).await
    }

    /// A transaction from its envelope, as kept from before a crash.
    ///
    /// # Errors
    /// [`EndorseError::Envelope`] when the bytes are something else.
    pub fn transaction(&self, envelope: Bytes) -> Result<Transaction, EndorseError> {
        Transaction::from_envelope(self.clone(), envelope)
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// The payloads of an answer, if each is what one of the `asked` commitments promises.
fn check_side(
    asked: &[Hash32],
    answer: pb::SideResponse,
) -> Result<BTreeMap<Hash32, Bytes>, SideError> {
    let mut found = BTreeMap::new();
    for entry in answer.items {
        let commitment = Hash32::from_slice(&entry.commitment)?;
        let item = entry.item.unwrap_or_default();
        let fits = asked.contains(&commitment)
            && item.salt.len() == limits::SALT_BYTES
            && hash::side_commitment(&item.salt, &item.payload) == commitment;
        if !fits {
            return Err(SideError::Mismatch { commitment });
        }
        found.insert(commitment, item.payload);
    }
    Ok(found)
}
