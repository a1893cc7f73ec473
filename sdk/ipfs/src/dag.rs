//! The tree of a file: UnixFS nodes in dag-pb, as far as files need them.
//!
//! A node comes from a peer or a disk, so nothing in it is believed: the sizes it claims for its
//! children must add up, and whoever follows a link checks that the child has the size its parent
//! claimed ([`Tree::check`]). A file therefore cannot turn out longer than its root says, and a
//! tree cannot fan out without end, because a child of zero bytes is refused.

use bytes::Bytes;
use cid::Cid;

use crate::block;
use crate::limits::{CID_BYTES_MAX, LINKS_PER_NODE_MAX};
use crate::wire::{Fields, Value, WireError, take_varint};

/// Why a block is not part of a file that this crate reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DagError {
    /// The bytes are not a tree node.
    #[error("not a tree node: {0}")]
    Encoding(&'static str),
    /// The node is a directory, a symbolic link or something else that is not a file.
    #[error("not a file")]
    NotAFile,
    /// Sizes, links and content contradict one another.
    #[error("inconsistent tree node: {0}")]
    Inconsistent(&'static str),
    /// The node links to a block with another hash or codec than this crate handles.
    #[error("a link that is no SHA-256 block")]
    Link,
    /// The node has more links, or lies deeper, than the limits allow.
    #[error("the tree is too large: {0}")]
    TooLarge(&'static str),
}

/// A link to a part of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) cid: Cid,
    /// Bytes of the file below this link; never zero.
    pub(crate) bytes: u64,
}

/// A parsed block of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Bytes of the file.
    Leaf(Bytes),
    /// The parts of the file in their order, and the sum of their sizes.
    Branch { bytes: u64, children: Vec<Child> },
}

impl Tree {
    /// Parses the block named `cid`, whose hash has been verified.
    pub(crate) fn parse(cid: &Cid, block: Bytes) -> Result<Self, DagError> {
        if block::is_raw(cid) {
            Ok(Self::Leaf(block))
        } else {
            parse_node(&block)
        }
    }

    /// Bytes of the file in and below this block.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Leaf(data) => data.len() as u64,
            Self::Branch { bytes, .. } => *bytes,
        }
    }

    /// Checks the size that the parent claimed for this block.
    pub(crate) fn check(&self, claimed: Option<u64>) -> Result<(), DagError> {
        match claimed {
            Some(claimed) if claimed != self.bytes() => Err(DagError::Inconsistent(
                "a child has another size than its parent says",
            )),
            _ => Ok(()),
        }
    }
}

impl From<WireError> for DagError {
    fn from(error: WireError) -> Self {
        Self::Encoding(match error {
            WireError::Truncated => "truncated",
            WireError::Overflow => "a number has more than 64 bits",
            WireError::Tag => "an unknown field type",
        })
    }
}

/// What a UnixFS message says, before it is compared with the links.
#[derive(Default)]
struct UnixFs<'a> {
    kind: Option<u64>,
    data: &'a [u8],
    file_bytes: Option<u64>,
    child_bytes: Vec<u64>,
}

fn parse_node(block: &Bytes) -> Result<Tree, DagError> {
    let mut links = Vec::new();
    let mut unixfs = None;
    let mut fields = Fields::new(block);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => unixfs = Some(parse_unixfs(bytes)?),
            (2, Value::Bytes(_)) if links.len() == LINKS_PER_NODE_MAX => {
                return Err(DagError::TooLarge("links of a node"));
            }
            (2, Value::Bytes(bytes)) => links.push(parse_link(bytes)?),
            _ => {}
        }
    }
    let unixfs = unixfs.ok_or(DagError::Encoding("no UnixFS message"))?;
    match unixfs.kind {
        Some(0 | 2) if links.is_empty() => leaf(block, &unixfs),
        Some(0 | 2) => branch(links, unixfs),
        _ => Err(DagError::NotAFile),
    }
}

fn leaf(block: &Bytes, unixfs: &UnixFs<'_>) -> Result<Tree, DagError> {
    if !unixfs.child_bytes.is_empty() {
        return Err(DagError::Inconsistent("sizes without links"));
    }
    if unixfs
        .file_bytes
        .is_some_and(|bytes| bytes != unixfs.data.len() as u64)
    {
        return Err(DagError::Inconsistent(
            "a leaf has another size than it says",
        ));
    }
    Ok(Tree::Leaf(block.slice_ref(unixfs.data)))
}

fn branch(links: Vec<Cid>, unixfs: UnixFs<'_>) -> Result<Tree, DagError> {
    if links.len() != unixfs.child_bytes.len() || !unixfs.data.is_empty() {
        return Err(DagError::Inconsistent(
            "links, sizes and content do not match",
        ));
    }
    let sum = unixfs
        .child_bytes
        .iter()
        .try_fold(0u64, |sum, bytes| sum.checked_add(*bytes));
    if sum.is_none() || sum != unixfs.file_bytes || unixfs.child_bytes.contains(&0) {
        return Err(DagError::Inconsistent(
            "the sizes of the children do not add up",
        ));
    }
    let children = links.into_iter().zip(unixfs.child_bytes);
    Ok(Tree::Branch {
        bytes: sum.unwrap_or_default(),
        children: children.map(|(cid, bytes)| Child { cid, bytes }).collect(),
    })
}

