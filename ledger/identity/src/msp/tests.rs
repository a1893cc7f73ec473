use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm,
};
use stela_protocol::ChannelId;
use stela_protocol::config::ChannelLimits;
use stela_protocol::policy::Policy;

use super::*;
use crate::authority::{self, Ed25519};
use crate::keys::{SigningKey, WeakKey};
use crate::{AuthorityError, CertificateAuthority, Credentials, KeyError, Subject, Validity};

const FROM: u64 = 1_700_000_000_000;
const TO: u64 = 1_800_000_000_000;
const NOW: u64 = 1_750_000_000_000;
const VALIDITY: Validity = Validity {
    not_before_ms: FROM,
    not_after_ms: TO,
};

fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

fn authority(name: &str) -> CertificateAuthority {
    CertificateAuthority::create(&org(name), VALIDITY).unwrap()
}

fn subject(role: &str) -> Subject {
    Subject {
        common_name: "member-1".to_owned(),
        role: role.to_owned(),
        attributes: BTreeMap::from([("department".to_owned(), "cardiology".to_owned())]),
        validity: VALIDITY,
    }
}

fn config(authorities: &[&CertificateAuthority], revoked: &[Fingerprint]) -> ChannelConfig {
    let organization = |authority: &&CertificateAuthority| Organization {
        id: authority.organization().clone(),
        root_certificate: Bytes::copy_from_slice(authority.root_der()),
        tls_root_certificates: Vec::new(),
        peers: Vec::new(),
        storage: Vec::new(),
        revoked: revoked.iter().copied().collect(),
        roles: Default::default(),
    };
    let organizations = authorities
        .iter()
        .map(organization)
        .map(|o| (o.id.clone(), o))
        .collect();
    ChannelConfig {
        channel: ChannelId::new("care").unwrap(),
        sequence: 0,
        organizations,
        orderers: BTreeMap::new(),
        orderer_quorum: 1,
        limits: ChannelLimits {
            window_ms: 1,
            block_transactions_max: 1,
            block_bytes_max: 1,
            envelope_bytes_max: 1,
        },
        contracts: BTreeMap::new(),
        admin_policy: Policy::parse("'A.admin'").unwrap(),
        certificates: Vec::new(),
        orderers_ever: 0,
        custodians: Default::default(),
        custodian_threshold: 0,
    }
}

fn msp(authorities: &[&CertificateAuthority]) -> Msp {
    Msp::from_config(&config(authorities, &[])).unwrap()
}

/// Parameters of a certificate that would be accepted, to be spoiled.
fn good_params() -> CertificateParams {
    let mut params = authority::params(&org("A"), "member-1", VALIDITY).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.custom_extensions = vec![attributes(r#"{"attrs":{"role":"peer"}}"#)];
    params
}

fn attributes(json: &str) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 2, 3, 4, 5, 6, 7, 8, 1], json.as_bytes().to_vec())
}

struct RawKey([u8; 32]);

impl PublicKeyData for RawKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// A certificate signed by an authority of A whose key is known here.
fn sign(params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
    let issuer_key = SigningKey::from_seed(&[7; 32]);
    let root = authority::authority_params(&org("A"), "A Root CA", VALIDITY).unwrap();
    let issuer = Issuer::new(root, Ed25519(&issuer_key));
    params.signed_by(key, &issuer).unwrap().der().to_vec()
}

fn spoiled(spoil: impl FnOnce(&mut CertificateParams)) -> CertificateError {
    let mut params = good_params();
    spoil(&mut params);
    let key = SigningKey::from_seed(&[8; 32]);
    Certificate::from_der(&sign(&params, &Ed25519(&key))).unwrap_err()
}

