//! What `deploy/fuzz` may see of this crate beyond its public face.

use crate::limits::RuntimeLimits;
use crate::package::{self, PackageError};

/// The component in a package: what is done with it before it is compiled.
///
/// # Errors
/// [`PackageError`].
pub fn component(package: &[u8], limits: &RuntimeLimits) -> Result<Vec<u8>, PackageError> {
    package::component(package, limits)
}
