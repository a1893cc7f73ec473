//! Collects the endorsements that a contract's policy needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use stela_protocol::hash::{self, domain};
use stela_protocol::transaction::{Endorsement, check_side_items};
use stela_protocol::{ErrorCode, OrgId, RpcError, pb};
use tokio::time::Instant;

use super::side;
use crate::answer;
use crate::backoff::BackOff;
use crate::endorser;
use crate::limits::{
    CATCH_UP_PATIENCE, CATCH_UP_PAUSE, CATCH_UP_PAUSE_MAX, ENDORSE_TIMEOUT, REMOTE_TIMEOUT,
};
use crate::node::Node;
use crate::remotes::{Target, another_may, within};
use crate::requests::{self, Admitted};

/// The role whose endorsements are collected.
const ENDORSER_ROLE: &str = "peer";

/// Collects endorsements with one and the same result, and hands out the side items.
pub(super) async fn endorse(
    node: &Arc<Node>,
    request: pb::EndorseRequest,
) -> Result<pb::EndorseResponse, RpcError> {
    let admitted = requests::admit(node, request.proposal)?;
    check_side_items(&admitted.proposal.side, &request.side).map_err(answer::malformed)?;
    let deadline = Instant::now() + ENDORSE_TIMEOUT;
    let work = async {
        let collection = Collection::begin(node, &admitted, deadline).await?;
        let distributed = side::distribute(node, &admitted, &request.side);
        let (collected, ()) = futures::try_join!(collection.complete(), distributed)?;
        Ok(response(collected))
    };
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

/// One organization's endorsement.
#[derive(Debug, Clone)]
struct Answer {
    organization: OrgId,
    /// `Organization/peer`.
    node: String,
    result: Bytes,
    endorsement: pb::Endorsement,
    height: u64,
}

/// What has been collected for one proposal.
struct Collection<'a> {
    node: &'a Arc<Node>,
    admitted: &'a Admitted,
    layouts: Vec<BTreeSet<OrgId>>,
    answers: BTreeMap<OrgId, Answer>,
    failures: BTreeMap<OrgId, RpcError>,
    deadline: Instant,
}

impl<'a> Collection<'a> {
    /// Finds out whom to ask, and asks this peer itself: what it refuses need not travel.
    async fn begin(
        node: &'a Arc<Node>,
        admitted: &'a Admitted,
        deadline: Instant,
    ) -> Result<Self, RpcError> {
        let contract = &admitted.proposal.contract;
        let defined = admitted
            .channel
            .membership()
            .config()
            .contracts
            .get(contract);
        let defined = defined.ok_or_else(|| {
            let why = format!(
                "channel {} defines no contract {contract}",
                admitted.channel.id()
            );
            RpcError::new(ErrorCode::UnknownContract, why)
        })?;
        let layouts = defined
            .policy
            .organizations(ENDORSER_ROLE, &node.organization);
        if layouts.is_empty() {
            let why = format!("no set of peers satisfies the policy {}", defined.policy);
            return Err(RpcError::new(ErrorCode::EndorsersUnavailable, why));
        }
        let (answers, failures) = (BTreeMap::new(), BTreeMap::new());
        let mut collection = Self {
            node,
            admitted,
            layouts,
            answers,
            failures,
            deadline,
        };
        let own = &node.organization;
        if collection.layouts.iter().any(|layout| layout.contains(own)) {
            let answer = collection.ask_self().await;
            collection.record(own, answer)?;
        }
        Ok(collection)
    }

    /// Asks others until one of the layouts is complete and its answers agree.
    async fn complete(mut self) -> Result<Vec<Answer>, RpcError> {
        for layout in self.layouts.clone() {
            if layout
                .iter()
                .any(|organization| self.failures.contains_key(organization))
            {
                continue;
            }
            let missing: Vec<&OrgId> = layout
                .iter()
                .filter(|o| !self.answers.contains_key(*o))
                .collect();
            let asked = join_all(missing.iter().map(|o| self.ask_until_caught_up(o))).await;
            for (organization, answer) in missing.into_iter().zip(asked) {
                self.record(organization, answer)?;
            }
            if layout
                .iter()
                .all(|organization| self.answers.contains_key(organization))
            {
                return self.agree(&layout).await;
            }
        }
        Err(self.unavailable())
    }

    /// Why no layout could be completed; if only this peer itself failed, its own words.
    fn unavailable(mut self) -> RpcError {
        if self.failures.len() == 1
            && let Some(own) = self.failures.remove(&self.node.organization)
        {
            return own;
        }
        let failures: Vec<String> = self
            .failures
            .iter()
            .map(|(organization, error)| format!("{organization}: {error}"))
            .collect();
        let why = format!(
            "the endorsers that are needed cannot be had; {}",
            failures.join("; ")
        );
        RpcError::new(ErrorCode::EndorsersUnavailable, why)
    }

