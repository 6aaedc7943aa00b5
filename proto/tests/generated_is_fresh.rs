//! The generated code under `src/generated` is committed, so that building Bramble needs neither
//! protoc nor a generator. This test makes it again from the `.proto` files and compares; after a
//! change to those, run it once with `BRAMBLE_REGENERATE=1` and commit what it writes.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;

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
        .compile_fds(descriptors.clone())
        .expect("code is generated");
    fs::write(dir.join("methods.rs"), methods(&descriptors)).expect("the table can be written");
    generate_json_into(dir, descriptors);
}

/// Packages whose messages are written and read as JSON too.
const IN_JSON: [&str; 5] = ["authpb", "etcdserverpb", "mvccpb", "v3electionpb", "v3lockpb"];

/// The serde code, with our own leaves (`src/json.rs`) in the place of pbjson's: they take what Go's
/// decoders take.
fn generate_json_into(dir: &Path, descriptors: FileDescriptorSet) {
    let mut builder = pbjson_build::Builder::new();
    for file in descriptors.file {
        builder.register_file_descriptor(file);
    }
    builder
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .out_dir(dir)
        .build(&IN_JSON.map(|package| format!(".{package}")))
        .expect("serde code is generated");
    for package in IN_JSON {
        let path = dir.join(format!("{package}.serde.rs"));
        let text = fs::read_to_string(&path).expect("it was just written");
        fs::write(&path, with_our_leaves(&text)).expect("and can be written again");
    }
}

fn with_our_leaves(generated: &str) -> String {
    let mut text = String::new();
    for line in generated.lines() {
        let mut line = line
            .replace("::pbjson::private::NumberDeserialize", "crate::json::Number")
            .replace("::pbjson::private::BytesDeserialize", "crate::json::Base64")
            .replace("pbjson::private::base64::encode", "crate::json::base64")
            .replace("Some(map_.next_value()?)", "Some(map_.next_value::<crate::json::OrDefault<_>>()?.0)");
        if line.contains("x as i32") {
            line = line
                .replace("next_value::<Vec<", "next_value::<Vec<crate::json::Enum<")
                .replace(">>()?", ">>>()?")
                .replace("x as i32", "x.number()");
        }
        if line.contains(">()? as i32") {
            line = line
                .replace("next_value::<", "next_value::<crate::json::Enum<")
                .replace(">()? as i32", ">>()?.number()");
        }
        text.push_str(&line.replace("next_value::<Vec<", "next_value::<crate::json::List<"));
        text.push('\n');
    }
    assert!(!text.contains("pbjson") && !text.contains("as i32"), "a leaf that was not seen before");
    text
}

/// The table of all RPCs, a row each, in the order of the files.
fn methods(descriptors: &FileDescriptorSet) -> String {
    let mut table = String::from("/// Every RPC of the services, in the order of the `.proto` files.\n");
    table.push_str("pub static METHODS: &[Method] = &[\n");
    for file in &descriptors.file {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                writeln!(
                    table,
                    "    Method {{ path: \"/{service_name}/{name}\", service: \"{service_name}\", method: \"{name}\", client_streaming: {}, server_streaming: {} }},",
                    method.client_streaming(),
                    method.server_streaming(),
                    name = method.name(),
                )
                .expect("a string takes all");
            }
        }
    }
    table.push_str("];\n");
    table
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

#[test]
fn the_table_of_methods_has_every_rpc_once_with_its_directions() {
    let find = |path: &str| {
        let rows: Vec<_> = bramble_proto::METHODS.iter().filter(|method| method.path == path).collect();
        assert_eq!(rows.len(), 1, "{path}");
        (rows[0].service, rows[0].method, rows[0].client_streaming, rows[0].server_streaming)
    };
    assert_eq!(find("/etcdserverpb.KV/Range"), ("etcdserverpb.KV", "Range", false, false));
    assert_eq!(find("/etcdserverpb.KV/RangeStream"), ("etcdserverpb.KV", "RangeStream", false, true));
    assert_eq!(find("/etcdserverpb.Watch/Watch"), ("etcdserverpb.Watch", "Watch", true, true));
    assert_eq!(find("/v3lockpb.Lock/Unlock"), ("v3lockpb.Lock", "Unlock", false, false));
    let mut paths: Vec<_> = bramble_proto::METHODS.iter().map(|method| method.path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), bramble_proto::METHODS.len(), "a path stands twice");
    // A proto file that nobody lists in PROTOS would be missing from the table: count the sources.
    let sources = PROTOS.map(|name| fs::read_to_string(package_dir().join("proto").join(name)));
    let rpcs = sources.iter().flatten().flat_map(|text| text.lines());
    assert_eq!(rpcs.filter(|line| line.trim_start().starts_with("rpc ")).count(), paths.len());
}
