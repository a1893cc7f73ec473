//! Whether an access would be permitted, and why, before it is asked for.

use std::sync::Arc;

use serde::Serialize;
use stela_consent::{
    Fingerprint, Hex, Id, Organization, Purpose, Reason, RecordFacts, Request, Requester, Role,
    decide,
};
use stela_healthcare::answer::{FiledConsent, RecordVersion};
use stela_healthcare::{Basis, DelegateScope, State, opens_to_delegate};
use stela_records::care::request::ListRecords;
use stela_records::care::{LedgerError, Session, Silent};

use super::now_ms;
use super::record::code;
use crate::arguments::Access;
use crate::output::{Output, short, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(profile: &Profile, command: Access, output: &Output) -> anyhow::Result<()> {
    let Access::Check {
        record,
        version,
        patient,
        purpose,
        organization,
        role,
        identity,
    } = command;
    let session = session::open(profile, Arc::new(Silent)).await?;
    let who = Who::of(profile, organization.zip(role), identity);
    let outcome = match who {
        Ok(who) => {
            let asked = Asked {
                record,
                version,
                patient: patient.or_else(|| profile.patient().ok()),
                purpose,
                who,
            };
            asked.check(&session).await
        }
        Err(error) => Err(error),
    };
    session.close().await;
    output.answer(&outcome?, Verdict::text)
}

/// Who would ask.
struct Who {
    fingerprint: Fingerprint,
    organization: Organization,
    role: Role,
    is_user: bool,
    /// The patient that the user's certificate names.
    patient: Option<Id>,
}

impl Who {
    fn of(
        profile: &Profile,
        other: Option<(Organization, Role)>,
        identity: Option<Fingerprint>,
    ) -> anyhow::Result<Self> {
        let certificate = &profile.credentials.certificate;
        Ok(match other {
            Some((organization, role)) => Self {
                // A certificate that nobody has: consents for one certificate do not fit it.
                fingerprint: identity.unwrap_or(Hex([0; 32])),
                organization,
                role,
                is_user: false,
                patient: None,
            },
            None => Self {
                fingerprint: Hex(profile.credentials.fingerprint().0),
                organization: profile.organization.as_str().parse()?,
                role: certificate.role().parse()?,
                is_user: true,
                patient: profile.patient().ok(),
            },
        })
    }

    fn requester(&self) -> Requester<'_> {
        Requester {
            fingerprint: self.fingerprint,
            organization: self.organization.as_str(),
            role: self.role,
        }
    }
}

struct Asked {
    record: Id,
    version: Option<u32>,
    patient: Option<Id>,
    purpose: Purpose,
    who: Who,
}

/// What would be decided, as far as this user can know it.
#[derive(Debug, Serialize)]
struct Verdict {
    /// `permit`, `deny`, or `unknown` when only the contract can tell.
    decision: &'static str,
    /// Whether the evaluator ran here (`consents`), or the contract's list says it (`list`).
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<Basis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provision: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    explanation: &'static str,
}

impl Verdict {
    fn permit(version: u32, basis: Basis, explanation: &'static str) -> Self {
        Self {
            decision: "permit",
            by: "consents",
            version: Some(version),
            basis: Some(basis),
            consent: None,
            provision: None,
            until: None,
            reason: None,
            explanation,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {}", self.decision, self.explanation);
        if let Some(version) = self.version {
            text.push_str(&format!("\nversion {version}"));
        }
        if let Some(consent) = self.consent {
            text.push_str(&format!("\nconsent {}", short(consent)));
            let place = self.provision.as_deref().unwrap_or_default();
            text.push_str(&match place {
                [] => ", its base provision".to_owned(),
                places => format!(", its exception {places:?}"),
            });
        }
        if let Some(until) = self.until {
            text.push_str(&format!("\nuntil {}", time(until)));
        }
        if let Some(basis) = &self.basis {
            text.push_str(&format!("\nbasis {}", code(basis)));
        }
        text + "\nnothing was asked for: `stela record read` asks, and the answer is recorded"
    }
}

impl Asked {
    async fn check(&self, session: &Session) -> anyhow::Result<Verdict> {
        let version = session.record(self.record, self.version).await;
        let Some(version) = if_shown(version)? else {
            return self.listed(session).await;
        };
        let consents = session.consents(version.patient, Some(self.record)).await;
        match if_shown(consents)? {
            Some(consents) => self.evaluated(session, &version, &consents).await,
            None => self.listed(session).await,
        }
    }

