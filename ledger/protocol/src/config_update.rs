//! A change of a channel's configuration, parsed. Whether it is valid depends on the configuration
//! in force and on who signed it: that is decided where certificates are read.

use bytes::Bytes;
use prost::Message;

use crate::ids::{ChannelId, Hash32};
use crate::limits;
use crate::transaction::{self, TransactionError, TransactionHeader, limit};
use crate::{FORMAT_VERSION, hash, pb};

/// What administrators sign: a whole new configuration in place of the one that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// The channel.
    pub channel: ChannelId,
    /// The hash ([`hash::config`]) of the configuration that it is made for.
    pub base: Hash32,
    /// The encoded `ChannelConfig` that is to be in force.
    pub config: Bytes,
    /// Why, for those who are asked to sign. It has no control characters.
    pub description: String,
}

impl ConfigChange {
    /// The bytes that administrators sign, in [`hash::domain::CONFIG`].
    pub fn encode(&self) -> Bytes {
        pb::ConfigChange {
            version: FORMAT_VERSION,
            channel: self.channel.to_string(),
            base: self.base.to_bytes(),
            config: self.config.clone(),
            description: self.description.clone(),
        }
        .encode_to_vec()
        .into()
    }

    /// Parses a change. The configuration in it is only measured.
    ///
    /// # Errors
    /// [`TransactionError`] says what is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, TransactionError> {
        limit(
            "change",
            "ENVELOPE_BYTES_MAX",
            bytes.len(),
            limits::ENVELOPE_BYTES_MAX,
        )?;
        let change: pb::ConfigChange = transaction::decode("change", bytes)?;
        transaction::version(change.version)?;
        limit(
            "configuration",
            "CONFIG_BYTES_MAX",
            change.config.len(),
            limits::CONFIG_BYTES_MAX,
        )?;
        limit(
            "description",
            "CONFIG_DESCRIPTION_BYTES_MAX",
            change.description.len(),
            limits::CONFIG_DESCRIPTION_BYTES_MAX,
        )?;
        if change.description.chars().any(char::is_control) {
            return Err(TransactionError::Config(
                "the description has control characters",
            ));
        }
        Ok(Self {
            channel: ChannelId::new(&change.channel)?,
            base: Hash32::from_slice(&change.base)?,
            config: change.config,
            description: change.description,
        })
    }
}

/// An administrator's signature over [`ConfigUpdate::change_bytes`], in [`hash::domain::CONFIG`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSignature {
    /// Her certificate, DER.
    pub certificate: Bytes,
    /// The signature.
    pub signature: [u8; limits::SIGNATURE_BYTES],
}

impl ConfigSignature {
    /// The message that travels.
    pub fn to_pb(&self) -> pb::ConfigSignature {
        pb::ConfigSignature {
            certificate: self.certificate.clone(),
            signature: Bytes::copy_from_slice(&self.signature),
        }
    }
}

impl TryFrom<pb::ConfigSignature> for ConfigSignature {
    type Error = TransactionError;

    fn try_from(signature: pb::ConfigSignature) -> Result<Self, TransactionError> {
        check_certificate(&signature.certificate)?;
        let bytes = signature.signature.as_ref().try_into();
        Ok(Self {
            certificate: signature.certificate,
            signature: bytes.map_err(|_| TransactionError::Missing("64-byte signature"))?,
        })
    }
}

/// A change with its signatures, as it is submitted. A channel's own limit for envelopes does not
/// apply to it, or a channel could shut itself off from ever being changed; it has
/// [`limits::ENVELOPE_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigUpdate {
    /// Channel, nonce, creator, time.
    pub header: TransactionHeader,
    /// The certificate of the administrator who submits it, DER; its fingerprint is the creator.
    pub certificate: Bytes,
    /// The change as it was signed.
    pub change_bytes: Bytes,
    /// The same, parsed.
    pub change: ConfigChange,
    /// Who signed it.
    pub signatures: Vec<ConfigSignature>,
}

