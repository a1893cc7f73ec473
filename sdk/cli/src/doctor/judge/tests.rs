//! One sight of a sound network, and what each thing that goes wrong in it makes of the findings.

use bytes::Bytes;
use stela_client::ClockOffset;
use stela_identity::tls::{Refusal, Shown};
use stela_identity::{CertificateAuthority, Subject, Validity};
use stela_protocol::config::{ChannelLimits, Contract, Orderer, Organization};
use stela_protocol::policy::Policy;
use stela_protocol::{ContractName, ErrorCode, OrgId};

use super::*;
use crate::doctor::finding::{Check, Verdict};
use crate::doctor::look::{Address, Kind, Silence, Target};

const NOW_MS: u64 = 1_800_000_000_000;
const VALIDITY: Validity = Validity {
    not_before_ms: 1_600_000_000_000,
    not_after_ms: 4_000_000_000_000,
};
const ORGANIZATIONS: [&str; 3] = ["A", "B", "C"];
const GENESIS: Hash32 = Hash32([7; 32]);
const PACKAGE: Hash32 = Hash32([8; 32]);
const KEY: Fingerprint = Fingerprint([9; 32]);

fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

/// Three organizations with a peer, an orderer and a storage node each, all well.
struct World {
    config: ChannelConfig,
    certificate: Certificate,
    nodes: Vec<Seen>,
    genesis: Option<Hash32>,
    swarm_key: Option<Fingerprint>,
    channel: ChannelId,
}

fn issue(authority: &CertificateAuthority, role: &str, validity: Validity) -> Bytes {
    let subject = Subject {
        common_name: format!("{role}0"),
        role: role.to_owned(),
        attributes: BTreeMap::new(),
        validity,
    };
    authority.issue(&subject).unwrap().certificate.der().clone()
}

impl World {
    fn new() -> Self {
        let authorities: Vec<_> = ORGANIZATIONS
            .iter()
            .map(|name| CertificateAuthority::create(&org(name), VALIDITY).unwrap())
            .collect();
        let mut nodes = Vec::new();
        let mut orderers = BTreeMap::new();
        for (id, authority) in (1..).zip(&authorities) {
            let certificate = issue(authority, "orderer", VALIDITY);
            orderers.insert(
                id,
                Orderer {
                    id,
                    organization: authority.organization().clone(),
                    address: format!("o{id}:1"),
                    certificate: certificate.clone(),
                    tls_fingerprint: Fingerprint([1; 32]),
                },
            );
            let orderer = Kind::Orderer {
                id,
                certificate,
                tls: Fingerprint([1; 32]),
            };
            for kind in [Kind::Peer, orderer, Kind::Storage] {
                nodes.push(well(authority, kind));
            }
        }
        let own = issue(&authorities[0], "practitioner", VALIDITY);
        let channel = ChannelId::new("care").unwrap();
        Self {
            config: config(&channel, &authorities, orderers),
            certificate: Certificate::from_der(&own).unwrap(),
            nodes,
            genesis: None,
            swarm_key: Some(KEY),
            channel,
        }
    }

    fn findings(&self) -> Vec<Finding> {
        all(&Sight {
            channel: &self.channel,
            config: Some(&self.config),
            genesis: self.genesis,
            certificate: Some(&self.certificate),
            swarm_key: self.swarm_key,
            now_ms: NOW_MS,
            nodes: &self.nodes,
        })
    }

    /// Everything that is not well: check, subject, verdict; each has a cure.
    fn wrong(&self) -> Vec<(Check, String, Verdict)> {
        let findings = self.findings();
        let wrong = findings.into_iter().filter(|f| f.verdict != Verdict::Ok);
        wrong
            .map(|f| {
                assert!(f.cure.is_some() || f.verdict == CouldNotLook, "{f:?}");
                (f.check, f.subject, f.verdict)
            })
            .collect()
    }

    fn node(&mut self, organization: usize, kind: usize) -> &mut Seen {
        &mut self.nodes[3 * organization + kind]
    }

    /// Changes what a node says, both times.
    fn says(&mut self, organization: usize, kind: usize, change: impl Fn(&mut NodeHealth)) {
        let seen = self.node(organization, kind);
        change(seen.first.as_mut().unwrap());
        change(seen.second.as_mut().unwrap());
    }

