//! An explanation in words for people, and as JSON for programs. Keys are named, values never.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stela_protocol::{ContractName, Height, OrgId, ValidationCode};

use super::{
    Cause, Change, ChangedRange, ChangedRead, Committed, Endorser, Explanation, Fate, Fault, Party,
    Prospect, Uncommitted,
};

/// How to write keys and times; the contract knows what its keys mean.
pub struct Style<'a> {
    /// A key of a contract.
    pub key: &'a dyn Fn(&ContractName, &[u8]) -> String,
    /// A time in milliseconds since the Unix epoch.
    pub time: &'a dyn Fn(u64) -> String,
}

impl Explanation {
    /// What became of the transaction, why, and what to do, in lines.
    pub fn lines(&self, style: &Style<'_>) -> Vec<String> {
        match &self.fate {
            Fate::Uncommitted(uncommitted) => uncommitted.lines(style),
            Fate::Committed(committed) => committed.lines(style),
        }
    }

    /// The same as one JSON object.
    pub fn json(&self, style: &Style<'_>) -> Value {
        let mut value = match &self.fate {
            Fate::Uncommitted(uncommitted) => uncommitted.json(),
            Fate::Committed(committed) => committed.json(style),
        };
        value["transaction"] = json!(self.transaction.to_string());
        value["explanation"] = json!(self.lines(style));
        value
    }
}

impl Uncommitted {
    fn lines(&self, style: &Style<'_>) -> Vec<String> {
        let here = format!(
            "not committed: it is in none of the {} blocks, the newest of {}",
            self.height,
            (style.time)(self.newest_ms)
        );
        let window = format!("{} s", self.window_ms / 1000);
        let made = self.made_ms.map(style.time).unwrap_or_default();
        let (what, to_do) = match self.prospect() {
            Prospect::Pending => (
                format!(
                    "pending: made at {made}, a block may still take it within {window} of that"
                ),
                "wait and ask again; submitting the identical envelope again is safe",
            ),
            Prospect::Expired => (
                format!(
                    "expired: made at {made}, which is more than {window} ago; it can no longer become valid"
                ),
                "make the call again: nothing of the old one took effect",
            ),
            Prospect::Unknown => (
                format!(
                    "unknown: it may never have been submitted, or still wait for an orderer, or be \
                     older than {window} and so expired, or be of another channel"
                ),
                "say with --made when it was made, to know which; or wait that long and ask again",
            ),
        };
        vec![here, what, format!("what to do: {to_do}")]
    }

    fn json(&self) -> Value {
        let prospect = match self.prospect() {
            Prospect::Unknown => "unknown",
            Prospect::Pending => "pending",
            Prospect::Expired => "expired",
        };
        json!({
            "committed": false,
            "verdict": null,
            "prospect": prospect,
            "height": self.height,
            "newest_ms": self.newest_ms,
            "made_ms": self.made_ms,
            "window_ms": self.window_ms,
        })
    }
}

impl Committed {
    fn lines(&self, style: &Style<'_>) -> Vec<String> {
        let mut lines = vec![format!(
            "{} in block {}, index {}, at {}",
            self.code,
            self.height.block,
            self.height.transaction,
            (style.time)(self.time_ms)
        )];
        let by = self
            .creator
            .as_ref()
            .map(|party| format!(" by {}", party.words()));
        if let Some((contract, function)) = &self.call {
            lines.push(format!(
                "calls {contract}/{function}{}",
                by.unwrap_or_default()
            ));
        } else if let Some(by) = by {
            lines.push(format!("made{by}"));
        }
        lines.extend(self.reason(style));
        lines.push(format!("what to do: {}", self.to_do()));
        if !self.complete && self.is_open() {
            lines.push(format!(
                "only the last {} blocks were looked at; what is older is not named",
                self.looked_at
            ));
        }
        lines
    }

