//! Looks from time to time, little by little, whether everything is still what was written.

use std::sync::Arc;

use bytes::Bytes;
use stela_store::{Halt, HaltCause, PeerLedger};

use crate::channel::Channel;
use crate::integrity::{self, Link, Unsound};
use crate::limits::{SCRUB_INTERVAL, SCRUB_PAUSE, SCRUB_STEP_BYTES, SCRUB_STEP_ENTRIES};
use crate::versions::Blocks;

/// Works until the node stops, or the channel is halted: by this, when something is damaged.
pub(crate) async fn run(channel: &Arc<Channel>) {
    tokio::select! {
        () = channel.stop.cancelled() => {}
        () = scrub(channel) => {}
    }
}

async fn scrub(channel: &Arc<Channel>) {
    let mut pass = Pass::default();
    loop {
        let scrubbed = channel.clone();
        let step = move || {
            let done = pass.step(scrubbed.ledger());
            (pass, done)
        };
        let Ok((next, done)) = tokio::task::spawn_blocking(step).await else {
            tracing::error!(channel = %channel.id(), "the scrub fell");
            return;
        };
        pass = next;
        match done {
            Ok(false) => tokio::time::sleep(SCRUB_PAUSE).await,
            Ok(true) => {
                tracing::info!(channel = %channel.id(), "everything stored is as it was written");
                pass = Pass::default();
                tokio::time::sleep(SCRUB_INTERVAL).await;
            }
            Err(Unsound::Damaged(what)) => {
                let (cause, height) = (HaltCause::Damaged, channel.ledger().head().height);
                return channel.halt(Halt {
                    cause,
                    height,
                    what,
                });
            }
            Err(Unsound::Store(error)) => {
                tracing::warn!(channel = %channel.id(), "the scrub could not read: {error}");
                tokio::time::sleep(SCRUB_PAUSE).await;
            }
        }
    }
}

/// One look at everything: first the blocks, then the state, then the newest changes of all keys,
/// which also tells what the state lacks.
#[derive(Debug)]
enum Pass {
    Blocks(Link),
    State(Bytes),
    Changes(Bytes),
}

impl Default for Pass {
    fn default() -> Self {
        Self::Blocks(Link::default())
    }
}

