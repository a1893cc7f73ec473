//! Asking for consents, and answering.

use serde::Serialize;
use stela_consent::{
    Actor, Confidentiality, Consent, ConsentError, Fingerprint, Hex, Id, Organization, Provision,
    ResearchCategory, Role,
};
use stela_healthcare::RequestState;
use stela_healthcare::answer::FiledConsentRequest;
use stela_records::care::{ConsentAsked, Session};

use super::super::now_ms;
use super::super::record::{code, done};
use super::{DAY_MS, for_days, show_granted};
use crate::arguments::{Answering, Asked, AskedFor, Coverage};
use crate::output::{Output, printable, short, table, time};
use crate::profile::Profile;

#[derive(Serialize)]
struct Requested {
    request: Id,
    expires: u64,
    transaction: String,
}

pub(super) async fn ask(
    profile: &Profile,
    session: &Session,
    asked: Asked,
    output: &Output,
) -> anyhow::Result<()> {
    let expires_ms = now_ms() + u64::from(asked.answer_within) * DAY_MS;
    let (study, research) = (asked.study.study, asked.study.research);
    let actor = match study {
        Some(study) => Actor::Study(study),
        None => actor(profile, asked.asked_for)?,
    };
    let provision = Provision {
        actor: Some(actor),
        ceiling: Some(asked.coverage.max.unwrap_or(Confidentiality::Normal)),
        labels: asked.coverage.labels,
        categories: asked.coverage.categories,
        period: asked.coverage.days.map(for_days).transpose()?,
        ..Provision::permit(asked.purposes)
    };
    let request = ConsentAsked {
        patient: asked.patient,
        consent: consent(research, provision, Vec::new())?,
        reason: asked.reason,
        expires_ms,
        note: asked.note.as_deref(),
    };
    let (request, submitted) = session.ask_consent(&request).await?;
    let answer = Requested {
        request,
        expires: expires_ms,
        transaction: submitted.status.transaction.to_string(),
    };
    output.answer(&answer, |answer| {
        format!(
            "request {}\nthe patient can answer until {}\ntransaction {}",
            answer.request,
            time(answer.expires),
            answer.transaction
        )
    })
}

/// A new consent; one for a study when it says in which form that gets the records.
fn consent(
    research: Option<ResearchCategory>,
    provision: Provision,
    exceptions: Vec<Provision>,
) -> Result<Consent, ConsentError> {
    let id: Id = Hex(rand::random());
    match research {
        Some(category) => Consent::for_research(id, category, provision, exceptions),
        None => Consent::new(id, provision, exceptions),
    }
}

fn actor(profile: &Profile, asked_for: AskedFor) -> anyhow::Result<Actor> {
    let organization: Organization = profile.organization.as_str().parse()?;
    Ok(match asked_for {
        AskedFor::Me => {
            let fingerprint: Fingerprint = Hex(profile.credentials.fingerprint().0);
            Actor::Identity(fingerprint)
        }
        AskedFor::MyRole => {
            let role: Role = profile.credentials.certificate.role().parse()?;
            Actor::RoleAt(organization, role)
        }
        AskedFor::MyOrganization => Actor::Organization(organization),
    })
}

pub(super) async fn list(session: &Session, patient: Id, output: &Output) -> anyhow::Result<()> {
    let requests = session.consent_requests(patient).await?;
    output.answer(&requests, |requests| {
        let rows: Vec<Vec<String>> = requests.iter().map(row).collect();
        table(
            &[
                "REQUEST", "STATE", "UNTIL", "FOR", "PURPOSE", "REASON", "BY", "NOTE",
            ],
            &rows,
        )
    })
}

fn row(request: &FiledConsentRequest) -> Vec<String> {
    let provision = request.consent.provision();
    let purposes: Vec<String> = provision.purposes.iter().map(code).collect();
    let by = format!(
        "{} {} {}",
        code(&request.role),
        request.organization,
        short(request.by)
    );
    vec![
        request.request.to_string(),
        code(&request.state),
        time(request.expires),
        provision.actor.as_ref().map_or("anyone".to_owned(), code),
        purposes.join(","),
        code(&request.reason),
        by,
        if request.note.is_some() { "yes" } else { "-" }.to_owned(),
    ]
}