    /// The order of the contract, as its documentation says, over what it shows.
    async fn evaluated(
        &self,
        session: &Session,
        version: &RecordVersion,
        consents: &[FiledConsent],
    ) -> anyhow::Result<Verdict> {
        let number = version.version;
        let herself = self.who.is_user && self.who.patient == Some(version.patient);
        if herself && Purpose::PatientRequest.subsumes(self.purpose) {
            let why = "the record is about this user";
            return Ok(Verdict::permit(number, Basis::Patient, why));
        }
        if let Some(verdict) = self.unconfirmed(version) {
            return Ok(verdict);
        }
        if self.reads_as_delegate(session, version, consents).await? {
            let why = "a delegation permits it";
            return Ok(Verdict::permit(number, Basis::Delegate, why));
        }
        Ok(self.by_consents(version, consents))
    }

    /// What is decided without consents while a version is not confirmed.
    fn unconfirmed(&self, version: &RecordVersion) -> Option<Verdict> {
        if version.state == State::Active {
            return None;
        }
        let author = self.who.fingerprint == version.author && self.who.role != Role::Patient;
        let corrects = [Purpose::Treat, Purpose::Operations];
        let corrects = corrects.iter().any(|one| one.subsumes(self.purpose));
        let reviews = self.who.role == Role::RecordsOfficer
            && self.who.organization == version.organization
            && version.state == State::Pending
            && self.purpose == Purpose::Review;
        Some(if author && corrects {
            let why = "an author reads what is not confirmed";
            Verdict::permit(version.version, Basis::Author, why)
        } else if reviews {
            let why = "a records officer reads what is to be reviewed";
            Verdict::permit(version.version, Basis::Review, why)
        } else {
            self.denied(version.version, Reason::NotActive)
        })
    }

    fn denied(&self, version: u32, reason: Reason) -> Verdict {
        Verdict {
            decision: "deny",
            by: "consents",
            version: Some(version),
            basis: Some(Basis::Consent),
            consent: None,
            provision: None,
            until: None,
            reason: Some(reason.code()),
            explanation: reason.explanation(),
        }
    }

    async fn reads_as_delegate(
        &self,
        session: &Session,
        version: &RecordVersion,
        consents: &[FiledConsent],
    ) -> anyhow::Result<bool> {
        if !Purpose::PatientRequest.subsumes(self.purpose) {
            return Ok(false);
        }
        let (facts, now_ms) = (facts(version), now_ms());
        let standing = consents.iter().map(|filed| (&filed.consent, filed.status));
        Ok(session
            .delegates(version.patient)
            .await?
            .iter()
            .filter(|one| one.delegate == self.who.fingerprint && one.counts)
            .filter(|one| one.scope.contains(&DelegateScope::Read))
            .filter(|one| one.kind.purpose() == self.purpose)
            .any(|one| {
                let requester = self.who.requester();
                opens_to_delegate(one.kind, requester, &facts, now_ms, standing.clone())
            }))
    }

    fn by_consents(&self, version: &RecordVersion, consents: &[FiledConsent]) -> Verdict {
        let facts = facts(version);
        let request = Request {
            requester: self.who.requester(),
            purpose: self.purpose,
            study: None,
            time_ms: now_ms(),
            record: &facts,
        };
        let standing = consents.iter().map(|filed| (&filed.consent, filed.status));
        let decision = decide(&request, standing);
        Verdict {
            decision: if decision.permit { "permit" } else { "deny" },
            consent: decision.consent,
            provision: decision.provision,
            until: decision.until_ms,
            ..self.denied(version.version, decision.reason)
        }
    }

