//! SHA-256 with domain separation: no hash or signature made for one purpose fits another.
//!
//! A hash is `SHA-256(len(domain) ‖ domain ‖ parts)`, where each part of variable length is
//! preceded by its length as eight big-endian bytes. A signature is made over `domain ‖ message`.

use sha2::{Digest, Sha256};

use crate::ids::{BlockNumber, Fingerprint, Hash32, Height, Nonce, TransactionId};
use crate::validation::ValidationCode;

/// The domains. None is the beginning of another, because each ends in a zero byte.
pub mod domain {
    /// The creator's signature of an envelope, over its payload.
    pub const ENVELOPE: &[u8] = b"stela/v1/envelope\0";
    /// The creator's signature of a proposal.
    pub const PROPOSAL: &[u8] = b"stela/v1/proposal\0";
    /// An endorser's signature, over the proposal's hash and the result.
    pub const ENDORSEMENT: &[u8] = b"stela/v1/endorsement\0";
    /// An orderer's signature, over a header's hash.
    pub const HEADER: &[u8] = b"stela/v1/header\0";
    /// A client's signature of a request that is not a proposal.
    pub const REQUEST: &[u8] = b"stela/v1/request\0";
    /// An administrator's signature of a request.
    pub const ADMIN: &[u8] = b"stela/v1/admin\0";
    /// An administrator's signature of a change of the configuration.
    pub const CONFIG: &[u8] = b"stela/v1/config\0";
    /// An endorser's signature of a note about what it endorsed.
    pub const NOTE: &[u8] = b"stela/v1/note\0";
    /// What a signature that was verified is remembered by.
    pub const VERIFIED: &[u8] = b"stela/v1/verified\0";
    pub(super) const TRANSACTION_ID: &[u8] = b"stela/v1/transaction-id\0";
    pub(super) const HEADER_HASH: &[u8] = b"stela/v1/header-hash\0";
    pub(super) const PROPOSAL_HASH: &[u8] = b"stela/v1/proposal-hash\0";
    pub(super) const RANGE: &[u8] = b"stela/v1/range\0";
    pub(super) const SIDE: &[u8] = b"stela/v1/side\0";
    pub(super) const STATE: &[u8] = b"stela/v1/state\0";
    pub(super) const WRITES: &[u8] = b"stela/v1/writes\0";
    pub(super) const PACKAGE: &[u8] = b"stela/v1/package\0";
    pub(super) const SETTINGS: &[u8] = b"stela/v1/settings\0";
    pub(super) const CONFIG_HASH: &[u8] = b"stela/v1/config-hash\0";
}

/// A hash being made in one domain.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts a hash in `domain`.
    pub fn new(domain: &[u8]) -> Self {
        let mut inner = Sha256::new();
        inner.update((domain.len() as u64).to_be_bytes());
        inner.update(domain);
        Self(inner)
    }

    /// Adds bytes whose length is fixed by the format.
    #[must_use]
    pub fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, value: u64) -> Self {
        self.fixed(&value.to_be_bytes())
    }

    /// Adds bytes of any length, preceded by it.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.number(bytes.len() as u64).fixed(bytes)
    }

    /// The hash.
    pub fn finish(self) -> Hash32 {
        Hash32(self.0.finalize().into())
    }
}

/// The id of the transaction that `creator` makes with `nonce`.
pub fn transaction_id(nonce: &Nonce, creator: &Fingerprint) -> TransactionId {
    TransactionId(
        Hasher::new(domain::TRANSACTION_ID)
            .fixed(&nonce.0)
            .fixed(&creator.0)
            .finish()
            .0,
    )
}

/// The hash by which a block is known and which its orderers sign; `header` as it travelled.
pub fn header(header: &[u8]) -> Hash32 {
    Hasher::new(domain::HEADER_HASH).bytes(header).finish()
}

/// What an endorser signs, in [`domain::ENDORSEMENT`]: the proposal's hash, then the result as is.
pub fn endorsement_message(proposal: &[u8], result: &[u8]) -> Vec<u8> {
    let hash = Hasher::new(domain::PROPOSAL_HASH).bytes(proposal).finish();
    [hash.as_bytes().as_slice(), result].concat()
}

