//! What an administrator is told about what her node keeps, has lost and has mended.

use std::collections::BTreeMap;

use serde::Serialize;
use stela_ipfs::{Fetched, PeerId, PinKind};

use crate::error::ReportError;
use crate::findings::{Finding, Outcome};
use crate::limits::{REPORT_FINDINGS_MAX, REPORT_WANTED_MAX};
use crate::membership::View;
use crate::pb;
use crate::service::StorageNode;
use crate::sweep::Counts;

/// The role that may ask for a report, at its own organization's nodes.
pub const ADMINISTRATOR: &str = "admin";

/// What a storage node keeps, has lost and has mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whose node it is.
    pub organization: String,
    /// Its name within the organization.
    pub name: String,
    /// Who it is in the swarm.
    pub peer_id: String,
    /// Whether it can keep others than those who were let in out of the swarm; an IPFS daemon
    /// cannot.
    pub keeps_allow_list: bool,
    /// When this was said, in milliseconds since 1970, as all times here.
    pub now_ms: u64,
    /// Blobs that are kept for good.
    pub permanent: u64,
    /// Blobs that are kept under a lease.
    pub leased: u64,
    /// The reading of everything that is kept, if it is going on.
    pub running: Option<CheckRound>,
    /// The last complete one.
    pub last: Option<CheckRound>,
    /// Losses that are not mended.
    pub open: u64,
    /// All losses that are remembered.
    pub found: u64,
    /// What was lost: what still is first, then the newest first; no more than
    /// [`REPORT_FINDINGS_MAX`].
    pub losses: Vec<Loss>,
    /// Blobs that should be here and are not.
    pub wanted: u64,
    /// These blobs, no more than [`REPORT_WANTED_MAX`].
    pub missing: Vec<Missing>,
}

/// One reading of everything that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckRound {
    /// When it began.
    pub started_ms: u64,
    /// When it ended; absent while it is going on.
    pub ended_ms: Option<u64>,
    /// Blobs read so far.
    pub blobs: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs of which something was missing or damaged.
    pub lost_blobs: u64,
    /// Blocks that were.
    pub lost_blocks: u64,
}

/// A blob of which something was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The blob.
    pub cid: String,
    /// When it was found.
    pub found_ms: u64,
    /// `damaged`: a check found it; `absent`: the ledger names it and nobody gave it for a while;
    /// `unkept`: the ledger names it and nothing kept it.
    pub cause: String,
    /// Blocks that were missing, damaged ones included.
    pub missing: u64,
    /// Blocks that were damaged.
    pub damaged: u64,
    /// `open`, `mended`, or `hopeless`: the blob itself is at fault.
    pub outcome: String,
    /// When it was mended or given up.
    pub at_ms: Option<u64>,
    /// Blocks that were brought to mend it.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From whom they are. Blocks that are missing from the sum are those of which a daemon does
    /// not say whence they are.
    pub from: Vec<Giver>,
}

/// Who gave blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Giver {
    /// Whose storage node it is; empty for the node of a member.
    pub organization: String,
    /// Who it is in the swarm.
    pub peer_id: String,
    /// How many blocks.
    pub blocks: u64,
}

/// A blob that should be here and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The blob.
    pub cid: String,
    /// Whether it is to be kept for good.
    pub permanent: bool,
    /// How often it was looked for since the node started.
    pub tries: u64,
    /// Why it did not come the last time.
    pub why: String,
}

impl StorageNode {
    pub(crate) async fn report(
        &self,
        request: &pb::SignedRequest,
    ) -> Result<pb::ReportResponse, ReportError> {
        let (_, identity) = self.0.door.open::<pb::ReportRequest>(request)?;
        if identity.role != ADMINISTRATOR || identity.organization != self.0.organization {
            return Err(ReportError::Forbidden);
        }
        let pins = self.0.node.pins().await.map_err(ReportError::Disk)?;
        let permanent = pins.iter().filter(|pin| pin.kind == PinKind::Permanent);
        let permanent = permanent.count() as u64;
        let (running, last) = self.0.sweep.rounds();
        let (findings, open) = self.0.findings.list();
        let view = self.0.membership.view();
        let (missing, wanted) = self.0.wanted.list(REPORT_WANTED_MAX);
        Ok(pb::ReportResponse {
            organization: self.0.organization.to_string(),
            name: self.0.name.clone(),
            peer_id: self.0.node.peer_id().to_string(),
            keeps_allow_list: self.0.node.shuts_out(),
            now_ms: self.0.sources.now_ms(),
            permanent,
            leased: pins.len() as u64 - permanent,
            running: running.map(|round| check_round(round.started_ms, 0, &round.counts)),
            last: last.map(|done| check_round(done.started_ms, done.ended_ms, &done.counts)),
            open: open as u64,
            found: findings.len() as u64,
            losses: findings
                .iter()
                .take(REPORT_FINDINGS_MAX)
                .map(|(cid, finding)| loss(cid.to_string(), finding, &view))
                .collect(),
            wanted,
            missing,
        })
    }
}

