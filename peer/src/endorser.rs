//! Runs contracts and signs what they found; keeps side items for its organization.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_host::{Caller, Execution, Invocation, Mode};
use stela_identity::{Identity, SignedMessage};
use stela_protocol::config::Contract;
use stela_protocol::hash::{self, domain};
use stela_protocol::limits::{ENVELOPE_BYTES_MAX, SIDE_ITEMS_MAX};
use stela_protocol::pb::endorser_server::Endorser;
use stela_protocol::transaction::{Proposal, SideCommitment, TransactionResult, check_side_items};
use stela_protocol::{ErrorCode, Hash32, OrgId, RpcError, pb};
use stela_store::{LedgerRead, SideRecord, SideState, StateSnapshot};
use tonic::{Request, Response, Status};

use crate::answer;
use crate::channel::Channel;
use crate::comparison;
use crate::limits::SIDE_ANSWER_BYTES_MAX;
use crate::node::Node;
use crate::notes;
use crate::requests::{self, Admitted};

/// What other peers call.
pub(crate) struct EndorserService(pub(crate) Arc<Node>);

#[tonic::async_trait]
impl Endorser for EndorserService {
    async fn endorse(
        &self,
        request: Request<pb::EndorseRequest>,
    ) -> Result<Response<pb::ProposalResponse>, Status> {
        self.0.answer(endorse(&self.0, request.into_inner()).await)
    }

    async fn put_side(
        &self,
        request: Request<pb::PutSideRequest>,
    ) -> Result<Response<pb::PutSideResponse>, Status> {
        self.0.answer(put_side(&self.0, request.into_inner()).await)
    }

    async fn get_side(
        &self,
        request: Request<pb::GetSideRequest>,
    ) -> Result<Response<pb::SideResponse>, Status> {
        let caller = requests::organization(&request);
        self.0
            .answer(get_side(&self.0, caller, &request.into_inner()))
    }

    async fn state_hash(
        &self,
        request: Request<pb::StateHashRequest>,
    ) -> Result<Response<pb::StateHashResponse>, Status> {
        let caller = requests::organization(&request);
        self.0
            .answer(comparison::tell(&self.0, caller, &request.into_inner()))
    }
}

/// Admits a proposal and endorses it.
pub(crate) async fn endorse(
    node: &Arc<Node>,
    request: pb::EndorseRequest,
) -> Result<pb::ProposalResponse, RpcError> {
    let admitted = requests::admit(node, request.proposal).await?;
    // Only the organizations that keep side items are sent them.
    if !request.side.is_empty() {
        check_side_items(&admitted.proposal.side, &request.side).map_err(answer::malformed)?;
    }
    let endorsed = endorse_admitted(node, &admitted).await?;
    Ok(pb::ProposalResponse {
        result: endorsed.result,
        endorsement: Some(endorsed.endorsement),
        height: endorsed.height,
        state_hash: endorsed.state_hash.to_bytes(),
    })
}

/// This peer's endorsement.
#[derive(Debug, Clone)]
pub(crate) struct Endorsed {
    pub(crate) result: Bytes,
    pub(crate) endorsement: pb::Endorsement,
    /// Of the state that was read, in blocks.
    pub(crate) height: u64,
    pub(crate) state_hash: Hash32,
}

/// Runs the contract on one snapshot and signs the result. The same proposal may be endorsed again
/// until its transaction is committed. What the contract wants to be called if it is not is noted
/// durably before.
pub(crate) async fn endorse_admitted(
    node: &Arc<Node>,
    admitted: &Admitted,
) -> Result<Endorsed, RpcError> {
    let Admitted {
        channel, proposal, ..
    } = admitted;
    check_own_certificate(node, channel)?;
    notes::admit(channel, proposal)?;
    let snapshot = channel.snapshot()?;
    check_not_committed(&snapshot, proposal)?;
    let head = *snapshot.head();
    let execution = run(node, admitted, snapshot, Mode::Endorse).await?;
    notes::admit(channel, proposal)?;
    let result: Bytes = execution.result.encode_to_vec().into();
    check_result(channel, admitted, &result)?;
    let message = hash::endorsement_message(&admitted.bytes, &result);
    let signature = node.credentials.sign(domain::ENDORSEMENT, &message);
    channel.membership().verified().remember(&SignedMessage {
        key: node.credentials.certificate.public_key(),
        domain: domain::ENDORSEMENT,
        message: &message,
        signature: &signature,
    });
    let endorsement = pb::Endorsement {
        endorser: node.credentials.fingerprint().to_bytes(),
        signature: Bytes::copy_from_slice(&signature),
    };
    if let Some(call) = execution.on_absence {
        notes::keep(node, admitted, call).await?;
    }
    let (height, state_hash) = (head.height, head.state_hash);
    Ok(Endorsed {
        result,
        endorsement,
        height,
        state_hash,
    })
}

