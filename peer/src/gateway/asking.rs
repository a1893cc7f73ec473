//! Asks one organization for its endorsement.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stela_identity::SignatureToVerify;
use stela_protocol::hash::{self, domain};
use stela_protocol::pb::{self, Procedure};
use stela_protocol::transaction::Endorsement;
use stela_protocol::{ErrorCode, OrgId, RpcError};
use tokio::time::Instant;

use crate::backoff::BackOff;
use crate::endorser;
use crate::limits::{CATCH_UP_PATIENCE, CATCH_UP_PAUSE, CATCH_UP_PAUSE_MAX, REMOTE_TIMEOUT};
use crate::membership::ENDORSER_ROLE;
use crate::node::Node;
use crate::remotes::{Target, another_may, first_of, in_time};
use crate::requests::Admitted;

/// One organization's endorsement.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) organization: OrgId,
    /// `Organization/peer`.
    pub(super) node: String,
    pub(super) result: Bytes,
    pub(super) endorsement: pb::Endorsement,
    /// Of the state that was read, as the endorser says.
    pub(super) height: u64,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) node: &'a Arc<Node>,
    pub(super) admitted: &'a Admitted,
    pub(super) deadline: Instant,
}

impl Asker<'_> {
    /// Until when somebody who is behind is waited for.
    pub(super) fn patience(self) -> Instant {
        (Instant::now() + CATCH_UP_PATIENCE).min(self.deadline)
    }

    /// This peer's own endorsement.
    pub(super) async fn ask_self(self) -> Result<Answer, RpcError> {
        let endorsed = endorser::endorse_admitted(self.node, self.admitted).await?;
        Ok(Answer {
            organization: self.node.organization.clone(),
            node: self.node.origin.clone(),
            result: endorsed.result,
            endorsement: endorsed.endorsement,
            height: endorsed.height,
        })
    }

    /// This peer's own endorsement as soon as it has so many blocks, or the time is up.
    pub(super) async fn ask_self_at(
        self,
        height: u64,
        patience: Instant,
    ) -> Result<Answer, RpcError> {
        let wait = patience.saturating_duration_since(Instant::now());
        self.admitted.channel.reach(height, wait).await;
        self.ask_self().await
    }

    /// Another organization's endorsement after a pause.
    pub(super) async fn ask_after(
        self,
        pause: Duration,
        organization: &OrgId,
    ) -> Result<Answer, RpcError> {
        tokio::time::sleep(pause).await;
        self.ask(organization).await
    }

    /// What this peer accepted and another one refuses, it may refuse because it is behind.
    pub(super) async fn ask_until_caught_up(
        self,
        organization: &OrgId,
    ) -> Result<Answer, RpcError> {
        let patience = self.patience();
        let mut back_off = BackOff::new(CATCH_UP_PAUSE, CATCH_UP_PAUSE_MAX);
        loop {
            let answer = self.ask(organization).await;
            let behind = matches!(
                answer.as_ref().map_err(|error| error.code),
                Err(ErrorCode::UnknownIdentity | ErrorCode::ContractRefused)
            );
            if !behind || Instant::now() >= patience {
                return answer;
            }
            back_off.wait().await;
        }
    }

    /// The first endorsement of an organization's peers; without one, what a peer refused it for
    /// rather than why peers could not be asked.
    pub(super) async fn ask(self, organization: &OrgId) -> Result<Answer, RpcError> {
        let membership = self.admitted.channel.membership();
        let peers = membership
            .config()
            .organizations
            .get(organization)
            .map(|o| o.peers.clone());
        let ask = |peer: pb::PeerEndpoint| async move {
            let asked = self.ask_peer(organization, &peer).await;
            asked.map_err(|error| (peer.name, error))
        };
        let failures = match first_of(peers.unwrap_or_default(), ask).await {
            Ok(answer) => return Ok(answer),
            Err(failures) => failures,
        };
        let refused = failures.iter().find(|(_, error)| !another_may(error.code));
        if let Some((_, refused)) = refused {
            return Err(refused.clone());
        }
        let words: Vec<String> = failures
            .iter()
            .map(|(peer, error)| format!("{peer}: {error}"))
            .collect();
        let why = match words.is_empty() {
            true => "the configuration names no peer of it".to_owned(),
            false => words.join("; "),
        };
        Err(RpcError::new(ErrorCode::EndorsersUnavailable, why))
    }

    async fn ask_peer(
        self,
        organization: &OrgId,
        peer: &pb::PeerEndpoint,
    ) -> Result<Answer, RpcError> {
        let target = Target::peer(organization, &peer.address);
        let calls = self.node.remotes.calls(&target)?;
        // Side items go only to those who keep them, and another way.
        let proposal = Some(self.admitted.signed.clone());
        let request = pb::EndorseRequest {
            proposal,
            side: Vec::new(),
        };
        let call = calls.call(Procedure::EndorserEndorse, &request);
        let response: pb::ProposalResponse = in_time(REMOTE_TIMEOUT, call).await?;
        let channel = &self.admitted.channel;
        channel.compare(organization, response.height, &response.state_hash);
        let endorsement = self.check(organization, &response).await?;
        Ok(Answer {
            organization: organization.clone(),
            node: format!("{organization}/{}", peer.name),
            result: response.result,
            endorsement,
            height: response.height,
        })
    }

    /// An endorsement that would not count is as good as none.
    async fn check(
        self,
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
        if endorser.role != ENDORSER_ROLE {
            return Err(useless("the endorser has not the role of a peer"));
        }
        let signed = hash::endorsement_message(&self.admitted.bytes, &response.result);
        let signed = SignatureToVerify {
            key: endorser.public_key,
            domain: domain::ENDORSEMENT,
            message: signed.into(),
            signature: endorsement.signature,
        };
        let membership = self.admitted.channel.membership();
        let verified = membership.verified().verify(signed).await;
        verified.map_err(|_| useless("the signature is not valid"))?;
        Ok(message)
    }
}
