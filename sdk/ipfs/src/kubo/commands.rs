//! The commands of `/api/v0` that are used, one function each. What comes back is parsed into the
//! least that is needed, and believed only as far as it can be checked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use libp2p::{Multiaddr, PeerId};
use serde::Deserialize;
use tokio::time::Instant;

use super::KuboError;
use super::http::{Answer, Http};
use crate::block::{self, Block};
use crate::limits::{
    ADDRESSES_PER_PEER_MAX, BLOCK_BYTES_MAX, CID_CHARS_MAX, KUBO_CALL_TIMEOUT,
    KUBO_COLLECT_TIMEOUT, KUBO_LOCAL_TIMEOUT, PROVIDERS_PER_KEY_MAX,
};

/// How CIDs are to be written.
const BASE: (&str, &str) = ("cid-base", "base32");

/// Where a block may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The daemon's own disk.
    Local,
    /// Other nodes too.
    Swarm,
}

/// Who the daemon is in the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<Multiaddr>,
}

impl Http {
    pub(super) async fn identity(&self) -> Result<Identity, KuboError> {
        #[derive(Deserialize)]
        struct Id {
            #[serde(rename = "ID")]
            id: String,
            #[serde(rename = "Addresses")]
            addresses: Option<Vec<String>>,
        }
        let answer = self.call("id", &[], soon(KUBO_CALL_TIMEOUT)).await?;
        let id: Id = answer.json().await?;
        let peer = id.id.parse().map_err(|_| KuboError::Answer {
            command: "id",
            what: "it names no peer",
        })?;
        let addresses = id.addresses.unwrap_or_default();
        let addresses = addresses.iter().take(ADDRESSES_PER_PEER_MAX);
        let addresses = addresses.filter_map(|address| named(address, peer));
        Ok(Identity {
            peer,
            addresses: addresses.collect(),
        })
    }

    /// One block, whose hash is compared. Where other nodes are asked, the daemon has until the
    /// deadline.
    pub(super) async fn block_get(
        &self,
        cid: &Cid,
        reach: Reach,
        deadline: Instant,
    ) -> Result<Bytes, KuboError> {
        let (name, limit) = (cid.to_string(), limit(reach, deadline));
        let query = [("arg", &name[..]), ("timeout", &limit), offline(reach)];
        let mut answer = self.call("block/get", &query, deadline).await?;
        let data = answer.read(BLOCK_BYTES_MAX).await?;
        if Block::hash(cid.codec(), data.clone()).cid() != cid {
            return Err(KuboError::WrongBytes { cid: *cid });
        }
        Ok(data)
    }

    /// The size of a block on the daemon's disk, by the daemon's word.
    pub(super) async fn block_size(&self, cid: &Cid) -> Result<u64, KuboError> {
        #[derive(Deserialize)]
        struct Stat {
            #[serde(rename = "Size")]
            size: u64,
        }
        let deadline = soon(KUBO_CALL_TIMEOUT);
        let (name, limit) = (cid.to_string(), limit(Reach::Local, deadline));
        let query = [
            ("arg", &name[..]),
            ("timeout", &limit),
            offline(Reach::Local),
        ];
        let answer = self.call("block/stat", &query, deadline).await?;
        Ok(answer.json::<Stat>().await?.size)
    }

    /// Removes a block that no pin keeps.
    pub(super) async fn block_remove(&self, cid: &Cid) -> Result<(), KuboError> {
        #[derive(Deserialize)]
        struct Removed {
            #[serde(rename = "Error")]
            error: Option<String>,
        }
        let name = cid.to_string();
        let query = [("arg", &name[..]), ("force", "true")];
        let deadline = soon(KUBO_CALL_TIMEOUT);
        let mut answer = self.call("block/rm", &query, deadline).await?;
        while let Some(removed) = answer.line::<Removed>().await? {
            if let Some(error) = removed.error.filter(|error| !error.is_empty()) {
                return Err(KuboError::of_status("block/rm", 500, error.as_bytes()));
            }
        }
        Ok(())
    }

