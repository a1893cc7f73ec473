//! Committed blocks, each checked against the one before it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use stela_protocol::block::{Block, BlockError, BlockHeader};
use stela_protocol::{BlockNumber, Hash32, RpcError, ValidationCode, pb};
use tonic::Streaming;

use crate::endpoints::unary;
use crate::error::BlocksError;
use crate::events::{Recovery, next_message};
use crate::limits::BLOCK_ATTEMPTS_MAX;
use crate::network::Network;
use crate::quorum::Quorum;

/// A block with the verdicts on its transactions.
#[derive(Debug, Clone)]
pub struct CheckedBlock {
    /// The block. Its envelopes are those that its header names.
    pub block: Block,
    /// One verdict per envelope, as the peer found it.
    pub codes: Vec<ValidationCode>,
    /// The peer's state hash after this block.
    pub state_hash: Hash32,
}

/// Blocks in order, without a gap, each of which follows the one before it. When the connection or
/// the peer fails, the stream goes on with the next block, at another endpoint if there is one; a
/// stream with an end gives up after [`BLOCK_ATTEMPTS_MAX`] attempts in a row. An error is final.
///
/// Without [`signed_by`](Self::signed_by), that the first block is genuine is the peer's word.
pub struct BlockStream {
    blocks: BoxStream<'static, Result<CheckedBlock, BlocksError>>,
    quorum: Option<Quorum>,
    ended: bool,
}

impl BlockStream {
    pub(crate) fn open(network: Network, start: BlockNumber, end: Option<BlockNumber>) -> Self {
        let recovery = Recovery::default();
        let follower = Follower {
            network,
            next: start,
            end,
            previous: None,
            recovery,
            open: None,
        };
        let blocks = stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            if follower.end.is_some_and(|end| follower.next >= end) {
                return None;
            }
            match follower.next().await {
                Ok(block) => Some((Ok(block), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Self {
            blocks: blocks.boxed(),
            quorum: None,
            ended: false,
        }
    }

    /// Also checks that a quorum of the orderers signed each block, by the configuration in force
    /// before it. Block 0 carries no signatures:
    /// whoever reads it compares its hash with the one known from the consortium, or goes on to
    /// block 1, which names it.
    #[must_use]
    pub fn signed_by(mut self, quorum: Quorum) -> Self {
        self.quorum = Some(quorum);
        self
    }

    fn check_signatures(&mut self, block: CheckedBlock) -> Result<CheckedBlock, BlocksError> {
        match &mut self.quorum {
            Some(quorum) if block.block.header.number.0 > 0 => quorum.check(&block.block)?,
            _ => {}
        }
        Ok(block)
    }
}

impl Stream for BlockStream {
    type Item = Result<CheckedBlock, BlocksError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(self.blocks.poll_next_unpin(context));
        let next = next.map(|next| next.and_then(|block| self.check_signatures(block)));
        self.ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

impl fmt::Debug for BlockStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockStream")
    }
}

struct Follower {
    network: Network,
    next: BlockNumber,
    end: Option<BlockNumber>,
    previous: Option<(BlockHeader, Hash32)>,
    recovery: Recovery,
    open: Option<(usize, Streaming<pb::BlocksResponse>)>,
}

impl Follower {
    async fn next(&mut self) -> Result<CheckedBlock, BlocksError> {
        loop {
            let (endpoint, message) = self.message().await;
            let source = match message {
                Ok(message) => return self.accept(message),
                Err(source) => source,
            };
            self.open = None;
            let gives_up = self.end.is_some() && self.recovery.attempts() >= BLOCK_ATTEMPTS_MAX;
            if gives_up
                || !self
                    .recovery
                    .recover(&self.network.inner, endpoint, &source)
                    .await
            {
                let channel = self.network.channel.clone();
                return Err(BlocksError::Rpc {
                    channel,
                    next: self.next,
                    source,
                });
            }
        }
    }

    async fn message(&mut self) -> (usize, Result<pb::BlocksResponse, RpcError>) {
        if self.open.is_none() {
            match self.connect().await {
                (endpoint, Ok(stream)) => self.open = Some((endpoint, stream)),
                (endpoint, Err(error)) => return (endpoint, Err(error)),
            }
        }
        let (endpoint, stream) = self.open.as_mut().expect("it was opened above");
        (*endpoint, next_message(stream).await)
    }

    async fn connect(&self) -> (usize, Result<Streaming<pb::BlocksResponse>, RpcError>) {
        let inner = &self.network.inner;
        let (endpoint, mut client) = inner.endpoints.pick();
        let request = pb::BlocksRequest {
            header: Some(inner.signer.request_header(&self.network.channel, "Blocks")),
            start: self.next.0,
            end: self.end.map_or(0, |end| end.0),
        };
        let call = client.gateway.blocks(inner.signer.request(&request));
        (endpoint, unary(inner.timeouts.request, call).await)
    }

    fn accept(&mut self, message: pb::BlocksResponse) -> Result<CheckedBlock, BlocksError> {
        let checked = self.check(message)?;
        self.previous = Some((checked.block.header.clone(), checked.block.hash));
        self.next = self.next.next();
        self.recovery.progress();
        Ok(checked)
    }

    fn check(&self, message: pb::BlocksResponse) -> Result<CheckedBlock, BlocksError> {
        let next = self.next;
        let refuse = |source| BlocksError::Block { next, source };
        let block = Block::from_pb(message.block.unwrap_or_default()).map_err(refuse)?;
        self.check_place(&block).map_err(refuse)?;
        let verdicts = |why: String| BlocksError::Verdicts { next, why };
        if message.codes.len() != block.envelopes.len() {
            return Err(verdicts(format!("{} verdicts", message.codes.len())));
        }
        let codes = message
            .codes
            .iter()
            .map(|code| ValidationCode::try_from(u32::from(*code)));
        Ok(CheckedBlock {
            codes: codes
                .collect::<Result<_, _>>()
                .map_err(|error| verdicts(error.to_string()))?,
            state_hash: Hash32::from_slice(&message.state_hash)
                .map_err(|error| verdicts(error.to_string()))?,
            block,
        })
    }

    fn check_place(&self, block: &Block) -> Result<(), BlockError> {
        let number = block.header.number;
        let refuse = |why| Err(BlockError::Chain { number, why });
        if block.header.channel != self.network.channel {
            return refuse("it is of another channel");
        }
        if number != self.next {
            return refuse("it is not the one that was asked for");
        }
        match &self.previous {
            Some((header, hash)) => block.check_follows(header, hash),
            None => Ok(()),
        }
    }
}
