//! Looks at what a demonstration left, from outside: through the gateway of a hospital that took no
//! part, and at the disks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use stela_client::{ChannelInfo, CheckedBlock, Endpoint, Gateway, GatewayOptions, Network, Quorum};
use stela_consent::{Fingerprint, Hex, Id};
use stela_healthcare::answer::{AuditEntry, Page};
use stela_healthcare::event::{ACCESS_DENIED, ACCESS_PERMITTED, CONSENT_REVOKED};
use stela_healthcare::request::{AuditTrail, SubmitRecord};
use stela_identity::Credentials;
use stela_protocol::transaction::{Body, Envelope, Transaction};
use stela_protocol::{BlockNumber, ChannelId, ContractName, OrgId, ValidationCode};

use crate::canary;
use crate::evidence::Evidence;
use crate::network::{NetworkFile, network_file, tls_settings};
use crate::report::Findings;
use crate::topology::{CHANNEL, CONTRACT, Kind, Node, Topology};

/// Looks at everything that the evidence points to.
///
/// # Errors
/// When something cannot be looked at: then nothing is known.
pub async fn verify(evidence: &Evidence) -> anyhow::Result<Findings> {
    let bytes = std::fs::read(network_file(&evidence.network))?;
    let topology = serde_json::from_slice::<NetworkFile>(&bytes)?.topology;
    let mut findings = Findings::default();
    let ledger = Ledger::read(evidence, &topology, "HospitalC").await?;
    findings.blocks = ledger.blocks.len() as u64;
    for code in ledger.blocks.iter().flat_map(|block| &block.codes) {
        *findings.verdicts.entry(code.name().to_owned()).or_default() += 1;
    }
    reads(evidence, &ledger, &mut findings)?;
    denials(evidence, &ledger, &mut findings);
    versions(evidence, &ledger, &mut findings)?;
    acknowledged(evidence, &ledger, &mut findings);
    audit(evidence, &topology, &ledger, &mut findings).await?;
    agreement(evidence, &topology, &ledger, &mut findings).await?;
    grant_size(evidence, &ledger, &mut findings);
    canaries(evidence, &mut findings)?;
    Ok(findings)
}

/// A valid transaction as the observer's peer has it.
struct Committed {
    id: Hex<32>,
    block: u64,
    transaction: Transaction,
    envelope_bytes: usize,
}

impl Committed {
    fn has_event(&self, name: &str) -> bool {
        self.transaction
            .result
            .events
            .iter()
            .any(|event| event.name == name)
    }

    fn by(&self, creator: &Fingerprint) -> bool {
        self.transaction.proposal.header.creator.0 == creator.0
    }

    fn argument<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        let argument = self.transaction.proposal.arguments.first()?;
        serde_json::from_slice(argument).ok()
    }
}

/// The chain as one peer tells it; every block's signatures are checked.
struct Ledger {
    blocks: Vec<CheckedBlock>,
    valid: Vec<Committed>,
}

impl Ledger {
    async fn read(evidence: &Evidence, topology: &Topology, at: &str) -> anyhow::Result<Self> {
        let network = connect(evidence, &evidence.observer, topology.node(Kind::Peer, at)?)?;
        let info = network.info().await?;
        let blocks = blocks(&network, &info, info.height).await?;
        let mut valid = Vec::new();
        for checked in &blocks {
            for (bytes, code) in checked.block.envelopes.iter().zip(&checked.codes) {
                if *code != ValidationCode::Valid || checked.block.header.number.0 == 0 {
                    continue;
                }
                let envelope = Envelope::decode(bytes.clone())?;
                if let Body::Transaction(transaction) = envelope.body {
                    valid.push(Committed {
                        id: Hex(transaction.proposal.header.id().0),
                        block: checked.block.header.number.0,
                        transaction: *transaction,
                        envelope_bytes: bytes.len(),
                    });
                }
            }
        }
        Ok(Self { blocks, valid })
    }

    fn of<'l>(
        &'l self,
        creator: &'l Fingerprint,
        event: &'l str,
    ) -> impl Iterator<Item = &'l Committed> {
        self.valid
            .iter()
            .filter(move |tx| tx.by(creator) && tx.has_event(event))
    }
}

