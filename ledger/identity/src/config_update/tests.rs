use bytes::Bytes;
use stela_protocol::Nonce;
use stela_protocol::transaction::{self, TransactionHeader};

use super::*;
use crate::{CertificateAuthority, Credentials, MspError, Subject, TlsAuthority, Validity};

const NOW: u64 = 1_750_000_000_000;
const VALIDITY: Validity = Validity {
    not_before_ms: 1_700_000_000_000,
    not_after_ms: 1_800_000_000_000,
};

fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

fn issue(authority: &CertificateAuthority, role: &str, validity: Validity) -> Credentials {
    let subject = Subject {
        common_name: role.to_owned(),
        role: role.to_owned(),
        attributes: Default::default(),
        validity,
    };
    authority.issue(&subject).unwrap()
}

/// Three organizations with an administrator and an orderer each; two of three change it.
struct World {
    authorities: Vec<CertificateAuthority>,
    tls: Vec<TlsAuthority>,
    admins: Vec<Credentials>,
    config: pb::ChannelConfig,
}

impl World {
    fn new() -> Self {
        let names = ["A", "B", "C"];
        let create = |name: &&str| CertificateAuthority::create(&org(name), VALIDITY).unwrap();
        let authorities: Vec<_> = names.iter().map(create).collect();
        let tls: Vec<_> = names
            .iter()
            .map(|name| TlsAuthority::create(&org(name), VALIDITY).unwrap())
            .collect();
        let organizations = authorities
            .iter()
            .zip(&tls)
            .map(|(authority, tls)| pb::Organization {
                id: authority.organization().to_string(),
                root_certificate: Bytes::copy_from_slice(authority.root_der()),
                tls_root_certificates: vec![Bytes::copy_from_slice(tls.root_der())],
                ..Default::default()
            });
        let orderers = (1..).zip(&authorities).map(|(id, a)| orderer(id, a));
        let config = pb::ChannelConfig {
            version: stela_protocol::FORMAT_VERSION,
            channel: "care".to_owned(),
            sequence: 4,
            organizations: organizations.collect(),
            orderers: orderers.collect(),
            orderer_quorum: 2,
            limits: Some(pb::ChannelLimits {
                window_ms: 1000,
                block_transactions_max: 10,
                block_bytes_max: 1 << 20,
                envelope_bytes_max: 1 << 16,
            }),
            admin_policy: "OutOf(2, 'A.admin', 'B.admin', 'C.admin')".to_owned(),
            orderers_ever: 5,
            ..Default::default()
        };
        let admins = authorities.iter().map(|a| issue(a, "admin", VALIDITY));
        Self {
            admins: admins.collect(),
            authorities,
            tls,
            config,
        }
    }

    fn current(&self) -> Configuration {
        Configuration::new(self.config.encode_to_vec().into()).unwrap()
    }

    /// A change that A and B have signed and that A submits, to be spoiled.
    fn attempt(&self) -> Attempt<'_> {
        let mut config = self.config.clone();
        config.sequence += 1;
        Attempt {
            config,
            bytes: None,
            base: self.current().hash(),
            channel: "care",
            timestamp_ms: NOW,
            signers: vec![&self.admins[0], &self.admins[1]],
            submitter: &self.admins[0],
            forged: false,
        }
    }
}

fn orderer(id: u64, authority: &CertificateAuthority) -> pb::Orderer {
    pb::Orderer {
        id,
        organization: authority.organization().to_string(),
        address: format!("orderer{id}:7050"),
        certificate: issue(authority, "orderer", VALIDITY)
            .certificate
            .der()
            .clone(),
        tls_fingerprint: Bytes::from_static(&[1; 32]),
    }
}

struct Attempt<'a> {
    config: pb::ChannelConfig,
    /// Instead of the configuration's own encoding.
    bytes: Option<Bytes>,
    base: stela_protocol::Hash32,
    channel: &'a str,
    timestamp_ms: u64,
    signers: Vec<&'a Credentials>,
    submitter: &'a Credentials,
    forged: bool,
}

