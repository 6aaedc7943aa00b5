//! Any bytes on a client's connection, all at once or in pieces, HTTP/1.1, HTTP/2 or neither: the member
//! lives, takes nothing for good and answers the next one. The input: how large the pieces are, then the bytes.
#![no_main]
use std::time::Duration;

use bramble_server_fuzz::{Member, Parts};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fuzz_target!(|input: &[u8]| {
    let mut parts = Parts::new(input);
    let piece = usize::from(parts.byte()).max(1) * 64;
    let mut member = Member::of_process();
    let address = member.node().client_addrs()[0];
    member.runtime.block_on(async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let (mut read, mut write) = stream.split();
        let said = async {
            for piece in parts.all().chunks(piece) {
                if write.write_all(piece).await.is_err() {
                    break;
                }
            }
            let _ = write.shutdown().await;
        };
        let mut sink = [0; 4096];
        // Whoever still waits for events after the end is sent away by closing.
        let heard = tokio::time::timeout(Duration::from_millis(50), async {
            while let Ok(1..) = read.read(&mut sink).await {}
        });
        let ((), _) = tokio::join!(said, heard);
    });
    // HTTP/1.1 does not notice that a client has gone who sent more behind a request whose answer has no
    // end, until the next event; nor does Go's. Ending the member ends that, too.
    if input.windows(6).any(|word| word == b"HTTP/1") && !member.is_free(Duration::from_millis(200)) {
        member.stop();
        return;
    }
    member.check();
});
