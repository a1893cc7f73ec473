//! Changes of the configuration, made by the administrators of two hospitals at their command lines.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::PATIENT;
use crate::cli::{Answer, Stela};
use crate::limits::{POLL, READY};
use crate::materials::{User, node_config, user_folder};
use crate::network::{Network, administrator, commands_log};
use crate::process::stopwatch;
use crate::topology::{Kind, Node, Port, free_ports};
use crate::users;

/// Who proposes, and who signs too.
const PROPOSES: &str = "HospitalA";
const SIGNS: &str = "HospitalB";

fn stela(network: &Network, user: &User) -> Stela {
    let folder = network.folder();
    Stela::new(user_folder(folder, user), commands_log(folder))
}

/// Proposes a change in a file, has two sign it, and submits it. Answers the proposal.
async fn change(network: &Network, file: &Path, words: &[&str]) -> anyhow::Result<Answer> {
    let first = stela(network, &administrator(PROPOSES)?);
    let second = stela(network, &administrator(SIGNS)?);
    let file = file.display().to_string();
    let why = ["--description", "the trial", "--out", &file];
    let update = ["channel", "update"];
    let proposed = first.run(&[&update[..], words, &why].concat()).await?;
    for administrator in [&first, &second] {
        let sign = ["channel", "update", "sign", &file, "--yes"];
        administrator.run(&sign).await?;
    }
    second.run(&["channel", "update", "submit", &file]).await?;
    Ok(proposed)
}

/// Adds an orderer: it is enrolled, named in the configuration, started, joins with the configuration
/// in force, and gets every block.
pub(super) async fn one_more_orderer(network: &mut Network) -> anyhow::Result<()> {
    let node = enrol(network).await?;
    let home = network.node_folder(&node);
    let path = |name: &str| home.join(name).display().to_string();
    let (identity, tls) = (path("identity/cert.pem"), path("tls/tls.pem"));
    let at = node.service.public.to_string();
    let whose = ["add-orderer", "--organization", PATIENT, "--address", &at];
    let which = ["--identity", &identity, "--tls", &tls];
    let words = [&whose[..], &which].concat();
    change(network, &home.join("change.json"), &words).await?;

    network.start(&node)?;
    network.answers(&node).await?;
    let genesis = network.folder().join("public/genesis.block");
    let genesis = genesis.display().to_string();
    let administrator = stela(network, &administrator(PATIENT)?);
    let join = ["admin", "join", "--current", "--node", &at, &genesis];
    administrator.run(&join).await?;

    let other = network.topology().node(Kind::Orderer, PATIENT)?;
    let all = height(&administrator, other).await?;
    let started = stopwatch();
    while height(&administrator, &node).await? < all {
        let title = node.title();
        anyhow::ensure!(started.elapsed() < READY, "{title} has not {all} blocks");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn enrol(network: &mut Network) -> anyhow::Result<Node> {
    let listen = *free_ports(1)?.first().context("no port")?;
    let node = Node {
        organization: PATIENT.to_owned(),
        name: "orderer1".to_owned(),
        kind: Kind::Orderer,
        service: Port {
            listen,
            public: listen,
        },
        swarm: None,
        daemon: None,
    };
    let home = network.node_folder(&node);
    let authorities = network.folder().join(PATIENT).display().to_string();
    let (out, host) = (home.display().to_string(), listen.ip().to_string());
    let words = ["ca", "enroll", "--ca", &authorities, "--name", &node.name];
    let kind = ["--role", "orderer", "--host", &host, "--days", "10"];
    let words = [&words[..], &kind, &["--out", &out]].concat();
    stela(network, &administrator(PATIENT)?).run(&words).await?;
    std::fs::create_dir_all(home.join("data"))?;
    let config = node_config(&node, network.topology());
    std::fs::write(home.join("orderer.toml"), config)?;
    network.add(node.clone());
    Ok(node)
}

/// How many blocks a node says that it has.
async fn height(administrator: &Stela, node: &Node) -> anyhow::Result<u64> {
    let at = node.service.public.to_string();
    let words = ["admin", "status", "--node", &at];
    let status = administrator.run(&words).await?.json;
    let height = status.pointer("/channels/0/height").and_then(Value::as_u64);
    height.with_context(|| format!("{} says no height: {status}", node.title()))
}

/// Revokes a certificate of another hospital than the one that proposes it, by its file.
pub(super) async fn revocation(network: &Network) -> anyhow::Result<()> {
    let user = users::stranger();
    anyhow::ensure!(user.organization != PROPOSES, "it is not another hospital");
    let victim = stela(network, &user);
    victim.run(&["register"]).await?;
    victim.run(&["channel", "info"]).await?;
    let certificate = victim.profile().join("identity/cert.pem");
    let certificate = certificate.display().to_string();
    let file = network.folder().join("revocation.json");
    let proposed = change(network, &file, &["revoke", &certificate]).await?;
    let shown = proposed.json["changes"].to_string();
    let list = format!("{} revoked", user.organization);
    anyhow::ensure!(
        shown.contains(&list) && proposed.said.contains("issued certificate"),
        "{shown} {}",
        proposed.said
    );
    let started = stopwatch();
    loop {
        let answer = victim.attempt(&["channel", "info"]).await?;
        if answer.code != 0 && answer.said.contains("revoked") {
            return Ok(());
        }
        anyhow::ensure!(
            started.elapsed() < READY,
            "whose certificate was revoked is answered: {answer:?}"
        );
        tokio::time::sleep(POLL).await;
    }
}
