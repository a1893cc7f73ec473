//! Devices: binding them, what they have submitted, and proofs of single observations.

mod proof;
mod ward;

use std::path::Path;
use std::sync::Arc;

use stela_consent::Id;
use stela_records::care::answer::DeviceStatus;
use stela_records::care::{OpenWindowError, Session, Silent};

use super::record::done;
use crate::arguments::{Device, Prove};
use crate::output::{Output, table, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(folder: &Path, command: Device, output: &Output) -> anyhow::Result<()> {
    // A proof is checked without a network, and without a user.
    if let Device::Prove(Prove::Check(wanted)) = &command {
        return proof::check(folder, wanted, output);
    }
    let profile = Profile::load(folder)?;
    let session = session::open(&profile, Arc::new(Silent)).await?;
    let outcome = dispatch(folder, &profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn dispatch(
    folder: &Path,
    profile: &Profile,
    session: &Session,
    command: Device,
    output: &Output,
) -> anyhow::Result<()> {
    let or_user = |patient: Option<Id>| patient.map_or_else(|| profile.patient(), Ok);
    match command {
        Device::Bind {
            device,
            patient,
            until,
        } => {
            let patient = or_user(patient)?;
            let submitted = session.bind_device(patient, device, until).await?;
            done("bound", submitted.status.transaction, output)
        }
        Device::Release { device, patient } => {
            let submitted = session.release_device(or_user(patient)?, device).await?;
            done("released", submitted.status.transaction, output)
        }
        Device::Status { device, patient } => {
            let found = match device {
                Some(device) => vec![session.device(device).await?],
                None => session.devices(or_user(patient)?).await?,
            };
            output.answer(&found, |found| status(found))
        }
        Device::Simulate(ward) => ward::simulate(profile, session, &ward, output).await,
        Device::Prove(Prove::Make {
            record,
            index,
            patient,
            purpose,
            out,
        }) => {
            let progress = output.progress("reading the window");
            let read = session.window(or_user(patient)?, record, purpose).await;
            drop(progress);
            let (window, anchor) = read.map_err(reading)?;
            let proof = window.prove(index)?;
            proof::write((record, proof, anchor), &out, output)
        }
        Device::Prove(Prove::Check(wanted)) => proof::check(folder, &wanted, output),
    }
}

/// A denial ends with its own exit code, whatever it was asked for.
fn reading(error: OpenWindowError) -> anyhow::Error {
    match error {
        OpenWindowError::Read(error) => error.into(),
        other => other.into(),
    }
}

fn status(found: &[DeviceStatus]) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|one| {
            vec![
                one.device.to_string(),
                one.patient.to_string(),
                if one.bound { "yes" } else { "no" }.to_owned(),
                one.windows.to_string(),
                one.last.map(|last| last.to_string()).unwrap_or_default(),
                one.missing.to_string(),
                one.end.map(time).unwrap_or_default(),
            ]
        })
        .collect();
    table(
        &[
            "DEVICE", "PATIENT", "BOUND", "WINDOWS", "LAST", "MISSING", "UNTIL",
        ],
        &rows,
    )
}
