//! A change of a channel's configuration, as everybody judges it.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_identity::config_update::{self, ConfigUpdateError, Signers};
use stela_identity::{Configuration, Credentials};
use stela_orderer::admission::Admission;
use stela_orderer::blocks::Blocks;
use stela_orderer::configurations::InForce;
use stela_orderer::layout;
use stela_protocol::block::Block;
use stela_protocol::config_update::{ConfigChange, ConfigUpdate};
use stela_protocol::hash::domain;
use stela_protocol::transaction::{Signed, config_payload, envelope};
use stela_protocol::{BlockNumber, limits, pb};
use stela_store::MemoryKv;
use tokio::sync::watch;

use crate::governed::Governed;
use crate::world::START_MS;

/// When the change is judged.
const NOW_MS: u64 = START_MS + 1;

/// The input is a `ConfigUpdate`. Where a signature is missing, its owner signs, so that a search
/// gets past the signatures; the creator signs always.
///
/// It is judged twice alike, by an orderer as by whoever follows the blocks. What is valid was signed
/// by the administrators of both members, hides nothing in its encoding, and counts once.
pub(super) fn config_update(input: &[u8]) {
    if let Ok(change) = ConfigChange::decode(Bytes::copy_from_slice(input)) {
        check_change(&change);
    }
    if let Ok(update) = ConfigUpdate::decode(Bytes::copy_from_slice(input)) {
        check_update(&update);
    }
    let world = Governed::get();
    let Some(update) = signed(world, input) else {
        return;
    };
    check_update(&update);
    let payload = config_payload(&update);
    let creator = world.holder(&update.certificate);
    let creator = creator.unwrap_or(&world.admins[0]);
    let signed = Signed {
        signature: creator.sign(domain::ENVELOPE, &payload),
        bytes: payload,
    };
    let judge = || config_update::check(&world.current, &signed, &update, NOW_MS);
    let bytes =
        |judged: Result<Configuration, ConfigUpdateError>| judged.map(|new| new.bytes().clone());
    let judged = bytes(judge());
    assert_eq!(bytes(judge()), judged, "one verdict");
    check_everybody(world, &signed, &judged);
    if let Ok(new) = judge() {
        check_valid(world, &update, &new);
        // Whoever it revokes may not even submit it again.
        assert!(config_update::check(&new, &signed, &update, NOW_MS).is_err());
        let again = config_update::check_change(&new, &update.change);
        let sequence = new.config().sequence;
        assert_eq!(
            again.err(),
            Some(ConfigUpdateError::Base { sequence }),
            "a change counts once"
        );
    }
}

fn check_change(change: &ConfigChange) {
    assert_eq!(ConfigChange::decode(change.encode()).as_ref(), Ok(change));
    assert!(change.config.len() <= limits::CONFIG_BYTES_MAX);
    assert!(change.description.len() <= limits::CONFIG_DESCRIPTION_BYTES_MAX);
    assert!(!change.description.chars().any(char::is_control));
}

fn check_update(update: &ConfigUpdate) {
    assert_eq!(ConfigUpdate::decode(update.encode()).as_ref(), Ok(update));
    assert!(update.signatures.len() <= limits::CONFIG_SIGNATURES_MAX);
    check_change(&update.change);
}

fn check_valid(world: &Governed, update: &ConfigUpdate, new: &Configuration) {
    let (config, before) = (new.config(), world.current.config());
    assert_eq!(*new.bytes(), update.change.config);
    let message = pb::ChannelConfig::decode(new.bytes().clone()).expect("a configuration");
    assert_eq!(
        message.encode_to_vec(),
        *new.bytes(),
        "nothing is hidden in it"
    );
    assert_eq!(
        (&config.channel, config.sequence),
        (&before.channel, before.sequence + 1)
    );
    assert!(config.orderers.len().abs_diff(before.orderers.len()) <= 1);
    assert!(config.orderers_ever >= before.orderers_ever);
    let signers = Signers::of(
        &world.current,
        &update.change_bytes,
        &update.signatures,
        NOW_MS,
    );
    for admin in &world.admins {
        let fingerprint = admin.fingerprint();
        let signs = signers
            .valid()
            .any(|signer| signer.fingerprint == fingerprint);
        assert!(signs, "the policy names both members");
    }
    let creator = update.header.creator;
    let submits = |admin: &Credentials| admin.fingerprint() == creator;
    assert!(world.admins.iter().any(submits), "an administrator submits");
}

/// An orderer admits what is valid, and a block with it puts it into force; both nothing else.
fn check_everybody(world: &Governed, signed: &Signed, judged: &Result<Bytes, ConfigUpdateError>) {
    let envelope = envelope(signed.clone());
    let kv = MemoryKv::new(layout::FAMILIES);
    world.channel.create(&kv).expect("an empty store");
    let (_, in_force) = watch::channel(Arc::new(InForce::only(world.channel.clone())));
    let admission = Admission::new(in_force, Blocks::new(Arc::new(kv)));
    let admitted = admission.admit(envelope.clone(), NOW_MS);
    let forwarded = admission.admit_forwarded(envelope.clone(), NOW_MS);
    assert_eq!(admitted.is_ok(), judged.is_ok());
    assert_eq!(forwarded.is_ok(), judged.is_ok());

    let follow = |last: u64, envelopes: Vec<Bytes>| {
        let block = next(world, BlockNumber(last), envelopes);
        config_update::follow(&world.current, BlockNumber(0), &block)
            .map(|new| new.map(|new| new.bytes().clone()))
    };
    let alone = follow(1, vec![envelope.clone()]);
    match judged {
        Ok(new) => assert_eq!(alone.as_ref(), Ok(&Some(new.clone()))),
        Err(_) => assert!(alone.is_err()),
    }
    let unsaid = follow(0, vec![envelope.clone()]);
    assert_eq!(unsaid.is_ok(), judged.is_err());
    assert_eq!(
        follow(0, vec![envelope.clone(), envelope]),
        Ok(None),
        "a change stands alone"
    );
}