#[test]
fn a_member_is_identified() {
    let a = authority("A");
    let member = a.issue(&subject("practitioner")).unwrap();
    let identity = msp(&[&a, &authority("B")])
        .validate(&member.certificate, NOW)
        .unwrap();
    assert_eq!(identity.organization, org("A"));
    assert_eq!(identity.role, "practitioner");
    assert_eq!(identity.common_name, "member-1");
    assert_eq!(identity.attributes["department"], "cardiology");
    assert_eq!(identity.attributes["role"], "practitioner");
    assert_eq!(identity.public_key, member.key.public_key());
    assert_eq!(
        identity.fingerprint,
        stela_protocol::hash::fingerprint(member.certificate.der())
    );
    assert_eq!((identity.not_before_ms, identity.not_after_ms), (FROM, TO));
    let signature = member.sign(b"d\0", b"message");
    assert_eq!(identity.verify(b"d\0", b"message", &signature), Ok(()));
    assert_eq!(
        identity.verify(b"d\0", b"massage", &signature),
        Err(SignatureError)
    );
}

#[test]
fn only_the_roles_that_the_configuration_names_are_accepted() {
    let a = authority("A");
    let mut config = config(&[&a], &[]);
    let organization = config.organizations.get_mut(&org("A")).unwrap();
    organization.roles = ["admin".to_owned(), "peer".to_owned()].into();
    let members = Msp::from_config(&config).unwrap();
    let issue = |role: &str| a.issue(&subject(role)).unwrap().certificate;
    assert!(members.admit(&issue("peer")).is_ok());
    let patient = issue("patient");
    let (fingerprint, organization) = (patient.fingerprint(), org("A"));
    let expected = IdentityError::Role {
        fingerprint,
        organization,
    };
    assert_eq!(members.admit(&patient), Err(expected));
}

#[test]
fn one_organization_alone_knows_its_own() {
    let (a, b) = (authority("A"), authority("B"));
    let own = Msp::of_organization(&org("A"), a.root_der()).unwrap();
    let issue = |authority: &CertificateAuthority| authority.issue(&subject("admin")).unwrap();
    assert!(own.admit(&issue(&a).certificate).is_ok());
    assert!(own.admit(&issue(&b).certificate).is_err());
    assert!(matches!(
        Msp::of_organization(&org("A"), b.root_der()),
        Err(MspError::Organization { .. })
    ));
}

#[test]
fn a_certificate_is_small() {
    let a = CertificateAuthority::create(&org("HospitalA"), VALIDITY).unwrap();
    let member = a.issue(&subject("practitioner")).unwrap();
    assert!(
        member.certificate.der().len() < 450,
        "{}",
        member.certificate.der().len()
    );
}

#[test]
fn strangers_are_refused() {
    let (a, b) = (authority("A"), authority("B"));
    let members = msp(&[&a]);
    let stranger = b.issue(&subject("peer")).unwrap().certificate;
    let unknown = IdentityError::UnknownOrganization {
        organization: org("B"),
    };
    assert_eq!(members.validate(&stranger, NOW), Err(unknown));
}

#[test]
fn an_authority_cannot_speak_for_another_organization() {
    let (a, b) = (authority("A"), authority("B"));
    // B's authority signs a certificate whose subject is of A, and once also names A's as issuer.
    let issue = |name: &str| {
        let key = SigningKey::from_seed(&[9; 32]);
        let mut root = authority::authority_params(&org("B"), "x", VALIDITY).unwrap();
        root.distinguished_name = DistinguishedName::new();
        root.distinguished_name.push(DnType::OrganizationName, name);
        root.distinguished_name
            .push(DnType::CommonName, format!("{name} Root CA"));
        let issuer = Issuer::new(root, Ed25519(&key));
        let der = good_params()
            .signed_by(&Ed25519(&key), &issuer)
            .unwrap()
            .der()
            .to_vec();
        Certificate::from_der(&der).unwrap()
    };
    let members = msp(&[&a, &b]);
    let honest_issuer = issue("B");
    let (fingerprint, organization) = (honest_issuer.fingerprint(), org("A"));
    let expected = IdentityError::WrongIssuer {
        fingerprint,
        organization,
    };
    assert_eq!(members.validate(&honest_issuer, NOW), Err(expected));
    let forged_issuer = issue("A");
    let (fingerprint, organization) = (forged_issuer.fingerprint(), org("A"));
    let expected = IdentityError::BadSignature {
        fingerprint,
        organization,
    };
    assert_eq!(members.validate(&forged_issuer, NOW), Err(expected));
}

