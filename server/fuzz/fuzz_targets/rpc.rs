//! Any messages to any RPCs: each is answered or waits, the member lives, and takes nothing for good.
//!
//! The input is a list of calls: number of the RPC in `METHODS`, flags (1: the message says it is packed,
//! 2: with a token, 4: two messages), the message.
#![no_main]
use std::convert::Infallible;
use std::time::Duration;

use bramble_proto::METHODS;
use bramble_server::rpc::{self, RpcLimits};
use bramble_server_fuzz::{Member, Parts};
use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use tonic::service::Routes;
use tower::ServiceExt;

const CALLS_MAX: usize = 12;

fuzz_target!(|input: &[u8]| {
    let mut parts = Parts::new(input);
    let member = Member::of_process();
    member.runtime.block_on(async {
        let routes = rpc::routes(member.node().client(), RpcLimits::default());
        for _ in 0..CALLS_MAX {
            if parts.is_empty() {
                break;
            }
            let method = &METHODS[usize::from(parts.byte()) % METHODS.len()];
            let request = request(method.path, parts.byte(), parts.bytes());
            // Locks wait for others, watches for ever.
            let _ = tokio::time::timeout(Duration::from_millis(20), answer(routes.clone(), request)).await;
        }
    });
    member.check();
});

fn request(path: &str, flags: u8, message: &[u8]) -> Request<Full<Bytes>> {
    let mut body = BytesMut::new();
    for _ in 0..=(flags >> 2 & 1) {
        body.put_u8(flags & 1);
        body.put_u32(message.len() as u32);
        body.put_slice(message);
    }
    let mut request = Request::post(path).header("content-type", "application/grpc");
    if flags & 1 != 0 {
        request = request.header("grpc-encoding", "gzip");
    }
    if flags & 2 != 0 {
        request = request.header("token", "abcdefghijklmnop.7");
    }
    request.body(Full::new(body.freeze())).expect("a request")
}

async fn answer(routes: Routes, request: Request<Full<Bytes>>) -> Result<(), Infallible> {
    let mut body = routes.oneshot(request).await?.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(())
}
