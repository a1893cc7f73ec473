//! What this node wants of its peers. Pure: it is told what happened and says what to send.
//!
//! A wanted block is asked of one peer at a time: of one that said it has it, else of the least
//! busy among those that have been useful before. When there is nobody left to ask, all the others
//! are asked whether they have it, and the DHT is searched. What nobody has is asked for again
//! everywhere after [`RETRY_TICKS`], until the want is cancelled: deadlines are the caller's.

use std::collections::{HashMap, HashSet, VecDeque};

use cid::Cid;
use libp2p::PeerId;

use super::message::{Entry, Presence, Want};
use crate::block::Block;
use crate::limits::{ASK_TICKS, RECENT_BLOCKS_MAX, RETRY_TICKS, STRIKE_TICKS, STRIKES_MAX};

/// What the client wants done.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    /// A wanted block came from this peer; its hash has been verified.
    Block(PeerId, Block),
    /// No connected peer has the block.
    Search(Cid),
    /// The peer sent what nobody asked for, too often.
    Misbehaving(PeerId),
}

/// How a want stands, for the one who gives it up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// A peer that was asked for the block and sent other bytes.
    pub(crate) mismatch: Option<PeerId>,
    /// Whether a connected peer has yet to answer.
    pub(crate) unanswered: bool,
}

/// All wants, and the peers that may fulfil them.
#[derive(Debug, Default)]
pub(crate) struct Client {
    wants: HashMap<Cid, Wanted>,
    peers: HashMap<PeerId, Remote>,
    /// How often peers misbehaved lately; kept when they reconnect. Only members connect, so this
    /// is as long as the allow-list at most.
    strikes: HashMap<PeerId, u32>,
    recent: Recent,
    tick: u64,
    entries: HashMap<PeerId, Vec<Entry>>,
    events: VecDeque<ClientEvent>,
}

#[derive(Debug, Default)]
struct Remote {
    asked: usize,
    useful: bool,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Who was asked for the block, and when.
    asked: Option<(PeerId, u64)>,
    /// Who said to have it.
    ready: VecDeque<PeerId>,
    /// Who was asked whether they have it.
    probed: HashSet<PeerId>,
    /// Who does not have it, or did not send it.
    refused: HashSet<PeerId>,
    mismatch: Option<PeerId>,
    searched: bool,
    /// Whether everybody has once said not to have it.
    denied: bool,
    retry_tick: u64,
}

impl Client {
    /// Starts to want a block.
    pub(crate) fn want(&mut self, cid: Cid) {
        let retry_tick = self.tick + RETRY_TICKS;
        self.wants.entry(cid).or_insert(Wanted {
            retry_tick,
            ..Wanted::default()
        });
        self.drive(&cid);
    }

    /// Stops to want a block.
    pub(crate) fn cancel(&mut self, cid: &Cid) {
        if let Some(wanted) = self.wants.remove(cid) {
            if let Some((peer, _)) = wanted.asked {
                self.release(&peer);
            }
            self.withdraw(cid, &wanted, None);
        }
    }