    /// What the contract lists to the user for this purpose; it says nothing about anybody else.
    async fn listed(&self, session: &Session) -> anyhow::Result<Verdict> {
        let unknown = |explanation| Verdict {
            decision: "unknown",
            by: "list",
            version: None,
            basis: None,
            consent: None,
            provision: None,
            until: None,
            reason: None,
            explanation,
        };
        if !self.who.is_user {
            return Ok(unknown("the patient's consents are not shown to this user"));
        }
        let Some(patient) = self.patient else {
            anyhow::bail!("name the --patient: the record is not shown to this user");
        };
        let records = session
            .records(ListRecords {
                purpose: Some(self.purpose),
                ..ListRecords::of(patient)
            })
            .await?;
        let found = records.iter().find(|one| one.record == self.record);
        let fits = |one: u32| self.version.is_none_or(|asked| asked == one);
        Ok(match found {
            Some(found) if found.state == State::Active && fits(found.version) => Verdict {
                decision: "permit",
                version: Some(found.version),
                ..unknown("the contract lists this version to the user for this purpose")
            },
            _ => unknown(
                "the contract does not list it to this user for this purpose; it says why only \
                 when it is asked, and records the answer",
            ),
        })
    }
}

fn facts(version: &RecordVersion) -> RecordFacts {
    RecordFacts {
        id: version.record,
        category: version.category,
        confidentiality: version.confidentiality,
        labels: version.labels.clone(),
        date_ms: version.date,
    }
}

/// What the contract shows to this user, or nothing if it does not.
fn if_shown<T>(answer: Result<T, LedgerError>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(shown) => Ok(Some(shown)),
        Err(error) if error.is_refusal("forbidden") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_consent::{Actor, Consent, Provision, Status};

    fn version(state: &str) -> RecordVersion {
        serde_json::from_value(serde_json::json!({
            "record": "01".repeat(16),
            "version": 1,
            "latest": 1,
            "state": state,
            "patient": "02".repeat(16),
            "author": "03".repeat(32),
            "organization": "HospitalA",
            "submitted": 1,
            "cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            "category": "laboratory",
            "confidentiality": "N",
            "labels": [],
            "header": "00",
            "commitment": "04".repeat(32),
            "wraps": [],
        }))
        .unwrap()
    }

    fn asked(organization: &str, role: Role, purpose: Purpose) -> Asked {
        Asked {
            record: Hex([1; 16]),
            version: None,
            patient: None,
            purpose,
            who: Who {
                fingerprint: Hex([9; 32]),
                organization: organization.parse().unwrap(),
                role,
                is_user: false,
                patient: None,
            },
        }
    }

    #[test]
    fn the_answer_names_the_consent_and_the_reason() {
        let provision = Provision {
            actor: Some(Actor::Organization("HospitalB".parse().unwrap())),
            ..Provision::permit([Purpose::Treat])
        };
        let id = Hex([7; 16]);
        let filed = [FiledConsent {
            consent: Consent::new(id, provision, Vec::new()).unwrap(),
            status: Status::Active,
            revoked: None,
        }];
        let check = |organization, purpose, decision, reason| {
            let asked = asked(organization, Role::Practitioner, purpose);
            let verdict = asked.by_consents(&version("active"), &filed);
            assert_eq!(verdict.decision, decision);
            assert_eq!(verdict.reason, Some(reason));
            assert_eq!(verdict.consent.is_some(), decision == "permit");
        };
        check("HospitalB", Purpose::Treat, "permit", "permitted");
        check("HospitalB", Purpose::Research, "deny", "purpose");
        check("HospitalC", Purpose::Treat, "deny", "actor");
    }

    #[test]
    fn what_is_not_confirmed_is_for_its_reviewer() {
        let reviewer = asked("HospitalA", Role::RecordsOfficer, Purpose::Review);
        let check = |state: &str, expect: Option<&str>| {
            let verdict = reviewer.unconfirmed(&version(state));
            assert_eq!(verdict.map(|verdict| verdict.decision), expect, "{state}");
        };
        check("pending", Some("permit"));
        check("rejected", Some("deny"));
        check("active", None);
    }
}
