//! stela-cli
