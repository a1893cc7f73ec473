//! Collects the endorsements that a contract's policy needs.

use std::sync::Arc;

use stela_protocol::transaction::check_side_items;
use stela_protocol::{ErrorCode, RpcError, pb};
use tokio::time::Instant;
use tonic::Request;

use super::asking::Answer;
use super::collection::Collection;
use super::side;
use crate::answer;
use crate::limits::ENDORSE_TIMEOUT;
use crate::node::Node;
use crate::requests::{self, Admitted};

/// Collects endorsements with one and the same result, and hands out the side items.
pub(crate) async fn endorse(
    node: &Arc<Node>,
    request: Request<pb::EndorseRequest>,
) -> Result<pb::EndorseResponse, RpcError> {
    let _place = node.place_for_call()?;
    let caller = requests::organization(&request);
    let pb::EndorseRequest { proposal, side } = request.into_inner();
    let admitted = requests::admit(node, proposal).await?;
    requests::check_connection(caller.as_ref(), &admitted.creator)?;
    check_side_items(&admitted.proposal.side, &side).map_err(answer::malformed)?;
    let deadline = Instant::now() + ENDORSE_TIMEOUT;
    let work = async {
        let collection = Collection::begin(node, &admitted, deadline).await?;
        let distributed = side::distribute(node, &admitted, &side);
        let (collected, ()) = futures::try_join!(collection.complete(), distributed)?;
        Ok(response(collected))
    };
    before(deadline, work).await
}

/// Collects endorsements for a proposal without side items that this peer itself has made.
///
/// # Errors
/// As a client is told them.
pub(crate) async fn collect(
    node: &Arc<Node>,
    admitted: &Admitted,
) -> Result<pb::EndorseResponse, RpcError> {
    let deadline = Instant::now() + ENDORSE_TIMEOUT;
    let work = async {
        let collection = Collection::begin(node, admitted, deadline).await?;
        Ok(response(collection.complete().await?))
    };
    before(deadline, work).await
}

async fn before<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, RpcError>>,
) -> Result<T, RpcError> {
    tokio::time::timeout_at(deadline, work)
        .await
        .unwrap_or_else(|_| {
            let why = format!("not endorsed within {} s", ENDORSE_TIMEOUT.as_secs());
            Err(RpcError::new(ErrorCode::Timeout, why))
        })
}

/// In the order of the organizations, so that the same endorsers make the same envelope.
fn response(answers: Vec<Answer>) -> pb::EndorseResponse {
    pb::EndorseResponse {
        result: answers
            .first()
            .map(|answer| answer.result.clone())
            .unwrap_or_default(),
        endorsements: answers
            .into_iter()
            .map(|answer| answer.endorsement)
            .collect(),
    }
}
