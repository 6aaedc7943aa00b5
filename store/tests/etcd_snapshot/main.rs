//! A state as etcd's snapshot and back, without etcd: nothing may be lost, nothing may be believed.
//! (`tests/images` does the same with etcd's own programs.)
#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod state;

use bramble_store::engine::mem::Mem;
use bramble_store::snapshot::bbolt::Bbolt;
use bramble_store::snapshot::etcd::{Given, ImportError, Imported, check_trailer, has_trailer, import};
use bramble_store::store;
use common::with_seeds;
use state::{assert_same, file_of, random_state};

fn imported(file: &[u8], given: Given) -> Result<(Imported, Mem), ImportError> {
    let engine = Mem::new();
    let done = import(Bbolt::open(file)?, &engine, given)?;
    Ok((done, engine))
}

#[test]
fn a_state_comes_back_with_its_history() {
    with_seeds(40, |random| {
        let (_, reader) = random_state(random, 400);
        let view = reader.view();
        let file = file_of(view.clone());
        assert!(has_trailer(file.len() as u64));
        check_trailer(&&file[..]).expect("as it was written");
        let (done, engine) = imported(&file, Given::default()).expect("our own file");
        let (_, copy) = store::open(engine).expect("it opens");
        assert_same(&view, &copy.view());
        let count = |kind: &str, found: u64, wanted: usize| assert_eq!(found, wanted as u64, "{kind}");
        count("leases", done.leases, view.leases().expect("readable").len());
        count("users", done.users, view.users().expect("readable").len());
        count("roles", done.roles, view.roles().expect("readable").len());
        assert_eq!(file_of(copy.view()), file, "the same state, the same file");
    });
}

/// The file does not tell how far the erasing has come.
#[test]
fn what_compaction_let_go_of_is_not_in_the_file() {
    with_seeds(20, |random| {
        let (mut writer, reader) = random_state(random, 300);
        let before = file_of(reader.view());
        while writer.scrub(7).expect("memory") != store::Scrub::Idle {}
        assert!(before == file_of(reader.view()), "the same state, the same file");
    });
}

#[test]
fn raised_revisions_leave_nothing_to_watch_from() {
    with_seeds(10, |random| {
        let (_, reader) = random_state(random, 200);
        let (view, raise) = (reader.view(), 1_000_000_000);
        let (done, engine) = imported(&file_of(view.clone()), Given { raise }).expect("our own file");
        let (mut writer, copy) = store::open(engine).expect("it opens");
        let raised = view.revision() + raise;
        assert_eq!((done.file_revision, done.revision, done.compacted), (view.revision(), raised, raised));
        assert_eq!((copy.view().revision(), copy.view().compacted()), (raised, raised));
        assert!(copy.view().changes(view.revision(), 10).is_err(), "compacted");
        state::assert_same_keys(&view, &copy.view());
        while writer.scrub(50).expect("memory") != store::Scrub::Idle {}
        assert_eq!(writer.erased() > 0, done.versions > done.keys, "what is compacted goes");
        state::assert_same_keys(&view, &copy.view());
        state::write_and_delete_everything(&mut writer, &copy);
    });
}

#[test]
fn an_imported_state_goes_on() {
    with_seeds(10, |random| {
        let (_, reader) = random_state(random, 200);
        let (_, engine) = imported(&file_of(reader.view()), Given::default()).expect("our own file");
        let (mut writer, copy) = store::open(engine).expect("it opens");
        state::write_and_delete_everything(&mut writer, &copy);
    });
}
