//! What a wrap is for.

use super::{HeaderHash, Identifier, KeyCommitment, domain, framed};
use cid::Cid;

/// The one version of one record that a wrapped key opens. Both sides build it from committed
/// state, it is never taken from a message; a wrap opens only under the label it was sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapLabel {
    /// The channel that the record is on.
    pub channel: Identifier,
    /// The record.
    pub record_id: Identifier,
    /// The version of the record.
    pub version: u64,
    /// The patient that the record is about.
    pub patient_id: Identifier,
    /// Who wrote this version.
    pub author_id: Identifier,
    /// The hash of the version's header.
    pub header_hash: HeaderHash,
    /// The commitment to the version's key.
    pub key_commitment: KeyCommitment,
    /// Where the version's blob is.
    pub cid: Cid,
}

impl WrapLabel {
    /// The framing of all fields in the order in which they are declared: texts as UTF-8, the
    /// version as 8 bytes big endian, the CID in its binary form.
    pub fn encode(&self) -> Vec<u8> {
        framed(
            domain::WRAP_LABEL,
            &[
                self.channel.as_bytes(),
                self.record_id.as_bytes(),
                &self.version.to_be_bytes(),
                self.patient_id.as_bytes(),
                self.author_id.as_bytes(),
                self.header_hash.as_bytes(),
                self.key_commitment.as_bytes(),
                &self.cid.to_bytes(),
            ],
        )
    }
}
