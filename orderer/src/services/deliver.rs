//! Gives out blocks.

use std::sync::Arc;

use stela_identity::tls::PeerTls;
use stela_protocol::pb::deliver_server::Deliver;
use stela_protocol::{BlockNumber, ErrorCode, RpcError, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{excluded, member_channel, peer, status};
use crate::driver::stopping;
use crate::limits::DELIVER_AHEAD_MAX;
use crate::node::{Node, Ordered};
use crate::streams::Stream;

pub(super) struct DeliverService(pub(super) Arc<Node>);

type Blocks = mpsc::Sender<Result<pb::Block, Status>>;

#[tonic::async_trait]
impl Deliver for DeliverService {
    type DeliverStream = ReceiverStream<Result<pb::Block, Status>>;

    async fn deliver(
        &self,
        request: Request<pb::DeliverRequest>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let start = BlockNumber(request.get_ref().start);
        let (ordered, caller, open) = self.open(&request).map_err(status(&self.0))?;
        let (blocks, stream) = mpsc::channel(DELIVER_AHEAD_MAX);
        let node = self.0.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                biased;
                error = excluded(&ordered, &caller) => Err(error),
                ended = deliver(&node, &ordered, start, &blocks) => ended,
            };
            if let Err(error) = ended {
                // Whoever has gone away does not mind.
                let _ = blocks.send(Err(status(&node)(error))).await;
            }
            drop(open);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl DeliverService {
    fn open(
        &self,
        request: &Request<pb::DeliverRequest>,
    ) -> Result<(Arc<Ordered>, PeerTls, Stream), RpcError> {
        let caller = peer(request)?;
        let ordered = member_channel(&self.0, &caller, &request.get_ref().channel)?;
        let open = ordered
            .streams
            .open(&caller.organization, caller.fingerprint);
        let open = open.ok_or_else(|| {
            let message = "too many streams of this channel are open; close some or try later";
            RpcError::new(ErrorCode::Overloaded, message)
        })?;
        Ok((ordered, caller, open))
    }
}

/// Reads one block after the other, never more than the stream takes, until the caller goes away.
async fn deliver(
    node: &Node,
    ordered: &Ordered,
    start: BlockNumber,
    stream: &Blocks,
) -> Result<(), RpcError> {
    let mut view = ordered.handle.view();
    let mut next = start;
    loop {
        let room = tokio::select! {
            biased;
            () = node.stop().cancelled() => return Err(stopping()),
            room = stream.reserve() => match room {
                Ok(room) => room,
                Err(_) => return Ok(()),
            },
        };
        tokio::select! {
            biased;
            () = node.stop().cancelled() => return Err(stopping()),
            () = stream.closed() => return Ok(()),
            seen = view.wait_for(|view| view.deliverable >= next) => {
                seen.map_err(|_| stopping())?;
            }
        }
        room.send(Ok(read(ordered, next).await?));
        next = next.next();
    }
}

async fn read(ordered: &Ordered, number: BlockNumber) -> Result<pb::Block, RpcError> {
    let damaged = |message: String| {
        tracing::error!(channel = %ordered.id, error = message, "a block cannot be delivered");
        RpcError::new(ErrorCode::Damaged, message)
    };
    let blocks = ordered.blocks.clone();
    let read = tokio::task::spawn_blocking(move || blocks.delivered(number)).await;
    let block = read
        .map_err(|_| stopping())?
        .map_err(|error| damaged(error.to_string()))?;
    block.ok_or_else(|| damaged(format!("block {number} is missing")))
}
