use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::config::Profile;
use crate::node::budget::Budget;
use crate::node::memory::Memory;

const MIN: Duration = Duration::from_secs(5);

/// Pings this far apart, with a stream open or without; how many there are until one is too many.
fn until_too_many(apart: Duration, has_streams: bool) -> Option<usize> {
    let mut pings = Pings::new(MIN);
    let begun = Instant::now();
    (0..100u32).position(|n| pings.ping(begun + apart * n, has_streams))
}

#[tokio::test]
async fn three_pings_too_soon_are_too_many() {
    let soon = Duration::from_secs(1);
    assert_eq!(until_too_many(soon, true), Some(3), "the first is never too soon");
    assert_eq!(until_too_many(MIN, true), None);
    assert_eq!(until_too_many(MIN, false), Some(3), "without a stream they are two hours apart");
    assert_eq!(until_too_many(IDLE_MIN, false), None);
    let mut unset = Pings::new(Duration::ZERO);
    let begun = Instant::now();
    assert!((0..4).any(|n| unset.ping(begun + 10 * MIN * n, true)), "gRPC's own five minutes");
}

#[tokio::test]
async fn what_was_answered_is_forgiven() {
    let mut pings = Pings::new(MIN);
    let now = Instant::now();
    for n in 0..100 {
        pings.answered = n % 3 == 2;
        assert!(!pings.ping(now, true), "ping {n}");
    }
}

fn ping() -> Vec<u8> {
    [&[0, 0, 8, PING, 0, 0, 0, 0, 0][..], &[7; 8]].concat()
}

fn calm(pipe: usize) -> (DuplexStream, Calm<DuplexStream>) {
    let share = Budget::new(Memory::of(Profile::Pi).clients).connection().expect("a share");
    let (client, server) = duplex(pipe);
    (client, Calm::new(server, MIN, share))
}

/// What the client gets to read until the end.
async fn rest(mut client: DuplexStream) -> Vec<u8> {
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.expect("a clean end");
    said
}

const GOODBYE: &[u8] = b"\0\0\x16\x07\0\0\0\0\0\0\0\0\x05\0\0\0\x0btoo_many_pings";

#[tokio::test(start_paused = true)]
async fn a_client_that_pings_too_much_is_told_so_between_two_frames() {
    let (mut client, mut calm) = calm(1 << 16);
    let headers = [0, 0, 1, HEADERS, 4, 0, 0, 0, 5, 0x82];
    let greeting = [GREETING, &headers].concat();
    client.write_all(&greeting).await.expect("sent");
    calm.read_exact(&mut vec![0; greeting.len()]).await.expect("read");
    // Half of a frame is out when the pings are read.
    let data = [0, 0, 4, DATA, 0, 0, 0, 0, 5, 1, 2, 3, 4];
    calm.write_all(&data[..3]).await.expect("written");
    let pings = ping().repeat(4);
    client.write_all(&pings).await.expect("sent");
    calm.read_exact(&mut vec![0; pings.len()]).await.expect("read");
    assert!(matches!(calm.end, End::Goaway(_)));
    let (mut reading, mut writing) = tokio::io::split(calm);
    let reader = tokio::spawn(async move { reading.read(&mut [0; 64]).await });
    tokio::task::yield_now().await;
    let more = [&data[3..], &data[..]].concat();
    writing.write_all(&more).await.expect("written, or swallowed");
    writing.flush().await.expect("flushed");
    client_ends(client, &[&data[..], GOODBYE].concat()).await;
    assert_eq!(reader.await.expect("no panic").expect("an end"), 0);
}

