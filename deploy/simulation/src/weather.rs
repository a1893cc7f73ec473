//! What the network and the machines do to the nodes.

use crate::limits::CHANGE_EVERY_MS;
use crate::random::Random;

/// How bad it is. Each seed draws its own, and leaves some faults out, so that the others are not
/// always hidden behind them.
pub(crate) struct Weather {
    /// Of messages.
    pub(crate) lost_per_mille: u64,
    pub(crate) repeated_per_mille: u64,
    pub(crate) spike_per_mille: u64,
    pub(crate) delay_ms_max: u64,
    /// Of writes.
    pub(crate) crash_per_mille: u64,
    pub(crate) full_disk_per_mille: u64,
    /// At each change of the weather.
    pub(crate) partition_per_mille: u64,
    pub(crate) kill_per_mille: u64,
    pub(crate) outage_per_mille: u64,
    pub(crate) pause_per_mille: u64,
    pub(crate) clock_per_mille: u64,
}

impl Weather {
    pub(crate) const CALM: Self = Self {
        lost_per_mille: 0,
        repeated_per_mille: 0,
        spike_per_mille: 0,
        delay_ms_max: 5,
        crash_per_mille: 0,
        full_disk_per_mille: 0,
        partition_per_mille: 0,
        kill_per_mille: 0,
        outage_per_mille: 0,
        pause_per_mille: 0,
        clock_per_mille: 0,
    };

    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut some = |most: u64| match random.chance(300) {
            true => 0,
            false => random.between(1, most),
        };
        Self {
            lost_per_mille: some(120),
            repeated_per_mille: some(80),
            spike_per_mille: some(20),
            delay_ms_max: 1 + some(80),
            crash_per_mille: some(6),
            full_disk_per_mille: some(3),
            partition_per_mille: some(400),
            kill_per_mille: some(150),
            outage_per_mille: some(30),
            pause_per_mille: some(100),
            clock_per_mille: some(150),
        }
    }

    /// How long a message is under way.
    pub(crate) fn delay_ms(&self, random: &mut Random) -> u64 {
        match random.chance(self.spike_per_mille) {
            true => random.between(1, crate::limits::SPIKE_MS_MAX),
            false => random.between(1, self.delay_ms_max),
        }
    }

    /// When the weather changes next.
    pub(crate) fn change_in_ms(random: &mut Random) -> u64 {
        random.between(CHANGE_EVERY_MS / 5, 2 * CHANGE_EVERY_MS)
    }
}

/// What befalls a machine at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It is written.
    None,
    /// The machine crashes before the write.
    Before,
    /// It crashes after the write, before the node knows.
    After,
    /// The disk refuses, and the node has to end by itself.
    FullDisk,
}

impl Mishap {
    pub(crate) fn draw(weather: &Weather, random: &mut Random) -> Self {
        if random.chance(weather.crash_per_mille) {
            return match random.chance(500) {
                true => Self::Before,
                false => Self::After,
            };
        }
        match random.chance(weather.full_disk_per_mille) {
            true => Self::FullDisk,
            false => Self::None,
        }
    }
}
