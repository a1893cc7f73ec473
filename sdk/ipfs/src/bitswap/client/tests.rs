use bytes::Bytes;

use super::*;
use crate::block::{RAW, raw_cid};

/// A client, peers named by letters, and what the client did as text.
struct Story {
    client: Client,
    peers: Vec<PeerId>,
}

impl Story {
    fn new(peers: usize) -> Self {
        let mut peers: Vec<PeerId> = (0..peers).map(|_| PeerId::random()).collect();
        peers.sort();
        let mut client = Client::default();
        peers.iter().for_each(|peer| client.connected(*peer));
        Self { client, peers }
    }

    fn block(&mut self, peer: usize, data: &'static [u8]) {
        let block = Block::hash(RAW, Bytes::from_static(data));
        self.client.receive(self.peers[peer], vec![block], &[]);
    }

    fn presence(&mut self, peer: usize, data: &[u8], have: bool) {
        let presence = Presence {
            cid: raw_cid(data),
            have,
        };
        self.client
            .receive(self.peers[peer], Vec::new(), &[presence]);
    }

    fn ticks(&mut self, ticks: u64) {
        (0..ticks).for_each(|_| self.client.tick());
    }

    /// What the client said and did since the last call, sorted.
    fn did(&mut self) -> String {
        let mut done = Vec::new();
        for (peer, entries) in self.client.take_entries() {
            let number = self
                .peers
                .iter()
                .position(|other| *other == peer)
                .expect("a peer");
            done.extend(
                entries
                    .iter()
                    .map(|entry| format!("{number}:{:?}", entry.want)),
            );
        }
        while let Some(event) = self.client.next_event() {
            done.push(match event {
                ClientEvent::Block(_, block) => format!("got {:?}", block.data()),
                ClientEvent::Search(_) => "search".into(),
                ClientEvent::Misbehaving(peer) => {
                    let number = self.peers.iter().position(|other| *other == peer);
                    format!("misbehaving {}", number.expect("a peer"))
                }
            });
        }
        done.sort();
        done.join(" ")
    }
}

#[test]
fn a_block_is_asked_of_one_that_has_it() {
    let mut story = Story::new(3);
    story.client.want(raw_cid(b"a"));
    assert_eq!(story.did(), "0:Have 1:Have 2:Have");
    story.presence(0, b"a", false);
    assert_eq!(story.did(), "");
    story.presence(1, b"a", true);
    assert_eq!(story.did(), "1:Block");
    story.presence(2, b"a", true);
    assert_eq!(story.did(), "");
    story.block(1, b"a");
    assert_eq!(story.did(), "0:Cancel 2:Cancel got b\"a\"");
    // Those who were useful are asked for the next block without asking around first.
    story.client.want(raw_cid(b"b"));
    assert_eq!(story.did(), "1:Block");
    story.client.want(raw_cid(b"c"));
    assert_eq!(story.did(), "2:Block");
}

#[test]
fn the_next_peer_is_asked_when_one_has_lost_the_block() {
    let mut story = Story::new(2);
    story.client.want(raw_cid(b"a"));
    story.presence(0, b"a", true);
    story.presence(1, b"a", true);
    assert_eq!(story.did(), "0:Block 0:Have 1:Have");
    story.presence(0, b"a", false);
    assert_eq!(story.did(), "1:Block");
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut story = Story::new(2);
    story.client.want(raw_cid(b"a"));
    story.presence(0, b"a", true);
    story.presence(1, b"a", true);
    story.did();
    story.ticks(ASK_TICKS - 1);
    assert_eq!(story.did(), "");
    story.ticks(1);
    assert_eq!(story.did(), "1:Block");
}

#[test]
fn a_lost_connection_moves_the_question_on() {
    let mut story = Story::new(2);
    story.client.want(raw_cid(b"a"));
    story.presence(0, b"a", true);
    story.presence(1, b"a", true);
    story.did();
    let gone = story.peers[0];
    story.client.disconnected(&gone);
    assert_eq!(story.did(), "1:Block");
}

