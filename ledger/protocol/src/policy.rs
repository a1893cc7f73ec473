//! Signature policies, in Fabric's syntax: `AND('HospitalA.peer', OutOf(2, …))`.
//!
//! A principal is `'Organization.role'`; the role `member` stands for every role. `AND`, `OR` and
//! `OutOf(n, …)` nest up to [`POLICY_DEPTH_MAX`] levels. A policy knows no clock: the same signers
//! always get the same answer.

use std::collections::BTreeSet;
use std::fmt;

use crate::ids::{IdError, OrgId};
use crate::limits::{NAME_BYTES_MAX, POLICY_BYTES_MAX, POLICY_DEPTH_MAX, POLICY_PRINCIPALS_MAX};

/// The role that every role is.
pub const MEMBER: &str = "member";
/// The role that administrates nodes and submits changes of the configuration.
pub const ADMIN: &str = "admin";

/// Whether a word can be the role of a certificate: one that a policy can name, other than the one
/// that stands for every role.
pub fn is_role(role: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&role.len())
        && role.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        && role != MEMBER
}

/// Why a policy's text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`POLICY_BYTES_MAX`].
    #[error("the policy has {0} bytes, more than {POLICY_BYTES_MAX}")]
    TooLong(usize),
    /// Nested deeper than [`POLICY_DEPTH_MAX`].
    #[error("the policy is nested deeper than {POLICY_DEPTH_MAX} levels")]
    TooDeep,
    /// More principals than [`POLICY_PRINCIPALS_MAX`].
    #[error("the policy names more than {POLICY_PRINCIPALS_MAX} principals")]
    TooWide,
    /// Something else was expected at this place.
    #[error("at character {at} of the policy: expected {expected}")]
    Syntax {
        /// Bytes before the place.
        at: usize,
        /// What would have been right.
        expected: &'static str,
    },
    /// `OutOf` asks for none, or for more than it lists.
    #[error("OutOf asks for {wanted} of {listed}")]
    Threshold {
        /// How many it asks for.
        wanted: usize,
        /// How many it lists.
        listed: usize,
    },
    /// A principal names no possible organization.
    #[error(transparent)]
    Organization(#[from] IdError),
}

/// Whose signature a policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The organization.
    pub organization: OrgId,
    /// The role in it; [`MEMBER`] stands for every role.
    pub role: String,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}.{}'", self.organization, self.role)
    }
}

/// Somebody whose signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Her organization.
    pub organization: OrgId,
    /// Her role.
    pub role: String,
    /// Her public key. Two certificates over one key are one signer.
    pub public_key: [u8; 32],
}

impl Signer {
    fn is(&self, principal: &Principal) -> bool {
        self.organization == principal.organization
            && (principal.role == MEMBER || principal.role == self.role)
    }
}

/// A parsed policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// One signature.
    SignedBy(Principal),
    /// At least `count` of the parts.
    OutOf {
        /// How many.
        count: usize,
        /// Of what.
        parts: Vec<Policy>,
    },
}

impl Policy {
    /// Parses a policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the place and what was expected there.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::TooLong(text.len()));
        }
        let mut parser = Parser {
            text,
            at: 0,
            principals: 0,
        };
        let policy = parser.policy(0)?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.expected("the end"));
        }
        Ok(policy)
    }

    /// Whether `signers` satisfy the policy. As in Fabric, each signer counts for one principal
    /// only, the first one in the order of the text that she can stand for.
    pub fn is_satisfied(&self, signers: &[Signer]) -> bool {
        let mut seen = BTreeSet::new();
        let mut free: Vec<&Signer> = signers
            .iter()
            .filter(|signer| seen.insert(signer.public_key))
            .collect();
        self.take(&mut free)
    }

    /// Takes the signers that satisfy this part out of `free`; leaves it as it was if they do not.
    fn take(&self, free: &mut Vec<&Signer>) -> bool {
        match self {
            Self::SignedBy(principal) => {
                let found = free.iter().position(|signer| signer.is(principal));
                found.map(|index| free.remove(index)).is_some()
            }
            Self::OutOf { count, parts } => {
                let before = free.clone();
                let satisfied = parts
                    .iter()
                    .filter(|part| part.take(free))
                    .take(*count)
                    .count();
                if satisfied < *count {
                    *free = before;
                }
                satisfied >= *count
            }
        }
    }

    /// Every principal that the policy names, in the order of the text.
    pub fn principals(&self) -> Vec<&Principal> {
        match self {
            Self::SignedBy(principal) => vec![principal],
            Self::OutOf { parts, .. } => parts.iter().flat_map(Self::principals).collect(),
        }
    }

    /// The smallest sets of organizations whose `role` satisfies the policy, those with `first`
    /// before the others: where to ask for endorsements. Empty when `role` alone cannot satisfy it.
    pub fn organizations(&self, role: &str, first: &OrgId) -> Vec<BTreeSet<OrgId>> {
        let mut named: Vec<OrgId> = Vec::new();
        for principal in self.principals() {
            let fits = principal.role == MEMBER || principal.role == role;
            if fits && !named.contains(&principal.organization) {
                named.push(principal.organization.clone());
            }
        }
        named.sort_by_key(|organization| (organization != first, organization.clone()));
        named.truncate(LAYOUT_ORGANIZATIONS_MAX);
        let mut layouts: Vec<BTreeSet<OrgId>> = Vec::new();
        let mut masks: Vec<u32> = (1..1_u32 << named.len()).collect();
        masks.sort_by_key(|mask| (mask.count_ones(), mask.reverse_bits() ^ u32::MAX));
        for mask in masks {
            let chosen: BTreeSet<OrgId> = (0..named.len())
                .filter(|index| mask & (1 << index) != 0)
                .map(|index| named[index].clone())
                .collect();
            if layouts.iter().any(|smaller| smaller.is_subset(&chosen)) {
                continue;
            }
            let signers: Vec<Signer> = chosen.iter().map(|o| stand_in(o, role)).collect();
            if self.is_satisfied(&signers) {
                layouts.push(chosen);
            }
        }
        layouts
    }
}

