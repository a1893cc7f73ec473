//! What a node says of itself: to members while it runs ([`service`]), and in its data folder when
//! it has to stop ([`LastWords`]), in one line ([`causes`]).
//!
//! Members learn what concerns all of them: who the node is, its clock, how far it has come, and
//! coarsely how much room its disk has. Strangers learn nothing. Nothing here is a secret: of the
//! swarm's key only a fingerprint travels, and an exact figure of the disk stays on the machine.
//!
//! | In the data folder | Content |
//! |---|---|
//! | `last-words` | why and when the node had to stop; zeros if it did not |

mod causes;
mod disk;
mod last_words;
pub mod limits;
mod service;

pub use causes::causes;
pub use disk::{Room, free_bytes};
pub use last_words::{FILE_NAME, LastWords, Words};
pub use service::{Joined, Node, Profile, service};
