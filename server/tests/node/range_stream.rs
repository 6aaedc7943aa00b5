//! A streamed range is the range, in bounded chunks of one revision.
use bramble_server::config::Config;
use bramble_server::node::client::{Client, Consistency, RangeEndOfStream, RangeStream};
use bramble_server::node::error::Error;
use bramble_store::error::{Invalid, Refusal};
use bramble_store::types::{
    DeleteRequest, Detail, KeyValue, RangeEnd, RevisionFilter, SortOrder, SortTarget,
};

use super::*;

/// Small, so that a few hundred keys make many chunks.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// More than the largest record that is put.
const LARGEST_BYTES: usize = 15_100;

async fn small_chunks(dir: &Path) -> Node {
    let config = Config { request_bytes_max: REQUEST_BYTES_MAX, ..Config::default() };
    let node = Node::builder().config(config).data_dir(dir).in_process_only().build().await;
    let node = node.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    node
}

/// Numbers by seed; `SEED=n` repeats a run.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| std::process::id().into());
        println!("SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn key(&mut self) -> String {
        format!("k{:03}", self.below(500))
    }

    async fn write(&mut self, client: &Client) {
        let key = self.key();
        if self.below(4) == 0 {
            let delete = DeleteRequest { range: KeyRange::single(key), prev_kv: false };
            client.delete(&anyone(), delete).await.expect("deleted");
        } else {
            // Most are small, some nearly as large as a request may be.
            let bytes = if self.below(20) == 0 { 15_000 } else { self.below(200) };
            client.put(&anyone(), put(&key, &"v".repeat(bytes as usize))).await.expect("put");
        }
    }

    fn range(&mut self, newest: i64) -> RangeRequest {
        let range = match self.below(4) {
            0 => everything(),
            1 => KeyRange::single(self.key()),
            _ => KeyRange { start: self.key().into(), end: RangeEnd::Before(self.key().into()) },
        };
        let detail =
            [Detail::Full, Detail::Full, Detail::KeysOnly, Detail::CountOnly][self.below(4) as usize];
        let limit = if self.below(2) == 0 { self.below(300) as i64 } else { 0 };
        let revision = if self.below(2) == 0 { newest - self.below(200) as i64 } else { 0 };
        let order = if self.below(2) == 0 { SortOrder::None } else { SortOrder::Ascend };
        RangeRequest { limit, revision, detail, order, ..RangeRequest::new(range) }
    }
}

/// Reads a stream to its end: sizes of its chunks, their records, and what the last one says.
async fn read_all(
    mut stream: RangeStream,
    mut between: impl AsyncFnMut(),
) -> (Vec<usize>, Vec<KeyValue>, RangeEndOfStream) {
    let (mut sizes, mut kvs) = (Vec::new(), Vec::new());
    loop {
        let chunk = within("a chunk", stream.next()).await.expect("a chunk").expect("no error");
        sizes.push(chunk.kvs.len());
        let bytes: usize = chunk.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        assert!(bytes <= 2 * REQUEST_BYTES_MAX + LARGEST_BYTES, "a chunk of {bytes} bytes");
        kvs.extend(chunk.kvs);
        if let Some(end) = chunk.end {
            assert!(stream.next().await.is_none(), "nothing follows the last chunk");
            return (sizes, kvs, end);
        }
        between().await;
    }
}

#[tokio::test]
async fn a_streamed_range_is_the_range() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = small_chunks(dir.path()).await;
    let client = node.client();
    let mut random = Random::new();
    for _ in 0..1500 {
        random.write(&client).await;
    }
    let mut chunks = Vec::new();
    for _ in 0..150 {
        let request = random.range(client.header().revision);
        let whole = client.range(&anyone(), request.clone(), Default::default()).await.expect("the range");
        let stream =
            client.range_stream(&anyone(), request.clone(), Default::default()).await.expect("a stream");
        let (sizes, kvs, end) = read_all(stream, async || random.write(&client).await).await;
        assert_eq!(kvs, whole.body.kvs, "{request:?}");
        let expected =
            RangeEndOfStream { header: whole.header, more: whole.body.more, count: whole.body.count };
        assert_eq!(end, expected, "{request:?}");
        assert!(sizes[0] <= 10, "{sizes:?}");
        chunks.extend(sizes);
    }
    let largest = chunks.iter().max();
    assert!(chunks.len() > 300 && largest.is_some_and(|keys| *keys >= 80), "{chunks:?}");
    node.shutdown().await;
}

