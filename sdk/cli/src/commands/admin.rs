//! Administration of the own organization's nodes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use stela_client::{Admin, AdminOptions, Endpoint};

use crate::arguments::{Admin as Command, NodeAddress};
use crate::output::Output;
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(
    profile: &Profile,
    command: Command,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        Command::Join {
            node,
            genesis,
            current,
        } => {
            let genesis = read(&genesis)?;
            let config = match current {
                true => session::network(profile)?.info().await?.config_bytes,
                false => bytes::Bytes::new(),
            };
            connect(profile, node)?.join_with(genesis, config).await?;
            output.answer(&"joined", |text| (*text).to_owned())
        }
        Command::Install { node, package } => {
            let progress = output.progress("installing; the peer compiles the package");
            let hash = connect(profile, node)?.install(read(&package)?).await?;
            drop(progress);
            output.answer(
                &Installed {
                    package_hash: hash.to_string(),
                },
                |installed| format!("installed package {}", installed.package_hash),
            )
        }
        Command::Status { node } => status(&connect(profile, node)?, output).await,
    }
}

fn connect(profile: &Profile, node: NodeAddress) -> anyhow::Result<Admin> {
    let endpoint = Endpoint {
        organization: profile.organization.clone(),
        address: node.node,
    };
    let credentials = Arc::clone(&profile.credentials);
    Ok(Admin::connect(AdminOptions::new(
        endpoint,
        profile.tls.clone(),
        credentials,
    ))?)
}

fn read(path: &Path) -> anyhow::Result<bytes::Bytes> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.into())
}

#[derive(Serialize)]
struct Installed {
    package_hash: String,
}

#[derive(Serialize)]
struct Status {
    organization: String,
    name: String,
    channels: Vec<ChannelLine>,
    packages: Vec<String>,
}

#[derive(Serialize)]
struct ChannelLine {
    channel: String,
    height: u64,
    header_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    halted: Option<String>,
    unrecorded: u64,
}

async fn status(admin: &Admin, output: &Output) -> anyhow::Result<()> {
    let status = admin.status().await?;
    let channels = status.channels.iter().map(|channel| ChannelLine {
        channel: channel.channel.to_string(),
        height: channel.height,
        header_hash: channel.header_hash.to_string(),
        state_hash: channel.state_hash.map(|hash| hash.to_string()),
        leader: channel.leader,
        halted: channel.halted.clone(),
        unrecorded: channel.unrecorded,
    });
    let status = Status {
        organization: status.organization.to_string(),
        name: status.name.clone(),
        channels: channels.collect(),
        packages: status.packages.iter().map(ToString::to_string).collect(),
    };
    output.answer(&status, |status| {
        let mut text = format!("{}/{}\n", status.organization, status.name);
        for channel in &status.channels {
            let leader = channel.leader.map(|id| format!(", led by orderer {id}"));
            text.push_str(&format!(
                "channel {} at height {}{}\n",
                channel.channel,
                channel.height,
                leader.unwrap_or_default()
            ));
            if channel.unrecorded > 0 {
                let count = channel.unrecorded;
                text.push_str(&format!(
                    "  {count} endorsed requests are not recorded yet\n"
                ));
            }
            if let Some(why) = &channel.halted {
                text.push_str(&format!("  not served: {why}\n"));
            }
        }
        for package in &status.packages {
            text.push_str(&format!("package {package}\n"));
        }
        text
    })
}