/// An endorsement under a certificate that the channel does not know, or does not accept now, would
/// not count.
fn check_own_certificate(node: &Node, channel: &Channel) -> Result<(), RpcError> {
    let own = channel.identity(&node.credentials.fingerprint(), node.clock.now_ms());
    own.map(drop).map_err(|error| {
        let why = format!("this peer cannot endorse yet: {}", error.message);
        RpcError::new(ErrorCode::Unavailable, why)
    })
}

/// What a contract answers to a question.
pub(crate) async fn evaluate(
    node: &Arc<Node>,
    admitted: &Admitted,
) -> Result<pb::EvaluateResponse, RpcError> {
    let snapshot = admitted.channel.snapshot()?;
    let height = snapshot.head().height;
    let execution = run(node, admitted, snapshot, Mode::Evaluate).await?;
    let payload = execution.result.response.unwrap_or_default().payload;
    Ok(pb::EvaluateResponse { payload, height })
}

async fn run(
    node: &Node,
    admitted: &Admitted,
    snapshot: StateSnapshot,
    mode: Mode,
) -> Result<Execution, RpcError> {
    let Admitted {
        channel,
        proposal,
        creator,
        ..
    } = admitted;
    let membership = channel.membership();
    let defined = membership.config().contracts.get(&proposal.contract);
    let defined = defined.ok_or_else(|| {
        let why = format!(
            "channel {} defines no contract {}",
            channel.id(),
            proposal.contract
        );
        RpcError::new(ErrorCode::UnknownContract, why)
    })?;
    let contract = node.contracts.get(&defined.package_hash).map_err(|error| {
        let Contract { name, version, .. } = defined;
        let why = format!(
            "contract {name} is at version {version:?} now: {}",
            error.message
        );
        RpcError::new(error.code, why)
    })?;
    node.contracts
        .run(
            contract,
            snapshot,
            invocation(proposal, creator, defined.settings.clone(), mode),
        )
        .await
}

fn invocation(proposal: &Proposal, creator: &Identity, settings: Bytes, mode: Mode) -> Invocation {
    let attributes = creator.attributes.iter();
    Invocation {
        channel: proposal.header.channel.clone(),
        contract: proposal.contract.clone(),
        function: proposal.function.clone(),
        arguments: proposal.arguments.clone(),
        caller: Caller {
            organization: creator.organization.clone(),
            role: creator.role.clone(),
            attributes: attributes
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            fingerprint: creator.fingerprint,
        },
        transaction_id: proposal.header.id(),
        timestamp_ms: proposal.header.timestamp_ms,
        side: proposal.side.iter().map(|side| side.commitment).collect(),
        settings,
        mode,
    }
}

fn check_not_committed(snapshot: &StateSnapshot, proposal: &Proposal) -> Result<(), RpcError> {
    let id = proposal.header.id();
    match snapshot.transaction(&id).map_err(answer::store)? {
        None => Ok(()),
        Some(record) => {
            let why = format!(
                "transaction {id} is committed already, in block {} as {}",
                record.height.block, record.code
            );
            Err(RpcError::new(ErrorCode::Replayed, why))
        }
    }
}

/// Nothing is signed that validation would refuse to decode, or the channel to carry.
fn check_result(channel: &Channel, admitted: &Admitted, result: &Bytes) -> Result<(), RpcError> {
    TransactionResult::decode(result.clone(), &admitted.proposal.arguments).map_err(|error| {
        RpcError::new(
            ErrorCode::ContractFailed,
            format!("the contract's result: {error}"),
        )
    })?;
    let max = channel
        .membership()
        .config()
        .limits
        .envelope_bytes_max
        .min(ENVELOPE_BYTES_MAX);
    if admitted.bytes.len() + result.len() > max {
        let why = format!("the transaction would exceed the channel's {max} bytes");
        return Err(RpcError::new(ErrorCode::TooLarge, why));
    }
    Ok(())
}

