//! A consent as the patient signs it, and what makes one well formed.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::code::{
    Category, Confidentiality, Purpose, ResearchCategory, Role, Scope, SensitivityLabel,
};
use crate::hex::{Fingerprint, Id};
use crate::limits::{CODES_MAX, EXCEPTIONS_MAX, ORGANIZATION_BYTES_MAX, RECORDS_MAX};
use crate::policy::Policy;

/// Why a consent was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentError {
    /// A list or a name is longer than it may be.
    TooMany {
        /// The field.
        field: &'static str,
        /// Its limit.
        max: usize,
    },
    /// A permit names no purpose of use.
    PermitWithoutPurpose,
    /// A deny with a ceiling would leave the most confidential records open.
    DenyWithCeiling,
    /// A permit with a floor would open the most confidential records alone.
    PermitWithFloor,
    /// A period has no bound, or ends before it starts.
    Period,
    /// An exception says the same as its base provision.
    ExceptionAgrees,
    /// An actor that is not one of the forms of [`Actor`].
    Actor,
    /// An organization's name with characters that are not allowed.
    Organization,
    /// A study in a consent whose scope is not research.
    StudyOutsideResearch,
    /// A permit of a research consent that does not name a study.
    ResearchWithoutStudy,
    /// A research consent whose base provision lists no purpose, or that lists one outside
    /// `HRESCH`.
    ResearchPurpose,
    /// A research consent that does not say in which form the study gets the records, or another
    /// consent that does.
    ResearchCategory,
    /// A consent that names a policy and says something else.
    NotThePolicy,
}

impl fmt::Display for ConsentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { field, max } => write!(f, "{field} takes at most {max} entries"),
            Self::PermitWithoutPurpose => f.write_str("a permit must list at least one purpose"),
            Self::DenyWithCeiling => {
                f.write_str("max is for permits: a deny takes min, the lowest level it covers")
            }
            Self::PermitWithFloor => {
                f.write_str("min is for denies: a permit takes max, the highest level it covers")
            }
            Self::Period => f.write_str(
                "a period is [start, end] in milliseconds, start < end, \
                                         one of them may be null",
            ),
            Self::ExceptionAgrees => {
                f.write_str("an exception must have the other type than its base provision")
            }
            Self::Actor => f.write_str(
                "an actor is {\"id\"}, {\"org\", \"role\"}, {\"org\"}, {\"role\"} or {\"study\"}",
            ),
            Self::Organization => write!(
                f,
                "an organization is 1 to {ORGANIZATION_BYTES_MAX} characters A-Z a-z 0-9 -, \
                 starting with a letter"
            ),
            Self::StudyOutsideResearch => f.write_str("a study is for consents of scope research"),
            Self::ResearchWithoutStudy => {
                f.write_str("every permit of a research consent must name a study")
            }
            Self::ResearchPurpose => {
                f.write_str("a research consent must list purposes, all of them within HRESCH")
            }
            Self::ResearchCategory => f.write_str(
                "a consent of scope research, and no other, says research RSDID or RSREID",
            ),
            Self::NotThePolicy => {
                f.write_str("a consent that names a policy must say what the policy says")
            }
        }
    }
}

impl core::error::Error for ConsentError {}

/// A patient's consent: a base provision and its exceptions, checked.
///
/// It does not name its patient: the ledger files it under the patient who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Consent {
    id: Id,
    research: Option<ResearchCategory>,
    policy: Option<Policy>,
    provision: Provision,
    exceptions: Vec<Provision>,
}

impl Consent {
    /// Checks and makes a consent of scope [`Scope::PatientPrivacy`].
    ///
    /// # Errors
    /// [`ConsentError`] says what is not well formed.
    pub fn new(
        id: Id,
        provision: Provision,
        exceptions: Vec<Provision>,
    ) -> Result<Self, ConsentError> {
        Self::checked(id, None, provision, exceptions)
    }

