//! Clients that write and read all the time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use stela_client::{CommitStatus, Contract, Endpoint, Gateway, GatewayOptions, Network as Client};
use stela_consent::{Actor, Consent, Hex, Provision};
use stela_identity::Credentials;
use stela_protocol::{ChannelId, ContractName, OrgId};
use tokio::task::JoinSet;

use super::book::{Book, Place};
use crate::limits::{FAULT_ANSWER, FAULT_CLIENT_PAUSE, FAULT_COMMIT, FAULT_WRITERS};
use crate::materials::{User, user_folder};
use crate::network::{Network, tls_settings};
use crate::topology::{CHANNEL, CONTRACT, Kind, Node};

/// What the clients share.
#[derive(Default)]
pub(super) struct Counters {
    /// Calls that were given up, as clients of a network in trouble do.
    pub(super) failed: AtomicU64,
    /// Transactions that were committed as invalid.
    pub(super) invalid: AtomicU64,
    /// Answers about acknowledged transactions.
    pub(super) read: AtomicU64,
    /// What must not have been answered.
    pub(super) wrong: Mutex<Vec<String>>,
}

/// The running clients; they end when this is dropped.
pub(super) struct Load {
    _tasks: JoinSet<()>,
}

impl Load {
    /// Starts writers at every gateway and a reader. All write as `user`, who grants consents that
    /// open nothing.
    ///
    /// # Errors
    /// When her profile cannot be read.
    pub(super) fn start(
        network: &Network,
        user: &User,
        book: &Arc<Book>,
        counters: &Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let peers: Vec<&Node> = network.topology().of(Kind::Peer).collect();
        let mut tasks = JoinSet::new();
        for writer in 0..FAULT_WRITERS {
            // Half of them use the first gateway, each of the others another one.
            let first = writer.saturating_sub(FAULT_WRITERS / 2) % peers.len();
            let mut endpoints = peers.clone();
            endpoints.rotate_left(first);
            let contract = contract(network.folder(), user, &endpoints)?;
            let (book, counters) = (book.clone(), counters.clone());
            tasks.spawn(async move { write(&contract, &book, &counters).await });
        }
        let ask = peers.iter().map(|peer| {
            let client = client(network.folder(), user, &[peer])?;
            anyhow::Ok((peer.title(), client))
        });
        let ask = ask.collect::<anyhow::Result<Vec<_>>>()?;
        let (book, counters) = (book.clone(), counters.clone());
        tasks.spawn(async move { read(&ask, &book, &counters).await });
        Ok(Self { _tasks: tasks })
    }
}

/// A client with these peers as gateways, the first one first.
///
/// # Errors
/// When the user's profile cannot be read.
pub(super) fn client(folder: &Path, user: &User, peers: &[&Node]) -> anyhow::Result<Client> {
    let profile = user_folder(folder, user);
    let endpoints = peers.iter().map(|node| {
        anyhow::Ok(Endpoint {
            organization: OrgId::new(&node.organization)?,
            address: node.service.public.to_string(),
        })
    });
    let credentials = Arc::new(Credentials::load(&profile.join("identity"))?);
    let tls = tls_settings(folder, &profile.join("tls"))?;
    let mut options = GatewayOptions::new(endpoints.collect::<Result<_, _>>()?, tls, credentials);
    options.timeouts.request = FAULT_ANSWER;
    options.timeouts.endorse = FAULT_ANSWER;
    options.timeouts.submit = FAULT_ANSWER;
    options.timeouts.commit_poll = FAULT_ANSWER / 2;
    options.timeouts.resubmit = FAULT_ANSWER / 2;
    Ok(Gateway::connect(options)?.network(ChannelId::new(CHANNEL)?))
}

fn contract(folder: &Path, user: &User, peers: &[&Node]) -> anyhow::Result<Contract> {
    Ok(client(folder, user, peers)?.contract(ContractName::new(CONTRACT)?))
}

async fn write(contract: &Contract, book: &Arc<Book>, counters: &Counters) {
    loop {
        match grant(contract).await {
            Ok(status) if status.code.is_valid() => {
                let book = book.clone();
                let entered = tokio::task::spawn_blocking(move || book.enter(&status)).await;
                if !matches!(entered, Ok(Ok(()))) {
                    let what = "an acknowledgement could not be written down".to_owned();
                    counters.wrong.lock().push(what);
                    return;
                }
            }
            Ok(_) => drop(counters.invalid.fetch_add(1, Ordering::Relaxed)),
            Err(_) => drop(counters.failed.fetch_add(1, Ordering::Relaxed)),
        }
        tokio::time::sleep(FAULT_CLIENT_PAUSE).await;
    }
}

/// One consent, endorsed and submitted until it is known what became of it.
async fn grant(contract: &Contract) -> anyhow::Result<CommitStatus> {
    let organization = "HospitalC".parse();
    let organization = organization.map_err(|_| anyhow::anyhow!("that is no organization"))?;
    let provision = Provision {
        actor: Some(Actor::Organization(organization)),
        ..Provision::deny()
    };
    let consent = Consent::new(Hex(rand::random()), provision, Vec::new())?;
    let proposal = contract.proposal("grant_consent").json(&consent).build()?;
    let transaction = proposal.endorse().await?;
    Ok(transaction.submit_and_wait(FAULT_COMMIT).await?)
}

async fn read(peers: &[(String, Client)], book: &Book, counters: &Counters) {
    loop {
        let peer = &peers[rand::random_range(0..peers.len())];
        if let Some((id, place)) = book.get(rand::random_range(0..usize::MAX)) {
            let status = peer.1.commit(id).status(Duration::from_millis(500)).await;
            match status {
                Ok(status) => {
                    counters.read.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = check(&status, place) {
                        let what = format!("{} about {id}: {error:#}", peer.0);
                        counters.wrong.lock().push(what);
                    }
                }
                // It may be down, cut off or behind.
                Err(_) => drop(counters.failed.fetch_add(1, Ordering::Relaxed)),
            }
        }
        tokio::time::sleep(FAULT_CLIENT_PAUSE).await;
    }
}

/// Whether a peer's answer about an acknowledged transaction is the one that was acknowledged.
///
/// # Errors
/// How it differs.
pub(super) fn check(status: &CommitStatus, place: Place) -> anyhow::Result<()> {
    let found = (status.block.0, status.index);
    let same = status.code.is_valid() && found == place;
    same.then_some(()).with_context(|| {
        format!(
            "it was acknowledged in {place:?} as valid, and is {} in {found:?}",
            status.code
        )
    })
}