    /// How a want stands.
    pub(crate) fn verdict(&self, cid: &Cid) -> Verdict {
        self.wants
            .get(cid)
            .map_or(Verdict::default(), |wanted| Verdict {
                mismatch: wanted.mismatch,
                unanswered: wanted.asked.is_some() || !(wanted.denied || wanted.is_denied()),
            })
    }

    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.peers.entry(peer).or_default();
        self.drive_idle();
    }

    /// The peer is gone, or does not speak bitswap.
    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        self.entries.remove(peer);
        for wanted in self.wants.values_mut() {
            wanted.probed.remove(peer);
            wanted.asked = wanted.asked.filter(|(asked, _)| asked != peer);
        }
        self.drive_idle();
    }

    /// One of several connections to the peer is gone, and with it perhaps a question or an answer
    /// that was on its way: everything the peer has yet to answer is asked again.
    pub(crate) fn repeat(&mut self, peer: &PeerId) {
        let mut again = Vec::new();
        for (cid, wanted) in &self.wants {
            if wanted.asked.is_some_and(|(asked, _)| asked == *peer) {
                again.push((*cid, Want::Block));
            } else if wanted.probed.contains(peer) && !wanted.refused.contains(peer) {
                again.push((*cid, Want::Have));
            }
        }
        for (cid, want) in again {
            self.say(*peer, &cid, want);
        }
    }

    /// Takes in the blocks and presences of a peer's message.
    pub(crate) fn receive(&mut self, peer: PeerId, blocks: Vec<Block>, presences: &[Presence]) {
        for block in blocks {
            self.receive_block(peer, block);
        }
        for presence in presences {
            self.receive_presence(peer, presence);
        }
    }

    /// Notes that a peer sent what it should not have. It is not asked again for what it was being
    /// asked for, and after some such strikes for nothing at all, until they are forgiven.
    pub(crate) fn strike(&mut self, peer: PeerId) {
        let Some(remote) = self.peers.get_mut(&peer) else {
            return;
        };
        remote.useful = false;
        remote.asked = 0;
        let strikes = self.strikes.entry(peer).or_default();
        *strikes += 1;
        if *strikes == STRIKES_MAX {
            self.events.push_back(ClientEvent::Misbehaving(peer));
        }
        for wanted in self.wants.values_mut() {
            if wanted.asked.is_some_and(|(asked, _)| asked == peer) {
                wanted.asked = None;
                wanted.mismatch = Some(peer);
                wanted.refused.insert(peer);
            }
        }
        self.drive_idle();
    }

    /// Forgives a peer what it did.
    pub(crate) fn trust(&mut self, peer: &PeerId) {
        self.strikes.remove(peer);
    }

    /// Time has gone on by one tick.
    pub(crate) fn tick(&mut self) {
        self.tick += 1;
        let tick = self.tick;
        if tick.is_multiple_of(STRIKE_TICKS) {
            self.forgive();
        }
        let mut late = Vec::new();
        for wanted in self.wants.values_mut() {
            match wanted.asked {
                Some((peer, since)) if tick >= since + ASK_TICKS => {
                    wanted.asked = None;
                    wanted.refused.insert(peer);
                    late.push(peer);
                }
                None if tick >= wanted.retry_tick => wanted.begin_again(tick),
                _ => {}
            }
        }
        late.iter().for_each(|peer| self.release(peer));
        self.drive_idle();
    }

    /// The entries to be sent to each peer since the last call.
    pub(crate) fn take_entries(&mut self) -> impl Iterator<Item = (PeerId, Vec<Entry>)> {
        std::mem::take(&mut self.entries).into_iter()
    }

    pub(crate) fn next_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    fn forgive(&mut self) {
        self.strikes.retain(|_, strikes| {
            *strikes = (*strikes).min(STRIKES_MAX) - 1;
            *strikes > 0
        });
    }

    fn receive_block(&mut self, peer: PeerId, block: Block) {
        let cid = *block.cid();
        let Some(wanted) = self.wants.remove(&cid) else {
            if !self.recent.contains(&cid) {
                tracing::warn!(%peer, %cid, "a peer sent a block that nobody asked for");
                self.strike(peer);
            }
            return;
        };
        if let Some((asked, _)) = wanted.asked {
            self.release(&asked);
        }
        self.withdraw(&cid, &wanted, Some(peer));
        self.mark_useful(&peer);
        self.events.push_back(ClientEvent::Block(peer, block));
    }

    fn receive_presence(&mut self, peer: PeerId, presence: &Presence) {
        let Some(wanted) = self.wants.get_mut(&presence.cid) else {
            return;
        };
        if presence.have {
            if !wanted.ready.contains(&peer) {
                wanted.ready.push_back(peer);
            }
            self.mark_useful(&peer);
        } else {
            wanted.refused.insert(peer);
            if wanted.asked.is_some_and(|(asked, _)| asked == peer) {
                wanted.asked = None;
                self.release(&peer);
            }
        }
        self.drive(&presence.cid);
    }

    fn drive_idle(&mut self) {
        let idle = self
            .wants
            .iter()
            .filter(|(_, wanted)| wanted.asked.is_none());
        let idle: Vec<Cid> = idle.map(|(cid, _)| *cid).collect();
        idle.iter().for_each(|cid| self.drive(cid));
    }

    /// Takes the next step towards a block that nobody is being asked for.
    fn drive(&mut self, cid: &Cid) {
        let Some(wanted) = self.wants.get_mut(cid) else {
            return;
        };
        if wanted.asked.is_some() {
            return;
        }
        if let Some(peer) = pick(wanted, &self.peers, &self.strikes) {
            wanted.asked = Some((peer, self.tick));
            self.peers.entry(peer).or_default().asked += 1;
            self.say(peer, cid, Want::Block);
            return;
        }
        let trusted = self
            .peers
            .keys()
            .filter(|peer| is_trusted(&self.strikes, peer));
        let fresh: Vec<PeerId> = trusted
            .filter(|peer| wanted.is_fresh(peer))
            .copied()
            .collect();
        wanted.probed.extend(&fresh);
        if !wanted.searched && wanted.is_denied() {
            wanted.searched = true;
            self.events.push_back(ClientEvent::Search(*cid));
        }
        fresh
            .into_iter()
            .for_each(|peer| self.say(peer, cid, Want::Have));
    }

    /// Tells everybody who was asked that the block is not wanted any more.
    fn withdraw(&mut self, cid: &Cid, wanted: &Wanted, except: Option<PeerId>) {
        self.recent.insert(*cid);
        let asked = wanted.asked.map(|(peer, _)| peer);
        let told: HashSet<PeerId> = wanted.probed.iter().copied().chain(asked).collect();
        for peer in told {
            if Some(peer) != except && self.peers.contains_key(&peer) {
                self.say(peer, cid, Want::Cancel);
            }
        }
    }

    fn say(&mut self, peer: PeerId, cid: &Cid, want: Want) {
        let entry = Entry {
            cid: *cid,
            want,
            dont_have: want != Want::Cancel,
        };
        self.entries.entry(peer).or_default().push(entry);
    }

    fn mark_useful(&mut self, peer: &PeerId) {
        if let Some(remote) = self.peers.get_mut(peer) {
            remote.useful = true;
        }
    }

    fn release(&mut self, peer: &PeerId) {
        if let Some(remote) = self.peers.get_mut(peer) {
            remote.asked = remote.asked.saturating_sub(1);
        }
    }
}

