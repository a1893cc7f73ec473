//! Which addresses of peers are believed. What a peer says of itself makes this node open
//! connections, so it may only name plain TCP endpoints, few of them, and no endpoint on this very
//! machine unless that is where the peer itself is.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::limits::{ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX};

/// The peer that an address names at its end.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Whether an address lies on this machine.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| ip.is_loopback())
}

/// The addresses to be remembered for a peer, of those that it announces, each with its name.
pub(super) fn believed(peer: &PeerId, announced: Vec<Multiaddr>, local: bool) -> Vec<Multiaddr> {
    let mut believed: Vec<Multiaddr> = Vec::new();
    for address in announced {
        if believed.len() == ADDRESSES_PER_PEER_MAX {
            break;
        }
        if is_believable(peer, &address, local)
            && let Ok(address) = address.with_p2p(*peer)
            && !believed.contains(&address)
        {
            believed.push(address);
        }
    }
    believed
}

fn is_believable(peer: &PeerId, address: &Multiaddr, local: bool) -> bool {
    let mut parts = address.iter();
    let endpoint = match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) => Some((IpAddr::V4(ip), port)),
        (Some(Protocol::Ip6(ip)), Some(Protocol::Tcp(port))) => Some((IpAddr::V6(ip), port)),
        _ => None,
    };
    let owner = match parts.next() {
        Some(Protocol::P2p(named)) => named == *peer,
        other => other.is_none(),
    };
    let plain = endpoint.is_some_and(|(ip, port)| {
        port != 0 && !ip.is_unspecified() && !ip.is_multicast() && (local || !ip.is_loopback())
    });
    plain && owner && parts.next().is_none() && address.len() <= ADDRESS_BYTES_MAX
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_endpoints_are_believed() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let check = |text: &str, remote: bool, local: bool| {
            let address: Multiaddr = text.parse().expect("an address");
            let is = |local| !believed(&peer, vec![address.clone()], local).is_empty();
            assert_eq!((is(false), is(true)), (remote, local), "{text}");
        };
        check("/ip4/10.0.0.1/tcp/4001", true, true);
        check("/ip6/fd00::1/tcp/4001", true, true);
        check(&format!("/ip4/10.0.0.1/tcp/4001/p2p/{peer}"), true, true);
        check(&format!("/ip4/10.0.0.1/tcp/4001/p2p/{other}"), false, false);
        check("/ip4/127.0.0.1/tcp/4001", false, true);
        check("/ip6/::1/tcp/4001", false, true);
        check("/ip4/0.0.0.0/tcp/4001", false, false);
        check("/ip4/224.0.0.1/tcp/4001", false, false);
        check("/ip4/10.0.0.1/tcp/0", false, false);
        check("/ip4/10.0.0.1/udp/4001", false, false);
        check("/dns4/example.org/tcp/4001", false, false);
        check("/ip4/10.0.0.1/tcp/4001/ws", false, false);
        check(
            &format!("/ip4/10.0.0.1/tcp/4001/p2p/{other}/p2p-circuit"),
            false,
            false,
        );
    }

    #[test]
    fn few_addresses_are_kept() {
        let announced = (1..100).map(|port| format!("/ip4/10.0.0.1/tcp/{port}"));
        let announced = announced
            .map(|text| text.parse().expect("an address"))
            .collect();
        assert_eq!(
            believed(&PeerId::random(), announced, false).len(),
            ADDRESSES_PER_PEER_MAX
        );
    }
}
