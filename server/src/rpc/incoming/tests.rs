use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::config::Profile;
use crate::node::budget::Budget;
use crate::node::memory::Memory;

const MAX: usize = 100;

fn terms(gzip: bool) -> Terms {
    Terms { bytes_max: MAX, gzip, streams: true, place: None }
}

fn message(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut wire = vec![flag];
    wire.extend(u32::try_from(content.len()).expect("short").to_be_bytes());
    wire.extend(content);
    wire
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(content).expect("into memory");
    packer.finish().expect("into memory")
}

/// What is given on of a body that comes in pieces of so many bytes, and how it ends.
fn through(wire: &[u8], piece: usize, terms: Terms) -> (Vec<u8>, Result<(), Status>) {
    let mut messages = Messages::new(terms);
    let mut out = VecDeque::new();
    let ended =
        wire.chunks(piece).try_for_each(|piece| messages.take(&Bytes::copy_from_slice(piece), &mut out));
    let mut given = Vec::new();
    for piece in out {
        match piece {
            Piece::Plain(piece) => given.extend(piece),
            Piece::Packed(packed) => {
                let mut unpacking = Unpacking::new(packed);
                match unpacking.turn(MAX) {
                    Ok(is_whole) => assert!(is_whole, "short enough for one turn"),
                    Err(refusal) => return (given, Err(refusal)),
                }
                given.extend(framed(&unpacking.plain));
            }
        }
    }
    (given, ended)
}

#[test]
fn plain_messages_go_through_however_the_body_is_cut() {
    let good = [message(0, b""), message(0, &[7; MAX]), message(0, b"abc"), message(0, &[7; MAX])].concat();
    let bad = [good.clone(), message(0, &[7; MAX + 1]), message(0, b"a")].concat();
    for piece in 1..=bad.len() {
        let (given, ended) = through(&good, piece, terms(false));
        assert_eq!((given, ended.is_ok()), (good.clone(), true), "pieces of {piece}");
        let (given, ended) = through(&bad, piece, terms(true));
        let refusal = ended.expect_err("too long");
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert_eq!(refusal.message(), "grpc: received message larger than max (101 vs. 100)");
        // Of the message that is refused only what came in earlier pieces has been given on: a prefix.
        assert_eq!(given[..good.len()], good, "pieces of {piece}");
        assert!(given.len() < good.len() + PREFIX_BYTES, "pieces of {piece}");
    }
}

#[test]
fn packed_messages_are_unpacked_however_the_body_is_cut() {
    let long = [7; MAX];
    let packed = [message(1, &packed(b"")), message(0, b"plain"), message(1, &packed(&long))].concat();
    let plain = [message(0, b""), message(0, b"plain"), message(0, &long)].concat();
    for piece in 1..=packed.len() {
        let (given, ended) = through(&packed, piece, terms(true));
        assert!(ended.is_ok(), "pieces of {piece}: {ended:?}");
        assert_eq!(given, plain, "pieces of {piece}");
    }
}

#[test]
fn what_cannot_be_unpacked_is_refused_in_grpcs_words() {
    let bomb = packed(&vec![0; 50 * MAX]);
    assert!(bomb.len() <= MAX, "the bomb itself is short");
    let (mut torn, mut flipped) = (packed(&[7; MAX]), packed(&[7; MAX]));
    torn.truncate(torn.len() - 6);
    *flipped.last_mut().expect("not empty") ^= 1;
    let cases: [(u8, &[u8], bool, i32, &str); 8] = [
        (1, &bomb, true, 8, "grpc: received message after decompression larger than max 100"),
        (1, b"", true, 13, "grpc: failed to decompress the message: EOF"),
        (1, b"not packed at all", true, 13, "grpc: failed to decompress the message: gzip: invalid header"),
        (1, &torn, true, 13, "grpc: failed to read decompressed data: unexpected EOF"),
        (1, &flipped, true, 13, "grpc: failed to read decompressed data"),
        (1, &bomb, false, 13, "grpc: compressed flag set with identity or empty encoding"),
        (2, b"x", true, 13, "grpc: received unexpected payload format 2"),
        (255, b"x", false, 13, "grpc: received unexpected payload format 255"),
    ];
    for (flag, content, gzip, code, text) in cases {
        let wire = message(flag, content);
        for piece in [1, wire.len()] {
            let (given, ended) = through(&wire, piece, terms(gzip));
            let refusal = ended.expect_err(text);
            assert_eq!(i32::from(refusal.code()), code, "{text}");
            assert!(refusal.message().starts_with(text), "{} instead of {text}", refusal.message());
            assert!(given.is_empty(), "{text}");
        }
    }
}

