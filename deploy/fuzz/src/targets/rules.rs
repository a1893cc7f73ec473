//! Policies, keys, proofs, promises and errors.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use stela_guest as guest;
use stela_protocol::policy::{Policy, PolicyError, Signer};
use stela_protocol::transaction::{self, Proposal};
use stela_protocol::{Hash32, RpcError, key, limits, merkle as tree, pb};

use crate::parts::Parts;

/// Leaves with which another one's proof is tried.
const OTHERS_MAX: usize = 8;

/// The first part is the policy, the others sign: organization, role and key, a byte each.
pub(super) fn policy(input: &[u8]) {
    let mut parts = Parts::of(input);
    let Ok(text) = std::str::from_utf8(parts.part()) else {
        return;
    };
    let Ok(policy) = Policy::parse(text) else {
        return;
    };
    assert!(text.len() <= limits::POLICY_BYTES_MAX);
    let printed = policy.to_string();
    match Policy::parse(&printed) {
        Err(PolicyError::TooLong(_)) => assert!(printed.len() > limits::POLICY_BYTES_MAX),
        again => assert_eq!(again.as_ref(), Ok(&policy)),
    }
    let principals = policy.principals();
    assert!((1..=limits::POLICY_PRINCIPALS_MAX).contains(&principals.len()));
    let mut signers = Vec::new();
    while !parts.is_empty() && signers.len() < 16 {
        let principal = principals[usize::from(parts.byte()) % principals.len()];
        let role = match parts.byte() % 3 {
            0 => "peer".to_owned(),
            1 => "admin".to_owned(),
            _ => principal.role.clone(),
        };
        signers.push(Signer {
            organization: principal.organization.clone(),
            role,
            public_key: [parts.byte() % 8; 32],
        });
    }
    assert_eq!(
        policy.is_satisfied(&signers),
        is_satisfied(&policy, &signers)
    );
    let layouts = policy.organizations("peer", &principals[0].organization);
    for (index, layout) in layouts.iter().enumerate() {
        let others = layouts
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        assert!(
            others
                .map(|(_, other)| other)
                .all(|other| !other.is_subset(layout))
        );
    }
}

/// A second reading of the rule that each signer counts once, in the order of the text.
fn is_satisfied(policy: &Policy, signers: &[Signer]) -> bool {
    fn signed(policy: &Policy, signers: &[&Signer], used: u32) -> Option<u32> {
        match policy {
            Policy::SignedBy(principal) => (0..signers.len())
                .find(|index| {
                    let signer = signers[*index];
                    used & (1 << index) == 0
                        && signer.organization == principal.organization
                        && (principal.role == "member" || principal.role == signer.role)
                })
                .map(|index| used | 1 << index),
            Policy::OutOf { count, parts } => {
                let (mut now, mut missing) = (used, *count);
                for part in parts {
                    if missing > 0
                        && let Some(more) = signed(part, signers, now)
                    {
                        now = more;
                        missing -= 1;
                    }
                }
                (missing == 0).then_some(now)
            }
        }
    }
    let mut keys = BTreeSet::new();
    let distinct: Vec<&Signer> = signers
        .iter()
        .filter(|s| keys.insert(s.public_key))
        .collect();
    signed(policy, &distinct, 0).is_some()
}

/// The guest's keys and the ledger's are the same bytes, and prefixes cover what they should.
pub(super) fn composite_key(input: &[u8]) {
    if let Ok(key) = guest::Key::decode(input) {
        assert_eq!(key.as_bytes(), input);
        let parts: Vec<&str> = key.parts().collect();
        let kind = parts[0];
        assert_eq!(guest::Key::composite(kind, &parts[1..]).as_ref(), Ok(&key));
        assert_eq!(key::composite(kind, &parts[1..]).as_deref(), Ok(input));
        let range = guest::KeyRange::prefix(kind, &[]).expect("a part of a key is one");
        assert!(
            range.from(input).is_some(),
            "a key lies in the range of its type"
        );
        assert_eq!(key::prefix_end(range.start()).as_deref(), Some(range.end()));
    }
    let mut parts = Parts::of(input);
    let prefix = parts.part();
    let other = parts.rest();
    let inside = other >= prefix && key::prefix_end(prefix).is_none_or(|end| other < &end[..]);
    assert_eq!(inside, other.starts_with(prefix));
    assert_eq!(
        key::check(other).is_ok(),
        (1..=limits::KEY_BYTES_MAX).contains(&other.len())
    );
}

/// A byte chooses the leaf, then a path of any hashes follows, then the leaves.
pub(super) fn merkle(input: &[u8]) {
    let mut parts = Parts::of(input);
    let (index, given) = (usize::from(parts.byte()), parts.part());
    let leaves = parts.parts(80);
    let Some(path) = tree::proof(&leaves, index) else {
        return assert!(index >= leaves.len());
    };
    let (size, root) = (leaves.len() as u64, tree::root(&leaves));
    let holds = |data: &[u8], index: u64, size: u64, path: &[Hash32]| {
        tree::verify(data, index, size, path, &root)
    };
    assert!(holds(leaves[index], index as u64, size, &path));
    let given: Vec<Hash32> = given
        .chunks_exact(32)
        .map(|hash| Hash32::from_slice(hash).expect("32 bytes"))
        .collect();
    assert_eq!(
        holds(leaves[index], index as u64, size, &given),
        given == path
    );
    // Equal leaves may have equal paths: a path holds where it is the leaf's own.
    for (other, data) in leaves.iter().enumerate().take(OTHERS_MAX) {
        let own = tree::proof(&leaves, other).is_some_and(|own| own == path);
        assert_eq!(holds(data, other as u64, size, &path), own);
        assert_eq!(
            holds(data, index as u64, size, &path),
            *data == leaves[index]
        );
    }
    let longer = [&path[..], &[root]].concat();
    assert!(!holds(leaves[index], index as u64, size, &longer));
    assert!(!holds(leaves[index], size, size, &path));
}

