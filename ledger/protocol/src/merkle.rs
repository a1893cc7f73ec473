//! Merkle trees as in RFC 6962, section 2.1: leaves and inner nodes are hashed in domains of their
//! own (a leading 0 or 1), so that no list of leaves can pass for another one.

use sha2::{Digest, Sha256};

use crate::ids::Hash32;

fn leaf(data: &[u8]) -> Hash32 {
    Hash32(
        Sha256::new()
            .chain_update([0])
            .chain_update(data)
            .finalize()
            .into(),
    )
}

fn inner(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// The largest power of two smaller than `n`, for `n` of at least 2.
fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

fn subtree(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => Hash32(Sha256::digest([]).into()),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            inner(&subtree(left), &subtree(right))
        }
    }
}

fn hashes<T: AsRef<[u8]>>(leaves: &[T]) -> Vec<Hash32> {
    leaves.iter().map(|data| leaf(data.as_ref())).collect()
}

/// The root over `leaves`; of no leaves, the hash of nothing.
pub fn root<T: AsRef<[u8]>>(leaves: &[T]) -> Hash32 {
    subtree(&hashes(leaves))
}

/// The audit path of leaf `index`, lowest sibling first; `None` when there is no such leaf.
pub fn proof<T: AsRef<[u8]>>(leaves: &[T], index: usize) -> Option<Vec<Hash32>> {
    fn walk(leaves: &[Hash32], index: usize, path: &mut Vec<Hash32>) {
        if leaves.len() < 2 {
            return;
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            walk(left, index, path);
            path.push(subtree(right));
        } else {
            walk(right, index - left.len(), path);
            path.push(subtree(left));
        }
    }
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    walk(&hashes(leaves), index, &mut path);
    Some(path)
}

/// Whether `data` is leaf `index` of the tree of `size` leaves with this root (RFC 9162, 2.1.3.2).
pub fn verify(data: &[u8], index: u64, size: u64, path: &[Hash32], root: &Hash32) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf(data));
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = inner(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = inner(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_certificate_transparency() {
        let leaves: Vec<Vec<u8>> = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
        ]
        .iter()
        .map(|h| hex::decode(h).unwrap())
        .collect();
        let expect = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        ];
        for (n, expect) in expect.iter().enumerate() {
            assert_eq!(root(&leaves[..n]).to_string(), *expect, "{n} leaves");
        }
    }

    proptest! {
        #[test]
        fn a_proof_holds_for_its_leaf_alone(n in 1usize..70, pick: prop::sample::Index) {
            let leaves: Vec<[u8; 2]> = (0..n as u16).map(u16::to_be_bytes).collect();
            let index = pick.index(n);
            let path = proof(&leaves, index).unwrap();
            let root = root(&leaves);
            for (other, data) in leaves.iter().enumerate() {
                let holds = verify(data, index as u64, n as u64, &path, &root);
                prop_assert_eq!(holds, other == index);
            }
            let longer = [path.as_slice(), &[Hash32::ZERO]].concat();
            prop_assert!(!verify(&leaves[index], index as u64, n as u64, &longer, &root));
            prop_assert!(proof(&leaves, n).is_none());
        }
    }
}