fn next(world: &Governed, last_config: BlockNumber, envelopes: Vec<Bytes>) -> Block {
    let genesis = &world.genesis;
    let (channel, number) = (genesis.header.channel.clone(), genesis.header.number.next());
    Block::new(
        channel,
        number,
        genesis.hash,
        last_config,
        NOW_MS,
        envelopes,
    )
}

/// The update with the signatures that were left out.
pub(super) fn signed(world: &Governed, input: &[u8]) -> Option<ConfigUpdate> {
    let mut message = pb::ConfigUpdate::decode(input).ok()?;
    let open = message.signatures.iter_mut();
    for given in open.filter(|one| one.signature.is_empty()) {
        if let Some(owner) = world.holder(&given.certificate) {
            let signature = owner.sign(domain::CONFIG, &message.change);
            given.signature = Bytes::copy_from_slice(&signature);
        }
    }
    ConfigUpdate::decode(message.encode_to_vec().into()).ok()
}

pub(super) mod seeds {
    use stela_protocol::FORMAT_VERSION;

    use super::*;

    /// A change that leaves the signatures to the target.
    pub(in crate::targets) fn open(
        creator: &Credentials,
        signers: &[&Credentials],
        change: &ConfigChange,
    ) -> Vec<u8> {
        pb::ConfigUpdate {
            version: FORMAT_VERSION,
            channel: change.channel.to_string(),
            nonce: Bytes::from_static(&[1; 24]),
            creator: creator.fingerprint().to_bytes(),
            timestamp_ms: START_MS,
            certificate: creator.certificate.der().clone(),
            change: change.encode(),
            signatures: signers
                .iter()
                .map(|signer| pb::ConfigSignature {
                    certificate: signer.certificate.der().clone(),
                    signature: Bytes::new(),
                })
                .collect(),
        }
        .encode_to_vec()
    }

    pub(in crate::targets) fn change(spoil: impl FnOnce(&mut pb::ChannelConfig)) -> ConfigChange {
        let world = Governed::get();
        let mut config = world.config.clone();
        // So the inputs stay small; what is known already stays known.
        config.certificates.clear();
        spoil(&mut config);
        config_update::change(&world.current, config, "as agreed")
    }

    pub(in crate::targets) fn config_update() -> Vec<Vec<u8>> {
        let world = Governed::get();
        let [first, second] = &world.admins;
        let both = [first, second];
        let policy = |text: &str| change(|config| config.admin_policy = text.to_owned());
        let member = world.member.certificate.der().clone();
        let grown = change(|config| {
            config.orderers.push(pb::Orderer {
                id: 2,
                organization: "B".to_owned(),
                certificate: member,
                tls_fingerprint: Bytes::from_static(&[2; 32]),
                ..config.orderers[0].clone()
            });
            config.orderer_quorum = 2;
        });
        let revoked = change(|config| {
            let fingerprint = first.fingerprint().to_bytes();
            config.organizations[0].revoked.push(fingerprint);
            config.organizations[1].roles = vec!["admin".to_owned()];
            config.custodians = vec!["A".to_owned(), "B".to_owned()];
            config.custodian_threshold = 2;
        });
        let moved = change(|config| config.orderers[0].organization = "B".to_owned());
        let easier = policy("OR('A.admin','B.admin')");
        let hidden = ConfigChange {
            // A field that no configuration has.
            config: [&easier.config[..], &[0xf8, 0x01, 1]].concat().into(),
            ..easier.clone()
        };
        vec![
            open(first, &both, &easier),
            open(second, &both, &grown),
            open(first, &both, &revoked),
            open(first, &both, &moved),
            open(first, &both, &hidden),
            open(first, &[first, first], &easier),
            open(&world.member, &both, &easier),
            open(first, &[], &policy("'Z.admin'")),
            easier.encode().to_vec(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the target would only ever see what is refused.
    #[test]
    fn the_first_three_inputs_are_valid_and_no_others() {
        let world = Governed::get();
        let valid = |input: &Vec<u8>| {
            let update = signed(world, input)?;
            let bytes = config_payload(&update);
            let creator = world.holder(&update.certificate)?;
            let signature = creator.sign(domain::ENVELOPE, &bytes);
            let signed = Signed { bytes, signature };
            config_update::check(&world.current, &signed, &update, NOW_MS).ok()
        };
        let inputs = seeds::config_update();
        let verdicts: Vec<bool> = inputs.iter().map(|input| valid(input).is_some()).collect();
        assert_eq!(verdicts[..3], [true; 3]);
        assert_eq!(verdicts[3..], [false; 6]);
    }
}