    fn silence(&mut self, organization: usize, kind: usize, silence: Silence) {
        let seen = self.node(organization, kind);
        (seen.first, seen.second, seen.shown) = (Err(silence), None, None);
    }
}

const PEER: usize = 0;
const ORDERER: usize = 1;
const STORAGE: usize = 2;

fn channel_of(health: &mut NodeHealth) -> &mut ChannelHealth {
    health.channel.as_mut().unwrap()
}

fn config(
    channel: &ChannelId,
    authorities: &[CertificateAuthority],
    orderers: BTreeMap<u64, Orderer>,
) -> ChannelConfig {
    let organizations = authorities.iter().map(|authority| {
        let id = authority.organization().clone();
        let organization = Organization {
            id: id.clone(),
            root_certificate: Bytes::copy_from_slice(authority.root_der()),
            tls_root_certificates: Vec::new(),
            peers: Vec::new(),
            storage: Vec::new(),
            revoked: BTreeSet::new(),
            roles: BTreeSet::new(),
        };
        (id, organization)
    });
    let policy = Policy::parse("OutOf(2, 'A.peer', 'B.peer', 'C.peer')").unwrap();
    let name = ContractName::new("healthcare").unwrap();
    let contract = Contract {
        name: name.clone(),
        version: "1".to_owned(),
        package_hash: PACKAGE,
        policy: policy.clone(),
        settings: Default::default(),
        package_with_settings: PACKAGE,
    };
    ChannelConfig {
        channel: channel.clone(),
        sequence: 0,
        organizations: organizations.collect(),
        orderers,
        orderer_quorum: 2,
        limits: ChannelLimits {
            window_ms: 300_000,
            block_transactions_max: 1,
            block_bytes_max: 1,
            envelope_bytes_max: 1,
        },
        contracts: BTreeMap::from([(name, contract)]),
        admin_policy: policy,
        certificates: Vec::new(),
        custodians: BTreeSet::new(),
        custodian_threshold: 0,
        orderers_ever: 0,
    }
}

fn well(authority: &CertificateAuthority, kind: Kind) -> Seen {
    let organization = authority.organization().clone();
    let role = kind.role();
    let certificate = match &kind {
        Kind::Orderer { certificate, .. } => certificate.clone(),
        _ => issue(authority, role, VALIDITY),
    };
    let of_orderer = matches!(kind, Kind::Orderer { .. });
    let health = NodeHealth {
        organization: organization.clone(),
        name: format!("{role}0"),
        kind: role.to_owned(),
        version: "1".to_owned(),
        certificate,
        disk_free_mib: Some(4096),
        clock: ClockOffset {
            offset_ms: 3,
            error_ms: 1,
        },
        channel: Some(ChannelHealth {
            genesis_hash: GENESIS,
            height: 20,
            deliverable: if of_orderer { 20 } else { 0 },
            leader: of_orderer.then_some(1),
            term: 1,
            orderer: None,
            packages: vec![PACKAGE],
            outvoted: false,
            swarm_key: (kind == Kind::Storage).then_some(KEY),
            swarm_peers: 2,
            sequence: 0,
            config: None,
        }),
    };
    Seen {
        target: Target {
            at: Address {
                organization: organization.clone(),
                address: format!("{role}.{organization}:1"),
            },
            kind,
            name: None,
        },
        shown: Some(Shown {
            fingerprint: Fingerprint([1; 32]),
            organization,
            not_before_ms: VALIDITY.not_before_ms,
            not_after_ms: VALIDITY.not_after_ms,
        }),
        first: Ok(health.clone()),
        second: Some(health),
    }
}

/// What is wrong in a network in which one thing was changed.
fn check(change: impl FnOnce(&mut World), expect: &[(Check, &str, Verdict)]) {
    let mut world = World::new();
    change(&mut world);
    let wrong = world.wrong();
    let wrong: Vec<_> = wrong.iter().map(|(c, s, v)| (*c, s.as_str(), *v)).collect();
    assert_eq!(wrong, expect);
}

use Verdict::{CouldNotLook, Failed, Warning};

