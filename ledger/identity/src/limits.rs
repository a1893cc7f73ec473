//! Bounds on what certificates say and on what a server takes on.

use std::time::Duration;

/// Attributes of one certificate.
pub const ATTRIBUTES_MAX: usize = 16;
/// Bytes of an attribute's name.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Bytes of an attribute's value.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 256;
/// Bytes of the extension that holds the attributes.
pub const ATTRIBUTE_EXTENSION_BYTES_MAX: usize = 6 << 10;
/// Bytes of a common name.
pub const COMMON_NAME_BYTES_MAX: usize = 64;
/// Bytes of a file with a key or certificates.
pub const FILE_BYTES_MAX: u64 = 64 << 10;
/// Identities that a cache keeps by default.
pub const IDENTITY_CACHE_ENTRIES: usize = 10_000;

/// Names in one TLS certificate.
pub const TLS_NAMES_MAX: usize = 32;
/// Certificates in a TLS chain, the leaf included.
pub const TLS_CHAIN_MAX: usize = 4;
/// TLS handshakes that a server works on at a time.
pub const HANDSHAKES_MAX: usize = 256;
/// Connections that a server keeps open at a time.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long a server may take to say anything after the handshake before it counts as silent.
pub const FIRST_WORD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client tries to connect, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Signatures of requests that are verified together at most, so that none waits long for others.
pub const VERIFIED_TOGETHER_MAX: usize = 64;
/// How long a server waits after the system refused it a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often an idle connection is probed.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a probe may stay without an answer.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests on one connection at a time.
pub const STREAMS_MAX: u32 = 1024;
/// Bytes under way on one stream.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Bytes under way on one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of the headers of one request.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