#[test]
fn validity_has_two_ends_and_both_are_included() {
    let a = authority("A");
    let certificate = a.issue(&subject("peer")).unwrap().certificate;
    let (members, fingerprint) = (msp(&[&a]), certificate.fingerprint());
    let check = |at_ms| members.validate(&certificate, at_ms).map(drop);
    assert_eq!(check(FROM), Ok(()));
    assert_eq!(check(TO), Ok(()));
    let (not_before_ms, not_after_ms) = (FROM, TO);
    let early = IdentityError::NotYetValid {
        fingerprint,
        not_before_ms,
        at_ms: FROM - 1,
    };
    assert_eq!(check(FROM - 1), Err(early));
    let late = IdentityError::Expired {
        fingerprint,
        not_after_ms,
        at_ms: TO + 1,
    };
    assert_eq!(check(TO + 1), Err(late));
}

#[test]
fn a_certificate_does_not_outlive_its_authority() {
    let a = authority("A");
    let validity = Validity {
        not_before_ms: FROM - 5000,
        not_after_ms: TO + 5000,
    };
    let certificate = a
        .issue(&Subject {
            validity,
            ..subject("peer")
        })
        .unwrap()
        .certificate;
    let members = msp(&[&a]);
    assert!(matches!(
        members.validate(&certificate, FROM - 1000),
        Err(IdentityError::NotYetValid { .. })
    ));
    assert!(matches!(
        members.validate(&certificate, TO + 1000),
        Err(IdentityError::Expired { .. })
    ));
}

#[test]
fn a_revoked_certificate_is_refused_by_its_own_organization_only() {
    let (a, b) = (authority("A"), authority("B"));
    let certificate = a.issue(&subject("peer")).unwrap().certificate;
    let (fingerprint, organization) = (certificate.fingerprint(), org("A"));
    let mut changed = config(&[&a, &b], &[]);
    changed
        .organizations
        .get_mut(&org("B"))
        .unwrap()
        .revoked
        .insert(fingerprint);
    assert!(
        Msp::from_config(&changed)
            .unwrap()
            .validate(&certificate, NOW)
            .is_ok()
    );
    changed
        .organizations
        .get_mut(&org("A"))
        .unwrap()
        .revoked
        .insert(fingerprint);
    let members = Msp::from_config(&changed).unwrap();
    let revoked = IdentityError::Revoked {
        fingerprint,
        organization,
    };
    assert_eq!(members.validate(&certificate, NOW), Err(revoked));
    assert!(members.is_revoked(&fingerprint));
}

#[test]
fn an_authority_is_no_member() {
    let error = Certificate::from_der(authority("A").root_der()).unwrap_err();
    assert_eq!(error, CertificateError::CaAsLeaf);
}

#[test]
fn the_key_has_to_be_for_signing_and_for_nothing_more() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyAgreement, KeyCertSign};
    for usages in [
        vec![],
        vec![KeyAgreement],
        vec![CrlSign],
        vec![DigitalSignature, KeyCertSign],
    ] {
        assert_eq!(
            spoiled(|p| p.key_usages = usages),
            CertificateError::KeyUsage
        );
    }
}

#[test]
fn weak_keys_are_not_registered() {
    let weak = [
        (
            curve25519_dalek::constants::EIGHT_TORSION[1]
                .compress()
                .to_bytes(),
            WeakKey::SmallOrder,
        ),
        ([0xff; 32], WeakKey::NotAPoint),
        (
            (curve25519_dalek::constants::ED25519_BASEPOINT_POINT
                + curve25519_dalek::constants::EIGHT_TORSION[1])
                .compress()
                .to_bytes(),
            WeakKey::Torsion,
        ),
    ];
    for (key, expected) in weak {
        let error = Certificate::from_der(&sign(&good_params(), &RawKey(key))).unwrap_err();
        assert!(
            error == CertificateError::WeakKey(expected)
                || error == CertificateError::WeakKey(WeakKey::NotCanonical),
            "{error:?}"
        );
    }
}

