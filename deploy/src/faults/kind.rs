//! The kinds of faults, and which of them a round gets.

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::Serialize;

/// What happens in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// `kill -9` of the orderer that leads.
    KillLeader,
    /// `kill -9` of the other orderers: the quorum is lost.
    KillFollowers,
    /// `kill -9` of the peer that most clients use.
    KillGateway,
    /// `kill -9` of another peer.
    KillPeer,
    /// `kill -9` of a storage node.
    KillStorage,
    /// `kill -9` of everything at once.
    KillAll,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// The disk of one node takes no more.
    FullDisk,
    /// A node is started on a copy of its data of which the end of a file is missing.
    TornCopy,
    /// A node is started on a copy of its data with bits turned.
    FlippedCopy,
    /// A node is heard by nobody, or hears nobody.
    OneWay,
}

impl FaultKind {
    /// As it is written at the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Which kind comes when: every kind once in a shuffled order, and again.
pub struct Schedule {
    kinds: Vec<FaultKind>,
    next: usize,
    in_order: bool,
}

impl Schedule {
    /// Of all kinds, shuffled; or of these alone, in their order.
    pub fn new(only: &[FaultKind]) -> Self {
        let in_order = !only.is_empty();
        let kinds = match in_order {
            true => only.to_vec(),
            false => FaultKind::value_variants().to_vec(),
        };
        Self {
            kinds,
            next: 0,
            in_order,
        }
    }

    /// The kind of the next round.
    pub fn draw(&mut self, random: &mut StdRng) -> FaultKind {
        if self.next == 0 && !self.in_order {
            self.kinds.shuffle(random);
        }
        let kind = self.kinds[self.next];
        self.next = (self.next + 1) % self.kinds.len();
        kind
    }
}

/// One of several.
pub(super) fn one_of<'a, T>(all: &'a [T], random: &mut StdRng) -> anyhow::Result<&'a T> {
    all.choose(random)
        .ok_or_else(|| anyhow::anyhow!("there is nothing to choose from"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_comes_before_any_comes_again_and_a_seed_gives_the_same() {
        let all = FaultKind::value_variants().len();
        let kinds = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut schedule = Schedule::new(&[]);
            (0..2 * all)
                .map(|_| schedule.draw(&mut random))
                .collect::<Vec<_>>()
        };
        let drawn = kinds(1);
        for half in drawn.chunks(all) {
            assert_eq!(half.iter().collect::<BTreeSet<_>>().len(), all);
        }
        assert_eq!(drawn, kinds(1));
        assert_ne!(drawn, kinds(2));
    }

    #[test]
    fn asked_for_kinds_come_in_their_order() {
        let mut random = StdRng::seed_from_u64(1);
        let only = [FaultKind::Pause, FaultKind::KillAll];
        let mut schedule = Schedule::new(&only);
        let drawn: Vec<_> = (0..3).map(|_| schedule.draw(&mut random)).collect();
        assert_eq!(drawn, [only[0], only[1], only[0]]);
        assert_eq!(FaultKind::KillAll.name(), "kill-all");
    }
}
