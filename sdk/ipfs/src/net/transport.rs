//! TCP, closed by the swarm's key, encrypted and authenticated by Noise, shared by Yamux.

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::pnet::PnetConfig;
use libp2p::{PeerId, noise, tcp, yamux};

use crate::error::StartError;
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::swarm_key::SwarmKey;

/// Builds the only transport a node has. All handshakes together are bounded in time.
pub(super) fn build(
    keypair: &Keypair,
    key: &SwarmKey,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, StartError> {
    let noise = noise::Config::new(keypair)
        .map_err(|error| StartError::Config(format!("the identity cannot sign: {error}")))?;
    let private = PnetConfig::new(key.pre_shared());
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    Ok(tcp
        .and_then(move |socket, _| private.handshake(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed())
}