#[test]
fn messages_take_room_until_the_next_one_and_no_more_than_there_is() {
    let budget = Budget::new(Memory::of(Profile::Pi).clients);
    let share = budget.connection().expect("a share");
    let place = share.place(Kind::OtherStreams).expect("a place");
    let most = place.most(Kind::RequestBytes);
    let of = |streams| {
        Messages::new(Terms { bytes_max: 2 * most, gzip: false, streams, place: Some(place.clone()) })
    };
    let begin = |bytes: usize| {
        let mut wire = vec![0];
        wire.extend((bytes as u32).to_be_bytes());
        Bytes::from(wire)
    };
    let mut out = VecDeque::new();
    let mut stream = of(true);
    for content in [vec![1; 1000], vec![2; 10]] {
        let bytes = content.len();
        stream.take(&Bytes::from(message(0, &content)), &mut out).expect("room");
        assert_eq!(place.taken(Kind::RequestBytes), bytes, "the one before has been dealt with");
    }
    let refusal = stream.take(&begin(most + 1), &mut out).expect_err("no room");
    assert_eq!((i32::from(refusal.code()), refusal.message()), (8, "etcdserver: too many requests"));
    assert_eq!(budget.usage(Kind::RequestBytes).refused, 1);
    let mut unary = of(false);
    unary.take(&begin(most), &mut out).expect("all of it is free");
    assert_eq!(place.taken(Kind::RequestBytes), most, "before it has come");
    drop((stream, unary));
    assert_eq!(place.taken(Kind::RequestBytes), most, "it lasts as long as the place");
}

fn slowly(pieces: Vec<Vec<u8>>, streams: bool) -> Incoming {
    use tokio_stream::StreamExt;
    let pieces = tokio_stream::iter(pieces).map(|piece| Ok::<_, Status>(Frame::data(Bytes::from(piece))));
    let body = Body::new(StreamBody::new(pieces.chain(tokio_stream::pending())));
    Incoming::new(body, Terms { bytes_max: MAX, gzip: false, streams, place: None })
}

