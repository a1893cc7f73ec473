//! Why a transaction has the verdict that it has.

use std::time::Duration;

use stela_client::{ExplainOptions, Style};
use stela_healthcare::describe_key;
use stela_protocol::{ContractName, TransactionId};

use crate::output::{Output, printable, time};
use crate::profile::Profile;
use crate::session;

/// How long to look for a transaction that may not be committed.
const LOOK: Duration = Duration::from_secs(3);

pub(crate) async fn explain(
    profile: &Profile,
    transaction: TransactionId,
    made_ms: Option<u64>,
    output: &Output,
) -> anyhow::Result<()> {
    let network = session::network(profile)?;
    let options = ExplainOptions {
        trusted: session::first_configuration(profile, &network).await?,
        patience: LOOK,
        made_ms,
    };
    let bar = output.progress("looking at blocks");
    let looked_at = |blocks: u64| bar.say(&format!("looking at blocks ({blocks} so far)"));
    let explanation = network.explain(transaction, options, looked_at).await?;
    drop(bar);
    let own = &profile.contract;
    let key = |contract: &ContractName, bytes: &[u8]| readable(own == contract, bytes);
    let style = Style {
        key: &key,
        time: &time,
    };
    output.answer(&explanation.json(&style), |_| {
        let lines = explanation.lines(&style);
        let lines: Vec<String> = lines.iter().map(|line| printable(line)).collect();
        lines.join("\n")
    })
}

/// A key for people: in the contract's own words, or its parts.
pub(crate) fn readable(is_healthcare: bool, key: &[u8]) -> String {
    let described = if is_healthcare {
        describe_key(key)
    } else {
        None
    };
    described.unwrap_or_else(|| {
        let parts = key.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let parts: Vec<String> = parts.map(|part| part.escape_ascii().to_string()).collect();
        parts.join(" · ")
    })
}

/// A time as people write it, or in milliseconds since the Unix epoch.
pub(crate) fn parse_time(text: &str) -> Result<u64, String> {
    use ::time::OffsetDateTime;
    use ::time::format_description::well_known::Rfc3339;
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expected a time such as 2026-11-22T15:28:44Z".to_owned())?;
    let ms = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms).map_err(|_| "the time lies before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_split_and_never_garbled() {
        assert_eq!(readable(false, b"a\0b\0"), "a · b");
        assert_eq!(readable(true, b"unknown\0\xff\0"), "unknown · \\xff");
        assert!(readable(true, b"p\0q6urq6urq6urq6urq6urqw\0").starts_with("patient of"));
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(parse_time("1970-01-01T01:00:00.5+01:00"), Ok(500));
        assert_eq!(parse_time("77"), Ok(77));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("1969-01-01T00:00:00Z").is_err());
    }
}
