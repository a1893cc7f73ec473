//! Queries to the DHT, and what each of them is for.

use std::collections::{BTreeSet, HashMap, VecDeque};

use cid::Cid;
use libp2p::PeerId;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, GetProvidersOk, ProviderRecord, QueryId, QueryResult, RecordKey};
use tokio::sync::{mpsc, oneshot};

use super::providers::ProviderStore;
use crate::error::DhtError;
use crate::limits::{ANNOUNCEMENTS_IN_FLIGHT_MAX, PROVIDED_KEYS_MAX, REDIAL_TICKS_MAX};

pub(super) type Kad = kad::Behaviour<ProviderStore>;

/// Ticks between two announcements of everything, however often members come and go (10 s).
const PASS_TICKS: u64 = REDIAL_TICKS_MAX / 6;

/// What is being asked of the DHT.
pub(super) struct Dht {
    local: PeerId,
    queries: HashMap<QueryId, Purpose>,
    searches: HashMap<Cid, Search>,
    /// Keys still to be announced. Each is announced only if it still is provided by then.
    queue: VecDeque<RecordKey>,
    announcing: usize,
    pass_due: bool,
    pass_tick: u64,
    tick: u64,
}

enum Purpose {
    Provide {
        cid: Cid,
        reply: oneshot::Sender<Result<(), DhtError>>,
    },
    Announce,
    Find {
        found: mpsc::Sender<PeerId>,
    },
    Search {
        root: Cid,
    },
}

/// The search for providers of a root, some block of which nobody connected has.
#[derive(Default)]
struct Search {
    running: bool,
    finished: bool,
    members: BTreeSet<PeerId>,
    outsider: Option<PeerId>,
}

/// How a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There may be a provider that was not reached yet.
    Open,
    /// There is no provider that is not connected.
    Nobody,
    /// All providers are missing from the allow-list; this is one.
    Outsider(PeerId),
}

impl Dht {
    pub(super) fn new(local: PeerId) -> Self {
        Self {
            local,
            queries: HashMap::new(),
            searches: HashMap::new(),
            queue: VecDeque::new(),
            announcing: 0,
            pass_due: false,
            pass_tick: 0,
            tick: 0,
        }
    }

    pub(super) fn provide(
        &mut self,
        kad: &mut Kad,
        cid: Cid,
        reply: oneshot::Sender<Result<(), DhtError>>,
    ) {
        match kad.start_providing(key(&cid)) {
            Ok(query) => drop(self.queries.insert(query, Purpose::Provide { cid, reply })),
            Err(_) => drop(reply.send(Err(DhtError::Full {
                keys_max: PROVIDED_KEYS_MAX,
            }))),
        }
    }

    /// Announces roots when there is time.
    pub(super) fn announce(&mut self, kad: &mut Kad, roots: &[Cid]) {
        for root in roots {
            let record = ProviderRecord::new(key(root), self.local, Vec::new());
            match kad.store_mut().add_provider(record) {
                Ok(()) => self.queue.push_back(key(root)),
                Err(error) => tracing::warn!(%root, %error, "a pinned root is not announced"),
            }
        }
        self.pump(kad);
    }

    pub(super) fn withdraw(&mut self, kad: &mut Kad, root: &Cid) {
        kad.stop_providing(&key(root));
    }

    /// A node has come that may keep records for us: it is to hear of all of ours.
    pub(super) fn announce_all(&mut self) {
        self.pass_due = true;
    }

    pub(super) fn find(&mut self, kad: &mut Kad, cid: &Cid, found: mpsc::Sender<PeerId>) {
        let query = kad.get_providers(key(cid));
        self.queries.insert(query, Purpose::Find { found });
    }

    /// Looks for providers of a root, unless that is being done already.
    pub(super) fn search(&mut self, kad: &mut Kad, root: Cid) {
        let search = self.searches.entry(root).or_default();
        if !std::mem::replace(&mut search.running, true) {
            self.queries
                .insert(kad.get_providers(key(&root)), Purpose::Search { root });
        }
    }

