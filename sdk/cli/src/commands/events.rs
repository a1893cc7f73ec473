//! Following the contract's events.

use futures::StreamExt;
use serde::Serialize;
use stela_client::Start;
use stela_protocol::BlockNumber;

use crate::output::{Output, time};
use crate::profile::Profile;
use crate::session;

#[derive(Serialize)]
struct Line {
    block: u64,
    transaction: String,
    time: String,
    name: String,
    payload: serde_json::Value,
}

pub(crate) async fn follow(
    profile: &Profile,
    from: Option<u64>,
    count: Option<usize>,
    output: &Output,
) -> anyhow::Result<()> {
    let start = from.map_or(Start::Next, |block| Start::Block(BlockNumber(block)));
    let stream = session::network(profile)?.events(&profile.contract, start);
    let stream = stream.take(count.unwrap_or(usize::MAX));
    futures::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        let event = event?;
        let line = Line {
            block: event.checkpoint.block.0,
            transaction: event.transaction.to_string(),
            time: time(event.time_ms),
            name: event.name.clone(),
            payload: event.json().unwrap_or(serde_json::Value::Null),
        };
        output.line(&line, |line| {
            format!(
                "{} block {} {} {}",
                line.time, line.block, line.name, line.payload
            )
        })?;
    }
    Ok(())
}
