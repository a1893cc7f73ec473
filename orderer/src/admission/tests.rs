use super::*;
use crate::consortium::{
    CHANNEL, Consortium, DAY_MS, Organization, WINDOW_MS, encoded, registration, sign, transaction,
    update,
};
use crate::layout::{CERTIFICATES, FAMILIES, encode_certificate};
use stela_identity::{Credentials, Validity};
use stela_protocol::transaction::{Signed, envelope};
use stela_protocol::{BlockNumber, Message, pb};
use stela_store::{Durability, Kv, MemoryKv, WriteBatch};

const NOW: u64 = 1_800_000_000_000;

struct World {
    consortium: Consortium,
    kv: Arc<MemoryKv>,
    admission: Admission,
    known: Credentials,
}

impl World {
    fn new(change: impl FnOnce(&mut pb::ChannelConfig, &Credentials)) -> Self {
        let consortium = Consortium::new(NOW, &["localhost:1".to_owned()]);
        let known = consortium.organizations[0].member("known", "practitioner");
        let mut config = consortium.config();
        config.certificates.push(known.certificate.der().clone());
        change(&mut config, &known);
        let genesis = stela_protocol::config::genesis(&config, NOW).unwrap();
        let channel = Arc::new(Channel::from_genesis(encoded(&genesis)).unwrap());
        let kv = Arc::new(MemoryKv::new(FAMILIES));
        channel.create(kv.as_ref()).unwrap();
        let (_, in_force) = watch::channel(Arc::new(InForce::only(channel)));
        let admission = Admission::new(in_force, Blocks::new(kv.clone()));
        Self {
            consortium,
            kv,
            admission,
            known,
        }
    }

    fn call(&self) -> Bytes {
        transaction(CHANNEL, &self.known, NOW, 10)
    }

    fn refused(&self, envelope: Bytes) -> ErrorCode {
        let error = self.admission.admit(envelope, NOW).unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        RpcError::from(error).code
    }
}

fn world() -> World {
    World::new(|_, _| ())
}

#[test]
fn a_known_creators_call_is_admitted() {
    let world = world();
    let envelope = sign(world.call(), &world.known);
    let admitted = world.admission.admit(envelope.clone(), NOW).unwrap();
    assert_eq!((&admitted.bytes, admitted.timestamp_ms), (&envelope, NOW));
    assert_eq!(
        world.admission.admit_forwarded(envelope, NOW).unwrap(),
        admitted
    );
}

#[test]
fn a_registration_is_admitted_and_counts_only_in_a_block() {
    let world = world();
    let new = world.consortium.organizations[0].member("new", "practitioner");
    let registers = sign(registration(CHANNEL, &new, NOW), &new);
    let calls = sign(transaction(CHANNEL, &new, NOW, 10), &new);
    assert!(world.admission.admit(registers, NOW).is_ok());
    assert_eq!(world.refused(calls.clone()), ErrorCode::UnknownIdentity);

    let mut batch = WriteBatch::new();
    let value = encode_certificate(BlockNumber(1), new.certificate.der());
    batch.put(CERTIFICATES, new.fingerprint().to_bytes(), value);
    world.kv.write(batch, Durability::Synced).unwrap();
    assert!(world.admission.admit(calls, NOW).is_ok());
}

#[test]
fn forgeries_are_refused() {
    let world = world();
    let other = world.consortium.organizations[0].member("other", "practitioner");
    assert_eq!(
        world.refused(sign(world.call(), &other)),
        ErrorCode::BadSignature
    );
    let in_another_domain = envelope(Signed {
        signature: world.known.sign(hash::domain::PROPOSAL, &world.call()),
        bytes: world.call(),
    });
    assert_eq!(world.refused(in_another_domain), ErrorCode::BadSignature);
    let registers_another = sign(registration(CHANNEL, &other, NOW), &world.known);
    assert_eq!(world.refused(registers_another), ErrorCode::BadSignature);
}

#[test]
fn strangers_are_refused() {
    let world = world();
    let stranger = Organization::new("HospitalA", NOW).member("stranger", "practitioner");
    let registers = sign(registration(CHANNEL, &stranger, NOW), &stranger);
    assert_eq!(world.refused(registers), ErrorCode::UnknownIdentity);
    let outsider = Organization::new("Elsewhere", NOW).member("outsider", "practitioner");
    let registers = sign(registration(CHANNEL, &outsider, NOW), &outsider);
    assert_eq!(world.refused(registers), ErrorCode::UnknownIdentity);
}

