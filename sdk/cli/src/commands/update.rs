//! Changes of the channel's configuration, on their way from administrator to administrator.

mod revoked;

use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use stela_client::{ChannelUpdate, Network};
use stela_identity::config_update::SignerError;
use stela_identity::{Configuration, Identity};
use stela_protocol::{Hash32, Message, hash, pb};

use self::revoked::Certificate;
pub(crate) use self::revoked::Named;
use super::now_ms;
use crate::arguments::{Proposed, Update};
use crate::configuration::{Difference, difference, from_json, from_pem, to_json};
use crate::output::Output;
use crate::profile::Profile;
use crate::session;

/// How long to wait until a change is committed.
const COMMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(profile: &Profile, command: Update, output: &Output) -> anyhow::Result<()> {
    match command {
        Update::Show { file } => output.answer(&Shown::of(&read(&file)?)?, Shown::text),
        Update::Sign { file, yes } => sign(profile, &file, yes, output),
        Update::Merge { file, copies } => {
            let mut update = read(&file)?;
            for copy in &copies {
                update
                    .merge(&read(copy)?, now_ms())
                    .with_context(|| copy.display().to_string())?;
            }
            replace(&file, &update)?;
            output.answer(&Shown::of(&update)?, Shown::text)
        }
        Update::Submit { file } => submit(profile, &file, output).await,
        proposal => propose(profile, proposal, output).await,
    }
}

/// Prints the configuration in force.
pub(crate) async fn config(
    profile: &Profile,
    out: Option<&Path>,
    output: &Output,
) -> anyhow::Result<()> {
    let network = session::network(profile)?;
    let configuration = session::configuration(profile, &network).await?;
    let text = to_json(&decoded(&configuration)?)?;
    let Some(out) = out else {
        return output.answer(&serde_json::from_str::<serde_json::Value>(&text)?, |_| text);
    };
    create(out, &(text + "\n"))?;
    let written = Written::at(out);
    output.answer(&written, |written| format!("written to {}", written.file))
}

async fn propose(profile: &Profile, command: Update, output: &Output) -> anyhow::Result<()> {
    let network = known(profile).await?;
    let base = session::configuration(profile, &network).await?;
    let mut config = decoded(&base)?;
    let proposed = edit(profile, &mut config, command, output)?;
    let update = ChannelUpdate::propose(base, config, &proposed.description)?;
    create(&proposed.out, &update.to_json())?;
    output.answer(&Shown::of(&update)?, |shown| {
        let file = proposed.out.display();
        shown.text() + &format!("written to {file}; `stela channel update sign {file}` signs it\n")
    })
}

/// The network, which has to know the administrator's certificate before it answers her.
async fn known(profile: &Profile) -> anyhow::Result<Network> {
    let network = session::network(profile)?;
    network.register(COMMIT).await?;
    Ok(network)
}

/// Makes the change that is asked for.
fn edit(
    profile: &Profile,
    config: &mut pb::ChannelConfig,
    command: Update,
    output: &Output,
) -> anyhow::Result<Proposed> {
    match command {
        Update::Propose {
            config: file,
            proposed,
        } => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            *config = from_json(&text).with_context(|| file.display().to_string())?;
            Ok(proposed)
        }
        Update::Revoke {
            certificates,
            organization,
            proposed,
        } => {
            for named in &certificates {
                let certificate = Certificate::find(named, config)?;
                let (own, fingerprint) = (&profile.organization, certificate.fingerprint);
                let list = certificate.list(organization.as_ref(), own)?;
                if organization.is_none() && list != *own {
                    output.warn(&format!(
                        "{list} issued certificate {fingerprint}: it is revoked in the list of {list}"
                    ));
                }
                revoked::revoke(config, &list, &fingerprint)?;
            }
            Ok(proposed)
        }
        Update::AddOrderer {
            organization,
            address,
            identity,
            tls,
            quorum,
            proposed,
        } => {
            let tls = pem_file(&tls)?;
            config.orderers.push(pb::Orderer {
                id: config.orderers_ever.max(highest(config)) + 1,
                organization: organization.to_string(),
                address,
                certificate: pem_file(&identity)?,
                tls_fingerprint: hash::fingerprint(&tls).to_bytes(),
            });
            set_quorum(config, quorum);
            Ok(proposed)
        }
        Update::RemoveOrderer {
            id,
            quorum,
            proposed,
        } => {
            let before = config.orderers.len();
            config.orderers.retain(|orderer| orderer.id != id);
            anyhow::ensure!(config.orderers.len() < before, "there is no orderer {id}");
            set_quorum(config, quorum);
            Ok(proposed)
        }
        Update::SetContract {
            name,
            version,
            package,
            settings,
            policy,
            proposed,
        } => {
            let unread = |file: &Path| format!("cannot read {}", file.display());
            let package = package
                .map(|file| std::fs::read(&file).with_context(|| unread(&file)))
                .transpose()?;
            let settings = settings
                .map(|file| std::fs::read_to_string(&file).with_context(|| unread(&file)))
                .transpose()?;
            let wanted = WantedContract {
                version,
                package_hash: package.map(|bytes| hash::package(&bytes)),
                settings,
                policy,
            };
            set_contract(config, name, wanted)?;
            Ok(proposed)
        }
        Update::SetPolicy { policy, proposed } => {
            config.admin_policy = policy;
            Ok(proposed)
        }
        Update::Show { .. }
        | Update::Sign { .. }
        | Update::Merge { .. }
        | Update::Submit { .. } => {
            anyhow::bail!("this proposes nothing")
        }
    }
}

