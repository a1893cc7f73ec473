//! What follows from what was seen. Everything here is pure: the same sight gives the same findings.

mod clock;
mod heights;
mod node;
mod quorum;
mod same;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use stela_client::{ChannelHealth, NodeHealth};
use stela_identity::{Certificate, Msp};
use stela_protocol::config::ChannelConfig;
use stela_protocol::{ChannelId, Fingerprint, Hash32};

use super::finding::Finding;
use super::folder;
use super::look::Seen;
use super::own::PROFILE;

/// Everything that was seen.
pub(super) struct Sight<'a> {
    pub(super) channel: &'a ChannelId,
    /// The configuration in force, as most of the peers have it.
    pub(super) config: Option<&'a ChannelConfig>,
    /// The hash of the first block as the user's consortium gave it out, if she says so.
    pub(super) genesis: Option<Hash32>,
    /// The user's own certificate.
    pub(super) certificate: Option<&'a Certificate>,
    /// The fingerprint of the swarm's key that her profile has.
    pub(super) swarm_key: Option<Fingerprint>,
    /// This machine's clock.
    pub(super) now_ms: u64,
    pub(super) nodes: &'a [Seen],
}

impl Sight<'_> {
    /// The nodes that answered.
    fn answered(&self) -> impl Iterator<Item = (&Seen, &NodeHealth)> {
        self.nodes
            .iter()
            .filter_map(|seen| seen.first.as_ref().ok().map(|health| (seen, health)))
    }

    /// Those that have joined the channel, as they were at first and a moment later.
    fn joined(&self) -> impl Iterator<Item = (&Seen, &ChannelHealth, Option<&ChannelHealth>)> {
        self.answered().filter_map(|(seen, health)| {
            let second = seen
                .second
                .as_ref()
                .and_then(|again| again.channel.as_ref());
            Some((seen, health.channel.as_ref()?, second))
        })
    }

    /// The hash of the channel's first block: the known one, or that of most nodes.
    fn first_block(&self) -> Option<Hash32> {
        let hashes = self.joined().map(|(_, channel, _)| channel.genesis_hash);
        self.genesis.or_else(|| majority(hashes))
    }

    /// The time as most clocks have it.
    fn time_ms(&self) -> u64 {
        let ahead = clock::reference(self).unwrap_or_default();
        self.now_ms.saturating_add_signed(ahead)
    }
}

/// All findings, in the order in which one would mend.
pub(super) fn all(sight: &Sight<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = own(sight).into_iter().collect();
    findings.extend(clock::judge(sight));
    for seen in sight.nodes {
        findings.extend(node::judge(sight, seen));
    }
    findings.extend(same::genesis(sight));
    findings.extend(same::swarm_key(sight));
    findings.extend(quorum::judge(sight));
    findings.extend(heights::judge(sight));
    say_once(&mut findings);
    findings
}

/// What every node says of the profile is one finding about the profile.
fn say_once(findings: &mut Vec<Finding>) {
    let mut said = BTreeSet::new();
    findings.retain(|finding| {
        let cure = finding.cure.as_ref().map(|cure| cure.what.clone());
        finding.subject != PROFILE || cure.is_none() || said.insert((finding.check, cure))
    });
}

/// Whether the channel accepts the user's own certificate.
fn own(sight: &Sight<'_>) -> Option<Finding> {
    let (certificate, config) = (sight.certificate?, sight.config?);
    let msp = Msp::from_config(config).ok()?;
    let looked_at = format!("certificate {}", certificate.fingerprint());
    Some(folder::authority(PROFILE, looked_at, certificate, &[msp]))
}

/// The value that more than half of those who have one agree on.
fn majority<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts = BTreeMap::new();
    let mut total = 0_usize;
    for value in values {
        *counts.entry(value).or_insert(0_usize) += 1;
        total += 1;
    }
    let (value, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (2 * count > total).then_some(value)
}

/// Where a user does something at a node, as a command.
fn admin(words: &str, seen: &Seen, rest: &str) -> String {
    let address = seen.address();
    format!("stela --profile ADMIN_PROFILE admin {words} --node {address} {rest}")
        .trim_end()
        .to_owned()
}
