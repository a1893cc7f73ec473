//! The audit trail as `AuditEvent`s, as IHE BALP profiles them.
//!
//! | Entry | Event |
//! |---|---|
//! | a decision about access | a Security Alert (DCM 110113), an Authorization Decision, with the patient and the consent that decided; [`AUTHZ_CONSENT`] when consents decided |
//! | a permitted access, a broken glass too, besides | an Export (DCM 110106) with the lifecycle event `disclose`, from the ledger (110153) to the reader (110152): [`DISCLOSURE`] |
//! | anything else | a Patient Record event (DCM 110110) with the kind of the entry as its subtype |
//!
//! The ledger does not know from which address somebody asked; where BALP wants one stands the
//! organization whose gateway did, as an address of this ledger.

use fhirkit::Primitive;
use fhirkit::r4::{
    AuditEvent, AuditEventAgent, AuditEventAgentNetwork, AuditEventEntity, AuditEventEntityDetail,
    AuditEventEntityDetailValue, AuditEventSource, CodeableConcept, Meta, Reference,
};
use stela_consent::Id;
use stela_healthcare::Basis;
use stela_healthcare::answer::{AuditEntry, AuditKind};

use crate::code::{
    ACT_REASON, AUDIT_ENTITY_TYPE, AUDIT_KIND, AUTHZ_SUBTYPE, DICOM, LIFECYCLE, OBJECT_ROLE,
    PARTICIPATION_TYPE, RESOURCE_TYPES, ROLE, ROLE_CLASS, SECURITY_ROLE, SECURITY_SOURCE, coding,
    concept,
};
use crate::moment::{BeyondDates, instant};
use crate::reference::{self, CHANNEL};

/// The profile of a decision by consents.
pub const AUTHZ_CONSENT: &str =
    "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.AuthZconsent";
/// The profile of a disclosure, as its source records it.
pub const DISCLOSURE: &str =
    "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PrivacyDisclosure.Source";

/// Hexadecimal digits of a transaction in the id of an event: an id has 64 characters.
const TRANSACTION_DIGITS: usize = 48;

/// The events of one entry of a patient's audit trail on a channel.
///
/// # Errors
/// [`BeyondDates`]: it was made after the year 9999.
pub fn events(
    channel: &str,
    patient: &Id,
    entry: &AuditEntry,
) -> Result<Vec<AuditEvent>, BeyondDates> {
    let trail = Trail {
        channel,
        patient,
        entry,
        recorded: instant(entry.time)?,
    };
    Ok(match entry.event {
        AuditKind::AccessPermitted | AuditKind::EmergencyAccessed => {
            vec![trail.decision(true), trail.disclosure()]
        }
        AuditKind::AccessDenied => vec![trail.decision(false)],
        _ => vec![trail.change()],
    })
}

struct Trail<'a> {
    channel: &'a str,
    patient: &'a Id,
    entry: &'a AuditEntry,
    recorded: Primitive<String>,
}