impl Attempt<'_> {
    fn seal(&self) -> (Signed, ConfigUpdate) {
        let encoded = || self.config.encode_to_vec().into();
        let change = ConfigChange {
            channel: self.channel.parse().unwrap(),
            base: self.base,
            config: self.bytes.clone().unwrap_or_else(encoded),
            description: "a test".to_owned(),
        };
        let change_bytes = change.encode();
        let sign = |signer: &&Credentials| ConfigSignature {
            certificate: signer.certificate.der().clone(),
            signature: signer.sign(domain::CONFIG, &change_bytes),
        };
        let update = ConfigUpdate {
            header: TransactionHeader {
                channel: self.channel.parse().unwrap(),
                nonce: Nonce([7; 24]),
                creator: self.submitter.fingerprint(),
                timestamp_ms: self.timestamp_ms,
            },
            certificate: self.submitter.certificate.der().clone(),
            signatures: self.signers.iter().map(sign).collect(),
            change_bytes,
            change,
        };
        let bytes = transaction::config_payload(&update);
        let mut signature = self.submitter.sign(domain::ENVELOPE, &bytes);
        signature[0] ^= u8::from(self.forged);
        (Signed { bytes, signature }, update)
    }

    fn check(&self, world: &World) -> Result<Configuration, ConfigUpdateError> {
        let (signed, update) = self.seal();
        check(&world.current(), &signed, &update, NOW)
    }
}

