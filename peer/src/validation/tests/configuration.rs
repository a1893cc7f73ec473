//! Changes of the configuration.

use stela_protocol::config_update::{ConfigChange, ConfigSignature, ConfigUpdate};

use super::*;

impl World {
    /// The configuration in force, to be changed.
    pub(crate) fn config(&self) -> pb::ChannelConfig {
        pb::ChannelConfig::decode(self.membership.bytes().clone()).unwrap()
    }

    fn change(&self, edit: impl FnOnce(&mut pb::ChannelConfig)) -> ConfigChange {
        let mut config = self.config();
        edit(&mut config);
        config_update::change(self.membership.configuration(), config, "a test")
    }

    /// Submitted by the first who signs.
    fn update(&self, change: &ConfigChange, signers: &[&'static str], nonce: u8) -> Bytes {
        let submitter = &self.admins[signers[0]];
        let change_bytes = change.encode();
        let sign = |name: &&'static str| ConfigSignature {
            certificate: self.admins[name].certificate.der().clone(),
            signature: self.admins[name].sign(domain::CONFIG, &change_bytes),
        };
        let update = ConfigUpdate {
            header: TransactionHeader {
                channel: self.tip.header.channel.clone(),
                nonce: Nonce([nonce; 24]),
                creator: submitter.fingerprint(),
                timestamp_ms: self.tip.header.time_ms,
            },
            certificate: submitter.certificate.der().clone(),
            signatures: signers.iter().map(sign).collect(),
            change: change.clone(),
            change_bytes,
        };
        seal(transaction::config_payload(&update), submitter)
    }

    /// An envelope that A and B have signed.
    pub(crate) fn reconfigure(&self, edit: impl FnOnce(&mut pb::ChannelConfig)) -> Bytes {
        self.update(&self.change(edit), &["A", "B"], 200)
    }

    /// The next block with a configuration, if its header may say so.
    pub(crate) fn config_block(&self, envelope: Bytes) -> Block {
        let block = self.block(vec![envelope]);
        let header = block.header;
        let (number, previous) = (header.number, header.previous_hash);
        let envelopes = block.envelopes;
        Block::new(
            header.channel,
            number,
            previous,
            number,
            header.time_ms,
            envelopes,
        )
    }

    fn sign(&self, block: &Block) -> pb::Block {
        let signed = |n: usize| self.signature(block, n, n as u64 + 1);
        pb::Block {
            signatures: vec![signed(0), signed(1), signed(2)],
            ..block.to_pb()
        }
    }

    fn check(&self, block: &Block) -> Result<Block, BlockRefused> {
        check_block(&self.membership, &self.tip, self.sign(block))
    }
}

fn revoke(config: &mut pb::ChannelConfig, fingerprint: Fingerprint) {
    config.organizations[0].revoked.push(fingerprint.to_bytes());
}

#[test]
fn a_change_is_in_force_from_the_next_block_on() {
    let mut world = World::new();
    let client = world.client.fingerprint();
    let newcomer = world.authorities["C"]
        .issue(&subject("peer9", "peer", always()))
        .unwrap();
    assert_eq!(world.judge_one(world.call(1).seal()), "VALID");
    let envelope = world.reconfigure(|config| {
        revoke(config, client);
        config.certificates.push(newcomer.certificate.der().clone());
    });
    let block = world.config_block(envelope);
    let block = world.check(&block).unwrap();
    let commit = world.commit(&block);
    assert_eq!(names(&commit), ["VALID"]);
    assert_eq!(commit.config.as_ref(), Some(world.membership.bytes()));
    assert_eq!(commit.transactions.len(), 1);
    assert_eq!(world.membership.config().sequence, 1);
    assert_eq!(world.ledger.head().last_config, block.header.number);
    assert_eq!(
        world.ledger.config().unwrap().as_ref(),
        Some(world.membership.bytes())
    );
    assert!(
        world
            .ledger
            .certificate(&newcomer.fingerprint())
            .unwrap()
            .is_some()
    );
    assert_eq!(
        world.judge_one(world.call(2).seal()),
        "BAD_CREATOR_SIGNATURE"
    );
    assert_eq!(world.tip.header.last_config, block.header.number);
}

#[test]
fn a_change_counts_alone_in_its_block() {
    let mut world = World::new();
    let client = world.client.fingerprint();
    let envelope = world.reconfigure(|config| revoke(config, client));
    let (first, last) = (world.call(1).seal(), world.call(2).seal());
    let block = world.block(vec![first, envelope.clone(), last]);
    assert!(world.check(&block).is_ok());
    let verdicts = names(&world.commit(&block));
    assert_eq!(verdicts, ["VALID", "INVALID_CONFIG_TRANSACTION", "VALID"]);
    assert_eq!(world.membership.config().sequence, 0);
    // Its id is taken, and it counts all the same when it comes again, alone.
    let block = world.config_block(envelope);
    assert_eq!(names(&world.commit(&block)), ["VALID"]);
    assert_eq!(world.membership.config().sequence, 1);
}

fn refused(make: impl FnOnce(&World) -> Bytes, expect: &str) {
    let mut world = World::new();
    let envelope = make(&world);
    let claims = world.check(&world.config_block(envelope.clone()));
    assert!(
        matches!(claims, Err(BlockRefused::LastConfig(_))),
        "{expect}: {claims:?}"
    );
    assert!(world.check(&world.block(vec![envelope.clone()])).is_ok());
    assert_eq!(world.judge_one(envelope), expect);
    assert_eq!(world.membership.config().sequence, 0);
}

