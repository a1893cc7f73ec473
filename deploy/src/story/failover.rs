//! The part of the story in which the orderers' leader is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stela_client::Contract;
use stela_consent::{Actor, Consent, Hex, Provision, Role};

use super::Story;
use crate::evidence::Killed;
use crate::materials::User;
use crate::process::{now_ms, stopwatch};
use crate::topology::Node;

/// Grants that are made while the leader is killed.
const GRANTS: usize = 40;
/// How many of them are under way at once.
const GRANTS_AT_ONCE: usize = 4;
/// After how many acknowledgements the leader is killed.
const KILL_AFTER: usize = 10;
/// How long a new leader may take.
const ELECTION: Duration = Duration::from_secs(30);

impl Story<'_> {
    /// Kills the orderers' leader while the patient's client makes grants, and starts it again when
    /// all of them are acknowledged.
    pub(super) async fn kill_the_leader(&mut self, patient: &User) -> anyhow::Result<Killed> {
        let started = stopwatch();
        let (_, contract) = self.network.client(patient)?;
        let leader = self.network.leader(ELECTION).await?;
        let process = self.network.process_id(&leader)?;
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&acknowledged);
        let grants = tokio::spawn(async move { make_grants(&contract, &counter).await });
        while acknowledged.load(Ordering::SeqCst) < KILL_AFTER && !grants.is_finished() {
            tokio::time::sleep(crate::limits::POLL).await;
        }
        self.network.kill(&leader)?;
        let at_ms = now_ms();
        self.acknowledged.extend(grants.await??);
        let what = format!(
            "the orderers' leader ({}) is killed with kill -9 while the patient grants {GRANTS} consents; \
             all are acknowledged",
            leader.title()
        );
        self.done(&what, started.elapsed().as_secs_f64());
        let restarted_ms = now_ms();
        self.start_again(&leader).await?;
        Ok(Killed {
            title: leader.title(),
            process,
            at_ms,
            restarted_ms,
        })
    }

    async fn start_again(&mut self, node: &Node) -> anyhow::Result<()> {
        let started = stopwatch();
        self.network.start(node)?;
        let now = self.network.leader(ELECTION).await?;
        let what = format!("{} leads; {} is started again", now.title(), node.title());
        self.done(&what, started.elapsed().as_secs_f64());
        self.network.save()
    }
}

/// Makes many grants, a few at once; each opens nothing to anybody but must survive. They are about
/// a role that nobody has who asks later.
async fn make_grants(
    contract: &Contract,
    acknowledged: &AtomicUsize,
) -> anyhow::Result<Vec<Hex<32>>> {
    use futures::{StreamExt, TryStreamExt};
    let one = |_: usize| async {
        let organization = "HospitalC".parse().map_err(|_| anyhow::anyhow!("name"))?;
        let actor = Actor::RoleAt(organization, Role::Researcher);
        let provision = Provision {
            actor: Some(actor),
            ..Provision::deny()
        };
        let consent = Consent::new(Hex(rand::random()), provision, Vec::new())?;
        let proposal = contract.proposal("grant_consent").json(&consent).build()?;
        let transaction = proposal.endorse().await?;
        let status = transaction
            .submit_and_wait(Duration::from_secs(60))
            .await?
            .valid()?;
        acknowledged.fetch_add(1, Ordering::SeqCst);
        anyhow::Ok(Hex(status.transaction.0))
    };
    futures::stream::iter(0..GRANTS)
        .map(one)
        .buffer_unordered(GRANTS_AT_ONCE)
        .try_collect()
        .await
}
