//! A ward of simulated monitors, run against a network that is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use stela_consent::{Confidentiality, Fingerprint, Hex, Id};
use stela_records::care::{NewWindow, Session, Silent};
use stela_records::vitals::{Reading, Thresholds, Vital};
use stela_records::window::Window;

use super::super::{ca, now_ms};
use crate::arguments::Simulate;
use crate::limits::{DEVICES_AT_ONCE, PROOF_BYTES_MAX};
use crate::output::{Output, Progress, time};
use crate::profile::Profile;
use crate::session;

/// How long the certificate of a simulated device is valid.
const CERTIFICATE_DAYS: u32 = 30;
/// How long a registration may take.
const REGISTER: Duration = Duration::from_secs(60);
/// How long the first window of a device is.
const FIRST_WINDOW_MS: u64 = 60_000;

#[derive(Serialize)]
struct Ran {
    devices: usize,
    windows: u64,
    observations: u64,
    alerts: u64,
    elapsed_ms: u64,
    /// Records of the windows that have an alert.
    alerting: Vec<Id>,
    /// The last window of each device.
    last: Vec<Id>,
    /// What did not go as it should, device by device.
    #[serde(skip)]
    failed: Vec<String>,
}

/// What one device did.
#[derive(Default)]
struct Shift {
    windows: u64,
    observations: u64,
    alerts: u64,
    alerting: Vec<Id>,
    last: Option<Id>,
    failed: Option<String>,
}

pub(super) async fn simulate(
    profile: &Profile,
    nurse: &Session,
    ward: &Simulate,
    output: &Output,
) -> anyhow::Result<()> {
    let thresholds = thresholds(ward.thresholds.as_deref())?;
    let folders = enrol(profile, ward, output)?;
    let bar = output.bar("devices bound", u64::from(ward.devices));
    let bound = futures::stream::iter(folders)
        .map(|folder| bind(nurse, ward.patient, folder, &bar))
        .buffered(DEVICES_AT_ONCE);
    let devices: Vec<Profile> = bound.try_collect().await?;
    drop(bar);
    let steps = u64::from(ward.devices) * u64::from(ward.windows);
    let bar = output.bar("windows submitted", steps);
    let started_ms = now_ms();
    let shifts = futures::stream::iter(devices.iter().enumerate())
        .map(|(number, device)| {
            let beyond = ward.alert_one && number == 0;
            shift(nurse, device, ward, &thresholds, beyond, &bar)
        })
        .buffered(DEVICES_AT_ONCE);
    let shifts: Vec<Shift> = shifts.collect().await;
    drop(bar);
    let ran = sum(shifts, now_ms().saturating_sub(started_ms));
    for why in &ran.failed {
        output.warn(why);
    }
    anyhow::ensure!(
        ran.failed.is_empty(),
        "{} of {} devices failed; {} windows were submitted",
        ran.failed.len(),
        ran.devices,
        ran.windows
    );
    output.answer(&ran, |ran| {
        format!(
            "{} devices submitted {} windows of {} observations in {:.1} s, {} with alerts",
            ran.devices,
            ran.windows,
            ran.observations,
            Duration::from_millis(ran.elapsed_ms).as_secs_f32(),
            ran.alerting.len()
        )
    })
}

fn thresholds(file: Option<&Path>) -> anyhow::Result<Thresholds> {
    let Some(file) = file else {
        return Ok(Thresholds::adult());
    };
    let context = || format!("the thresholds {}", file.display());
    let bytes = std::fs::metadata(file).with_context(context)?.len();
    anyhow::ensure!(bytes <= PROOF_BYTES_MAX, "{} is too long", file.display());
    let text = std::fs::read(file).with_context(context)?;
    serde_json::from_slice(&text).with_context(context)
}

/// A profile for each device, made if it is not there.
fn enrol(profile: &Profile, ward: &Simulate, output: &Output) -> anyhow::Result<Vec<PathBuf>> {
    let bar = output.bar("certificates issued", u64::from(ward.devices));
    let mut folders = Vec::new();
    for number in 1..=ward.devices {
        let folder = ward.ward.join(format!("device-{number:04}"));
        if !folder.join("identity").exists() {
            let name = format!("device-{number:04}");
            ca::issue_device(&ward.ca, &name, &folder, CERTIFICATE_DAYS)?;
        }
        profile.derive(&folder)?;
        folders.push(folder);
        bar.step();
    }
    Ok(folders)
}