    /// Whether something is left to be named.
    fn is_open(&self) -> bool {
        let unknown = |party: &Party| party.who.is_none();
        let changes = |all: &[Change]| all.is_empty() || all.iter().any(|c| unknown(&c.creator));
        match &self.cause {
            Cause::Read(reads) => reads.is_empty() || reads.iter().any(|r| changes(&r.changes)),
            Cause::Range(ranges) => ranges.iter().any(|r| !r.exact || changes(&r.changes)),
            _ => self.creator.as_ref().is_some_and(unknown),
        }
    }

    fn key(&self, style: &Style<'_>, key: &[u8]) -> String {
        match &self.call {
            Some((contract, _)) => (style.key)(contract, key),
            None => String::from_utf8_lossy(key).into_owned(),
        }
    }

    fn reason(&self, style: &Style<'_>) -> Vec<String> {
        match &self.cause {
            Cause::Valid {
                writes,
                events,
                endorsers,
            } => self.valid(style, writes, events, endorsers),
            Cause::Read(reads) => self.reads(style, reads),
            Cause::Range(ranges) => self.ranges(style, ranges),
            Cause::Policy {
                policy,
                endorsers,
                missing,
            } => policy_lines(policy, endorsers, missing),
            Cause::Expired { made_ms, window_ms } => {
                let off = made_ms.abs_diff(self.time_ms);
                let direction = if *made_ms < self.time_ms {
                    "before"
                } else {
                    "after"
                };
                vec![format!(
                    "made at {}, which is {} s {direction} the block's time; {} s are allowed",
                    (style.time)(*made_ms),
                    off / 1000,
                    window_ms / 1000
                )]
            }
            Cause::ResultExpired { expires_at_ms } => vec![format!(
                "what its endorsers found was valid before {}, the block's time is {}",
                (style.time)(*expires_at_ms),
                (style.time)(self.time_ms)
            )],
            Cause::Package { ran, defined } => vec![match defined {
                Some(defined) => {
                    format!(
                        "its endorsers ran package {ran}, the channel defines {defined} (such a \
                         hash covers the channel's settings for the contract, too)"
                    )
                }
                None => format!("its endorsers ran package {ran}, the channel defines none"),
            }],
            Cause::Registration(why) => vec![format!("the certificate is not accepted: {why}")],
            Cause::Plain => vec![plain(self.code).to_owned()],
        }
    }

    fn valid(
        &self,
        style: &Style<'_>,
        writes: &[bytes::Bytes],
        events: &[String],
        endorsers: &[Party],
    ) -> Vec<String> {
        let mut lines = vec!["it took effect".to_owned()];
        let keys: Vec<String> = writes.iter().map(|key| self.key(style, key)).collect();
        if !keys.is_empty() {
            lines.push(format!("wrote {}", keys.join("; ")));
        }
        if !events.is_empty() {
            lines.push(format!("events {}", events.join(", ")));
        }
        let who: Vec<String> = endorsers.iter().map(Party::words).collect();
        if !who.is_empty() {
            lines.push(format!("endorsed by {}", who.join(" and ")));
        }
        lines
    }

    fn reads(&self, style: &Style<'_>, reads: &[ChangedRead]) -> Vec<String> {
        if reads.is_empty() {
            return vec!["a key that it read has changed since".to_owned()];
        }
        let mut lines = Vec::new();
        for read in reads {
            let key = self.key(style, &read.key);
            lines.push(format!("read {key} {}", version(read.read)));
            lines.extend(self.changes(style, &read.changes, false));
        }
        lines
    }

    fn ranges(&self, style: &Style<'_>, ranges: &[ChangedRange]) -> Vec<String> {
        if ranges.is_empty() {
            return vec!["a range that it read has changed since".to_owned()];
        }
        let mut lines = Vec::new();
        for range in ranges {
            let from = self.key(style, &range.start);
            lines.push(match range.exact {
                true => format!("read the range from {from} on; since then"),
                false => format!("read the range from {from} on; the latest changes there"),
            });
            lines.extend(self.changes(style, &range.changes, true));
        }
        lines
    }

