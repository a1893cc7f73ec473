//! A resource as a consent of the ledger, or why it is none.

use fhirkit::r4::{self, ConsentProvision};
use stela_consent::{
    Actor, Confidentiality, Consent, Hex, Id, Policy, Provision, ProvisionType, Purpose,
    ResearchCategory, Scope,
};

use super::provision::Labels;
use super::{Context, PATIENT_CONSENT, POLICY};
use crate::code::{
    ACT_CODE, CONSENT_SCOPE, LOINC, code_in, no_extension, only, optional_text, parts, text,
};
use crate::reference::{self, Target, target};
use crate::refusal::{Read, Reason, Refusal};

const ROOT: &str = "Consent.provision";

/// The consent that a resource states, under a new id, and the reference to its patient
/// (`Patient/…`): whoever grants it has to be that patient.
///
/// The module's documentation says which resources are understood and how.
///
/// # Errors
/// [`Refusal`] with the first element that stands in the way.
pub fn import(
    resource: &r4::Consent,
    id: Id,
    context: &Context,
) -> Result<(String, Consent), Refusal> {
    let reader = Reader { resource, context };
    reader.refuse_modifiers()?;
    let patient = reader.patient()?;
    let research = reader.research()?;
    let (provision, exceptions) = match reader.base()? {
        Base::Own => reader.typed()?,
        Base::Policy(policy) => return Ok((patient, reader.policy(policy, id)?)),
        Base::OptIn => reader.opt_in()?,
        Base::OptOut => reader.opt_out()?,
    };
    let consent = build(id, research, provision, exceptions)?;
    Ok((patient, consent))
}

fn build(
    id: Id,
    research: Option<ResearchCategory>,
    provision: Provision,
    exceptions: Vec<Provision>,
) -> Read<Consent> {
    match research {
        None => Consent::new(id, provision, exceptions),
        Some(category) => Consent::for_research(id, category, provision, exceptions),
    }
    .map_err(|error| Reason::Consent(error).at(ROOT))
}

/// What the consent is based on.
enum Base {
    /// Provisions as they are written here.
    Own,
    /// One of IHE's ready-made policies.
    Policy(Policy),
    /// Assent to the terms that were offered.
    OptIn,
    /// Dissent.
    OptOut,
}

pub(super) struct Reader<'a> {
    pub(super) resource: &'a r4::Consent,
    pub(super) context: &'a Context,
}

type Provisions = (Provision, Vec<Provision>);

