//! Configurations that change: following them, and making them.

use stela_identity::config_update::ConfigUpdateError;
use stela_identity::{CertificateAuthority, Configuration, Credentials, Subject};
use stela_protocol::block::Block;
use stela_protocol::transaction::{Body, Envelope, TransactionHeader};
use stela_protocol::{Message, Nonce, OrgId};

use super::*;
use crate::fixture::{TestPeer, VALIDITY, World};
use crate::{ChannelUpdate, ChannelUpdateError};

/// A block's time: near to the client's clock, which the updates carry.
fn now_ms() -> u64 {
    Sources::default().now_ms()
}

fn pb_of(configuration: &Configuration) -> pb::ChannelConfig {
    pb::ChannelConfig::decode(configuration.bytes().clone()).unwrap()
}

/// A change that both administrators have signed.
pub(super) fn signed(
    world: &World,
    base: &Arc<Configuration>,
    edit: impl FnOnce(&mut pb::ChannelConfig),
) -> ChannelUpdate {
    let mut config = pb_of(base);
    edit(&mut config);
    let mut update = ChannelUpdate::propose(base.clone(), config, "a test").unwrap();
    for admin in &world.admins {
        update.sign(admin, now_ms()).unwrap();
    }
    update
}

/// A chain in the making.
pub(super) struct Chain<'a> {
    world: &'a World,
    pub(super) blocks: Vec<Block>,
    pub(super) current: Arc<Configuration>,
    start_ms: u64,
}

impl<'a> Chain<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        Self {
            world,
            blocks: world.chain(1, &[]),
            current: world.configuration(),
            start_ms: now_ms(),
        }
    }

    fn push(&mut self, envelope: Bytes, is_config: bool, signers: &[usize]) {
        let previous = self.blocks.last().unwrap();
        let number = previous.header.number.next();
        let last = if is_config {
            number
        } else {
            previous.header.last_config
        };
        let (hash, time_ms) = (previous.hash, self.start_ms + number.0);
        let mut block = Block::new(channel(), number, hash, last, time_ms, vec![envelope]);
        block.signatures = signers
            .iter()
            .map(|index| self.world.header_signature(*index, &block))
            .collect();
        self.blocks.push(block);
    }

    pub(super) fn envelope(&self, update: &ChannelUpdate) -> Bytes {
        let submitter = &self.world.admins[0];
        let header = TransactionHeader {
            channel: channel(),
            nonce: Nonce([self.blocks.len() as u8; 24]),
            creator: submitter.fingerprint(),
            timestamp_ms: self.start_ms,
        };
        update.seal(header, submitter)
    }

    fn change(&mut self, signers: &[usize], edit: impl FnOnce(&mut pb::ChannelConfig)) {
        let update = signed(self.world, &self.current, edit);
        self.push(self.envelope(&update), true, signers);
        let bytes = update.configuration().bytes().clone();
        self.current = Arc::new(Configuration::new(bytes).unwrap());
    }

    fn ordinary(&mut self, signers: &[usize]) {
        let envelope = format!("envelope {}", self.blocks.len());
        self.push(envelope.into(), false, signers);
    }
}

/// All three orderers sign after block 2; then the third one is removed.
pub(super) fn changing(world: &World) -> Chain<'_> {
    let mut chain = Chain::new(world);
    chain.ordinary(&[0, 1]);
    chain.change(&[1, 2], |config| config.orderer_quorum = 3);
    chain.ordinary(&[0, 1, 2]);
    chain.change(&[0, 1, 2], |config| {
        config.orderers.pop();
        config.orderer_quorum = 2;
    });
    chain.ordinary(&[0, 1]);
    chain
}

pub(super) async fn serve(world: &Arc<World>, chain: &Chain<'_>) -> (TestPeer, Network) {
    let peer = world.peer().await;
    {
        let mut state = peer.state.lock();
        state.blocks = chain.blocks.iter().map(answer).collect();
        state.config = Some(chain.current.bytes().clone());
    }
    let network = world.network(&[&peer.address]);
    (peer, network)
}