    fn changes(&self, style: &Style<'_>, changes: &[Change], with_key: bool) -> Vec<String> {
        let line = |change: &Change| {
            let did = if change.deleted { "deleted" } else { "changed" };
            let key = match with_key {
                true => format!(" {}", self.key(style, &change.key)),
                false => String::new(),
            };
            format!(
                "  {did}{key} in block {}, index {}, by transaction {} ({}), made by {}",
                change.height.block,
                change.height.transaction,
                change.transaction,
                change.function,
                change.creator.words()
            )
        };
        changes.iter().map(line).collect()
    }

    fn to_do(&self) -> &'static str {
        use ValidationCode as Code;
        match self.code {
            Code::Valid => "nothing",
            Code::MvccReadConflict | Code::PhantomReadConflict => {
                "make the call again: it will be endorsed on the state as it is now; nothing of \
                 this one took effect"
            }
            Code::EndorsementPolicyFailure => {
                "make the call again; if it fails alike, ask the organizations named above about \
                 their peers (`stela doctor`)"
            }
            Code::Expired => {
                "set the clock of the machine that made it right (`stela doctor`), and make the \
                 call again"
            }
            Code::ExpiredResult => {
                "make the call again: what held when it was endorsed, such as a consent, did not \
                 hold any more; nothing of this one took effect"
            }
            Code::ExpiredChaincode => {
                "have the package that the channel defines installed on the peers (`stela doctor`), \
                 and make the call again"
            }
            Code::InvalidRegistration => {
                "have the certificate issued anew by the organization's authority (`stela doctor`)"
            }
            Code::BadCreatorSignature => {
                "register the certificate (`stela register`), and make the call again"
            }
            Code::DuplicateTxid => "nothing: the first transaction with this id counts",
            _ => "use a current version of the client; nothing of this transaction took effect",
        }
    }

    fn json(&self, style: &Style<'_>) -> Value {
        let mut value = json!({
            "committed": true,
            "verdict": self.code.name(),
            "block": self.height.block,
            "index": self.height.transaction,
            "time_ms": self.time_ms,
            "creator": self.creator.as_ref().map(Party::json),
            "contract": self.call.as_ref().map(|(contract, _)| contract.to_string()),
            "function": self.call.as_ref().map(|(_, function)| function),
            "what_to_do": self.to_do(),
            "blocks_looked_at": self.looked_at,
            "complete": self.complete,
        });
        let key = |key: &bytes::Bytes| self.key(style, key);
        let changes = |changes: &[Change]| -> Vec<Value> {
            let change = |change: &Change| {
                json!({
                    "key": key(&change.key),
                    "block": change.height.block,
                    "index": change.height.transaction,
                    "transaction": change.transaction.to_string(),
                    "function": change.function,
                    "creator": change.creator.json(),
                    "deleted": change.deleted,
                })
            };
            changes.iter().map(change).collect()
        };
        match &self.cause {
            Cause::Valid {
                writes,
                events,
                endorsers,
            } => {
                value["writes"] = writes.iter().map(key).collect();
                value["events"] = json!(events);
                value["endorsers"] = endorsers.iter().map(Party::json).collect();
            }
            Cause::Read(reads) => {
                let read = |read: &ChangedRead| {
                    json!({
                        "key": key(&read.key),
                        "read_at": read.read.map(place),
                        "changes": changes(&read.changes),
                    })
                };
                value["reads"] = reads.iter().map(read).collect();
            }
            Cause::Range(ranges) => {
                let range = |range: &ChangedRange| {
                    json!({
                        "start": key(&range.start),
                        "changes": changes(&range.changes),
                        "exact": range.exact,
                    })
                };
                value["ranges"] = ranges.iter().map(range).collect();
            }
            Cause::Policy {
                policy,
                endorsers,
                missing,
            } => {
                let endorser = |endorser: &Endorser| {
                    let mut value = endorser.party.json();
                    value["fault"] = json!(endorser.fault.as_ref().map(Fault::words));
                    value
                };
                let missing: Vec<Vec<String>> = missing
                    .iter()
                    .map(|set| set.iter().map(ToString::to_string).collect())
                    .collect();
                value["policy"] = json!(policy);
                value["endorsers"] = endorsers.iter().map(endorser).collect();
                value["missing"] = json!(missing);
            }
            Cause::Expired { made_ms, window_ms } => {
                value["made_ms"] = json!(made_ms);
                value["window_ms"] = json!(window_ms);
            }
            Cause::ResultExpired { expires_at_ms } => {
                value["expires_at_ms"] = json!(expires_at_ms);
            }
            Cause::Package { ran, defined } => {
                value["package"] = json!(ran.to_string());
                value["defined"] = json!(defined.map(|hash| hash.to_string()));
            }
            Cause::Registration(why) => value["why"] = json!(why),
            Cause::Plain => {}
        }
        value
    }
}