fn connect(evidence: &Evidence, profile: &Path, node: &Node) -> anyhow::Result<Network> {
    let credentials = Arc::new(Credentials::load(&profile.join("identity"))?);
    let tls = tls_settings(&evidence.network, &profile.join("tls"))?;
    let organization = OrgId::new(&node.organization)?;
    let address = node.service.public.to_string();
    let options = GatewayOptions::new(
        vec![Endpoint {
            organization,
            address,
        }],
        tls,
        credentials,
    );
    Ok(Gateway::connect(options)?.network(ChannelId::new(CHANNEL)?))
}

async fn blocks(
    network: &Network,
    info: &ChannelInfo,
    height: u64,
) -> anyhow::Result<Vec<CheckedBlock>> {
    let quorum = Quorum::new(&info.config)?;
    let stream = network
        .blocks(BlockNumber(0), Some(BlockNumber(height)))
        .signed_by(quorum);
    let blocks: Vec<_> = stream.collect().await;
    let blocks = blocks.into_iter().collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(
        blocks.len() as u64 == height,
        "a peer gave fewer blocks than it has"
    );
    Ok(blocks)
}

fn digest(path: &Path) -> anyhow::Result<[u8; 32]> {
    let bytes = std::fs::read(path).with_context(|| format!("{} is missing", path.display()))?;
    Ok(Sha256::digest(bytes).into())
}

fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    Ok(digest(one)? == digest(other)?)
}

fn reads(evidence: &Evidence, ledger: &Ledger, findings: &mut Findings) -> anyhow::Result<()> {
    let permits = ledger.of(&evidence.reader, ACCESS_PERMITTED).count();
    let identical = same(&evidence.written[0], &evidence.read[0])?
        && same(&evidence.written[1], &evidence.read[1])?;
    if permits != 3 {
        findings.remarks.push(format!(
            "{permits} permits of the reader are committed, not 3"
        ));
    }
    findings.permitted_read_identical = identical && permits == 3;
    Ok(())
}

fn denials(evidence: &Evidence, ledger: &Ledger, findings: &mut Findings) {
    let denied = ledger.of(&evidence.stranger, ACCESS_DENIED).count();
    let permitted = ledger.of(&evidence.stranger, ACCESS_PERMITTED).count();
    findings.denied_without_consent = denied > 0 && permitted == 0;
    let revoked = ledger.valid.iter().find(|tx| tx.has_event(CONSENT_REVOKED));
    let Some(revoked) = revoked.map(|tx| tx.block) else {
        findings
            .remarks
            .push("no revocation is committed".to_owned());
        return;
    };
    let denied = ledger
        .of(&evidence.reader, ACCESS_DENIED)
        .any(|tx| tx.block >= revoked);
    let permitted = ledger
        .of(&evidence.reader, ACCESS_PERMITTED)
        .any(|tx| tx.block > revoked);
    findings.denied_after_revocation = denied && !permitted;
}

fn versions(evidence: &Evidence, ledger: &Ledger, findings: &mut Findings) -> anyhow::Result<()> {
    let submitted = |function: &str| {
        let mut all = ledger
            .valid
            .iter()
            .filter(|tx| tx.transaction.proposal.function == function);
        all.find_map(Committed::argument::<SubmitRecord>)
            .filter(|request| request.record == evidence.record)
    };
    let (first, second) = (submitted("submit_record"), submitted("amend_record"));
    let cids = first
        .map(|request| request.cid)
        .zip(second.map(|request| request.cid));
    let differ = cids.is_some_and(|(first, second)| first != second);
    findings.old_version_intact = differ
        && same(&evidence.written[0], &evidence.read[2])?
        && !same(&evidence.written[0], &evidence.written[1])?;
    Ok(())
}

fn acknowledged(evidence: &Evidence, ledger: &Ledger, findings: &mut Findings) {
    let mut times: BTreeMap<Hex<32>, usize> = BTreeMap::new();
    for committed in &ledger.valid {
        *times.entry(committed.id).or_default() += 1;
    }
    let lost: Vec<_> = evidence
        .acknowledged
        .iter()
        .filter(|id| times.get(id) != Some(&1))
        .collect();
    if !lost.is_empty() {
        findings
            .remarks
            .push(format!("{} acknowledged transactions are lost", lost.len()));
    }
    findings.leader_killed_nothing_lost = lost.is_empty()
        && !evidence.acknowledged.is_empty()
        && evidence.acknowledged_after_kill > 0;
}