#[derive(Serialize)]
struct Note<'a> {
    request: Id,
    note: Option<&'a str>,
}

pub(super) async fn note(
    session: &Session,
    patient: Id,
    request: Id,
    output: &Output,
) -> anyhow::Result<()> {
    let filed = session.consent_request(patient, request).await?;
    let note = session.read_note(patient, &filed).await?;
    let answer = Note {
        request,
        note: note.as_deref().map(String::as_str),
    };
    output.answer(&answer, |answer| match answer.note {
        Some(note) => note.lines().map(|line| printable(line) + "\n").collect(),
        None => "there is no note beside this request".to_owned(),
    })
}

pub(super) async fn answer(
    profile: &Profile,
    session: &Session,
    answering: Answering,
    output: &Output,
) -> anyhow::Result<()> {
    let patient = answering.patient.map_or_else(|| profile.patient(), Ok)?;
    let request = answering.request;
    if answering.decline {
        let submitted = session.decline_consent(patient, request).await?;
        return done("declined", submitted.status.transaction, output);
    }
    let filed = session.consent_request(patient, request).await?;
    anyhow::ensure!(
        filed.state == RequestState::Open,
        "the request is {}; it cannot be answered",
        code(&filed.state)
    );
    let granted = part_of(&filed.consent, answering)?;
    let progress = output.progress("granting and sharing keys");
    let shared = session
        .approve_consent(patient, request, Some(&granted))
        .await?;
    drop(progress);
    show_granted(granted.id(), &shared, output)
}

/// What is asked for, or where the options say less, that. The contract refuses what says more.
fn part_of(asked: &Consent, answering: Answering) -> anyhow::Result<Consent> {
    let own = asked.provision().clone();
    let Coverage {
        max,
        labels,
        categories,
        days,
    } = answering.coverage;
    let provision = Provision {
        purposes: chosen(answering.purposes, own.purposes),
        ceiling: max.or(own.ceiling),
        labels: chosen(labels, own.labels),
        categories: chosen(categories, own.categories),
        period: days.map(for_days).transpose()?.or(own.period),
        ..own
    };
    let exceptions = asked.exceptions().to_vec();
    Ok(consent(asked.research(), provision, exceptions)?)
}

fn chosen<T>(chosen: Vec<T>, asked: Vec<T>) -> Vec<T> {
    if chosen.is_empty() { asked } else { chosen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_consent::{Category, Purpose};

    fn answering(
        purposes: Vec<Purpose>,
        categories: Vec<Category>,
        days: Option<u32>,
    ) -> Answering {
        Answering {
            request: Hex([1; 16]),
            approve: true,
            decline: false,
            purposes,
            coverage: Coverage {
                max: None,
                labels: Vec::new(),
                categories,
                days,
            },
            patient: None,
        }
    }

    #[test]
    fn what_is_granted_is_what_was_asked_or_less() {
        let provision = Provision {
            actor: Some(Actor::Organization("HospitalB".parse().unwrap())),
            categories: vec![Category::Laboratory, Category::Imaging],
            ..Provision::permit([Purpose::Treat])
        };
        let asked = Consent::new(Hex([7; 16]), provision, Vec::new()).unwrap();
        let whole = part_of(&asked, answering(Vec::new(), Vec::new(), None)).unwrap();
        assert_ne!(whole.id(), asked.id());
        assert_eq!(whole.provision(), asked.provision());
        let less = answering(
            vec![Purpose::Coordination],
            vec![Category::Imaging],
            Some(5),
        );
        let less = part_of(&asked, less).unwrap();
        assert_eq!(less.is_within(&asked), Ok(()));
        assert!(whole.is_within(&less).is_err());
        let more = answering(vec![Purpose::Research], Vec::new(), None);
        let more = part_of(&asked, more).unwrap();
        assert!(more.is_within(&asked).is_err());
    }
}
