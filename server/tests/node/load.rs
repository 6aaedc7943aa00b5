//! Many callers at once.
use std::sync::Arc;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_flushes_and_each_gets_its_own_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = Arc::new(node.client());
    let before = node.log_use();
    let begun = std::time::Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let client = client.clone();
        callers.spawn(async move {
            let key = format!("caller{caller}");
            let mut revisions = Vec::new();
            for n in 0..100 {
                let value = n.to_string();
                revisions.push(put_at(&client, &key, &value).await);
                assert_eq!(value_of(&client, &key).await, Some(value));
            }
            revisions
        });
    }
    let mut revisions = Vec::new();
    for own in callers.join_all().await {
        assert!(own.windows(2).all(|pair| pair[0] < pair[1]));
        revisions.extend(own);
    }
    let took = begun.elapsed();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..6402).collect::<Vec<i64>>());
    let after = node.log_use();
    let flushes = after.flushes - before.flushes;
    println!("6400 puts and 6400 reads by 64 callers: {took:?}, {flushes} flushes");
    assert!(flushes < 6400 / 2, "{flushes} flushes for 6400 puts");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_gives_up_harms_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = Arc::new(node.client());
    for n in 0..500 {
        let client = client.clone();
        let task = tokio::spawn(async move { put_at(&client, "k", &n.to_string()).await });
        if n % 3 == 0 {
            task.abort();
        } else {
            let _ = tokio::time::timeout(std::time::Duration::from_micros(n * 3), task).await;
        }
    }
    let last = put_at(&client, "k", "last").await;
    assert_eq!(value_of(&client, "k").await.as_deref(), Some("last"));
    assert_eq!(client.header().revision, last);
    node.shutdown().await;
}
