//! Replacing and looking at encryption keys.

use std::sync::Arc;

use serde::Serialize;
use stela_consent::{Fingerprint, Hex};
use stela_records::care::{Session, Silent};

use crate::arguments::Key;
use crate::output::{Output, table, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(profile: &Profile, command: Key, output: &Output) -> anyhow::Result<()> {
    match command {
        Key::Rotate => rotate(profile, output).await,
        Key::History { certificate } => {
            let own = Hex(profile.credentials.fingerprint().0);
            let session = session::open(profile, Arc::new(Silent)).await?;
            let outcome = history(&session, certificate.unwrap_or(own), output).await;
            session.close().await;
            outcome
        }
    }
}

#[derive(Serialize)]
struct Rotated {
    encryption_key: String,
    /// Where the old key pair is kept.
    retired: String,
    transaction: String,
}

/// The new pair is in a file before it is published, and the old one in another before it is
/// replaced: whatever is wrapped for either can be opened at any moment.
async fn rotate(profile: &Profile, output: &Output) -> anyhow::Result<()> {
    let next = profile.next_encryption()?;
    let encryption_key = next.public().key_id().to_string();
    let session = session::open_with(profile, next, Arc::new(Silent)).await?;
    let published = session.register_encryption_key().await;
    session.close().await;
    let published = published?;
    let retired = profile.adopt_next_encryption()?;
    let answer = Rotated {
        encryption_key,
        retired: retired.display().to_string(),
        transaction: published.status.transaction.to_string(),
    };
    output.answer(&answer, |answer| {
        format!(
            "encryption key {}\nthe old one is kept in {}\ntransaction {}",
            answer.encryption_key, answer.retired, answer.transaction
        )
    })
}

#[derive(Serialize)]
struct Change {
    time: u64,
    block: u64,
    transaction: String,
    /// Nothing when the key went with its owner's certificate.
    encryption_key: Option<String>,
}

async fn history(
    session: &Session,
    certificate: Fingerprint,
    output: &Output,
) -> anyhow::Result<()> {
    let changes = session.encryption_key_history(certificate).await?;
    let changes: Vec<Change> = changes
        .into_iter()
        .map(|(change, key_id)| Change {
            time: change.time,
            block: change.block,
            transaction: change.transaction.to_string(),
            encryption_key: key_id.map(|key_id| key_id.to_string()),
        })
        .collect();
    output.answer(&changes, |changes| {
        let rows: Vec<Vec<String>> = changes
            .iter()
            .map(|change| {
                let key = change.encryption_key.clone();
                vec![
                    time(change.time),
                    change.block.to_string(),
                    key.unwrap_or_else(|| "-".to_owned()),
                    change.transaction.clone(),
                ]
            })
            .collect();
        table(&["TIME", "BLOCK", "ENCRYPTION KEY", "TRANSACTION"], &rows)
    })
}
