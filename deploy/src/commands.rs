//! Whether every command of `stela` was run on a live network and ended well, as the logs of the
//! networks say: a new command that no run on a network takes is found here.

use std::collections::BTreeSet;

use anyhow::Context;

use crate::cli::{COMMAND_LINE, EXIT_CODE_LINE};
use crate::process::binary;

/// Every command that has none below it, by all of its words, as the helps of `stela` name them.
///
/// # Errors
/// When `stela` does not show its help.
pub fn every_command() -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(words) = open.pop() {
        let below = named_in(&help(&words)?);
        if below.is_empty() {
            found.insert(words.join(" "));
        }
        open.extend(below.into_iter().map(|name| {
            let mut longer = words.clone();
            longer.push(name);
            longer
        }));
    }
    anyhow::ensure!(found.len() > 1, "the help of `stela` names no commands");
    Ok(found)
}

/// The commands among `all` that ended well in none of the logs.
pub fn never_run<'a>(all: &'a BTreeSet<String>, logs: &[String]) -> Vec<&'a str> {
    let well: Vec<&str> = logs.iter().flat_map(|log| ended_well(log)).collect();
    let ran = |command: &str| {
        well.iter().any(|words| {
            words
                .strip_prefix(command)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    };
    let commands = all.iter().map(String::as_str);
    commands.filter(|command| !ran(command)).collect()
}

/// The words of every command in a log that ended with 0.
fn ended_well(log: &str) -> Vec<&str> {
    let mut well = Vec::new();
    let mut current = None;
    for line in log.lines() {
        if let Some(words) = line.strip_prefix(COMMAND_LINE) {
            well.extend(current.replace(words));
        } else if line.starts_with(EXIT_CODE_LINE) {
            current = None;
        }
    }
    well.extend(current);
    well
}

fn help(words: &[String]) -> anyhow::Result<String> {
    let output = std::process::Command::new(binary("stela")?)
        .args(words)
        .arg("-h")
        .output()
        .context("`stela` cannot be started")?;
    anyhow::ensure!(
        output.status.success(),
        "`stela {} -h` shows no help",
        words.join(" ")
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The commands that a help lists; what goes on below the first line of one is indented further.
fn named_in(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.map_while(|line| line.strip_prefix("  "));
    let names = listed
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Grant consents\n\nUsage: stela consent <COMMAND>\n\nCommands:\n  \
        grant   Grant a consent\n          and more\n  policy  Grant a policy\n  help    Print \
        this\n\nOptions:\n  -h, --help  Print help\n";

    #[test]
    fn a_help_names_what_is_below_it() {
        assert_eq!(named_in(HELP), ["grant", "policy"]);
        assert!(named_in("Usage: stela whoami\n\nOptions:\n  -h, --help\n").is_empty());
    }

    #[test]
    fn what_never_ended_well_is_named() {
        let all: BTreeSet<String> = [
            "audit",
            "consent grant",
            "key history",
            "key rotate",
            "share",
        ]
        .map(str::to_owned)
        .into();
        let first = "$ stela audit\n[]\n$ stela consent grant --role x\n{}\nstela: no\n(exit code 1)\n\
                     $ stela key history\n(exit code none)\n";
        let second = "$ stela shares\n{}\n$ stela key rotate\n{}\n";
        let logs = [first.to_owned(), second.to_owned()];
        assert_eq!(
            never_run(&all, &logs),
            ["consent grant", "key history", "share"]
        );
        let third =
            "$ stela consent grant --role x\n{}\n$ stela key history\n[]\n$ stela share 1\n";
        let logs = [first.to_owned(), second.to_owned(), third.to_owned()];
        assert!(never_run(&all, &logs).is_empty());
    }
}