    /// Pins a tree whose blocks the daemon has, and nothing that it would have to fetch.
    pub(super) async fn pin_add(&self, root: &Cid, deadline: Instant) -> Result<(), KuboError> {
        let name = root.to_string();
        let query = [
            ("arg", &name[..]),
            ("recursive", "true"),
            ("progress", "false"),
            offline(Reach::Local),
            BASE,
        ];
        #[derive(Deserialize)]
        struct Pinned {
            #[serde(rename = "Pins")]
            pins: Vec<String>,
        }
        let answer = self.call("pin/add", &query, deadline).await?;
        let pinned: Pinned = answer.json().await?;
        if pinned.pins.iter().any(|pin| is_name_of(pin, root)) {
            return Ok(());
        }
        Err(KuboError::Answer {
            command: "pin/add",
            what: "it names another pin",
        })
    }

    /// Removes a pin, if there is one.
    pub(super) async fn pin_remove(&self, root: &Cid) -> Result<(), KuboError> {
        let name = root.to_string();
        let query = [("arg", &name[..]), ("recursive", "true")];
        let removed = self
            .call("pin/rm", &query, soon(KUBO_CALL_TIMEOUT))
            .await
            .map(drop);
        removed.or_else(|error| error.is_not_pinned().then_some(()).ok_or(error))
    }

    /// Whether a tree is pinned as a whole, by the daemon's word.
    pub(super) async fn is_pinned(&self, root: &Cid) -> Result<bool, KuboError> {
        #[derive(Deserialize)]
        struct List {
            #[serde(rename = "Keys")]
            keys: BTreeMap<String, Pin>,
        }
        #[derive(Deserialize)]
        struct Pin {
            #[serde(rename = "Type")]
            kind: String,
        }
        let name = root.to_string();
        let query = [("arg", &name[..]), ("type", "recursive"), BASE];
        let called = self.call("pin/ls", &query, soon(KUBO_CALL_TIMEOUT)).await;
        let list: List = match called {
            Err(error) if error.is_not_pinned() => return Ok(false),
            called => called?.json().await?,
        };
        let mut pins = list.keys.iter();
        Ok(pins.any(|(name, pin)| pin.kind == "recursive" && is_name_of(name, root)))
    }

    /// Has everything removed that no pin keeps; says how many blocks that were.
    pub(super) async fn collect(&self) -> Result<u64, KuboError> {
        #[derive(Deserialize)]
        struct Removed {
            #[serde(rename = "Error")]
            error: Option<String>,
        }
        let deadline = soon(KUBO_COLLECT_TIMEOUT);
        let mut answer = self.call("repo/gc", &[], deadline).await?;
        let mut blocks = 0;
        while let Some(removed) = answer.line::<Removed>().await? {
            if let Some(error) = removed.error.filter(|error| !error.is_empty()) {
                return Err(KuboError::of_status("repo/gc", 500, error.as_bytes()));
            }
            blocks += 1;
        }
        Ok(blocks)
    }

    /// The connected peers.
    pub(super) async fn peers(&self) -> Result<BTreeSet<PeerId>, KuboError> {
        #[derive(Deserialize)]
        struct Peers {
            #[serde(rename = "Peers")]
            peers: Option<Vec<Peer>>,
        }
        #[derive(Deserialize)]
        struct Peer {
            #[serde(rename = "Peer")]
            peer: String,
        }
        let answer = self
            .call("swarm/peers", &[], soon(KUBO_CALL_TIMEOUT))
            .await?;
        let peers = answer.json::<Peers>().await?.peers.unwrap_or_default();
        Ok(peers
            .iter()
            .filter_map(|peer| peer.peer.parse().ok())
            .collect())
    }

    pub(super) async fn connect(&self, address: &Multiaddr) -> Result<(), KuboError> {
        let address = address.to_string();
        let query = [("arg", &address[..])];
        let called = self.call("swarm/connect", &query, soon(KUBO_CALL_TIMEOUT));
        called.await.map(drop)
    }

    pub(super) async fn disconnect(&self, peer: &PeerId) -> Result<(), KuboError> {
        let address = format!("/p2p/{peer}");
        let query = [("arg", &address[..])];
        let called = self.call("swarm/disconnect", &query, soon(KUBO_CALL_TIMEOUT));
        called.await.map(drop)
    }