impl Party {
    fn words(&self) -> String {
        let short: String = self.fingerprint.to_string().chars().take(12).collect();
        match &self.who {
            Some((organization, role)) => format!("{organization} {role} ({short})"),
            None => format!("certificate {short}"),
        }
    }

    fn json(&self) -> Value {
        json!({
            "certificate": self.fingerprint.to_string(),
            "organization": self.who.as_ref().map(|(organization, _)| organization.to_string()),
            "role": self.who.as_ref().map(|(_, role)| role),
        })
    }
}

impl Fault {
    fn words(&self) -> String {
        match self {
            Self::Unknown => {
                "the channel did not know this certificate before the block".to_owned()
            }
            Self::Invalid(why) => why.clone(),
            Self::Signature => {
                "the signature is not over this proposal and this result: it found another result, \
                 or something was changed after it had signed"
                    .to_owned()
            }
            Self::Twice => "the same key has endorsed already and counts once".to_owned(),
        }
    }
}

fn policy_lines(policy: &str, endorsers: &[Endorser], missing: &[BTreeSet<OrgId>]) -> Vec<String> {
    let mut lines = vec![format!("the policy asks for {policy}")];
    for endorser in endorsers {
        let who = endorser.party.words();
        lines.push(match &endorser.fault {
            None => format!("  endorsed by {who}"),
            Some(fault) => format!(
                "  the endorsement by {who} does not count: {}",
                fault.words()
            ),
        });
    }
    if endorsers.is_empty() {
        lines.push("  it has no endorsements".to_owned());
    }
    let sets: Vec<String> = missing
        .iter()
        .map(|set| {
            set.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" and ")
        })
        .collect();
    if !sets.is_empty() {
        lines.push(format!(
            "missing: an endorsement of {}",
            sets.join(", or of ")
        ));
    }
    lines
}

fn place(height: Height) -> Value {
    json!({ "block": height.block, "index": height.transaction })
}

fn version(read: Option<Height>) -> String {
    match read {
        Some(height) => format!(
            "as block {}, index {} had left it; since then",
            height.block, height.transaction
        ),
        None => "when it did not exist; since then".to_owned(),
    }
}

/// What a verdict means where blocks tell no more.
fn plain(code: ValidationCode) -> &'static str {
    use ValidationCode as Code;
    match code {
        Code::NilEnvelope => "the envelope cannot be decoded",
        Code::BadPayload => "what the creator signed cannot be decoded, or exceeds a limit",
        Code::BadCommonHeader => "a name, hash or version in its head is not valid",
        Code::BadRwset | Code::IllegalWriteset | Code::InvalidWriteset => {
            "its reads and writes contradict each other or exceed a limit"
        }
        Code::TargetChainNotFound => "it was signed for another channel",
        Code::BadCreatorSignature => {
            "its creator's certificate was not known to the channel before the block, was not valid \
             then, or did not sign it"
        }
        Code::DuplicateTxid => "a transaction with the same id was committed before",
        Code::InvalidChaincode => "the channel defines no such contract",
        Code::InvalidConfigTransaction => {
            "it is a change of the configuration that is not accepted"
        }
        Code::Expired => "its time lies too far from the block's",
        Code::ExpiredResult => "what its endorsers found did not hold any more in this block",
        Code::InvalidRegistration => {
            "the certificate was not accepted when it was registered; today it would be"
        }
        Code::Valid => "it took effect",
        _ => "the peers found it invalid",
    }
}
