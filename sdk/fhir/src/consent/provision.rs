//! One provision of a resource, read criterion by criterion.

use fhirkit::r4::{
    Coding, ConsentProvision, ConsentProvisionActor, ExtensionValue, Reference, Resource,
};
use stela_consent::{Actor, Confidentiality, Id, Provision, ProvisionType, Role, SensitivityLabel};

use super::import::Reader;
use super::{STUDY_CONTEXT, practitioner_role};
use crate::code::{
    ACT_CODE, ACT_REASON, CONFIDENTIALITY, CONSENT_ACTION, PARTICIPATION_TYPE, ROLE, code_in,
    no_extension, only, parts, read_category, text,
};
use crate::moment::read_period;
use crate::reference::{self, Target, target};
use crate::refusal::{Read, Reason};

/// How security labels are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    /// As this crate writes them.
    Own,
    /// As R4 says.
    R4,
    /// As R4 says, in a provision that constrains terms and may leave them out.
    Constraint,
}

impl Reader<'_> {
    /// Reads one provision, without those nested in it.
    pub(super) fn provision(
        &self,
        one: &ConsentProvision,
        kind: ProvisionType,
        labels: Labels,
        element: &str,
    ) -> Read<Provision> {
        if !one.modifier_extension.is_empty() {
            return Err(Reason::Extension.at(format_args!("{element}.modifierExtension")));
        }
        let base = match kind {
            ProvisionType::Permit => Provision::permit([]),
            ProvisionType::Deny => Provision::deny(),
        };
        let mut read = Provision {
            actor: self.actor(one, element)?,
            period: read_period(&one.period, self.context.zone, &format!("{element}.period"))?,
            data_period: read_period(
                &one.data_period,
                self.context.zone,
                &format!("{element}.dataPeriod"),
            )?,
            ..base
        };
        actions(one, element)?;
        security_labels(one, labels, element, &mut read)?;
        for (index, purpose) in one.purpose.iter().enumerate() {
            let element = format!("{element}.purpose[{index}]");
            let code = code_in(purpose, ACT_REASON, &element)?;
            let purpose = code.parse().map_err(|_| Reason::UnknownCode.at(element))?;
            read.purposes.push(purpose);
        }
        if kind == ProvisionType::Permit && read.purposes.is_empty() && labels != Labels::Constraint
        {
            return Err(Reason::Missing.at(format_args!("{element}.purpose")));
        }
        for (index, class) in one.class.iter().enumerate() {
            let category = read_category(class, &format!("{element}.class[{index}]"))?;
            read.categories.push(category);
        }
        if !one.code.is_empty() {
            return Err(Reason::NotExpressible.at(format_args!("{element}.code")));
        }
        read.records = self.records(one, element)?;
        Ok(read)
    }

    fn records(&self, one: &ConsentProvision, element: &str) -> Read<Vec<Id>> {
        let mut records = Vec::new();
        for (index, data) in one.data.iter().enumerate() {
            let element = format!("{element}.data[{index}]");
            no_extension(&data.extension, &element)?;
            no_extension(&data.modifier_extension, &element)?;
            let meaning = format!("{element}.meaning");
            if text(&data.meaning, &meaning)? != "instance" {
                return Err(Reason::NotExpressible.at(meaning));
            }
            let element = format!("{element}.reference");
            let reference = data.reference.as_ref();
            let reference = reference.ok_or_else(|| Reason::Missing.at(&element))?;
            records.push(self.context.known.record(reference, &element)?);
        }
        Ok(records)
    }

    fn actor(&self, one: &ConsentProvision, element: &str) -> Read<Option<Actor>> {
        let study = self.study(one, element)?;
        match (one.actor.as_slice(), study) {
            ([], None) => Ok(None),
            ([], Some(study)) => Ok(Some(Actor::Study(study))),
            ([actor], None) => self
                .recipient(actor, &format!("{element}.actor[0]"))
                .map(Some),
            _ => Err(Reason::NotExpressible.at(format_args!("{element}.actor"))),
        }
    }

    fn study(&self, one: &ConsentProvision, element: &str) -> Read<Option<Id>> {
        let element = format!("{element}.extension");
        match one.extension.as_slice() {
            [] => Ok(None),
            [only] if only.url.as_deref() == Some(STUDY_CONTEXT) && only.extension.is_empty() => {
                match &only.value {
                    Some(ExtensionValue::Reference(study)) => {
                        self.context.known.study(study, &element).map(Some)
                    }
                    _ => Err(Reason::Missing.at(element)),
                }
            }
            _ => Err(Reason::Extension.at(element)),
        }
    }

    fn recipient(&self, actor: &ConsentProvisionActor, element: &str) -> Read<Actor> {
        no_extension(&actor.extension, element)?;
        no_extension(&actor.modifier_extension, element)?;
        let role_element = format!("{element}.role");
        let role = actor.role.as_ref();
        let role = only(
            role.ok_or_else(|| Reason::Missing.at(&role_element))?,
            &role_element,
        )?;
        if !["IRCP", "PRCP"].contains(&code_in(role, PARTICIPATION_TYPE, &role_element)?) {
            return Err(Reason::NotExpressible.at(role_element));
        }
        let element = format!("{element}.reference");
        let reference = actor.reference.as_ref();
        let reference = reference.ok_or_else(|| Reason::Missing.at(&element))?;
        self.whom(reference, &element)
    }

    fn whom(&self, reference: &Reference, element: &str) -> Read<Actor> {
        let unresolved = || Reason::Unresolved.at(element);
        match target(reference, element)? {
            Target::Literal(address) => match address.strip_prefix('#') {
                Some(id) => self.contained_role(id).ok_or_else(unresolved),
                None => {
                    let known = self.context.known.actors.get(address);
                    known.cloned().ok_or_else(unresolved)
                }
            },
            Target::Identified(reference::CERTIFICATE, value) => {
                value.parse().map(Actor::Identity).map_err(|_| unresolved())
            }
            Target::Identified(reference::ORGANIZATION, value) => value
                .parse()
                .map(Actor::Organization)
                .map_err(|_| unresolved()),
            Target::Identified(..) => Err(unresolved()),
        }
    }

    /// A contained role that says nothing but the role and perhaps the organization.
    fn contained_role(&self, id: &str) -> Option<Actor> {
        let mut matching = self.resource.contained.iter().filter_map(|one| match one {
            Resource::PractitionerRole(role) if role.id.as_deref() == Some(id) => Some(role),
            _ => None,
        });
        let found = matching.next()?;
        let [concept] = found.code.as_slice() else {
            return None;
        };
        let role: Role = code_in(only(concept, "").ok()?, ROLE, "")
            .ok()?
            .parse()
            .ok()?;
        let organization = match &found.organization {
            None => None,
            Some(reference) => match target(reference, "").ok()? {
                Target::Identified(reference::ORGANIZATION, value) => Some(value.parse().ok()?),
                _ => return None,
            },
        };
        let plain = **found == practitioner_role(id, organization.as_ref(), role);
        (plain && matching.next().is_none()).then_some(match organization {
            Some(organization) => Actor::RoleAt(organization, role),
            None => Actor::Role(role),
        })
    }
}

