//! Looks at what a demonstration left, from outside: through the gateway of a hospital that took no
//! part, and at the disks.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stela_client::{CheckedBlock, Network};
use stela_consent::Consent;
use stela_healthcare::answer::Page;
use stela_protocol::ContractName;

use self::chain::{Anchor, Ledger, connect};
use crate::evidence::Evidence;
use crate::limits::{CATCH_UP, POLL};
use crate::network::{NetworkFile, network_file};
use crate::report::Findings;
use crate::topology::{CONTRACT, Kind, Node, Topology};

mod access;
mod audit;
mod chain;
mod consent_request;
mod emergency;
mod failover;
mod plaintext;
mod rights;
mod study;
mod ward;

/// The hospital at whose peer is looked: it neither wrote the record nor treats the patient, and
/// what it says is held against the genesis block.
const OBSERVER: &str = "HospitalC";

/// Looks at everything that the evidence points to. What is trusted is the genesis block on disk;
/// no peer's word on who may sign blocks is taken.
///
/// # Errors
/// When something cannot be looked at: then nothing is known.
pub async fn verify(evidence: &Evidence) -> anyhow::Result<Findings> {
    let bytes = std::fs::read(network_file(&evidence.network))?;
    let file: NetworkFile = serde_json::from_slice(&bytes)?;
    let topology = &file.topology;
    let mut findings = Findings::default();
    let anchor = Anchor::read(&evidence.network)?;
    let observed = topology.node(Kind::Peer, OBSERVER)?;
    let ledger = Ledger::read(evidence, &anchor, observed).await?;
    count(&ledger, &mut findings);
    access::judge(evidence, &ledger, &mut findings)?;
    failover::judge(evidence, &file, &ledger, &mut findings)?;
    consent_request::judge(evidence, &ledger, &mut findings)?;
    let at = |profile| connect(&evidence.network, profile, observed);
    let patient = at(&evidence.patient_profile)?;
    emergency::judge(evidence, &ledger, &patient, &mut findings).await?;
    let investigator = at(&evidence.study.investigator_profile)?;
    study::judge(evidence, &ledger, &investigator, &mut findings).await?;
    ward::judge(evidence, &ledger, &mut findings)?;
    rights::accounting(evidence, &ledger, &patient, &mut findings).await?;
    rights::export(evidence, &anchor, &ledger, &mut findings)?;
    let trails = [
        (evidence.patient, patient),
        (evidence.second, at(&evidence.second_profile)?),
    ];
    audit::judge(&trails, &ledger, &mut findings).await?;
    agreement(evidence, &anchor, topology, &ledger, &mut findings).await;
    grant_size(evidence, &ledger, &mut findings);
    plaintext::judge(evidence, &mut findings)?;
    Ok(findings)
}

fn count(ledger: &Ledger, findings: &mut Findings) {
    findings.blocks = ledger.blocks.len() as u64;
    for code in ledger.blocks.iter().flat_map(|block| &block.codes) {
        *findings.verdicts.entry(code.name().to_owned()).or_default() += 1;
    }
}

fn digest(path: &Path) -> anyhow::Result<[u8; 32]> {
    let bytes = std::fs::read(path).with_context(|| format!("{} is missing", path.display()))?;
    Ok(Sha256::digest(bytes).into())
}

fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    Ok(digest(one)? == digest(other)?)
}

/// What a query of the contract answers, as the peer that the client is connected to has it.
async fn ask<T: DeserializeOwned>(
    network: &Network,
    function: &str,
    request: &impl Serialize,
) -> anyhow::Result<T> {
    let contract = network.contract(ContractName::new(CONTRACT)?);
    let argument = serde_json::to_vec(request)?;
    let payload = contract.evaluate(function, [argument]).await?;
    Ok(serde_json::from_slice(&payload)?)
}

/// All pages of a query.
async fn ask_all<T: DeserializeOwned>(
    network: &Network,
    function: &str,
    mut request: Value,
) -> anyhow::Result<Vec<T>> {
    let mut entries = Vec::new();
    loop {
        let page: Page<T> = ask(network, function, &request).await?;
        entries.extend(page.entries);
        match page.bookmark {
            Some(bookmark) => request["bookmark"] = json!(bookmark),
            None => return Ok(entries),
        }
    }
}

/// Adds a remark for each thing that does not hold; answers whether all do.
fn all_hold<const N: usize>(findings: &mut Findings, things: [(bool, &str); N]) -> bool {
    let failed = things.iter().filter(|(holds, _)| !holds);
    let remarks: Vec<String> = failed.map(|(_, what)| (*what).to_owned()).collect();
    let all = remarks.is_empty();
    findings.remarks.extend(remarks);
    all
}

async fn agreement(
    evidence: &Evidence,
    anchor: &Anchor,
    topology: &Topology,
    ledger: &Ledger,
    findings: &mut Findings,
) {
    findings.peers_agree_on_state_hash = true;
    for node in topology.of(Kind::Peer) {
        if let Err(error) = agrees(evidence, anchor, node, &ledger.blocks).await {
            let what = format!("{} does not agree: {error:#}", node.title());
            findings.remarks.push(what);
            findings.peers_agree_on_state_hash = false;
        }
    }
}

/// Waits until a peer has as many blocks as the observer's, then compares them all.
async fn agrees(
    evidence: &Evidence,
    anchor: &Anchor,
    node: &Node,
    ours: &[CheckedBlock],
) -> anyhow::Result<()> {
    let network = connect(&evidence.network, &evidence.observer, node)?;
    let height = ours.len() as u64;
    caught_up(&network, height).await?;
    let theirs = anchor.blocks(&network, height).await?;
    let differ = |(theirs, ours): &(&CheckedBlock, &CheckedBlock)| {
        theirs.block.hash != ours.block.hash
            || theirs.state_hash != ours.state_hash
            || theirs.codes != ours.codes
    };
    match theirs.iter().zip(ours).find(differ) {
        Some((theirs, _)) => anyhow::bail!(
            "block {} or the state after it is another",
            theirs.block.header.number
        ),
        None => Ok(()),
    }
}

async fn caught_up(network: &Network, height: u64) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + CATCH_UP;
    loop {
        let answer = network.info().await;
        match answer {
            Ok(info) if info.height >= height => return Ok(()),
            _ if tokio::time::Instant::now() < deadline => tokio::time::sleep(POLL).await,
            Ok(info) => anyhow::bail!("it has {} blocks of {height}", info.height),
            Err(error) => return Err(error.into()),
        }
    }
}

fn grant_size(evidence: &Evidence, ledger: &Ledger, findings: &mut Findings) {
    let wanted = |consent: &Consent| consent.id() == evidence.consent;
    if let Some((granted, _)) = ledger.find("grant_consent", wanted) {
        findings.consent_grant_bytes = granted.envelope_bytes;
        findings.consent_grant_endorsements = granted.transaction.endorsements.len();
    }
}
