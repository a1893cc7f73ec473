//! Research studies.

use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use sha2::{Digest, Sha256};
use stela_consent::{Actor, Consent, Hex, Id, Period, Provision, ResearchCategory};
use stela_records::care::answer::{Study as Registered, StudyRecord};
use stela_records::care::request::{RegisterStudy, StudyCohort};
use stela_records::care::{Counted, ForStudy, Session, Silent};

use super::consent::{Rewrapped, warn_unshared};
use super::record::{code, done};
use crate::arguments::{Study, StudyTerms};
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(profile: &Profile, command: Study, output: &Output) -> anyhow::Result<()> {
    let session = session::open(profile, Arc::new(Silent)).await?;
    let outcome = dispatch(profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn dispatch(
    profile: &Profile,
    session: &Session,
    command: Study,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        Study::Register(terms) => register(session, terms, output).await,
        Study::Investigators { study, add, remove } => {
            investigators(session, study, add, remove, output).await
        }
        Study::Show { study } => {
            let found = session.study(study).await?;
            output.answer(&found, show)
        }
        Study::End { study } => {
            let submitted = session.end_study(study).await?;
            done("ended", submitted.status.transaction, output)
        }
        Study::Enrol {
            study,
            research,
            patient,
        } => {
            let herself = patient.is_none() || patient == profile.patient().ok();
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            enrol(session, (patient, herself), (study, research), output).await
        }
        Study::Withdraw { study, patient } => {
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            let submitted = session.withdraw_from_study(patient, study).await?;
            done("withdrawn", submitted.status.transaction, output)
        }
        Study::Cohort {
            study,
            category,
            label,
            from,
            to,
        } => {
            let request = StudyCohort {
                study,
                purpose: None,
                category,
                label,
                from,
                to,
                part: None,
            };
            let found = session.study_cohort(&request).await?;
            output.answer(&found, counted)
        }
        Study::Records { study, purpose } => {
            let found = session.study_records(study, purpose).await?;
            output.answer(&found, |found| records(found))
        }
        Study::Read {
            study,
            pseudonym,
            record,
            version,
            purpose,
            out,
        } => {
            let wanted = ForStudy {
                study,
                pseudonym,
                record,
                version,
                purpose,
            };
            let progress = output.progress("reading");
            let opened = session.read_for_study(&wanted, &out).await;
            drop(progress);
            let opened = opened?;
            let read = Read {
                record,
                pseudonym,
                patient: opened.reading.grant.patient,
                file: out.display().to_string(),
                content_bytes: opened.metadata.content_bytes(),
                transaction: opened.reading.grant.request,
            };
            output.answer(&read, |read| {
                let known = read.patient.map(|id| format!(", patient {id}"));
                format!(
                    "{} bytes in {}{}\ntransaction {}",
                    read.content_bytes,
                    read.file,
                    known.unwrap_or_default(),
                    read.transaction
                )
            })
        }
    }
}

#[derive(Serialize)]
struct Read {
    record: Id,
    pseudonym: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<Id>,
    file: String,
    content_bytes: u64,
    transaction: Hex<32>,
}

#[derive(Serialize)]
struct New {
    study: Id,
    /// SHA-256 of the salt and the file.
    approval: Hex<32>,
    /// With it and the file, the hash on the ledger can be made again.
    approval_salt: Hex<32>,
    transaction: String,
}

async fn register(session: &Session, terms: StudyTerms, output: &Output) -> anyhow::Result<()> {
    let document = std::fs::read(&terms.approval)
        .with_context(|| format!("the approval {}", terms.approval.display()))?;
    let salt: [u8; 32] = rand::random();
    let hash = Sha256::new().chain_update(salt).chain_update(document);
    let request = RegisterStudy {
        study: terms.study.unwrap_or_else(|| Hex(rand::random())),
        purposes: terms.purposes,
        ceiling: terms.ceiling,
        labels: terms.labels,
        categories: terms.categories,
        end: terms.end,
        approval: Hex(hash.finalize().into()),
        floor: terms.floor,
    };
    let submitted = session.register_study(&request).await?;
    let new = New {
        study: request.study,
        approval: request.approval,
        approval_salt: Hex(salt),
        transaction: submitted.status.transaction.to_string(),
    };
    output.answer(&new, |new| {
        format!(
            "study {}\nkeep the salt of the approval's hash: {}\ntransaction {}",
            new.study, new.approval_salt, new.transaction
        )
    })
}

#[derive(Serialize)]
struct Changed {
    added: Vec<Actor>,
    removed: Vec<Actor>,
    investigators: Vec<Actor>,
}

async fn investigators(
    session: &Session,
    study: Id,
    add: Vec<Actor>,
    remove: Vec<Actor>,
    output: &Output,
) -> anyhow::Result<()> {
    for one in &add {
        session.add_investigator(study, one.clone()).await?;
    }
    for one in &remove {
        session.remove_investigator(study, one.clone()).await?;
    }
    let changed = Changed {
        added: add,
        removed: remove,
        investigators: session.study(study).await?.investigators,
    };
    output.answer(&changed, |changed| names(&changed.investigators))
}

fn names(investigators: &[Actor]) -> String {
    let name = |actor: &Actor| match actor {
        Actor::Identity(fingerprint) => fingerprint.to_string(),
        Actor::RoleAt(organization, role) => format!("{role}@{organization}"),
        other => code(other),
    };
    match investigators {
        [] => "nobody investigates".to_owned(),
        some => some.iter().map(name).collect::<Vec<_>>().join("\n"),
    }
}

fn show(study: &Registered) -> String {
    let terms = &study.terms;
    let purposes: Vec<String> = terms.purposes.iter().map(ToString::to_string).collect();
    let ended = study.ended.map(|at| format!(", ended {}", time(at)));
    let own = study.pseudonym.map(|id| format!("\nyour pseudonym {id}"));
    format!(
        "study {} of {}\nfor {} up to confidentiality {}\nends {}{}{}\ninvestigators:\n{}",
        terms.study,
        study.organization,
        purposes.join(", "),
        terms.ceiling,
        time(terms.end),
        ended.unwrap_or_default(),
        own.unwrap_or_default(),
        names(&study.investigators)
    )
}

#[derive(Serialize)]
struct Joined {
    study: Id,
    pseudonym: Id,
    /// Nothing when she had joined before.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    /// The consent that was granted with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<Id>,
    #[serde(flatten)]
    keys: Rewrapped,
}

async fn enrol(
    session: &Session,
    (patient, herself): (Id, bool),
    (study, research): (Id, Option<ResearchCategory>),
    output: &Output,
) -> anyhow::Result<()> {
    let progress = output.progress("joining the study");
    let registered = session.study_of(patient, study).await?;
    let consent = match research {
        Some(category) => {
            let consent = consent_to(&registered.terms, category)?;
            match herself {
                true => session.grant(patient, &consent).await?,
                false => session.grant_for(patient, &consent).await?,
            };
            Some(consent.id())
        }
        None => None,
    };
    let (pseudonym, transaction) = match registered.pseudonym {
        Some(pseudonym) => (pseudonym, None),
        None => {
            let (pseudonym, submitted) = session.enrol(patient, study).await?;
            (pseudonym, Some(submitted.status.transaction.to_string()))
        }
    };
    progress.say("wrapping keys for the investigators");
    let rewrapped = session.share_with_study(patient, study).await?;
    drop(progress);
    let joined = Joined {
        study,
        pseudonym,
        transaction,
        consent,
        keys: Rewrapped::of(&rewrapped),
    };
    warn_unshared(&joined.keys.unshared, output);
    output.answer(&joined, |joined| {
        let transaction = joined.transaction.as_ref();
        let transaction = transaction.map(|id| format!("\ntransaction {id}"));
        let consent = joined.consent.map(|id| format!("\nconsent {id}"));
        format!(
            "pseudonym {}{}\nkeys of {} record versions wrapped for the investigators{}",
            joined.pseudonym,
            consent.unwrap_or_default(),
            joined.keys.shared.len(),
            transaction.unwrap_or_default()
        )
    })
}

/// A consent to all that a study's terms say, until it ends.
fn consent_to(terms: &RegisterStudy, category: ResearchCategory) -> anyhow::Result<Consent> {
    let mut provision = Provision::permit(terms.purposes.iter().copied());
    provision.actor = Some(Actor::Study(terms.study));
    provision.ceiling = Some(terms.ceiling);
    provision.labels = terms.labels.clone();
    provision.categories = terms.categories.clone();
    provision.period = Some(Period::new(None, Some(terms.end))?);
    let id = Hex(rand::random());
    Ok(Consent::for_research(id, category, provision, Vec::new())?)
}

fn counted(counted: &Counted) -> String {
    let least = counted.at_least;
    match (counted.count, counted.fewer_than) {
        (Some(count), _) => format!("{count} patients"),
        (None, Some(end)) if least > 0 => format!("at least {least} patients, fewer than {end}"),
        (None, Some(end)) => format!("fewer than {end} patients"),
        (None, None) => "no number was told".to_owned(),
    }
}

fn records(found: &[StudyRecord]) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|one| {
            vec![
                one.pseudonym.to_string(),
                one.record.to_string(),
                one.version.to_string(),
                one.category.to_string(),
                one.date.map(time).unwrap_or_default(),
                one.patient.map(short).unwrap_or_default(),
            ]
        })
        .collect();
    let heading = [
        "PSEUDONYM",
        "RECORD",
        "VERSION",
        "CATEGORY",
        "DATE",
        "PATIENT",
    ];
    table(&heading, &rows)
}