// ------------------------------------------------------------------------------------ side items

/// The commitments of a proposal that an organization keeps the data of, in their order.
pub(crate) fn kept_by(proposal: &Proposal, organization: &OrgId) -> Vec<SideCommitment> {
    let kept = |side: &&SideCommitment| side.organizations.contains(organization);
    proposal.side.iter().filter(kept).cloned().collect()
}

/// The items of the request are those that this organization keeps, in the order of the proposal.
async fn put_side(
    node: &Node,
    request: pb::PutSideRequest,
) -> Result<pb::PutSideResponse, RpcError> {
    let admitted = requests::admit(node, request.proposal).await?;
    let kept = kept_by(&admitted.proposal, &node.organization);
    if kept.is_empty() {
        let why = format!("no commitment of the proposal names {}", node.organization);
        return Err(RpcError::new(ErrorCode::Forbidden, why));
    }
    check_side_items(&kept, &request.side).map_err(answer::malformed)?;
    keep_side(node, &admitted, kept, request.side).await?;
    Ok(pb::PutSideResponse {})
}

/// Keeps checked items, all or none, durably, until their transaction is committed.
pub(crate) async fn keep_side(
    node: &Node,
    admitted: &Admitted,
    kept: Vec<SideCommitment>,
    items: Vec<pb::SideItem>,
) -> Result<(), RpcError> {
    let (channel, received_ms) = (admitted.channel.clone(), node.clock.now_ms());
    let header = &admitted.proposal.header;
    let (creator, transaction) = (header.creator, header.id());
    let records = kept.into_iter().zip(items).map(|(side, item)| SideRecord {
        commitment: side.commitment,
        state: SideState::Pending,
        transaction,
        received_ms,
        organizations: side.organizations,
        salt: item.salt,
        payload: item.payload,
    });
    let records = records.collect();
    let work = move || channel.ledger().side_put_pending(creator, records);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| answer::fallen())?
        .map_err(answer::store)
}

fn get_side(
    node: &Node,
    caller: Option<OrgId>,
    request: &pb::GetSideRequest,
) -> Result<pb::SideResponse, RpcError> {
    let channel = node.channel(&request.channel)?;
    let caller = caller.ok_or_else(|| {
        RpcError::new(
            ErrorCode::Forbidden,
            "side items are given out over mutual TLS only",
        )
    })?;
    if !channel.membership().config().is_member(&caller) {
        let why = format!(
            "{caller} is not a member of channel {} any more",
            channel.id()
        );
        return Err(RpcError::new(ErrorCode::Forbidden, why));
    }
    find_side(&channel, &caller, &request.commitments)
}

/// Committed items that are here and that the organization is to keep.
pub(crate) fn find_side(
    channel: &Channel,
    organization: &OrgId,
    commitments: &[Bytes],
) -> Result<pb::SideResponse, RpcError> {
    if commitments.len() > SIDE_ITEMS_MAX {
        let why = format!("at most {SIDE_ITEMS_MAX} side items are given out at once");
        return Err(RpcError::new(ErrorCode::TooLarge, why));
    }
    let mut items = Vec::new();
    let mut bytes = 0;
    for commitment in commitments {
        let commitment = Hash32::from_slice(commitment).map_err(answer::bad_id)?;
        let Some(record) = find_item(channel, organization, &commitment)? else {
            continue;
        };
        bytes += record.payload.len();
        if bytes > SIDE_ANSWER_BYTES_MAX {
            let why = "the side items do not fit into one answer: ask for fewer at once";
            return Err(RpcError::new(ErrorCode::TooLarge, why));
        }
        let item = Some(pb::SideItem {
            salt: record.salt,
            payload: record.payload,
        });
        items.push(pb::FoundSideItem {
            commitment: commitment.to_bytes(),
            item,
        });
    }
    Ok(pb::SideResponse { items })
}

