//! Looks at what a demonstration left, from outside: through the gateway of a hospital that took no
//! part, and at the disks.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use sha2::{Digest, Sha256};
use stela_client::{CheckedBlock, Network};
use stela_consent::{Consent, Hex, Id};
use stela_healthcare::answer::{AuditEntry, Page};
use stela_healthcare::event::KEY_REGISTERED;
use stela_healthcare::request::AuditTrail;
use stela_protocol::ContractName;

use self::chain::{Anchor, Ledger, connect};
use crate::evidence::Evidence;
use crate::limits::{CATCH_UP, POLL};
use crate::network::{NetworkFile, network_file};
use crate::report::Findings;
use crate::topology::{CONTRACT, Kind, Node, Topology};

mod access;
mod chain;
mod failover;
mod plaintext;

/// The hospital at whose peer is looked: it took no part in the sharing.
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
    audit(evidence, topology, &ledger, &mut findings).await?;
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

async fn audit(
    evidence: &Evidence,
    topology: &Topology,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let node = topology.node(Kind::Peer, OBSERVER)?;
    let network = connect(&evidence.network, &evidence.patient_profile, node)?;
    let trail = trail(&network, evidence.patient).await?;
    findings.audit_entries = trail.len();
    let told: BTreeSet<Hex<32>> = trail.iter().map(|entry| entry.transaction).collect();
    let happened: BTreeSet<Hex<32>> = ledger
        .valid
        .iter()
        .filter(|tx| {
            let mut events = tx.transaction.result.events.iter();
            // Her first encryption key stands in no trail; one that takes its place does.
            events.any(|event| {
                event.name != KEY_REGISTERED && concerns(&event.payload, evidence.patient)
            })
        })
        .map(|tx| tx.id)
        .collect();
    if told != happened {
        findings.remarks.push(format!(
            "the audit trail tells of {} transactions, {} happened",
            told.len(),
            happened.len()
        ));
    }
    findings.audit_complete = told == happened && trail.len() == told.len();
    Ok(())
}

/// Whether an event is about this patient. Some are about none: a key that an officer published.
fn concerns(payload: &[u8], patient: Id) -> bool {
    let named: Option<Value> = serde_json::from_slice(payload).ok();
    named.is_some_and(|named| named["patient"] == patient.to_string())
}

async fn trail(network: &Network, patient: Id) -> anyhow::Result<Vec<AuditEntry>> {
    let contract = network.contract(ContractName::new(CONTRACT)?);
    let mut request = AuditTrail {
        patient,
        limit: None,
        bookmark: None,
    };
    let mut entries = Vec::new();
    loop {
        let argument = serde_json::to_vec(&request)?;
        let payload = contract.evaluate("audit_trail", [argument]).await?;
        let page: Page<AuditEntry> = serde_json::from_slice(&payload)?;
        entries.extend(page.entries);
        request.bookmark = page.bookmark;
        if request.bookmark.is_none() {
            return Ok(entries);
        }
    }
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