    /// Checks and makes a consent of scope [`Scope::Research`]: each permit names a study, the
    /// base provision lists purposes, and every listed purpose lies within
    /// [`Purpose::Research`].
    ///
    /// # Errors
    /// [`ConsentError`] says what is not well formed.
    pub fn for_research(
        id: Id,
        category: ResearchCategory,
        provision: Provision,
        exceptions: Vec<Provision>,
    ) -> Result<Self, ConsentError> {
        Self::checked(id, Some(category), provision, exceptions)
    }

    pub(crate) fn of_policy(id: Id, policy: Policy) -> Self {
        let (provision, exceptions) = policy.provisions();
        Self {
            id,
            research: None,
            policy: Some(policy),
            provision,
            exceptions,
        }
    }

    fn checked(
        id: Id,
        research: Option<ResearchCategory>,
        provision: Provision,
        exceptions: Vec<Provision>,
    ) -> Result<Self, ConsentError> {
        provision.check()?;
        at_most("except", exceptions.len(), EXCEPTIONS_MAX)?;
        for exception in &exceptions {
            exception.check()?;
            if exception.kind == provision.kind {
                return Err(ConsentError::ExceptionAgrees);
            }
        }
        let mut all = core::iter::once(&provision).chain(&exceptions);
        if research.is_none() {
            if all.any(|one| matches!(one.actor, Some(Actor::Study(_)))) {
                return Err(ConsentError::StudyOutsideResearch);
            }
        } else {
            all.try_for_each(Provision::check_research)?;
            // An exception is kept within HRESCH by its base provision.
            if provision.purposes.is_empty() {
                return Err(ConsentError::ResearchPurpose);
            }
        }
        Ok(Self {
            id,
            research,
            policy: None,
            provision,
            exceptions,
        })
    }

    /// The id that the patient's client drew.
    pub fn id(&self) -> Id {
        self.id
    }

    /// What it is about.
    pub fn scope(&self) -> Scope {
        match self.research {
            Some(_) => Scope::Research,
            None => Scope::PatientPrivacy,
        }
    }

    /// In which form a study gets the records; given exactly when the scope is research.
    pub fn research(&self) -> Option<ResearchCategory> {
        self.research
    }

    /// The ready-made policy that it is, if it is one.
    pub fn policy(&self) -> Option<Policy> {
        self.policy
    }

    /// The base provision.
    pub fn provision(&self) -> &Provision {
        &self.provision
    }

    /// The exceptions to it; each has the other type.
    pub fn exceptions(&self) -> &[Provision] {
        &self.exceptions
    }
}

/// Whether a provision permits or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProvisionType {
    /// What applies is permitted.
    Permit,
    /// What applies is denied.
    Deny,
}

/// One rule. The crate's documentation says what each criterion means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// Permit or deny.
    #[serde(rename = "type")]
    pub kind: ProvisionType,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Why.
    #[serde(rename = "purpose", default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<Purpose>,
    /// The highest confidentiality that a permit covers.
    #[serde(rename = "max", default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Confidentiality>,
    /// The lowest confidentiality that a deny covers.
    #[serde(rename = "min", default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Confidentiality>,
    /// Sensitivity labels.
    #[serde(rename = "label", default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<SensitivityLabel>,
    /// Categories of records.
    #[serde(rename = "category", default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Category>,
    /// When the provision is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// Of when the records are.
    #[serde(rename = "data", default, skip_serializing_if = "Option::is_none")]
    pub data_period: Option<Period>,
    /// Named records.
    #[serde(rename = "record", default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Id>,
}

impl Provision {
    /// A permit for these purposes and nothing else stated.
    pub fn permit(purposes: impl IntoIterator<Item = Purpose>) -> Self {
        Self {
            purposes: purposes.into_iter().collect(),
            ..Self::unbounded(ProvisionType::Permit)
        }
    }

    /// A deny of everything.
    pub fn deny() -> Self {
        Self::unbounded(ProvisionType::Deny)
    }

