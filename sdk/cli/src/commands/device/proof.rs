//! Proofs of single observations, as files.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stela_client::Recorded;
use stela_consent::{Hex, Id};
use stela_healthcare::request::SubmitWindow;
use stela_protocol::Hash32;
use stela_protocol::transaction::Body;
use stela_records::care::answer::Window as Anchor;
use stela_records::window::ObservationProof;

use super::super::receipt;
use crate::arguments::CheckProof;
use crate::limits::PROOF_BYTES_MAX;
use crate::output::{Output, time};

/// The function of the contract that submits a window.
const SUBMIT_WINDOW: &str = "submit_window";

/// A proof as it is written into a file, with what anchors the window.
#[derive(Serialize, Deserialize)]
struct Proved {
    record: Id,
    proof: ObservationProof,
    anchor: Anchor,
}

pub(super) fn write(
    (record, proof, anchor): (Id, ObservationProof, Anchor),
    out: &Path,
    output: &Output,
) -> anyhow::Result<()> {
    let proved = Proved {
        record,
        proof,
        anchor,
    };
    std::fs::write(out, serde_json::to_vec_pretty(&proved)?)
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

#[derive(Serialize)]
struct Checked {
    record: Id,
    /// Where the root is from that was held against the proof.
    against: &'static str,
    root: Hex<32>,
    /// What the receipt proves, when the root is from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<Submitted>,
    observation: serde_json::Value,
}

/// The transaction that submitted a window, as its receipt proves it.
#[derive(Serialize)]
struct Submitted {
    transaction: String,
    channel: String,
    contract: String,
    block: u64,
    time: String,
}

pub(super) fn check(folder: &Path, wanted: &CheckProof, output: &Output) -> anyhow::Result<()> {
    let file = &wanted.file;
    let context = || format!("the proof {}", file.display());
    let bytes = std::fs::metadata(file).with_context(context)?.len();
    anyhow::ensure!(bytes <= PROOF_BYTES_MAX, "{} is no proof", file.display());
    let text = std::fs::read(file).with_context(context)?;
    let proved: Proved = serde_json::from_slice(&text).with_context(context)?;
    let recorded = match &wanted.receipt {
        Some(file) => {
            let recorded = receipt::verified(folder, file, wanted.genesis.as_deref())?;
            let submitted = submitted(&recorded, proved.record);
            Some(submitted.with_context(|| format!("the receipt {}", file.display()))?)
        }
        None => None,
    };
    let (against, root, recorded) = match (wanted.root, recorded) {
        (Some(root), _) => ("the root that was given", root, None),
        (None, Some((root, recorded))) => ("the root in the receipt", root, Some(recorded)),
        (None, None) => ("the file itself", proved.anchor.root, None),
    };
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
        recorded,
        observation,
    };
    output.answer(&checked, text_of)
}

/// The root with which a recorded transaction submits a window, and the transaction.
fn submitted(recorded: &Recorded, record: Id) -> anyhow::Result<(Hex<32>, Submitted)> {
    let Body::Transaction(transaction) = &recorded.envelope.body else {
        anyhow::bail!("the transaction submits no window");
    };
    let proposal = &transaction.proposal;
    let window = match &proposal.arguments[..] {
        [argument] if proposal.function == SUBMIT_WINDOW => {
            serde_json::from_slice::<SubmitWindow>(argument).ok()
        }
        _ => None,
    };
    let window = window.context("the transaction submits no window")?;
    anyhow::ensure!(
        window.record == record,
        "the transaction submits the window {}, and the proof is of one in {record}",
        window.record
    );
    let header = &recorded.header;
    let submitted = Submitted {
        transaction: recorded.transaction.to_string(),
        channel: header.channel.to_string(),
        contract: proposal.contract.to_string(),
        block: header.number.0,
        time: time(header.time_ms),
    };
    Ok((window.root, submitted))
}

fn text_of(checked: &Checked) -> String {
    let recorded = checked.recorded.as_ref().map(|recorded| {
        format!(
            "\nsubmitted to {} in block {} of channel {} at {}, transaction {}",
            recorded.contract,
            recorded.block,
            recorded.channel,
            recorded.time,
            recorded.transaction
        )
    });
    format!(
        "the observation belongs to the window with the root {} ({}){}\n{}",
        checked.root,
        checked.against,
        recorded.unwrap_or_default(),
        checked.observation
    )
}
