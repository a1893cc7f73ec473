//! The own organization's storage nodes.

use std::sync::Arc;

use anyhow::Context;
use stela_storage::report::{CheckRound, Loss, Missing};
use stela_storage::{Report, StorageClient, StorageEndpoint};

use crate::arguments::Storage as Command;
use crate::output::{Output, short, table, time};
use crate::profile::Profile;
use crate::session;

pub(crate) async fn run(
    profile: &Profile,
    command: Command,
    output: &Output,
) -> anyhow::Result<()> {
    let Command::Report { node } = command;
    let info = session::network(profile)?.info().await;
    let info = info.context("the gateway does not answer this user; `stela register` helps")?;
    let own = StorageEndpoint::all(&info.config).into_iter().filter(|it| {
        it.organization == profile.organization && node.as_ref().is_none_or(|api| *api == it.api)
    });
    let own: Vec<_> = own.collect();
    anyhow::ensure!(
        !own.is_empty(),
        "the channel names no such storage node of {}",
        profile.organization
    );
    let mut reports = Vec::new();
    for endpoint in own {
        let credentials = Arc::clone(&profile.credentials);
        let client =
            StorageClient::connect(&endpoint, &profile.channel, &profile.tls, credentials)?;
        reports.push(client.report().await?);
    }
    output.answer(&reports, |reports| {
        let texts: Vec<_> = reports.iter().map(text).collect();
        texts.join("\n")
    })
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "{}/{} at {}\nkeeps {} blobs for good and {} under a lease\n",
        report.organization,
        report.name,
        time(report.now_ms),
        report.permanent,
        report.leased
    );
    if !report.keeps_allow_list {
        text.push_str("an IPFS daemon keeps them: everybody with the swarm's key can connect\n");
    }
    text.push_str(&round("last reading of everything", report.last.as_ref()));
    if report.running.is_some() {
        text.push_str(&round("this reading", report.running.as_ref()));
    }
    text.push_str(&format!(
        "{} losses found, {} not mended; {} blobs should be here and are not\n",
        report.found, report.open, report.wanted
    ));
    if !report.losses.is_empty() {
        let heading = ["found", "blob", "how", "blocks", "outcome", "from"];
        let rows: Vec<_> = report.losses.iter().map(loss).collect();
        text.push_str(&table(&heading, &rows));
    }
    if !report.missing.is_empty() {
        let rows: Vec<_> = report.missing.iter().map(missing).collect();
        text.push_str(&table(&["missing", "kept", "tries", "why"], &rows));
    }
    text
}

fn round(what: &str, round: Option<&CheckRound>) -> String {
    let Some(round) = round else {
        return format!("{what}: none yet\n");
    };
    let ended = round.ended_ms.map(|ms| format!(" to {}", time(ms)));
    format!(
        "{what}: from {}{}, {} blobs, {} bytes, {} blobs with losses\n",
        time(round.started_ms),
        ended.unwrap_or_default(),
        round.blobs,
        round.bytes,
        round.lost_blobs
    )
}

fn loss(loss: &Loss) -> Vec<String> {
    let givers = loss.from.iter().map(|giver| match &giver.organization[..] {
        "" => format!("{} ({})", short(&giver.peer_id), giver.blocks),
        organization => format!("{organization} ({})", giver.blocks),
    });
    let outcome = match loss.at_ms {
        Some(at_ms) => format!("{} {}", loss.outcome, time(at_ms)),
        None => loss.outcome.clone(),
    };
    vec![
        time(loss.found_ms),
        loss.cid.clone(),
        loss.cause.clone(),
        format!("{} missing, {} damaged", loss.missing, loss.damaged),
        outcome,
        givers.collect::<Vec<_>>().join(", "),
    ]
}

fn missing(missing: &Missing) -> Vec<String> {
    let kept = if missing.permanent {
        "for good"
    } else {
        "under a lease"
    };
    vec![
        missing.cid.clone(),
        kept.to_owned(),
        missing.tries.to_string(),
        missing.why.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use stela_storage::report::Giver;

    use super::*;

    #[test]
    fn a_report_says_what_was_lost_and_who_gave_it_back() {
        let report = Report {
            organization: "HospitalA".to_owned(),
            name: "storage0".to_owned(),
            peer_id: "12D3".to_owned(),
            keeps_allow_list: true,
            now_ms: 86_400_000,
            permanent: 3,
            leased: 1,
            running: None,
            last: Some(CheckRound {
                started_ms: 0,
                ended_ms: Some(1_000),
                blobs: 4,
                blocks: 9,
                bytes: 100,
                lost_blobs: 1,
                lost_blocks: 2,
            }),
            open: 1,
            found: 2,
            losses: vec![Loss {
                cid: "bafyone".to_owned(),
                found_ms: 500,
                cause: "damaged".to_owned(),
                missing: 2,
                damaged: 1,
                outcome: "mended".to_owned(),
                at_ms: Some(2_000),
                blocks: 2,
                bytes: 50,
                from: vec![Giver {
                    organization: "HospitalB".to_owned(),
                    peer_id: "12D4".to_owned(),
                    blocks: 2,
                }],
            }],
            wanted: 1,
            missing: vec![Missing {
                cid: "bafytwo".to_owned(),
                permanent: true,
                tries: 7,
                why: "block bafytwo was not found".to_owned(),
            }],
        };
        let expect = "\
HospitalA/storage0 at 1970-01-02T00:00:00Z
keeps 3 blobs for good and 1 under a lease
last reading of everything: from 1970-01-01T00:00:00Z to 1970-01-01T00:00:01Z, 4 blobs, 100 bytes, 1 blobs with losses
2 losses found, 1 not mended; 1 blobs should be here and are not
found                 blob     how      blocks                outcome                      from
1970-01-01T00:00:00Z  bafyone  damaged  2 missing, 1 damaged  mended 1970-01-01T00:00:02Z  HospitalB (2)
missing  kept      tries  why
bafytwo  for good  7      block bafytwo was not found
";
        assert_eq!(text(&report), expect);
    }
}
