//! What all services of a node share.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use stela_identity::tls::{TlsError, TlsRoots, TlsSettings};
use stela_identity::{Credentials, Msp};
use stela_protocol::{ChannelId, ErrorCode, IdError, OrgId, RpcError};
use stela_store::{Kv, RocksKv, RocksSettings, StoreError, layout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Response, Status};

use crate::answer;
use crate::blocks;
use crate::channel::Channel;
use crate::clock::Clock;
use crate::comparison;
use crate::contracts::Contracts;
use crate::membership::Membership;
use crate::notes;
use crate::offline::folders;
use crate::orderers::Preferred;
use crate::reconciliation;
use crate::registration;
use crate::remotes::Remotes;
use crate::replays::Replays;
use crate::scrub;

/// A node: who it is, what it has joined and installed, and its tasks.
pub(crate) struct Node {
    pub(crate) organization: OrgId,
    pub(crate) name: String,
    /// As errors name it.
    pub(crate) origin: String,
    pub(crate) data: PathBuf,
    /// Keeps other processes away from the data.
    pub(crate) _lock: File,
    pub(crate) credentials: Credentials,
    /// The own organization under each of its roots.
    pub(crate) msps: Vec<Msp>,
    pub(crate) clock: Clock,
    pub(crate) tls: TlsSettings,
    /// Roots for TLS that count without any channel.
    pub(crate) own_tls_roots: TlsRoots,
    pub(crate) remotes: Remotes,
    pub(crate) contracts: Contracts,
    pub(crate) orderers: Preferred,
    /// For the calls of clients that are worked on.
    pub(crate) client_calls: Arc<Semaphore>,
    pub(crate) admin_replays: Replays,
    pub(crate) rocks: RocksSettings,
    pub(crate) channels: RwLock<BTreeMap<ChannelId, Arc<Channel>>>,
    /// Held while a channel is joined.
    pub(crate) joining: tokio::sync::Mutex<()>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Why the node has to end, if it has to.
    pub(crate) failure: Mutex<Option<String>>,
}

impl Node {
    /// A channel by its name in a request.
    ///
    /// # Errors
    /// `UnknownChannel`, or `Malformed` when it is no name.
    pub(crate) fn channel(&self, name: &str) -> Result<Arc<Channel>, RpcError> {
        let id = ChannelId::new(name).map_err(|error: IdError| answer::bad_id(error))?;
        self.joined(&id)
    }

    /// A channel that was joined.
    ///
    /// # Errors
    /// `UnknownChannel`.
    pub(crate) fn joined(&self, id: &ChannelId) -> Result<Arc<Channel>, RpcError> {
        self.channels.read().get(id).cloned().ok_or_else(|| {
            let why = format!("this peer has not joined channel {id}");
            RpcError::new(ErrorCode::UnknownChannel, why)
        })
    }

    /// A place for another call of a client.
    ///
    /// # Errors
    /// `Overloaded`.
    pub(crate) fn place_for_call(&self) -> Result<OwnedSemaphorePermit, RpcError> {
        self.client_calls.clone().try_acquire_owned().map_err(|_| {
            let why = "this gateway works on as many calls as it can; try again later";
            RpcError::new(ErrorCode::Overloaded, why)
        })
    }

    /// What a handler answers; an error names this node unless it came from another one.
    pub(crate) fn answer<T>(&self, result: Result<T, RpcError>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|error| self.status(error))
    }

    /// An error as this node says it.
    pub(crate) fn said(&self, error: RpcError) -> RpcError {
        if matches!(error.code, ErrorCode::Internal | ErrorCode::Damaged) {
            tracing::error!("{error}");
        }
        error.from_origin(&self.origin)
    }

    /// The same as a status.
    pub(crate) fn status(&self, error: RpcError) -> Status {
        self.said(error).into()
    }

    /// Opens the database of a channel, or makes it.
    pub(crate) fn database(&self, id: &ChannelId) -> Result<Arc<dyn Kv>, StoreError> {
        let path = self.channel_folder(id);
        Ok(Arc::new(RocksKv::open(
            &path,
            layout::FAMILIES,
            &self.rocks,
        )?))
    }

    /// Where the database of a channel is.
    pub(crate) fn channel_folder(&self, id: &ChannelId) -> PathBuf {
        self.channels_folder().join(id.as_str())
    }

    /// Where the databases of all channels are.
    pub(crate) fn channels_folder(&self) -> PathBuf {
        folders::channels(&self.data)
    }

    /// Accepts the TLS certificates of every organization of every channel.
    pub(crate) fn trust_channels(&self) -> Result<(), TlsError> {
        let mut roots = self.own_tls_roots.clone();
        for channel in self.channels.read().values() {
            let membership = channel.membership();
            roots = roots.add_config(membership.config())?;
        }
        self.tls.replace_roots(&roots)
    }

    /// Puts what a block has changed in the configuration into force outside the channel: whose TLS
    /// certificates are accepted. Says which packages have to be installed now.
    async fn follow_configuration(&self, channel: &Channel) {
        let mut memberships = channel.memberships();
        loop {
            let membership = memberships.borrow_and_update().clone();
            if let Err(error) = self.trust_channels() {
                // Whom the channel has shut out must not go on as if nothing had happened.
                return self.fail(format!(
                    "the TLS roots of channel {}: {error}",
                    channel.id()
                ));
            }
            self.report_missing_packages(&membership);
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = memberships.changed() => if changed.is_err() { return },
            }
        }
    }

    fn report_missing_packages(&self, membership: &Membership) {
        let installed = self.contracts.installed();
        for contract in membership.config().contracts.values() {
            if !installed.contains(&contract.package_hash) {
                tracing::warn!(
                    channel = %membership.config().channel, contract = %contract.name,
                    version = contract.version, package = %contract.package_hash,
                    "this peer cannot run the contract until the package is installed"
                );
            }
        }
    }

    /// Begins to serve a channel: follows its blocks, registers this node, fetches side items.
    pub(crate) fn serve(self: &Arc<Self>, channel: Arc<Channel>) {
        self.channels
            .write()
            .insert(channel.id().clone(), channel.clone());
        let (node, stop) = (self.stop.clone(), channel.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = node.cancelled() => stop.cancel(),
                () = stop.cancelled() => {}
            }
        });
        let (node, followed) = (self.clone(), channel.clone());
        self.tasks.spawn(async move {
            let stop = followed.stop.clone();
            if let Err(why) = blocks::run(followed, &node.remotes, &stop).await {
                node.fail(why);
            }
        });
        let (node, registered) = (self.clone(), channel.clone());
        self.tasks
            .spawn(async move { registration::run(&node, &registered).await });
        let (node, configured) = (self.clone(), channel.clone());
        self.tasks
            .spawn(async move { node.follow_configuration(&configured).await });
        let (node, compared) = (self.clone(), channel.clone());
        self.tasks
            .spawn(async move { comparison::run(&node, &compared).await });
        let (node, noted) = (self.clone(), channel.clone());
        self.tasks
            .spawn(async move { notes::run(&node, &noted).await });
        let scrubbed = channel.clone();
        self.tasks.spawn(async move { scrub::run(&scrubbed).await });
        let node = self.clone();
        self.tasks
            .spawn(async move { reconciliation::run(&node, &channel).await });
    }

    /// Ends the node because it cannot go on.
    pub(crate) fn fail(&self, why: String) {
        tracing::error!("the node stops: {why}");
        self.failure.lock().get_or_insert(why);
        self.stop.cancel();
    }
}