impl Trail<'_> {
    fn event(&self, code: &str, action: &str, suffix: &str) -> AuditEvent {
        let mut id = self.entry.transaction.to_string();
        id.truncate(TRANSACTION_DIGITS);
        AuditEvent {
            id: Some(format!("{id}-{suffix}")),
            type_: Some(coding(DICOM, code)),
            action: Some(action.into()),
            recorded: Some(self.recorded.clone()),
            outcome: Some("0".into()),
            purpose_of_event: self.purpose(),
            source: Some(AuditEventSource {
                observer: Some(self.ledger()),
                type_: vec![coding(SECURITY_SOURCE, "6")],
                ..AuditEventSource::default()
            }),
            ..AuditEvent::default()
        }
    }

    fn decision(&self, permit: bool) -> AuditEvent {
        let by_consent = self.entry.basis == Some(Basis::Consent);
        let subtype = if by_consent {
            "AuthZ-Consent"
        } else {
            "AuthZ-Role"
        };
        let mut entity = vec![self.patient_entity()];
        if by_consent {
            entity.push(self.consent_entity());
        }
        AuditEvent {
            meta: by_consent.then(|| profile(AUTHZ_CONSENT)),
            subtype: vec![coding(AUTHZ_SUBTYPE, subtype)],
            outcome: Some(if permit { "0" } else { "8" }.into()),
            outcome_desc: self.reason().filter(|_| !permit),
            agent: vec![
                self.authorizer(),
                self.client(),
                self.user(),
                self.user_organization(),
            ],
            entity,
            ..self.event("110113", "E", "decision")
        }
    }

    fn disclosure(&self) -> AuditEvent {
        let source = AuditEventAgent {
            type_: Some(concept(DICOM, "110153")),
            who: Some(self.ledger()),
            requestor: Some(false.into()),
            network: Some(address(format!("{CHANNEL}:{}", self.channel))),
            ..AuditEventAgent::default()
        };
        let recipient = AuditEventAgent {
            type_: Some(concept(DICOM, "110152")),
            requestor: Some(true.into()),
            purpose_of_use: self.purpose(),
            ..self.client()
        };
        AuditEvent {
            meta: Some(profile(DISCLOSURE)),
            subtype: vec![coding(LIFECYCLE, "disclose")],
            agent: vec![source, recipient],
            entity: [self.patient_entity()]
                .into_iter()
                .chain(self.record_entity())
                .collect(),
            ..self.event("110106", "R", "disclosure")
        }
    }

    fn change(&self) -> AuditEvent {
        let action = match self.entry.event {
            AuditKind::Registered | AuditKind::Submitted | AuditKind::ConsentGranted => "C",
            _ => "U",
        };
        let kind = serde_json::to_value(self.entry.event).ok();
        let kind = kind.as_ref().and_then(|kind| kind.as_str());
        let consent = self.entry.consent.map(|_| self.consent_entity());
        let subject = self.entry.subject.as_ref().map(|subject| AuditEventEntity {
            what: Some(reference::certificate(subject)),
            type_: Some(coding(AUDIT_ENTITY_TYPE, "1")),
            ..AuditEventEntity::default()
        });
        AuditEvent {
            subtype: kind
                .map(|kind| coding(AUDIT_KIND, kind))
                .into_iter()
                .collect(),
            outcome_desc: self.reason(),
            agent: vec![self.user()],
            entity: [self.patient_entity()]
                .into_iter()
                .chain(self.record_entity())
                .chain(consent)
                .chain(subject)
                .collect(),
            ..self.event("110110", action, "change")
        }
    }

    fn purpose(&self) -> Vec<CodeableConcept> {
        let purpose = self.entry.purpose.iter();
        purpose.map(|one| concept(ACT_REASON, one.code())).collect()
    }

    /// The reason as a sentence where it is one of a decision, as a code otherwise.
    fn reason(&self) -> Option<Primitive<String>> {
        let code = self.entry.reason.as_deref()?;
        let sentence = code.parse::<stela_consent::Reason>();
        Some(sentence.map_or(code, |reason| reason.explanation()).into())
    }

    fn ledger(&self) -> Reference {
        reference::identified(Some("Device"), CHANNEL, self.channel.to_owned())
    }

    fn who(&self) -> Option<Reference> {
        self.entry.by.as_ref().map(reference::certificate)
    }

    fn authorizer(&self) -> AuditEventAgent {
        AuditEventAgent {
            type_: Some(concept(SECURITY_ROLE, "authserver")),
            who: Some(self.ledger()),
            requestor: Some(false.into()),
            ..AuditEventAgent::default()
        }
    }

    fn client(&self) -> AuditEventAgent {
        let organization = self.entry.organization.as_ref();
        AuditEventAgent {
            type_: Some(concept(DICOM, "110150")),
            who: self.who(),
            requestor: Some(false.into()),
            network: organization.map(|one| address(format!("{}:{one}", reference::ORGANIZATION))),
            ..AuditEventAgent::default()
        }
    }

    fn user(&self) -> AuditEventAgent {
        AuditEventAgent {
            type_: Some(concept(PARTICIPATION_TYPE, "IRCP")),
            role: vec![concept(ROLE, self.entry.role.code())],
            who: self.who(),
            requestor: Some(true.into()),
            purpose_of_use: self.purpose(),
            ..AuditEventAgent::default()
        }
    }

    fn user_organization(&self) -> AuditEventAgent {
        AuditEventAgent {
            type_: Some(concept(ROLE_CLASS, "PROV")),
            who: self
                .entry
                .organization
                .as_ref()
                .map(reference::organization),
            requestor: Some(false.into()),
            ..AuditEventAgent::default()
        }
    }

    /// The patient, with what else the entry names and BALP has no entities for.
    fn patient_entity(&self) -> AuditEventEntity {
        let entry = self.entry;
        let record = entry.record.zip(entry.version);
        let named = [
            (
                "record",
                record.map(|(id, version)| reference::document_id(&id, version)),
            ),
            ("study", entry.study.map(|id| id.to_string())),
            ("delegation", entry.delegation.map(|id| id.to_string())),
            (
                "consent-request",
                entry.consent_request.map(|id| id.to_string()),
            ),
            ("emergency", entry.request.map(|id| id.to_string())),
            (
                "noted-by",
                entry.noted_by.as_ref().map(|name| name.to_string()),
            ),
        ];
        let details = named
            .into_iter()
            .filter_map(|(kind, value)| Some(detail(kind, value?)));
        AuditEventEntity {
            what: Some(reference::patient(self.patient)),
            type_: Some(coding(AUDIT_ENTITY_TYPE, "1")),
            role: Some(coding(OBJECT_ROLE, "1")),
            detail: details.collect(),
            ..AuditEventEntity::default()
        }
    }

    /// The consent that decided and where in it, or that none did.
    fn consent_entity(&self) -> AuditEventEntity {
        let what = match &self.entry.consent {
            Some(consent) => reference::literal(format!("Consent/{consent}")),
            None => Reference {
                display: self.reason(),
                ..Reference::default()
            },
        };
        let provision = self.entry.provision.as_ref().map(|path| {
            let path: String = path.iter().map(|i| format!(".provision[{i}]")).collect();
            detail("provision", format!("Consent.provision{path}"))
        });
        AuditEventEntity {
            what: Some(what),
            type_: Some(coding(RESOURCE_TYPES, "Consent")),
            detail: provision.into_iter().collect(),
            ..AuditEventEntity::default()
        }
    }

    fn record_entity(&self) -> Option<AuditEventEntity> {
        let (record, version) = self.entry.record.as_ref().zip(self.entry.version)?;
        Some(AuditEventEntity {
            what: Some(reference::document(record, version)),
            type_: Some(coding(AUDIT_ENTITY_TYPE, "2")),
            role: Some(coding(OBJECT_ROLE, "3")),
            ..AuditEventEntity::default()
        })
    }
}

fn profile(uri: &str) -> Meta {
    Meta {
        profile: vec![uri.into()],
        ..Meta::default()
    }
}

/// An address that is a URI.
fn address(uri: String) -> AuditEventAgentNetwork {
    AuditEventAgentNetwork {
        address: Some(uri.into()),
        type_: Some("5".into()),
        ..AuditEventAgentNetwork::default()
    }
}

fn detail(kind: &str, value: String) -> AuditEventEntityDetail {
    AuditEventEntityDetail {
        type_: Some(kind.into()),
        value: Some(AuditEventEntityDetailValue::String(value.into())),
        ..AuditEventEntityDetail::default()
    }
}
