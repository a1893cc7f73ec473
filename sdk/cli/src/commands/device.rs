//! Devices: binding them, what they have submitted, and proofs of single observations.

mod ward;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stela_consent::{Hex, Id};
use stela_protocol::Hash32;
use stela_records::care::answer::{DeviceStatus, Window as Anchor};
use stela_records::care::{OpenWindowError, Session, Silent};
use stela_records::window::ObservationProof;

use super::record::done;
use crate::arguments::{Device, Prove};
use crate::limits::PROOF_BYTES_MAX;
use crate::output::{Output, table, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(profile: &Path, command: Device, output: &Output) -> anyhow::Result<()> {
    // A proof is checked without a network, and without a user.
    if let Device::Prove(Prove::Check { file, root }) = command {
        return check(&file, root, output);
    }
    let profile = Profile::load(profile)?;
    let session = session::open(&profile, Arc::new(Silent)).await?;
    let outcome = dispatch(&profile, &session, command, output).await;
    session.close().await;
    outcome
}

async fn dispatch(
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
            let proved = Proved {
                record,
                proof: window.prove(index)?,
                anchor,
            };
            std::fs::write(&out, serde_json::to_vec_pretty(&proved)?)
                .with_context(|| format!("{} cannot be written", out.display()))?;
            output.answer(&proved, |proved| {
                format!(
                    "proof of observation {} of {} in {}\nMerkle root {}",
                    proved.proof.index,
                    proved.proof.count,
                    out.display(),
                    proved.anchor.root
                )
            })
        }
        Device::Prove(Prove::Check { file, root }) => check(&file, root, output),
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

/// A proof as it is written into a file, with what anchors the window.
#[derive(Serialize, Deserialize)]
struct Proved {
    record: Id,
    proof: ObservationProof,
    anchor: Anchor,
}

#[derive(Serialize)]
struct Checked {
    record: Id,
    /// Where the root is from that was held against the proof.
    against: &'static str,
    root: Hex<32>,
    observation: serde_json::Value,
}

fn check(file: &Path, root: Option<Hex<32>>, output: &Output) -> anyhow::Result<()> {
    let context = || format!("the proof {}", file.display());
    let bytes = std::fs::metadata(file).with_context(context)?.len();
    anyhow::ensure!(bytes <= PROOF_BYTES_MAX, "{} is no proof", file.display());
    let text = std::fs::read(file).with_context(context)?;
    let proved: Proved = serde_json::from_slice(&text).with_context(context)?;
    let against = root.map_or("the file itself", |_| "the root that was given");
    let root = root.unwrap_or(proved.anchor.root);
    anyhow::ensure!(
        proved.proof.verify(&Hash32(root.0)),
        "the observation does not belong to the window with the root {root}"
    );
    let observation = serde_json::from_str(&proved.proof.observation)
        .context("the observation that is proved is no JSON")?;
    let checked = Checked {
        record: proved.record,
        against,
        root,
        observation,
    };
    output.answer(&checked, |checked| {
        format!(
            "the observation belongs to the window with the root {} ({})\n{}",
            checked.root, checked.against, checked.observation
        )
    })
}