/// The first record under which the organization may have an item.
fn find_item(
    channel: &Channel,
    organization: &OrgId,
    commitment: &Hash32,
) -> Result<Option<SideRecord>, RpcError> {
    for record in channel.ledger().side_get(commitment) {
        let record = record.map_err(answer::store)?;
        if may_have(channel, &record, organization) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// A committed transaction has to name the organization. Its creator decides that only if she had
/// the item; whether she had, this peer does not know of an item that it fetched by its commitment.
/// So it gives such an item to its own organization alone, which may have it: another peer said so.
fn may_have(channel: &Channel, record: &SideRecord, organization: &OrgId) -> bool {
    let decided = match record.state {
        SideState::Pending => false,
        SideState::Committed => true,
        SideState::Fetched => organization == channel.organization(),
    };
    decided && record.organizations.contains(organization)
}

#[cfg(test)]
mod tests {
    use stela_store::{MemoryKv, layout};

    use super::*;
    use crate::validation::tests::World;

    fn org(name: &str) -> OrgId {
        OrgId::new(name).unwrap()
    }

    fn join(world: &World) -> Channel {
        let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
        Channel::join(kv, &world.genesis, &org("A")).unwrap()
    }

    fn item() -> (Hash32, pb::SideItem) {
        let (salt, payload) = (Bytes::from_static(&[7; 16]), Bytes::from_static(b"secret"));
        let commitment = hash::side_commitment(&salt, &payload);
        (commitment, pb::SideItem { salt, payload })
    }

    /// Commits a transaction that names the item for these organizations.
    fn commit(world: &mut World, channel: &Channel, nonce: u8, organizations: &[&str]) {
        let mut call = world.call(nonce);
        call.side = vec![SideCommitment {
            commitment: item().0,
            organizations: organizations.iter().map(|name| org(name)).collect(),
        }];
        let envelope = call.seal();
        let block = world.block(vec![envelope]);
        world.commit(&block);
        channel.commit(&block).unwrap();
    }

    fn put(world: &World, channel: &Channel, nonce: u8, organizations: &[&str]) {
        let header = world.call(nonce).header;
        let (commitment, item) = item();
        let record = SideRecord {
            commitment,
            state: SideState::Pending,
            transaction: header.id(),
            received_ms: 1,
            organizations: organizations.iter().map(|name| org(name)).collect(),
            salt: item.salt,
            payload: item.payload,
        };
        let ledger = channel.ledger();
        ledger
            .side_put_pending(header.creator, vec![record])
            .unwrap();
    }

    /// Which of the three organizations are given the item.
    fn given(channel: &Channel) -> Vec<&'static str> {
        let asked = [item().0.to_bytes()];
        let has = |name: &&str| {
            let found = find_side(channel, &org(name), &asked).unwrap().items;
            found.len() == 1
        };
        ["A", "B", "C"].into_iter().filter(has).collect()
    }

    #[test]
    fn who_repeats_a_commitment_for_another_organization_is_given_nothing() {
        for thief_first in [false, true] {
            let mut world = World::new();
            let channel = join(&world);
            put(&world, &channel, 1, &["A", "B"]);
            assert!(given(&channel).is_empty());
            let mut transactions = [(1, ["A", "B"]), (2, ["A", "C"])];
            if thief_first {
                transactions.reverse();
            }
            for (nonce, organizations) in transactions {
                commit(&mut world, &channel, nonce, &organizations);
            }
            assert_eq!(given(&channel), ["A", "B"], "thief first: {thief_first}");
        }
    }

    #[test]
    fn what_was_fetched_by_its_commitment_is_for_the_own_organization() {
        let mut world = World::new();
        let channel = join(&world);
        commit(&mut world, &channel, 2, &["A", "C"]);
        let missing = channel.ledger().side_missing(None, 9).unwrap();
        let (commitment, item) = item();
        let transaction = missing[0].transaction;
        channel
            .ledger()
            .side_supply(&commitment, &transaction, item.salt, item.payload, 1)
            .unwrap();
        assert_eq!(given(&channel), ["A"]);
        put(&world, &channel, 1, &["A", "B"]);
        commit(&mut world, &channel, 1, &["A", "B"]);
        assert_eq!(given(&channel), ["A", "B"]);
    }
}