/// Reading is the only action that consents here rule, and the only one that R4 has tried out.
fn actions(one: &ConsentProvision, element: &str) -> Read<()> {
    for (index, action) in one.action.iter().enumerate() {
        let element = format!("{element}.action[{index}]");
        if code_in(only(action, &element)?, CONSENT_ACTION, &element)? != "access" {
            return Err(Reason::NotExpressible.at(element));
        }
    }
    Ok(())
}

fn security_labels(
    one: &ConsentProvision,
    reading: Labels,
    element: &str,
    into: &mut Provision,
) -> Read<()> {
    let element = format!("{element}.securityLabel");
    let mut levels: Vec<(Confidentiality, &Coding)> = Vec::new();
    for (index, label) in one.security_label.iter().enumerate() {
        let element = format!("{element}[{index}]");
        let unknown = || Reason::UnknownCode.at(&element);
        match parts(label, &element)? {
            (CONFIDENTIALITY, code) => {
                levels.push((code.parse().map_err(|_| unknown())?, label));
            }
            (ACT_CODE, code) => into.labels.push(code.parse().map_err(|_| unknown())?),
            _ => return Err(unknown()),
        }
    }
    let not_expressible = || Reason::NotExpressible.at(&element);
    match (into.kind, reading, levels.as_slice()) {
        (ProvisionType::Permit, _, [_, _, ..]) => Err(not_expressible()),
        (ProvisionType::Permit, Labels::R4 | Labels::Constraint, _) if !into.labels.is_empty() => {
            Err(not_expressible())
        }
        (ProvisionType::Permit, Labels::Constraint, []) => Ok(()),
        (ProvisionType::Permit, _, []) => Err(Reason::Missing.at(&element)),
        (ProvisionType::Permit, _, [(level, label)]) => {
            let chosen = label.user_selected.as_ref().and_then(|chosen| chosen.value);
            let default = *level == Confidentiality::Normal && chosen == Some(false);
            into.ceiling = (!default).then_some(*level);
            Ok(())
        }
        (ProvisionType::Deny, Labels::Own, levels) => {
            into.floor = levels.iter().map(|(level, _)| *level).min();
            let listed: Vec<Confidentiality> = levels.iter().map(|(level, _)| *level).collect();
            let covered = |floor| {
                Confidentiality::ALL
                    .iter()
                    .filter(move |one| **one >= floor)
            };
            let whole = into.floor.is_none_or(|floor| covered(floor).eq(&listed));
            whole.then_some(()).ok_or_else(not_expressible)
        }
        // A high-water mark: the highest level means every record.
        (ProvisionType::Deny, _, [] | [(Confidentiality::VeryRestricted, _)])
            if levels.is_empty() || into.labels.is_empty() =>
        {
            subsumed(&mut into.labels);
            Ok(())
        }
        (ProvisionType::Deny, ..) => Err(not_expressible()),
    }
}

/// Adds what the labels contain: in `v3-ActCode`, of the labels that are known here, only substance
/// use disorder contains another.
fn subsumed(labels: &mut Vec<SensitivityLabel>) {
    use SensitivityLabel::{OpioidUse, SubstanceUse};
    if labels.contains(&SubstanceUse) && !labels.contains(&OpioidUse) {
        labels.push(OpioidUse);
    }
}