#[test]
fn nothing_is_wrong_with_a_sound_network() {
    check(|_| {}, &[]);
    let subjects: BTreeSet<_> = World::new().findings().iter().map(|f| f.check).collect();
    assert!(subjects.len() >= 10, "{subjects:?}");
}

#[test]
fn expired_certificates() {
    check(
        |world| {
            let shown = world.node(1, PEER).shown.as_mut().unwrap();
            shown.not_after_ms = NOW_MS - 1;
        },
        &[(Check::Certificate, "B/peer0", Failed)],
    );
    check(
        |world| world.silence(1, STORAGE, Silence::Node(Refusal::Expired)),
        &[(Check::Certificate, "B/storage at storage.B:1", Failed)],
    );
    check(
        |world| {
            world.silence(1, PEER, Silence::Own(Refusal::Expired));
            world.silence(1, STORAGE, Silence::Own(Refusal::Expired));
        },
        &[(Check::Certificate, PROFILE, Failed)],
    );
}

#[test]
fn the_wrong_authority() {
    let other = CertificateAuthority::create(&org("B"), VALIDITY).unwrap();
    check(
        |world| {
            let forged = issue(&other, "peer", VALIDITY);
            world.says(1, PEER, |health| health.certificate = forged.clone());
        },
        &[(Check::Authority, "B/peer0", Failed)],
    );
    check(
        |world| world.silence(0, PEER, Silence::Node(Refusal::UnknownAuthority)),
        &[(Check::Authority, "A/peer at peer.A:1", Failed)],
    );
    let stranger = CertificateAuthority::create(&org("A"), VALIDITY).unwrap();
    check(
        |world| {
            let own = issue(&stranger, "practitioner", VALIDITY);
            world.certificate = Certificate::from_der(&own).unwrap();
        },
        &[(Check::Authority, PROFILE, Failed)],
    );
}

#[test]
fn clocks() {
    let hour = 3_600_000;
    check(
        |world| world.says(2, ORDERER, |health| health.clock.offset_ms = hour),
        &[(Check::Clock, "C/orderer0", Failed)],
    );
    check(
        |world| {
            for node in 0..9 {
                world.says(node / 3, node % 3, |health| health.clock.offset_ms = hour);
            }
        },
        &[(Check::Clock, "this machine", Failed)],
    );
    check(
        |world| world.says(0, PEER, |health| health.clock.offset_ms = 5_000),
        &[(Check::Clock, "A/peer0", Warning)],
    );
    // What a slow answer leaves open is no finding.
    check(
        |world| {
            world.says(0, PEER, |health| {
                health.clock = ClockOffset {
                    offset_ms: 5_000,
                    error_ms: 4_000,
                };
            });
        },
        &[],
    );
}

#[test]
fn nobody_answers_and_the_time_is_to_blame() {
    let mut world = World::new();
    for node in 0..9 {
        world.silence(node / 3, node % 3, Silence::Node(Refusal::NotYetValid));
    }
    let wrong = world.wrong();
    assert!(wrong.contains(&(Check::Clock, "this machine".to_owned(), Failed)));
    for node in 0..9 {
        world.silence(
            node / 3,
            node % 3,
            Silence::Unreachable("refused".to_owned()),
        );
    }
    let wrong = world.wrong();
    assert!(wrong.contains(&(Check::Clock, "this machine".to_owned(), CouldNotLook)));
    assert!(wrong.contains(&(Check::Quorum, "the orderers".to_owned(), Failed)));
    assert_eq!(wrong.iter().filter(|f| f.0 == Check::Reachable).count(), 9);
}

#[test]
fn an_unreachable_orderer_and_a_lost_quorum() {
    let gone = || Silence::Unreachable("refused".to_owned());
    check(
        |world| world.silence(0, ORDERER, gone()),
        &[
            (Check::Reachable, "A/orderer number 1", Failed),
            (Check::Quorum, "the orderers", Warning),
        ],
    );
    check(
        |world| {
            world.silence(0, ORDERER, gone());
            world.silence(1, ORDERER, gone());
        },
        &[
            (Check::Reachable, "A/orderer number 1", Failed),
            (Check::Reachable, "B/orderer number 2", Failed),
            (Check::Quorum, "the orderers", Failed),
        ],
    );
    check(
        |world| {
            for organization in 0..3 {
                world.says(organization, ORDERER, |h| channel_of(h).leader = None);
            }
        },
        &[(Check::Quorum, "the orderers", Failed)],
    );
    check(
        |world| {
            for organization in 0..3 {
                world.says(organization, ORDERER, |h| channel_of(h).height = 21);
            }
        },
        &[(Check::Quorum, "the orderers", Failed)],
    );
}