#[test]
fn changes_that_break_a_rule_are_refused_alike() {
    let invalid = "INVALID_CONFIG_TRANSACTION";
    let below = |world: &World| world.update(&world.change(|_| {}), &["A"], 200);
    refused(below, invalid);
    let base = |world: &World| {
        let mut change = world.change(|_| {});
        change.base = Hash32([9; 32]);
        world.update(&change, &["A", "B"], 200)
    };
    refused(base, invalid);
    let skips = |world: &World| {
        let mut change = world.change(|_| {});
        let mut config = world.config();
        config.sequence = 2;
        change.config = config.encode_to_vec().into();
        world.update(&change, &["A", "B"], 200)
    };
    refused(skips, invalid);
    refused(
        |world| world.reconfigure(|config| config.orderer_quorum = 1),
        invalid,
    );
    let removes_two = |world: &World| {
        world.reconfigure(|config| {
            config.orderers.truncate(1);
            config.orderer_quorum = 1;
        })
    };
    refused(removes_two, invalid);
    let elsewhere = |world: &World| {
        let mut change = world.change(|_| {});
        change.channel = ChannelId::new("other").unwrap();
        world.update(&change, &["A", "B"], 200)
    };
    refused(elsewhere, invalid);
    let forged = |world: &World| {
        let envelope = world.reconfigure(|_| {});
        let mut envelope = pb::Envelope::decode(envelope).unwrap();
        envelope.signature = vec![1; 64].into();
        envelope.encode_to_vec().into()
    };
    refused(forged, "BAD_CREATOR_SIGNATURE");
    refused(|world| world.genesis_as_update(), "BAD_PAYLOAD");
}

impl World {
    /// A whole configuration where a change of it belongs.
    fn genesis_as_update(&self) -> Bytes {
        let genesis = pb::Envelope::decode(self.genesis.envelopes[0].clone()).unwrap();
        seal(genesis.payload, &self.admins["A"])
    }
}

#[test]
fn a_change_does_not_count_again() {
    let mut world = World::new();
    let envelope = world.reconfigure(|_| {});
    let block = world.config_block(envelope.clone());
    assert_eq!(names(&world.commit(&block)), ["VALID"]);
    let again = world.config_block(envelope.clone());
    assert!(matches!(
        world.check(&again),
        Err(BlockRefused::LastConfig(_))
    ));
    assert_eq!(world.judge_one(envelope), "INVALID_CONFIG_TRANSACTION");
    assert_eq!(world.membership.config().sequence, 1);
}

#[test]
fn a_header_that_hides_a_change_is_refused() {
    let world = World::new();
    let envelope = world.reconfigure(|_| {});
    let hides = world.check(&world.block(vec![envelope]));
    assert!(
        matches!(hides, Err(BlockRefused::LastConfig(_))),
        "{hides:?}"
    );
}

#[test]
fn a_block_that_changes_the_orderers_is_signed_by_those_before_it() {
    let mut world = World::new();
    let envelope = world.reconfigure(|config| config.orderer_quorum = 3);
    let two = |world: &World, block: &Block| {
        let mut block = world.sign(block);
        block.signatures.pop();
        check_block(&world.membership, &world.tip, block)
    };
    let block = world.config_block(envelope);
    assert!(two(&world, &block).is_ok());
    world.commit(&block);
    let next = world.block(vec![]);
    assert!(matches!(
        two(&world, &next),
        Err(BlockRefused::TooFewSignatures { quorum: 3, .. })
    ));
    assert!(world.check(&next).is_ok());
}

#[test]
fn a_new_version_of_a_contract_makes_results_of_the_old_one_worthless() {
    let mut world = World::new();
    let new = Hash32([8; 32]);
    let envelope = world.reconfigure(|config| {
        config.contracts[0].version = "2".to_owned();
        config.contracts[0].package_hash = new.to_bytes();
        config.contracts[0].endorsement_policy = "'C.peer'".to_owned();
    });
    let block = world.config_block(envelope);
    world.commit(&block);
    assert_eq!(world.judge_one(world.call(1).seal()), "EXPIRED_CHAINCODE");
    let mut call = world.call(2);
    call.result.package_hash = new.to_bytes();
    let too_few = call.seal();
    call.header.nonce = Nonce([3; 24]);
    call.endorsers = vec![&world.peers["C"]];
    let enough = call.seal();
    let verdicts = world.judge(vec![too_few, enough]);
    assert_eq!(verdicts, ["ENDORSEMENT_POLICY_FAILURE", "VALID"]);
}

#[test]
fn an_endorsement_under_other_settings_is_worthless() {
    let mut world = World::new();
    let settings = r#"{"terms":[]}"#;
    let envelope = world.reconfigure(|config| config.contracts[0].settings = settings.to_owned());
    let block = world.config_block(envelope);
    world.commit(&block);
    let under = |nonce, settings: &str| {
        let package = hash::package_with_settings(&PACKAGE, settings.as_bytes());
        let mut call = world.call(nonce);
        call.result.package_hash = package.to_bytes();
        call.seal()
    };
    let envelopes = vec![
        under(1, ""),
        under(2, r#"{"terms":{}}"#),
        under(3, settings),
    ];
    let verdicts = world.judge(envelopes);
    let refused = "EXPIRED_CHAINCODE";
    assert_eq!(verdicts, [refused, refused, "VALID"]);
}