fn refused(spoil: impl FnOnce(&World, &mut Attempt<'_>)) -> ConfigUpdateError {
    let world = World::new();
    let mut attempt = world.attempt();
    assert!(attempt.check(&world).is_ok());
    spoil(&world, &mut attempt);
    attempt.check(&world).unwrap_err()
}

/// The same in the configuration alone.
fn edited(edit: impl FnOnce(&World, &mut pb::ChannelConfig)) -> ConfigUpdateError {
    refused(|world, attempt| edit(world, &mut attempt.config))
}

#[test]
fn a_change_that_enough_administrators_signed_is_in_force_after_it() {
    let world = World::new();
    let mut attempt = world.attempt();
    let stolen = issue(&world.authorities[2], "practitioner", VALIDITY).certificate;
    attempt.config.organizations[2].revoked = vec![stolen.fingerprint().to_bytes()];
    let new = attempt.check(&world).unwrap();
    assert_eq!(new.config().sequence, 5);
    assert_eq!(new.bytes(), &attempt.config.encode_to_vec());
    assert!(world.current().msp().admit(&stolen).is_ok());
    assert!(new.msp().admit(&stolen).is_err());
}

#[test]
fn another_channel_is_refused() {
    let expect = |error| {
        assert!(
            matches!(error, ConfigUpdateError::Channel { .. }),
            "{error}"
        )
    };
    expect(refused(|_, attempt| attempt.channel = "other"));
    expect(edited(|_, config| config.channel = "other".to_owned()));
    let world = World::new();
    let (_, mut update) = world.attempt().seal();
    update.change.channel = "other".parse().unwrap();
    expect(check_change(&world.current(), &update.change).unwrap_err());
}

#[test]
fn times_outside_the_window_are_refused_either_way() {
    for timestamp_ms in [NOW - 1001, NOW + 1001] {
        let error = refused(|_, attempt| attempt.timestamp_ms = timestamp_ms);
        assert!(
            matches!(error, ConfigUpdateError::Expired { .. }),
            "{error}"
        );
    }
}

#[test]
fn only_an_administrator_submits() {
    let world = World::new();
    let peer = issue(&world.authorities[0], "peer", VALIDITY);
    let stranger = CertificateAuthority::create(&org("Z"), VALIDITY).unwrap();
    let stranger = issue(&stranger, "admin", VALIDITY);
    let ended = Validity {
        not_after_ms: NOW - 1,
        ..VALIDITY
    };
    let ended = issue(&world.authorities[0], "admin", ended);
    let submit = |submitter| {
        let mut attempt = world.attempt();
        attempt.submitter = submitter;
        attempt.check(&world).unwrap_err()
    };
    let fingerprint = peer.fingerprint();
    assert_eq!(submit(&peer), ConfigUpdateError::NotAdmin(fingerprint));
    for submitter in [&stranger, &ended] {
        let error = submit(submitter);
        assert!(
            matches!(error, ConfigUpdateError::Creator(SignerError::Identity(_))),
            "{error}"
        );
    }
    let forged = refused(|_, attempt| attempt.forged = true);
    assert!(
        matches!(
            forged,
            ConfigUpdateError::Creator(SignerError::Signature(_))
        ),
        "{forged}"
    );
}

#[test]
fn it_counts_for_the_configuration_in_force_alone() {
    let error = refused(|_, attempt| attempt.base.0[0] ^= 1);
    assert_eq!(error, ConfigUpdateError::Base { sequence: 4 });
    // Replayed on top of what it made.
    let mut world = World::new();
    let (signed, update) = world.attempt().seal();
    world.config.sequence += 1;
    let error = check(&world.current(), &signed, &update, NOW).unwrap_err();
    assert_eq!(error, ConfigUpdateError::Base { sequence: 5 });
}

#[test]
fn the_number_is_the_next_one() {
    for found in [4, 6, 0] {
        let error = edited(|_, config| config.sequence = found);
        assert_eq!(error, ConfigUpdateError::Sequence { found, expected: 5 });
    }
}

#[test]
fn nothing_is_hidden_in_the_encoding() {
    // A field that nobody knows, and one that is written twice.
    for hidden in [[0xf8, 0x01, 0x01].as_slice(), &[0x30, 0x02]] {
        let error = refused(|_, attempt| {
            let bytes = [attempt.config.encode_to_vec().as_slice(), hidden].concat();
            attempt.bytes = Some(bytes.into());
        });
        assert_eq!(error, ConfigUpdateError::NotCanonical);
    }
    let error = refused(|_, attempt| attempt.bytes = Some(Bytes::from_static(b"\xff")));
    assert_eq!(error, ConfigUpdateError::NotCanonical);
}

#[test]
fn what_is_not_sound_is_refused() {
    let check = |edit: fn(&World, &mut pb::ChannelConfig)| {
        let error = edited(edit);
        assert!(matches!(error, ConfigUpdateError::Unsound(_)), "{error}");
        error
    };
    // A quorum below the majority, and one above all.
    check(|_, config| config.orderer_quorum = 1);
    check(|_, config| config.orderer_quorum = 4);
    check(|_, config| config.limits.as_mut().unwrap().window_ms = 3_600_001);
    // An organization goes while an orderer and a policy still name it.
    check(|_, config| drop(config.organizations.pop()));
    check(|world, config| {
        config.organizations.pop();
        config.orderers[2] = orderer(3, &world.authorities[0]);
    });
    let root = check(|_, config| {
        config.organizations[0].root_certificate = Bytes::from_static(b"root");
    });
    assert!(matches!(
        root,
        ConfigUpdateError::Unsound(ConfigurationError::Msp(MspError::Root { .. }))
    ));
    check(|_, config| {
        config.organizations[0].root_certificate = config.organizations[1].root_certificate.clone();
    });
    let tls = check(|world, config| {
        let another = Bytes::copy_from_slice(world.tls[1].root_der());
        config.organizations[0].tls_root_certificates.push(another);
    });
    assert!(matches!(
        tls,
        ConfigUpdateError::Unsound(ConfigurationError::Tls(_))
    ));
    check(|_, config| config.orderers[0].certificate = Bytes::from_static(b"none"));
    check(|_, config| config.certificates = vec![Bytes::from_static(b"none")]);
    check(|_, config| config.orderers[0].certificate = config.orderers[1].certificate.clone());
    let organization = check(|world, config| {
        config.orderers[0].certificate = orderer(1, &world.authorities[1]).certificate;
    });
    assert!(matches!(
        organization,
        ConfigUpdateError::Unsound(ConfigurationError::OrdererOrganization { .. })
    ));
    let same = check(|world, config| {
        let key = issue(&world.authorities[0], "orderer", VALIDITY);
        config.orderers[0].certificate = key.certificate.der().clone();
        let subject = Subject {
            common_name: "again".to_owned(),
            role: "orderer".to_owned(),
            attributes: Default::default(),
            validity: VALIDITY,
        };
        let again = world.authorities[1].issue_for(&key.key.public_key(), &subject);
        config.orderers[1].certificate = again.unwrap().der().clone();
    });
    assert_eq!(
        same,
        ConfigUpdateError::Unsound(ConfigurationError::SameKey(1, 2))
    );
    // Two of three orderers revoked: nobody could sign a block any more.
    let few = check(|_, config| {
        for (organization, orderer) in config.organizations.iter_mut().zip(&config.orderers[..2]) {
            let fingerprint = stela_protocol::hash::fingerprint(&orderer.certificate);
            organization.revoked = vec![fingerprint.to_bytes()];
        }
    });
    assert!(matches!(
        few,
        ConfigUpdateError::Unsound(ConfigurationError::TooFewOrderers {
            usable: 1,
            quorum: 2
        })
    ));
    // The roles leave the orderer's certificate out.
    check(|_, config| config.organizations[0].roles = vec!["admin".to_owned()]);
    check(|_, config| config.custodian_threshold = 1);
}

#[test]
fn one_orderer_comes_or_goes_at_a_time() {
    let world = World::new();
    let changed = |edit: &dyn Fn(&mut pb::ChannelConfig)| {
        let mut attempt = world.attempt();
        edit(&mut attempt.config);
        attempt.check(&world)
    };
    let add = |config: &mut pb::ChannelConfig, id: u64| {
        config.orderers.push(orderer(id, &world.authorities[0]));
        config.orderer_quorum = config.orderers.len() as u32 / 2 + 1;
        config.orderers_ever = config.orderers_ever.max(id);
    };
    let remove = |config: &mut pb::ChannelConfig| drop(config.orderers.pop());
    assert!(changed(&|config| add(config, 6)).is_ok());
    assert!(changed(&remove).is_ok());
    let both = changed(&|config| {
        remove(config);
        add(config, 6);
    });
    let expected = |added, removed| ConfigUpdateError::TooManyOrderers { added, removed };
    assert_eq!(both.unwrap_err(), expected(1, 1));
    let two = changed(&|config| {
        add(config, 6);
        add(config, 7);
    });
    assert_eq!(two.unwrap_err(), expected(2, 0));
    let two = changed(&|config| {
        remove(config);
        remove(config);
        config.orderer_quorum = 1;
    });
    assert_eq!(two.unwrap_err(), expected(0, 2));
    let renewed = changed(&|config| {
        config.orderers[0] = orderer(1, &world.authorities[0]);
        config.orderers[1] = orderer(2, &world.authorities[1]);
    });
    assert!(renewed.is_ok());
}

#[test]
fn a_number_is_never_given_again() {
    for id in [4, 5] {
        let error = edited(|world, config| {
            config.orderers.push(orderer(id, &world.authorities[0]));
            config.orderer_quorum = 3;
        });
        let expected = ConfigUpdateError::NumberReused {
            orderer: id,
            ever: 5,
        };
        assert_eq!(error, expected);
    }
    for found in [3, 4] {
        let error = edited(|_, config| config.orderers_ever = found);
        let expected = ConfigUpdateError::NumbersForgotten { found, expected: 5 };
        assert_eq!(error, expected);
    }
    let error = edited(|_, config| config.orderers_ever = 0);
    assert!(matches!(
        error,
        ConfigUpdateError::NumbersForgotten { found: 3, .. }
    ));
    let error = edited(|world, config| config.orderers[0] = orderer(1, &world.authorities[1]));
    assert_eq!(error, ConfigUpdateError::OrdererMoved(1));
}

#[test]
fn too_few_administrators_change_nothing() {
    let world = World::new();
    let [a, b, c] = [&world.admins[0], &world.admins[1], &world.admins[2]];
    let peer = issue(&world.authorities[1], "peer", VALIDITY);
    let ended = Validity {
        not_after_ms: NOW - 1,
        ..VALIDITY
    };
    let ended = issue(&world.authorities[1], "admin", ended);
    let stranger = CertificateAuthority::create(&org("Z"), VALIDITY).unwrap();
    let stranger = issue(&stranger, "admin", VALIDITY);
    let signed = |signers: &[&Credentials]| {
        let mut attempt = world.attempt();
        attempt.signers = signers.to_vec();
        let error = attempt.check(&world).err()?;
        assert!(matches!(error, ConfigUpdateError::Policy { .. }), "{error}");
        Some(error.to_string())
    };
    assert_eq!(signed(&[b, c]), None);
    assert_eq!(signed(&[&peer, &stranger, &ended, b, c]), None);
    assert!(signed(&[]).unwrap().contains("nobody signed"));
    assert!(signed(&[a]).unwrap().contains("A.admin signed"));
    assert!(signed(&[a, a]).unwrap().contains("has signed already"));
    assert!(signed(&[a, &peer]).is_some());
    assert!(signed(&[a, &stranger]).unwrap().contains("not a member"));
    assert!(signed(&[a, &ended]).unwrap().contains("not valid after"));
}

#[test]
fn one_administrator_under_two_certificates_counts_once() {
    let mut world = World::new();
    world.config.admin_policy = "AND('A.admin', 'A.admin')".to_owned();
    let subject = Subject {
        common_name: "again".to_owned(),
        role: "admin".to_owned(),
        attributes: Default::default(),
        validity: VALIDITY,
    };
    let first = &world.admins[0];
    let again = Credentials {
        certificate: world.authorities[0]
            .issue_for(&first.key.public_key(), &subject)
            .unwrap(),
        key: crate::SigningKey::from_pem(&first.key.to_pem()).unwrap(),
    };
    let second = issue(&world.authorities[0], "admin", VALIDITY);
    let mut attempt = world.attempt();
    attempt.signers = vec![first, &again];
    let Err(ConfigUpdateError::Policy { signers, .. }) = attempt.check(&world) else {
        panic!("two signatures of one key were enough");
    };
    assert!(matches!(
        signers.verdicts(),
        [Ok(_), Err(SignerError::Again(_))]
    ));
    attempt.signers = vec![first, &second];
    assert!(attempt.check(&world).is_ok());
}

#[test]
fn a_revoked_administrator_does_not_count_any_more() {
    let mut world = World::new();
    let revoked = world.admins[1].fingerprint().to_bytes();
    world.config.organizations[1].revoked = vec![revoked.clone()];
    // Not even if the change would admit her again.
    let mut attempt = world.attempt();
    attempt.config.organizations[1].revoked.clear();
    assert!(matches!(
        attempt.check(&world),
        Err(ConfigUpdateError::Policy { .. })
    ));
    attempt.submitter = &world.admins[1];
    assert!(matches!(
        attempt.check(&world),
        Err(ConfigUpdateError::Creator(_))
    ));
    // Whom a change revokes may still have signed it.
    let error = {
        let mut world = World::new();
        let mut attempt = world.attempt();
        let own = world.admins[1].fingerprint().to_bytes();
        attempt.config.organizations[1].revoked = vec![own];
        let sealed = attempt.seal();
        world.config.organizations[0].revoked.clear();
        check(&world.current(), &sealed.0, &sealed.1, NOW).err()
    };
    assert_eq!(error, None);
}

#[test]
fn a_policy_is_lowered_only_by_those_whom_it_asks_for() {
    let lower = |config: &mut pb::ChannelConfig| config.admin_policy = "'A.admin'".to_owned();
    let world = World::new();
    let mut attempt = world.attempt();
    lower(&mut attempt.config);
    assert!(attempt.check(&world).is_ok());
    attempt.signers = vec![&world.admins[0]];
    assert!(matches!(
        attempt.check(&world),
        Err(ConfigUpdateError::Policy { .. })
    ));
}

#[test]
fn signatures_are_for_one_change_and_for_nothing_else() {
    let world = World::new();
    let (_, other) = world.attempt().seal();
    let mut attempt = world.attempt();
    attempt.config.orderer_quorum = 3;
    let (_, mut update) = attempt.seal();
    update.signatures = other.signatures;
    let seal = |update: &ConfigUpdate| {
        let bytes = transaction::config_payload(update);
        let signature = world.admins[0].sign(domain::ENVELOPE, &bytes);
        Signed { bytes, signature }
    };
    let error = check(&world.current(), &seal(&update), &update, NOW).unwrap_err();
    assert!(matches!(error, ConfigUpdateError::Policy { .. }), "{error}");
    for signature in &mut update.signatures {
        signature.signature = world.admins[0].sign(domain::ADMIN, &update.change_bytes);
    }
    assert!(check(&world.current(), &seal(&update), &update, NOW).is_err());
}

fn block(world: &World, envelopes: Vec<Bytes>, last_config: u64) -> Block {
    Block::new(
        world.config.channel.parse().unwrap(),
        BlockNumber(9),
        stela_protocol::Hash32([1; 32]),
        BlockNumber(last_config),
        NOW,
        envelopes,
    )
}

#[test]
fn a_block_says_truly_which_configuration_is_in_force_after_it() {
    let world = World::new();
    let current = world.current();
    let envelope = transaction::envelope(world.attempt().seal().0);
    let mut below = world.attempt();
    below.signers.pop();
    let below = transaction::envelope(below.seal().0);
    let check = |envelopes: Vec<Bytes>, last_config: u64| {
        follow(
            &current,
            BlockNumber(3),
            &block(&world, envelopes, last_config),
        )
        .map(|new| new.map(|new| new.config().sequence))
    };
    assert_eq!(check(vec![envelope.clone()], 9), Ok(Some(5)));
    assert!(check(vec![envelope.clone()], 3).is_err());
    // Not alone, or below its policy: nothing changes, and the header must not say so.
    for envelopes in [vec![envelope.clone(), envelope], vec![below], vec![]] {
        assert_eq!(check(envelopes.clone(), 3), Ok(None));
        assert!(check(envelopes, 9).is_err());
    }
}

#[test]
fn a_change_is_made_for_the_configuration_in_force() {
    let world = World::new();
    let mut config = world.config.clone();
    config.orderers.push(orderer(6, &world.authorities[0]));
    config.orderer_quorum = 3;
    let made = change(&world.current(), config, "one more orderer");
    let new = check_change(&world.current(), &made).unwrap();
    assert_eq!((new.config().sequence, new.config().orderers_ever), (5, 6));
}
