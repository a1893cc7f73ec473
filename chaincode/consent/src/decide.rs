//! The decision.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::code::{
    Category, Confidentiality, Purpose, ResearchCategory, Role, SensitivityLabel, codes,
};
use crate::hex::{Fingerprint, Id};
use crate::model::{Actor, Consent, Provision, ProvisionType};

/// Who asks, as the certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester<'a> {
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// The member organization that issued it.
    pub organization: &'a str,
    /// The role in it.
    pub role: Role,
}

/// What the ledger says about a version of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFacts {
    /// The record's id.
    pub id: Id,
    /// Its category.
    pub category: Category,
    /// Its confidentiality.
    pub confidentiality: Confidentiality,
    /// Its sensitivity labels.
    pub labels: Vec<SensitivityLabel>,
    /// When what it reports took place, in milliseconds since the Unix epoch, if it is known.
    pub date_ms: Option<u64>,
}

/// A request for access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks.
    pub requester: Requester<'a>,
    /// Why.
    pub purpose: Purpose,
    /// For which study, if for one. Whoever calls has made sure that the requester belongs to it.
    pub study: Option<Id>,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// For what.
    pub record: &'a RecordFacts,
}

/// Whether a consent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It stands.
    Active,
    /// It was revoked.
    Inactive,
}

codes! {
    /// Why the answer is what it is.
    ///
    /// When no provision applies, the reason is where the permit that came closest failed: the
    /// criteria are looked at in the order of the variants from [`Reason::Actor`] on, and the one
    /// that passed the most of them is the closest. [`decide`] never gives [`Reason::NotActive`],
    /// [`Reason::Erased`] and [`Reason::TooManyConsents`]: they are for its caller, when it cannot
    /// be asked.
    Reason, "reason",
    {
        /// A permit decided.
        Permitted = "permitted",
        /// A deny decided.
        DeniedByProvision = "denied-by-provision",
        /// The version is not confirmed, so that no consent is asked.
        NotActive = "not-active",
        /// The record was erased.
        Erased = "erased",
        /// There are more consents than can be looked at.
        TooManyConsents = "too-many-consents",
        /// There is no permit at all.
        NoConsent = "no-consent",
        /// No permit is for this requester.
        Actor = "actor",
        /// None of those is for this purpose.
        Purpose = "purpose",
        /// None of those is in force yet.
        NotYetValid = "not-yet-valid",
        /// None of those is still in force.
        Expired = "expired",
        /// None of those covers the record's confidentiality.
        Confidentiality = "confidentiality",
        /// None of those covers all its sensitivity labels.
        Label = "label",
        /// None of those covers its category.
        Category = "category",
        /// None of those covers its date.
        DataPeriod = "data-period",
        /// None of those names it.
        Record = "record",
        /// All of those were revoked.
        Revoked = "revoked",
    }
}

impl Reason {
    /// The reason as a sentence for a person.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Permitted => "a consent permits it",
            Self::DeniedByProvision => "a consent denies it",
            Self::NotActive => "the version is not confirmed",
            Self::Erased => "the record was erased",
            Self::TooManyConsents => "the patient has more consents than can be looked at",
            Self::NoConsent => "there is no consent",
            Self::Actor => "no consent is for this requester",
            Self::Purpose => "no consent is for this purpose",
            Self::NotYetValid => "the consent is not in force yet",
            Self::Expired => "the consent has expired",
            Self::Confidentiality => "the record is more confidential than the consent allows",
            Self::Label => "the consent does not cover every sensitivity label of the record",
            Self::Category => "the consent does not cover the record's category",
            Self::DataPeriod => "the consent does not cover the record's date",
            Self::Record => "the consent does not name the record",
            Self::Revoked => "the consent was revoked",
        }
    }
}

/// The answer, and which provision gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether access is permitted.
    pub permit: bool,
    /// The consent that decided, if one did.
    pub consent: Option<Id>,
    /// The provision in it: empty for the base provision, `[i]` for its exception `i`.
    pub provision: Option<Vec<u8>>,
    /// When the deciding permit ends, if it does.
    pub until_ms: Option<u64>,
    /// In which form a study gets the record, when a research consent decided.
    pub research: Option<ResearchCategory>,
    /// Why.
    pub reason: Reason,
}

/// How narrowly a provision speaks, criterion by criterion; 0 where it states nothing.
///
/// In this order: named records (1), where the actor is (organization or role at an organization
/// 1, identity 2), what the actor does (role, role at an organization or study 1, identity 2),
/// purpose (1 and the depth of the narrowest listed purpose that contains the requested one),
/// confidentiality (1), labels (1), categories (1), data period (1). So an identity is narrower than
/// a role at an organization, and that is narrower than the organization or the role, of which
/// neither is narrower than the other; nor is a study narrower than an organization whose people
/// work for it. How long a provision is in force says nothing about its
/// subject and does not count. An exception is at least as specific in each criterion as its base
/// provision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Specificity([u8; 8]);

