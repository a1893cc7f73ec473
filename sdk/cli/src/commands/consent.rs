//! Consents, sharing of keys, and the audit trail.

mod fhir;
mod policy;
mod request;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use stela_consent::{
    Actor, Category, Confidentiality, Consent, Hex, Id, Organization, Period, Provision, Purpose,
    Role, SensitivityLabel,
};
use stela_records::care::{self, Session, Silent, answer};

use super::now_ms;
use super::record::{code, done};
use crate::arguments;
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;

const DAY_MS: u64 = 24 * 3600 * 1000;

pub(crate) async fn run(
    profile: &Profile,
    command: arguments::Consent,
    output: &Output,
) -> anyhow::Result<()> {
    // What is only shown needs no network.
    if let arguments::Consent::Import(imported) = &command
        && imported.dry_run
    {
        return fhir::show(&fhir::read(profile, imported)?, output);
    }
    let session = session::open(profile, Arc::new(Silent)).await?;
    let outcome = dispatch(profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn dispatch(
    profile: &Profile,
    session: &Session,
    command: arguments::Consent,
    output: &Output,
) -> anyhow::Result<()> {
    use arguments::Consent as Command;
    match command {
        Command::Grant {
            organization,
            role,
            identity,
            purposes,
            max,
            labels,
            categories,
            days,
            file,
            patient,
        } => {
            let terms = Terms {
                organization,
                role,
                identity,
                purposes,
                max,
                labels,
                categories,
                days,
            };
            let consent = match file {
                Some(file) => read(&file)?,
                None => terms.consent()?,
            };
            grant(profile, session, patient, &consent, output).await
        }
        Command::Import(imported) => {
            let taken = fhir::read(profile, &imported)?;
            grant(
                profile,
                session,
                Some(taken.patient),
                &taken.consent,
                output,
            )
            .await
        }
        Command::Export {
            consent,
            patient,
            out,
        } => {
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            fhir::export(session, patient, consent, out.as_deref(), output).await
        }
        Command::Revoke { consent, patient } => {
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            let submitted = session.revoke(patient, consent).await?;
            done("revoked", submitted.status.transaction, output)
        }
        Command::Policy(command) => policy::run(profile, session, command, output).await,
        Command::Request(asked) => request::ask(profile, session, asked, output).await,
        Command::Requests { patient } => {
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            request::list(session, patient, output).await
        }
        Command::Note { request, patient } => {
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            request::note(session, patient, request, output).await
        }
        Command::Answer(answering) => request::answer(profile, session, answering, output).await,
        Command::Withdraw { request, patient } => {
            let submitted = session.withdraw_consent_request(patient, request).await?;
            done("withdrawn", submitted.status.transaction, output)
        }
        Command::List { patient } => {
            let patient = patient.map_or_else(|| profile.patient(), Ok)?;
            let consents = session.consents(patient, None).await?;
            output.answer(&consents, |consents| list(consents))
        }
    }
}

struct Terms {
    organization: Option<Organization>,
    role: Option<Role>,
    identity: Option<stela_consent::Fingerprint>,
    purposes: Vec<Purpose>,
    max: Confidentiality,
    labels: Vec<SensitivityLabel>,
    categories: Vec<Category>,
    days: Option<u32>,
}

impl Terms {
    fn consent(self) -> anyhow::Result<Consent> {
        let actor = match (self.identity, self.organization, self.role) {
            (Some(id), _, _) => Actor::Identity(id),
            (None, Some(organization), Some(role)) => Actor::RoleAt(organization, role),
            (None, Some(organization), None) => Actor::Organization(organization),
            (None, None, _) => anyhow::bail!("name an --organization or an --identity"),
        };
        let period = self.days.map(for_days).transpose()?;
        let provision = Provision {
            actor: Some(actor),
            ceiling: Some(self.max),
            labels: self.labels,
            categories: self.categories,
            period,
            ..Provision::permit(self.purposes)
        };
        Ok(Consent::new(Hex(rand::random()), provision, Vec::new())?)
    }
}

/// From now on for so many days.
fn for_days(days: u32) -> anyhow::Result<Period> {
    let now_ms = now_ms();
    let end_ms = now_ms + u64::from(days) * DAY_MS;
    Ok(Period::new(Some(now_ms), Some(end_ms))?)
}

fn read(file: &PathBuf) -> anyhow::Result<Consent> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut value: serde_json::Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is not JSON", file.display()))?;
    if let Some(object) = value.as_object_mut() {
        let drawn: Id = Hex(rand::random());
        object
            .entry("id")
            .or_insert_with(|| drawn.to_string().into());
    }
    serde_json::from_value(value).with_context(|| format!("{} is no consent", file.display()))
}

#[derive(Serialize)]
struct Granted {
    consent: String,
    transaction: String,
    shared: Vec<SharedRecord>,
    /// Versions whose key could not be shared, and why.
    unshared: Vec<UnsharedRecord>,
}

/// What `patient rewrap` did.
#[derive(Serialize)]
pub(super) struct Rewrapped {
    pub(super) shared: Vec<SharedRecord>,
    pub(super) unshared: Vec<UnsharedRecord>,
}

impl Rewrapped {
    pub(super) fn of(rewrapped: &care::Rewrapped) -> Self {
        Self {
            shared: rewrapped.shared.iter().map(SharedRecord::of).collect(),
            unshared: rewrapped.unshared.iter().map(UnsharedRecord::of).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct UnsharedRecord {
    record: String,
    version: u32,
    why: String,
}

impl UnsharedRecord {
    fn of(unshared: &care::UnsharedVersion) -> Self {
        Self {
            record: unshared.record.to_string(),
            version: unshared.version,
            why: unshared.error.to_string(),
        }
    }
}

/// Says which keys could not be shared, and how to try again.
pub(super) fn warn_unshared(unshared: &[UnsharedRecord], output: &Output) {
    for UnsharedRecord {
        record,
        version,
        why,
    } in unshared
    {
        output.warn(&format!(
            "the key of record {record} version {version} is not shared: {why}; \
             `stela share {record} --version {version}` tries again"
        ));
    }
}

#[derive(Serialize)]
pub(super) struct SharedRecord {
    record: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    recipients: usize,
}

impl SharedRecord {
    fn of(shared: &care::SharedVersion) -> Self {
        Self {
            record: shared.record.to_string(),
            version: Some(shared.version),
            recipients: shared.recipients,
        }
    }
}

/// Grants a consent: as the patient, or for another one as her delegate.
async fn grant(
    profile: &Profile,
    session: &Session,
    patient: Option<Id>,
    consent: &Consent,
    output: &Output,
) -> anyhow::Result<()> {
    let progress = output.progress("granting and sharing keys");
    let granted = match patient {
        Some(patient) if Some(patient) != profile.patient().ok() => {
            session.grant_for(patient, consent).await?
        }
        _ => session.grant(profile.patient()?, consent).await?,
    };
    drop(progress);
    show_granted(consent.id(), &granted, output)
}

fn show_granted(consent: Id, granted: &care::Granted, output: &Output) -> anyhow::Result<()> {
    let answer = Granted {
        consent: consent.to_string(),
        transaction: granted.submitted.status.transaction.to_string(),
        shared: granted.shared.iter().map(SharedRecord::of).collect(),
        unshared: granted.unshared.iter().map(UnsharedRecord::of).collect(),
    };
    warn_unshared(&answer.unshared, output);
    if let Some(why) = &granted.unseen {
        output.warn(&format!(
            "not all records could be looked at: {why}; `stela share RECORD`"
        ));
    }
    output.answer(&answer, |granted| {
        format!(
            "consent {} granted\nkeys of {} record versions shared\ntransaction {}",
            granted.consent,
            granted.shared.len(),
            granted.transaction
        )
    })
}

pub(crate) async fn share(
    profile: &Profile,
    record: Id,
    version: Option<u32>,
    output: &Output,
) -> anyhow::Result<()> {
    let session = session::open(profile, Arc::new(Silent)).await?;
    let shared = session.share(record, version).await;
    session.close().await;
    let shared = SharedRecord {
        record: record.to_string(),
        version,
        recipients: shared?,
    };
    output.answer(&shared, |s| {
        format!("key wrapped for {} recipients", s.recipients)
    })
}

fn list(consents: &[answer::FiledConsent]) -> String {
    let rows: Vec<Vec<String>> = consents
        .iter()
        .map(|filed| {
            let provision = filed.consent.provision();
            let actor = provision.actor.as_ref().map_or("anyone".to_owned(), code);
            let purposes: Vec<String> = provision.purposes.iter().map(code).collect();
            vec![
                filed.consent.id().to_string(),
                code(&filed.status),
                code(&provision.kind),
                actor,
                purposes.join(","),
                filed.consent.exceptions().len().to_string(),
            ]
        })
        .collect();
    table(
        &[
            "CONSENT",
            "STATUS",
            "TYPE",
            "ACTOR",
            "PURPOSE",
            "EXCEPTIONS",
        ],
        &rows,
    )
}

pub(crate) async fn audit(
    profile: &Profile,
    patient: Option<Id>,
    output: &Output,
) -> anyhow::Result<()> {
    let patient = patient.map_or_else(|| profile.patient(), Ok)?;
    let session = session::open(profile, Arc::new(Silent)).await?;
    let trail = session.audit_trail(patient).await;
    session.close().await;
    output.answer(&trail?, |trail| {
        let rows: Vec<Vec<String>> = trail.iter().map(row).collect();
        table(
            &[
                "TIME",
                "EVENT",
                "ROLE",
                "ORGANIZATION",
                "BY",
                "RECORD",
                "WHY",
            ],
            &rows,
        )
    })
}

fn row(entry: &answer::AuditEntry) -> Vec<String> {
    let record = entry.record.map(|record| {
        let version = entry.version.map(|version| format!(" v{version}"));
        short(record) + &version.unwrap_or_default()
    });
    let why = [
        entry.purpose.map(|purpose| code(&purpose)),
        entry.reason.clone(),
        entry
            .consent
            .map(|consent| format!("consent {}", short(consent))),
        entry
            .consent_request
            .map(|request| format!("request {}", short(request))),
        entry
            .delegation
            .map(|delegation| format!("delegation {}", short(delegation))),
        entry
            .subject
            .map(|subject| format!("certificate {}", short(subject))),
    ];
    vec![
        time(entry.time),
        code(&entry.event),
        code(&entry.role),
        entry
            .organization
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        entry.by.map(short).unwrap_or_default(),
        record.unwrap_or_default(),
        why.into_iter().flatten().collect::<Vec<_>>().join(" "),
    ]
}
