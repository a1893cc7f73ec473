//! Whom to ask for endorsements, and when enough of them agree.
//!
//! A layout is a set of organizations whose endorsements satisfy the policy. The first layout in
//! which nobody has failed, is silent or has failed lately is asked; as soon as somebody in it
//! fails, disagrees or stays silent, the next one is, and what was asked before goes on. Endorsers
//! at different heights may honestly differ, so whoever is behind is asked again for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use stela_protocol::difference::ResultDifference;
use stela_protocol::{ErrorCode, OrgId, RpcError};
use tokio::time::Instant;

use super::asking::{Answer, Asker};
use crate::backoff::BackOff;
use crate::limits::{
    CATCH_UP_BLOCKS_MAX, CATCH_UP_PAUSE, CATCH_UP_PAUSE_MAX, FAILURE_WORDS_BYTES_MAX, HEDGE_AFTER,
};
use crate::membership::Layouts;
use crate::node::Node;
use crate::remotes::another_may;
use crate::requests::Admitted;

/// What an organization answered.
type Asked = (OrgId, Result<Answer, RpcError>);

/// What has been collected for one proposal.
pub(super) struct Collection<'a> {
    asker: Asker<'a>,
    layouts: Layouts,
    /// Who failed in other requests lately.
    troubled: BTreeSet<OrgId>,
    answers: BTreeMap<OrgId, Answer>,
    failures: BTreeMap<OrgId, RpcError>,
    asked: FuturesUnordered<BoxFuture<'a, Asked>>,
    /// Whose answer is under way.
    waiting: BTreeSet<OrgId>,
    /// From when on an organization whose answer is still under way counts as silent.
    late_at: BTreeMap<OrgId, Instant>,
    /// Until when an organization that is behind is asked again, and the pauses between.
    catching_up: BTreeMap<OrgId, (Instant, BackOff)>,
}

impl<'a> Collection<'a> {
    /// Finds out whom to ask, and asks this peer itself: what it refuses need not travel.
    pub(super) async fn begin(
        node: &'a Arc<Node>,
        admitted: &'a Admitted,
        deadline: Instant,
    ) -> Result<Self, RpcError> {
        let mut collection = Self {
            asker: Asker {
                node,
                admitted,
                deadline,
            },
            layouts: layouts(node, admitted)?,
            troubled: node.remotes.troubled.at(Instant::now()),
            answers: BTreeMap::new(),
            failures: BTreeMap::new(),
            asked: FuturesUnordered::new(),
            waiting: BTreeSet::new(),
            late_at: BTreeMap::new(),
            catching_up: BTreeMap::new(),
        };
        let own = &node.organization;
        if collection.layouts.iter().any(|layout| layout.contains(own)) {
            let answer = collection.asker.ask_self().await;
            collection.record(own.clone(), answer)?;
        }
        Ok(collection)
    }

    /// Asks others until one of the layouts is complete and its answers agree.
    ///
    /// # Errors
    /// What this peer itself refuses; otherwise, when no layout is left, what each organization
    /// said.
    pub(super) async fn complete(mut self) -> Result<Vec<Answer>, RpcError> {
        loop {
            if let Some(answers) = self.agreed() {
                self.remember(&answers);
                return Ok(answers);
            }
            self.ask_those_behind();
            if !self.ask_next() {
                return Err(self.used_up());
            }
            self.next_answer().await?;
        }
    }

