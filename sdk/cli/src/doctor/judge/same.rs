//! What must be the same everywhere: the first block, the key of the swarm.

use stela_protocol::{Fingerprint, Hash32};

use super::{Sight, admin, majority};
use crate::doctor::finding::{Check, Finding, Verdict};
use crate::doctor::look::{Kind, Seen};
use crate::doctor::own::PROFILE;
use crate::output::short;

pub(super) fn genesis(sight: &Sight<'_>) -> Vec<Finding> {
    let right = sight.first_block();
    sight
        .joined()
        .map(|(seen, channel, _)| one_genesis(sight, seen, channel.genesis_hash, right))
        .collect()
}

fn one_genesis(sight: &Sight<'_>, seen: &Seen, hash: Hash32, right: Option<Hash32>) -> Finding {
    let (title, channel) = (seen.title(), sight.channel);
    let looked_at = format!("first block of {channel} at {}", seen.address());
    let finding = |found: String| Finding::ok(Check::Genesis, &title, looked_at, found);
    let Some(right) = right else {
        let found = format!(
            "{}; the nodes have different ones and none a majority",
            short(hash)
        );
        let cure = "compare with the hash that the consortium gave out";
        let command = "stela doctor --genesis genesis.block";
        return finding(found)
            .but(Verdict::Failed)
            .cured_by(cure)
            .with(command);
    };
    if hash == right {
        return finding(format!("{}, as it should be", short(hash)));
    }
    let found = format!(
        "its first block is {}, that of the channel is {}: it follows another chain",
        short(hash),
        short(right)
    );
    let finding = finding(found).but(Verdict::Failed);
    match seen.target.kind {
        Kind::Storage => finding.cured_by(
            "put the consortium's first block at the path `genesis` of its configuration, and start \
             it again",
        ),
        Kind::Peer => finding
            .cured_by(format!(
                "stop it, move the folder channels/{channel} of its data away, start it, and have it \
                 join by the consortium's first block"
            ))
            .with(admin("join", seen, "genesis.block")),
        Kind::Orderer { .. } => finding
            .cured_by(format!(
                "stop it, move the folder channels/{channel} of its data away, start it, and have it \
                 join by the consortium's first block; but if it ever voted on the right chain it \
                 must not come back under its number: add it under a new one"
            ))
            .with(admin("join", seen, "genesis.block")),
    }
}

pub(super) fn swarm_key(sight: &Sight<'_>) -> Vec<Finding> {
    let of_nodes = || {
        sight
            .joined()
            .filter_map(|(seen, channel, _)| Some((seen, channel, channel.swarm_key?)))
    };
    let own = sight.swarm_key;
    let keys = of_nodes().map(|(_, _, key)| key).chain(own);
    let right = majority(keys);
    let mut findings: Vec<Finding> = of_nodes()
        .map(|(seen, channel, key)| {
            let looked_at = format!("fingerprint of the swarm key at {}", seen.address());
            let connected = channel.swarm_peers;
            one_key(&seen.title(), looked_at, key, right, Some(connected))
        })
        .collect();
    let nobody_else = findings.is_empty();
    findings.extend(own.filter(|_| !nobody_else).map(|key| {
        let looked_at = "fingerprint of its swarm key".to_owned();
        one_key(PROFILE, looked_at, key, right, None)
    }));
    findings
}

fn one_key(
    subject: &str,
    looked_at: String,
    key: Fingerprint,
    right: Option<Fingerprint>,
    connected: Option<u32>,
) -> Finding {
    let swarm = connected.map(|count| format!(", connected with {count} nodes"));
    let found = format!("{}{}", short(key), swarm.unwrap_or_default());
    let finding = Finding::ok(Check::SwarmKey, subject, looked_at, found);
    let cure = "get the swarm's key from another member, over a way that nobody reads, put it in \
                place of this one with mode 0600, and start again";
    match right {
        Some(right) if right == key => finding,
        Some(right) => {
            let found = format!(
                "its swarm key is {}, that of the others is {}: no other node talks to it",
                short(key),
                short(right)
            );
            Finding { found, ..finding }
                .but(Verdict::Failed)
                .cured_by(cure)
                .with("install -m 600 swarm.key PATH_OF_ITS_SWARM_KEY")
        }
        None => {
            let found = format!("{}; the nodes have different keys", short(key));
            let finding = Finding { found, ..finding };
            finding.but(Verdict::Failed).cured_by(cure)
        }
    }
}