async fn audit(
    evidence: &Evidence,
    topology: &Topology,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let node = topology.node(Kind::Peer, "HospitalC")?;
    let network = connect(evidence, &evidence.patient_profile, node)?;
    let trail = trail(&network, evidence.patient).await?;
    findings.audit_entries = trail.len();
    let told: BTreeSet<Hex<32>> = trail.iter().map(|entry| entry.transaction).collect();
    let happened: BTreeSet<Hex<32>> = ledger
        .valid
        .iter()
        .filter(|tx| !tx.transaction.result.events.is_empty())
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
    topology: &Topology,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let mut agree = true;
    for node in topology.of(Kind::Peer) {
        let network = connect(evidence, &evidence.observer, node)?;
        let info = network.info().await?;
        let common = info.height.min(ledger.blocks.len() as u64);
        let theirs = blocks(&network, &info, common).await?;
        let same = theirs.iter().zip(&ledger.blocks).all(|(theirs, ours)| {
            theirs.block.hash == ours.block.hash
                && theirs.state_hash == ours.state_hash
                && theirs.codes == ours.codes
        });
        if !same || common == 0 {
            findings
                .remarks
                .push(format!("{} has another history or state", node.title()));
        }
        agree &= same && common > 0;
    }
    findings.peers_agree_on_state_hash = agree;
    Ok(())
}

fn grant_size(evidence: &Evidence, ledger: &Ledger, findings: &mut Findings) {
    let granted = ledger.valid.iter().find(|tx| {
        tx.transaction.proposal.function == "grant_consent"
            && tx
                .argument::<stela_consent::Consent>()
                .is_some_and(|c| c.id() == evidence.consent)
    });
    if let Some(granted) = granted {
        findings.consent_grant_bytes = granted.envelope_bytes;
        findings.consent_grant_endorsements = granted.transaction.endorsements.len();
    }
}

fn canaries(evidence: &Evidence, findings: &mut Findings) -> anyhow::Result<()> {
    let (hits, searched) = canary::search(&evidence.searched, &evidence.canaries)?;
    findings.canary_hits = hits.len();
    findings.searched_files = searched.files;
    findings.searched_bytes = searched.bytes;
    for hit in &hits {
        findings.remarks.push(format!(
            "canary {} stands in {}",
            hit.canary,
            hit.file.display()
        ));
    }
    findings.canary_control_found =
        written_found(evidence)? && forms_found(evidence)? && wire_found(evidence)?;
    Ok(())
}

/// The author's documents are not searched above; the canaries must be found there.
fn written_found(evidence: &Evidence) -> anyhow::Result<bool> {
    let (hits, _) = canary::search(&evidence.written, &evidence.canaries)?;
    let found: BTreeSet<usize> = hits.iter().map(|hit| hit.canary).collect();
    Ok(found.len() == evidence.canaries.len())
}

/// Every form of every canary is found where it is planted.
fn forms_found(evidence: &Evidence) -> anyhow::Result<bool> {
    let folder: PathBuf = evidence.written[0].with_file_name("control");
    std::fs::create_dir_all(&folder)?;
    let mut planted = 0;
    for (index, word) in evidence.canaries.iter().enumerate() {
        for (form, bytes) in canary::forms(word).iter().enumerate() {
            let content = [b"before ".as_slice(), bytes, b" behind"].concat();
            std::fs::write(folder.join(format!("{index}-{form}")), content)?;
            planted += 1;
        }
    }
    let (hits, _) = canary::search(std::slice::from_ref(&folder), &evidence.canaries)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(hits.len() == planted)
}

/// The word that was sent in the clear is found among what the recorder wrote.
fn wire_found(evidence: &Evidence) -> anyhow::Result<bool> {
    let wire = evidence.network.join("wire");
    let (hits, _) = canary::search(&[wire], std::slice::from_ref(&evidence.wire_control))?;
    Ok(!hits.is_empty())
}
