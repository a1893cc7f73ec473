//! What happened that concerns the user.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use stela_client::{Event, FileCheckpointer, Start};
use stela_consent::Id;
use stela_protocol::BlockNumber;
use stela_records::care::answer::Concern;
use stela_records::care::{Session, Silent};

use super::record::code;
use crate::output::{Output, time};
use crate::profile::Profile;
use crate::session;

/// Without `--follow`, the end: no event came for so long.
const QUIET: Duration = Duration::from_secs(2);

/// An event that concerns the user.
#[derive(Serialize)]
struct Notification {
    block: u64,
    transaction: String,
    time: String,
    event: String,
    /// Why it concerns her.
    because: Vec<Concern>,
    payload: serde_json::Value,
}

/// What an event names, as far as it matters whom it concerns.
#[derive(Deserialize)]
struct Named {
    patient: Option<Id>,
    record: Option<Id>,
    version: Option<u32>,
}

pub(crate) async fn run(
    profile: &Profile,
    follow: bool,
    from: Option<u64>,
    output: &Output,
) -> anyhow::Result<()> {
    let session = session::open(profile, Arc::new(Silent)).await?;
    let outcome = tell(profile, &session, follow, from, output).await;
    session.close().await;
    outcome
}

async fn tell(
    profile: &Profile,
    session: &Session,
    follow: bool,
    from: Option<u64>,
    output: &Output,
) -> anyhow::Result<()> {
    let (channel, contract) = (&profile.channel, &profile.contract);
    let mut kept = FileCheckpointer::open(profile.notified(), channel, contract)?;
    let start = match from {
        Some(block) => Start::Block(BlockNumber(block)),
        None => kept.start_or(Start::Block(BlockNumber(1))),
    };
    let own = profile.patient().ok();
    let events = session.network().events(contract, start);
    futures::pin_mut!(events);
    loop {
        let next = match follow {
            true => events.next().await,
            false => match tokio::time::timeout(QUIET, events.next()).await {
                Ok(next) => next,
                Err(_) => return Ok(()),
            },
        };
        let Some(event) = next else { return Ok(()) };
        let event = event?;
        if let Some(notification) = notify(session, own, &event).await? {
            output.line(&notification, line)?;
        }
        if from.is_none() {
            kept.save(event.checkpoint)?;
        }
    }
}

/// The event, if it concerns the user.
async fn notify(
    session: &Session,
    own: Option<Id>,
    event: &Event,
) -> anyhow::Result<Option<Notification>> {
    let payload: serde_json::Value = event.json().unwrap_or_default();
    let Ok(named) = event.json::<Named>() else {
        return Ok(None);
    };
    let herself = own.is_some() && named.patient == own;
    let mut because = match named.record {
        // Who read what is for those who answer for the patient.
        Some(record) => session.concerns(record, named.version).await?.reasons,
        None => Vec::new(),
    };
    if event.name.starts_with("access.") {
        because.retain(|concern| matches!(concern, Concern::Patient | Concern::Delegate));
    }
    if herself && because.is_empty() {
        because.push(Concern::Patient);
    }
    Ok((!because.is_empty()).then(|| Notification {
        block: event.checkpoint.block.0,
        transaction: event.transaction.to_string(),
        time: time(event.time_ms),
        event: event.name.clone(),
        because,
        payload,
    }))
}

fn line(notification: &Notification) -> String {
    let because: Vec<String> = notification.because.iter().map(code).collect();
    format!(
        "{} {} {} ({})",
        notification.time,
        notification.event,
        notification.payload,
        because.join(", ")
    )
}
