//! The newest configuration that this node knows to be the consortium's, kept on disk: a node that
//! starts again goes by it, not by the genesis block, before it has asked anybody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use stela_identity::Configuration;
use stela_protocol::limits::CONFIG_BYTES_MAX;

use crate::files;

/// The file in the data folder: an encoded `ChannelConfig`.
const FILE: &str = "configuration";

/// The configuration in force, as far as this node has followed it.
pub struct Known {
    path: PathBuf,
    current: Arc<Configuration>,
}

impl Known {
    /// What was kept, or the genesis block's configuration if that is newer.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else: it has to be removed, and the node
    /// follows the configuration from the genesis block again.
    pub fn open(data: &Path, genesis: Configuration) -> io::Result<Self> {
        let path = data.join(FILE);
        let mut current = genesis;
        if path.exists() {
            let bytes = Bytes::from(files::read_limited(&path, CONFIG_BYTES_MAX as u64)?);
            let kept = Configuration::new(bytes).map_err(io::Error::other)?;
            if kept.config().channel != current.config().channel {
                return Err(io::Error::other("the configuration is of another channel"));
            }
            if kept.config().sequence > current.config().sequence {
                current = kept;
            }
        }
        Ok(Self {
            path,
            current: Arc::new(current),
        })
    }

    /// The configuration.
    pub fn current(&self) -> &Arc<Configuration> {
        &self.current
    }

    /// Keeps a newer one.
    ///
    /// # Errors
    /// When it cannot be written; it is in force all the same, until the node ends.
    pub fn replace(&mut self, newer: Arc<Configuration>) -> io::Result<()> {
        self.current = newer;
        files::write_whole(&self.path, self.current.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Organization;
    use stela_protocol::{FORMAT_VERSION, Message, pb};

    fn configuration(sequence: u64, channel: &str) -> Configuration {
        let organization = Organization::new("HospitalA");
        let orderer = pb::Orderer {
            id: 1,
            organization: "HospitalA".to_owned(),
            certificate: organization.issue("orderer").certificate.der().clone(),
            tls_fingerprint: vec![0; 32].into(),
            ..Default::default()
        };
        let config = pb::ChannelConfig {
            version: FORMAT_VERSION,
            channel: channel.to_owned(),
            sequence,
            organizations: vec![organization.entry(None)],
            orderers: vec![orderer],
            orderer_quorum: 1,
            limits: Some(pb::ChannelLimits {
                window_ms: 1,
                block_transactions_max: 1,
                block_bytes_max: 1,
                envelope_bytes_max: 1,
            }),
            admin_policy: "'HospitalA.admin'".to_owned(),
            ..Default::default()
        };
        Configuration::new(config.encode_to_vec().into()).unwrap()
    }

    #[test]
    fn the_newest_one_is_there_after_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let open = |genesis| Known::open(data.path(), genesis);
        let mut known = open(configuration(0, "care")).unwrap();
        assert_eq!(known.current().config().sequence, 0);
        known.replace(Arc::new(configuration(3, "care"))).unwrap();
        let kept = open(configuration(0, "care")).unwrap();
        assert_eq!(kept.current().bytes(), known.current().bytes());
        let newer = open(configuration(4, "care")).unwrap();
        assert_eq!(newer.current().config().sequence, 4);
        assert!(open(configuration(0, "research")).is_err());
        std::fs::write(data.path().join(FILE), b"something else").unwrap();
        assert!(open(configuration(0, "care")).is_err());
    }
}