fn highest(config: &pb::ChannelConfig) -> u64 {
    let numbers = config.orderers.iter().map(|orderer| orderer.id);
    numbers.max().unwrap_or(0)
}

/// As asked, or as near to what it was as a majority and the number of orderers allow.
fn set_quorum(config: &mut pb::ChannelConfig, quorum: Option<u32>) {
    let orderers = u32::try_from(config.orderers.len()).unwrap_or(u32::MAX);
    let (least, most) = (orderers / 2 + 1, orderers.max(1));
    config.orderer_quorum = quorum.unwrap_or_else(|| config.orderer_quorum.clamp(least, most));
}

/// What of a contract is to be another; the rest stays.
struct WantedContract {
    version: Option<String>,
    package_hash: Option<Hash32>,
    settings: Option<String>,
    policy: Option<String>,
}

fn set_contract(
    config: &mut pb::ChannelConfig,
    name: String,
    wanted: WantedContract,
) -> anyhow::Result<()> {
    let mut contracts = config.contracts.iter();
    let known = match contracts.position(|contract| contract.name == name) {
        Some(place) => &mut config.contracts[place],
        None => {
            let whole = wanted.version.is_some() && wanted.package_hash.is_some();
            anyhow::ensure!(
                whole && wanted.policy.is_some(),
                "{name} is a new contract: say its --version, --package and --policy"
            );
            config.contracts.push(pb::ContractDefinition {
                name,
                ..Default::default()
            });
            config.contracts.last_mut().context("it was just added")?
        }
    };
    if let Some(version) = wanted.version {
        known.version = version;
    }
    if let Some(package_hash) = wanted.package_hash {
        known.package_hash = package_hash.to_bytes();
    }
    if let Some(settings) = wanted.settings {
        known.settings = settings;
    }
    if let Some(policy) = wanted.policy {
        known.endorsement_policy = policy;
    }
    Ok(())
}

fn sign(profile: &Profile, file: &Path, yes: bool, output: &Output) -> anyhow::Result<()> {
    let mut update = read(file)?;
    if !yes {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        anyhow::ensure!(
            terminal,
            "nobody is here to be asked: look at it, then sign with --yes"
        );
        eprint!(
            "{}sign this as {}? [y/N] ",
            Shown::of(&update)?.text(),
            profile.organization
        );
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        anyhow::ensure!(answer.trim().eq_ignore_ascii_case("y"), "not signed");
    }
    update.sign(&profile.credentials, now_ms())?;
    replace(file, &update)?;
    output.answer(&Shown::of(&update)?, Shown::text)
}

#[derive(Serialize)]
struct Submitted {
    transaction: String,
    block: u64,
    sequence: u64,
}

async fn submit(profile: &Profile, file: &Path, output: &Output) -> anyhow::Result<()> {
    let update = read(file)?;
    let network = known(profile).await?;
    let status = network.submit_update(&update, COMMIT).await?;
    let submitted = Submitted {
        transaction: status.transaction.to_string(),
        block: status.block.0,
        sequence: update.configuration().config().sequence,
    };
    output.answer(&submitted, |s| {
        format!(
            "configuration {} is in force from block {} on\ntransaction {}",
            s.sequence,
            s.block + 1,
            s.transaction
        )
    })
}

