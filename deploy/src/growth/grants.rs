//! Consent grants, while organizations, orderers and channels become more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Point, Session, Site};
use crate::bench::{Auditor, Call, Calls, Registrar, Workload, World, chosen};
use crate::network::Network;
use crate::topology::{CHANNEL, CONTRACT};

/// Consent grants, on each channel as often.
pub(super) struct Grants {
    worlds: Vec<World>,
    calls: AtomicU64,
}

impl Calls for Grants {
    async fn make(&self) -> Call {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let world = chosen(&self.worlds, number);
        world.call(Workload::ConsentGrant).await
    }
}

impl Grants {
    /// On one channel.
    pub(super) fn of(world: World) -> Arc<Self> {
        Arc::new(Self {
            worlds: vec![world],
            calls: AtomicU64::new(0),
        })
    }
}

impl Session<'_> {
    pub(super) async fn organizations(&mut self) -> anyhow::Result<Vec<Point>> {
        let mut points = Vec::new();
        for count in self.plan.organizations.clone() {
            points.push(self.grants(count, 3, count).await?);
        }
        Ok(points)
    }

    pub(super) async fn orderers(&mut self) -> anyhow::Result<Vec<Point>> {
        let mut points = Vec::new();
        for count in self.plan.orderers.clone() {
            points.push(self.grants(2, count, count).await?);
        }
        Ok(points)
    }

    async fn grants(
        &mut self,
        organizations: usize,
        orderers: usize,
        size: usize,
    ) -> anyhow::Result<Point> {
        let mut network = self.start(organizations, orderers).await?;
        let registrar = self.open_care(&mut network, CHANNEL).await?;
        let grants = Grants::of(World::of_patients(&registrar).await?);
        let mut site = Site::open(network, &[&registrar]).await?;
        let point = self.measure(&mut site, size as u64, &grants).await?;
        self.end(site)?;
        Ok(point)
    }

    pub(super) async fn channels(&mut self) -> anyhow::Result<Vec<Point>> {
        let network = self.start(2, 3).await?;
        let mut site = Site::open(network, &[]).await?;
        let mut grants = Grants {
            worlds: Vec::new(),
            calls: AtomicU64::new(0),
        };
        let mut points = Vec::new();
        for count in self.plan.channels.clone() {
            while grants.worlds.len() < count {
                let channel = match grants.worlds.len() {
                    0 => CHANNEL.to_owned(),
                    place => format!("{CHANNEL}{place}"),
                };
                let registrar = self.open_care(&mut site.network, &channel).await?;
                grants.worlds.push(World::of_patients(&registrar).await?);
                let folder = site.network.folder();
                let auditor = Auditor::begin(registrar.auditor()?, folder).await?;
                site.observer.auditors.push(auditor);
            }
            let calls = Arc::new(grants);
            points.push(self.measure(&mut site, count as u64, &calls).await?);
            grants = Arc::into_inner(calls).ok_or_else(still_called)?;
        }
        self.end(site)?;
        Ok(points)
    }

    /// Opens a channel with the contract for records.
    pub(super) async fn open_care(
        &self,
        network: &mut Network,
        channel: &str,
    ) -> anyhow::Result<Registrar> {
        let package = &self.packages.healthcare;
        network.open_channel(channel, CONTRACT, package).await?;
        Registrar::at(network, channel, CONTRACT)
    }
}

fn still_called() -> anyhow::Error {
    anyhow::anyhow!("calls are made after the run is over")
}