/// The client reads this, goes on pinging, and then goes.
async fn client_ends(mut client: DuplexStream, expected: &[u8]) {
    let mut said = vec![0; expected.len()];
    client.read_exact(&mut said).await.expect("all of it");
    assert_eq!(said, expected);
    let _ = client.write_all(&ping()).await;
    assert!(rest(client).await.is_empty(), "nothing after it");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_go_is_left_after_a_while() {
    let (mut client, mut calm) = calm(1 << 16);
    client.write_all(&[GREETING.to_vec(), ping().repeat(4)].concat()).await.expect("sent");
    let begun = Instant::now();
    while calm.read(&mut [0; 1024]).await.expect("an end without an error") > 0 {}
    assert_eq!(begun.elapsed().as_secs(), LINGER.as_secs());
    drop(calm);
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.expect("a clean end");
    assert!(said.ends_with(b"\0\0\0\x0btoo_many_pings"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn pings_that_may_be_and_what_is_no_ping_go_through() {
    let acks = [0, 0, 8, PING, ACK, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(10);
    let cases = [
        [GREETING.to_vec(), ping().repeat(3)].concat(),
        [GREETING.to_vec(), acks].concat(),
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), ping().repeat(10)].concat(),
        [b"PRI * HTTP/2.1 no".to_vec(), ping().repeat(10)].concat(),
    ];
    for bytes in cases {
        let (mut client, mut calm) = calm(1 << 16);
        for piece in bytes.chunks(7) {
            client.write_all(piece).await.expect("sent");
        }
        drop(client);
        let mut heard = Vec::new();
        calm.read_to_end(&mut heard).await.expect("read");
        assert_eq!(heard, bytes);
        assert!(matches!(calm.end, End::NotYet), "{bytes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_not_heard_for_long() {
    const PIPE: usize = 1 << 20;
    let (mut client, mut calm) = calm(PIPE);
    client.write_all(&vec![b'x'; PIPE]).await.expect("sent");
    // The pipe to the client is full, and one byte more has been tried.
    calm.write_all(&vec![0; PIPE]).await.expect("written");
    let tried = tokio::time::timeout(Duration::from_secs(1), calm.write(&[0])).await;
    assert!(tried.is_err(), "the pipe is full");
    let mut heard = 0;
    let mut buffer = vec![0; 4096];
    while let Ok(read) = tokio::time::timeout(Duration::from_secs(1), calm.read(&mut buffer)).await {
        heard += read.expect("read");
    }
    assert!((UNHEARD_MAX..UNHEARD_MAX + 4096).contains(&heard), "{heard} bytes were read");
    // It takes something: the reader that waits is woken by the write that goes on.
    let (mut reading, mut writing) = tokio::io::split(calm);
    let reader = tokio::spawn(async move { reading.read(&mut [0; 4096]).await });
    tokio::task::yield_now().await;
    client.read_exact(&mut vec![0; PIPE / 2]).await.expect("taken");
    writing.write_all(&[0]).await.expect("written");
    assert_eq!(reader.await.expect("no panic").expect("read"), 4096);
}

/// A connection on which the greeting and these bytes wait to be read, in small pieces.
async fn read_slowly(bytes: &[u8]) {
    let (mut client, mut calm) = calm(1 << 20);
    client.write_all(GREETING).await.expect("sent");
    client.write_all(bytes).await.expect("sent");
    let mut whole = vec![0; GREETING.len() + bytes.len()];
    for piece in whole.chunks_mut(256) {
        calm.read_exact(piece).await.expect("read");
    }
}

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const SOME_DATA: [u8; 10] = [0, 0, 1, DATA, 0, 0, 0, 0, 5, 7];

#[tokio::test(start_paused = true)]
async fn many_frames_are_taken_in_turns_with_others() {
    for (frames, expected) in [(100, 0..=0), (1280, 7..=10)] {
        let mut turns = 0;
        let others = async {
            loop {
                tokio::task::yield_now().await;
                turns += 1;
            }
        };
        let data = SOME_DATA.repeat(frames);
        tokio::select! {
            biased;
            () = read_slowly(&data) => {}
            () = others => {}
        }
        assert!(expected.contains(&turns), "others had {turns} turns during {frames} frames");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_bring_nothing_are_taken_at_a_bounded_rate() {
    let reset = [0, 0, 4, RST_STREAM, 0, 0, 0, 0, 5, 0, 0, 0, 8];
    let fruitful = [&SETTINGS[..], &SOME_DATA, &SOME_DATA].concat();
    let cases = [
        (SETTINGS.repeat(4_000), 0..1),
        (SETTINGS.repeat(25_000), 950..1050),
        (fruitful.repeat(10_000), 0..1),
        (reset.repeat(100), 0..1),
        (reset.repeat(625), 950..1050),
    ];
    for (frames, expected_ms) in cases {
        let begun = Instant::now();
        read_slowly(&frames).await;
        let took_ms = begun.elapsed().as_millis();
        assert!(
            expected_ms.contains(&took_ms),
            "{} bytes took {took_ms} ms, not {expected_ms:?}",
            frames.len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_floods_without_a_pause_is_shown_out() {
    let (client, mut calm) = calm(1 << 16);
    let (mut hears, mut says) = tokio::io::split(client);
    let begun = Instant::now();
    let flood = tokio::spawn(async move {
        says.write_all(GREETING).await.expect("sent");
        says.write_all(&SETTINGS.repeat(500_000)).await.expect("read to its end, or not looked at");
    });
    let mut buffer = [0; 512];
    while calm.read(&mut buffer).await.expect("read") > 0 {}
    assert!((10..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    drop(calm);
    let mut said = Vec::new();
    hears.read_to_end(&mut said).await.expect("a clean end");
    assert_eq!(said[9 + 8..], *b"too_many_frames");
    flood.await.expect("no panic");
}