    /// Nobody waits for a block of this root any more.
    pub(super) fn end_search(&mut self, root: &Cid) {
        self.searches.remove(root);
    }

    pub(super) fn outcome(&self, root: &Cid, is_connected: impl Fn(&PeerId) -> bool) -> Outcome {
        let Some(search) = self.searches.get(root) else {
            return Outcome::Open;
        };
        match search.outsider {
            _ if search.members.iter().any(|peer| !is_connected(peer)) => Outcome::Open,
            Some(peer) if search.members.is_empty() => Outcome::Outsider(peer),
            _ if search.finished => Outcome::Nobody,
            _ => Outcome::Open,
        }
    }

    /// A query has got on. The members it found for a search are returned, to be dialled at once,
    /// while the query still knows their addresses.
    pub(super) fn progressed(
        &mut self,
        kad: &mut Kad,
        id: QueryId,
        result: QueryResult,
        last: bool,
        is_member: impl Fn(&PeerId) -> bool,
    ) -> Vec<PeerId> {
        let members = match result {
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                let local = self.local;
                self.found(
                    id,
                    providers.into_iter().filter(|peer| *peer != local),
                    is_member,
                )
            }
            QueryResult::StartProviding(result) => {
                self.provided(id, result.is_ok());
                Vec::new()
            }
            _ => Vec::new(),
        };
        if last {
            self.finished(id);
            self.pump(kad);
        }
        members
    }

    /// Time has gone on by one tick.
    pub(super) fn tick(&mut self, kad: &mut Kad) {
        self.tick += 1;
        if self.pass_due && self.queue.is_empty() && self.tick >= self.pass_tick {
            self.pass_due = false;
            self.pass_tick = self.tick + PASS_TICKS;
            self.queue = kad
                .store_mut()
                .provided()
                .map(|record| record.key.clone())
                .collect();
            self.pump(kad);
        }
    }

    fn found(
        &mut self,
        id: QueryId,
        providers: impl IntoIterator<Item = PeerId>,
        is_member: impl Fn(&PeerId) -> bool,
    ) -> Vec<PeerId> {
        match self.queries.get(&id) {
            Some(Purpose::Find { found }) => {
                // Whoever waits takes them out at once; what does not fit is one too many.
                for peer in providers {
                    let _ = found.try_send(peer);
                }
                Vec::new()
            }
            Some(Purpose::Search { root }) => {
                let search = self.searches.entry(*root).or_default();
                let (members, outsiders): (Vec<_>, Vec<_>) =
                    providers.into_iter().partition(is_member);
                search.outsider = search.outsider.or(outsiders.first().copied());
                search.members.extend(&members);
                members
            }
            _ => Vec::new(),
        }
    }

    fn provided(&mut self, id: QueryId, told: bool) {
        match self.queries.remove(&id) {
            Some(Purpose::Provide { cid, reply }) => {
                let _ = reply.send(if told {
                    Ok(())
                } else {
                    Err(DhtError::Timeout { cid })
                });
            }
            Some(Purpose::Announce) => self.announcing = self.announcing.saturating_sub(1),
            _ => {}
        }
    }

    fn finished(&mut self, id: QueryId) {
        if let Some(Purpose::Search { root }) = self.queries.remove(&id)
            && let Some(search) = self.searches.get_mut(&root)
        {
            search.running = false;
            search.finished = true;
        }
    }

    fn pump(&mut self, kad: &mut Kad) {
        while self.announcing < ANNOUNCEMENTS_IN_FLIGHT_MAX
            && let Some(key) = self.queue.pop_front()
        {
            if kad.store_mut().is_own(&key)
                && let Ok(query) = kad.start_providing(key)
            {
                self.queries.insert(query, Purpose::Announce);
                self.announcing += 1;
            }
        }
    }
}

/// Records are kept under the hash in a CID, whatever its version and codec, as Kubo does.
fn key(cid: &Cid) -> RecordKey {
    RecordKey::from(cid.hash().to_bytes())
}
