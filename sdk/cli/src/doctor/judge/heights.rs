//! Whether a node has, after a moment, the blocks that others had before.

use stela_client::ChannelHealth;

use super::Sight;
use crate::doctor::finding::{Check, Finding, Verdict};
use crate::doctor::look::{Kind, Seen};

/// A peer or an orderer on the channel's chain.
struct Place<'a> {
    seen: &'a Seen,
    first: u64,
    second: u64,
}

impl<'a> Place<'a> {
    fn of(seen: &'a Seen, first: &ChannelHealth, second: &ChannelHealth) -> Option<Self> {
        let height = |channel: &ChannelHealth| match seen.target.kind {
            Kind::Peer => Some(channel.height),
            Kind::Orderer { .. } => Some(channel.deliverable),
            Kind::Storage => None,
        };
        Some(Self {
            seen,
            first: height(first)?,
            second: height(second)?,
        })
    }
}

pub(super) fn judge(sight: &Sight<'_>) -> Vec<Finding> {
    let chain = sight.first_block();
    let places: Vec<Place<'_>> = sight
        .joined()
        .filter(|(_, channel, _)| Some(channel.genesis_hash) == chain)
        .filter_map(|(seen, first, second)| Place::of(seen, first, second?))
        .collect();
    places
        .iter()
        .filter_map(|place| one(sight, place, &places))
        .collect()
}

/// What so many others had at first that one of them alone cannot have made it up.
fn had(place: &Place<'_>, places: &[Place<'_>]) -> Option<u64> {
    let mut others: Vec<u64> = places
        .iter()
        .filter(|other| !std::ptr::eq(*other, place))
        .map(|other| other.first)
        .collect();
    others.sort_unstable_by(|one, other| other.cmp(one));
    others.get(1).or(others.first()).copied()
}

fn one(sight: &Sight<'_>, place: &Place<'_>, places: &[Place<'_>]) -> Option<Finding> {
    let had = had(place, places)?;
    let title = place.seen.title();
    let looked_at = format!("height at {}, twice", place.seen.address());
    let finding = |found: String| Finding::ok(Check::Height, &title, looked_at, found);
    let behind = had.saturating_sub(place.second);
    if behind == 0 {
        return Some(finding(format!("{} blocks", place.second)));
    }
    let found = format!(
        "behind: it has {} blocks now, others had {had} a moment ago",
        place.second
    );
    if place.second > place.first {
        let found = format!("{found}; it is catching up");
        return Some(
            finding(found)
                .but(Verdict::Warning)
                .cured_by("wait, and look again"),
        );
    }
    Some(
        finding(format!("{found}, and it does not move"))
            .but(Verdict::Failed)
            .cured_by(cure(sight, place.seen))
            .with(format!(
                "stela doctor --config {}.toml",
                place.seen.target.kind.role()
            )),
    )
}

fn cure(sight: &Sight<'_>, seen: &Seen) -> String {
    let addresses: Vec<&str> = sight
        .config
        .iter()
        .flat_map(|config| config.orderers.values())
        .map(|orderer| orderer.address.as_str())
        .collect();
    let who = match seen.target.kind {
        Kind::Orderer { .. } => "the other orderers",
        _ => "the orderers",
    };
    format!(
        "see in its log what {who} answer it; it must reach them from its own machine ({}), and \
         nothing else may hold all the streams that its organization has there; then start it again",
        addresses.join(", ")
    )
}
