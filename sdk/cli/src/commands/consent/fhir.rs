//! Consents as FHIR R4 resources, in and out.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use stela_consent::{Consent, Hex, Id, Status};
use stela_fhir::consent::{self, Context};
use stela_fhir::limits::DOCUMENT_BYTES_MAX;
use stela_fhir::reference::Known;
use stela_fhir::{Reason, Refusal, r4};
use stela_records::care::Session;

use crate::arguments::{Imported, Meant};
use crate::output::Output;
use crate::profile::Profile;

/// A document as a consent that can be granted, and whose it is.
#[derive(Debug, Serialize)]
pub(super) struct Taken {
    pub(super) patient: Id,
    pub(super) consent: Consent,
}

/// Reads a document. Who grants it, or for whom a delegate does, has to be its patient.
pub(super) fn read(profile: &Profile, imported: &Imported) -> anyhow::Result<Taken> {
    let patient = imported.patient.map_or_else(|| profile.patient(), Ok)?;
    let name = match is_standard_input(&imported.file) {
        true => "standard input".to_owned(),
        false => imported.file.display().to_string(),
    };
    let bytes = bytes(&imported.file).with_context(|| format!("cannot read {name}"))?;
    taken(&bytes, patient, imported).with_context(|| format!("{name} is not taken over"))
}

fn taken(bytes: &[u8], patient: Id, imported: &Imported) -> Result<Taken, Refusal> {
    let resource: r4::Consent = stela_fhir::read(bytes)?;
    let (reference, consent) = consent::import(&resource, Hex(rand::random()), &context(imported))?;
    let own = reference == format!("Patient/{patient}");
    let is_told =
        |(told, meant): &(String, Meant)| *told == reference && *meant == Meant::Id(patient);
    if own || imported.meanings.iter().any(is_told) {
        Ok(Taken { patient, consent })
    } else {
        Err(Refusal {
            element: "Consent.patient".to_owned(),
            reason: Reason::Unresolved,
        })
    }
}

fn context(imported: &Imported) -> Context {
    let mut known = Known::default();
    for (reference, meant) in &imported.meanings {
        match meant {
            Meant::Actor(actor) => {
                known.actors.insert(reference.clone(), actor.clone());
            }
            Meant::Id(id) => {
                known.records.insert(reference.clone(), *id);
                known.studies.insert(reference.clone(), *id);
            }
        }
    }
    Context {
        known,
        offered: imported.offered,
        zone: imported.zone,
    }
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

/// What is read is one byte more than a document may have, so that one that is too large is refused
/// as such.
fn bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = DOCUMENT_BYTES_MAX as u64 + 1;
    match is_standard_input(file) {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes)?,
        false => File::open(file)?.take(most).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// Shows what would be granted, in the form that `consent grant --file` takes.
pub(super) fn show(taken: &Taken, output: &Output) -> anyhow::Result<()> {
    let consent = serde_json::to_string_pretty(&taken.consent)?;
    output.answer(taken, |taken| {
        format!("patient {}\n{consent}\nnothing was granted", taken.patient)
    })
}

#[derive(Serialize)]
struct Exported {
    consent: Id,
    status: Status,
    file: String,
}

/// Writes a consent as a resource: to standard output, or into a new file.
pub(super) async fn export(
    session: &Session,
    patient: Id,
    consent: Id,
    out: Option<&Path>,
    output: &Output,
) -> anyhow::Result<()> {
    let all = session.consents(patient, None).await?;
    let filed = all.iter().find(|filed| filed.consent.id() == consent);
    let filed = filed.context("no such consent is shown to this user; see `consent list`")?;
    let resource = consent::export(&patient, &filed.consent, filed.status)?;
    let bytes = stela_fhir::write(&resource);
    let Some(out) = out else {
        let resource: serde_json::Value = serde_json::from_slice(&bytes)?;
        let text = serde_json::to_string_pretty(&resource)?;
        return output.answer(&resource, |_| text);
    };
    let mut file =
        File::create_new(out).with_context(|| format!("cannot create {}", out.display()))?;
    std::io::Write::write_all(&mut file, &bytes)
        .with_context(|| format!("cannot write {}", out.display()))?;
    let exported = Exported {
        consent,
        status: filed.status,
        file: out.display().to_string(),
    };
    output.answer(&exported, |exported| {
        format!("consent {} written to {}", exported.consent, exported.file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_consent::{Actor, Provision, Purpose};
    use time::UtcOffset;

    const PATIENT: Id = Hex([7; 16]);

    fn imported(meanings: Vec<(String, Meant)>) -> Imported {
        Imported {
            file: "consent.json".into(),
            meanings,
            offered: None,
            zone: UtcOffset::UTC,
            patient: None,
            dry_run: true,
        }
    }

    fn document() -> Vec<u8> {
        let provision = Provision {
            actor: Some(Actor::Organization("HospitalB".parse().unwrap())),
            ..Provision::permit([Purpose::Treat])
        };
        let consent = Consent::new(Hex([1; 16]), provision, Vec::new()).unwrap();
        let resource = consent::export(&PATIENT, &consent, Status::Active).unwrap();
        stela_fhir::write(&resource)
    }

    #[test]
    fn a_document_is_taken_over_for_its_patient_under_a_new_id() {
        let taken_over = taken(&document(), PATIENT, &imported(Vec::new())).unwrap();
        assert_eq!(taken_over.patient, PATIENT);
        assert_ne!(taken_over.consent.id(), Hex([1; 16]));
        let refused = taken(&document(), Hex([8; 16]), &imported(Vec::new())).unwrap_err();
        assert_eq!(refused.element, "Consent.patient");
    }

    #[test]
    fn what_a_server_refers_to_is_what_the_user_says() {
        let text = String::from_utf8(document()).unwrap();
        let own = format!("Patient/{PATIENT}");
        assert!(text.contains(&own));
        let foreign = text.replace(&own, "Patient/f001").into_bytes();
        let told = |who: Id| imported(vec![("Patient/f001".to_owned(), Meant::Id(who))]);
        assert!(taken(&foreign, PATIENT, &imported(Vec::new())).is_err());
        assert!(taken(&foreign, PATIENT, &told(Hex([8; 16]))).is_err());
        assert!(taken(&foreign, PATIENT, &told(PATIENT)).is_ok());
    }
}
