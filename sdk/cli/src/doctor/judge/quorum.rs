//! Whether the orderers can order, by what at least two of them say.

use stela_client::ChannelHealth;

use super::Sight;
use crate::doctor::finding::{Check, Finding, Verdict};
use crate::doctor::look::Kind;

const SUBJECT: &str = "the orderers";
const START: &str =
    "start those that do not answer; on their machines this says why they do not run";
const COMMAND: &str = "stela doctor --config orderer.toml";

/// An orderer that answered, at first and a moment later.
struct Answer<'a> {
    first: &'a ChannelHealth,
    second: &'a ChannelHealth,
}

impl Answer<'_> {
    /// Whether it has blocks that stay without a quorum of signatures.
    fn waits(&self) -> bool {
        let first_waited = self.first.height > self.first.deliverable;
        first_waited && self.second.deliverable == self.first.deliverable
    }
}

pub(super) fn judge(sight: &Sight<'_>) -> Option<Finding> {
    let config = sight.config?;
    let (all, needed) = (config.orderers.len(), config.orderer_quorum);
    let answers: Vec<Answer<'_>> = sight
        .joined()
        .filter(|(seen, ..)| matches!(seen.target.kind, Kind::Orderer { .. }))
        .filter_map(|(_, first, second)| second.map(|second| Answer { first, second }))
        .collect();
    let answering = answers.len();
    let looked_at = format!("{all} orderers, {needed} needed, {answering} answering, twice");
    let finding = |found: String| Finding::ok(Check::Quorum, SUBJECT, looked_at.clone(), found);
    if answering < needed {
        let led = answers.iter().find_map(|answer| answer.second.leader);
        let leader = match (answering, led) {
            (0, _) => String::new(),
            (_, None) => ", and they know of no leader".to_owned(),
            (_, Some(id)) => format!(", and they last knew orderer {id} as the leader"),
        };
        let found = format!(
            "the quorum is lost, as far as can be seen from here: {answering} of the {needed} \
             orderers that are needed answer{leader}; nothing is ordered"
        );
        return Some(
            finding(found)
                .but(Verdict::Failed)
                .cured_by(START)
                .with(COMMAND),
        );
    }
    let leaderless = answers
        .iter()
        .filter(|answer| answer.first.leader.is_none() && answer.second.leader.is_none());
    if answering >= 2 && leaderless.count() == answering {
        let found = format!(
            "the quorum is lost: {answering} orderers answer and none knows a leader; nothing is \
             ordered"
        );
        let cure = "let the orderers reach one another at the addresses in the channel's \
                    configuration, and look into their logs for why they elect nobody";
        return Some(
            finding(found)
                .but(Verdict::Failed)
                .cured_by(cure)
                .with(COMMAND),
        );
    }
    let waiting = answers.iter().filter(|answer| answer.waits()).count();
    if waiting >= 2 {
        let found = format!(
            "{waiting} orderers have blocks that gather no quorum of signatures: nothing is delivered"
        );
        let cure = "look at the certificates of the orderers (above) and into their logs: too few \
                    of them sign";
        return Some(
            finding(found)
                .but(Verdict::Failed)
                .cured_by(cure)
                .with(COMMAND),
        );
    }
    let leader = answers.iter().find_map(|answer| answer.second.leader);
    let led = leader.map_or("a leader is being elected".to_owned(), |id| {
        format!("orderer {id} leads")
    });
    let found = format!("{led}; {answering} of {all} answer, {needed} are needed");
    let finding = finding(found);
    Some(match answering == needed && all > needed {
        true => finding
            .but(Verdict::Warning)
            .cured_by("one more that fails and nothing is ordered: start those that do not answer"),
        false => finding,
    })
}