fn check_round(started_ms: u64, ended_ms: u64, counts: &Counts) -> pb::CheckRound {
    pb::CheckRound {
        started_ms,
        ended_ms,
        blobs: counts.blobs,
        blocks: counts.blocks,
        bytes: counts.bytes,
        lost_blobs: counts.lost_blobs,
        lost_blocks: counts.lost_blocks,
    }
}

fn loss(cid: String, finding: &Finding, view: &View) -> pb::Loss {
    let (at_ms, fetched) = match &finding.outcome {
        Outcome::Open => (0, Fetched::default()),
        Outcome::Hopeless { at_ms } => (*at_ms, Fetched::default()),
        Outcome::Mended { at_ms, fetched } => (*at_ms, fetched.clone()),
    };
    pb::Loss {
        cid,
        found_ms: finding.found_ms,
        cause: finding.cause.as_str().to_owned(),
        missing: finding.missing,
        damaged: finding.damaged,
        outcome: finding.outcome.as_str().to_owned(),
        at_ms,
        blocks: fetched.blocks,
        bytes: fetched.bytes,
        from: givers(&fetched.from, view),
    }
}

fn givers(from: &BTreeMap<PeerId, u64>, view: &View) -> Vec<pb::Giver> {
    let giver = |(peer, blocks): (&PeerId, &u64)| pb::Giver {
        organization: view.owner(peer).unwrap_or_default(),
        peer_id: peer.to_string(),
        blocks: *blocks,
    };
    from.iter().map(giver).collect()
}

impl From<pb::ReportResponse> for Report {
    fn from(report: pb::ReportResponse) -> Self {
        Self {
            organization: report.organization,
            name: report.name,
            peer_id: report.peer_id,
            keeps_allow_list: report.keeps_allow_list,
            now_ms: report.now_ms,
            permanent: report.permanent,
            leased: report.leased,
            running: report.running.map(Into::into),
            last: report.last.map(Into::into),
            open: report.open,
            found: report.found,
            losses: report.losses.into_iter().map(Into::into).collect(),
            wanted: report.wanted,
            missing: report.missing.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<pb::CheckRound> for CheckRound {
    fn from(round: pb::CheckRound) -> Self {
        Self {
            started_ms: round.started_ms,
            ended_ms: (round.ended_ms != 0).then_some(round.ended_ms),
            blobs: round.blobs,
            blocks: round.blocks,
            bytes: round.bytes,
            lost_blobs: round.lost_blobs,
            lost_blocks: round.lost_blocks,
        }
    }
}

impl From<pb::Loss> for Loss {
    fn from(loss: pb::Loss) -> Self {
        let giver = |giver: pb::Giver| Giver {
            organization: giver.organization,
            peer_id: giver.peer_id,
            blocks: giver.blocks,
        };
        Self {
            cid: loss.cid,
            found_ms: loss.found_ms,
            cause: loss.cause,
            missing: loss.missing,
            damaged: loss.damaged,
            outcome: loss.outcome,
            at_ms: (loss.at_ms != 0).then_some(loss.at_ms),
            blocks: loss.blocks,
            bytes: loss.bytes,
            from: loss.from.into_iter().map(giver).collect(),
        }
    }
}

impl From<pb::Missing> for Missing {
    fn from(missing: pb::Missing) -> Self {
        Self {
            cid: missing.cid,
            permanent: missing.permanent,
            tries: missing.tries,
            why: missing.why,
        }
    }
}
