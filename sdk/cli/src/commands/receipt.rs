//! Receipts: proofs of what the consortium recorded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use stela_client::{Receipt, Recorded};
use stela_protocol::TransactionId;
use stela_protocol::transaction::Body;

use crate::arguments;
use crate::output::{Output, printable, time};
use crate::profile::{self, Profile};
use crate::session;

/// How long to look for a transaction that may not be committed.
const LOOK: Duration = Duration::from_secs(3);

pub(crate) async fn run(
    folder: &Path,
    command: arguments::Receipt,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        arguments::Receipt::Get { id, out } => {
            get(&Profile::load(folder)?, TransactionId(id.0), &out, output).await
        }
        arguments::Receipt::Verify { file, genesis } => {
            show(&verified(folder, &file, genesis.as_deref())?, output)
        }
    }
}

/// What a receipt in a file proves, from the genesis block that is named, or else the profile's.
pub(super) fn verified(
    folder: &Path,
    file: &Path,
    genesis: Option<&Path>,
) -> anyhow::Result<Recorded> {
    let genesis = match genesis {
        Some(path) => profile::genesis(path)?,
        None => Profile::load(folder)?
            .genesis()?
            .context("the profile names no genesis block; give one with --genesis")?,
    };
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Receipt::from_json(&text)?.verify(Arc::new(genesis))?)
}

async fn get(
    profile: &Profile,
    id: TransactionId,
    out: &Path,
    output: &Output,
) -> anyhow::Result<()> {
    anyhow::ensure!(!out.exists(), "{} exists", out.display());
    let network = session::network(profile)?;
    let progress = output.progress("looking for the transaction and its block");
    let genesis = session::first_configuration(profile, &network).await?;
    let receipt = network.receipt(Arc::clone(&genesis), id, LOOK).await?;
    drop(progress);
    std::fs::write(out, receipt.to_json())
        .with_context(|| format!("cannot write {}", out.display()))?;
    show(&receipt.verify(genesis)?, output)
}

#[derive(Serialize)]
struct Proven {
    transaction: String,
    channel: String,
    block: u64,
    index: u64,
    time: String,
    /// The header's hash, which the orderers signed.
    header_hash: String,
    /// How many orderers signed it.
    signed: usize,
    /// The number of the configuration by which their signatures count.
    configuration: u64,
    creator: String,
    made: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    arguments: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<serde_json::Value>,
    /// Fingerprints of those who endorsed it.
    endorsers: Vec<String>,
}

fn show(recorded: &Recorded, output: &Output) -> anyhow::Result<()> {
    let (header, made) = (&recorded.header, recorded.envelope.header());
    let transaction = match &recorded.envelope.body {
        Body::Transaction(transaction) => Some(transaction),
        _ => None,
    };
    let proposal = transaction.map(|transaction| &transaction.proposal);
    let arguments = proposal.iter().flat_map(|proposal| &proposal.arguments);
    let endorsements = transaction.iter().flat_map(|t| &t.endorsements);
    let proven = Proven {
        transaction: recorded.transaction.to_string(),
        channel: header.channel.to_string(),
        block: header.number.0,
        index: recorded.index,
        time: time(header.time_ms),
        header_hash: recorded.hash.to_string(),
        signed: recorded.signed,
        configuration: recorded.configuration,
        creator: made.creator.to_string(),
        made: time(made.timestamp_ms),
        contract: proposal.map(|proposal| proposal.contract.to_string()),
        function: proposal.map(|proposal| proposal.function.clone()),
        arguments: arguments.map(|argument| readable(argument)).collect(),
        answer: transaction.map(|transaction| readable(&transaction.result.response)),
        endorsers: endorsements.map(|e| e.endorser.to_string()).collect(),
    };
    output.answer(&proven, text)
}

fn text(proven: &Proven) -> String {
    let mut lines = vec![
        format!("transaction {}", proven.transaction),
        format!(
            "stands in block {} of channel {}, ordered at {}",
            proven.block, proven.channel, proven.time
        ),
        format!(
            "{} orderers signed it, as configuration {} asks",
            proven.signed, proven.configuration
        ),
        format!("made by {} at {}", proven.creator, proven.made),
    ];
    if let (Some(contract), Some(function)) = (&proven.contract, &proven.function) {
        lines.push(format!("calls {} of {contract}", printable(function)));
    }
    lines.extend(
        proven
            .arguments
            .iter()
            .map(|argument| format!("  with {argument}")),
    );
    lines.extend(
        proven
            .answer
            .iter()
            .map(|answer| format!("  answered {answer}")),
    );
    lines.push(format!("endorsed by {}", proven.endorsers.len()));
    lines.join("\n")
}

/// JSON as it is, other bytes in hexadecimal.
fn readable(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<String>().into()
    })
}