#[test]
fn only_ed25519_signs_on_the_ledger() {
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let error = Certificate::from_der(&sign(&good_params(), &p256)).unwrap_err();
    assert_eq!(error, CertificateError::Algorithm);
    let self_signed = good_params().self_signed(&p256).unwrap();
    let error = Certificate::from_der(self_signed.der()).unwrap_err();
    assert_eq!(error, CertificateError::Algorithm);
}

#[test]
fn a_subject_has_one_organization_and_one_name() {
    let name = |parts: &[(DnType, &str)]| {
        let mut name = DistinguishedName::new();
        for (kind, value) in parts {
            name.push(kind.clone(), *value);
        }
        name
    };
    let (o, cn) = (DnType::OrganizationName, DnType::CommonName);
    let check = |parts: &[(DnType, &str)], expected| {
        assert_eq!(spoiled(|p| p.distinguished_name = name(parts)), expected);
    };
    check(&[(cn.clone(), "x")], CertificateError::Organization);
    check(
        &[(o.clone(), "../A"), (cn.clone(), "x")],
        CertificateError::Organization,
    );
    check(
        &[(o.clone(), "A\0"), (cn.clone(), "x")],
        CertificateError::Organization,
    );
    let second = |oid: &[u64]| DnType::CustomDnType(oid.to_vec());
    check(
        &[
            (o.clone(), "A"),
            (second(&[2, 5, 4, 10]), "B"),
            (cn.clone(), "x"),
        ],
        CertificateError::Organization,
    );
    check(
        &[
            (o.clone(), "A"),
            (cn.clone(), "x"),
            (second(&[2, 5, 4, 3]), "y"),
        ],
        CertificateError::CommonName,
    );
    check(&[(o.clone(), "A")], CertificateError::CommonName);
    check(
        &[(o.clone(), "A"), (cn.clone(), "x\ny")],
        CertificateError::CommonName,
    );
    check(
        &[(o, "A"), (cn, &"x".repeat(65))],
        CertificateError::CommonName,
    );
}

