//! A signed call of a contract, before anybody has run it.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stela_protocol::hash::domain;
use stela_protocol::pb::{self, Procedure};
use stela_protocol::transaction::{
    self, SideCommitment, Signed, TransactionError, check_side_items,
};
use stela_protocol::{ContractName, Hash32, TransactionId};

use crate::endpoints::{in_time, is_elsewhere};
use crate::error::{EndorseError, EvaluateError, ProposalError};
use crate::network::Network;
use crate::side::{SealedSide, SideData};
use crate::transaction::Transaction;

/// A call being put together.
#[derive(Debug)]
#[must_use = "a proposal does nothing before it is built and sent"]
pub struct ProposalBuilder {
    network: Network,
    contract: ContractName,
    function: String,
    arguments: Vec<Bytes>,
    side: Vec<SealedSide>,
    refused: Option<ProposalError>,
}

impl ProposalBuilder {
    pub(crate) fn new(network: Network, contract: ContractName, function: &str) -> Self {
        Self {
            network,
            contract,
            function: function.to_owned(),
            arguments: Vec::new(),
            side: Vec::new(),
            refused: None,
        }
    }

    /// Adds an argument.
    pub fn argument(mut self, bytes: impl Into<Bytes>) -> Self {
        self.arguments.push(bytes.into());
        self
    }

    /// Adds an argument that is text.
    pub fn text(self, text: &str) -> Self {
        self.argument(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Adds an argument as JSON. That it cannot be written shows in [`build`](Self::build).
    pub fn json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.argument(bytes),
            Err(source) => {
                let (function, index) = (self.function.clone(), self.arguments.len());
                self.refused.get_or_insert(ProposalError::Json {
                    function,
                    index,
                    source,
                });
                self
            }
        }
    }

    /// Adds side data under a fresh salt.
    pub fn side(self, data: SideData) -> Self {
        let sealed = data.seal(&self.network.inner.signer.sources);
        self.sealed(sealed)
    }

    /// Adds side data whose commitment is known already.
    pub fn sealed(mut self, sealed: SealedSide) -> Self {
        self.side.push(sealed);
        self
    }

    /// Draws the nonce, takes the time and signs.
    ///
    /// # Errors
    /// [`ProposalError`] when an argument or a limit is broken.
    pub fn build(self) -> Result<Proposal, ProposalError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let (side, items): (Vec<SideCommitment>, Vec<pb::SideItem>) = self
            .side
            .into_iter()
            .map(|sealed| (sealed.promise, sealed.item))
            .unzip();
        let signer = &self.network.inner.signer;
        let content = transaction::Proposal {
            header: signer.header(&self.network.channel),
            contract: self.contract,
            function: self.function,
            arguments: self.arguments,
            side,
        };
        let bytes = content.encode();
        check(&bytes, &content, &items).map_err(|source| ProposalError::Format {
            function: content.function.clone(),
            source,
        })?;
        let signed = signer.sign(domain::PROPOSAL, bytes);
        Ok(Proposal {
            network: self.network,
            content,
            signed,
            items,
        })
    }
}

/// Refuses here what every peer would refuse.
fn check(
    bytes: &Bytes,
    content: &transaction::Proposal,
    items: &[pb::SideItem],
) -> Result<(), TransactionError> {
    transaction::Proposal::decode(bytes.clone())?;
    check_side_items(&content.side, items)
}

/// A signed call of a contract. Cheap to clone.
#[derive(Clone)]
pub struct Proposal {
    pub(crate) network: Network,
    pub(crate) content: transaction::Proposal,
    pub(crate) signed: Signed,
    items: Vec<pb::SideItem>,
}

/// What an evaluation answered.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// What the function answered.
    pub payload: Bytes,
    /// How many blocks the peer's state had.
    pub height: u64,
}

impl Evaluation {
    /// The payload, read as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }
}

impl Proposal {
    /// The id that the transaction will have.
    pub fn id(&self) -> TransactionId {
        self.content.header.id()
    }

    /// The commitments to the side data, in the order in which it was added.
    pub fn commitments(&self) -> Vec<Hash32> {
        self.content
            .side
            .iter()
            .map(|side| side.commitment)
            .collect()
    }

    /// Runs the function on one peer's state. Side data is not sent.
    ///
    /// # Errors
    /// [`EvaluateError`] with what the peer answered.
    pub async fn evaluate(&self) -> Result<Evaluation, EvaluateError> {
        let inner = &self.network.inner;
        let answer = inner
            .endpoints
            .call(is_elsewhere, |client| async move {
                let request = pb::SignedBytes::from(self.signed.clone());
                let call = client.calls.call(Procedure::GatewayEvaluate, &request);
                in_time::<pb::EvaluateResponse>(inner.timeouts.evaluate, call).await
            })
            .await;
        let answer = answer.map_err(|source| EvaluateError {
            contract: self.content.contract.to_string(),
            function: self.content.function.clone(),
            source,
        })?;
        Ok(Evaluation {
            payload: answer.payload,
            height: answer.height,
        })
    }

    /// Has the call endorsed as the contract's policy asks, checks what came back, and signs it.
    ///
    /// The gateway compares the endorsers' results; here it is checked that the one result and
    /// every endorsement are well formed. Whether the signatures are good is for the peers to
    /// judge, who know the endorsers' certificates.
    ///
    /// # Errors
    /// [`EndorseError`] with what was refused.
    pub async fn endorse(&self) -> Result<Transaction, EndorseError> {
        let inner = &self.network.inner;
        let answer = inner
            .endpoints
            .call(is_elsewhere, |client| async move {
                let proposal = Some(self.signed.clone().into());
                let request = pb::EndorseRequest {
                    proposal,
                    side: self.items.clone(),
                };
                let call = client.calls.call(Procedure::GatewayEndorse, &request);
                in_time(inner.timeouts.endorse, call).await
            })
            .await;
        let answer = answer.map_err(|source| EndorseError::Rpc {
            transaction: self.id(),
            source,
        })?;
        Transaction::from_answer(self, answer)
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal")
            .field("id", &self.id())
            .field("contract", &self.content.contract)
            .field("function", &self.content.function)
            .finish_non_exhaustive()
    }
}
