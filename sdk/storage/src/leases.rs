//! Who has which blob held under a lease, and how much more she may.
//!
//! The pins themselves are the IPFS node's; here stands who pays for them. One file per lease,
//! named `CID-FINGERPRINT`, with one line of text, version 1:
//!
//! | Word | Content |
//! |---|---|
//! | 1 | `1` |
//! | 2 | the organization |
//! | 3 | bytes of the blob, in decimal |
//! | 4 | end of the lease, milliseconds since 1970, in decimal |

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use stela_identity::Identity;
use stela_ipfs::Cid;
use stela_protocol::{Fingerprint, OrgId};

use crate::files::Folder;
use crate::limits;

const FILE_BYTES_MAX: u64 = 256;

/// How much may be under lease. The defaults are the limits of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Bytes of one identity.
    pub leased_bytes_per_identity: u64,
    /// Bytes of one organization.
    pub leased_bytes_per_organization: u64,
    /// Leases of one identity.
    pub leases_per_identity: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            leased_bytes_per_identity: limits::LEASED_BYTES_PER_IDENTITY,
            leased_bytes_per_organization: limits::LEASED_BYTES_PER_ORGANIZATION,
            leases_per_identity: limits::LEASES_PER_IDENTITY,
        }
    }
}

/// The leases of one node.
pub(crate) struct Leases {
    folder: Folder,
    quotas: Quotas,
    leases: Mutex<BTreeMap<Key, Lease>>,
}

type Key = (Cid, Fingerprint);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Lease {
    organization: OrgId,
    bytes: u64,
    until_ms: u64,
}

/// Room for a lease while its blob is being fetched; given back when dropped.
pub(crate) struct Reservation {
    leases: Arc<Leases>,
    key: Key,
    lease: Lease,
    /// What stood there before.
    before: Option<Lease>,
    kept: bool,
}

impl Leases {
    pub(crate) fn open(path: PathBuf, quotas: Quotas) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let mut leases = BTreeMap::new();
        for (name, text) in folder.read(FILE_BYTES_MAX)? {
            match parse(&name, &text) {
                Some((key, lease)) => drop(leases.insert(key, lease)),
                None => tracing::warn!(file = name, "not a lease; it is ignored"),
            }
        }
        Ok(Self {
            folder,
            quotas,
            leases: Mutex::new(leases),
        })
    }

    /// Makes room for a lease, or names the limit that leaves none.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        owner: &Identity,
        cid: Cid,
        bytes: u64,
        until_ms: u64,
    ) -> Result<Reservation, &'static str> {
        let key = (cid, owner.fingerprint);
        let mut leases = self.leases.lock();
        let before = leases.get(&key).cloned();
        let until_ms = before
            .as_ref()
            .map_or(until_ms, |before| before.until_ms.max(until_ms));
        let lease = Lease {
            organization: owner.organization.clone(),
            bytes,
            until_ms,
        };
        check(&leases, &key, &lease, &self.quotas)?;
        leases.insert(key, lease.clone());
        Ok(Reservation {
            leases: self.clone(),
            key,
            lease,
            before,
            kept: false,
        })
    }

    /// Forgets the leases whose time has come.
    pub(crate) fn expire(&self, now_ms: u64) -> io::Result<()> {
        self.forget(|_, lease| lease.until_ms <= now_ms)
    }

    /// Forgets the leases of a blob that is kept for good: nobody pays for it any more.
    pub(crate) fn release(&self, cid: &Cid) -> io::Result<()> {
        self.forget(|key, _| key.0 == *cid)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.leases.lock().len()
    }

    pub(crate) fn contains(&self, cid: &Cid) -> bool {
        let first = (*cid, Fingerprint([0; 32]));
        self.leases
            .lock()
            .range(first..)
            .next()
            .is_some_and(|(key, _)| key.0 == *cid)
    }

    fn forget(&self, ends: impl Fn(&Key, &Lease) -> bool) -> io::Result<()> {
        let mut leases = self.leases.lock();
        let ended: Vec<Key> = leases
            .iter()
            .filter(|(key, lease)| ends(key, lease))
            .map(|(key, _)| *key)
            .collect();
        for key in ended {
            self.folder.remove(&name(&key))?;
            leases.remove(&key);
        }
        Ok(())
    }
}

impl Reservation {
    pub(crate) fn until_ms(&self) -> u64 {
        self.lease.until_ms
    }

    /// Writes the lease down.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.leases
            .folder
            .write(&name(&self.key), &line(&self.lease))?;
        // Another reservation of the same lease may have been given back meanwhile.
        self.leases
            .leases
            .lock()
            .insert(self.key, self.lease.clone());
        self.kept = true;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut leases = self.leases.leases.lock();
        match self.before.take() {
            Some(before) => drop(leases.insert(self.key, before)),
            None => drop(leases.remove(&self.key)),
        }
    }
}

/// Names the limit that a further lease would exceed.
fn check(
    leases: &BTreeMap<Key, Lease>,
    key: &Key,
    lease: &Lease,
    quotas: &Quotas,
) -> Result<(), &'static str> {
    let others = || leases.iter().filter(|(other, _)| *other != key);
    let mine = || others().filter(|((_, owner), _)| *owner == key.1);
    let ours = others().filter(|(_, other)| other.organization == lease.organization);
    let bytes = |sum: u64, (_, lease): (&Key, &Lease)| sum.saturating_add(lease.bytes);
    if mine().count() >= quotas.leases_per_identity {
        return Err("LEASES_PER_IDENTITY");
    }
    if mine().fold(lease.bytes, bytes) > quotas.leased_bytes_per_identity {
        return Err("LEASED_BYTES_PER_IDENTITY");
    }
    if ours.fold(lease.bytes, bytes) > quotas.leased_bytes_per_organization {
        return Err("LEASED_BYTES_PER_ORGANIZATION");
    }
    if others().count() >= limits::LEASES_MAX {
        return Err("LEASES_MAX");
    }
    Ok(())
}

