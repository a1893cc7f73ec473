//! What administrators do, and what everybody may look at.

use anyhow::Context;
use serde_json::{Value, json};

use super::{IN_FORCE, RightsTrial, SETTINGS, expect, text};
use crate::network::administrator;
use crate::topology::{CONTRACT, Kind, ORGANIZATIONS};
use crate::users;

/// The administrators' policy at the end: all three of them.
const POLICY: &str = "OutOf(3,'HospitalA.admin','HospitalB.admin','HospitalC.admin')";

impl RightsTrial<'_> {
    /// Proposes a change; two administrators sign copies of it, which are merged and submitted. It is
    /// waited for until every peer goes by it.
    async fn change(&mut self, words: &str) -> anyhow::Result<Value> {
        self.changes += 1;
        let (file, copy) = (
            format!("change-{}.json", self.changes),
            format!("copy-{}.json", self.changes),
        );
        let (first, second) = (administrator("HospitalA")?, administrator("HospitalB")?);
        let update = "channel update";
        let propose = format!("{update} {words} --description trial --out {file}");
        self.ask(&first, &propose).await?;
        std::fs::copy(self.folder.join(&file), self.folder.join(&copy))?;
        for (administrator, file) in [(&first, &file), (&second, &copy)] {
            self.ask(administrator, &format!("{update} sign {file} --yes"))
                .await?;
        }
        let shown = self.ask(&first, &format!("{update} show {file}")).await?;
        expect(&shown, "/satisfied", false)?;
        let merged = self
            .ask(&second, &format!("{update} merge {file} {copy}"))
            .await?;
        expect(&merged, "/satisfied", true)?;
        let submitted = self
            .ask(&second, &format!("{update} submit {file}"))
            .await?;
        let sequence = shown["to"].clone();
        expect(&submitted, "/sequence", sequence.clone())?;
        for user in [users::author(), users::reader(), users::stranger()] {
            self.until(&user, "channel info", |info| {
                info["configuration"] == sequence
            })
            .await?;
        }
        self.ask(&users::author(), "channel info").await
    }

    /// The configuration as it is printed, with a limit edited.
    pub(super) async fn change_edited_configuration(&mut self) -> anyhow::Result<()> {
        let user = administrator("HospitalA")?;
        self.ask(&user, "register").await?;
        self.ask(&user, "channel config --out config.json").await?;
        let bytes = std::fs::read(self.folder.join("config.json"))?;
        let mut config: Value = serde_json::from_slice(&bytes)?;
        let limit = "block_transactions_max";
        anyhow::ensure!(config["limits"][limit] != 400, "{config}");
        config["limits"][limit] = json!(400);
        self.write_file("edited.json", config.to_string())?;
        self.change("propose --config edited.json").await?;
        let config = self.ask(&user, "channel config").await?;
        expect(&config, "/limits/block_transactions_max", 400)?;
        self.done("an edited configuration is signed on two copies, merged, and in force");
        Ok(())
    }

    /// The contract's settings.
    pub(super) async fn change_settings(&mut self) -> anyhow::Result<()> {
        self.write_file("settings.json", SETTINGS)?;
        let words = format!("set-contract {CONTRACT} --settings settings.json");
        let info = self.change(&words).await?;
        expect(&info, "/contracts/0/settings", SETTINGS)?;
        self.done("the contract's settings are others");
        Ok(())
    }

    /// Blocks with their verdicts and signatures, and the contract's events from the first one on.
    pub(super) async fn look_at_the_channel(&self) -> anyhow::Result<()> {
        let reader = users::reader();
        let blocks = self.ask(&reader, "channel blocks").await?;
        let blocks = blocks.as_array().context("no blocks")?;
        for (number, block) in blocks.iter().enumerate() {
            expect(block, "/number", number)?;
            let signatures = block["signatures"].as_u64();
            anyhow::ensure!(number == 0 || signatures >= Some(2), "{block}");
        }
        let transactions: Vec<&str> = self.written.iter().map(|(_, tx)| tx.as_str()).collect();
        let (_, last) = self.written.last().context("nothing was written")?;
        let status = self.ask(&reader, &format!("tx status {last}")).await?;
        let place = status["block"].as_u64().context("no block")?;
        anyhow::ensure!(place < blocks.len() as u64, "block {place} is not listed");
        let events = self.ask(&reader, "events --from 0 --count 40").await?;
        let events = events.as_array().context("no events")?;
        anyhow::ensure!(events.len() == 40, "{} events", events.len());
        let known = |event: &&Value| {
            let transaction = event["transaction"].as_str();
            transaction.is_some_and(|one| transactions.contains(&one))
        };
        let submitted = events.iter().filter(known);
        let names: Vec<_> = submitted
            .filter_map(|event| event["name"].as_str())
            .collect();
        anyhow::ensure!(names.contains(&"record.submitted"), "{names:?}");
        self.done("every block is signed, and events are told from the first block on");
        Ok(())
    }

    /// A package is installed, an authority made, and a shell helped.
    pub(super) async fn administer(&self, package: &[u8]) -> anyhow::Result<()> {
        let administrator = administrator("HospitalA")?;
        self.write_file("healthcare.wasm", package)?;
        let peer = self.network.topology().node(Kind::Peer, "HospitalA")?;
        let at = peer.service.public;
        let install = format!("admin install --node {at} healthcare.wasm");
        let installed = self.ask(&administrator, &install).await?;
        let info = self.ask(&administrator, "channel info").await?;
        let hash = text(&info, "/contracts/0/package_hash")?;
        expect(&installed, "/package_hash", hash)?;
        let status = format!("admin status --node {at}");
        let status = self.ask(&administrator, &status).await?;
        expect(&status, "/packages", json!([hash]))?;

        let init = "ca init --organization HospitalD authority";
        let made = self.ask(&administrator, init).await?;
        let root = std::fs::read(self.folder.join(text(&made, "/root")?))?;
        anyhow::ensure!(root.starts_with(b"-----BEGIN"), "the root is not PEM");

        let stela = self.stela(&administrator);
        let completions = stela.run(&["completions", "bash"]).await?.printed;
        for name in ORGANIZATIONS {
            anyhow::ensure!(completions.contains(name), "{name} is not completed");
        }
        self.done("a package is installed, an authority made, and a shell helped");
        Ok(())
    }

    /// One orderer less, and all three administrators asked for from then on.
    pub(super) async fn change_orderers_and_policy(&mut self) -> anyhow::Result<()> {
        let leader = self.network.leader(IN_FORCE).await?;
        let orderers = self.network.topology().of(Kind::Orderer);
        let others = orderers
            .zip(1..)
            .filter(|(node, _)| node.title() != leader.title());
        let (_, id) = others.last().context("there is one orderer only")?;
        let info = self.change(&format!("remove-orderer {id}")).await?;
        let left = info["orderers"].as_array().map(Vec::len);
        anyhow::ensure!(left == Some(2), "{info}");
        self.change(&format!("set-policy {POLICY}")).await?;
        let config = self.ask(&users::author(), "channel config").await?;
        expect(&config, "/admin_policy", POLICY)?;
        self.done("two orderers of three go on, and three administrators are asked for");
        Ok(())
    }
}
