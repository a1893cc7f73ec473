//! The authority for TLS certificates.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType,
};
use stela_protocol::OrgId;
use zeroize::{Zeroize, Zeroizing};

use super::{AuthorityError, Validity, authority_params, params};
use crate::certificate::{single, to_pem};
use crate::files::{self, Mode};
use crate::limits::TLS_NAMES_MAX;
use crate::tls::TlsIdentity;

/// The authority of an organization for TLS.
pub struct TlsAuthority {
    organization: OrgId,
    der: Vec<u8>,
    key: KeyPair,
}

impl TlsAuthority {
    /// Makes an authority with a fresh key.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn create(organization: &OrgId, validity: Validity) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let name = format!("{organization} TLS CA");
        let params = authority_params(organization, &name, validity)?;
        let der = params.self_signed(&key)?.der().to_vec();
        Ok(Self {
            organization: organization.clone(),
            der,
            key,
        })
    }

    /// Reads `tls-ca.pem` and `tls-ca.key.pem` in a folder.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        let der = single(&files::read(&folder.join("tls-ca.pem"))?)?;
        let organization = crate::tls::organization_of(&der)?;
        let key = KeyPair::from_pem(&files::read(&folder.join("tls-ca.key.pem"))?)?;
        if crate::tls::public_key_of(&der)? != key.der_bytes() {
            return Err(AuthorityError::KeyMismatch);
        }
        Ok(Self {
            organization,
            der,
            key,
        })
    }

    /// Writes `tls-ca.pem` and `tls-ca.key.pem` into a folder.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn save(&self, folder: &Path) -> Result<(), AuthorityError> {
        let key = Zeroizing::new(self.key.serialize_pem());
        files::write(&folder.join("tls-ca.key.pem"), &key, Mode::Secret)?;
        Ok(files::write(
            &folder.join("tls-ca.pem"),
            &to_pem(&self.der),
            Mode::Public,
        )?)
    }

    /// Whose authority it is.
    pub fn organization(&self) -> &OrgId {
        &self.organization
    }

    /// The root certificate, for the channel's configuration.
    pub fn root_der(&self) -> &[u8] {
        &self.der
    }

    /// Issues a certificate over a fresh key, for both ends of connections. `names` are the DNS
    /// names and IP addresses under which the holder is reached.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue(
        &self,
        common_name: &str,
        names: &[String],
        validity: Validity,
    ) -> Result<TlsIdentity, AuthorityError> {
        if names.is_empty() || names.len() > TLS_NAMES_MAX {
            return Err(AuthorityError::Names(names.len()));
        }
        let mut params = params(&self.organization, common_name, validity)?;
        params.subject_alt_names = names
            .iter()
            .map(|n| alternative(n))
            .collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let der = self.der.as_slice().into();
        let issuer = Issuer::from_ca_cert_der(&der, &self.key)?;
        let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = params.signed_by(&key, &issuer)?;
        let secret = Zeroizing::new(key.serialize_der());
        key.zeroize();
        Ok(TlsIdentity::new(vec![leaf.der().to_vec()], secret)?)
    }
}

impl Drop for TlsAuthority {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for TlsAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsAuthority({})", self.organization)
    }
}

fn alternative(name: &str) -> Result<SanType, AuthorityError> {
    let error = || AuthorityError::Name(name.to_owned());
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    rustls_pki_types::DnsName::try_from(name).map_err(|_| error())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| error())?))
}