#[tokio::test]
async fn a_configuration_is_followed_from_the_genesis_block() {
    let world = world();
    let chain = changing(&world);
    let (_peer, network) = serve(&world, &chain).await;
    let genesis = world.configuration();
    let followed = soon(network.configuration(genesis.clone())).await.unwrap();
    assert_eq!(followed.bytes(), chain.current.bytes());
    assert_eq!(followed.config().sequence, 2);
    // From the middle, and from itself.
    for before in [3, 4, 5, 6] {
        let number = BlockNumber(before);
        let middle = soon(network.configuration_before(genesis.clone(), number))
            .await
            .unwrap();
        let expect = if before < 5 { 1 } else { 2 };
        assert_eq!(middle.config().sequence, expect, "before block {before}");
        let followed = soon(network.configuration(middle)).await.unwrap();
        assert_eq!(followed.config().sequence, 2);
    }
    let blocks = network
        .blocks(BlockNumber(0), Some(BlockNumber(6)))
        .signed_by(Quorum::new(genesis));
    let blocks: Vec<CheckedBlock> = soon(blocks.try_collect()).await.unwrap();
    assert_eq!(blocks.len(), 6);
}

#[tokio::test]
async fn a_configuration_that_does_not_follow_is_refused() {
    let world = world();
    let genesis = world.configuration();
    let refused = async |chain: &Chain<'_>| {
        let (_peer, network) = serve(&world, chain).await;
        soon(network.configuration(genesis.clone()))
            .await
            .unwrap_err()
    };
    // The peer's own invention.
    let mut chain = changing(&world);
    let mut config = pb_of(&chain.current);
    config.admin_policy = "'HospitalA.practitioner'".to_owned();
    chain.current = Arc::new(Configuration::new(config.encode_to_vec().into()).unwrap());
    assert!(matches!(
        refused(&chain).await,
        BlocksError::Configuration { .. }
    ));
    // Signed by too few orderers, or by one who was removed.
    for signers in [&[0][..], &[0, 1]] {
        let mut chain = Chain::new(&world);
        chain.change(&[0, 1], |config| config.orderer_quorum = 3);
        chain.change(signers, |config| config.orderer_quorum = 2);
        let error = refused(&chain).await;
        assert!(
            matches!(error, BlocksError::Quorum(QuorumError::TooFew { .. })),
            "{error}"
        );
    }
    // One administrator is not enough, however many orderers sign.
    let mut chain = Chain::new(&world);
    let mut config = world.config.clone();
    config.orderer_quorum = 3;
    let mut update = ChannelUpdate::propose(genesis.clone(), config, "alone").unwrap();
    update.sign(&world.admins[0], now_ms()).unwrap();
    chain.push(chain.envelope(&update), true, &[0, 1, 2]);
    let bytes = update.configuration().bytes().clone();
    chain.current = Arc::new(Configuration::new(bytes).unwrap());
    let error = refused(&chain).await;
    assert!(
        matches!(error, BlocksError::Quorum(QuorumError::LastConfig(_))),
        "{error}"
    );
}

#[tokio::test]
async fn blocks_after_a_change_are_judged_by_it() {
    let world = world();
    let mut chain = Chain::new(&world);
    chain.change(&[0, 1], |config| config.orderer_quorum = 3);
    chain.ordinary(&[0, 1]);
    let (_peer, network) = serve(&world, &chain).await;
    let blocks = network
        .blocks(BlockNumber(0), Some(BlockNumber(3)))
        .signed_by(Quorum::new(world.configuration()));
    let error = soon(blocks.try_collect::<Vec<_>>()).await.unwrap_err();
    assert!(
        matches!(
            error,
            BlocksError::Quorum(QuorumError::TooFew { needed: 3, .. })
        ),
        "{error}"
    );
}

fn stranger() -> Credentials {
    let organization = OrgId::new("Elsewhere").unwrap();
    let authority = CertificateAuthority::create(&organization, VALIDITY).unwrap();
    let subject = Subject {
        common_name: "admin".to_owned(),
        role: "admin".to_owned(),
        attributes: Default::default(),
        validity: VALIDITY,
    };
    authority.issue(&subject).unwrap()
}