/// Organizations among which [`Policy::organizations`] searches.
const LAYOUT_ORGANIZATIONS_MAX: usize = 12;

fn stand_in(organization: &OrgId, role: &str) -> Signer {
    let public_key = crate::hash::fingerprint(organization.as_str().as_bytes()).0;
    Signer {
        organization: organization.clone(),
        role: role.to_owned(),
        public_key,
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignedBy(principal) => principal.fmt(f),
            Self::OutOf { count, parts } => {
                write!(f, "OutOf({count}")?;
                parts.iter().try_for_each(|part| write!(f, ", {part}"))?;
                f.write_str(")")
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    principals: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected(&self, expected: &'static str) -> PolicyError {
        PolicyError::Syntax {
            at: self.at,
            expected,
        }
    }

    fn space(&mut self) {
        let trimmed = self.rest().trim_start_matches([' ', '\t', '\r', '\n']);
        self.at = self.text.len() - trimmed.len();
    }

    fn token(&mut self, token: &'static str) -> Result<(), PolicyError> {
        self.space();
        if !self.rest().starts_with(token) {
            return Err(self.expected(token));
        }
        self.at += token.len();
        Ok(())
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn policy(&mut self, depth: usize) -> Result<Policy, PolicyError> {
        if depth >= POLICY_DEPTH_MAX {
            return Err(PolicyError::TooDeep);
        }
        self.space();
        if self.rest().starts_with(['\'', '"']) {
            return self.principal();
        }
        let start = self.at;
        let word = self.word();
        let every = word.eq_ignore_ascii_case("and");
        let threshold = word.eq_ignore_ascii_case("outof");
        if !(every || threshold || word.eq_ignore_ascii_case("or")) {
            self.at = start;
            return Err(self.expected("a principal, AND, OR or OutOf"));
        }
        self.token("(")?;
        let count = if threshold { Some(self.count()?) } else { None };
        let parts = self.parts(depth)?;
        let count = count.unwrap_or(if every { parts.len() } else { 1 });
        if count == 0 || count > parts.len() {
            return Err(PolicyError::Threshold {
                wanted: count,
                listed: parts.len(),
            });
        }
        Ok(Policy::OutOf { count, parts })
    }

    fn count(&mut self) -> Result<usize, PolicyError> {
        self.space();
        let start = self.at;
        let count = self.word().parse().ok();
        let Some(count) = count else {
            self.at = start;
            return Err(self.expected("a number"));
        };
        self.token(",")?;
        Ok(count)
    }

    fn parts(&mut self, depth: usize) -> Result<Vec<Policy>, PolicyError> {
        let mut parts = vec![self.policy(depth + 1)?];
        loop {
            self.space();
            if self.rest().starts_with(')') {
                self.at += 1;
                return Ok(parts);
            }
            self.token(",")?;
            parts.push(self.policy(depth + 1)?);
        }
    }

    fn principal(&mut self) -> Result<Policy, PolicyError> {
        self.principals += 1;
        if self.principals > POLICY_PRINCIPALS_MAX {
            return Err(PolicyError::TooWide);
        }
        let quote = &self.rest()[..1];
        let inside = &self.rest()[1..];
        let end = inside
            .find(quote)
            .ok_or_else(|| self.expected("a closing quote"))?;
        let (organization, role) = inside[..end]
            .rsplit_once('.')
            .ok_or_else(|| self.expected("'Organization.role'"))?;
        let valid = !role.is_empty() && role.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if !valid {
            return Err(self.expected("a role in lower case"));
        }
        self.at += end + 2;
        let organization = OrgId::new(organization)?;
        Ok(Policy::SignedBy(Principal {
            organization,
            role: role.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn org(name: &str) -> OrgId {
        OrgId::new(name).unwrap()
    }

    fn signers(list: &str) -> Vec<Signer> {
        list.split_whitespace()
            .enumerate()
            .map(|(index, word)| {
                let (organization, role) = word.split_once('.').unwrap();
                let public_key = [index as u8; 32];
                Signer {
                    organization: org(organization),
                    role: role.to_owned(),
                    public_key,
                }
            })
            .collect()
    }

    fn check(policy: &str, list: &str, expect: bool) {
        let policy = Policy::parse(policy).unwrap();
        assert_eq!(
            policy.is_satisfied(&signers(list)),
            expect,
            "{policy} by {list:?}"
        );
        assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));
    }

    #[test]
    fn satisfaction() {
        check("'A.peer'", "A.peer", true);
        check("'A.peer'", "A.client", false);
        check("'A.member'", "A.client", true);
        check("'A.peer'", "B.peer", false);
        check("AND('A.peer', 'B.peer')", "A.peer B.peer", true);
        check("AND('A.peer', 'B.peer')", "A.peer A.peer", false);
        check("AND('A.peer', 'A.peer')", "A.peer", false);
        check("AND('A.peer', 'A.peer')", "A.peer A.peer", true);
        check("OR('A.peer','B.peer')", "C.peer", false);
        check(
            "OutOf(2, 'A.peer','B.peer','C.peer')",
            "C.peer A.peer",
            true,
        );
        check(
            "OutOf(2, 'A.peer','B.peer','C.peer')",
            "C.peer C.peer",
            false,
        );
        check(
            "AND('A.peer', OutOf(2, 'A.admin', 'B.peer', 'C.peer'))",
            "A.peer B.peer C.peer",
            true,
        );
        check("OR(AND('A.peer','B.peer'), 'A.peer')", "A.peer", true);
    }

    #[test]
    fn one_key_under_two_certificates_is_one_signer() {
        let mut two = signers("A.peer A.peer");
        two[1].public_key = two[0].public_key;
        assert!(
            !Policy::parse("AND('A.peer','A.peer')")
                .unwrap()
                .is_satisfied(&two)
        );
    }

    #[test]
    fn refusals_name_the_place() {
        let at = |text| Policy::parse(text).unwrap_err();
        assert_eq!(
            at("AND('A.peer'"),
            PolicyError::Syntax {
                at: 12,
                expected: ","
            }
        );
        assert_eq!(
            at("OutOf(3,'A.peer')"),
            PolicyError::Threshold {
                wanted: 3,
                listed: 1
            }
        );
        assert_eq!(
            at("OutOf(0,'A.peer')"),
            PolicyError::Threshold {
                wanted: 0,
                listed: 1
            }
        );
        assert_eq!(
            at("'A.peer' x"),
            PolicyError::Syntax {
                at: 9,
                expected: "the end"
            }
        );
        assert!(matches!(at("'../x.peer'"), PolicyError::Organization(_)));
        assert!(matches!(at("'A.PEER'"), PolicyError::Syntax { .. }));
        assert_eq!(
            Policy::parse(&"OR(".repeat(1000)),
            Err(PolicyError::TooDeep)
        );
        let flood = "OR(".repeat(200_000);
        assert!(matches!(
            Policy::parse(&flood),
            Err(PolicyError::TooLong(_))
        ));
    }

    #[test]
    fn layouts_prefer_the_own_organization_and_few() {
        let policy = Policy::parse("OutOf(2,'A.peer','B.peer','C.peer')").unwrap();
        let layouts = policy.organizations("peer", &org("B"));
        let names = |set: &BTreeSet<OrgId>| set.iter().map(OrgId::to_string).collect::<String>();
        assert_eq!(
            layouts.iter().map(names).collect::<Vec<_>>(),
            ["AB", "BC", "AC"]
        );
        assert!(
            Policy::parse("'A.admin'")
                .unwrap()
                .organizations("peer", &org("A"))
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fall(text in "(AND|OR|OutOf|[('\", .)0-9A-Za-zé])*") {
            let _ = Policy::parse(&text);
        }
    }
}
