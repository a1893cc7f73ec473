//! Completions for a shell: the commands, and what is known of their values.
//!
//! Codes are those of the contract. Organizations and the addresses of their peers are those that
//! the profile names when the completions are printed; without a profile they are left out.

use std::path::Path;

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use stela_consent::{Category, Confidentiality, Policy, Purpose, Role, SensitivityLabel};
use stela_healthcare::{ConsentReason, DelegateKind, DelegateScope, EmergencyReason, Finding};

use super::record::code;
use crate::arguments::Arguments;
use crate::profile::Settings;

/// Roles of nodes, which call no contract.
const NODE_ROLES: [&str; 2] = ["orderer", "storage"];

pub(crate) fn print(shell: Shell, profile: &Path) {
    let known = Known::of(profile);
    let mut command = with_values(Arguments::command(), &known);
    clap_complete::generate(shell, &mut command, "stela", &mut std::io::stdout());
}

/// What a profile knows by name.
#[derive(Default)]
struct Known {
    organizations: Vec<String>,
    peers: Vec<String>,
}

impl Known {
    fn of(profile: &Path) -> Self {
        let Ok(settings) = Settings::read(profile) else {
            return Self::default();
        };
        let roots = std::fs::read_dir(profile.join(&settings.tls_roots));
        let names = roots.into_iter().flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(".pem")?.to_owned())
        });
        let mut organizations: Vec<String> = names.collect();
        organizations.sort_unstable();
        Self {
            organizations,
            peers: settings
                .peers
                .into_iter()
                .map(|peer| peer.address)
                .collect(),
        }
    }

    /// The values of a command's argument that takes one of a list; nothing for any other.
    fn values(&self, command: &str, argument: &str) -> Option<Vec<String>> {
        fn coded<T: serde::Serialize>(all: &[T]) -> Vec<String> {
            all.iter().map(code).collect()
        }
        fn codes<T: ToString>(all: &[T]) -> Vec<String> {
            all.iter().map(ToString::to_string).collect()
        }
        let values = match argument {
            "category" | "categories" => codes(Category::ALL),
            "confidentiality" | "max" => codes(Confidentiality::ALL),
            "label" => codes(SensitivityLabel::ALL),
            "state" => codes(&["pending", "active", "rejected", "erased"]),
            "purpose" | "purposes" => codes(Purpose::ALL),
            "labels" => codes(SensitivityLabel::ALL),
            "kind" => coded(DelegateKind::ALL),
            "scopes" => coded(DelegateScope::ALL),
            "reason" if command == "request" => coded(ConsentReason::ALL),
            "reason" if command == "break" => coded(EmergencyReason::ALL),
            "finding" => coded(Finding::ALL),
            "reason" if command == "reject" => codes(&[
                "unreadable",
                "invalid-format",
                "wrong-labels",
                "wrong-patient",
                "duplicate",
                "incomplete",
            ]),
            "reason" if command == "request-erasure" => codes(&[
                "no-longer-needed",
                "consent-withdrawn",
                "objection",
                "unlawful",
            ]),
            "reason" if command == "decline-erasure" => codes(&["retention", "legal-hold"]),
            "reason" if command == "erase" => {
                codes(&["patient-request", "retention-over", "unlawful"])
            }
            "policy" if command == "grant" => codes(Policy::ALL),
            "offered" => codes(Policy::ALL),
            "role" => [codes(Role::ALL), codes(&NODE_ROLES)].concat(),
            "organization" => self.organizations.clone(),
            "node" => self.peers.clone(),
            _ => return None,
        };
        (!values.is_empty()).then_some(values)
    }
}

/// The same command with the lists in it. It only serves to print completions: what is typed is
/// judged as before.
fn with_values(mut command: Command, known: &Known) -> Command {
    let own = command.get_name().to_owned();
    let names: Vec<String> = command
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .collect();
    for name in names {
        if let Some(values) = known.values(&own, &name) {
            // The library keeps words for good, and this program only prints them.
            let words = values.into_iter().map(|value| &*value.leak());
            let parser = PossibleValuesParser::new(words);
            command = command.mut_arg(name, |argument| argument.value_parser(parser));
        }
    }
    let below: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    below.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| with_values(command, known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bash(known: &Known) -> String {
        let mut command = with_values(Arguments::command(), known);
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut command, "stela", &mut script);
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn codes_and_what_the_profile_knows_are_completed() {
        let script = bash(&Known::default());
        for word in [
            "TREAT",
            "laboratory",
            "records-officer",
            "doctor",
            "explain",
            "HPOWATT",
            "rights",
            "second-opinion",
            "Policy-basic-normal",
            "life-threatening",
            "unjustified",
        ] {
            assert!(script.contains(word), "{word}");
        }
        assert!(!script.contains("HospitalX"));
        let known = Known {
            organizations: vec!["HospitalX".to_owned()],
            peers: vec!["peer.hospital-x.example:7051".to_owned()],
        };
        let script = bash(&known);
        assert!(script.contains("HospitalX") && script.contains("peer.hospital-x.example:7051"));
    }
}
