//! A consent of the ledger as a resource.

use fhirkit::Primitive;
use fhirkit::r4::{
    self, Coding, ConsentPolicy, ConsentProvision, ConsentProvisionActor, ConsentProvisionData,
    Extension, ExtensionValue, Reference, Resource,
};
use stela_consent::{
    Actor, Confidentiality, Consent, Id, Policy, Provision, ProvisionType, Status,
};

use super::{PATIENT_CONSENT, POLICY, STUDY_CONTEXT, practitioner_role};
use crate::code::{
    ACT_CODE, ACT_REASON, CONFIDENTIALITY, CONSENT_SCOPE, LOINC, PARTICIPATION_TYPE, category,
    coding, concept,
};
use crate::moment::{BeyondDates, write_period};
use crate::reference;

/// The consent as a resource, from which [`import`](super::import) makes the same consent again
/// while it is active.
///
/// # Errors
/// [`BeyondDates`]: a period ends or starts after the year 9999.
pub fn export(patient: &Id, consent: &Consent, status: Status) -> Result<r4::Consent, BeyondDates> {
    let mut contained = Vec::new();
    let mut root = provision(consent.provision(), "role", &mut contained)?;
    for (index, exception) in consent.exceptions().iter().enumerate() {
        let role = format!("role-{index}");
        root.provision
            .push(provision(exception, &role, &mut contained)?);
    }
    let status = match status {
        Status::Active => "active",
        Status::Inactive => "inactive",
    };
    let category = match consent.research() {
        None => concept(LOINC, PATIENT_CONSENT),
        Some(research) => concept(ACT_CODE, research.code()),
    };
    let policy = match consent.policy() {
        None => POLICY.to_owned(),
        Some(policy) => format!("{}{policy}", Policy::BASE_URI),
    };
    Ok(r4::Consent {
        id: Some(consent.id().to_string()),
        contained,
        status: Some(status.into()),
        scope: Some(concept(CONSENT_SCOPE, consent.scope().code())),
        category: vec![category],
        patient: Some(reference::patient(patient)),
        policy: vec![ConsentPolicy {
            uri: Some(policy.into()),
            ..ConsentPolicy::default()
        }],
        provision: Some(root),
        ..r4::Consent::default()
    })
}

fn provision(
    provision: &Provision,
    role: &str,
    contained: &mut Vec<Resource>,
) -> Result<ConsentProvision, BeyondDates> {
    let kind = match provision.kind {
        ProvisionType::Permit => "permit",
        ProvisionType::Deny => "deny",
    };
    let codings = |system, codes: Vec<&str>| -> Vec<Coding> {
        codes.into_iter().map(|code| coding(system, code)).collect()
    };
    let mut security_label = levels(provision);
    security_label.extend(codings(
        ACT_CODE,
        provision.labels.iter().map(|label| label.code()).collect(),
    ));
    let class = provision.categories.iter().map(|one| {
        let (system, code) = category(*one);
        coding(system, code)
    });
    Ok(ConsentProvision {
        extension: study(provision.actor.as_ref()).into_iter().collect(),
        type_: Some(kind.into()),
        period: provision.period.as_ref().map(write_period).transpose()?,
        actor: actor(provision.actor.as_ref(), role, contained)
            .into_iter()
            .collect(),
        security_label,
        purpose: codings(
            ACT_REASON,
            provision.purposes.iter().map(|one| one.code()).collect(),
        ),
        class: class.collect(),
        data_period: provision
            .data_period
            .as_ref()
            .map(write_period)
            .transpose()?,
        data: provision.records.iter().map(data).collect(),
        ..ConsentProvision::default()
    })
}

/// The confidentiality of a permit is the highest, that of a deny every one that it covers.
fn levels(provision: &Provision) -> Vec<Coding> {
    let level = |level: Confidentiality| coding(CONFIDENTIALITY, level.code());
    match provision.kind {
        ProvisionType::Permit => vec![match provision.ceiling {
            Some(ceiling) => level(ceiling),
            None => Coding {
                user_selected: Some(false.into()),
                ..level(Confidentiality::Normal)
            },
        }],
        ProvisionType::Deny => provision.floor.map_or_else(Vec::new, |floor| {
            let covered = Confidentiality::ALL.iter().filter(|one| **one >= floor);
            covered.copied().map(level).collect()
        }),
    }
}

fn study(actor: Option<&Actor>) -> Option<Extension> {
    let Some(Actor::Study(study)) = actor else {
        return None;
    };
    Some(Extension {
        url: Some(STUDY_CONTEXT.to_owned()),
        value: Some(ExtensionValue::Reference(reference::study(study))),
        ..Extension::default()
    })
}

fn actor(
    actor: Option<&Actor>,
    role_id: &str,
    contained: &mut Vec<Resource>,
) -> Option<ConsentProvisionActor> {
    let mut role_resource = |organization, role| -> Reference {
        let resource = practitioner_role(role_id, organization, role);
        contained.push(Resource::PractitionerRole(Box::new(resource)));
        reference::literal(format!("#{role_id}"))
    };
    let reference = match actor? {
        Actor::Identity(fingerprint) => reference::certificate(fingerprint),
        Actor::Organization(organization) => reference::organization(organization),
        Actor::RoleAt(organization, role) => role_resource(Some(organization), *role),
        Actor::Role(role) => role_resource(None, *role),
        Actor::Study(_) => return None,
    };
    Some(ConsentProvisionActor {
        role: Some(concept(PARTICIPATION_TYPE, "IRCP")),
        reference: Some(reference),
        ..ConsentProvisionActor::default()
    })
}

fn data(record: &Id) -> ConsentProvisionData {
    ConsentProvisionData {
        meaning: Some(Primitive::from("instance")),
        reference: Some(reference::identified(
            Some("DocumentReference"),
            reference::RECORD,
            record.to_string(),
        )),
        ..ConsentProvisionData::default()
    }
}
