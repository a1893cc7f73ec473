//! The provider records of the DHT, and nothing else: values that peers want kept are refused.
//!
//! A member may fill its own share and no more. Its oldest record makes room for its newest.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, hash_map};
use std::iter;

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};

use super::addresses;
use crate::limits::{
    DHT_KEY_BYTES_MAX, PROVIDED_KEYS_MAX, PROVIDER_RECORDS_PER_PEER_MAX, PROVIDERS_PER_KEY_MAX,
};

/// Provider records: our own, and those that other members gave us to keep.
pub(super) struct ProviderStore {
    local: PeerId,
    own: HashMap<RecordKey, ProviderRecord>,
    kept: HashMap<RecordKey, Vec<Kept>>,
    /// The keys of each other member's records, oldest first.
    order: HashMap<PeerId, BTreeMap<u64, RecordKey>>,
    next: u64,
    records_per_peer_max: usize,
}

struct Kept {
    record: ProviderRecord,
    number: u64,
}

impl ProviderStore {
    pub(super) fn new(local: PeerId) -> Self {
        Self {
            local,
            own: HashMap::new(),
            kept: HashMap::new(),
            order: HashMap::new(),
            next: 0,
            records_per_peer_max: PROVIDER_RECORDS_PER_PEER_MAX,
        }
    }

    /// Whether this node provides the key.
    pub(super) fn is_own(&self, key: &RecordKey) -> bool {
        self.own.contains_key(key)
    }

    fn add_own(&mut self, record: ProviderRecord) -> Result<()> {
        if self.own.len() >= PROVIDED_KEYS_MAX && !self.own.contains_key(&record.key) {
            return Err(Error::MaxProvidedKeys);
        }
        self.own.insert(record.key.clone(), record);
        Ok(())
    }

    fn keep(&mut self, mut record: ProviderRecord) -> Result<()> {
        let (key, peer) = (record.key.clone(), record.provider);
        // The address by which a record came is not known here, so loopback addresses pass: a
        // record only makes us dial a member, whose identity the handshake proves.
        record.addresses = addresses::believed(&peer, record.addresses, true);
        self.remove_provider(&key, &peer);
        self.make_room(&peer);
        if self
            .kept
            .get(&key)
            .is_some_and(|kept| kept.len() >= PROVIDERS_PER_KEY_MAX)
        {
            return Ok(());
        }
        let number = self.next;
        self.next += 1;
        self.order
            .entry(peer)
            .or_default()
            .insert(number, key.clone());
        self.kept
            .entry(key)
            .or_default()
            .push(Kept { record, number });
        Ok(())
    }

    fn make_room(&mut self, peer: &PeerId) {
        while let Some(order) = self.order.get(peer)
            && order.len() >= self.records_per_peer_max
            && let Some((_, oldest)) = order.first_key_value()
        {
            let oldest = oldest.clone();
            self.remove_provider(&oldest, peer);
        }
    }
}

impl RecordStore for ProviderStore {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Map<
        hash_map::Values<'a, RecordKey, ProviderRecord>,
        fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>,
    >;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.key.as_ref().len() > DHT_KEY_BYTES_MAX {
            return Err(Error::ValueTooLarge);
        }
        if record.provider == self.local {
            self.add_own(record)
        } else {
            self.keep(record)
        }
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let kept = self
            .kept
            .get(key)
            .into_iter()
            .flatten()
            .map(|kept| &kept.record);
        self.own.get(key).into_iter().chain(kept).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.own.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        if *peer == self.local {
            self.own.remove(key);
        }
        let hash_map::Entry::Occupied(mut entry) = self.kept.entry(key.clone()) else {
            return;
        };
        let position = entry
            .get()
            .iter()
            .position(|kept| kept.record.provider == *peer);
        if let Some(position) = position {
            let number = entry.get_mut().swap_remove(position).number;
            if let Some(order) = self.order.get_mut(peer) {
                order.remove(&number);
            }
        }
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: u32, provider: PeerId) -> ProviderRecord {
        ProviderRecord::new(name.to_be_bytes().to_vec(), provider, Vec::new())
    }

    fn providers(store: &ProviderStore, name: u32) -> Vec<PeerId> {
        let records = store.providers(&name.to_be_bytes().to_vec().into());
        records.into_iter().map(|record| record.provider).collect()
    }

    #[test]
    fn a_member_fills_its_own_share_only() {
        let (local, greedy, modest) = (PeerId::random(), PeerId::random(), PeerId::random());
        let mut store = ProviderStore {
            records_per_peer_max: 10,
            ..ProviderStore::new(local)
        };
        store.add_provider(record(1, modest)).expect("room");
        store.add_provider(record(1, local)).expect("room");
        for name in 0..100 {
            store.add_provider(record(name, greedy)).expect("room");
        }
        assert_eq!(providers(&store, 1), [local, modest]);
        assert_eq!(providers(&store, 89), []);
        assert!((90..100).all(|name| providers(&store, name) == [greedy]));
        assert_eq!(store.order[&greedy].len(), 10);
        assert_eq!(store.kept.len(), 11);
        assert_eq!(store.provided().count(), 1);
    }

    #[test]
    fn a_record_that_comes_again_is_renewed() {
        let peer = PeerId::random();
        let mut store = ProviderStore {
            records_per_peer_max: 2,
            ..ProviderStore::new(PeerId::random())
        };
        for name in [1, 2, 1, 3] {
            store.add_provider(record(name, peer)).expect("room");
        }
        assert_eq!(providers(&store, 2), []);
        assert_eq!(providers(&store, 1), [peer]);
        store.remove_provider(&1u32.to_be_bytes().to_vec().into(), &peer);
        assert_eq!(providers(&store, 1), []);
        assert_eq!(store.order[&peer].len(), 1);
    }

    #[test]
    fn few_providers_are_kept_for_a_key() {
        let mut store = ProviderStore::new(PeerId::random());
        for _ in 0..10 * PROVIDERS_PER_KEY_MAX {
            store
                .add_provider(record(1, PeerId::random()))
                .expect("room");
        }
        assert_eq!(providers(&store, 1).len(), PROVIDERS_PER_KEY_MAX);
    }

    #[test]
    fn long_keys_and_values_are_refused() {
        let mut store = ProviderStore::new(PeerId::random());
        let long = ProviderRecord::new(vec![0; DHT_KEY_BYTES_MAX + 1], PeerId::random(), vec![]);
        assert!(store.add_provider(long).is_err());
        assert!(store.put(Record::new(vec![1], vec![2])).is_err());
    }
}
