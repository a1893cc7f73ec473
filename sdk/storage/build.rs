//! Compiles the `.proto` file with `protox`, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "proto/stela/storage/v1/storage.proto";
    println!("cargo::rerun-if-changed={file}");
    let descriptors = protox::compile([file], ["proto", "../../ledger/protocol/proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".stela.v1", "::stela_protocol::pb")
        .compile_fds(descriptors)?;
    Ok(())
}
