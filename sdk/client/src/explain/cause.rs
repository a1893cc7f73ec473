//! The cause of a verdict, from what was gathered.

use std::collections::BTreeSet;

use bytes::Bytes;
use stela_identity::{Certificate, IdentityError};
use stela_protocol::config::Contract;
use stela_protocol::hash::{self, domain};
use stela_protocol::policy::Signer;
use stela_protocol::transaction::{Body, Transaction};
use stela_protocol::{Fingerprint, Height, OrgId, ValidationCode};

use super::inquiry::{Inquiry, Written};
use super::{Cause, Change, ChangedRead, Endorser, Fault};
use crate::limits::EXPLAIN_CHANGES_MAX;

/// The role of those who endorse.
const ENDORSER_ROLE: &str = "peer";

impl Cause {
    /// Everybody whom it names.
    pub(super) fn named(&self) -> BTreeSet<Fingerprint> {
        let of_changes = |changes: &[Change]| -> Vec<Fingerprint> {
            changes.iter().map(|c| c.creator.fingerprint).collect()
        };
        match self {
            Self::Valid { endorsers, .. } => endorsers.iter().map(|p| p.fingerprint).collect(),
            Self::Read(reads) => reads.iter().flat_map(|r| of_changes(&r.changes)).collect(),
            Self::Range(ranges) => ranges.iter().flat_map(|r| of_changes(&r.changes)).collect(),
            Self::Policy { endorsers, .. } => {
                endorsers.iter().map(|e| e.party.fingerprint).collect()
            }
            _ => BTreeSet::new(),
        }
    }
}

impl Inquiry {
    pub(super) fn cause(&self) -> Cause {
        use ValidationCode as Code;
        match (self.target.code, self.target.transaction()) {
            (Code::Valid, Some(transaction)) => self.valid(transaction),
            (Code::MvccReadConflict, Some(transaction)) => self.reads(transaction),
            (Code::PhantomReadConflict, Some(transaction)) => {
                Cause::Range(self.ranges(transaction))
            }
            (Code::EndorsementPolicyFailure, Some(transaction)) => self.policy(transaction),
            (Code::ExpiredChaincode, Some(transaction)) => {
                let contracts = &self.config.contracts;
                let defined = contracts.get(&transaction.proposal.contract);
                Cause::Package {
                    ran: transaction.result.package_hash,
                    defined: defined.map(|contract| contract.package_with_settings),
                }
            }
            (Code::Expired, _) => match self.target.made_ms() {
                Some(made_ms) => Cause::Expired {
                    made_ms,
                    window_ms: self.config.limits.window_ms,
                },
                None => Cause::Plain,
            },
            (Code::ExpiredResult, Some(transaction)) => match transaction.result.expires_at_ms {
                Some(expires_at_ms) => Cause::ResultExpired { expires_at_ms },
                None => Cause::Plain,
            },
            (Code::InvalidRegistration, _) => self.registration(),
            _ => Cause::Plain,
        }
    }

    fn valid(&self, transaction: &Transaction) -> Cause {
        let result = &transaction.result;
        let endorsers = transaction.endorsements.iter();
        Cause::Valid {
            writes: result.writes.iter().map(|w| w.key.clone()).collect(),
            events: result.events.iter().map(|e| e.name.clone()).collect(),
            endorsers: endorsers.map(|e| self.party(e.endorser)).collect(),
        }
    }

    fn reads(&self, transaction: &Transaction) -> Cause {
        let reads = transaction.result.reads.iter();
        let changed = reads.filter_map(|(key, read)| self.changed(key, *read));
        Cause::Read(changed.collect())
    }

