//! Who is who.
//!
//! [`SigningKey`] and [`PublicKey`] are Ed25519 under one rule of verification, ZIP 215, alone or
//! in batches. A [`Certificate`] is a parsed X.509 leaf that names an organization, a role and
//! attributes; an [`Msp`] is the membership that a channel's configuration describes, and turns a
//! certificate into an [`Identity`] or a typed refusal. A [`Configuration`] is one that can be in
//! force; [`config_update`] decides whether another may take its place. [`CertificateAuthority`] and
//! [`TlsAuthority`] issue. [`tls`] carries gRPC over mutual TLS 1.3.
//!
//! Whether a signature or a certificate is valid is part of the consensus: everything outside
//! [`tls`] is pure, takes the time as an argument, and answers alike on every node. TLS is the
//! transport's business: it uses the ordinary library and the machine's clock.

mod authority;
mod certificate;
mod combined;
pub mod config_update;
mod configuration;
mod files;
mod keys;
pub mod limits;
mod msp;
pub mod tls;
mod x509;

pub use authority::{
    AuthorityError, CertificateAuthority, Credentials, Subject, TlsAuthority, Validity,
};
pub use certificate::{Certificate, CertificateError};
pub use combined::{CombinedVerifier, SignatureToVerify};
pub use configuration::{Configuration, ConfigurationError};
pub use files::FileError;
pub use keys::{
    KeyError, PublicKey, SignatureError, SignedMessage, SigningKey, WeakKey, verify_batch,
};
pub use msp::{Identity, IdentityCache, IdentityError, Msp, MspError};
