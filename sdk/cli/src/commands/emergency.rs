//! Breaking the glass, answering and reviewing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use stela_client::Start;
use stela_consent::{Hex, Id};
use stela_healthcare::answer::Emergency as Found;
use stela_healthcare::event;
use stela_records::care::answer::{AccessDecision, Verdict};
use stela_records::care::{Glass, ReadError, Session, Silent};

use super::record::{code, done};
use crate::arguments::Emergency;
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(
    profile: &Profile,
    command: Emergency,
    output: &Output,
) -> anyhow::Result<()> {
    let session = session::open(profile, Arc::new(Silent)).await?;
    let outcome = dispatch(profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn dispatch(
    profile: &Profile,
    session: &Session,
    command: Emergency,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        Emergency::Break {
            patient,
            record,
            version,
            reason,
            justification,
            out,
            wait,
        } => {
            let glass = Glass {
                patient,
                record,
                version,
                reason,
                justification: &justification,
            };
            let Some(out) = out else {
                return ask(session, &glass, output).await;
            };
            let progress = output.progress("waiting for the key");
            let wait = Duration::from_secs(wait);
            let opened = session.read_in_emergency(&glass, wait, &out).await;
            drop(progress);
            let opened = opened.map_err(reading)?;
            let broken = Broken {
                request: opened.reading.grant.request,
                expires: opened.reading.grant.expires,
                file: Some(out.display().to_string()),
            };
            output.answer(&broken, shown)
        }
        Emergency::List {
            patient,
            justifications,
        } => list(session, patient, justifications, output).await,
        Emergency::Review {
            patient,
            request,
            finding,
        } => {
            let found = find(session, patient, request).await?;
            let submitted = session.review_emergency(&found, finding).await?;
            done("reviewed", submitted.status.transaction, output)
        }
        Emergency::Answer { watch: true, .. } => watch(profile, session, output).await,
        Emergency::Answer {
            patient, request, ..
        } => answer(session, patient, request, output).await,
    }
}

/// A denial ends with its own exit code, in whichever way it was asked for.
fn reading(error: stela_records::care::EmergencyReadError) -> anyhow::Error {
    match error {
        stela_records::care::EmergencyReadError::Asking(error) => error.into(),
        stela_records::care::EmergencyReadError::Reading(error) => error.into(),
    }
}

#[derive(Serialize)]
struct Broken {
    request: Hex<32>,
    expires: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

fn shown(broken: &Broken) -> String {
    let file = broken.file.as_ref();
    let file = file.map(|file| format!("\ndocument in {file}"));
    format!(
        "permitted until {}; it will be reviewed{}\ntransaction {}",
        time(broken.expires),
        file.unwrap_or_default(),
        broken.request
    )
}

async fn ask(session: &Session, glass: &Glass<'_>, output: &Output) -> anyhow::Result<()> {
    let (decision, _): (AccessDecision, _) = session.break_glass(glass).await?;
    if decision.decision == Verdict::Deny {
        return Err(ReadError::Denied(Box::new(decision)).into());
    }
    let broken = Broken {
        request: decision.request,
        expires: decision.expires.unwrap_or_default(),
        file: None,
    };
    output.answer(&broken, shown)
}

async fn find(session: &Session, patient: Id, request: Hex<32>) -> anyhow::Result<Found> {
    let all = session.emergencies(Some(patient)).await?;
    let found = all.into_iter().find(|one| one.request == request);
    found.context("no such emergency access is shown to this user; see `emergency list`")
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    emergency: Found,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

async fn list(
    session: &Session,
    patient: Option<Id>,
    justifications: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let mut listed = Vec::new();
    for emergency in session.emergencies(patient).await? {
        let text = match justifications {
            true => Some(match session.justification(&emergency).await {
                Ok(text) => text.to_string(),
                Err(error) => format!("({error})"),
            }),
            false => None,
        };
        listed.push(Listed { emergency, text });
    }
    output.answer(&listed, |listed| {
        let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
        table(
            &[
                "TIME",
                "REASON",
                "READER",
                "RECORD",
                "REVIEW",
                "TRANSACTION",
                "JUSTIFICATION",
            ],
            &rows,
        )
    })
}

fn row(listed: &Listed) -> Vec<String> {
    let one = &listed.emergency;
    let review = one.review.as_ref();
    vec![
        time(one.time),
        code(&one.reason),
        format!("{} {}", one.organization, short(one.practitioner)),
        format!("{} {}", short(one.record), one.version),
        review.map_or("open".to_owned(), |review| code(&review.finding)),
        one.request.to_string(),
        crate::output::printable(listed.text.as_deref().unwrap_or_default()),
    ]
}

#[derive(Serialize)]
struct Answered {
    request: Hex<32>,
    practitioner: stela_consent::Fingerprint,
    record: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn line(answered: &Answered) -> String {
    let reader = short(answered.practitioner);
    let record = short(answered.record);
    match (&answered.transaction, &answered.error) {
        (Some(id), _) => format!("record {record}: key wrapped for {reader}, transaction {id}"),
        (None, error) => format!(
            "record {record}: not answered for {reader}: {}",
            error.as_deref().unwrap_or_default()
        ),
    }
}

async fn answer_one(session: &Session, emergency: &Found) -> Answered {
    let outcome = session.answer_emergency(emergency).await;
    Answered {
        request: emergency.request,
        practitioner: emergency.practitioner,
        record: emergency.record,
        transaction: outcome
            .as_ref()
            .ok()
            .map(|submitted| submitted.status.transaction.to_string()),
        error: outcome.err().map(|error| error.to_string()),
    }
}

/// The accesses whose permits stand, by this machine's clock; the contract judges by its own.
async fn answer(
    session: &Session,
    patient: Option<Id>,
    request: Option<Hex<32>>,
    output: &Output,
) -> anyhow::Result<()> {
    let now_ms = super::now_ms();
    let mut answered = Vec::new();
    for emergency in session.emergencies(patient).await? {
        let asked = request.is_none_or(|request| request == emergency.request);
        if asked && emergency.expires > now_ms {
            answered.push(answer_one(session, &emergency).await);
        }
    }
    let failed = answered.iter().all(|one| one.transaction.is_none());
    output.answer(&answered, |answered| match answered.is_empty() {
        true => "no emergency permit stands".to_owned(),
        false => answered.iter().map(line).collect::<Vec<_>>().join("\n"),
    })?;
    anyhow::ensure!(answered.is_empty() || !failed, "no emergency was answered");
    Ok(())
}

/// What an event about an emergency names.
#[derive(Deserialize)]
struct Named {
    patient: Id,
    request: Hex<32>,
}

/// Answers what comes, until it is interrupted.
async fn watch(profile: &Profile, session: &Session, output: &Output) -> anyhow::Result<()> {
    let events = session.network().events(&profile.contract, Start::Next);
    futures::pin_mut!(events);
    output.warn("waiting for emergencies; Ctrl-C ends it");
    while let Some(event) = events.next().await {
        let event = event?;
        if event.name != event::EMERGENCY_ACCESSED {
            continue;
        }
        let Ok(named) = event.json::<Named>() else {
            continue;
        };
        let Some(emergency) = known(session, &named).await? else {
            continue;
        };
        output.line(&answer_one(session, &emergency).await, line)?;
    }
    Ok(())
}

/// The access that an event names, when it is one that this user is shown and can answer.
async fn known(session: &Session, named: &Named) -> anyhow::Result<Option<Found>> {
    match session.emergencies(Some(named.patient)).await {
        Ok(all) => Ok(all.into_iter().find(|one| one.request == named.request)),
        Err(error) if error.is_refusal("forbidden") => Ok(None),
        Err(error) => Err(error.into()),
    }
}
