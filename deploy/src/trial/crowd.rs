//! Streams at the orderers under a peer's own certificate, as many as one certificate may have: what
//! happens when a second program is started with the peer's identity.

use std::path::Path;
use std::time::Duration;

use stela_identity::tls::{self, Expected};
use stela_protocol::pb::deliver_client::DeliverClient;
use stela_protocol::{OrgId, pb};

use crate::limits::POLL;
use crate::network::{Network, tls_settings};
use crate::process::stopwatch;
use crate::topology::{CHANNEL, Kind};

/// How long the orderers may take to notice that the peer has gone.
const ROOM: Duration = Duration::from_secs(30);
/// How many an orderer gives one certificate.
const PER_CERTIFICATE: usize = 8;
/// More than that.
const STREAMS: usize = 64;

/// The open streams; they end when this is dropped.
pub(super) struct Crowd {
    _streams: Vec<Box<dyn std::any::Any>>,
}

impl Crowd {
    /// Opens streams at every orderer until each refuses another one. They wait for blocks that
    /// never come.
    pub(super) async fn gather(network: &Network, home: &Path) -> anyhow::Result<Self> {
        let settings = tls_settings(network.folder(), &home.join("tls"))?;
        let mut streams: Vec<Box<dyn std::any::Any>> = Vec::new();
        for orderer in network.topology().of(Kind::Orderer) {
            let expected = Expected::of(&OrgId::new(&orderer.organization)?);
            let address = orderer.service.public.to_string();
            let mut client = DeliverClient::new(tls::connect(&settings, &address, expected)?);
            let started = stopwatch();
            let mut open = 0;
            // A stream of the peer that has just ended may still be counted; so it goes on until
            // there was a refusal after which none more fits.
            while open < STREAMS {
                let request = pb::DeliverRequest {
                    channel: CHANNEL.to_owned(),
                    start: u64::MAX / 2,
                };
                match client.deliver(request).await {
                    Ok(stream) => {
                        streams.push(Box::new(stream.into_inner()));
                        open += 1;
                    }
                    Err(_) if open >= PER_CERTIFICATE => break,
                    Err(error) => {
                        anyhow::ensure!(
                            started.elapsed() < ROOM,
                            "no stream at {address}: {error}"
                        );
                        tokio::time::sleep(POLL).await;
                    }
                }
            }
            streams.push(Box::new(client));
        }
        Ok(Self { _streams: streams })
    }
}
