//! What is done to the network in a round.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use rand::RngExt;

use super::damage::{self, Aside};
use super::kind::{FaultKind, one_of};
use super::{Harness, load};
use crate::limits::{FAULT_DAMAGED, FAULT_RECOVERY, FAULT_STATUSES, POLL};
use crate::process::{Signal, limit_files, send, stopwatch};
use crate::topology::{CHANNEL, Kind, Node};

/// The longest file that a node with a full disk can write.
const FULL_DISK_BYTES: u64 = 1;

impl Harness {
    /// Does it, waits, and takes it back; says in words what was done.
    pub(super) async fn inject(&mut self, kind: FaultKind) -> anyhow::Result<String> {
        match kind {
            FaultKind::KillLeader => {
                let leader = self.network.leader(FAULT_RECOVERY).await?;
                self.kill(vec![leader]).await
            }
            FaultKind::KillFollowers => {
                let leader = self.network.leader(FAULT_RECOVERY).await?.title();
                let mut followers = self.nodes(&[Kind::Orderer]);
                followers.retain(|node| node.title() != leader);
                self.kill(followers).await
            }
            FaultKind::KillGateway => {
                let gateway = self.nodes(&[Kind::Peer]).swap_remove(0);
                self.kill(vec![gateway]).await
            }
            FaultKind::KillPeer => {
                let peers = self.nodes(&[Kind::Peer]);
                let peer = one_of(&peers[1..], &mut self.random)?.clone();
                self.kill(vec![peer]).await
            }
            FaultKind::KillStorage => {
                let storage = self.any(&[Kind::Storage])?;
                self.kill(vec![storage]).await
            }
            FaultKind::KillAll => {
                let all = self.network.topology().nodes.clone();
                self.kill(all).await
            }
            FaultKind::Pause => self.pause().await,
            FaultKind::FullDisk => self.fill_disk().await,
            FaultKind::TornCopy => self.damage(true).await,
            FaultKind::FlippedCopy => self.damage(false).await,
            FaultKind::OneWay => self.cut_one_way().await,
        }
    }

    fn nodes(&self, kinds: &[Kind]) -> Vec<Node> {
        let nodes = self.network.topology().nodes.iter();
        nodes
            .filter(|node| kinds.contains(&node.kind))
            .cloned()
            .collect()
    }

    fn any(&mut self, kinds: &[Kind]) -> anyhow::Result<Node> {
        let nodes = self.nodes(kinds);
        Ok(one_of(&nodes, &mut self.random)?.clone())
    }

