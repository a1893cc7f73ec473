//! An organization's certificate authorities: made once, kept off the network.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use stela_consent::Id;
use stela_identity::{CertificateAuthority, Credentials, Subject, TlsAuthority, Validity};
use stela_protocol::OrgId;

use super::now_ms;
use crate::arguments::Ca;
use crate::output::Output;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// How far back a new certificate is valid, against clocks that differ.
const SKEW_MS: u64 = 5 * 60 * 1000;

fn validity(days: u32) -> Validity {
    let now_ms = now_ms();
    Validity {
        not_before_ms: now_ms.saturating_sub(SKEW_MS),
        not_after_ms: now_ms + u64::from(days) * DAY_MS,
    }
}

pub(crate) fn run(command: Ca, output: &Output) -> anyhow::Result<()> {
    match command {
        Ca::Init {
            organization,
            folder,
            days,
        } => init(&organization, &folder, days, output),
        Ca::Enroll {
            ca,
            name,
            role,
            attributes,
            hosts,
            out,
            days,
        } => {
            check_patient(&role, &attributes)?;
            let subject = Subject {
                common_name: name,
                role,
                attributes: attributes.into_iter().collect::<BTreeMap<_, _>>(),
                validity: validity(days),
            };
            enroll(&ca, &subject, &hosts, &out, output)
        }
    }
}

/// A patient's certificate names her random id, and nobody's is malformed.
fn check_patient(role: &str, attributes: &[(String, String)]) -> anyhow::Result<()> {
    let id = attributes
        .iter()
        .find(|(name, _)| name == "patient")
        .map(|(_, id)| id);
    match id {
        Some(id) => id
            .parse::<Id>()
            .map(drop)
            .map_err(|error| anyhow::anyhow!("patient: {error}")),
        None if role == "patient" => {
            anyhow::bail!("a patient's certificate needs --attribute patient=ID, 16 random bytes")
        }
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct Made {
    organization: String,
    root: String,
    tls_root: String,
}

fn init(organization: &OrgId, folder: &Path, days: u32, output: &Output) -> anyhow::Result<()> {
    let taken = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(
        !taken,
        "{} is not empty; an authority is made once",
        folder.display()
    );
    CertificateAuthority::create(organization, validity(days))?.save(&folder.join("ca"))?;
    TlsAuthority::create(organization, validity(days))?.save(&folder.join("tls-ca"))?;
    let made = Made {
        organization: organization.to_string(),
        root: folder.join("ca/ca.pem").display().to_string(),
        tls_root: folder.join("tls-ca/tls-ca.pem").display().to_string(),
    };
    output.answer(&made, |made| {
        format!(
            "{} and {} go to the consortium; the keys beside them stay here, offline",
            made.root, made.tls_root
        )
    })
}

/// Issues the certificates of a device into a folder.
pub(super) fn issue_device(ca: &Path, name: &str, out: &Path, days: u32) -> anyhow::Result<()> {
    let subject = Subject {
        common_name: name.to_owned(),
        role: "device".to_owned(),
        attributes: BTreeMap::new(),
        validity: validity(days),
    };
    issue(ca, &subject, &["localhost".to_owned()], out).map(drop)
}

#[derive(Serialize)]
struct Enrolled {
    fingerprint: String,
    folder: String,
}

fn enroll(
    ca: &Path,
    subject: &Subject,
    hosts: &[String],
    out: &Path,
    output: &Output,
) -> anyhow::Result<()> {
    let credentials = issue(ca, subject, hosts, out)?;
    let enrolled = Enrolled {
        fingerprint: credentials.fingerprint().to_string(),
        folder: out.display().to_string(),
    };
    output.answer(&enrolled, |enrolled| {
        format!(
            "certificate {} in {}",
            enrolled.fingerprint, enrolled.folder
        )
    })
}

fn issue(
    ca: &Path,
    subject: &Subject,
    hosts: &[String],
    out: &Path,
) -> anyhow::Result<Credentials> {
    let identities = CertificateAuthority::load(&ca.join("ca")).with_context(|| {
        format!(
            "no authority in {}; `stela ca init` makes one",
            ca.display()
        )
    })?;
    let tls = TlsAuthority::load(&ca.join("tls-ca"))?;
    let identity = out.join("identity");
    anyhow::ensure!(
        !identity.exists(),
        "{} exists; it is not replaced",
        identity.display()
    );
    let credentials = identities.issue(subject)?;
    credentials.save(&identity)?;
    tls.issue(&subject.common_name, hosts, subject.validity)?
        .save(&out.join("tls"))?;
    Ok(credentials)
}
