//! A patient's certificates, and who acts for her.

use std::sync::Arc;

use anyhow::Context;
use stela_consent::{Fingerprint, Id};
use stela_healthcare::answer::{Certificates, FiledDelegation};
use stela_healthcare::request::{Delegation, NameDelegate};
use stela_records::care::{Session, Silent};

use super::consent::{Rewrapped, warn_unshared};
use super::now_ms;
use super::record::{code, done};
use crate::arguments::{Delegate, End, Patient};
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;

const DAY_MS: u64 = 24 * 3600 * 1000;

pub(crate) async fn patient(
    profile: &Profile,
    command: Patient,
    output: &Output,
) -> anyhow::Result<()> {
    let session = session::open(profile, Arc::new(Silent)).await?;
    let outcome = of_patient(profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn of_patient(
    profile: &Profile,
    session: &Session,
    command: Patient,
    output: &Output,
) -> anyhow::Result<()> {
    let or_user = |patient: Option<Id>| patient.map_or_else(|| profile.patient(), Ok);
    let (said, submitted) = match command {
        Patient::Rights(command) => {
            return super::patient::dispatch(profile, session, command, output).await;
        }
        Patient::Certificates { patient } => {
            let found = session.certificates(or_user(patient)?).await?;
            return output.answer(&found, certificates);
        }
        Patient::Rewrap { patient } => return rewrap(session, or_user(patient)?, output).await,
        Patient::AddCertificate { certificate } => {
            let patient = profile.patient()?;
            let submitted = session.add_certificate(patient, certificate).await?;
            ("added", submitted)
        }
        Patient::RemoveCertificate { certificate } => {
            let patient = profile.patient()?;
            let submitted = session.remove_certificate(patient, certificate).await?;
            ("removed", submitted)
        }
        Patient::Rebind {
            patient,
            certificate,
        } => {
            let submitted = session.rebind_patient(patient, certificate).await?;
            ("rebinding; it counts after a wait", submitted)
        }
        Patient::CancelRebinding {
            patient,
            certificate,
        } => {
            let patient = or_user(patient)?;
            let submitted = session.cancel_rebinding(patient, certificate).await?;
            ("cancelled", submitted)
        }
    };
    done(said, submitted.status.transaction, output)
}

fn certificates(found: &Certificates) -> String {
    let rows: Vec<Vec<String>> = found
        .certificates
        .iter()
        .map(|one| {
            let counts = match one.from {
                Some(from) if !one.counts => format!("from {}", time(from)),
                _ => "yes".to_owned(),
            };
            vec![
                one.certificate.to_string(),
                counts,
                time(one.time),
                short(one.by),
            ]
        })
        .collect();
    table(&["CERTIFICATE", "COUNTS", "ADDED", "BY"], &rows)
}

async fn rewrap(session: &Session, patient: Id, output: &Output) -> anyhow::Result<()> {
    let progress = output.progress("wrapping keys");
    let rewrapped = session.rewrap(patient).await?;
    drop(progress);
    let answer = Rewrapped::of(&rewrapped);
    warn_unshared(&answer.unshared, output);
    output.answer(&answer, |answer| {
        format!("keys of {} record versions wrapped", answer.shared.len())
    })
}

pub(crate) async fn delegate(
    profile: &Profile,
    command: Delegate,
    output: &Output,
) -> anyhow::Result<()> {
    let session = session::open(profile, Arc::new(Silent)).await?;
    let outcome = delegates(profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn delegates(
    profile: &Profile,
    session: &Session,
    command: Delegate,
    output: &Output,
) -> anyhow::Result<()> {
    let or_user = |patient: Option<Id>| patient.map_or_else(|| profile.patient(), Ok);
    match command {
        Delegate::Name {
            delegate,
            kind,
            scopes,
            end,
            patient,
        } => {
            let named = NameDelegate {
                patient: or_user(patient)?,
                delegation: stela_consent::Hex(rand::random()),
                delegate,
                kind,
                scope: scopes,
                until: until(&end)?,
            };
            name(session, &named, output).await
        }
        Delegate::End {
            delegation,
            patient,
        } => {
            let named = find(session, or_user(patient)?, delegation).await?;
            let submitted = session.end_delegation(&named).await?;
            done("ended", submitted.status.transaction, output)
        }
        Delegate::Activate {
            delegation,
            patient,
        } => {
            let named = find(session, patient, delegation).await?;
            let submitted = session.activate_delegation(&named).await?;
            let said = "activated; it counts after a wait";
            done(said, submitted.status.transaction, output)
        }
        Delegate::List { patient } => {
            let found = session.delegates(or_user(patient)?).await?;
            output.answer(&found, |found| list(found))
        }
    }
}

fn until(end: &End) -> anyhow::Result<u64> {
    match (end.days, end.until) {
        (Some(days), _) => Ok(now_ms() + u64::from(days) * DAY_MS),
        (None, Some(until)) => Ok(until),
        (None, None) => anyhow::bail!("say when it ends: --days or --until"),
    }
}

#[derive(serde::Serialize)]
struct Named {
    delegation: Id,
    delegate: Fingerprint,
    until: u64,
    transaction: String,
}

async fn name(session: &Session, named: &NameDelegate, output: &Output) -> anyhow::Result<()> {
    let submitted = session.name_delegate(named).await?;
    let answer = Named {
        delegation: named.delegation,
        delegate: named.delegate,
        until: named.until,
        transaction: submitted.status.transaction.to_string(),
    };
    output.answer(&answer, |answer| {
        format!(
            "delegation {} until {}\n`stela patient rewrap` gives a delegate who may read the keys\n\
             transaction {}",
            answer.delegation,
            time(answer.until),
            answer.transaction
        )
    })
}

/// A delegation by its id, which is all that a person types.
async fn find(session: &Session, patient: Id, delegation: Id) -> anyhow::Result<Delegation> {
    let all = session.delegates(patient).await?;
    let found = all.iter().find(|one| one.delegation == delegation);
    let found = found.context("no such delegation is shown to this user; see `delegate list`")?;
    Ok(Delegation {
        patient,
        delegate: found.delegate,
        delegation,
    })
}

fn list(found: &[FiledDelegation]) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|one| {
            let scope: Vec<String> = one.scope.iter().map(code).collect();
            let from = one.from.map_or("not activated".to_owned(), time);
            vec![
                one.delegation.to_string(),
                code(&one.kind),
                scope.join(","),
                if one.counts { "yes" } else { "no" }.to_owned(),
                from,
                time(one.until),
                one.delegate.to_string(),
            ]
        })
        .collect();
    table(
        &[
            "DELEGATION",
            "KIND",
            "SCOPE",
            "COUNTS",
            "FROM",
            "UNTIL",
            "DELEGATE",
        ],
        &rows,
    )
}