fn name((cid, owner): &Key) -> String {
    format!("{cid}-{owner}")
}

fn line(lease: &Lease) -> String {
    let Lease {
        organization,
        bytes,
        until_ms,
    } = lease;
    format!("1 {organization} {bytes} {until_ms}\n")
}

/// A lease's file as this crate would write it again.
#[cfg(feature = "fuzzing")]
pub(crate) fn rewritten(file: &str, text: &str) -> Option<(String, String)> {
    let (key, lease) = parse(file, text)?;
    Some((name(&key), line(&lease)))
}

fn parse(name: &str, text: &str) -> Option<(Key, Lease)> {
    let (cid, owner) = name.split_once('-')?;
    let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
    let ["1", organization, bytes, until_ms] = words[..] else {
        return None;
    };
    let lease = Lease {
        organization: OrgId::new(organization).ok()?,
        bytes: bytes.parse().ok()?,
        until_ms: until_ms.parse().ok()?,
    };
    Some(((cid.parse().ok()?, owner.parse().ok()?), lease))
}

#[cfg(test)]
mod tests {
    use stela_identity::SigningKey;

    use super::*;

    fn owner(id: u8, organization: &str) -> Identity {
        Identity {
            fingerprint: Fingerprint([id; 32]),
            organization: OrgId::new(organization).unwrap(),
            common_name: "user".to_owned(),
            role: "practitioner".to_owned(),
            attributes: BTreeMap::new(),
            public_key: SigningKey::from_seed(&[id; 32]).public_key(),
            not_before_ms: 0,
            not_after_ms: u64::MAX,
        }
    }

    fn cid(n: u8) -> Cid {
        let hash = stela_protocol::hash::package(&[n]);
        let bytes = [&[1, 0x55, 0x12, 32], &hash.0[..]].concat();
        Cid::try_from(&bytes[..]).unwrap()
    }

    fn open(folder: &std::path::Path) -> Arc<Leases> {
        let quotas = Quotas {
            leased_bytes_per_identity: 10,
            leased_bytes_per_organization: 15,
            leases_per_identity: 3,
        };
        Arc::new(Leases::open(folder.to_path_buf(), quotas).unwrap())
    }

    #[test]
    fn quotas_of_identities_and_organizations() {
        let folder = tempfile::tempdir().unwrap();
        let leases = open(folder.path());
        let (alice, bob) = (owner(1, "HospitalA"), owner(2, "HospitalA"));
        let reserve = |owner: &Identity, n, bytes| leases.reserve(owner, cid(n), bytes, 5);
        reserve(&alice, 1, 6).unwrap().keep().unwrap();
        assert_eq!(
            reserve(&alice, 2, 5).err(),
            Some("LEASED_BYTES_PER_IDENTITY")
        );
        // Renewing counts once; what is being fetched counts, what failed does not.
        reserve(&alice, 1, 6).unwrap().keep().unwrap();
        let fetching = reserve(&alice, 2, 4).unwrap();
        assert_eq!(
            reserve(&alice, 3, 1).err(),
            Some("LEASED_BYTES_PER_IDENTITY")
        );
        drop(fetching);
        reserve(&alice, 3, 4).unwrap().keep().unwrap();
        assert_eq!(
            reserve(&bob, 4, 6).err(),
            Some("LEASED_BYTES_PER_ORGANIZATION")
        );
        reserve(&bob, 4, 5).unwrap().keep().unwrap();
        reserve(&owner(3, "HospitalB"), 4, 10)
            .unwrap()
            .keep()
            .unwrap();
        reserve(&alice, 5, 0).unwrap().keep().unwrap();
        assert_eq!(reserve(&alice, 6, 0).err(), Some("LEASES_PER_IDENTITY"));
    }

    #[test]
    fn leases_survive_a_restart_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let alice = owner(1, "HospitalA");
        let leases = open(folder.path());
        leases
            .reserve(&alice, cid(1), 3, 100)
            .unwrap()
            .keep()
            .unwrap();
        leases
            .reserve(&alice, cid(2), 3, 200)
            .unwrap()
            .keep()
            .unwrap();
        drop(leases.reserve(&alice, cid(1), 3, 900).unwrap());
        std::fs::write(folder.path().join("else"), "something").unwrap();

        let leases = open(folder.path());
        assert_eq!(leases.len(), 2);
        assert_eq!(
            leases.reserve(&alice, cid(3), 5, 1).err(),
            Some("LEASED_BYTES_PER_IDENTITY")
        );
        leases.expire(100).unwrap();
        assert!(!leases.contains(&cid(1)) && leases.contains(&cid(2)));
        leases.release(&cid(2)).unwrap();
        assert_eq!(open(folder.path()).len(), 0);
    }

    #[test]
    fn golden_file() {
        let folder = tempfile::tempdir().unwrap();
        let leases = open(folder.path());
        leases
            .reserve(&owner(1, "HospitalA"), cid(1), 3, 100)
            .unwrap()
            .keep()
            .unwrap();
        let files = leases.folder.read(FILE_BYTES_MAX).unwrap();
        let name = format!("{}-{}", cid(1), "01".repeat(32));
        assert_eq!(files, [(name, "1 HospitalA 3 100\n".to_owned())]);
    }
}
