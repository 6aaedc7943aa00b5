//! Bytes that are no HTTP/2, frames that no library sends, floods of frames that are right one by one.
use std::io;

use bramble_server::config::Profile;
use bramble_tests::chance::Chance;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::*;
use crate::siege::{Siege, Target};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
/// The largest payload of a frame, as nobody has agreed on more.
const PAYLOAD_MAX: usize = 16_384;
/// Attackers at a time.
const ATTACKERS: u8 = 4;

/// Bytes that follow the greeting, and the code of the GOAWAY that ends the connection. (h2 says of some what
/// is wrong in general only.)
fn broken() -> Vec<(&'static str, Vec<u8>, u32)> {
    let range = call("/etcdserverpb.KV/Range");
    let open = frame(HEADERS, END_HEADERS, 1, &range);
    let begun = frame(HEADERS, 0, 1, &range);
    // As no answer is taken, none of the stream's later requests is read: the window is not given anew.
    let unread = [
        settings(&[(INITIAL_WINDOW_SIZE, 0)]),
        frame(HEADERS, END_HEADERS, 1, &call("/etcdserverpb.Lease/LeaseKeepAlive")),
    ]
    .concat();
    let filler = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(16_000))]));
    vec![
        ("data of no stream", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("data of a stream that was never opened", frame(DATA, 0, 7, b"x"), PROTOCOL_ERROR),
        ("a stream of the server's", frame(HEADERS, END_HEADERS, 2, &range), PROTOCOL_ERROR),
        ("a frame too long", frame(DATA, 0, 1, &[0; PAYLOAD_MAX + 1]), FRAME_SIZE_ERROR),
        ("a header of no table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0x80, 0x01]), PROTOCOL_ERROR),
        ("a number without end", frame(HEADERS, END_HEADERS, 1, &[0xff; 64]), PROTOCOL_ERROR),
        (
            "huffman that is none",
            frame(HEADERS, END_HEADERS, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff]),
            PROTOCOL_ERROR,
        ),
        ("a ping inside headers", [begun.clone(), frame(PING, 0, 0, &[0; 8])].concat(), PROTOCOL_ERROR),
        ("the rest of no headers", frame(CONTINUATION, END_HEADERS, 1, &range), PROTOCOL_ERROR),
        (
            "more window than there is",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            FLOW_CONTROL_ERROR,
        ),
        ("no more window", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("settings cut off", frame(SETTINGS, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("a window of 4 GiB", settings(&[(INITIAL_WINDOW_SIZE, u32::MAX)]), PROTOCOL_ERROR),
        ("a ping cut off", frame(PING, 0, 0, &[0; 7]), PROTOCOL_ERROR),
        ("the end of a stream that never was", frame(RST_STREAM, 0, 9, &[0; 4]), PROTOCOL_ERROR),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        (
            "headers without end",
            [begun.clone(), frame(CONTINUATION, 0, 1, b"").repeat(10_000)].concat(),
            ENHANCE_YOUR_CALM,
        ),
        ("long headers without end", [begun, filler.repeat(500)].concat(), ENHANCE_YOUR_CALM),
        ("nothing, often", [open, frame(DATA, 0, 1, b"").repeat(1000)].concat(), ENHANCE_YOUR_CALM),
        (
            "more data than the window",
            [unread, frame(DATA, 0, 1, &[0; PAYLOAD_MAX]).repeat(600)].concat(),
            FLOW_CONTROL_ERROR,
        ),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(100), ENHANCE_YOUR_CALM),
    ]
}

#[test]
fn frames_that_no_library_sends_end_the_connection_and_nothing_else() {
    let mut siege = Siege::lay(Profile::Pi);
    let server = siege.address();
    siege.meanwhile(async {
        for (name, bytes, code) in broken() {
            let mut raw = Raw::connect(2, server, &[]).await.expect("a connection");
            // The server may have closed it before it was all said.
            raw.stream.write_all(&bytes).await.ok();
            let ended = raw.goaway().await;
            println!("{name}: {ended:?}");
            assert_eq!(ended.map(|(code, _)| code), Some(code), "{name}");
        }
    });
    siege.attack("broken frames", 24, async |target| all(target, break_off).await);
    siege.attack("garbage", 24, async |target| all(target, garbage).await);
    siege.attack("floods, answers read", 24, async |target| all(target, flood_and_read).await);
    siege.attack("floods, answers not read", 24, async |target| all(target, flood).await);
}

/// Several attackers at once, each beginning anew until the time is over.
async fn all<F>(target: Target, attack: fn(Target, Chance) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let seed = Chance::seed_from("BRAMBLE_SEED");
    println!("seed {seed}");
    let attackers = (0..ATTACKERS).map(|number| {
        tokio::spawn(async move {
            let mut chance = Chance::from_seed(seed + u64::from(number));
            while !target.over() {
                // However the connection ends, the next one begins.
                attack(target, Chance::from_seed(chance.roll())).await.ok();
            }
        })
    });
    for attacker in attackers.collect::<Vec<_>>() {
        attacker.await.expect("no attacker panics");
    }
}

/// One of the broken sequences, some of it, or with a byte changed.
async fn break_off(target: Target, mut chance: Chance) -> io::Result<()> {
    let broken = broken();
    let mut bytes = chance.pick(&broken).1.clone();
    if chance.percent(30) {
        bytes.truncate(chance.below(bytes.len()));
    }
    if chance.percent(50) {
        let at = chance.below(bytes.len().min(100));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = chance.roll() as u8;
        }
    }
    let mut raw = Raw::connect(2, target.server, &[]).await?;
    raw.stream.write_all(&bytes).await?;
    raw.stream.shutdown().await
}

/// Noise, as it is or behind the greeting.
async fn garbage(target: Target, mut chance: Chance) -> io::Result<()> {
    let mut noise: Vec<u8> = (0..chance.below(20_000)).map(|_| chance.roll() as u8).collect();
    if chance.percent(50) {
        noise.splice(0..0, [GREETING, &settings(&[])].concat());
    }
    let mut stream = dial(2, target.server).await?;
    stream.write_all(&noise).await?;
    stream.shutdown().await
}

/// Frames that are right one by one, as fast as they go.
fn floods(chance: &mut Chance) -> Vec<u8> {
    let floods = [
        settings(&[(INITIAL_WINDOW_SIZE, 65_535)]),
        settings(&[(1, 0), (1, 4096)]),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(0xbe, 0, 0, b"of no kind"),
        frame(PING, ACK, 0, &[0; 8]),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ];
    let one = chance.pick(&floods);
    one.repeat(PAYLOAD_MAX / one.len())
}

async fn flood(target: Target, mut chance: Chance) -> io::Result<()> {
    let bytes = floods(&mut chance);
    let mut raw = Raw::connect(2, target.server, &[]).await?;
    write_until(target, &mut raw.stream, &bytes).await
}

async fn flood_and_read(target: Target, mut chance: Chance) -> io::Result<()> {
    let bytes = floods(&mut chance);
    let (mut reads, mut writes) = Raw::connect(2, target.server, &[]).await?.stream.into_split();
    let mut buffer = vec![0; PAYLOAD_MAX];
    tokio::select! {
        written = write_until(target, &mut writes, &bytes) => written,
        ended = async { while reads.read(&mut buffer).await? > 0 {} Ok(()) } => ended,
    }
}

async fn write_until(target: Target, to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> io::Result<()> {
    while !target.over() {
        // Who is not read any more gives up in time.
        tokio::select! {
            written = to.write_all(bytes) => written?,
            () = tokio::time::sleep_until(target.until.into()) => {}
        }
    }
    Ok(())
}