    fn own(&self) -> &'a OrgId {
        &self.asker.node.organization
    }

    /// The answers of the first layout in which all are the same. Without this peer's own word a
    /// layout counts only when none of its members might yet catch up.
    fn agreed(&self) -> Option<Vec<Answer>> {
        let mut layouts = self.layouts.iter();
        layouts.find_map(|layout| {
            let settled = layout.contains(self.own()) || layout.is_disjoint(&self.waiting);
            let answers: Option<Vec<Answer>> = layout
                .iter()
                .map(|o| self.answers.get(o).cloned())
                .collect();
            answers.filter(|answers| settled && same(answers))
        })
    }

    /// Lets other requests ask those first who were of use here.
    fn remember(&self, agreed: &[Answer]) {
        let troubled = &self.asker.node.remotes.troubled;
        let (result, now) = (agreed.first().map(|answer| &answer.result), Instant::now());
        for answer in self.answers.values() {
            let organization = &answer.organization;
            if *organization == *self.own() || self.is_late(organization, now) {
                continue;
            }
            match Some(&answer.result) == result {
                true => troubled.forget(organization),
                false => troubled.note(organization, now),
            }
        }
    }

    /// Asks everybody again who is behind somebody with another result.
    fn ask_those_behind(&mut self) {
        if same(self.answers.values()) {
            return;
        }
        let head = self.asker.admitted.channel.ledger().head().height;
        // A height far beyond this peer's is a lie, or nothing that could be waited for.
        let credible = head.saturating_add(CATCH_UP_BLOCKS_MAX);
        let heights = self.answers.values().map(|answer| answer.height);
        let highest = heights.filter(|height| *height <= credible).max();
        let Some(highest) = highest else { return };
        let lowest = highest.saturating_sub(CATCH_UP_BLOCKS_MAX);
        let behind = self.answers.values().filter(|answer| {
            (lowest..highest).contains(&answer.height)
                && !self.waiting.contains(&answer.organization)
        });
        let behind: Vec<OrgId> = behind.map(|answer| answer.organization.clone()).collect();
        for organization in behind {
            self.ask_again(organization, highest);
        }
    }

    fn ask_again(&mut self, organization: OrgId, height: u64) {
        let (asker, own) = (self.asker, self.own());
        let (patience, back_off) =
            self.catching_up
                .entry(organization.clone())
                .or_insert_with(|| {
                    let back_off = BackOff::new(CATCH_UP_PAUSE, CATCH_UP_PAUSE_MAX);
                    (asker.patience(), back_off)
                });
        let (patience, pause) = (*patience, back_off.next(rand::random()));
        if Instant::now() >= patience {
            return;
        }
        self.expect(&organization);
        self.asked.push(Box::pin(async move {
            let answer = match organization == *own {
                true => asker.ask_self_at(height, patience).await,
                false => asker.ask_after(pause, &organization).await,
            };
            (organization, answer)
        }));
    }

    /// Asks whoever is missing in the best layout that is left; says if there is one.
    fn ask_next(&mut self) -> bool {
        let now = Instant::now();
        let left = self.layouts.iter().filter(|layout| !self.is_lost(layout));
        let Some(layout) = left.min_by_key(|layout| self.doubts(layout, now)).cloned() else {
            return false;
        };
        for organization in &layout {
            if !self.answers.contains_key(organization) && !self.waiting.contains(organization) {
                self.ask(organization.clone());
            }
        }
        // Whatever is neither lost nor agreed has an answer under way.
        !layout.is_disjoint(&self.waiting)
    }

    fn ask(&mut self, organization: OrgId) {
        let (asker, accepted_here) = (self.asker, self.answers.contains_key(self.own()));
        self.expect(&organization);
        self.asked.push(Box::pin(async move {
            let answer = match accepted_here {
                true => asker.ask_until_caught_up(&organization).await,
                false => asker.ask(&organization).await,
            };
            (organization, answer)
        }));
    }

    fn expect(&mut self, organization: &OrgId) {
        self.waiting.insert(organization.clone());
        self.late_at
            .entry(organization.clone())
            .or_insert_with(|| Instant::now() + HEDGE_AFTER);
    }

    /// Whether a layout can no longer be completed: somebody failed, or two disagree for good.
    fn is_lost(&self, layout: &BTreeSet<OrgId>) -> bool {
        let final_answers = layout
            .iter()
            .filter(|o| !self.waiting.contains(*o))
            .filter_map(|o| self.answers.get(o));
        layout.iter().any(|o| self.failures.contains_key(o)) || !same(final_answers)
    }

    /// How many of a layout are silent, and how many of those missing failed lately.
    fn doubts(&self, layout: &BTreeSet<OrgId>, now: Instant) -> (usize, usize) {
        let late = layout.iter().filter(|o| self.is_late(o, now));
        let missing = layout.iter().filter(|o| !self.answers.contains_key(*o));
        let troubled = missing.filter(|o| self.troubled.contains(*o));
        (late.count(), troubled.count())
    }

    fn is_late(&self, organization: &OrgId, now: Instant) -> bool {
        let late_at = self.late_at.get(organization);
        self.waiting.contains(organization) && late_at.is_some_and(|at| now >= *at)
    }

    /// Waits for the next answer, or until somebody counts as silent.
    async fn next_answer(&mut self) -> Result<(), RpcError> {
        let now = Instant::now();
        let due = |o: &OrgId| self.late_at.get(o).copied().filter(|at| *at > now);
        let Some(late_at) = self.waiting.iter().filter_map(due).min() else {
            return match self.asked.next().await {
                Some((organization, answer)) => self.record(organization, answer),
                None => Ok(()),
            };
        };
        match tokio::time::timeout_at(late_at, self.asked.next()).await {
            Ok(Some((organization, answer))) => self.record(organization, answer)?,
            Ok(None) => {}
            Err(_) => self.note_late(),
        }
        Ok(())
    }

    fn note_late(&self) {
        let now = Instant::now();
        let late = self.waiting.iter().filter(|o| self.is_late(o, now));
        for organization in late.filter(|o| *o != self.own()) {
            self.asker.node.remotes.troubled.note(organization, now);
        }
    }

    /// Keeps an answer, or a failure that other organizations may make up for. What this peer
    /// itself refuses, the client has to know.
    fn record(
        &mut self,
        organization: OrgId,
        answer: Result<Answer, RpcError>,
    ) -> Result<(), RpcError> {
        self.waiting.remove(&organization);
        let is_own = organization == *self.own();
        match answer {
            Ok(answer) => drop(self.answers.insert(organization, answer)),
            Err(error) if is_own && !another_may(error.code) => return Err(error),
            Err(error) => {
                if !is_own {
                    let now = Instant::now();
                    self.asker.node.remotes.troubled.note(&organization, now);
                }
                self.answers.remove(&organization);
                self.failures.insert(organization, error);
            }
        }
        Ok(())
    }

    /// Why no layout could be completed.
    fn used_up(self) -> RpcError {
        if let Some(refusal) = self.common_refusal() {
            return refusal;
        }
        let mismatch = self.mismatch();
        let (code, what) = match mismatch.is_some() {
            true => (
                ErrorCode::EndorsementMismatch,
                "the endorsers do not agree on a result",
            ),
            false => (
                ErrorCode::EndorsersUnavailable,
                "the endorsers that are needed cannot be had",
            ),
        };
        let failures = self.failures.iter();
        let failures = failures.map(|(organization, error)| words(organization, error));
        let (mismatch, differences) = mismatch.unzip();
        let said: Vec<String> = mismatch.into_iter().chain(failures).collect();
        RpcError::new(code, format!("{what}; {}", said.join("; ")))
            .with_differences(differences.unwrap_or_default())
    }

    /// If only this peer itself failed, its own words; if nobody endorsed and all refused alike,
    /// the refusal.
    fn common_refusal(&self) -> Option<RpcError> {
        if self.failures.len() == 1
            && let Some(own) = self.failures.get(self.own())
        {
            return Some(own.clone());
        }
        let first = self.failures.values().next()?;
        let alike = self.failures.values().all(|error| error.code == first.code);
        let refused = self.answers.is_empty() && alike && !another_may(first.code);
        refused.then(|| first.clone())
    }

    /// Who found another result than this peer, or than the first one that answered, and in what.
    fn mismatch(&self) -> Option<(String, Vec<ResultDifference>)> {
        let mut answers = self.answers.values();
        let first = self.answers.get(self.own()).or_else(|| answers.next())?;
        let arguments = &self.asker.admitted.proposal.arguments;
        let differ = self.answers.values().filter(|a| a.result != first.result);
        let (names, differences): (Vec<String>, Vec<ResultDifference>) = differ
            .map(|answer| {
                let one = (answer.node.as_str(), &answer.result);
                let other = (first.node.as_str(), &first.result);
                let difference = ResultDifference::between(one, other, arguments);
                (format!("{} in {difference}", name(answer)), difference)
            })
            .unzip();
        let words = format!(
            "{} found another result than {}",
            names.join(" and "),
            name(first)
        );
        (!names.is_empty()).then(|| (words, ResultDifference::bounded(differences)))
    }
}

