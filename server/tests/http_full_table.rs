//! A process that has no file descriptor left goes on, and accepts again when there are some. Alone
//! in its file: the limit is the whole process's.
mod common;

use common::{ask, listening, serve};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;

#[tokio::test]
async fn the_accept_loop_outlives_a_full_file_table() {
    let served = serve(&listening("http://127.0.0.1:0"));
    let open = std::fs::read_dir("/proc/self/fd").expect("proc").count() as u64;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(open + 20);
    setrlimit(Resource::Nofile, limit).expect("lowered");
    let mut held = Vec::new();
    loop {
        match TcpStream::connect(served.addrs[0]).await {
            Ok(stream) => held.push(stream),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(24), "{error}");
                break;
            }
        }
    }
    assert!(held.len() >= 10);
    // Room for one connection of ours, and for none that the server would accept.
    held.pop();
    let waiting = TcpStream::connect(served.addrs[0]).await.expect("in the system's queue");
    held.clear();
    assert!(ask(waiting, "/hello").await.ends_with("http says hello"));
    served.stop().await;
}