impl Pass {
    /// Looks at the next part; says whether it was the last one.
    fn step(&mut self, ledger: &PeerLedger) -> Result<bool, Unsound> {
        let snapshot = ledger.snapshot()?;
        let mut bytes = 0;
        while bytes < SCRUB_STEP_BYTES {
            match self {
                Self::Blocks(link) if link.next().0 < snapshot.head().height => {
                    bytes += link.follow(&snapshot)?;
                }
                Self::Blocks(link) => {
                    link.check_head(snapshot.head())?;
                    *self = Self::State(Bytes::new());
                }
                Self::State(start) => {
                    let part = snapshot.state_entries(start, SCRUB_STEP_ENTRIES)?;
                    let mut blocks = Blocks::default();
                    for entry in &part.entries {
                        integrity::check_entry(&snapshot, &mut blocks, entry)?;
                        bytes += entry.key.len() + entry.value.value.len();
                    }
                    bytes += blocks.bytes;
                    *self = part.next.map_or(Self::Changes(Bytes::new()), Self::State);
                }
                Self::Changes(start) => {
                    let part = snapshot.newest_changes(start, SCRUB_STEP_ENTRIES)?;
                    for change in &part.changes {
                        integrity::check_change(&snapshot, change)?;
                        bytes += change.key.len();
                    }
                    match part.next {
                        Some(next) => *self = Self::Changes(next),
                        None => return Ok(true),
                    }
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use stela_protocol::OrgId;
    use stela_store::{Direction, Durability, Family, Kv, KvRead, MemoryKv, WriteBatch, layout};

    use super::*;
    use crate::validation::tests::World;

    /// A ledger with blocks that write, write again and delete.
    fn filled() -> (Arc<MemoryKv>, Channel) {
        let mut world = World::new();
        let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
        let organization = OrgId::new("A").unwrap();
        let channel = Channel::join(kv.clone(), &world.genesis, &organization).unwrap();
        let blocks: [&[(u8, &str, Option<&str>)]; 3] = [
            &[(1, "a", Some("1")), (2, "b", Some("1"))],
            &[(3, "a", Some("2")), (4, "c", Some("3"))],
            &[(5, "b", None)],
        ];
        for calls in blocks {
            let call = |(nonce, key, value): &(u8, &str, Option<&str>)| {
                world.call(*nonce).write(key, *value).seal()
            };
            let envelopes = calls.iter().map(call).collect();
            let block = world.block(envelopes);
            let commit = world.commit(&block);
            assert!(commit.codes.iter().all(|code| code.is_valid()));
            channel.commit(&block).unwrap();
        }
        (kv, channel)
    }

    fn look(channel: &Channel) -> Result<(), Unsound> {
        let mut pass = Pass::default();
        while !pass.step(channel.ledger())? {}
        Ok(())
    }

    fn entries(kv: &MemoryKv, family: Family) -> Vec<(Bytes, Bytes)> {
        let direction = Direction::Forward;
        kv.range(family, &[], None, 100, direction).unwrap()
    }

    fn put(kv: &MemoryKv, family: Family, key: Bytes, value: Option<Vec<u8>>) {
        let mut batch = WriteBatch::new();
        match value {
            Some(value) => batch.put(family, key, value),
            None => batch.delete(family, key),
        }
        kv.write(batch, Durability::Synced).unwrap();
    }

    #[test]
    fn a_sound_ledger_is_found_sound() {
        let (_, channel) = filled();
        assert_eq!(look(&channel), Ok(()));
    }

    /// Every bit of blocks and state that was flipped after the checksums were made.
    #[test]
    fn every_flipped_bit_of_blocks_verdicts_and_state_is_noticed() {
        let (kv, channel) = filled();
        for family in [layout::BLOCKS, layout::CODES, layout::STATE] {
            for (key, value) in entries(&kv, family) {
                for byte in 0..value.len() {
                    let mut flipped = value.to_vec();
                    flipped[byte] ^= 1 << (byte % 8);
                    put(&kv, family, key.clone(), Some(flipped));
                    let found = look(&channel);
                    let noticed = matches!(found, Err(Unsound::Damaged(_)));
                    assert!(noticed, "{family}, byte {byte}: {found:?}");
                    put(&kv, family, key.clone(), Some(value.to_vec()));
                }
            }
        }
        assert_eq!(look(&channel), Ok(()));
    }

    #[test]
    fn every_flipped_bit_of_the_head_is_noticed() {
        let (kv, channel) = filled();
        let mut notes = entries(&kv, layout::META).into_iter();
        let (key, value) = notes.find(|(key, _)| &key[..] == b"head").unwrap();
        for byte in 0..value.len() {
            let mut flipped = value.to_vec();
            flipped[byte] ^= 1 << (byte % 8);
            put(&kv, layout::META, key.clone(), Some(flipped));
            let found = look(&channel);
            assert!(
                matches!(found, Err(Unsound::Damaged(_))),
                "byte {byte}: {found:?}"
            );
        }
        put(&kv, layout::META, key, Some(value.to_vec()));
        assert_eq!(look(&channel), Ok(()));
    }

    #[test]
    fn an_entry_that_was_lost_is_noticed() {
        let (kv, channel) = filled();
        for family in [
            layout::BLOCKS,
            layout::CODES,
            layout::STATE,
            layout::HISTORY,
            layout::TRANSACTIONS,
        ] {
            let mut noticed = 0;
            let entries = entries(&kv, family);
            for (key, value) in &entries {
                put(&kv, family, key.clone(), None);
                noticed += usize::from(look(&channel).is_err());
                put(&kv, family, key.clone(), Some(value.to_vec()));
            }
            // Of a key's history only the newest change follows from the state.
            let expected = if family == layout::HISTORY {
                3
            } else {
                entries.len()
            };
            assert_eq!(noticed, expected, "{family}");
        }
    }

    #[tokio::test]
    async fn damage_halts_the_channel_durably_and_says_what_to_do() {
        let (kv, channel) = filled();
        let (key, value) = entries(&kv, layout::STATE).remove(0);
        let mut flipped = value.to_vec();
        flipped[value.len() - 1] ^= 1;
        put(&kv, layout::STATE, key, Some(flipped));
        let channel = Arc::new(channel);
        let scrubbed = tokio::time::timeout(std::time::Duration::from_secs(60), run(&channel));
        scrubbed.await.unwrap();
        let why = channel.check_sound().unwrap_err().message;
        assert!(
            why.contains("contract records") && why.contains("rebuild"),
            "{why}"
        );
        let organization = OrgId::new("A").unwrap();
        let again = Channel::open(Arc::new(kv.crash()), channel.id(), &organization);
        assert!(again.unwrap().unwrap().halted().is_some());
    }
}
