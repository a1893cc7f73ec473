use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use super::*;

const DOMAIN: &[u8] = b"stela/v1/test\0";

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
const RFC_8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

#[test]
fn the_vectors_of_rfc_8032() {
    for [seed, public, message, signature] in RFC_8032 {
        let key = SigningKey::from_seed(&bytes(seed));
        assert_eq!(key.public_key().as_bytes(), &bytes(public));
        let (message, signature) = (hex::decode(message).unwrap(), bytes::<64>(signature));
        assert_eq!(key.sign(&[], &message), signature);
        let public = PublicKey::from_bytes(&bytes::<32>(public)).unwrap();
        assert_eq!(public.verify(&[], &message, &signature), Ok(()));
        assert_eq!(
            public.verify(&[], b"other", &signature),
            Err(SignatureError)
        );
    }
}

#[test]
fn a_domain_is_part_of_what_is_signed() {
    let key = SigningKey::from_seed(&[1; 32]);
    let signature = key.sign(b"one\0", b"message");
    assert_eq!(
        key.public_key().verify(b"one\0", b"message", &signature),
        Ok(())
    );
    assert_eq!(
        key.public_key().verify(b"two\0", b"message", &signature),
        Err(SignatureError)
    );
}

#[test]
fn a_signature_has_64_bytes() {
    let key = SigningKey::from_seed(&[1; 32]);
    let signature = key.sign(DOMAIN, b"message");
    for wrong in [&signature[..63], &[&signature[..], &[0]].concat(), &[]] {
        assert_eq!(
            key.public_key().verify(DOMAIN, b"message", wrong),
            Err(SignatureError)
        );
    }
}

fn encode(point: EdwardsPoint) -> [u8; 32] {
    point.compress().to_bytes()
}

/// The encodings of y = p + 1, so of y = 1 (the identity), with and without the sign bit.
fn non_canonical_identity(sign: bool) -> [u8; 32] {
    let mut encoded = [0xff; 32];
    encoded[0] = 0xee;
    encoded[31] = if sign { 0xff } else { 0x7f };
    encoded
}

#[test]
fn weak_keys_are_refused() {
    let check = |key: &[u8], expected| assert_eq!(PublicKey::from_bytes(key).err(), Some(expected));
    check(&[0; 31], WeakKey::Length);
    check(
        &bytes::<32>(&format!("02{}", "00".repeat(31))),
        WeakKey::NotAPoint,
    );
    for point in EIGHT_TORSION {
        check(&encode(point), WeakKey::SmallOrder);
    }
    check(&non_canonical_identity(false), WeakKey::NotCanonical);
    check(&non_canonical_identity(true), WeakKey::NotCanonical);
    for torsion in &EIGHT_TORSION[1..] {
        check(&encode(ED25519_BASEPOINT_POINT + torsion), WeakKey::Torsion);
    }
    assert!(PublicKey::from_bytes(&encode(ED25519_BASEPOINT_POINT)).is_ok());
}

/// Signs with the secret scalar `a` and an `R` of one's choice: `R_bytes` is how it is encoded.
fn forge(a: Scalar, r: Scalar, r_bytes: [u8; 32], message: &[u8]) -> [u8; 64] {
    let public = encode(ED25519_BASEPOINT_POINT * a);
    let hash = Sha512::new()
        .chain_update(r_bytes)
        .chain_update(public)
        .chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    [r_bytes, (r + k * a).to_bytes()]
        .concat()
        .try_into()
        .unwrap()
}

