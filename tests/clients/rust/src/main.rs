//! Drives the server at BRAMBLE_ENDPOINT with the crate `etcd-client`. Prints a line per part and, indented,
//! what it saw; all of it must be equal on every server.

mod keys;
mod services;

use std::fmt::Debug;
use std::future::Future;
use std::process::exit;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};

/// What a part ends with.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// How long anything may take.
pub const WAIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() {
    let client = connect(None).await.expect("the server was ready");
    part("keys and values", keys::keys_and_values(client.clone())).await;
    part("transactions", keys::transactions(client.clone())).await;
    part("leases", keys::leases(client.clone())).await;
    part("watches", keys::watches(client.clone())).await;
    part("namespace", keys::namespace(client.clone())).await;
    part("locks", services::locks(client.clone())).await;
    part("election", services::election(client.clone())).await;
    part("members", services::members(client.clone())).await;
    part("maintenance", services::maintenance(client.clone())).await;
    part("users and roles", services::auth(client.clone())).await;
}

async fn part(name: &str, work: impl Future<Output = Outcome>) {
    match tokio::time::timeout(WAIT, work).await {
        Ok(Ok(())) => println!("ok {name}"),
        Ok(Err(error)) => {
            println!("FAIL {name}: {error}");
            exit(1)
        }
        Err(_) => {
            println!("FAIL {name}: it does not end");
            exit(1)
        }
    }
}

/// Where the server is.
pub fn endpoint() -> String {
    std::env::var("BRAMBLE_ENDPOINT").expect("the test says where the server is")
}

/// A connection, as this user if one is named.
pub async fn connect(user: Option<(&str, &str)>) -> Result<Client, Error> {
    let options = user.map(|(name, password)| ConnectOptions::new().with_user(name, password));
    Client::connect([endpoint()], options).await
}

/// Prints what every server must answer alike.
pub fn saw(what: &str, seen: impl Debug) {
    println!("  {what}: {seen:?}");
}

/// The error of a call that must fail.
pub fn refused<T>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(_) => "allowed".to_string(),
        Err(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
        Err(other) => other.to_string(),
    }
}