/// The sets of organizations whose peers satisfy the policy of the contract.
fn layouts(node: &Node, admitted: &Admitted) -> Result<Layouts, RpcError> {
    let (channel, contract) = (&admitted.channel, &admitted.proposal.contract);
    let membership = channel.membership();
    let unknown = || {
        let why = format!("channel {} defines no contract {contract}", channel.id());
        RpcError::new(ErrorCode::UnknownContract, why)
    };
    let layouts = membership
        .layouts(contract, &node.organization)
        .ok_or_else(unknown)?;
    if layouts.is_empty() {
        let why = format!("no set of peers satisfies the policy of contract {contract}");
        return Err(RpcError::new(ErrorCode::EndorsersUnavailable, why));
    }
    Ok(layouts)
}

fn same<'b>(answers: impl IntoIterator<Item = &'b Answer>) -> bool {
    let mut answers = answers.into_iter();
    let first = answers.next();
    first.is_none_or(|first| answers.all(|answer| answer.result == first.result))
}

fn words(organization: &OrgId, error: &RpcError) -> String {
    let words = error.to_string();
    let end = words.floor_char_boundary(FAILURE_WORDS_BYTES_MAX);
    format!("{organization}: {}", &words[..end])
}

fn name(answer: &Answer) -> String {
    format!("{} (at height {})", answer.node, answer.height)
}