/// Signatures about which implementations disagree; ZIP 215 says yes to the first four.
fn edge_cases(a: Scalar, message: &[u8]) -> Vec<([u8; 64], bool)> {
    let r = Scalar::from(7_u64);
    let point = ED25519_BASEPOINT_POINT * r;
    let good = forge(a, r, encode(point), message);
    let torsion = forge(a, r, encode(point + EIGHT_TORSION[1]), message);
    let identity = forge(a, Scalar::ZERO, non_canonical_identity(false), message);
    let small_order = forge(a, Scalar::ZERO, encode(EIGHT_TORSION[3]), message);
    // The order of the group, l: s + l is the same number modulo l, but not below l.
    let order = bytes::<32>("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut large_s = good;
    let mut carry = 0_u16;
    for (byte, add) in large_s[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    let mut not_a_point = good;
    not_a_point[..32].copy_from_slice(&bytes::<32>(&format!("02{}", "00".repeat(31))));
    let mut wrong = good;
    wrong[40] ^= 1;
    vec![
        (good, true),
        (torsion, true),
        (identity, true),
        (small_order, true),
        (large_s, false),
        (not_a_point, false),
        (wrong, false),
    ]
}

#[test]
fn edge_cases_get_the_verdict_of_zip_215_alone_and_in_a_batch() {
    let a = Scalar::from(0xdead_beef_u64);
    let public = PublicKey::from_bytes(&encode(ED25519_BASEPOINT_POINT * a)).unwrap();
    let (domain, message) = (DOMAIN, b"message".as_slice());
    let cases = edge_cases(a, &[domain, message].concat());
    for (index, (signature, expected)) in cases.iter().enumerate() {
        let alone = public.verify(domain, message, signature).is_ok();
        assert_eq!(alone, *expected, "case {index}");
        let one = SignedMessage {
            key: &public,
            domain,
            message,
            signature,
        };
        assert_eq!(
            verify_batch(&[one]),
            [*expected],
            "case {index} in a batch of one"
        );
    }
    let all: Vec<_> = cases
        .iter()
        .map(|(signature, _)| SignedMessage {
            key: &public,
            domain,
            message,
            signature,
        })
        .collect();
    let expected: Vec<_> = cases.iter().map(|(_, expected)| *expected).collect();
    assert_eq!(verify_batch(&all), expected);
    assert_eq!(verify_batch(&all[..4]), expected[..4]);
    assert!(verify_batch(&[]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_batch_gives_the_verdicts_of_its_parts(
        parts in prop::collection::vec((0..4_u8, any::<[u8; 4]>(), 0..6_u8, 0..64_usize), 0..12),
    ) {
        let keys: Vec<_> = (0..4).map(|seed| SigningKey::from_seed(&[seed; 32])).collect();
        let signed: Vec<_> = parts
            .iter()
            .map(|(key, message, damage, at)| {
                let key = &keys[usize::from(*key)];
                let mut signature = key.sign(DOMAIN, message).to_vec();
                match damage {
                    0 => signature[*at] ^= 0x10,
                    1 => signature.truncate(*at),
                    _ => {}
                }
                (key.public_key(), message, signature)
            })
            .collect();
        let messages: Vec<_> = signed
            .iter()
            .map(|(key, message, signature)| SignedMessage {
                key,
                domain: DOMAIN,
                message: message.as_slice(),
                signature,
            })
            .collect();
        let alone: Vec<_> = messages
            .iter()
            .map(|m| m.key.verify(m.domain, m.message, m.signature).is_ok())
            .collect();
        prop_assert_eq!(verify_batch(&messages), alone);
    }
}

#[test]
fn a_key_survives_its_pem_and_its_file() {
    let key = SigningKey::generate();
    assert_eq!(
        SigningKey::from_pem(&key.to_pem()).unwrap().public_key(),
        key.public_key()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    key.save(&path).unwrap();
    assert_eq!(
        SigningKey::load(&path).unwrap().sign(DOMAIN, b"m"),
        key.sign(DOMAIN, b"m")
    );
}

#[test]
fn what_openssl_writes_is_read() {
    // The key of RFC 8410, section 10.3, in version 1 and in version 2 with its public key.
    let first = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
    let key = SigningKey::from_pem(first).unwrap();
    let expected = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    assert_eq!(hex::encode(key.public_key().as_bytes()), expected);
    assert_eq!(key.to_pem().as_str(), first);
}

#[test]
fn a_broken_key_file_is_an_error_and_never_a_panic() {
    let good = SigningKey::generate().to_pem();
    let cut = &good[..good.len() / 2];
    let other = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for text in ["", "x", cut, other] {
        assert!(matches!(SigningKey::from_pem(text), Err(KeyError::Format)));
    }
}

#[test]
fn a_key_never_shows_its_secret() {
    let key = SigningKey::from_seed(&[0xab; 32]);
    assert!(!format!("{key:?}").contains("abab"));
}