#[tokio::test(start_paused = true)]
async fn a_message_has_to_arrive_in_time() {
    let whole = message(0, b"abc");
    let begun = whole[..6].to_vec();
    for (pieces, streams) in
        [(vec![], false), (vec![begun.clone()], false), (vec![whole.clone(), begun], true)]
    {
        let mut body = slowly(pieces, streams);
        let begun = tokio::time::Instant::now();
        let refusal = loop {
            match body.frame().await.expect("an end") {
                Ok(_) => {}
                Err(refusal) => break refusal,
            }
        };
        assert_eq!((i32::from(refusal.code()), refusal.message()), (14, "etcdserver: request timed out"));
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
    }
    // Between messages a stream may be silent.
    for pieces in [vec![], vec![whole]] {
        let mut body = slowly(pieces.clone(), true);
        for _ in pieces {
            body.frame().await.expect("a frame").expect("a message");
        }
        let silence = tokio::time::timeout(100 * PATIENCE, body.frame()).await;
        assert!(silence.is_err(), "still waiting");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_one_message_ends_with_it() {
    let whole = message(0, b"abc");
    let more = [whole.clone(), message(0, b"more")].concat();
    let endless = std::iter::once(whole.clone()).chain(vec![message(0, b""); 1000]).collect();
    for pieces in [vec![whole.clone()], vec![more], endless] {
        let mut body = slowly(pieces, false);
        let begun = tokio::time::Instant::now();
        let frame = body.frame().await.expect("a frame").expect("a message");
        assert_eq!(frame.into_data().expect("data"), whole);
        let ended = tokio::time::timeout(10 * END_PATIENCE, body.frame()).await;
        assert!(ended.expect("in time").is_none(), "nobody hears the rest");
        assert_eq!(begun.elapsed().as_secs(), END_PATIENCE.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_more_and_more_is_not_listened_to_for_ever() {
    use tokio_stream::StreamExt;
    let whole = tokio_stream::once(message(0, b"abc"));
    let for_ever = futures_util::StreamExt::then(tokio_stream::iter(0..), |_| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        message(0, b"")
    });
    let pieces = whole.chain(for_ever).map(|piece| Ok::<_, Status>(Frame::data(Bytes::from(piece))));
    let terms = Terms { bytes_max: MAX, gzip: false, streams: false, place: None };
    let collected = Incoming::new(Body::new(StreamBody::new(pieces)), terms).collect();
    let collected = tokio::time::timeout(10 * END_PATIENCE, collected).await.expect("an end");
    assert_eq!(collected.expect("no refusal").to_bytes(), message(0, b"abc"));
}

/// Half a message every so often, so that one is always under way.
#[tokio::test(start_paused = true)]
async fn each_message_of_a_stream_has_its_own_time() {
    use tokio_stream::StreamExt;
    let (head, tail) = (message(0, b"abc")[..6].to_vec(), b"bc".to_vec());
    let pieces = std::iter::once(head.clone()).chain(vec![[tail, head].concat(); 10]);
    let slowly = futures_util::StreamExt::then(tokio_stream::iter(pieces), |piece| async move {
        tokio::time::sleep(PATIENCE * 2 / 3).await;
        Ok::<_, Status>(Frame::data(Bytes::from(piece)))
    });
    let body = Body::new(StreamBody::new(slowly.take(11)));
    let terms = Terms { bytes_max: MAX, gzip: false, streams: true, place: None };
    Incoming::new(body, terms).collect().await.expect("each came in time");
}

#[tokio::test]
async fn a_large_message_is_unpacked_between_the_turns_of_others() {
    const LONG: usize = 1 << 20;
    let wire = message(1, &packed(&vec![7; LONG]));
    let body = Body::new(http_body_util::Full::new(Bytes::from(wire)));
    let terms = Terms { bytes_max: LONG, gzip: true, streams: false, place: None };
    let mut turns = 0;
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    let whole = tokio::select! {
        biased;
        whole = Incoming::new(body, terms).collect() => whole.expect("a message"),
        () = others => unreachable!("it never ends"),
    };
    assert_eq!(whole.to_bytes(), message(0, &vec![7; LONG]));
    assert!(turns >= LONG / TURN_BYTES - 1, "others had {turns} turns");
}

#[tokio::test]
async fn what_is_unpacked_is_counted_as_it_grows() {
    let budget = Budget::new(Memory::of(Profile::Pi).clients);
    let share = budget.connection().expect("a share");
    let place = share.place(Kind::Requests).expect("a place");
    let most = place.most(Kind::RequestBytes);
    let wire = message(1, &packed(&vec![0; 2 * most]));
    let body = Body::new(http_body_util::Full::new(Bytes::from(wire)));
    let terms = Terms { bytes_max: 4 * most, gzip: true, streams: false, place: Some(place.clone()) };
    let refusal = Incoming::new(body, terms).collect().await.expect_err("twice of what there is");
    assert_eq!(refusal.message(), "etcdserver: too many requests");
    let taken = place.taken(Kind::RequestBytes);
    assert!(taken <= most && taken + 2 * TURN_BYTES > most, "{taken} of {most} when it was refused");
}