/// A proposal as it is shown before it is signed.
#[derive(Serialize)]
struct Shown {
    channel: String,
    from: u64,
    to: u64,
    description: String,
    changes: Difference,
    signatures: Vec<SignatureLine>,
    policy: String,
    satisfied: bool,
}

#[derive(Serialize)]
struct SignatureLine {
    valid: bool,
    signer: String,
}

impl Shown {
    fn of(update: &ChannelUpdate) -> anyhow::Result<Self> {
        let (old, new) = (update.base(), update.configuration());
        let signers = update.signers(now_ms());
        let line = |verdict: &Result<Identity, SignerError>| match verdict {
            Ok(identity) => SignatureLine {
                valid: true,
                signer: format!(
                    "{} of {} ({}), certificate {}",
                    identity.common_name,
                    identity.organization,
                    identity.role,
                    identity.fingerprint
                ),
            },
            Err(error) => SignatureLine {
                valid: false,
                signer: error.to_string(),
            },
        };
        Ok(Self {
            channel: old.config().channel.to_string(),
            from: old.config().sequence,
            to: new.config().sequence,
            description: update.description().to_owned(),
            changes: difference(&decoded(old)?, &decoded(new)?),
            signatures: signers.verdicts().iter().map(line).collect(),
            policy: old.config().admin_policy.to_string(),
            satisfied: signers.satisfy(old),
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "channel {}: configuration {} becomes {}\nwhy: {}\n{}",
            self.channel,
            self.from,
            self.to,
            self.description,
            self.changes.text()
        );
        for signature in &self.signatures {
            let word = if signature.valid {
                "signed by"
            } else {
                "does not count:"
            };
            text.push_str(&format!("{word} {}\n", signature.signer));
        }
        let needs = if self.satisfied {
            "which is satisfied"
        } else {
            "not satisfied yet"
        };
        text.push_str(&format!("policy: {}, {needs}\n", self.policy));
        text
    }
}

#[derive(Serialize)]
struct Written {
    file: String,
}

impl Written {
    fn at(path: &Path) -> Self {
        Self {
            file: path.display().to_string(),
        }
    }
}

fn decoded(configuration: &Configuration) -> anyhow::Result<pb::ChannelConfig> {
    Ok(pb::ChannelConfig::decode(configuration.bytes().clone())?)
}

fn read(file: &Path) -> anyhow::Result<ChannelUpdate> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    ChannelUpdate::from_json(&text).with_context(|| file.display().to_string())
}

fn pem_file(file: &Path) -> anyhow::Result<bytes::Bytes> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    from_pem(&text).with_context(|| file.display().to_string())
}

/// Writes a new file.
fn create(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .with_context(|| format!("cannot create {}", file.display()))?;
    Ok(created.write_all(text.as_bytes())?)
}

/// Replaces a proposal in one step, so that signatures are not lost half-way.
fn replace(file: &Path, update: &ChannelUpdate) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    let written = std::fs::write(&new, update.to_json());
    written
        .and_then(|()| std::fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::sample;

    fn wanted() -> WantedContract {
        WantedContract {
            version: None,
            package_hash: None,
            settings: None,
            policy: None,
        }
    }

    #[test]
    fn only_what_is_said_of_a_contract_changes() {
        let mut config = sample();
        let settings = WantedContract {
            settings: Some("{}".to_owned()),
            ..wanted()
        };
        set_contract(&mut config, "healthcare".to_owned(), settings).unwrap();
        let mut expected = sample();
        expected.contracts[0].settings = "{}".to_owned();
        assert_eq!(config, expected);
    }

    #[test]
    fn a_new_contract_has_to_be_said_in_full() {
        let mut config = sample();
        let part = WantedContract {
            version: Some("1".to_owned()),
            policy: Some("'HospitalA.peer'".to_owned()),
            ..wanted()
        };
        assert!(set_contract(&mut config, "other".to_owned(), part).is_err());
        assert_eq!(config, sample());
        let whole = WantedContract {
            version: Some("1".to_owned()),
            package_hash: Some(Hash32([5; 32])),
            policy: Some("'HospitalA.peer'".to_owned()),
            ..wanted()
        };
        set_contract(&mut config, "other".to_owned(), whole).unwrap();
        let added = &config.contracts[1];
        assert_eq!(
            (added.name.as_str(), added.settings.as_str()),
            ("other", "")
        );
    }
}