#[test]
fn a_proposal_goes_from_hand_to_hand() {
    let world = world();
    let base = world.configuration();
    let mut config = world.config.clone();
    let nothing = ChannelUpdate::propose(base.clone(), config.clone(), "x").unwrap_err();
    assert!(matches!(nothing, ChannelUpdateError::Nothing), "{nothing}");
    config.orderer_quorum = 1;
    let unsound = ChannelUpdate::propose(base.clone(), config.clone(), "x").unwrap_err();
    assert!(
        matches!(
            unsound,
            ChannelUpdateError::Rule(ConfigUpdateError::Unsound(_))
        ),
        "{unsound}"
    );
    config.orderer_quorum = 3;
    let mut first = ChannelUpdate::propose(base.clone(), config.clone(), "three sign").unwrap();
    let text = first.to_json();
    let mut second = ChannelUpdate::from_json(text.as_bytes()).unwrap();
    assert_eq!(second.to_json(), text);
    assert_eq!(second.description(), "three sign");
    let now = now_ms();
    first.sign(&world.admins[0], now).unwrap();
    let again = first.sign(&world.admins[0], now).unwrap_err();
    assert!(again.to_string().contains("has signed already"), "{again}");
    assert!(matches!(
        first.sign(&stranger(), now),
        Err(ChannelUpdateError::Signer(_))
    ));
    assert!(!first.is_satisfied(now));
    second.sign(&world.admins[1], now).unwrap();
    assert_eq!(first.merge(&second, now).unwrap(), 1);
    assert_eq!(first.merge(&second, now).unwrap(), 0);
    assert!(first.is_satisfied(now));
    config.orderer_quorum = 2;
    config.limits.as_mut().unwrap().window_ms = 1;
    let other = ChannelUpdate::propose(base, config, "another").unwrap();
    assert!(matches!(
        first.merge(&other, now),
        Err(ChannelUpdateError::Different)
    ));
}

#[test]
fn files_that_are_no_proposals_are_refused() {
    let world = world();
    let text = signed(&world, &world.configuration(), |config| {
        config.orderer_quorum = 3
    })
    .to_json();
    assert!(
        ChannelUpdate::from_json(text.as_bytes())
            .unwrap()
            .is_satisfied(now_ms())
    );
    let spoil = |from: &str, to: &str| {
        assert!(text.contains(from));
        ChannelUpdate::from_json(text.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    spoil("\"stela_channel_update\": 1", "\"stela_channel_update\": 2");
    spoil("\"base\": \"", "\"base\": \"AA");
    spoil("\"signature\": \"", "\"signature\": \"AAAA");
    spoil("\"change\"", "\"changes\"");
    assert!(ChannelUpdate::from_json(b"{}").is_err());
    // Signatures for another change do not count.
    let other = signed(&world, &world.configuration(), |config| {
        config.limits.as_mut().unwrap().window_ms = 1;
    });
    let other: serde_json::Value = serde_json::from_str(&other.to_json()).unwrap();
    let mut mixed: serde_json::Value = serde_json::from_str(&text).unwrap();
    mixed["signatures"] = other["signatures"].clone();
    let mixed = ChannelUpdate::from_json(mixed.to_string().as_bytes()).unwrap();
    assert!(!mixed.is_satisfied(now_ms()));
}

#[tokio::test]
async fn a_change_is_submitted_once_it_is_for_the_configuration_in_force() {
    let world = world();
    let peer = world.peer().await;
    let mut options = world.options(&[&peer.address]);
    options.credentials = world.admins[0].clone();
    let certificate = world.admins[0].certificate.clone();
    peer.state
        .lock()
        .known
        .insert(certificate.fingerprint(), certificate);
    let network = network(options);
    let update = signed(&world, &world.configuration(), |config| {
        config.orderer_quorum = 3
    });
    let deadline = Duration::from_secs(30);
    let status = soon(network.submit_update(&update, deadline))
        .await
        .unwrap();
    assert!(status.code.is_valid());
    let envelope = peer.state.lock().submitted[0].clone();
    let envelope = Envelope::decode(envelope).unwrap();
    let Body::Config(sent) = &envelope.body else {
        panic!("{envelope:?}")
    };
    assert_eq!(sent.change.config, update.configuration().bytes());
    assert_eq!(sent.signatures.len(), 2);
    assert_eq!(sent.header.creator, world.admins[0].fingerprint());
    peer.state.lock().config = Some(update.configuration().bytes().clone());
    let late = soon(network.submit_update(&update, deadline))
        .await
        .unwrap_err();
    assert!(
        matches!(
            late,
            ChannelUpdateError::Outdated {
                base: 0,
                sequence: 1
            }
        ),
        "{late}"
    );
}
