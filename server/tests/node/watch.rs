//! Watch streams.
use bramble_store::types::{DeleteRequest, EventKind, KeyRange};

use super::*;

#[tokio::test]
async fn a_watcher_is_told_once_in_order_and_nothing_its_client_knew() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    for round in 0..50 {
        let before = put_at(&client, "k", "before").await;
        let mut stream = client.watch(&anyone()).await.expect("a stream");
        stream.create(WatchCreate::new(everything())).await.expect("asked");
        let created = next(&mut stream).await;
        assert!(created.created && !created.canceled, "round {round}");
        assert!(created.header.revision >= before);
        let after = put_at(&client, "k", "after").await;
        let told = next(&mut stream).await;
        assert_eq!((told.watch_id, told.header.revision), (0, after));
        assert_eq!(told.events.len(), 1);
        assert_eq!(told.events[0].kv.mod_revision, after, "round {round}");
    }
    node.shutdown().await;
}

#[tokio::test]
async fn ids_are_the_clients_own_and_refusals_have_etcds_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let mut stream = node.client().watch(&anyone()).await.expect("a stream");
    let wanted = |watch_id| WatchCreate { watch_id, ..WatchCreate::new(KeyRange::single("k")) };
    for id in [0, 1, -1, 0, 7, 0] {
        stream.create(wanted(id)).await.expect("asked");
    }
    let mut ids = Vec::new();
    for _ in 0..6 {
        let response = next(&mut stream).await;
        assert!(response.created);
        ids.push((response.watch_id, response.cancel_reason));
    }
    let ok = |id: i64| (id, String::new());
    assert_eq!(ids, [ok(0), ok(1), ok(-1), ok(2), ok(7), ok(3)]);
    let end = |end: &'static str| bramble_store::types::RangeEnd::Before(end.into());
    let refused = [
        (wanted(7), "mvcc: duplicate watch ID provided on the WatchStream"),
        (WatchCreate::new(KeyRange { start: "b".into(), end: end("b") }), "mvcc: watcher range is empty"),
        (
            WatchCreate { start_revision: -5, ..wanted(0) },
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ];
    for (create, reason) in refused {
        stream.create(create).await.expect("asked");
        let response = next(&mut stream).await;
        assert!(response.created && response.canceled);
        assert_eq!((response.watch_id, response.cancel_reason.as_str()), (-1, reason));
    }
    stream.cancel(99).await.expect("asked");
    stream.cancel(1).await.expect("asked");
    let canceled = next(&mut stream).await;
    assert_eq!((canceled.watch_id, canceled.canceled, canceled.created), (1, true, false));
    assert!(canceled.cancel_reason.is_empty());
    node.shutdown().await;
}

#[tokio::test]
async fn history_comes_first_whole_and_compacted_history_cancels() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    for n in 0..500 {
        put_at(&client, &format!("k{}", n % 10), &n.to_string()).await;
    }
    let delete = DeleteRequest { range: everything(), prev_kv: false };
    client.delete(&anyone(), delete).await.expect("answered");
    let mut stream = client.watch(&anyone()).await.expect("a stream");
    let from_start = WatchCreate { start_revision: 1, prev_kv: true, ..WatchCreate::new(everything()) };
    stream.create(from_start.clone()).await.expect("asked");
    assert!(next(&mut stream).await.created);
    let mut events = Vec::new();
    while events.len() < 510 {
        let response = next(&mut stream).await;
        assert_eq!(response.header.revision, 502);
        events.extend(response.events);
    }
    assert!(events.windows(2).all(|pair| pair[0].kv.mod_revision <= pair[1].kv.mod_revision));
    let deletes: Vec<_> = events.iter().filter(|event| event.kind == EventKind::Delete).collect();
    assert_eq!(deletes.len(), 10);
    assert!(deletes.iter().all(|event| event.kv.mod_revision == 502 && event.prev_kv.is_some()));
    client.compact(&anyone(), 400, false).await.expect("compacted");
    stream.create(from_start).await.expect("asked");
    assert!(next(&mut stream).await.created);
    let canceled = next(&mut stream).await;
    assert!(canceled.canceled);
    assert_eq!((canceled.watch_id, canceled.compact_revision, canceled.header.revision), (1, 400, 0));
    node.shutdown().await;
}