impl Specificity {
    fn of(provision: &Provision, request: &Request<'_>) -> Self {
        let (place, task) = match provision.actor {
            None => (0, 0),
            Some(Actor::Organization(_)) => (1, 0),
            Some(Actor::Role(_) | Actor::Study(_)) => (0, 1),
            Some(Actor::RoleAt(..)) => (1, 1),
            Some(Actor::Identity(_)) => (2, 2),
        };
        let purpose = provision
            .purposes
            .iter()
            .filter(|listed| listed.subsumes(request.purpose))
            .map(|listed| 1 + listed.depth())
            .max()
            .unwrap_or(0);
        Self([
            u8::from(!provision.records.is_empty()),
            place,
            task,
            purpose,
            u8::from(provision.ceiling.is_some() || provision.floor.is_some()),
            u8::from(!provision.labels.is_empty()),
            u8::from(!provision.categories.is_empty()),
            u8::from(provision.data_period.is_some()),
        ])
    }

    fn within(mut self, base: Self) -> Self {
        for (own, base) in self.0.iter_mut().zip(base.0) {
            *own = (*own).max(base);
        }
        self
    }

    /// Whether this is at least as specific in each criterion and more so in one.
    pub fn exceeds(&self, other: &Self) -> bool {
        self != other && self.0.iter().zip(other.0).all(|(own, other)| *own >= other)
    }
}

/// A provision that applies.
struct Candidate<'a> {
    provision: &'a Provision,
    consent: &'a Consent,
    path: Option<u8>,
    specificity: Specificity,
    until_ms: Option<u64>,
}

/// Decides a request by a patient's consents, in the order in which they are given; the order
/// matters only for which of several equal provisions is named. When permits for the same study tie,
/// one that leaves out what identifies the patient is named.
pub fn decide<'a>(
    request: &Request<'_>,
    consents: impl IntoIterator<Item = (&'a Consent, Status)>,
) -> Decision {
    let mut candidates = Vec::new();
    let mut closest = Reason::NoConsent;
    for (consent, status) in consents {
        let base = consent.provision();
        let mismatch = mismatch(base, request)
            .or_else(|| (status == Status::Inactive).then_some(Reason::Revoked));
        match mismatch {
            None => applying(consent, request, &mut candidates),
            Some(reason) if base.kind == ProvisionType::Permit => closest = closest.max(reason),
            Some(_) => {}
        }
    }
    match most_specific(&candidates) {
        Some(winner) => winner.decision(),
        None => without_consent(false, closest),
    }
}

/// Decides a request to break the glass ([`Purpose::BreakGlass`]), which goes around consents.
///
/// The answer is yes, by no consent, except for a record labelled
/// [`Confidentiality::VeryRestricted`] for which the patient's consents deny this purpose: when
/// [`decide`] would answer a request for it with a deny that a standing provision gives, that is the
/// answer, and it names the provision. That nothing permits it does not matter. Whoever calls has
/// made sure that the requester may break the glass at all.
pub fn emergency<'a>(
    requester: Requester<'_>,
    record: &RecordFacts,
    time_ms: u64,
    consents: impl IntoIterator<Item = (&'a Consent, Status)>,
) -> Decision {
    let request = Request {
        requester,
        purpose: Purpose::BreakGlass,
        study: None,
        time_ms,
        record,
    };
    if record.confidentiality == Confidentiality::VeryRestricted {
        let decision = decide(&request, consents);
        if decision.reason == Reason::DeniedByProvision {
            return decision;
        }
    }
    without_consent(true, Reason::Permitted)
}

fn without_consent(permit: bool, reason: Reason) -> Decision {
    Decision {
        permit,
        consent: None,
        provision: None,
        until_ms: None,
        research: None,
        reason,
    }
}

/// To whom permits now open a record for some purpose: those for whom its key should be wrapped.
///
/// Denies are not looked at, because they may depend on a purpose: being listed here is not a
/// permission. Permits for anyone, and for a role wherever it is, are left out, for nobody can wrap
/// a key for anyone.
pub fn grantees<'a>(
    record: &RecordFacts,
    time_ms: u64,
    consents: impl IntoIterator<Item = (&'a Consent, Status)>,
) -> BTreeSet<&'a Actor> {
    consents
        .into_iter()
        .filter(|(_, status)| *status == Status::Active)
        .flat_map(|(consent, _)| core::iter::once(consent.provision()).chain(consent.exceptions()))
        .filter(|provision| provision.kind == ProvisionType::Permit)
        .filter(|provision| record_mismatch(provision, record, time_ms).is_none())
        .filter_map(|provision| provision.actor.as_ref())
        .filter(|actor| !matches!(actor, Actor::Role(_)))
        .collect()
}