#[tokio::test]
async fn chunks_double_while_they_are_small() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = small_chunks(dir.path()).await;
    let client = node.client();
    for n in 0..200 {
        put_at(&client, &format!("k{n:03}"), "v").await;
    }
    let all = RangeRequest::new(everything());
    let stream = client.range_stream(&anyone(), all, Consistency::Serializable).await.expect("a stream");
    let (sizes, ..) = read_all(stream, async || {}).await;
    assert_eq!(sizes, [10, 20, 40, 80, 50]);
    let limited = RangeRequest { limit: 25, ..RangeRequest::new(everything()) };
    let stream = client.range_stream(&anyone(), limited, Consistency::Linearizable).await.expect("a stream");
    let (sizes, _, end) = read_all(stream, async || {}).await;
    assert_eq!((sizes, end.more, end.count), (vec![10, 15], true, 200));
    node.shutdown().await;
}

#[tokio::test]
async fn compaction_passes_a_stream_that_stalls() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = small_chunks(dir.path()).await;
    let client = node.client();
    for n in 0..30 {
        put_at(&client, &format!("k{n:03}"), "v").await;
    }
    let all = RangeRequest::new(everything());
    let mut stream = client.range_stream(&anyone(), all.clone(), Default::default()).await.expect("a stream");
    let pinned = client.header().revision;
    let first = stream.next().await.expect("a chunk").expect("no error");
    assert_eq!((first.kvs.len(), first.end), (10, None));
    let newest = put_at(&client, "k999", "v").await;
    client.compact(&anyone(), newest, false).await.expect("compacted");
    let compacted = Refusal::Compacted { wanted: pinned, compacted: newest };
    assert_eq!(stream.next().await, Some(Err(compacted.into())));
    assert!(stream.next().await.is_none());
    node.shutdown().await;
}

/// A chunk takes no more memory than was counted for it, also where large records follow small ones.
#[tokio::test]
async fn a_chunk_of_large_records_is_one_record_too_long_at_most() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = small_chunks(dir.path()).await;
    let client = node.client();
    for n in 0..120 {
        let bytes = if n < 70 { 10 } else { 15_000 };
        put_at(&client, &format!("k{n:03}"), &"v".repeat(bytes)).await;
    }
    let all = RangeRequest::new(everything());
    let stream = client.range_stream(&anyone(), all, Consistency::Linearizable).await.expect("a stream");
    let (sizes, kvs, end) = read_all(stream, async || {}).await;
    assert_eq!((kvs.len(), end.count), (120, 120), "{sizes:?}");
    node.shutdown().await;
}

/// Nor does one that is opened and never read.
#[tokio::test]
async fn compaction_passes_a_stream_that_has_not_begun() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = small_chunks(dir.path()).await;
    let client = node.client();
    let pinned = put_at(&client, "k", "v").await;
    let caller = anyone();
    let open = || client.range_stream(&caller, RangeRequest::new(everything()), Default::default());
    let (mut in_time, mut late) = (open().await.expect("a stream"), open().await.expect("a stream"));
    let newest = put_at(&client, "k", "w").await;
    let whole = in_time.next().await.expect("a chunk").expect("no error");
    assert_eq!(whole.kvs[0].value, "v", "the revision is the one of the opening");
    client.compact(&anyone(), newest, false).await.expect("compacted");
    let compacted = Refusal::Compacted { wanted: pinned, compacted: newest };
    assert_eq!(late.next().await, Some(Err(compacted.into())));
    node.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_streamed_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = small_chunks(dir.path()).await;
    let client = node.client();
    let asked = async |request| {
        let stream = client.range_stream(&anyone(), request, Default::default()).await;
        stream.map(|_| ()).expect_err("a refusal")
    };
    let all = || RangeRequest::new(everything());
    let filter = RevisionFilter { min_mod: 1, ..RevisionFilter::default() };
    let sorted: Error = Invalid::SortedPages.into();
    assert_eq!(asked(RangeRequest::new(KeyRange::single(""))).await, Invalid::EmptyKey.into());
    assert_eq!(asked(RangeRequest { order: SortOrder::Descend, filter, ..all() }).await, sorted);
    assert_eq!(asked(RangeRequest { target: SortTarget::Mod, ..all() }).await, sorted);
    assert_eq!(asked(RangeRequest { filter, ..all() }).await, Invalid::FilteredPages.into());
    let later = RangeRequest { revision: 9, ..all() };
    let mut stream = client.range_stream(&anyone(), later, Default::default()).await.expect("a stream");
    let future = Refusal::Future { wanted: 9, current: 1 };
    for _ in 0..9 {
        put_at(&client, "k", "v").await;
    }
    assert_eq!(stream.next().await, Some(Err(future.into())), "what was the future when it was opened");
    node.shutdown().await;
}
