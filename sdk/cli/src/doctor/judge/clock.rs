//! Clocks: each node's against the others', bounded by how long the question took.

use stela_client::ClockOffset;

use super::Sight;
use crate::doctor::finding::{Check, Finding, Verdict};
use crate::doctor::look::Silence;
use crate::limits::{CLOCK_OFF_FAILED_MS, CLOCK_OFF_WARNING_MS};
use crate::output::time;
use stela_identity::tls::Refusal;

/// As findings name it.
const MACHINE: &str = "this machine";
const CURE: &str = "set the machine's clock, and have it kept right";
const COMMAND: &str = "timedatectl set-ntp true";

/// How far most clocks are ahead of this machine's, which is one of them: the median. With fewer
/// than three clocks nobody can tell which is wrong.
pub(super) fn reference(sight: &Sight<'_>) -> Option<i64> {
    let mut offsets: Vec<i64> = sight
        .answered()
        .map(|(_, health)| health.clock.offset_ms)
        .chain([0])
        .collect();
    offsets.sort_unstable();
    let middle = offsets.len() / 2;
    (offsets.len() >= 3).then(|| match offsets.len() % 2 {
        1 => offsets[middle],
        // Of the two in the middle the one nearer to this machine's, so that a tie blames nobody.
        _ => {
            let (one, other) = (offsets[middle - 1], offsets[middle]);
            if one.unsigned_abs() < other.unsigned_abs() {
                one
            } else {
                other
            }
        }
    })
}

pub(super) fn judge(sight: &Sight<'_>) -> Vec<Finding> {
    let Some(reference) = reference(sight) else {
        return few(sight);
    };
    let own = ClockOffset {
        offset_ms: 0,
        error_ms: 0,
    };
    let others = sight
        .answered()
        .map(|(seen, health)| (seen.title(), seen.address().to_owned(), health.clock));
    [(MACHINE.to_owned(), "its clock".to_owned(), own)]
        .into_iter()
        .chain(others)
        .map(|(subject, looked_at, clock)| one(&subject, looked_at, clock, reference))
        .collect()
}

fn one(subject: &str, looked_at: String, clock: ClockOffset, reference: i64) -> Finding {
    let off_ms = clock.offset_ms.saturating_sub(reference);
    let sure_ms = off_ms.unsigned_abs().saturating_sub(clock.error_ms);
    let direction = if off_ms < 0 { "behind" } else { "ahead of" };
    let found = format!(
        "{} {direction} most clocks, give or take {} ms",
        words(off_ms.unsigned_abs()),
        clock.error_ms
    );
    let finding = Finding::ok(Check::Clock, subject, looked_at, found);
    match sure_ms {
        0..CLOCK_OFF_WARNING_MS => finding,
        CLOCK_OFF_WARNING_MS..CLOCK_OFF_FAILED_MS => {
            finding.but(Verdict::Warning).cured_by(CURE).with(COMMAND)
        }
        _ => finding.but(Verdict::Failed).cured_by(CURE).with(COMMAND),
    }
}

/// Too few answers to compare. If certificates are refused for their time, that tells something.
fn few(sight: &Sight<'_>) -> Vec<Finding> {
    let differs = sight.answered().find(|(_, health)| {
        let clock = health.clock;
        clock
            .offset_ms
            .unsigned_abs()
            .saturating_sub(clock.error_ms)
            >= CLOCK_OFF_FAILED_MS
    });
    if let Some((seen, health)) = differs {
        let apart = words(health.clock.offset_ms.unsigned_abs());
        let found = format!(
            "{apart} apart from {}; one of the two is wrong",
            seen.title()
        );
        let finding = Finding::ok(Check::Clock, MACHINE, "its clock", found);
        return vec![finding.but(Verdict::Failed).cured_by(CURE).with(COMMAND)];
    }
    let of_time = |seen: &&super::Seen| {
        matches!(
            seen.first,
            Err(Silence::Node(Refusal::Expired | Refusal::NotYetValid)
                | Silence::Own(Refusal::Expired | Refusal::NotYetValid))
        )
    };
    let refused = sight.nodes.iter().filter(of_time).count();
    let finding = Finding::ok(Check::Clock, MACHINE, "its clock", "");
    if refused >= 2 {
        let found = format!(
            "it says {}, and the TLS certificates of {refused} nodes are refused for their time: \
             the clock is the likelier cause",
            time(sight.now_ms)
        );
        let finding = Finding { found, ..finding };
        return vec![finding.but(Verdict::Failed).cured_by(CURE).with(COMMAND)];
    }
    let found = "too few nodes answer to compare clocks".to_owned();
    vec![Finding { found, ..finding }.but(Verdict::CouldNotLook)]
}

fn words(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        10_000..600_000 => format!("{} s", ms / 1000),
        _ => format!("{} min", ms / 60_000),
    }
}
