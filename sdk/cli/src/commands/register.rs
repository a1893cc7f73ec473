//! Who the user is, and making her known.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stela_client::Registered;
use stela_consent::Id;
use stela_records::care::{LedgerError, Session, Silent};

use crate::output::{Output, time};
use crate::profile::Profile;
use crate::session;

/// How long a registration may take.
const REGISTER: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Who {
    name: String,
    organization: String,
    role: String,
    attributes: std::collections::BTreeMap<String, String>,
    fingerprint: String,
    valid_until: String,
}

pub(crate) fn whoami(profile: &Profile, output: &Output) -> anyhow::Result<()> {
    let certificate = &profile.credentials.certificate;
    let who = Who {
        name: certificate.common_name().to_owned(),
        organization: certificate.organization().to_string(),
        role: certificate.role().to_owned(),
        attributes: certificate.attributes().clone(),
        fingerprint: certificate.fingerprint().to_string(),
        valid_until: time(certificate.not_after_ms()),
    };
    output.answer(&who, |who| {
        let mut text = format!("{} ({}) at {}\n", who.name, who.role, who.organization);
        for (name, value) in who.attributes.iter().filter(|(name, _)| *name != "role") {
            text.push_str(&format!("{name} {value}\n"));
        }
        text + &format!(
            "certificate {}\nvalid until {}",
            who.fingerprint, who.valid_until
        )
    })
}

/// Each step may have been done before, by an earlier attempt. False when the patient is known by
/// another certificate, which has to authorise this one first.
async fn publish(session: &Session, patient: Option<Id>) -> Result<bool, LedgerError> {
    if let Some(patient) = patient {
        session.register_patient(patient).await?;
    }
    match session.register_encryption_key().await {
        Err(error) if patient.is_some() && error.is_refusal("forbidden") => Ok(false),
        other => other.map(|_| true),
    }
}

#[derive(Serialize)]
struct Known {
    fingerprint: String,
    /// False when the certificate was known before.
    registered_now: bool,
    encryption_key: String,
    /// False while no certificate of the patient's has authorised this one.
    authorised: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<String>,
}

pub(crate) async fn register(profile: &Profile, output: &Output) -> anyhow::Result<()> {
    let progress = output.progress("registering");
    let pair = profile.encryption_or_new()?;
    let registered = session::network(profile)?.register(REGISTER).await?;
    let session = session::open(profile, Arc::new(Silent)).await?;
    let patient = match profile.credentials.certificate.role() {
        "patient" => Some(profile.patient()?),
        _ => None,
    };
    let published = publish(&session, patient).await;
    session.close().await;
    let authorised = published?;
    drop(progress);
    let known = Known {
        fingerprint: profile.credentials.fingerprint().to_string(),
        registered_now: matches!(registered, Registered::Now(_)),
        encryption_key: pair.public().key_id().to_string(),
        authorised,
        patient: patient.map(|patient| patient.to_string()),
    };
    if !authorised {
        output.warn(&format!(
            "the patient is known by another certificate; there, `stela patient add-certificate {}` \
             makes this one hers, then `stela register` here again publishes its encryption key",
            known.fingerprint
        ));
    }
    output.answer(&known, |known| {
        let patient = known.patient.as_ref().map(|id| format!("\npatient {id}"));
        format!(
            "certificate {}\nencryption key {}{}",
            known.fingerprint,
            known.encryption_key,
            patient.unwrap_or_default()
        )
    })
}
