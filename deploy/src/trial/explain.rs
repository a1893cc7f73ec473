//! Two transactions that cannot both be valid, and what `stela tx explain` says of the second.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::Stela;
use crate::materials::user_folder;
use crate::network::{Network, commands_log};
use crate::users;

const COMMIT: Duration = Duration::from_secs(60);

/// The patient registers herself twice, both times endorsed before either is ordered.
pub(super) async fn conflict(network: &Network) -> anyhow::Result<()> {
    let patient = users::patient(stela_consent::Hex([0; 16]));
    let profile = user_folder(network.folder(), &patient);
    let stela = Stela::new(profile, commands_log(network.folder()));
    let who = stela.run(&["whoami"]).await?;
    let id = who.text("/attributes/patient")?.to_owned();
    let (ledger, contract) = network.client(&patient)?;
    ledger.register(COMMIT).await?;
    let propose = || {
        let proposal = contract.proposal("register_patient");
        proposal.json(&json!({ "patient": id })).build()
    };
    let first = propose()?.endorse().await?;
    let second = propose()?.endorse().await?;
    let (first_id, second_id) = (first.id().to_string(), second.id().to_string());
    first.submit_and_wait(COMMIT).await?.valid()?;
    let verdict = second.submit_and_wait(COMMIT).await?;
    anyhow::ensure!(!verdict.code.is_valid(), "both were valid");

    let explained = stela.run(&["tx", "explain", &second_id]).await?.json;
    let change = explained.pointer("/reads/0/changes/0");
    let change = change.with_context(|| format!("no change: {explained}"))?;
    let expect = |field: &str, value: &str| {
        let found = change.pointer(field).and_then(Value::as_str);
        anyhow::ensure!(found == Some(value), "{field} of {change}");
        Ok(())
    };
    anyhow::ensure!(explained["verdict"] == "MVCC_READ_CONFLICT", "{explained}");
    expect("/transaction", &first_id)?;
    expect("/creator/organization", "HospitalA")?;
    expect("/creator/role", "patient")?;
    expect("/key", &format!("patient of patient {id}"))?;
    let unknown = "ab".repeat(32);
    let unknown = stela.run(&["tx", "explain", &unknown]).await?.json;
    anyhow::ensure!(unknown["prospect"] == "unknown", "{unknown}");
    Ok(())
}