    /// Keeps an answer, or a failure that other organizations may make up for.
    fn record(
        &mut self,
        organization: &OrgId,
        answer: Result<Answer, RpcError>,
    ) -> Result<(), RpcError> {
        match answer {
            Ok(answer) => drop(self.answers.insert(organization.clone(), answer)),
            Err(error) if another_may(error.code) => {
                self.failures.insert(organization.clone(), error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Endorsers at different heights may honestly differ: whoever is behind is asked again when
    /// it has caught up, until all agree or the time is up.
    async fn agree(&self, layout: &BTreeSet<OrgId>) -> Result<Vec<Answer>, RpcError> {
        let mut answers: Vec<Answer> = layout
            .iter()
            .filter_map(|o| self.answers.get(o).cloned())
            .collect();
        let patience = self.patience();
        let mut back_off = BackOff::new(CATCH_UP_PAUSE, CATCH_UP_PAUSE_MAX);
        loop {
            if answers
                .iter()
                .all(|answer| answer.result == answers[0].result)
            {
                return Ok(answers);
            }
            let highest = answers
                .iter()
                .map(|answer| answer.height)
                .max()
                .unwrap_or_default();
            let level = answers.iter().all(|answer| answer.height == highest);
            if level || Instant::now() >= patience {
                return Err(mismatch(&answers));
            }
            back_off.wait().await;
            for answer in answers.iter_mut().filter(|answer| answer.height < highest) {
                *answer = self.ask_again(&answer.organization, highest).await?;
            }
        }
    }

    async fn ask_again(&self, organization: &OrgId, height: u64) -> Result<Answer, RpcError> {
        if *organization != self.node.organization {
            return self.ask(organization).await;
        }
        self.admitted.channel.reach(height, CATCH_UP_PATIENCE).await;
        self.ask_self().await
    }

    fn patience(&self) -> Instant {
        (Instant::now() + CATCH_UP_PATIENCE).min(self.deadline)
    }

    async fn ask_self(&self) -> Result<Answer, RpcError> {
        let endorsed = endorser::endorse_admitted(self.node, self.admitted).await?;
        Ok(Answer {
            organization: self.node.organization.clone(),
            node: self.node.origin.clone(),
            result: endorsed.result,
            endorsement: endorsed.endorsement,
            height: endorsed.height,
        })
    }

    /// What this peer accepted and another one refuses, it may refuse because it is behind.
    async fn ask_until_caught_up(&self, organization: &OrgId) -> Result<Answer, RpcError> {
        let patience = self.patience();
        let mut back_off = BackOff::new(CATCH_UP_PAUSE, CATCH_UP_PAUSE_MAX);
        loop {
            let answer = self.ask(organization).await;
            let behind = matches!(
                answer.as_ref().map_err(|error| error.code),
                Err(ErrorCode::UnknownIdentity | ErrorCode::ContractRefused)
            );
            if !behind || self.answers.is_empty() || Instant::now() >= patience {
                return answer;
            }
            back_off.wait().await;
        }
    }

    /// The first answer of an organization's peers.
    async fn ask(&self, organization: &OrgId) -> Result<Answer, RpcError> {
        let config = self.admitted.channel.membership().config();
        let peers = config
            .organizations
            .get(organization)
            .map(|o| o.peers.as_slice());
        let mut failures = Vec::new();
        for peer in peers.unwrap_or_default() {
            match self.ask_peer(organization, peer).await {
                Err(error) if another_may(error.code) => {
                    failures.push(format!("{}: {error}", peer.name));
                }
                answer => return answer,
            }
        }
        let why = match failures.is_empty() {
            true => "the configuration names no peer of it".to_owned(),
            false => failures.join("; "),
        };
        Err(RpcError::new(ErrorCode::EndorsersUnavailable, why))
    }

    async fn ask_peer(
        &self,
        organization: &OrgId,
        peer: &pb::PeerEndpoint,
    ) -> Result<Answer, RpcError> {
        let target = Target::peer(organization, &peer.address);
        let mut client = self.node.remotes.endorser(&target)?;
        // Side items go only to those who keep them, and another way.
        let proposal = Some(self.admitted.signed.clone());
        let request = pb::EndorseRequest {
            proposal,
            side: Vec::new(),
        };
        let response = within(REMOTE_TIMEOUT, client.endorse(request)).await?;
        let channel = &self.admitted.channel;
        channel.compare(organization, response.height, &response.state_hash);
        let endorsement = self.check(organization, &response)?;
        Ok(Answer {
            organization: organization.clone(),
            node: format!("{organization}/{}", peer.name),
            result: response.result,
            endorsement,
            height: response.height,
        })
    }

    /// An endorsement that would not count is as good as none.
    fn check(
        &self,
        organization: &OrgId,
        response: &pb::ProposalResponse,
    ) -> Result<pb::Endorsement, RpcError> {
        let useless = |why: &str| {
            let why = format!("its endorsement does not count: {why}");
            RpcError::new(ErrorCode::Unavailable, why)
        };
        let message = response
            .endorsement
            .clone()
            .ok_or_else(|| useless("it is missing"))?;
        let endorsement =
            Endorsement::try_from(&message).map_err(|error| useless(&error.to_string()))?;
        let now_ms = self.node.clock.now_ms();
        let endorser = self
            .admitted
            .channel
            .identity(&endorsement.endorser, now_ms);
        let endorser = endorser.map_err(|error| useless(&error.message))?;
        if endorser.organization != *organization {
            return Err(useless("the endorser is of another organization"));
        }
        let signed = hash::endorsement_message(&self.admitted.bytes, &response.result);
        endorser
            .verify(domain::ENDORSEMENT, &signed, &endorsement.signature)
            .map_err(|_| useless("the signature is not valid"))?;
        Ok(message)
    }
}

fn mismatch(answers: &[Answer]) -> RpcError {
    let first = &answers[0];
    let differ = answers
        .iter()
        .filter(|answer| answer.result != first.result);
    let names: Vec<String> = differ.map(name).collect();
    let why = format!(
        "{} found another result than {}",
        names.join(" and "),
        name(first)
    );
    RpcError::new(ErrorCode::EndorsementMismatch, why)
}

fn name(answer: &Answer) -> String {
    format!("{} (at height {})", answer.node, answer.height)
}