/// The first part is a proposal, the others are side items: accepted only if they are those that
/// the proposal promises.
pub(super) fn side_items(input: &[u8]) {
    let mut parts = Parts::of(input);
    let Ok(proposal) = Proposal::decode(Bytes::copy_from_slice(parts.part())) else {
        return;
    };
    let items: Result<Vec<_>, _> = parts
        .parts(80)
        .into_iter()
        .map(pb::SideItem::decode)
        .collect();
    let Ok(items) = items else { return };
    let kept = transaction::check_side_items(&proposal.side, &items).is_ok();
    let bytes: usize = items.iter().map(|item| item.payload.len()).sum();
    let promised = proposal.side.len() == items.len()
        && proposal.side.iter().zip(&items).all(|(side, item)| {
            item.salt.len() == limits::SALT_BYTES
                && stela_protocol::hash::side_commitment(&item.salt, &item.payload)
                    == side.commitment
        });
    assert_eq!(kept, promised && bytes <= limits::SIDE_BYTES_MAX);
}

/// What another node says went wrong: the details of a status, and its message.
pub(super) fn rpc_error(input: &[u8]) {
    let mut parts = Parts::of(input);
    let code = tonic::Code::from_i32(i32::from(parts.byte() % 17));
    let message = String::from_utf8_lossy(parts.part()).into_owned();
    let details = Bytes::copy_from_slice(parts.rest());
    let error = RpcError::from(&tonic::Status::with_details(code, message, details));
    let again = RpcError::from(&tonic::Status::from(error.clone()));
    assert_eq!(
        again, error,
        "an error stays what it is when it is passed on"
    );
}

pub(super) mod seeds {
    use super::*;
    use crate::parts::{joined, part};
    use crate::world::World;

    pub(in crate::targets) fn policy() -> Vec<Vec<u8>> {
        let signers = [0, 2, 1, 1, 0, 2, 2, 2, 3];
        [
            "'A.peer'",
            "AND('A.peer','B.peer')",
            "OR('A.admin', 'B.member')",
            "OutOf(2, 'A.peer', 'B.peer', 'C.peer')",
            "AND(OR('A.peer','B.peer'), OutOf(1, \"C.member\", AND('A.admin','A.admin')))",
            "AND('A.peer','A.member', OR(AND('B.peer', 'C.peer'), 'B.admin'))",
        ]
        .map(|text| [part(text.as_bytes()), signers.to_vec()].concat())
        .into()
    }

    pub(in crate::targets) fn composite_key() -> Vec<Vec<u8>> {
        let long = "x".repeat(300);
        [
            &["p", "1"][..],
            &["v", "record", "2"],
            &["a"],
            &["a", "\u{10ffff}", &long],
        ]
        .map(|parts| {
            guest::Key::composite(parts[0], &parts[1..])
                .expect("a key")
                .as_bytes()
                .to_vec()
        })
        .into_iter()
        .chain([
            joined([&b"a\0b"[..]]),
            [part(b"a\xff"), b"a\xff\x01".to_vec()].concat(),
        ])
        .collect()
    }

    pub(in crate::targets) fn merkle() -> Vec<Vec<u8>> {
        [(0, 1), (0, 2), (1, 3), (4, 5), (6, 7), (2, 8)]
            .map(|(index, size)| {
                let leaves: Vec<Vec<u8>> = (0..size).map(|n: u8| vec![n; usize::from(n)]).collect();
                let path = tree::proof(&leaves, usize::from(index)).expect("a leaf");
                let path: Vec<u8> = path.iter().flat_map(|hash| hash.0).collect();
                [vec![index], part(&path), joined(&leaves)].concat()
            })
            .into()
    }

    pub(in crate::targets) fn side_items() -> Vec<Vec<u8>> {
        let item = |nonce: u8, payload: &'static [u8]| {
            let salt = Bytes::copy_from_slice(&[nonce; 16]);
            pb::SideItem {
                salt,
                payload: Bytes::from_static(payload),
            }
            .encode_to_vec()
        };
        let proposal = World::get().proposal(4, &[]).encode();
        let alone = Proposal {
            side: Vec::new(),
            ..World::get().proposal(4, &[])
        }
        .encode();
        vec![
            [part(&proposal), part(&item(4, b"payload"))].concat(),
            [part(&proposal), part(&item(4, b"another"))].concat(),
            part(&alone),
        ]
    }

    pub(in crate::targets) fn rpc_error() -> Vec<Vec<u8>> {
        let detail = pb::ErrorDetail {
            code: "unknown_channel".to_owned(),
            message: "there is no such channel".to_owned(),
            retryable: false,
            origin: "A/peer0".to_owned(),
            differences: Vec::new(),
        };
        vec![
            [vec![5], part(b"message"), detail.encode_to_vec()].concat(),
            [vec![14], part(b"down"), Vec::new()].concat(),
        ]
    }
}