#[test]
fn attributes_are_read_strictly() {
    let check = |json: &str| spoiled(|p| p.custom_extensions = vec![attributes(json)]);
    let deep = format!(r#"{{"attrs":{}"#, "[".repeat(1000));
    let many: Vec<_> = (0..17).map(|n| format!(r#""a{n}":"x""#)).collect();
    let not_accepted = [
        "".to_owned(),
        "[]".to_owned(),
        r#"{"attrs":{"role":"peer","role":"admin"}}"#.to_owned(),
        r#"{"attrs":{"role":"peer"},"more":1}"#.to_owned(),
        r#"{"attrs":{"role":"peer"}} "x""#.to_owned(),
        r#"{"attrs":{"role":1}}"#.to_owned(),
        r#"{"attrs":{"role":"peer","a b":"x"}}"#.to_owned(),
        r#"{"attrs":{"role":"peer","":"x"}}"#.to_owned(),
        r#"{"attrs":{"role":"peer","a":"\u0000"}}"#.to_owned(),
        format!(r#"{{"attrs":{{"role":"peer","a":"{}"}}}}"#, "x".repeat(257)),
        format!(r#"{{"attrs":{{"role":"peer",{}}}}}"#, many.join(",")),
        format!(r#"{{"attrs":{{"role":"peer"}}}}{}"#, " ".repeat(6200)),
        deep,
    ];
    for json in not_accepted {
        assert!(
            matches!(check(&json), CertificateError::Attributes(_)),
            "{json}"
        );
    }
    for role in ["", "Peer", "pe er", "member", "peer2"] {
        let json = format!(r#"{{"attrs":{{"role":"{role}"}}}}"#);
        assert_eq!(check(&json), CertificateError::Role, "{role}");
    }
    assert_eq!(check(r#"{"attrs":{}}"#), CertificateError::Role);
    assert_eq!(
        spoiled(|p| p.custom_extensions.clear()),
        CertificateError::Role
    );
}

#[test]
fn a_critical_extension_must_be_understood() {
    let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
    unknown.set_criticality(true);
    let error = spoiled(|p| p.custom_extensions.push(unknown));
    assert_eq!(
        error,
        CertificateError::CriticalExtension("1.2.3".to_owned())
    );
    let twice = attributes(r#"{"attrs":{"role":"admin"}}"#);
    let error = spoiled(|p| p.custom_extensions.push(twice));
    assert!(matches!(error, CertificateError::Encoding(_)));
}

#[test]
fn the_limits_of_size_hold() {
    let error = Certificate::from_der(&[0x30; 8193]).unwrap_err();
    assert_eq!(error, CertificateError::TooLarge(8193));
}

/// Otherwise a revoked certificate would come back in another dress.
#[test]
fn a_certificate_has_one_encoding() {
    let a = authority("A");
    let der = a
        .issue(&subject("peer"))
        .unwrap()
        .certificate
        .der()
        .to_vec();
    assert_eq!(der[..2], [0x30, 0x82]);
    let longer = [&[0x30, 0x83, 0x00], &der[2..]].concat();
    let indefinite = [&[0x30, 0x80], &der[4..], &[0, 0]].concat();
    let trailing = [&der[..], &[0]].concat();
    for other in [longer, indefinite, trailing] {
        assert!(matches!(
            Certificate::from_der(&other),
            Err(CertificateError::Encoding(_))
        ));
    }
}

#[test]
fn no_flipped_bit_is_admitted() {
    let a = authority("A");
    let der = a
        .issue(&subject("peer"))
        .unwrap()
        .certificate
        .der()
        .to_vec();
    let members = msp(&[&a]);
    let admitted = |der: &[u8]| {
        Certificate::from_der(der).is_ok_and(|certificate| members.admit(&certificate).is_ok())
    };
    assert!(admitted(&der));
    for bit in 0..der.len() * 8 {
        let mut other = der.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!admitted(&other), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn bytes_from_anywhere_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Certificate::from_der(&bytes).is_err());
    }
}

#[test]
fn roots_are_checked_as_strictly() {
    let a = authority("A");
    let check = |root: &[u8]| {
        let mut changed = config(&[&a], &[]);
        let organization = changed.organizations.get_mut(&org("A")).unwrap();
        organization.root_certificate = Bytes::copy_from_slice(root);
        Msp::from_config(&changed).unwrap_err()
    };
    let refused = |source| MspError::Root {
        organization: org("A"),
        source,
    };
    let leaf = a.issue(&subject("peer")).unwrap().certificate;
    assert_eq!(check(leaf.der()), refused(CertificateError::LeafAsCa));
    let other = MspError::Organization {
        organization: org("A"),
        named: org("B"),
    };
    assert_eq!(check(authority("B").root_der()), other);
    let mut damaged = a.root_der().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(check(&damaged), refused(CertificateError::NotSelfSigned));
    let params = authority::authority_params(&org("A"), "A Root CA", VALIDITY).unwrap();
    let by_another = sign(&params, &Ed25519(&SigningKey::generate()));
    assert_eq!(check(&by_another), refused(CertificateError::NotSelfSigned));
    let mut useless = params;
    useless.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = SigningKey::generate();
    let useless = useless.self_signed(&Ed25519(&key)).unwrap();
    assert_eq!(check(useless.der()), refused(CertificateError::KeyUsage));
    assert!(matches!(check(b""), MspError::Root { .. }));
}

#[test]
fn the_cache_is_keyed_by_configuration() {
    let a = authority("A");
    let certificate = a.issue(&subject("peer")).unwrap().certificate;
    let cache = IdentityCache::default();
    let before = msp(&[&a]);
    let first = cache.validate(&before, &certificate, NOW).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &cache.validate(&before, &certificate, NOW).unwrap()
    ));
    assert!(Arc::ptr_eq(
        &first,
        &cache.known(&certificate.fingerprint(), 0).unwrap()
    ));
    assert!(cache.known(&certificate.fingerprint(), 1).is_none());
    let late = cache.validate(&before, &certificate, TO + 1);
    assert!(matches!(late, Err(IdentityError::Expired { .. })));
    let mut changed = config(&[&a], &[certificate.fingerprint()]);
    changed.sequence = 1;
    let after = Msp::from_config(&changed).unwrap();
    let revoked = cache.validate(&after, &certificate, NOW);
    assert!(matches!(revoked, Err(IdentityError::Revoked { .. })));
    assert!(cache.validate(&before, &certificate, NOW).is_ok());
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let a = authority("A");
    let members = msp(&[&a]);
    let cache = IdentityCache::new(8);
    let used = a.issue(&subject("peer")).unwrap().certificate;
    for _ in 0..64 {
        let once = a.issue(&subject("peer")).unwrap().certificate;
        cache.admit(&members, &once).unwrap();
        cache.admit(&members, &used).unwrap();
        assert!(cache.known(&used.fingerprint(), 0).is_some());
        let generations = cache.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 8);
    }
}

#[test]
fn authorities_and_credentials_survive_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let a = authority("A");
    a.save(&path("a")).unwrap();
    let again = CertificateAuthority::load(&path("a")).unwrap();
    let member = again.issue(&subject("peer")).unwrap();
    assert!(msp(&[&a]).validate(&member.certificate, NOW).is_ok());
    member.save(&path("member")).unwrap();
    let loaded = Credentials::load(&path("member")).unwrap();
    assert_eq!(loaded.certificate, member.certificate);
    assert_eq!(loaded.sign(b"d", b"m"), member.sign(b"d", b"m"));
    let load = |folder: &Path| Credentials::load(folder).unwrap_err();
    SigningKey::generate()
        .save(&path("member").join("key.pem"))
        .unwrap();
    assert!(matches!(load(&path("member")), AuthorityError::KeyMismatch));
    std::fs::write(path("member").join("key.pem"), "x").unwrap();
    assert!(matches!(
        load(&path("member")),
        AuthorityError::Key(KeyError::Format)
    ));
    assert!(matches!(load(&path("nowhere")), AuthorityError::File(_)));
    authority("B").save(&path("b")).unwrap();
    std::fs::copy(path("b").join("ca.key.pem"), path("a").join("ca.key.pem")).unwrap();
    let mixed = CertificateAuthority::load(&path("a")).unwrap_err();
    assert!(matches!(mixed, AuthorityError::KeyMismatch));
}

#[test]
fn an_authority_issues_nothing_that_would_be_refused() {
    let a = authority("A");
    let refused = |subject: Subject| a.issue(&subject).map(drop).unwrap_err();
    assert!(matches!(
        refused(subject("Practitioner")),
        AuthorityError::Certificate(CertificateError::Role)
    ));
    let nameless = Subject {
        common_name: String::new(),
        ..subject("peer")
    };
    assert!(matches!(
        refused(nameless),
        AuthorityError::Certificate(CertificateError::CommonName)
    ));
    let validity = Validity {
        not_before_ms: TO,
        not_after_ms: FROM,
    };
    assert!(matches!(
        refused(Subject {
            validity,
            ..subject("peer")
        }),
        AuthorityError::Certificate(CertificateError::Validity)
    ));
    let validity = Validity {
        not_before_ms: FROM,
        not_after_ms: u64::MAX,
    };
    assert!(matches!(
        refused(Subject {
            validity,
            ..subject("peer")
        }),
        AuthorityError::Time(_)
    ));
}

#[test]
fn nothing_that_is_shown_shows_attributes_or_keys() {
    let a = authority("A");
    let attributes = BTreeMap::from([("patient".to_owned(), "pseudonym-4711".to_owned())]);
    let member = a
        .issue(&Subject {
            attributes,
            ..subject("patient")
        })
        .unwrap();
    let identity = msp(&[&a]).validate(&member.certificate, NOW).unwrap();
    let shown = format!("{identity:?} {member:?} {a:?}");
    assert!(
        !shown.contains("4711") && !shown.contains("member-1"),
        "{shown}"
    );
}
