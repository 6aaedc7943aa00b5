//! Sessions of curl (`gateway/*.script`) against the JSON gateways of etcd and of Bramble, each on a
//! fresh server of its own. Status, headers that matter and JSON must be equal once ids are taken out.
//!
//! ```text
//! flags --cors=http://a.example        the servers are started with this (first lines of a script)
//! tls                                  over TLS, with a certificate without a name
//! show root                            from here on with root's certificate
//! with Authorization: $TOKEN           a header of the next request only
//! POST /v3/kv/range {"key":"Zm9v"}     a request; both must answer alike
//! keep TOKEN token                     a field of the last answer, per server, for `$TOKEN`
//! words POST …                         alike but for the words of the error
//! keys POST …                          alike in the names of the fields; values are each server's own
//! some GET …                           Bramble's fields are some of etcd's
//! differs 400 {"code":3,…}             what Bramble answers to the next request, and etcd 3.5.30 does not;
//!                                      the comment above says why
//! open W POST /v3/watch {…}            begins a stream
//! read W 2                             two lines of it
//! send W {…}                           one more request on it (begun by `open W … +`)
//! close W                              hangs up
//! ```
use std::path::Path;

use bramble_tests::certs::Certs;
use bramble_tests::process::Setup;
use bramble_tests::tools;

use self::curl::Curl;
use self::session::{Session, Step};

mod curl;
mod session;

#[test]
fn curl_notices_no_difference() {
    let (Some(curl), Some(etcd)) = (Curl::find(), Setup::etcd()) else { return };
    let folder = tools::workspace().join("tests/clients/gateway");
    let mut scripts: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "script"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 5, "only {} scripts", scripts.len());
    let (mut requests, mut different) = (0, Vec::new());
    for script in &scripts {
        let (count, found) = run(script, &curl, &etcd);
        println!("{}: {count} requests, {} different", script.display(), found.len());
        requests += count;
        different.extend(found);
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert!(requests >= 80, "only {requests} requests");
}

/// Runs one script; how many requests it has, and what was different.
fn run(path: &Path, curl: &Curl, etcd: &Setup) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(path).expect("the script");
    let steps = session::steps(&text);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut certs = None;
    let mut start = |mut setup: Setup| {
        for step in &steps {
            match step {
                Step::Flags(flags) => setup = flags.split_whitespace().fold(setup, Setup::arg),
                Step::Tls => {
                    let certs = certs.get_or_insert_with(|| Certs::make_for(dir.path(), &["root"]));
                    setup = certs.server_flags().into_iter().fold(setup.https(), Setup::arg);
                }
                _ => {}
            }
        }
        Session::new(curl.clone(), setup.start(), certs.clone())
    };
    let mut theirs = start(etcd.clone());
    let mut ours = start(Setup::bramble());
    let (mut requests, mut different) = (0, Vec::new());
    for step in &steps {
        requests += usize::from(step.is_request());
        let (expected, found) = (theirs.run(step), ours.run(step));
        let complaint = match step.own_answer() {
            None if expected == found || (step.wants_some() && session::holds(&expected, &found)) => continue,
            None => "different",
            Some(own) if found == own && expected != own => continue,
            Some(own) if found == own => "the same, so `differs` is to go",
            Some(_) => "not what `differs` says",
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        different.push(format!("{name}: {step}: {complaint}\n--- etcd\n{expected}\n--- bramble\n{found}"));
    }
    (requests, different)
}