    /// Announces a root. Newer daemons call it `routing/provide`, older ones `dht/provide`.
    pub(super) async fn provide(&self, cid: &Cid, deadline: Instant) -> Result<(), KuboError> {
        let name = cid.to_string();
        let query = [("arg", &name[..])];
        let mut answer = match self.call("routing/provide", &query, deadline).await {
            Err(KuboError::NotOffered { .. }) => self.call("dht/provide", &query, deadline).await?,
            called => called?,
        };
        while answer.line::<Event>().await?.is_some() {}
        Ok(())
    }

    /// Who announced a root. Those found when time runs out are the answer, unless they are none.
    pub(super) async fn find_providers(
        &self,
        cid: &Cid,
        deadline: Instant,
    ) -> Result<BTreeSet<PeerId>, KuboError> {
        let name = cid.to_string();
        let count = PROVIDERS_PER_KEY_MAX.to_string();
        let query = [("arg", &name[..]), ("num-providers", &count)];
        let mut answer = match self.call("routing/findprovs", &query, deadline).await {
            Err(KuboError::NotOffered { .. }) => {
                self.call("dht/findprovs", &query, deadline).await?
            }
            called => called?,
        };
        let mut found = BTreeSet::new();
        while found.len() < PROVIDERS_PER_KEY_MAX {
            match providers(&mut answer).await {
                Ok(Some(peers)) => found.extend(peers),
                Ok(None) => break,
                Err(KuboError::Timeout { .. }) if !found.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// One step of a search in the DHT.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Type")]
    kind: Option<u64>,
    #[serde(rename = "Responses")]
    responses: Option<Vec<Response>>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "ID")]
    id: String,
}

/// The number of the event that names providers.
const PROVIDER: u64 = 4;

async fn providers(answer: &mut Answer) -> Result<Option<Vec<PeerId>>, KuboError> {
    let Some(event) = answer.line::<Event>().await? else {
        return Ok(None);
    };
    if event.kind != Some(PROVIDER) {
        return Ok(Some(Vec::new()));
    }
    let responses = event.responses.unwrap_or_default();
    let peers = responses.iter().filter_map(|peer| peer.id.parse().ok());
    Ok(Some(peers.collect()))
}

/// Reads the CID that a daemon writes, whatever its base and its version.
pub(super) fn cid_of(text: &str) -> Option<Cid> {
    if text.len() > CID_CHARS_MAX {
        return None;
    }
    block::parse(&text.parse().ok()?).ok()
}

fn is_name_of(text: &str, cid: &Cid) -> bool {
    cid_of(text).as_ref() == Some(cid)
}

/// An address with the peer's name at its end.
fn named(text: &str, peer: PeerId) -> Option<Multiaddr> {
    let address: Multiaddr = text.parse().ok()?;
    address.with_p2p(peer).ok()
}

pub(super) fn soon(limit: Duration) -> Instant {
    Instant::now() + limit
}

/// How long the daemon may try by itself.
fn limit(reach: Reach, deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    let limit = match reach {
        Reach::Local => left.min(KUBO_LOCAL_TIMEOUT),
        Reach::Swarm => left,
    };
    format!("{}ms", limit.as_millis().max(1))
}

fn offline(reach: Reach) -> (&'static str, &'static str) {
    match reach {
        Reach::Local => ("offline", "true"),
        Reach::Swarm => ("offline", "false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::raw_cid;

    #[test]
    fn a_name_is_a_name_in_any_base() {
        let cid = raw_cid(b"hello world");
        assert_eq!(cid_of(&cid.to_string()), Some(cid));
        let base58 = cid
            .to_string_of_base(cid::multibase::Base::Base58Btc)
            .expect("a base");
        assert!(base58.starts_with('z'));
        assert_eq!(cid_of(&base58), Some(cid));
        let version_0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
        assert_eq!(
            cid_of(version_0).map(|cid| cid.version()),
            Some(cid::Version::V1)
        );
        for bad in ["", "Qm", "../etc", &"z".repeat(1_000)] {
            assert_eq!(cid_of(bad), None, "{bad}");
        }
    }
}