    fn unbounded(kind: ProvisionType) -> Self {
        Self {
            kind,
            actor: None,
            purposes: Vec::new(),
            ceiling: None,
            floor: None,
            labels: Vec::new(),
            categories: Vec::new(),
            period: None,
            data_period: None,
            records: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), ConsentError> {
        at_most("purpose", self.purposes.len(), CODES_MAX)?;
        at_most("label", self.labels.len(), CODES_MAX)?;
        at_most("category", self.categories.len(), CODES_MAX)?;
        at_most("record", self.records.len(), RECORDS_MAX)?;
        match self.kind {
            ProvisionType::Permit if self.purposes.is_empty() => {
                Err(ConsentError::PermitWithoutPurpose)
            }
            ProvisionType::Permit if self.floor.is_some() => Err(ConsentError::PermitWithFloor),
            ProvisionType::Deny if self.ceiling.is_some() => Err(ConsentError::DenyWithCeiling),
            _ => Ok(()),
        }
    }

    fn check_research(&self) -> Result<(), ConsentError> {
        let study = matches!(self.actor, Some(Actor::Study(_)));
        if self.kind == ProvisionType::Permit && !study {
            Err(ConsentError::ResearchWithoutStudy)
        } else if !self.purposes.iter().all(|p| Purpose::Research.subsumes(*p)) {
            Err(ConsentError::ResearchPurpose)
        } else {
            Ok(())
        }
    }
}

fn at_most(field: &'static str, actual: usize, max: usize) -> Result<(), ConsentError> {
    if actual > max {
        return Err(ConsentError::TooMany { field, max });
    }
    Ok(())
}

/// Whom a provision is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "ActorWire", into = "ActorWire")]
pub enum Actor {
    /// One certificate.
    Identity(Fingerprint),
    /// Everybody with a role at an organization.
    RoleAt(Organization, Role),
    /// An organization; in a permit its workforce ([`Role::is_workforce`]), in a deny everybody.
    Organization(Organization),
    /// Everybody with a role, at whatever organization.
    Role(Role),
    /// Whoever asks for a study.
    Study(Id),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActorWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org: Option<Organization>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    study: Option<Id>,
}

impl TryFrom<ActorWire> for Actor {
    type Error = ConsentError;

    fn try_from(wire: ActorWire) -> Result<Self, ConsentError> {
        match (wire.id, wire.org, wire.role, wire.study) {
            (Some(id), None, None, None) => Ok(Self::Identity(id)),
            (None, Some(org), Some(role), None) => Ok(Self::RoleAt(org, role)),
            (None, Some(org), None, None) => Ok(Self::Organization(org)),
            (None, None, Some(role), None) => Ok(Self::Role(role)),
            (None, None, None, Some(study)) => Ok(Self::Study(study)),
            _ => Err(ConsentError::Actor),
        }
    }
}

impl From<Actor> for ActorWire {
    fn from(actor: Actor) -> Self {
        let (id, org, role, study) = match actor {
            Actor::Identity(id) => (Some(id), None, None, None),
            Actor::RoleAt(org, role) => (None, Some(org), Some(role), None),
            Actor::Organization(org) => (None, Some(org), None, None),
            Actor::Role(role) => (None, None, Some(role), None),
            Actor::Study(study) => (None, None, None, Some(study)),
        };
        Self {
            id,
            org,
            role,
            study,
        }
    }
}

/// The name of a member organization: letters, digits and `-`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Organization(String);

impl Organization {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Organization {
    type Error = ConsentError;

    fn try_from(name: String) -> Result<Self, ConsentError> {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let allowed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if starts && allowed && name.len() <= ORGANIZATION_BYTES_MAX {
            Ok(Self(name))
        } else {
            Err(ConsentError::Organization)
        }
    }
}

impl FromStr for Organization {
    type Err = ConsentError;

    fn from_str(name: &str) -> Result<Self, ConsentError> {
        String::from(name).try_into()
    }
}

impl From<Organization> for String {
    fn from(organization: Organization) -> Self {
        organization.0
    }
}

impl fmt::Display for Organization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// From a moment up to, but not including, another one; milliseconds since the Unix epoch. At
/// least one of them is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "(Option<u64>, Option<u64>)",
    into = "(Option<u64>, Option<u64>)"
)]
pub struct Period {
    start_ms: Option<u64>,
    end_ms: Option<u64>,
}

