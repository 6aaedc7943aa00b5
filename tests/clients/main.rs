//! Real clients: what they see of Bramble must be what they see of etcd.

use bramble_tests::process::Setup;

mod etcdctl;
mod gateway;
mod go;
mod languages;
mod mask;
mod messages;
mod patroni;
mod program;
mod script;

/// The server under test, or with `BRAMBLE_CLIENTS_SELF=1` etcd once more: what differs then is a fault of the
/// comparison.
fn ours() -> Setup {
    let itself = std::env::var("BRAMBLE_CLIENTS_SELF").is_ok_and(|value| value == "1");
    if itself { Setup::etcd().expect("etcd is there to be compared with") } else { Setup::bramble() }
}
