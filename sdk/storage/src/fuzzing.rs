//! What `deploy/fuzz` may see of this crate beyond its public face.

use stela_client::Sources;
use stela_identity::Identity;
use stela_ipfs::{PeerId, PinKind};

use crate::error::RequestError;
use crate::membership::Membership;
use crate::request::{self, Body};
use crate::{leases, pb, wanted};

/// Lets requests in, as the service does.
pub struct Door(request::Door);

impl Door {
    /// The door of the node `own`.
    pub fn new(own: PeerId, membership: Membership, sources: Sources) -> Self {
        Self(request::Door::new(own, membership, sources))
    }

    /// Opens a request for `method` and says who made it.
    ///
    /// # Errors
    /// [`RequestError`].
    ///
    /// # Panics
    /// For a method that the service does not have.
    pub fn open(
        &self,
        method: &str,
        request: &pb::SignedRequest,
    ) -> Result<Identity, RequestError> {
        fn identity<B: Body>(
            door: &request::Door,
            request: &pb::SignedRequest,
        ) -> Result<Identity, RequestError> {
            door.open::<B>(request).map(|(_, identity)| identity)
        }
        match method {
            "Admit" => identity::<pb::AdmitRequest>(&self.0, request),
            "Hold" => identity::<pb::HoldRequest>(&self.0, request),
            "Has" => identity::<pb::HasRequest>(&self.0, request),
            "Status" => identity::<pb::StatusRequest>(&self.0, request),
            _ => panic!("there is no {method}"),
        }
    }
}

/// A lease's file, name and content, as this crate would write it again.
pub fn lease(name: &str, text: &str) -> Option<(String, String)> {
    leases::rewritten(name, text)
}

/// What a wanted blob's file says.
pub fn wanted(text: &str) -> Option<PinKind> {
    wanted::parse(text)
}

/// A wanted blob's file.
pub fn wanted_file(kind: PinKind) -> String {
    wanted::line(kind)
}