fn parse_link(bytes: &[u8]) -> Result<Cid, DagError> {
    let mut fields = Fields::new(bytes);
    let mut cid = None;
    while let Some(field) = fields.next()? {
        if let (1, Value::Bytes(hash)) = field {
            cid = Some(parse_cid(hash).ok_or(DagError::Link)?);
        }
    }
    cid.ok_or(DagError::Link)
}

/// Parses the bytes of a CID that this crate handles, and nothing after it.
pub(crate) fn parse_cid(bytes: &[u8]) -> Option<Cid> {
    if bytes.len() > CID_BYTES_MAX {
        return None;
    }
    let cid = Cid::try_from(bytes).ok()?;
    (cid.encoded_len() == bytes.len()).then_some(())?;
    block::parse(&cid).ok()
}

fn parse_unixfs(bytes: &[u8]) -> Result<UnixFs<'_>, DagError> {
    let mut unixfs = UnixFs::default();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(kind)) => unixfs.kind = Some(kind),
            (2, Value::Bytes(data)) => unixfs.data = data,
            (3, Value::Number(bytes)) => unixfs.file_bytes = Some(bytes),
            (4, Value::Number(bytes)) => push_size(&mut unixfs.child_bytes, bytes)?,
            (4, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    push_size(&mut unixfs.child_bytes, take_varint(&mut packed)?)?;
                }
            }
            _ => {}
        }
    }
    Ok(unixfs)
}

fn push_size(sizes: &mut Vec<u64>, bytes: u64) -> Result<(), DagError> {
    if sizes.len() == LINKS_PER_NODE_MAX {
        return Err(DagError::TooLarge("sizes of a node"));
    }
    sizes.push(bytes);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use cid::Cid;
    use proptest::prelude::*;

    use super::*;
    use crate::block::{Block, DAG_PB, raw_cid};
    use crate::wire::{put_bytes, put_number, put_varint};

    /// Writes a tree node that claims whatever the caller likes.
    pub(crate) fn node(kind: u64, data: &[u8], bytes: u64, children: &[(Cid, u64)]) -> Block {
        let mut unixfs = Vec::new();
        put_varint(&mut unixfs, 1 << 3);
        put_varint(&mut unixfs, kind);
        if !data.is_empty() {
            put_bytes(&mut unixfs, 2, data);
        }
        put_number(&mut unixfs, 3, bytes);
        for (_, bytes) in children {
            put_varint(&mut unixfs, 4 << 3);
            put_varint(&mut unixfs, *bytes);
        }
        let mut out = Vec::new();
        for (cid, _) in children {
            let mut link = Vec::new();
            put_bytes(&mut link, 1, &cid.to_bytes());
            put_bytes(&mut out, 2, &link);
        }
        put_bytes(&mut out, 1, &unixfs);
        Block::hash(DAG_PB, out.into())
    }

    fn check(block: Block, expect: Result<u64, DagError>) {
        let cid = *block.cid();
        assert_eq!(
            Tree::parse(&cid, block.into_data()).map(|tree| tree.bytes()),
            expect
        );
    }

    #[test]
    fn sizes_must_add_up() {
        let child = raw_cid(b"abc");
        let sum = DagError::Inconsistent("the sizes of the children do not add up");
        check(node(2, b"", 6, &[(child, 3), (child, 3)]), Ok(6));
        check(node(2, b"", 7, &[(child, 3), (child, 3)]), Err(sum.clone()));
        check(node(2, b"", 3, &[(child, 3), (child, 0)]), Err(sum.clone()));
        check(node(2, b"", 1, &[(child, u64::MAX), (child, 2)]), Err(sum));
        check(node(2, b"abc", 3, &[]), Ok(3));
        check(
            node(2, b"abc", 4, &[]),
            Err(DagError::Inconsistent(
                "a leaf has another size than it says",
            )),
        );
        check(
            node(2, b"abc", 3, &[(child, 3)]),
            Err(DagError::Inconsistent(
                "links, sizes and content do not match",
            )),
        );
    }

    #[test]
    fn only_files_are_read() {
        check(node(1, b"", 0, &[]), Err(DagError::NotAFile));
        check(node(5, b"", 0, &[]), Err(DagError::NotAFile));
        check(
            Block::hash(DAG_PB, Bytes::new()),
            Err(DagError::Encoding("no UnixFS message")),
        );
    }

    #[test]
    fn links_are_counted_while_reading() {
        let child = raw_cid(b"a");
        let most = vec![(child, 1); LINKS_PER_NODE_MAX];
        check(
            node(2, b"", most.len() as u64, &most),
            Ok(LINKS_PER_NODE_MAX as u64),
        );
        let more = vec![(child, 1); LINKS_PER_NODE_MAX + 1];
        check(
            node(2, b"", more.len() as u64, &more),
            Err(DagError::TooLarge("links of a node")),
        );
    }

    proptest! {
        #[test]
        fn arbitrary_blocks_never_panic(bytes: Vec<u8>) {
            let block = Block::hash(DAG_PB, bytes.into());
            let cid = *block.cid();
            let _ = Tree::parse(&cid, block.into_data());
        }
    }
}
