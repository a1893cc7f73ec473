//! Files that people and programs write: checkpoints and settings.

use std::fmt::Display;
use std::path::Path;

use stela_client::FileCheckpointer;
use stela_protocol::{ChannelId, ContractName};

use crate::world::with_file;

/// What is read of a checkpoint is what is read after it was saved anew.
pub(super) fn checkpoint_file(input: &[u8]) {
    let channel = ChannelId::new("care").expect("a name");
    let contract = ContractName::new("records").expect("a name");
    let looked = with_file(input, |path| {
        let Ok(mut file) = FileCheckpointer::open(path, &channel, &contract) else {
            return;
        };
        let found = file.checkpoint().expect("a file holds a checkpoint");
        let mut next = found;
        next.event = found.event.wrapping_add(1);
        if next > found {
            file.save(next).expect("a file in memory");
            let again = FileCheckpointer::open(path, &channel, &contract).expect("what was saved");
            assert_eq!(again.checkpoint(), Some(next));
            assert!(
                FileCheckpointer::open(path, &ChannelId::new("other").expect("a name"), &contract)
                    .is_err()
            );
        }
    });
    looked.expect("a file in memory");
}

pub(super) fn orderer_settings(input: &[u8]) {
    check(input, stela_orderer::settings::Settings::load);
}

pub(super) fn peer_settings(input: &[u8]) {
    check(input, stela_peer::Config::load);
}

pub(super) fn storage_settings(input: &[u8]) {
    check(input, stela_storage::Config::read);
}

/// The same file is read in the same way; a refusal names the file.
fn check<T: std::fmt::Debug, E: Display>(input: &[u8], load: impl Fn(&Path) -> Result<T, E>) {
    let looked = with_file(input, |path| match (load(path), load(path)) {
        (Ok(one), Ok(two)) => assert_eq!(format!("{one:?}"), format!("{two:?}")),
        (Err(one), Err(two)) => {
            let name = path.display().to_string();
            assert!(one.to_string().contains(&name), "{one}");
            assert_eq!(one.to_string(), two.to_string());
        }
        _ => panic!("one file, two answers"),
    });
    looked.expect("a file in memory");
}

pub(super) mod seeds {
    fn changed(example: &str) -> Vec<Vec<u8>> {
        let short: Vec<&str> = example
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let short = short.join("\n");
        let wrong = short.replacen('=', "= [", 1);
        [example, &short, &wrong]
            .map(|text| text.as_bytes().to_vec())
            .into()
    }

    pub(in crate::targets) fn checkpoint_file() -> Vec<Vec<u8>> {
        [
            "7 1 0",
            "0 0 0",
            "18446744073709551615 4294967295 4294967294",
        ]
        .map(|place| format!("stela-checkpoint-1 care records {place}\n").into_bytes())
        .into()
    }

    pub(in crate::targets) fn orderer_settings() -> Vec<Vec<u8>> {
        changed(include_str!("../../../../orderer/orderer.example.toml"))
    }

    pub(in crate::targets) fn peer_settings() -> Vec<Vec<u8>> {
        changed(include_str!("../../../../peer/peer.example.toml"))
    }

    pub(in crate::targets) fn storage_settings() -> Vec<Vec<u8>> {
        changed(include_str!("../../../../sdk/storage/storage.example.toml"))
    }
}