impl Period {
    /// Checks and makes a period.
    ///
    /// # Errors
    /// [`ConsentError::Period`] when both ends are open or the end is not after the start.
    pub fn new(start_ms: Option<u64>, end_ms: Option<u64>) -> Result<Self, ConsentError> {
        match (start_ms, end_ms) {
            (None, None) => Err(ConsentError::Period),
            (Some(start), Some(end)) if start >= end => Err(ConsentError::Period),
            _ => Ok(Self { start_ms, end_ms }),
        }
    }

    /// The first moment inside, if there is one.
    pub fn start_ms(&self) -> Option<u64> {
        self.start_ms
    }

    /// The first moment outside, if there is one.
    pub fn end_ms(&self) -> Option<u64> {
        self.end_ms
    }

    /// Whether the period has not begun at `time_ms`.
    pub fn is_after(&self, time_ms: u64) -> bool {
        self.start_ms.is_some_and(|start| time_ms < start)
    }

    /// Whether the period is over at `time_ms`.
    pub fn is_over(&self, time_ms: u64) -> bool {
        self.end_ms.is_some_and(|end| time_ms >= end)
    }

    /// Whether `time_ms` lies in the period.
    pub fn contains(&self, time_ms: u64) -> bool {
        !self.is_after(time_ms) && !self.is_over(time_ms)
    }
}

impl TryFrom<(Option<u64>, Option<u64>)> for Period {
    type Error = ConsentError;

    fn try_from((start, end): (Option<u64>, Option<u64>)) -> Result<Self, ConsentError> {
        Self::new(start, end)
    }
}

impl From<Period> for (Option<u64>, Option<u64>) {
    fn from(period: Period) -> Self {
        (period.start_ms, period.end_ms)
    }
}

/// The JSON form: the base provision's fields stand beside the id, to keep it short. Serde cannot
/// flatten a structure and refuse unknown fields at once, so the fields are written out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    id: Id,
    #[serde(default = "default_scope", skip_serializing_if = "Scope::is_default")]
    scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    research: Option<ResearchCategory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    #[serde(rename = "type")]
    kind: ProvisionType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<Actor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    purpose: Vec<Purpose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<Confidentiality>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<Confidentiality>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    label: Vec<SensitivityLabel>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    category: Vec<Category>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Period>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    record: Vec<Id>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<Provision>,
}

fn default_scope() -> Scope {
    Scope::PatientPrivacy
}

impl TryFrom<Wire> for Consent {
    type Error = ConsentError;

    fn try_from(wire: Wire) -> Result<Self, ConsentError> {
        let provision = Provision {
            kind: wire.kind,
            actor: wire.actor,
            purposes: wire.purpose,
            ceiling: wire.max,
            floor: wire.min,
            labels: wire.label,
            categories: wire.category,
            period: wire.period,
            data_period: wire.data,
            records: wire.record,
        };
        if (wire.scope == Scope::Research) != wire.research.is_some() {
            return Err(ConsentError::ResearchCategory);
        }
        let mut consent = Self::checked(wire.id, wire.research, provision, wire.except)?;
        if let Some(policy) = wire.policy {
            consent.policy = wire.policy;
            if consent != Self::of_policy(wire.id, policy) {
                return Err(ConsentError::NotThePolicy);
            }
        }
        Ok(consent)
    }
}

impl From<Consent> for Wire {
    fn from(consent: Consent) -> Self {
        let scope = consent.scope();
        let provision = consent.provision;
        Self {
            id: consent.id,
            scope,
            research: consent.research,
            policy: consent.policy,
            kind: provision.kind,
            actor: provision.actor,
            purpose: provision.purposes,
            max: provision.ceiling,
            min: provision.floor,
            label: provision.labels,
            category: provision.categories,
            period: provision.period,
            data: provision.data_period,
            record: provision.records,
            except: consent.exceptions,
        }
    }
}
