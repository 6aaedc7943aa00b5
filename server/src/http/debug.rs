//! `/debug/vars`: what the process says of itself, in the form of Go's expvar, which monitors know.
//!
//! ```text
//! cmdline                 as it was started
//! file_descriptor_limit   the soft limit
//! memstats                of the names of Go's run time those that are true of us, in bytes
//! raft.status             term, indexes, leader
//! ```
use axum::Router;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderValue, Method, header};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::health::get_only;
use crate::node::client::{Caller, Client};

/// The route.
pub(super) fn routes(client: Client) -> Router {
    let vars = any(move |method: Method| {
        let client = client.clone();
        async move {
            match get_only(&method) {
                Some(refusal) => refusal,
                None => vars(&client).await,
            }
        }
    });
    Router::new().route("/debug/vars", vars)
}

async fn vars(client: &Client) -> Response {
    let cmdline: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let vars = [
        ("cmdline", json!(cmdline)),
        ("file_descriptor_limit", json!(getrlimit(Resource::Nofile).current)),
        ("memstats", memstats(&status)),
        ("raft.status", raft_status(client).await),
    ];
    let lines = vars.map(|(name, value)| format!("{}: {value}", json!(name)));
    let mut response = Response::new(format!("{{\n{}\n}}\n", lines.join(",\n")).into());
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// From the kernel's account (`/proc/self/status`). There is no collector, so there are no pauses.
fn memstats(status: &str) -> Value {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    let heap = bytes("RssAnon");
    json!({
        "Alloc": heap,
        "HeapAlloc": heap,
        "HeapInuse": heap,
        "HeapSys": bytes("VmData"),
        "StackInuse": bytes("VmStk"),
        "Sys": bytes("VmRSS"),
        "NumGC": 0,
        "PauseTotalNs": 0,
    })
}

/// As etcd's raft writes it: ids in hexadecimal. `null` when the member has stopped.
async fn raft_status(client: &Client) -> Value {
    let Ok(answer) = client.status(&Caller::member()).await else { return Value::Null };
    let (id, status) = (answer.header.member_id, answer.body);
    let leads = status.leader == id;
    let state = match (leads, status.leader) {
        (true, _) => "StateLeader",
        (false, 0) => "StateCandidate",
        (false, _) => "StateFollower",
    };
    let commit = status.committed_index;
    // A leader knows how far the others are; here it is alone.
    let progress = match leads {
        true => json!({ hex(id): { "match": commit, "next": commit + 1, "state": "StateReplicate" } }),
        false => json!({}),
    };
    json!({
        "id": hex(id),
        "term": answer.header.raft_term,
        "vote": hex(status.leader),
        "commit": commit,
        "lead": hex(status.leader),
        "raftState": state,
        "applied": status.applied_index,
        "progress": progress,
        "leadtransferee": "0",
    })
}

fn hex(id: u64) -> String {
    format!("{id:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_as_the_kernel_counts_it() {
        let status = "Name:\tbramble\nVmData:\t  2048 kB\nVmStk:\t     132 kB\nVmRSS:\t   12000 kB\nRssAnon:\t    4000 kB\n";
        let stats = memstats(status);
        assert_eq!(stats["Alloc"], 4_096_000);
        assert_eq!(stats["Sys"], 12_288_000);
        assert_eq!(stats["HeapSys"], 2_097_152);
        assert_eq!(memstats("")["Sys"], 0);
        let own = memstats(&std::fs::read_to_string("/proc/self/status").expect("Linux"));
        assert!(own["Sys"].as_u64() > Some(1 << 20), "{own}");
    }
}
