//! Data moved between etcd and Bramble with the programs that people use: nothing may be lost or changed on
//! the way, in either direction.
//!
//! ```text
//!   Bramble ─ etcdctl snapshot save ─► file ─ etcdutl restore ─► etcd ─ snapshot save ─► file
//!                                                                        bramblectl import ─► Bramble
//! ```
//! At each arrow's end a [`Picture`] is taken: all that a client can ask for. `BRAMBLE_IMAGES` says how many
//! random stores go round, `BRAMBLE_SEED` which.
mod auth;
mod load;
mod picture;
mod refused;
mod tools;

use bramble_tests::chance::Chance;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;
use tempfile::TempDir;

use picture::Picture;
use tools::Tools;

/// Random stores that go round.
const STORES: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_stores_go_round() {
    let Some(tools) = Tools::found() else { return };
    let seed = Chance::seed_from("BRAMBLE_SEED");
    let stores = Chance::seed_given("BRAMBLE_IMAGES").unwrap_or(STORES);
    for store in seed..seed + stores {
        println!("BRAMBLE_SEED={store} BRAMBLE_IMAGES=1");
        go_round(&tools, Chance::from_seed(store)).await;
    }
}

async fn go_round(tools: &Tools, mut chance: Chance) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let bramble = Setup::bramble().in_memory().arg("--bcrypt-cost=4").start();
    let wire = Wire::connect(&bramble.url).await;
    let changes = chance.between(50, 400) as usize;
    load::changes(&wire, &mut chance, changes).await;
    let ours = Picture::of(&wire).await;
    let file = scratch.path().join("ours.db");
    tools.save(&mut chance, &bramble, &file);
    tools.status(&file, &ours);

    let etcd = restored(tools, &scratch, &file);
    let wire = Wire::connect(&etcd.url).await;
    Picture::of(&wire).await.assert_same(&ours, "etcd, restored from Bramble's snapshot");
    // etcd goes on with it: its pages are split and freed, its index grows.
    load::changes(&wire, &mut chance, changes).await;
    let theirs = Picture::of(&wire).await;
    let file = scratch.path().join("theirs.db");
    tools.save(&mut chance, &etcd, &file);
    drop(etcd);

    let kept = scratch.path().join("kept");
    tools.import(&file, &kept, &["--keep-revisions"]);
    let mut bramble = Setup::bramble().data_dir(&kept).arg("--bcrypt-cost=4").start();
    let wire = Wire::connect(&bramble.url).await;
    Picture::of(&wire).await.assert_same(&theirs, "Bramble, imported from etcd's snapshot");
    load::changes(&wire, &mut chance, changes).await;
    let before = Picture::of(&wire).await;
    bramble.kill();
    let bramble = Setup::bramble().data_dir(&kept).arg("--bcrypt-cost=4").start();
    let wire = Wire::connect(&bramble.url).await;
    Picture::of(&wire).await.assert_same(&before, "the same after kill -9");

    let raised = scratch.path().join("raised");
    tools.import(&file, &raised, &[]);
    let bramble = Setup::bramble().data_dir(&raised).arg("--bcrypt-cost=4").start();
    let wire = Wire::connect(&bramble.url).await;
    let found = Picture::of(&wire).await;
    found.assert_raised(&theirs);
    picture::assert_compacted(&wire, theirs.revision).await;
}

/// etcd on what its own tool makes of the file.
fn restored(tools: &Tools, scratch: &TempDir, file: &std::path::Path) -> Server {
    let ports = (bramble_tests::process::free_port(), bramble_tests::process::free_port());
    let dir = scratch.path().join("etcd");
    tools.restore(file, &dir, ports.1);
    let setup = Setup::etcd().expect("it was there");
    setup.data_dir(&dir).start_on(ports)
}

/// A snapshot of nothing is one, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_goes_round() {
    let Some(tools) = Tools::found() else { return };
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let bramble = Setup::bramble().in_memory().arg("--bcrypt-cost=4").start();
    let empty = Picture::of(&Wire::connect(&bramble.url).await).await;
    let file = scratch.path().join("empty.db");
    tools.save(&mut Chance::from_seed(1), &bramble, &file);
    let etcd = restored(&tools, &scratch, &file);
    Picture::of(&Wire::connect(&etcd.url).await).await.assert_same(&empty, "etcd without a key");
    let dir = scratch.path().join("bramble");
    tools.import(&file, &dir, &["--keep-revisions"]);
    let bramble = Setup::bramble().data_dir(&dir).arg("--bcrypt-cost=4").start();
    Picture::of(&Wire::connect(&bramble.url).await).await.assert_same(&empty, "Bramble without a key");
}