impl Wanted {
    fn is_fresh(&self, peer: &PeerId) -> bool {
        !self.probed.contains(peer) && !self.refused.contains(peer)
    }

    fn is_denied(&self) -> bool {
        self.probed.is_subset(&self.refused)
    }

    fn begin_again(&mut self, tick: u64) {
        self.denied |= self.is_denied();
        self.ready.clear();
        self.probed.clear();
        self.refused.clear();
        self.searched = false;
        self.retry_tick = tick + RETRY_TICKS;
    }
}

/// Whom to ask for a block next.
fn pick(
    wanted: &mut Wanted,
    peers: &HashMap<PeerId, Remote>,
    strikes: &HashMap<PeerId, u32>,
) -> Option<PeerId> {
    let refused = &wanted.refused;
    let eligible = |peer: &PeerId| {
        peers.contains_key(peer) && !refused.contains(peer) && is_trusted(strikes, peer)
    };
    while let Some(peer) = wanted.ready.pop_front() {
        if eligible(&peer) {
            return Some(peer);
        }
    }
    let useful = peers
        .iter()
        .filter(|(peer, remote)| remote.useful && eligible(peer));
    useful
        .min_by_key(|(peer, remote)| (remote.asked, **peer))
        .map(|(peer, _)| *peer)
}

fn is_trusted(strikes: &HashMap<PeerId, u32>, peer: &PeerId) -> bool {
    strikes
        .get(peer)
        .is_none_or(|strikes| *strikes < STRIKES_MAX)
}

/// The last blocks that were fetched or cancelled.
#[derive(Debug, Default)]
struct Recent {
    known: HashSet<Cid>,
    order: VecDeque<Cid>,
}

impl Recent {
    fn insert(&mut self, cid: Cid) {
        if !self.known.insert(cid) {
            return;
        }
        self.order.push_back(cid);
        if self.order.len() > RECENT_BLOCKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn contains(&self, cid: &Cid) -> bool {
        self.known.contains(cid)
    }
}

#[cfg(test)]
mod tests;
