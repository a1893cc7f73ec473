//! Erasable data that travels beside a transaction.

use std::fmt;

use bytes::Bytes;
use stela_protocol::transaction::SideCommitment;
use stela_protocol::{Hash32, OrgId, hash, pb};

use crate::sources::Sources;

/// Data that must never enter a block, and whose peers keep it.
#[derive(Clone)]
pub struct SideData {
    /// The organizations whose peers keep it.
    pub organizations: Vec<OrgId>,
    /// The data.
    pub payload: Bytes,
}

impl SideData {
    /// Draws the salt and so fixes the commitment, for a caller who must know it before the
    /// proposal is built, for instance to name it in an argument.
    pub fn seal(self, sources: &Sources) -> SealedSide {
        let salt = Bytes::copy_from_slice(&sources.salt());
        let promise = SideCommitment {
            commitment: hash::side_commitment(&salt, &self.payload),
            organizations: self.organizations,
        };
        SealedSide {
            promise,
            item: pb::SideItem {
                salt,
                payload: self.payload,
            },
        }
    }
}

impl fmt::Debug for SideData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.payload.len();
        f.debug_struct("SideData")
            .field("organizations", &self.organizations)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// Side data with its salt drawn.
#[derive(Clone)]
pub struct SealedSide {
    pub(crate) promise: SideCommitment,
    pub(crate) item: pb::SideItem,
}

impl SealedSide {
    /// What the ledger will carry instead of the data.
    pub fn commitment(&self) -> Hash32 {
        self.promise.commitment
    }
}

impl fmt::Debug for SealedSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedSide").field(&self.promise).finish()
    }
}