    /// A read whose key has another version now, by the changes that were seen.
    fn changed(&self, key: &Bytes, read: Option<Height>) -> Option<ChangedRead> {
        let writes: Vec<&Written> = self.written.iter().filter(|w| w.key == *key).collect();
        let latest = writes.last()?;
        let now = (!latest.deleted).then_some(latest.height);
        if now == read {
            return None;
        }
        let since = match read {
            Some(read) => writes.iter().position(|w| w.height > read)?,
            // It did not exist: whatever came after it was last deleted.
            None => writes
                .iter()
                .rposition(|w| w.deleted)
                .map_or(0, |at| at + 1),
        };
        Some(ChangedRead {
            key: key.clone(),
            read,
            changes: self.newest(&writes[since..]),
        })
    }

    /// At most so many changes, the newest ones.
    pub(super) fn newest(&self, writes: &[&Written]) -> Vec<Change> {
        let skipped = writes.len().saturating_sub(EXPLAIN_CHANGES_MAX);
        writes[skipped..].iter().map(|w| self.change(w)).collect()
    }

    fn policy(&self, transaction: &Transaction) -> Cause {
        let Some(contract) = self.config.contracts.get(&transaction.proposal.contract) else {
            return Cause::Plain;
        };
        let message =
            hash::endorsement_message(&transaction.proposal_bytes, &transaction.result_bytes);
        let (mut endorsers, mut signers) = (Vec::new(), Vec::<Signer>::new());
        for endorsement in &transaction.endorsements {
            let fault = match self.signer(endorsement.endorser, &message, &endorsement.signature) {
                Err(fault) => Some(fault),
                Ok(signer) if signers.iter().any(|s| s.public_key == signer.public_key) => {
                    Some(Fault::Twice)
                }
                Ok(signer) => {
                    signers.push(signer);
                    None
                }
            };
            endorsers.push(Endorser {
                party: self.party(endorsement.endorser),
                fault,
            });
        }
        let good: BTreeSet<OrgId> = signers
            .iter()
            .filter(|signer| signer.role == ENDORSER_ROLE)
            .map(|signer| signer.organization.clone())
            .collect();
        Cause::Policy {
            policy: contract.policy.to_string(),
            missing: self.missing(contract, &good),
            endorsers,
        }
    }

    fn signer(
        &self,
        endorser: Fingerprint,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Signer, Fault> {
        let identity = self.known.get(&endorser).ok_or(Fault::Unknown)?;
        identity
            .check_time(self.target.time_ms)
            .map_err(|error: IdentityError| Fault::Invalid(error.to_string()))?;
        identity
            .verify(domain::ENDORSEMENT, message, signature)
            .map_err(|_| Fault::Signature)?;
        Ok(Signer {
            organization: identity.organization.clone(),
            role: identity.role.clone(),
            public_key: *identity.public_key.as_bytes(),
        })
    }

    fn missing(&self, contract: &Contract, good: &BTreeSet<OrgId>) -> Vec<BTreeSet<OrgId>> {
        let Some(first) = self.config.organizations.keys().next() else {
            return Vec::new();
        };
        let layouts = contract.policy.organizations(ENDORSER_ROLE, first);
        let lacking: BTreeSet<BTreeSet<OrgId>> = layouts
            .iter()
            .map(|layout| layout.difference(good).cloned().collect())
            .collect();
        let fewest = lacking.iter().map(BTreeSet::len).min();
        let best = lacking
            .into_iter()
            .filter(|set: &BTreeSet<OrgId>| Some(set.len()) == fewest && !set.is_empty());
        best.collect()
    }

    fn registration(&self) -> Cause {
        let envelope = self.target.envelope.as_ref();
        let Some(Body::Registration(registration)) = envelope.map(|envelope| &envelope.body) else {
            return Cause::Plain;
        };
        let certificate = match Certificate::from_der(&registration.certificate) {
            Ok(certificate) => certificate,
            Err(error) => return Cause::Registration(error.to_string()),
        };
        let judged = self
            .msp
            .as_ref()
            .map(|msp| msp.validate(&certificate, self.target.time_ms));
        match judged {
            Some(Err(error)) => Cause::Registration(error.to_string()),
            _ => Cause::Plain,
        }
    }
}