impl Reader<'_> {
    fn refuse_modifiers(&self) -> Read<()> {
        let resource = self.resource;
        no_extension(&resource.extension, "Consent")?;
        if !resource.modifier_extension.is_empty() {
            return Err(Reason::Extension.at("Consent.modifierExtension"));
        }
        if resource.implicit_rules.is_some() {
            return Err(Reason::NotExpressible.at("Consent.implicitRules"));
        }
        if !resource.verification.is_empty() {
            return Err(Reason::NotExpressible.at("Consent.verification"));
        }
        match text(&resource.status, "Consent.status")? {
            "active" => Ok(()),
            _ => Err(Reason::NotActive.at("Consent.status")),
        }
    }

    fn patient(&self) -> Read<String> {
        let element = "Consent.patient";
        let found = self.resource.patient.as_ref();
        match target(found.ok_or_else(|| Reason::Missing.at(element))?, element)? {
            Target::Literal(address) => Ok(address.to_owned()),
            Target::Identified(system, value) if system == reference::PATIENT => {
                Ok(format!("Patient/{value}"))
            }
            Target::Identified(..) => Err(Reason::Unresolved.at(element)),
        }
    }

    /// The research category, when the scope is research.
    fn research(&self) -> Read<Option<ResearchCategory>> {
        let element = "Consent.scope";
        let scope = self.resource.scope.as_ref();
        let scope = only(scope.ok_or_else(|| Reason::Missing.at(element))?, element)?;
        let scope: Scope = code_in(scope, CONSENT_SCOPE, element)?
            .parse()
            .map_err(|_| Reason::NotExpressible.at(element))?;
        let mut found = None;
        for (index, category) in self.resource.category.iter().enumerate() {
            let element = format!("Consent.category[{index}]");
            match parts(only(category, &element)?, &element)? {
                (LOINC, PATIENT_CONSENT) => {}
                (ACT_CODE, code) if scope == Scope::Research && found.is_none() => {
                    let known = code.parse().map_err(|_| Reason::UnknownCode.at(&element))?;
                    found = Some(known);
                }
                _ => return Err(Reason::UnknownCode.at(element)),
            }
        }
        if scope == Scope::Research && found.is_none() {
            return Err(Reason::Missing.at("Consent.category"));
        }
        Ok(found)
    }

    fn base(&self) -> Read<Base> {
        match (self.resource.policy.as_slice(), &self.resource.policy_rule) {
            ([], Some(rule)) => {
                let element = "Consent.policyRule";
                match code_in(only(rule, element)?, ACT_CODE, element)? {
                    "OPTIN" => Ok(Base::OptIn),
                    "OPTOUT" => Ok(Base::OptOut),
                    _ => Err(Reason::UnknownPolicy.at(element)),
                }
            }
            ([policy], None) => {
                let element = "Consent.policy[0]";
                no_extension(&policy.extension, element)?;
                no_extension(&policy.modifier_extension, element)?;
                let uri = text(&policy.uri, format_args!("{element}.uri"))?;
                if uri == POLICY {
                    return Ok(Base::Own);
                }
                uri.strip_prefix(Policy::BASE_URI)
                    .and_then(|code| code.parse().ok())
                    .map(Base::Policy)
                    .ok_or_else(|| Reason::UnknownPolicy.at(format_args!("{element}.uri")))
            }
            ([], None) => Err(Reason::Missing.at("Consent.policy")),
            _ => Err(Reason::NotExpressible.at("Consent.policy")),
        }
    }

    fn terms(&self) -> Read<Provision> {
        let unknown = || Reason::UnknownTerms.at("Consent.policyRule");
        let offered = self.context.offered.ok_or_else(unknown)?;
        // Only its provision is taken.
        let base = offered.consent(Hex([0; 16])).provision().clone();
        (base.kind == ProvisionType::Permit)
            .then_some(base)
            .ok_or_else(unknown)
    }

    /// Provisions that say themselves whether they permit or deny.
    fn typed(&self) -> Read<Provisions> {
        let root = self.root().ok_or_else(|| Reason::Missing.at(ROOT))?;
        let kind = kind(root, ROOT)?.ok_or_else(|| Reason::Missing.at("Consent.provision.type"))?;
        let base = self.provision(root, kind, Labels::Own, ROOT)?;
        Ok((base, self.nested(kind, Labels::Own)?))
    }

    fn policy(&self, policy: Policy, id: Id) -> Read<Consent> {
        let whole = policy.consent(id);
        if self.root().is_none() {
            return Ok(whole);
        }
        let (provision, exceptions) = self.typed()?;
        if provision == *whole.provision() && exceptions == whole.exceptions() {
            Ok(whole)
        } else {
            Err(Reason::NotThePolicy.at(ROOT))
        }
    }

    fn opt_in(&self) -> Read<Provisions> {
        let mut terms = self.terms()?;
        let Some(root) = self.constraint(ProvisionType::Permit)? else {
            return Ok((terms, Vec::new()));
        };
        let narrower = self.provision(root, ProvisionType::Permit, Labels::Constraint, ROOT)?;
        let offered = |one: &Purpose| terms.purposes.iter().any(|term| term.subsumes(*one));
        if !narrower.purposes.iter().all(offered) {
            return Err(Reason::BeyondTerms.at("Consent.provision.purpose"));
        }
        if !narrower.purposes.is_empty() {
            terms.purposes = narrower.purposes;
        }
        if let Some(stated) = narrower.ceiling {
            let offered = terms.ceiling.unwrap_or(Confidentiality::Normal);
            terms.ceiling = Some(stated.min(offered));
        }
        terms.actor = both(terms.actor, narrower.actor)
            .ok_or_else(|| Reason::BeyondTerms.at("Consent.provision.actor"))?;
        terms.categories = narrower.categories;
        terms.period = narrower.period;
        terms.data_period = narrower.data_period;
        terms.records = narrower.records;
        Ok((terms, self.nested(ProvisionType::Permit, Labels::R4)?))
    }

    fn opt_out(&self) -> Read<Provisions> {
        let base = match self.constraint(ProvisionType::Deny)? {
            None => Provision::deny(),
            Some(root) => self.provision(root, ProvisionType::Deny, Labels::R4, ROOT)?,
        };
        Ok((base, self.nested(ProvisionType::Deny, Labels::R4)?))
    }

    /// The root provision, which constrains a base policy and has no type but that of the policy.
    fn constraint(&self, base: ProvisionType) -> Read<Option<&ConsentProvision>> {
        let root = self.root();
        match root.map(|root| kind(root, ROOT)).transpose()?.flatten() {
            Some(stated) if stated != base => {
                Err(Reason::NotExpressible.at("Consent.provision.type"))
            }
            _ => Ok(root),
        }
    }

    fn root(&self) -> Option<&ConsentProvision> {
        self.resource.provision.as_ref()
    }

    /// The exceptions; each has the other type.
    fn nested(&self, base: ProvisionType, labels: Labels) -> Read<Vec<Provision>> {
        let nested = self
            .resource
            .provision
            .iter()
            .flat_map(|one| &one.provision);
        let mut found = Vec::new();
        for (index, exception) in nested.enumerate() {
            let element = format!("{ROOT}.provision[{index}]");
            let at_type = || format!("{element}.type");
            let kind = kind(exception, &element)?.ok_or_else(|| Reason::Missing.at(at_type()))?;
            if kind == base {
                return Err(Reason::NotExpressible.at(at_type()));
            }
            if !exception.provision.is_empty() {
                return Err(Reason::NotExpressible.at(format_args!("{element}.provision")));
            }
            found.push(self.provision(exception, kind, labels, &element)?);
        }
        Ok(found)
    }
}

/// The actor whom both mean; nothing when that cannot be said.
fn both(terms: Option<Actor>, stated: Option<Actor>) -> Option<Option<Actor>> {
    match (terms, stated) {
        (None, one) | (one, None) => Some(one),
        (Some(Actor::Role(role)), Some(Actor::Organization(organization))) => {
            Some(Some(Actor::RoleAt(organization, role)))
        }
        (Some(Actor::Role(role)), Some(Actor::RoleAt(organization, same))) if role == same => {
            Some(Some(Actor::RoleAt(organization, same)))
        }
        (terms, stated) => (terms == stated).then_some(terms),
    }
}

fn kind(one: &ConsentProvision, element: &str) -> Read<Option<ProvisionType>> {
    let element = format!("{element}.type");
    match optional_text(&one.type_, &element)? {
        None => Ok(None),
        Some("permit") => Ok(Some(ProvisionType::Permit)),
        Some("deny") => Ok(Some(ProvisionType::Deny)),
        Some(_) => Err(Reason::UnknownCode.at(element)),
    }
}