#[tokio::test]
async fn progress_is_asked_for_or_comes_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = bramble_server::config::Config {
        watch_progress: std::time::Duration::from_millis(100),
        data_dir: dir.path().into(),
        ..Default::default()
    };
    let node = Node::builder().config(config).in_process_only().build().await.expect("the node starts");
    node.ready(PATIENCE).await.expect("ready");
    let client = node.client();
    let mut stream = client.watch(&anyone()).await.expect("a stream");
    stream.progress().await.expect("asked, and dropped: no watchers");
    stream.create(WatchCreate::new(KeyRange::single("k"))).await.expect("asked");
    assert!(next(&mut stream).await.created);
    let revision = put_at(&client, "other", "v").await;
    stream.progress().await.expect("asked");
    let progress = next(&mut stream).await;
    assert_eq!((progress.watch_id, progress.header.revision), (-1, revision));
    assert!(progress.events.is_empty() && !progress.created && !progress.canceled);
    let notified = WatchCreate { progress_notify: true, ..WatchCreate::new(KeyRange::single("k")) };
    stream.create(notified).await.expect("asked");
    assert!(next(&mut stream).await.created);
    for _ in 0..3 {
        let progress = next(&mut stream).await;
        assert_eq!((progress.watch_id, progress.header.revision), (1, revision));
        assert!(progress.events.is_empty());
    }
    node.shutdown().await;
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let mut stream = client.watch(&anyone()).await.expect("a stream");
    stream.create(WatchCreate::new(everything())).await.expect("asked");
    assert!(next(&mut stream).await.created);
    let value = "v".repeat(64 << 10);
    for _ in 0..200 {
        put_at(&client, "k", &value).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 200 {
        seen.extend(next(&mut stream).await.events.iter().map(|event| event.kv.mod_revision));
    }
    assert_eq!(seen, (2..202).collect::<Vec<i64>>());
    node.shutdown().await;
}

#[tokio::test]
async fn a_large_response_is_split_when_that_is_allowed() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let value = "v".repeat(700 << 10);
    for n in 0..4 {
        put_at(&client, &format!("k{n}"), &value).await;
    }
    let all = DeleteRequest { range: everything(), prev_kv: false };
    let deleted = client.delete(&anyone(), all).await.expect("answered").header.revision;
    let mut stream = client.watch(&anyone()).await.expect("a stream");
    // One main revision whose four previous records are 2.8 MB together.
    let create = WatchCreate {
        start_revision: deleted,
        prev_kv: true,
        fragment: true,
        ..WatchCreate::new(everything())
    };
    stream.create(create).await.expect("asked");
    assert!(next(&mut stream).await.created);
    let (mut events, mut pieces) = (0, 0);
    while events < 4 {
        let response = next(&mut stream).await;
        events += response.events.len();
        pieces += 1;
        assert_eq!(response.fragment, events < 4);
    }
    assert!(pieces >= 2, "{pieces}");
    node.shutdown().await;
}

#[tokio::test]
async fn streams_end_with_the_node_and_shutdown_is_quick() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = client.watch(&anyone()).await.expect("a stream");
        stream.create(WatchCreate::new(everything())).await.expect("asked");
        assert!(next(&mut stream).await.created);
        streams.push(stream);
    }
    let begun = std::time::Instant::now();
    node.shutdown().await;
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    for mut stream in streams {
        assert!(within("the end", stream.next()).await.is_none());
    }
    assert!(client.watch(&anyone()).await.is_err());
}
