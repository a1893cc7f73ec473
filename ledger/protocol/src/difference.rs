//! In what two endorsers' results of one proposal differ. Keys are named, values never.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::limits::{DIFFERENCE_BYTES_MAX, DIFFERENCE_KEYS_MAX, DIFFERENCE_NODES_MAX};
use crate::pb;
use crate::transaction::TransactionResult;

/// A part of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// It cannot be decoded.
    Form,
    /// The package that was run, or the channel's settings for it.
    Package,
    /// What the function answered.
    Response,
    /// Which keys were read.
    Reads,
    /// At which versions keys were read.
    Versions,
    /// What ranges held.
    Ranges,
    /// Which keys are written.
    Writes,
    /// What is written to keys.
    Values,
    /// The events.
    Events,
    /// Before which block time it is valid.
    Expiry,
}

impl Part {
    const ALL: [Self; 10] = [
        Self::Form,
        Self::Package,
        Self::Response,
        Self::Reads,
        Self::Versions,
        Self::Ranges,
        Self::Writes,
        Self::Values,
        Self::Events,
        Self::Expiry,
    ];

    /// The word that travels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Package => "package",
            Self::Response => "response",
            Self::Reads => "reads",
            Self::Versions => "versions",
            Self::Ranges => "ranges",
            Self::Writes => "writes",
            Self::Values => "values",
            Self::Events => "events",
            Self::Expiry => "expiry",
        }
    }
}

/// How two results differ in one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartDifference {
    /// The part.
    pub part: Part,
    /// How many entries of it differ; 0 where there are none to count.
    pub count: usize,
    /// Some of their keys.
    pub keys: Vec<Bytes>,
}

impl PartDifference {
    fn new(part: Part) -> Self {
        let (count, keys) = (0, Vec::new());
        Self { part, count, keys }
    }

    fn of(part: Part, keys: Vec<&Bytes>) -> Option<Self> {
        let some = keys.iter().take(DIFFERENCE_KEYS_MAX);
        (!keys.is_empty()).then(|| Self {
            part,
            count: keys.len(),
            keys: some.map(|key| (*key).clone()).collect(),
        })
    }
}

impl fmt::Display for PartDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.part.as_str())?;
        match self.count {
            0 => Ok(()),
            count => write!(f, " ({count})"),
        }
    }
}

/// In what one node's result differs from another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultDifference {
    /// Who differs, `Organization/name`.
    pub node: String,
    /// From whom.
    pub other: String,
    /// In what.
    pub parts: Vec<PartDifference>,
}

impl ResultDifference {
    /// Compares the results of two nodes; `arguments` are those of the proposal.
    pub fn between(
        (node, result): (&str, &Bytes),
        (other, its): (&str, &Bytes),
        arguments: &[Bytes],
    ) -> Self {
        let decode = |bytes: &Bytes| TransactionResult::decode(bytes.clone(), arguments);
        let parts = match (decode(result), decode(its)) {
            (Ok(result), Ok(its)) => parts(&result, &its),
            _ => vec![PartDifference::new(Part::Form)],
        };
        Self {
            node: node.to_owned(),
            other: other.to_owned(),
            parts,
        }
    }

    /// Lets so much of several differences through as fits an error.
    pub fn bounded(mut differences: Vec<Self>) -> Vec<Self> {
        differences.truncate(DIFFERENCE_NODES_MAX);
        let mut left = DIFFERENCE_BYTES_MAX;
        let parts = differences.iter_mut().flat_map(|one| &mut one.parts);
        for part in parts {
            part.keys.retain(|key| {
                let rest = left.checked_sub(key.len());
                left = rest.unwrap_or(left);
                rest.is_some()
            });
        }
        differences
    }

    /// Differences as they came; parts that this program does not know are left out.
    pub(crate) fn all(differences: Vec<pb::ResultDifference>) -> Vec<Self> {
        let one = |difference: pb::ResultDifference| {
            let parts = difference.parts.into_iter().filter_map(|part| {
                let known = Part::ALL.into_iter().find(|p| p.as_str() == part.part)?;
                Some(PartDifference {
                    part: known,
                    count: part.count as usize,
                    keys: part.keys,
                })
            });
            Self {
                node: difference.node,
                other: difference.other,
                parts: parts.collect(),
            }
        };
        Self::bounded(differences.into_iter().map(one).collect())
    }
}

impl From<ResultDifference> for pb::ResultDifference {
    fn from(difference: ResultDifference) -> Self {
        let parts = difference.parts.into_iter().map(|part| pb::PartDifference {
            part: part.part.as_str().to_owned(),
            count: u32::try_from(part.count).unwrap_or(u32::MAX),
            keys: part.keys,
        });
        Self {
            node: difference.node,
            other: difference.other,
            parts: parts.collect(),
        }
    }
}

/// `reads (2), response`.
impl fmt::Display for ResultDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join(", "))
    }
}

