//! What is asked of a Raft message before Raft sees it.
//!
//! The `raft` crate ends the process when a message contradicts its log, because an honest orderer
//! never sends one that does. Such a message is refused here instead. (An append below the commit
//! index needs no check: Raft answers it without looking at its entries.)

use raft::Raft;
use raft::eraftpb::{Message, MessageType};

use crate::log::Log;

/// Terms and indexes beyond this are no honest orderer's: they would run over.
const NUMBER_MAX: u64 = u64::MAX / 4;

/// `known`: whether the sender takes part.
pub(super) fn check(
    raft: &Raft<Log>,
    known: bool,
    from: u64,
    message: &Message,
) -> Result<(), &'static str> {
    if message.from != from || message.to != raft.id {
        return Err("it names another sender or receiver than its connection");
    }
    if !known || from == raft.id {
        return Err("its sender is not another orderer");
    }
    let numbers = [
        message.term,
        message.index,
        message.log_term,
        message.commit,
    ];
    if numbers.into_iter().any(|number| number > NUMBER_MAX) {
        return Err("a number in it is beyond reason");
    }
    if !message.context.is_empty() || message.request_snapshot != 0 {
        return Err("it asks for what orderers do not do");
    }
    if message.msg_type == MessageType::MsgSnapshot {
        check_snapshot(raft.id, message)?;
    }
    if message.term < raft.term {
        return Ok(());
    }
    let last = raft.raft_log.last_index();
    match message.msg_type {
        MessageType::MsgHeartbeat if message.commit > last => {
            Err("it commits entries that this orderer does not have")
        }
        MessageType::MsgAppendResponse if message.term == raft.term => {
            check_response(message, last)
        }
        _ => Ok(()),
    }
}

fn check_snapshot(own: u64, message: &Message) -> Result<(), &'static str> {
    let metadata = message.get_snapshot().get_metadata();
    let voters = &metadata.get_conf_state().voters;
    if metadata.index > NUMBER_MAX || metadata.term == 0 || metadata.term > message.term {
        return Err("a number in its snapshot is beyond reason");
    }
    if !voters.contains(&own) || voters.contains(&0) || !voters.is_sorted_by(|a, b| a < b) {
        return Err("its snapshot names other voters than there can be");
    }
    Ok(())
}

fn check_response(message: &Message, last: u64) -> Result<(), &'static str> {
    let beyond = if message.reject {
        message.reject_hint
    } else {
        message.index
    };
    if beyond > last {
        return Err("it acknowledges entries that were never sent");
    }
    Ok(())
}