/// Adds what applies of a consent whose base provision applies: the exceptions that do, or else
/// the base provision itself.
fn applying<'a>(consent: &'a Consent, request: &Request<'_>, found: &mut Vec<Candidate<'a>>) {
    let base = consent.provision();
    let specificity = Specificity::of(base, request);
    let until_ms = end_ms(base);
    let before = found.len();
    for (path, exception) in (0u8..).zip(consent.exceptions()) {
        if mismatch(exception, request).is_none() {
            found.push(Candidate {
                provision: exception,
                consent,
                path: Some(path),
                specificity: Specificity::of(exception, request).within(specificity),
                until_ms: earlier(until_ms, end_ms(exception)),
            });
        }
    }
    if found.len() == before {
        found.push(Candidate {
            provision: base,
            consent,
            path: None,
            specificity,
            until_ms,
        });
    }
}

fn end_ms(provision: &Provision) -> Option<u64> {
    provision.period.and_then(|period| period.end_ms())
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    [a, b].into_iter().flatten().min()
}

fn most_specific<'a, 'b>(candidates: &'b [Candidate<'a>]) -> Option<&'b Candidate<'a>> {
    let top = || {
        candidates.iter().filter(|candidate| {
            !candidates
                .iter()
                .any(|other| other.specificity.exceeds(&candidate.specificity))
        })
    };
    top()
        .find(|candidate| candidate.provision.kind == ProvisionType::Deny)
        .or_else(|| top().min_by_key(|candidate| candidate.consent.research()))
}

impl Candidate<'_> {
    fn decision(&self) -> Decision {
        let permit = self.provision.kind == ProvisionType::Permit;
        Decision {
            permit,
            consent: Some(self.consent.id()),
            provision: Some(self.path.into_iter().collect()),
            until_ms: self.until_ms.filter(|_| permit),
            research: self.consent.research(),
            reason: if permit {
                Reason::Permitted
            } else {
                Reason::DeniedByProvision
            },
        }
    }
}

/// The first criterion that does not fit, in the order of [`Reason`].
fn mismatch(provision: &Provision, request: &Request<'_>) -> Option<Reason> {
    let actor = fits_actor(provision, request);
    let purpose = provision.purposes.is_empty()
        || provision
            .purposes
            .iter()
            .any(|listed| listed.subsumes(request.purpose));
    if !actor {
        Some(Reason::Actor)
    } else if !purpose {
        Some(Reason::Purpose)
    } else {
        record_mismatch(provision, request.record, request.time_ms)
    }
}

/// A permit for an organization, or for anyone, is meant for people who work with records; a deny
/// is meant for everybody. Only its own permits open anything to a study.
fn fits_actor(provision: &Provision, request: &Request<'_>) -> bool {
    let requester = &request.requester;
    let permit = provision.kind == ProvisionType::Permit;
    let meant = !permit || requester.role.is_workforce();
    let fits = match &provision.actor {
        None => meant,
        Some(Actor::Identity(fingerprint)) => *fingerprint == requester.fingerprint,
        Some(Actor::RoleAt(organization, role)) => {
            organization.as_str() == requester.organization && *role == requester.role
        }
        Some(Actor::Organization(organization)) => {
            organization.as_str() == requester.organization && meant
        }
        Some(Actor::Role(role)) => *role == requester.role,
        Some(Actor::Study(study)) => return request.study == Some(*study),
    };
    fits && !(permit && request.study.is_some())
}

fn record_mismatch(provision: &Provision, record: &RecordFacts, time_ms: u64) -> Option<Reason> {
    let permit = provision.kind == ProvisionType::Permit;
    let checks = [
        (
            provision.period.is_none_or(|p| !p.is_after(time_ms)),
            Reason::NotYetValid,
        ),
        (
            provision.period.is_none_or(|p| !p.is_over(time_ms)),
            Reason::Expired,
        ),
        (
            fits_confidentiality(provision, record.confidentiality),
            Reason::Confidentiality,
        ),
        (fits_labels(provision, &record.labels), Reason::Label),
        (
            provision.categories.is_empty() || provision.categories.contains(&record.category),
            Reason::Category,
        ),
        (
            provision
                .data_period
                .is_none_or(|p| record.date_ms.map_or(!permit, |date| p.contains(date))),
            Reason::DataPeriod,
        ),
        (
            provision.records.is_empty() || provision.records.contains(&record.id),
            Reason::Record,
        ),
    ];
    checks
        .into_iter()
        .find_map(|(fits, reason)| (!fits).then_some(reason))
}

fn fits_confidentiality(provision: &Provision, level: Confidentiality) -> bool {
    match provision.kind {
        ProvisionType::Permit => level <= provision.ceiling.unwrap_or(Confidentiality::Normal),
        ProvisionType::Deny => provision.floor.is_none_or(|floor| level >= floor),
    }
}

fn fits_labels(provision: &Provision, labels: &[SensitivityLabel]) -> bool {
    let listed = |label| provision.labels.contains(label);
    match provision.kind {
        ProvisionType::Permit => labels.iter().all(listed),
        ProvisionType::Deny => provision.labels.is_empty() || labels.iter().any(listed),
    }
}