#[test]
fn certificates_out_of_their_time_are_refused() {
    let world = world();
    for (not_before_ms, not_after_ms) in
        [(NOW - DAY_MS, NOW - 60_000), (NOW + 60_000, NOW + DAY_MS)]
    {
        let validity = Validity {
            not_before_ms,
            not_after_ms,
        };
        let organization = &world.consortium.organizations[0];
        let member = organization.member_valid("late", "practitioner", validity);
        let registers = sign(registration(CHANNEL, &member, NOW), &member);
        assert_eq!(world.refused(registers), ErrorCode::UnknownIdentity);
    }
}

#[test]
fn revoked_certificates_are_refused() {
    let world = World::new(|config, known| {
        config.organizations[0]
            .revoked
            .push(known.fingerprint().to_bytes());
    });
    let envelope = sign(world.call(), &world.known);
    assert_eq!(world.refused(envelope), ErrorCode::UnknownIdentity);
}

#[test]
fn times_outside_the_window_are_refused() {
    let world = world();
    let at = |timestamp_ms| {
        sign(
            transaction(CHANNEL, &world.known, timestamp_ms, 1),
            &world.known,
        )
    };
    for inside in [NOW - WINDOW_MS, NOW + WINDOW_MS] {
        assert!(world.admission.admit(at(inside), NOW).is_ok());
    }
    for outside in [0, NOW - WINDOW_MS - 1, NOW + WINDOW_MS + 1, u64::MAX] {
        assert_eq!(world.refused(at(outside)), ErrorCode::Expired);
    }
}

#[test]
fn what_is_not_for_this_channel_is_refused() {
    let world = world();
    let elsewhere = sign(transaction("research", &world.known, NOW, 1), &world.known);
    assert_eq!(world.refused(elsewhere), ErrorCode::Malformed);
}

#[test]
fn a_change_of_the_configuration_is_checked_however_it_comes() {
    let world = World::new(|config, _| {
        config.limits.as_mut().unwrap().envelope_bytes_max = 1 << 10;
    });
    let organization = &world.consortium.organizations[0];
    let [admin, other] = ["admin", "practitioner"].map(|role| organization.member(role, role));
    let current = world.admission.channel();
    let change = |by: &Credentials, quorum| {
        let config = pb::ChannelConfig {
            orderer_quorum: quorum,
            ..world.consortium.config()
        };
        update(current.configuration(), config, by, NOW)
    };
    // It may be larger than the channel's envelopes.
    let good = change(&admin, 1);
    assert!(good.len() > 1 << 10);
    let admitted = world.admission.admit(good.clone(), NOW).unwrap();
    assert!(admitted.alone);
    assert_eq!(
        world.admission.admit_forwarded(good, NOW).unwrap(),
        admitted
    );
    for bad in [change(&other, 1), change(&admin, 2)] {
        assert_eq!(world.refused(bad.clone()), ErrorCode::ConfigRefused);
        assert!(world.admission.admit_forwarded(bad, NOW).is_err());
    }
}

#[test]
fn a_whole_configuration_is_no_change_of_one() {
    let world = world();
    let body = pb::payload::Body::Config(world.consortium.config().encode_to_vec().into());
    let payload: Bytes = pb::Payload { body: Some(body) }.encode_to_vec().into();
    assert_eq!(
        world.refused(sign(payload.clone(), &world.known)),
        ErrorCode::Malformed
    );
    let forwarded = world
        .admission
        .admit_forwarded(sign(payload, &world.known), NOW);
    assert!(matches!(forwarded, Err(AdmissionError::Malformed(_))));
}

#[test]
fn malformed_and_oversized_envelopes_are_refused() {
    let world = world();
    assert_eq!(world.refused(Bytes::new()), ErrorCode::Malformed);
    assert_eq!(
        world.refused(Bytes::from_static(b"not an envelope")),
        ErrorCode::Malformed
    );
    let large = sign(
        transaction(CHANNEL, &world.known, NOW, 65 << 10),
        &world.known,
    );
    assert_eq!(world.refused(large.clone()), ErrorCode::TooLarge);
    assert!(world.admission.admit_forwarded(large, NOW).is_err());
}
