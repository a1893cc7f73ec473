//! One channel of a peer without the services around it: what a peer makes of the blocks that come.

use std::sync::Arc;

use stela_protocol::block::Block;
use stela_protocol::{ChannelId, OrgId, RpcError, pb};
use stela_store::{Kv, PeerLedger};

use crate::channel::{Channel, ChannelError, NotTaken};

/// Validates and commits the blocks of one channel as the peer does that holds it, which runs the
/// same code. It needs no network, no clock and no async runtime, so a simulation can drive it.
#[derive(Debug)]
pub struct Validator(Channel);

impl Validator {
    /// Joins a channel by its first block, or opens it if that was done before with the same one.
    ///
    /// # Errors
    /// [`ChannelError`] says why not.
    pub fn join(
        kv: Arc<dyn Kv>,
        genesis: &Block,
        organization: &OrgId,
    ) -> Result<Self, ChannelError> {
        Channel::join(kv, genesis, organization).map(Self)
    }

    /// Opens a channel that was joined; nothing when the store holds no first block.
    ///
    /// # Errors
    /// [`ChannelError`] says why not.
    pub fn open(
        kv: Arc<dyn Kv>,
        id: &ChannelId,
        organization: &OrgId,
    ) -> Result<Option<Self>, ChannelError> {
        Ok(Channel::open(kv, id, organization)?.map(Self))
    }

    /// Checks a block that came from an orderer against the tip and the quorum, validates it and
    /// commits it.
    ///
    /// # Errors
    /// [`NotTaken`] says why not. After a [`NotTaken::Store`] that is not retryable the validator
    /// has to be opened again.
    pub fn take(&self, message: pb::Block) -> Result<Block, NotTaken> {
        self.0.take(message)
    }

    /// The ledger.
    pub fn ledger(&self) -> &PeerLedger {
        self.0.ledger()
    }

    /// What answers are given from: refuses when this peer was outvoted about its own state.
    ///
    /// # Errors
    /// [`RpcError`] with the code `DAMAGED`.
    pub fn check_sound(&self) -> Result<(), RpcError> {
        self.0.check_sound()
    }
}
