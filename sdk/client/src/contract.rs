//! A contract, and calls of it in one go.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use stela_protocol::ContractName;

use crate::commit::CommitStatus;
use crate::error::TransactError;
use crate::network::Network;
use crate::proposal::{Proposal, ProposalBuilder};

/// A contract of a channel. Cheap to clone.
#[derive(Clone)]
pub struct Contract {
    network: Network,
    name: ContractName,
}

/// A call that was committed and is valid.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// What the function answered.
    pub response: Bytes,
    /// Where and when it was committed.
    pub status: CommitStatus,
}

impl Submitted {
    /// The response, read as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.response)
    }
}

impl Contract {
    pub(crate) fn new(network: Network, name: ContractName) -> Self {
        Self { network, name }
    }

    /// The contract's name.
    pub fn name(&self) -> &ContractName {
        &self.name
    }

    /// The channel on which it runs.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Begins a call of `function`.
    pub fn proposal(&self, function: &str) -> ProposalBuilder {
        ProposalBuilder::new(self.network.clone(), self.name.clone(), function)
    }

    /// Runs `function` on one peer's state; nothing is ordered.
    ///
    /// # Errors
    /// [`TransactError`] with the stage that failed.
    pub async fn evaluate(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<Bytes, TransactError> {
        let proposal = self.build(function, arguments)?;
        Ok(proposal.evaluate().await?.payload)
    }

    /// Runs `function`, has it endorsed and ordered, and waits until it is committed, no longer
    /// than [`Timeouts::commit`](crate::Timeouts::commit).
    ///
    /// # Errors
    /// [`TransactError`] with the stage that failed; an invalid transaction is an error here.
    pub async fn submit(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<Submitted, TransactError> {
        let proposal = self.build(function, arguments)?;
        self.submit_proposal(&proposal).await
    }

    /// [`submit`](Self::submit) for a proposal that was built before, such as one with side data.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_proposal(&self, proposal: &Proposal) -> Result<Submitted, TransactError> {
        let transaction = proposal.endorse().await?;
        let deadline = self.network.inner.timeouts.commit;
        let status = transaction.submit_and_wait(deadline).await?.valid()?;
        Ok(Submitted {
            response: transaction.response().clone(),
            status,
        })
    }

    fn build(
        &self,
        function: &str,
        arguments: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<Proposal, TransactError> {
        let builder = self.proposal(function);
        Ok(arguments
            .into_iter()
            .fold(builder, |builder, next| builder.argument(next))
            .build()?)
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("channel", &self.network.channel)
            .field("name", &self.name)
            .finish()
    }
}