/// Makes a device known on the channel, and has it report the patient's vital signs.
async fn bind(
    nurse: &Session,
    patient: Id,
    folder: PathBuf,
    bar: &Progress,
) -> anyhow::Result<Profile> {
    let device = Profile::load(&folder)?;
    device.encryption_or_new()?;
    session::network(&device)?.register(REGISTER).await?;
    let fingerprint: Fingerprint = Hex(device.credentials.fingerprint().0);
    let bound = match nurse.device(fingerprint).await {
        Ok(found) => found.bound && found.patient == patient,
        Err(error) if error.is_refusal("not-found") => false,
        Err(error) => return Err(error.into()),
    };
    if !bound {
        nurse.bind_device(patient, fingerprint, None).await?;
    }
    bar.step();
    Ok(device)
}

/// Everything that one device submits; a failure ends its shift and no other one.
async fn shift(
    nurse: &Session,
    device: &Profile,
    ward: &Simulate,
    thresholds: &Thresholds,
    beyond: bool,
    bar: &Progress,
) -> Shift {
    let mut done = Shift::default();
    let name = device.credentials.certificate.common_name();
    if let Err(error) = work(nurse, device, ward, thresholds, beyond, bar, &mut done).await {
        done.failed = Some(format!("{name}: {error:#}"));
    }
    done
}

async fn work(
    nurse: &Session,
    device: &Profile,
    ward: &Simulate,
    thresholds: &Thresholds,
    beyond: bool,
    bar: &Progress,
    done: &mut Shift,
) -> anyhow::Result<()> {
    let node = nurse.node().clone();
    let session = session::open_on(device, device.encryption()?, node, Arc::new(Silent)).await?;
    let fingerprint: Fingerprint = Hex(device.credentials.fingerprint().0);
    let before = session.device(fingerprint).await?;
    let mut next = before.last.map_or(1, |last| last + 1);
    let mut end_ms = before.end;
    for number in 1..=ward.windows {
        let beyond = beyond && number == ward.windows;
        let readings = readings(ward.readings, beyond);
        let now_ms = now_ms();
        let start_ms = end_ms.map_or(now_ms - FIRST_WINDOW_MS, |end| end.min(now_ms));
        let span = now_ms - start_ms;
        let count = readings.len() as u64;
        let texts = readings.iter().zip(0..).map(|(reading, place): (_, u64)| {
            let at = start_ms + span * place / count;
            reading.observation(ward.patient, fingerprint, &time(at))
        });
        let observations = Window::new(texts, &mut rand::rng())?;
        let alerts = readings
            .iter()
            .filter(|one| thresholds.alerts(**one))
            .count();
        let window = NewWindow {
            patient: ward.patient,
            confidentiality: Confidentiality::Normal,
            labels: Vec::new(),
            observations: &observations,
            first: next,
            last: next + count - 1,
            start_ms,
            end_ms: now_ms,
            alerts: u32::try_from(alerts)?,
        };
        let anchored = session.submit_window(&window).await?;
        (next, end_ms) = (next + count, Some(now_ms));
        done.windows += 1;
        done.observations += count;
        done.alerts += alerts as u64;
        done.last = Some(anchored.record);
        if alerts > 0 {
            done.alerting.push(anchored.record);
        }
        bar.step();
    }
    Ok(())
}

/// What a monitor shows of somebody at rest; with `beyond`, one value that alarms.
fn readings(rounds: u16, beyond: bool) -> Vec<Reading> {
    let around = |middle: i64, by: i64| middle + rand::random_range(-by..=by);
    let mut readings = Vec::new();
    for _ in 0..rounds {
        readings.push(Reading::Single(Vital::HeartRate, around(72, 8) * 10));
        readings.push(Reading::Single(Vital::RespiratoryRate, around(15, 3) * 10));
        readings.push(Reading::Single(Vital::OxygenSaturation, around(97, 2) * 10));
        readings.push(Reading::Single(Vital::BodyTemperature, around(368, 4)));
        let (systolic, diastolic) = (around(120, 10) * 10, around(78, 6) * 10);
        readings.push(Reading::BloodPressure(systolic, diastolic));
    }
    if beyond {
        readings.push(Reading::Single(Vital::OxygenSaturation, 840));
    }
    readings
}

fn sum(shifts: Vec<Shift>, elapsed_ms: u64) -> Ran {
    let mut ran = Ran {
        devices: shifts.len(),
        windows: 0,
        observations: 0,
        alerts: 0,
        elapsed_ms,
        alerting: Vec::new(),
        last: Vec::new(),
        failed: Vec::new(),
    };
    for shift in shifts {
        ran.windows += shift.windows;
        ran.observations += shift.observations;
        ran.alerts += shift.alerts;
        ran.alerting.extend(shift.alerting);
        ran.last.extend(shift.last);
        ran.failed.extend(shift.failed);
    }
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_at_rest_alarms_only_when_asked_to() {
        let adult = Thresholds::adult();
        let alerts = |beyond| {
            let readings = readings(50, beyond);
            readings
                .into_iter()
                .filter(|one| adult.alerts(*one))
                .count()
        };
        assert_eq!((alerts(false), alerts(true)), (0, 1));
    }
}