#[test]
fn disks() {
    check(
        |world| world.says(1, STORAGE, |health| health.disk_free_mib = Some(1024)),
        &[(Check::Disk, "B/storage0", Warning)],
    );
    check(
        |world| world.says(1, PEER, |health| health.disk_free_mib = Some(0)),
        &[(Check::Disk, "B/peer0", Failed)],
    );
    check(
        |world| world.says(1, PEER, |health| health.disk_free_mib = None),
        &[(Check::Disk, "B/peer0", CouldNotLook)],
    );
}

#[test]
fn another_first_block() {
    check(
        |world| world.says(2, PEER, |h| channel_of(h).genesis_hash = Hash32([1; 32])),
        &[(Check::Genesis, "C/peer0", Failed)],
    );
    // The others outvote it, which is no second thing to mend.
    check(
        |world| {
            world.says(2, PEER, |health| {
                let channel = channel_of(health);
                (channel.genesis_hash, channel.outvoted) = (Hash32([1; 32]), true);
            });
        },
        &[(Check::Genesis, "C/peer0", Failed)],
    );
    // A file of the consortium outweighs any majority.
    let mut world = World::new();
    world.genesis = Some(Hash32([1; 32]));
    let wrong = world.wrong();
    assert_eq!(wrong.iter().filter(|f| f.0 == Check::Genesis).count(), 9);
}

#[test]
fn a_missing_contract_and_a_channel_that_is_not_joined() {
    check(
        |world| world.says(1, PEER, |health| channel_of(health).packages.clear()),
        &[(Check::Contract, "B/peer0", Failed)],
    );
    check(
        |world| world.says(1, PEER, |health| health.channel = None),
        &[(Check::Channel, "B/peer0", Failed)],
    );
    check(
        |world| {
            let refused = Silence::Refused {
                code: Some(ErrorCode::Forbidden),
                words: String::new(),
            };
            world.silence(1, PEER, refused);
        },
        &[(Check::Channel, "B/peer at peer.B:1", Failed)],
    );
}

#[test]
fn another_swarm_key() {
    let other = Some(Fingerprint([2; 32]));
    check(
        |world| world.says(1, STORAGE, |health| channel_of(health).swarm_key = other),
        &[(Check::SwarmKey, "B/storage0", Failed)],
    );
    check(
        |world| world.swarm_key = other,
        &[(Check::SwarmKey, PROFILE, Failed)],
    );
}

#[test]
fn a_peer_behind() {
    let behind = |second: u64| {
        move |world: &mut World| {
            let seen = world.node(2, PEER);
            channel_of(seen.first.as_mut().unwrap()).height = 12;
            channel_of(seen.second.as_mut().unwrap()).height = second;
        }
    };
    check(behind(12), &[(Check::Height, "C/peer0", Failed)]);
    check(behind(15), &[(Check::Height, "C/peer0", Warning)]);
    // It has what the others had a moment ago: that it is behind now is the way of things.
    check(behind(20), &[]);
    check(
        |world| {
            for organization in 0..3 {
                let seen = world.node(organization, ORDERER);
                channel_of(seen.second.as_mut().unwrap()).deliverable = 30;
                channel_of(seen.second.as_mut().unwrap()).height = 30;
            }
        },
        &[],
    );
    // One node alone cannot make the others look behind.
    check(
        |world| world.says(0, PEER, |health| channel_of(health).height = 1_000_000),
        &[],
    );
}

#[test]
fn an_outvoted_peer() {
    check(
        |world| world.says(0, PEER, |health| channel_of(health).outvoted = true),
        &[(Check::State, "A/peer0", Failed)],
    );
}
