//! Packages: what is refused before anything is compiled.

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload, TypeBounds};

use crate::limits::{MODULES_MAX, NESTED_COMPONENTS_MAX, REASON_BYTES_MAX, RuntimeLimits};
use crate::recorder::printable;

/// What a contract may import.
const IMPORTS: [&str; 6] = [
    "stela:chaincode/state@1.0.0",
    "stela:chaincode/history@1.0.0",
    "stela:chaincode/context@1.0.0",
    "stela:chaincode/events@1.0.0",
    "stela:chaincode/outcome@1.0.0",
    "stela:chaincode/logging@1.0.0",
];

/// Why a package was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// The package, or a part of it, is larger than it may be.
    #[error("the limit for {what} is {max}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The bytes are not WebAssembly.
    #[error("the package is not WebAssembly: {0}")]
    Malformed(String),
    /// A core module that says nothing about the world it was built for.
    #[error("the module cannot be made a component: {0}")]
    NotAComponent(String),
    /// The contract wants something that no contract gets, such as WASI.
    #[error("the contract imports {0:?}, which no contract gets")]
    ForbiddenImport(String),
    /// Something would run before the contract is called.
    #[error("the package has a start function")]
    StartFunction,
    /// The compiler refused it.
    #[error("the package is not a contract: {0}")]
    Rejected(String),
}

pub(crate) fn reason(error: impl std::fmt::Display) -> String {
    printable(&error.to_string(), REASON_BYTES_MAX)
}

/// Makes a component of a core module that was built against `chaincode.wit`.
///
/// # Errors
/// [`PackageError::NotAComponent`] when the module was not built so.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, PackageError> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| PackageError::NotAComponent(reason(format!("{error:#}"))))
}

/// The component in a package, which is one or is a core module that can be made one.
pub(crate) fn component(package: &[u8], limits: &RuntimeLimits) -> Result<Vec<u8>, PackageError> {
    at_most("bytes of a package", package.len(), limits.package_bytes)?;
    let component = if Parser::is_core_wasm(package) {
        check(package, limits)?;
        componentize(package)?
    } else {
        package.to_vec()
    };
    check(&component, limits)?;
    Ok(component)
}

fn at_most(what: &'static str, actual: usize, max: usize) -> Result<(), PackageError> {
    if actual > max {
        return Err(PackageError::TooLarge { what, max });
    }
    Ok(())
}

/// Looks at a module or a component without compiling it.
fn check(wasm: &[u8], limits: &RuntimeLimits) -> Result<(), PackageError> {
    let mut open: Vec<Encoding> = Vec::new();
    let (mut modules, mut components) = (0, 0);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|e| PackageError::Malformed(reason(e)))? {
            Payload::Version { encoding, .. } => {
                match encoding {
                    Encoding::Module => modules += 1,
                    Encoding::Component => components += 1,
                }
                at_most("modules in a package", modules, MODULES_MAX)?;
                let nested_max = NESTED_COMPONENTS_MAX + 1;
                at_most("components in a package", components, nested_max)?;
                open.push(encoding);
            }
            Payload::End(_) => drop(open.pop()),
            Payload::StartSection { .. } | Payload::ComponentStartSection { .. } => {
                return Err(PackageError::StartFunction);
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                at_most("bytes of a function", range.len(), limits.function_bytes)?;
            }
            Payload::ComponentImportSection(imports) if open.len() == 1 => {
                for import in imports {
                    let import = import.map_err(|e| PackageError::Malformed(reason(e)))?;
                    // A type that the world's own function uses is imported too; it gives nothing.
                    let is_type = matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_)));
                    if !is_type && !IMPORTS.contains(&import.name.name) {
                        return Err(PackageError::ForbiddenImport(reason(import.name.name)));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
