//! The channel: its head, its blocks, one transaction.

use std::time::Duration;

use futures::StreamExt;
use serde::Serialize;
use stela_client::{CommitStatus, Quorum};
use stela_protocol::{BlockNumber, TransactionId};

use crate::arguments::{Channel, Tx};
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;

use super::update;

pub(crate) async fn run(
    profile: &Profile,
    command: Channel,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        Channel::Info => info(profile, output).await,
        Channel::Blocks { from, to } => blocks(profile, from, to, output).await,
        Channel::Config { out } => update::config(profile, out.as_deref(), output).await,
        Channel::Update(command) => update::run(profile, command, output).await,
    }
}

#[derive(Serialize)]
struct Info {
    channel: String,
    height: u64,
    header_hash: String,
    state_hash: String,
    configuration: u64,
    organizations: Vec<String>,
    orderers: Vec<String>,
    contracts: Vec<ContractInfo>,
}

#[derive(Serialize)]
struct ContractInfo {
    name: String,
    version: String,
    package_hash: String,
    endorsement_policy: String,
    settings: String,
}

async fn info(profile: &Profile, output: &Output) -> anyhow::Result<()> {
    let info = session::network(profile)?.info().await?;
    let config = &info.config;
    let contracts = config.contracts.values().map(|contract| ContractInfo {
        name: contract.name.to_string(),
        version: contract.version.clone(),
        package_hash: contract.package_hash.to_string(),
        endorsement_policy: contract.policy.to_string(),
        settings: String::from_utf8_lossy(&contract.settings).into_owned(),
    });
    let info = Info {
        channel: config.channel.to_string(),
        height: info.height,
        header_hash: info.header_hash.to_string(),
        state_hash: info.state_hash.to_string(),
        configuration: config.sequence,
        organizations: config
            .organizations
            .keys()
            .map(ToString::to_string)
            .collect(),
        orderers: config
            .orderers
            .values()
            .map(|o| format!("{} at {}", o.organization, o.address))
            .collect(),
        contracts: contracts.collect(),
    };
    output.answer(&info, |info| {
        let contracts: Vec<String> = info
            .contracts
            .iter()
            .map(|c| format!("{} {} by {}", c.name, c.version, c.endorsement_policy))
            .collect();
        format!(
            "channel {} at height {}\nheader {}\nstate  {}\nmembers: {}\norderers: {}\ncontracts: {}",
            info.channel,
            info.height,
            info.header_hash,
            info.state_hash,
            info.organizations.join(", "),
            info.orderers.join(", "),
            contracts.join("; ")
        )
    })
}

#[derive(Serialize)]
struct BlockLine {
    number: u64,
    time: String,
    hash: String,
    state_hash: String,
    bytes: usize,
    signatures: usize,
    verdicts: Vec<&'static str>,
}

async fn blocks(
    profile: &Profile,
    from: u64,
    to: Option<u64>,
    output: &Output,
) -> anyhow::Result<()> {
    let network = session::network(profile)?;
    let info = network.info().await?;
    let end = BlockNumber(to.unwrap_or(info.height).min(info.height));
    let quorum =
        Quorum::new(session::configuration_before(profile, &network, BlockNumber(from)).await?);
    let stream = network
        .blocks(BlockNumber(from), Some(end))
        .signed_by(quorum);
    let mut lines = Vec::new();
    let bar = output.bar("checking blocks", end.0.saturating_sub(from));
    futures::pin_mut!(stream);
    while let Some(checked) = stream.next().await {
        let checked = checked?;
        lines.push(BlockLine {
            number: checked.block.header.number.0,
            time: time(checked.block.header.time_ms),
            hash: checked.block.hash.to_string(),
            state_hash: checked.state_hash.to_string(),
            bytes: checked.block.envelopes.iter().map(bytes::Bytes::len).sum(),
            signatures: checked.block.signatures.len(),
            verdicts: checked.codes.iter().map(|code| code.name()).collect(),
        });
        bar.step();
    }
    drop(bar);
    output.answer(&lines, |lines| {
        let rows: Vec<Vec<String>> = lines
            .iter()
            .map(|line| {
                vec![
                    line.number.to_string(),
                    line.time.clone(),
                    short(&line.hash),
                    short(&line.state_hash),
                    line.bytes.to_string(),
                    line.signatures.to_string(),
                    line.verdicts.join(","),
                ]
            })
            .collect();
        table(
            &[
                "BLOCK", "TIME", "HASH", "STATE", "BYTES", "SIGNED", "VERDICTS",
            ],
            &rows,
        )
    })
}

#[derive(Serialize)]
struct Status {
    transaction: String,
    verdict: &'static str,
    block: u64,
    index: u32,
    time: String,
}

/// How long to look for a transaction that may not be committed.
const LOOK: Duration = Duration::from_secs(3);

pub(crate) async fn transaction(
    profile: &Profile,
    command: Tx,
    output: &Output,
) -> anyhow::Result<()> {
    let id = match command {
        Tx::Status { id } => id,
        Tx::Explain { id, made } => {
            return super::explain::explain(profile, TransactionId(id.0), made, output).await;
        }
    };
    let commit = session::network(profile)?.commit(TransactionId(id.0));
    let status: CommitStatus = commit.status(LOOK).await?;
    let status = Status {
        transaction: status.transaction.to_string(),
        verdict: status.code.name(),
        block: status.block.0,
        index: status.index,
        time: time(status.time_ms),
    };
    output.answer(&status, |s| {
        format!(
            "{} in block {} at {}, index {}",
            s.verdict, s.block, s.time, s.index
        )
    })
}