/// The commitment to a side item.
pub fn side_commitment(salt: &[u8], payload: &[u8]) -> Hash32 {
    Hasher::new(domain::SIDE)
        .bytes(salt)
        .bytes(payload)
        .finish()
}

/// The hash of a contract package.
pub fn package(bytes: &[u8]) -> Hash32 {
    Hasher::new(domain::PACKAGE).bytes(bytes).finish()
}

/// What a result names as the contract that ran: the hash of its package, which the channel's
/// settings for it change if there are any.
pub fn package_with_settings(package: &Hash32, settings: &[u8]) -> Hash32 {
    if settings.is_empty() {
        return *package;
    }
    Hasher::new(domain::SETTINGS)
        .fixed(&package.0)
        .bytes(settings)
        .finish()
}

/// The hash of a configuration as it travelled; a change names the one that it is made for.
pub fn config(bytes: &[u8]) -> Hash32 {
    Hasher::new(domain::CONFIG_HASH).bytes(bytes).finish()
}

/// SHA-256 of a certificate's DER, without a domain: what other tools show as its fingerprint.
pub fn fingerprint(der: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(der).into())
}

/// The hash of what a range query found, in ascending order of keys.
pub fn range_results<'a>(found: impl IntoIterator<Item = (&'a [u8], Height)>) -> Hash32 {
    found
        .into_iter()
        .fold(Hasher::new(domain::RANGE), |hasher, (key, height)| {
            hasher
                .bytes(key)
                .number(height.block)
                .number(u64::from(height.transaction))
        })
        .finish()
}

/// One key as a block leaves it, for the state hash.
#[derive(Debug, Clone, Copy)]
pub struct StateChange<'a> {
    /// The contract whose key it is.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a [u8],
    /// The new value, or nothing when the key was deleted.
    pub value: Option<&'a [u8]>,
    /// The transaction that wrote it.
    pub transaction: u32,
}

/// The running hash over everything that blocks did to the state: the previous one, the header's
/// hash, every verdict, and the changes in ascending order of namespace and key.
pub fn state<'a>(
    previous: &Hash32,
    number: BlockNumber,
    header_hash: &Hash32,
    codes: &[ValidationCode],
    changes: impl IntoIterator<Item = StateChange<'a>>,
) -> Hash32 {
    let writes = changes
        .into_iter()
        .fold(Hasher::new(domain::WRITES), |hasher, change| {
            let hasher = hasher
                .bytes(change.namespace.as_bytes())
                .bytes(change.key)
                .number(u64::from(change.transaction));
            match change.value {
                Some(value) => hasher.fixed(&[1]).bytes(value),
                None => hasher.fixed(&[0]),
            }
        });
    let codes: Vec<u8> = codes.iter().map(|c| *c as u8).collect();
    Hasher::new(domain::STATE)
        .fixed(&previous.0)
        .number(number.0)
        .fixed(&header_hash.0)
        .bytes(&codes)
        .fixed(&writes.finish().0)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_move_across_their_borders() {
        assert_ne!(side_commitment(b"ab", b"c"), side_commitment(b"a", b"bc"));
        assert_ne!(
            package(b"x"),
            Hasher::new(domain::SIDE).bytes(b"x").finish()
        );
    }

    #[test]
    fn golden_hashes() {
        // Computed by another implementation, Python's hashlib.
        assert_eq!(
            transaction_id(&Nonce([1; 24]), &Fingerprint([2; 32])).to_string(),
            "324cd3075be7e94b817ce0ace8e84c4ab9273cca3274441d1a640d0b6be7f5a0".to_owned(),
        );
        assert_eq!(
            config(b"configuration").to_string(),
            "ac390c7e7ea1790a60cc631db46894581dede5a3b58a600dfcd824c20083546b",
        );
        assert_eq!(
            package_with_settings(&Hash32([3; 32]), b"{}").to_string(),
            "81f67856c7e1a55e20c4b165f169943bcef89ed098a66dca698af99eb9ab33fa",
        );
        assert_eq!(
            package_with_settings(&Hash32([3; 32]), b""),
            Hash32([3; 32])
        );
    }
}
