//! The generated code under `src/generated` is committed, so that building Bramble needs neither
//! protoc nor a generator. This test makes it again from the `.proto` files and compares; after a
//! change to those, run it once with `BRAMBLE_REGENERATE=1` and commit what it writes.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PROTOS: [&str; 6] = [
    "etcd/auth.proto",
    "etcd/kv.proto",
    "etcd/rpc.proto",
    "etcd/lock.proto",
    "etcd/election.proto",
    "grpc/health.proto",
];

fn package_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate_into(dir: &Path) {
    let descriptors =
        protox::compile(PROTOS, [package_dir().join("proto")]).expect("the .proto files compile");
    tonic_prost_build::configure()
        .bytes(".")
        // The channel of tonic is for tests only: clients are made from a channel the caller has.
        .build_transport(false)
        .out_dir(dir)
        .compile_fds(descriptors)
        .expect("code is generated");
}

fn contents(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).expect("the directory can be listed");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry can be read");
            let text = fs::read_to_string(entry.path()).expect("generated code is text");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect()
}

#[test]
fn generated_code_is_what_the_proto_files_give() {
    let committed = package_dir().join("src/generated");
    if std::env::var_os("BRAMBLE_REGENERATE").is_some() {
        generate_into(&committed);
    }
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("generated");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).expect("a scratch directory can be made");
    generate_into(&scratch);
    let (fresh, committed) = (contents(&scratch), contents(&committed));
    assert_eq!(
        fresh.keys().collect::<Vec<_>>(),
        committed.keys().collect::<Vec<_>>(),
        "other files than committed; run this test with BRAMBLE_REGENERATE=1"
    );
    for (name, text) in &fresh {
        assert!(
            committed.get(name) == Some(text),
            "{name} is stale; run this test with BRAMBLE_REGENERATE=1"
        );
    }
}