impl ConfigUpdate {
    /// The bytes that go into an envelope's payload.
    pub fn encode(&self) -> Bytes {
        pb::ConfigUpdate {
            version: FORMAT_VERSION,
            channel: self.header.channel.to_string(),
            nonce: self.header.nonce.to_bytes(),
            creator: self.header.creator.to_bytes(),
            timestamp_ms: self.header.timestamp_ms,
            certificate: self.certificate.clone(),
            change: self.change_bytes.clone(),
            signatures: self.signatures.iter().map(ConfigSignature::to_pb).collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// Parses an update.
    ///
    /// # Errors
    /// [`TransactionError`] says what is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, TransactionError> {
        let update: pb::ConfigUpdate = transaction::decode("update", bytes)?;
        transaction::version(update.version)?;
        limit(
            "signatures",
            "CONFIG_SIGNATURES_MAX",
            update.signatures.len(),
            limits::CONFIG_SIGNATURES_MAX,
        )?;
        check_certificate(&update.certificate)?;
        let header = TransactionHeader::parse(
            &update.channel,
            &update.nonce,
            &update.creator,
            update.timestamp_ms,
        )?;
        if hash::fingerprint(&update.certificate) != header.creator {
            return Err(TransactionError::Config(
                "the creator is not the certificate beside it",
            ));
        }
        let signatures = update.signatures.into_iter();
        Ok(Self {
            header,
            certificate: update.certificate,
            change: ConfigChange::decode(update.change.clone())?,
            change_bytes: update.change,
            signatures: signatures
                .map(ConfigSignature::try_from)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn check_certificate(der: &Bytes) -> Result<(), TransactionError> {
    limit(
        "certificate",
        "CERTIFICATE_BYTES_MAX",
        der.len(),
        limits::CERTIFICATE_BYTES_MAX,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Nonce;
    use crate::transaction::{Body, Envelope, Signed, config_payload, envelope};
    use crate::validation::ValidationCode;
    use proptest::prelude::*;

    fn update() -> ConfigUpdate {
        let change = ConfigChange {
            channel: ChannelId::new("care").unwrap(),
            base: Hash32([1; 32]),
            config: Bytes::from_static(b"configuration"),
            description: "a key was stolen".to_owned(),
        };
        let certificate = Bytes::from_static(b"certificate");
        ConfigUpdate {
            header: TransactionHeader {
                channel: change.channel.clone(),
                nonce: Nonce([2; 24]),
                creator: hash::fingerprint(&certificate),
                timestamp_ms: 1_700_000_000_000,
            },
            change_bytes: change.encode(),
            change,
            signatures: vec![ConfigSignature {
                certificate: certificate.clone(),
                signature: [3; 64],
            }],
            certificate,
        }
    }

    fn sealed(update: &ConfigUpdate) -> Bytes {
        envelope(Signed {
            bytes: config_payload(update),
            signature: [4; 64],
        })
    }

    #[test]
    fn an_update_there_and_back() {
        let decoded = Envelope::decode(sealed(&update())).unwrap();
        assert_eq!(decoded.header(), &update().header);
        assert_eq!(decoded.body, Body::Config(Box::new(update())));
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            hex::encode(&update().change.encode()[..12]),
            "0801120463617265".to_owned() + "1a200101",
        );
        let encoded = update().encode();
        assert_eq!(
            hex::encode(&encoded[..14]),
            "0801120463617265".to_owned() + "1a1802020202",
        );
        let change = update().change_bytes;
        assert_eq!(change.len(), 75);
        assert_eq!(encoded.len(), 246);
    }

    #[test]
    fn what_is_ill_formed_is_refused_with_its_verdict() {
        let check = |spoil: fn(&mut ConfigUpdate), expect: ValidationCode| {
            let mut update = update();
            spoil(&mut update);
            let error = Envelope::decode(sealed(&update)).unwrap_err();
            assert_eq!(error.code(), expect, "{error}");
        };
        let change = |spoil: fn(&mut ConfigChange), expect: ValidationCode| {
            let mut update = update();
            spoil(&mut update.change);
            update.change_bytes = update.change.encode();
            let error = Envelope::decode(sealed(&update)).unwrap_err();
            assert_eq!(error.code(), expect, "{error}");
        };
        let invalid = ValidationCode::InvalidConfigTransaction;
        let bad = ValidationCode::BadPayload;
        check(|u| u.header.creator.0[0] ^= 1, invalid);
        check(|u| u.certificate = vec![0; 8193].into(), bad);
        check(|u| u.signatures = vec![u.signatures[0].clone(); 129], bad);
        check(|u| u.signatures[0].certificate = vec![0; 8193].into(), bad);
        check(|u| u.change_bytes = Bytes::from_static(b"\xff"), bad);
        check(
            |u| u.change_bytes = Bytes::new(),
            ValidationCode::BadCommonHeader,
        );
        change(|c| c.description = "a\x1b[2Jb".to_owned(), invalid);
        change(|c| c.description = "x".repeat(1025), bad);
        change(|c| c.config = vec![0; (512 << 10) + 1].into(), bad);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_fall(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ConfigUpdate::decode(bytes.clone().into());
            let _ = ConfigChange::decode(bytes.into());
        }

        #[test]
        fn a_flipped_bit_never_makes_the_decoder_fall(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = update().encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = ConfigUpdate::decode(bytes.into());
        }

        #[test]
        fn every_change_survives_the_wire(
            base in any::<[u8; 32]>(),
            config in prop::collection::vec(any::<u8>(), 0..100),
            description in "[ -~é]{0,40}",
        ) {
            let channel = ChannelId::new("care").unwrap();
            let (base, config) = (Hash32(base), config.into());
            let change = ConfigChange { channel, base, config, description };
            prop_assert_eq!(ConfigChange::decode(change.encode()).unwrap(), change);
        }
    }
}