#[test]
fn what_may_have_been_lost_with_a_connection_is_asked_again() {
    let mut story = Story::new(2);
    for name in [b"a", b"b", b"c"] {
        story.client.want(raw_cid(name));
    }
    story.presence(0, b"a", true);
    story.presence(0, b"b", false);
    story.did();
    let peer = story.peers[0];
    story.client.repeat(&peer);
    assert_eq!(story.did(), "0:Block 0:Have");
    story.block(0, b"a");
    story.did();
    story.client.repeat(&story.peers[1].clone());
    assert_eq!(story.did(), "1:Have 1:Have");
}

#[test]
fn what_nobody_has_is_searched_and_asked_for_again() {
    let mut story = Story::new(1);
    story.client.want(raw_cid(b"a"));
    story.presence(0, b"a", false);
    assert_eq!(story.did(), "0:Have search");
    story.ticks(RETRY_TICKS);
    assert_eq!(story.did(), "0:Have");
    story.presence(0, b"a", false);
    assert_eq!(story.did(), "search");
    assert_eq!(story.client.verdict(&raw_cid(b"a")), Verdict::default());
    story.ticks(RETRY_TICKS);
    assert_eq!(story.client.verdict(&raw_cid(b"a")), Verdict::default());
}

#[test]
fn a_new_peer_is_asked_for_what_is_still_missing() {
    let mut story = Story::new(0);
    story.client.want(raw_cid(b"a"));
    assert_eq!(story.did(), "search");
    let peer = PeerId::random();
    story.peers.push(peer);
    story.client.connected(peer);
    assert_eq!(story.did(), "0:Have");
    assert!(story.client.verdict(&raw_cid(b"a")).unanswered);
    story.client.cancel(&raw_cid(b"a"));
    assert_eq!(story.did(), "0:Cancel");
}

#[test]
fn wrong_bytes_are_not_believed_and_another_peer_is_asked() {
    let mut story = Story::new(2);
    story.client.want(raw_cid(b"a"));
    story.presence(0, b"a", true);
    story.presence(1, b"a", true);
    story.did();
    story.block(0, b"not a");
    assert_eq!(story.did(), "1:Block");
    story.block(1, b"a");
    assert_eq!(story.did(), "0:Cancel got b\"a\"");
}

#[test]
fn who_sends_wrong_bytes_is_named_when_nobody_else_has_the_block() {
    let mut story = Story::new(1);
    story.client.want(raw_cid(b"a"));
    story.presence(0, b"a", true);
    story.block(0, b"not a");
    let verdict = story.client.verdict(&raw_cid(b"a"));
    assert_eq!(
        verdict,
        Verdict {
            mismatch: Some(story.peers[0]),
            unanswered: false
        }
    );
}

#[test]
fn who_keeps_sending_wrong_bytes_is_not_asked_again_for_long() {
    let mut story = Story::new(1);
    for name in [b"1", b"2", b"3", b"4"] {
        story.block(0, name);
    }
    assert_eq!(story.did(), "misbehaving 0");
    let peer = story.peers[0];
    story.client.disconnected(&peer);
    story.client.connected(peer);
    story.client.want(raw_cid(b"a"));
    assert_eq!(story.did(), "search");
    story.ticks(STRIKE_TICKS - 1);
    assert!(!story.did().contains("Have"));
    story.ticks(1 + RETRY_TICKS);
    assert!(story.did().contains("0:Have"));
    story.block(0, b"5");
    assert_eq!(story.did(), "misbehaving 0");
    story.client.trust(&peer);
    story.ticks(RETRY_TICKS);
    assert!(story.did().contains("0:Have"));
}

#[test]
fn a_duplicate_that_crossed_a_cancel_is_forgiven() {
    let mut story = Story::new(2);
    story.client.want(raw_cid(b"a"));
    story.block(0, b"a");
    story.did();
    for _ in 0..2 * STRIKES_MAX {
        story.block(1, b"a");
    }
    assert_eq!(story.did(), "");
}

#[test]
fn the_memory_of_recent_blocks_is_bounded() {
    let mut recent = Recent::default();
    for name in 0..2 * RECENT_BLOCKS_MAX as u32 {
        recent.insert(raw_cid(&name.to_be_bytes()));
    }
    assert_eq!(recent.known.len(), RECENT_BLOCKS_MAX);
    assert_eq!(recent.order.len(), RECENT_BLOCKS_MAX);
}