fn parts(one: &TransactionResult, other: &TransactionResult) -> Vec<PartDifference> {
    let differs = |is: bool, part| is.then(|| PartDifference::new(part));
    let reads = compare(pairs(&one.reads), pairs(&other.reads));
    let writes = |result| -> BTreeMap<_, _> {
        let result: &TransactionResult = result;
        result.writes.iter().map(|w| (&w.key, &w.value)).collect()
    };
    let writes = compare(writes(one), writes(other));
    [
        differs(one.package_hash != other.package_hash, Part::Package),
        differs(one.response != other.response, Part::Response),
        PartDifference::of(Part::Reads, reads.0),
        PartDifference::of(Part::Versions, reads.1),
        PartDifference::of(Part::Ranges, ranges(one, other)),
        PartDifference::of(Part::Writes, writes.0),
        PartDifference::of(Part::Values, writes.1),
        differs(one.events != other.events, Part::Events),
        differs(one.expires_at_ms != other.expires_at_ms, Part::Expiry),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn pairs<T>(list: &[(Bytes, T)]) -> BTreeMap<&Bytes, &T> {
    list.iter().map(|(key, value)| (key, value)).collect()
}

/// The keys that only one has, and those that both have with different values.
fn compare<'a, T: PartialEq>(
    one: BTreeMap<&'a Bytes, &'a T>,
    other: BTreeMap<&'a Bytes, &'a T>,
) -> (Vec<&'a Bytes>, Vec<&'a Bytes>) {
    let here = one.keys().filter(|key| !other.contains_key(*key));
    let there = other.keys().filter(|key| !one.contains_key(*key));
    let both = one.iter().filter(|(key, value)| {
        let its = other.get(*key);
        its.is_some_and(|its| its != *value)
    });
    (
        here.chain(there).copied().collect(),
        both.map(|(key, _)| *key).collect(),
    )
}

/// Where the ranges begin that differ in extent or content.
fn ranges<'a>(one: &'a TransactionResult, other: &'a TransactionResult) -> Vec<&'a Bytes> {
    let longer = match one.ranges.len() >= other.ranges.len() {
        true => (&one.ranges, &other.ranges),
        false => (&other.ranges, &one.ranges),
    };
    let differing = longer.0.iter().enumerate().filter(|(index, range)| {
        let its = longer.1.get(*index);
        its != Some(*range)
    });
    differing.map(|(_, range)| &range.start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, FORMAT_VERSION, Hash32, RpcError};
    use prost::Message;

    fn result(change: impl FnOnce(&mut pb::Result)) -> Bytes {
        let read = |key: &'static [u8], block| pb::Read {
            key: Bytes::from_static(key),
            height: Some(pb::Height {
                block,
                transaction: 0,
            }),
        };
        let write = |key: &'static [u8]| pb::Write {
            key: Bytes::from_static(key),
            read: 0,
            change: Some(pb::write::Change::Value(Bytes::from_static(b"secret"))),
        };
        let mut result = pb::Result {
            version: FORMAT_VERSION,
            package_hash: Hash32::ZERO.to_bytes(),
            reads: vec![read(b"a", 1), read(b"b", 1)],
            ranges: vec![pb::RangeRead {
                start: Bytes::from_static(b"a"),
                end: Bytes::from_static(b"c"),
                results_hash: Hash32::ZERO.to_bytes(),
            }],
            writes: vec![write(b"w"), write(b"x")],
            ..Default::default()
        };
        change(&mut result);
        result.encode_to_vec().into()
    }

    fn between(change: impl FnOnce(&mut pb::Result)) -> ResultDifference {
        let (one, other) = (result(|_| {}), result(change));
        ResultDifference::between(("B/peer0", &other), ("A/peer0", &one), &[])
    }

    #[test]
    fn every_part_is_named_with_its_keys() {
        let check = |change: fn(&mut pb::Result), words: &str, keys: &[&'static [u8]]| {
            let difference = between(change);
            assert_eq!(difference.to_string(), words);
            let found = difference.parts.iter().flat_map(|part| &part.keys);
            assert_eq!(found.collect::<Vec<_>>(), keys, "{words}");
        };
        check(|_| {}, "", &[]);
        check(
            |r| r.package_hash = Hash32([1; 32]).to_bytes(),
            "package",
            &[],
        );
        let response = |r: &mut pb::Result| {
            r.response = Some(pb::Response {
                payload: Bytes::from_static(b"x"),
            });
        };
        check(response, "response", &[]);
        check(|r| drop(r.reads.remove(0)), "reads (1)", &[b"a"]);
        check(|r| r.reads[1].height = None, "versions (1)", &[b"b"]);
        let range = |r: &mut pb::Result| r.ranges[0].results_hash = Hash32([1; 32]).to_bytes();
        check(range, "ranges (1)", &[b"a"]);
        check(|r| r.ranges.clear(), "ranges (1)", &[b"a"]);
        check(
            |r| r.writes[1].key = Bytes::from_static(b"y"),
            "writes (2)",
            &[b"y", b"x"],
        );
        check(
            |r| r.writes[0].change = Some(pb::write::Change::Delete(true)),
            "values (1)",
            &[b"w"],
        );
        check(|r| r.events.push(Default::default()), "events", &[]);
        check(|r| r.expires_at_ms = Some(1), "expiry", &[]);
        check(|r| r.version = 9, "form", &[]);
    }

    #[test]
    fn it_survives_the_wire_without_a_value() {
        let difference = between(|r| r.reads.clear());
        let error = RpcError::new(ErrorCode::EndorsementMismatch, "they differ")
            .with_differences(vec![difference]);
        let status = tonic::Status::from(error.clone());
        assert!(!status.details().windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(RpcError::from(status), error);
    }

    #[test]
    fn what_travels_is_bounded() {
        let part = PartDifference {
            part: Part::Writes,
            count: 9_000,
            keys: vec![Bytes::from(vec![b'k'; 1_000]); 3],
        };
        let one = ResultDifference {
            node: "B/peer0".to_owned(),
            other: "A/peer0".to_owned(),
            parts: vec![part],
        };
        let bounded = ResultDifference::bounded(vec![one; 2 * DIFFERENCE_NODES_MAX]);
        assert_eq!(bounded.len(), DIFFERENCE_NODES_MAX);
        let keys = bounded
            .iter()
            .flat_map(|one| &one.parts)
            .flat_map(|p| &p.keys);
        assert!(keys.map(Bytes::len).sum::<usize>() <= DIFFERENCE_BYTES_MAX);
        assert!(bounded.iter().all(|one| one.parts[0].count == 9_000));
    }
}