    fn duration(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(least_ms..=most_ms))
    }

    async fn kill(&mut self, nodes: Vec<Node>) -> anyhow::Result<String> {
        // In the middle of whatever is going on.
        let before = self.duration(100, 800);
        tokio::time::sleep(before).await;
        for node in &nodes {
            self.network.kill(node)?;
        }
        let down = self.duration(100, 2_000);
        tokio::time::sleep(down).await;
        for node in &nodes {
            self.network.start(node)?;
        }
        let titles: Vec<String> = nodes.iter().map(Node::title).collect();
        let who = match titles.len() == self.network.topology().nodes.len() {
            true => "everything".to_owned(),
            false => titles.join(", "),
        };
        Ok(format!("{who} down for {}", seconds(down)))
    }

    async fn pause(&mut self) -> anyhow::Result<String> {
        let node = self.any(&[Kind::Orderer, Kind::Peer, Kind::Storage])?;
        let process = self.network.process_id(&node)?;
        send(process, Signal::STOP)?;
        let stopped = self.duration(500, 3_500);
        tokio::time::sleep(stopped).await;
        send(process, Signal::CONT)?;
        let title = node.title();
        Ok(format!("{title} stands still for {}", seconds(stopped)))
    }

    async fn fill_disk(&mut self) -> anyhow::Result<String> {
        let node = self.any(&[Kind::Orderer, Kind::Peer, Kind::Storage])?;
        let process = self.network.process_id(&node)?;
        limit_files(process, Some(FULL_DISK_BYTES))?;
        let full = self.duration(1_000, 2_500);
        tokio::time::sleep(full).await;
        let ended = !self.network.runs(&node)?;
        if !ended {
            limit_files(process, None)?;
        }
        self.network.revive(&node)?;
        let title = node.title();
        let what = match ended {
            true => "and it ended",
            false => "and it goes on",
        };
        Ok(format!(
            "{title} can write nothing for {}, {what}",
            seconds(full)
        ))
    }

    async fn cut_one_way(&mut self) -> anyhow::Result<String> {
        let node = self.any(&[Kind::Orderer, Kind::Peer])?;
        let (title, mute) = (node.title(), self.random.random_bool(0.5));
        self.wire.cut(self.around(&node, mute, !mute))?;
        let cut = self.duration(1_500, 4_000);
        tokio::time::sleep(cut).await;
        self.wire.cut(BTreeSet::new())?;
        let what = match mute {
            true => "is heard by nobody",
            false => "hears nobody",
        };
        Ok(format!("{title} {what} for {}", seconds(cut)))
    }

    /// The directions from a node and to it.
    fn around(&self, node: &Node, from: bool, to: bool) -> BTreeSet<(String, String)> {
        let own = node.title();
        let others = self.network.topology().nodes.iter().map(Node::title);
        let mut directions = BTreeSet::new();
        for other in others.filter(|other| *other != own) {
            if from {
                directions.insert((own.clone(), other.clone()));
            }
            if to {
                directions.insert((other, own.clone()));
            }
        }
        directions
    }

    /// Starts a node on a damaged copy of its data, looks at what it does, and puts the data back.
    ///
    /// An orderer and a peer are cut off from all others meanwhile: they would vote, or keep side
    /// items for others, and then not remember it, which neither may.
    async fn damage(&mut self, torn: bool) -> anyhow::Result<String> {
        let node = self.any(&[Kind::Orderer, Kind::Peer, Kind::Storage])?;
        let data = self.network.node_folder(&node).join("data");
        self.network.kill(&node)?;
        let aside = Aside::put(&data)?;
        let told = match torn {
            true => damage::tear(&data, &mut self.random)?,
            false => damage::flip(&data, &mut self.random)?,
        };
        if node.kind != Kind::Storage {
            self.wire.cut(self.around(&node, true, true))?;
        }
        self.network.start(&node)?;
        let title = node.title();
        let found = self.watch_damaged(&node).await;
        let found = found.with_context(|| format!("{title} on a copy in which {told}"))?;
        if self.network.runs(&node)? {
            self.network.kill(&node)?;
        }
        self.wire.cut(BTreeSet::new())?;
        aside.back()?;
        self.network.start(&node)?;
        Ok(format!("{title} on a copy in which {told}: {found}"))
    }

    /// What a node does on damaged data: it may refuse and it may recover, but what it says must be
    /// true.
    async fn watch_damaged(&mut self, node: &Node) -> anyhow::Result<&'static str> {
        let started = stopwatch();
        while started.elapsed() < FAULT_DAMAGED {
            if !self.network.runs(node)? {
                return Ok("it refused");
            }
            let answered = match node.kind {
                Kind::Orderer => self.orderer_is_right(node).await?,
                Kind::Peer => self.peer_is_right(node).await?,
                Kind::Storage => {
                    self.records.read_or_fail(&mut self.random).await?;
                    true
                }
            };
            if answered {
                return Ok("what it says is right");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok("it says nothing")
    }

    async fn orderer_is_right(&self, node: &Node) -> anyhow::Result<bool> {
        let Ok(status) = self.network.status(node).await else {
            return Ok(false);
        };
        let mut channels = status.channels.iter();
        let Some(channel) = channels.find(|c| c.channel.as_str() == CHANNEL) else {
            return Ok(false);
        };
        let known = self.chain.hash(channel.height.saturating_sub(1));
        let right = known.is_none_or(|known| known == channel.header_hash);
        anyhow::ensure!(right, "its block {} is another", channel.height - 1);
        Ok(true)
    }

    async fn peer_is_right(&mut self, node: &Node) -> anyhow::Result<bool> {
        let client = self.client_of(node)?;
        if self.chain.compare(&client).await? == 0 {
            return Ok(false);
        }
        for _ in 0..FAULT_STATUSES {
            let number = self.random.random_range(0..usize::MAX);
            let Some((id, place)) = self.book.get(number) else {
                break;
            };
            if let Ok(status) = client.commit(id).status(POLL).await {
                load::check(&status, place).with_context(|| id.to_string())?;
            }
        }
        Ok(true)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
