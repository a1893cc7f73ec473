//! The client of a Stela network. Its types are the flow of a transaction, as in Fabric's client:
//! [`Gateway`] → [`Network`] → [`Contract`] → [`Proposal`] → [`Transaction`] → [`Commit`], with one
//! error type per stage that says whether a retry can help.
//!
//! ```no_run
//! # use std::{sync::Arc, time::Duration};
//! # use stela_client::{Endpoint, Gateway, GatewayOptions};
//! # use stela_identity::{Credentials, tls::TlsSettings};
//! # use stela_protocol::{ChannelId, ContractName, OrgId};
//! # async fn example(tls: TlsSettings, credentials: Arc<Credentials>) -> Result<(), Box<dyn std::error::Error>> {
//! let peer = Endpoint { organization: OrgId::new("HospitalA")?, address: "localhost:7051".into() };
//! let gateway = Gateway::connect(GatewayOptions::new(vec![peer], tls, credentials))?;
//! let network = gateway.network(ChannelId::new("care")?);
//! network.register(Duration::from_secs(30)).await?;
//! let contract = network.contract(ContractName::new("healthcare")?);
//!
//! let proposal = contract.proposal("register_patient").text("{…}").build()?;
//! let transaction = proposal.endorse().await?;
//! let status = transaction.submit_and_wait(Duration::from_secs(60)).await?;
//! println!("{} is {} in block {}", status.transaction, status.code, status.block);
//! # Ok(())
//! # }
//! ```
//!
//! What holds:
//! - An acknowledged [`CommitStatus`] means durable on a quorum of orderers; [`Transaction::submit`]
//!   alone means enqueued. Resubmitting the identical envelope is always safe, and this crate never
//!   resubmits anything else.
//! - What a peer answers is checked before it is handed out: results and endorsements are well
//!   formed, side items fit their commitments, blocks follow one another.
//! - A configuration is taken from a peer only if it follows, block by block and signature by
//!   signature, from one that is trusted ([`Network::configuration`]).
//! - Every call fails over between the endpoints of the gateway; streams go on where they were.
//! - Time and randomness come from [`Sources`] alone.

mod admin;
mod back_off;
mod blocks;
mod channel_update;
mod checkpoint;
mod commit;
mod configuration;
mod contract;
mod endpoints;
mod error;
mod events;
mod explain;
mod gateway;
mod health;
mod history;
pub mod limits;
mod network;
mod options;
mod proposal;
mod quorum;
mod receipt;
mod registration;
mod side;
mod sources;
mod transaction;

pub use admin::{Admin, AdminOptions, ChannelStatus, NodeStatus};
pub use blocks::{BlockStream, CheckedBlock};
pub use channel_update::ChannelUpdate;
pub use checkpoint::{Checkpoint, FileCheckpointer};
pub use commit::{Commit, CommitStatus};
pub use contract::{Contract, Submitted};
pub use error::{
    AdminError, BlocksError, ChannelUpdateError, CheckpointError, CommitError, ConnectError,
    EndorseError, EvaluateError, EventsError, ExplainError, HealthError, InvalidTransaction,
    ProposalError, QueryError, QuorumError, ReceiptError, RegisterError, SideError, SubmitError,
    TransactError,
};
pub use events::{Event, EventStream, Start};
pub use explain::{
    Cause, Change, ChangedRange, ChangedRead, Committed, Endorser, ExplainOptions, Explanation,
    Fate, Fault, Party, Prospect, Style, Uncommitted,
};
pub use gateway::Gateway;
pub use health::{ChannelHealth, ClockOffset, Health, NodeHealth};
pub use history::KeyChange;
pub use network::{ChannelInfo, Network};
pub use options::{Endpoint, GatewayOptions, Timeouts};
pub use proposal::{Evaluation, Proposal, ProposalBuilder};
pub use quorum::Quorum;
pub use receipt::{Receipt, Recorded};
pub use registration::Registered;
pub use side::{SealedSide, SideData};
pub use sources::Sources;
pub use transaction::Transaction;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
