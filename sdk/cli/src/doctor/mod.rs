//! `stela doctor`: what is wrong with this network, and what to do.
//!
//! [`own`] looks at the profile, [`look`] at every node that the channel's configuration names, and
//! [`judge`] decides what follows. [`node_file`] looks at a node's configuration on its own machine,
//! before it is started. Everything ends within a few deadlines, and what cannot be seen is said to
//! be so; it hides nothing else.

mod finding;
mod folder;
mod judge;
mod look;
mod node_file;
mod own;
mod print;

use std::path::{Path, PathBuf};

use anyhow::Context;
use stela_client::{NodeHealth, Sources};
use stela_protocol::block::Block;
use stela_protocol::config::{self, ChannelConfig};
use stela_protocol::{ChannelId, Hash32};

use self::finding::{Check, Finding, Verdict};
use self::judge::Sight;
use self::look::{Asker, Kind, Target};
use self::own::Own;
use crate::limits::GENESIS_BYTES_MAX;
use crate::output::Output;

/// Something is wrong; what, was printed.
#[derive(Debug, thiserror::Error)]
#[error("{failed} things are wrong")]
pub(crate) struct Unwell {
    failed: usize,
}

/// What is asked for.
pub(crate) struct Request<'a> {
    pub(crate) profile: &'a Path,
    pub(crate) genesis: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
}

/// Looks, and prints what it found.
pub(crate) async fn run(request: Request<'_>, output: &Output) -> anyhow::Result<()> {
    let sources = Sources::default();
    let findings = match &request.config {
        Some(path) => node_file::look(path, sources.now_ms()),
        None => network(&request, &sources, output).await?,
    };
    print::all(&findings, output)?;
    let failed = findings.iter().filter(|f| f.verdict == Verdict::Failed);
    match failed.count() {
        0 => Ok(()),
        failed => Err(Unwell { failed }.into()),
    }
}

async fn network(
    request: &Request<'_>,
    sources: &Sources,
    output: &Output,
) -> anyhow::Result<Vec<Finding>> {
    let given = request.genesis.as_deref().map(genesis).transpose()?;
    let progress = output.progress("looking at this profile");
    let mut findings = Vec::new();
    let own = own::look(request.profile, sources.now_ms(), &mut findings);
    drop(progress);
    let Some((own, tls)) = own.and_then(|own| own.tls.clone().map(|tls| (own, tls))) else {
        findings.push(blind("the profile cannot be used to ask anybody"));
        return Ok(findings);
    };
    let asker = Asker {
        tls,
        channel: own.channel.clone(),
        sources: sources.clone(),
    };
    findings.extend(ask(&asker, &own, given, output).await);
    Ok(findings)
}

async fn ask(
    asker: &Asker,
    own: &Own,
    given: Option<(Hash32, ChannelConfig)>,
    output: &Output,
) -> Vec<Finding> {
    let progress = output.progress("asking the peers for the channel's configuration");
    let answers = asker.with_config(&own.peers).await;
    drop(progress);
    let (genesis, from_file) = given.unzip();
    let from_file = from_file.filter(|config| config.channel == own.channel);
    let found = in_force(&answers, &own.channel).or(from_file);
    let mut targets = found.as_ref().map_or_else(Vec::new, look::targets);
    let mut findings = Vec::new();
    if found.is_none() {
        findings.push(blind(
            "no peer of the profile tells the channel's configuration",
        ));
        targets.extend(own.peers.iter().map(|at| Target {
            at: at.clone(),
            kind: Kind::Peer,
            name: None,
        }));
    }
    let bar = output.bar("looking at nodes", targets.len() as u64);
    let nodes = asker.look(targets, || bar.step()).await;
    drop(bar);
    findings.extend(judge::all(&Sight {
        channel: &own.channel,
        config: found.as_ref(),
        genesis,
        certificate: own.certificate.as_ref(),
        swarm_key: own.swarm_key,
        now_ms: asker.sources.now_ms(),
        nodes: &nodes,
    }));
    findings
}

fn blind(found: &str) -> Finding {
    Finding::ok(
        Check::Channel,
        own::PROFILE,
        "the channel's configuration",
        found,
    )
    .but(Verdict::CouldNotLook)
    .cured_by(
        "mend what is wrong above; with the consortium's first block all nodes are looked at \
             even while no peer answers",
    )
    .with("stela doctor --genesis genesis.block")
}

/// The newest configuration of the channel that most peers with one first block have.
fn in_force(answers: &[NodeHealth], channel: &ChannelId) -> Option<ChannelConfig> {
    let of_channel = || {
        answers
            .iter()
            .filter_map(|answer| answer.channel.as_ref())
            .filter_map(|c| Some((c, c.config.as_ref().filter(|o| o.channel == *channel)?)))
    };
    let chain = of_channel()
        .map(|(one, _)| {
            let same = of_channel().filter(|(other, _)| other.genesis_hash == one.genesis_hash);
            (same.count(), one.genesis_hash)
        })
        .max()
        .map(|(_, hash)| hash)?;
    of_channel()
        .filter(|(channel, _)| channel.genesis_hash == chain)
        .max_by_key(|(channel, _)| channel.sequence)
        .map(|(_, config)| config.clone())
}

fn genesis(path: &Path) -> anyhow::Result<(Hash32, ChannelConfig)> {
    let read = || {
        let block = Block::decode(folder::read(path, GENESIS_BYTES_MAX)?.into())?;
        let (_, config) = config::from_genesis(&block)?;
        anyhow::Ok((block.hash, config))
    };
    read().with_context(|| format!("{} is no first block of a channel", path.display()))
}
