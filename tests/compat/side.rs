//! One side of the comparison: a server, its connection, its names for things, and the tokens it gave.
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_tests::certs::Certs;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;

use crate::call::{Asker, Call, Identity};
use crate::names::Names;
use crate::words::{self, Outcome, Refused, Reply};

/// See the module.
pub struct Side {
    server: Server,
    pub wire: Wire,
    pub names: Names,
    /// Tokens in the order they were given, the same on both sides.
    tokens: Vec<String>,
}

impl Side {
    /// Starts a server and connects to it.
    pub async fn start(setup: &Setup) -> Side {
        let setup = setup.clone();
        let server = tokio::task::spawn_blocking(move || setup.start()).await.expect("the server starts");
        let wire = Wire::connect(&server.url).await;
        Side::over(server, wire).await
    }

    /// Starts both.
    pub async fn start_both(setups: &[Setup; 2]) -> [Side; 2] {
        tokio::join!(Side::start(&setups[0]), Side::start(&setups[1])).into()
    }

    /// Starts a server that speaks TLS, and connects to it as this client.
    pub async fn start_with_certificate(setup: &Setup, certs: &Certs, client: &str) -> Side {
        let setup = setup.clone();
        let server = tokio::task::spawn_blocking(move || setup.start()).await.expect("the server starts");
        let wire = Wire::connect_as(&server.url, certs, client).await;
        Side::over(server, wire).await
    }

    /// Where the server is reached.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// Learns the names of a server.
    async fn over(server: Server, wire: Wire) -> Side {
        let status = wire.maintenance().status(pb::StatusRequest {}).await;
        let names = Names::of(status.expect("a ready server tells its status").get_ref());
        Side { server, wire, names, tokens: Vec::new() }
    }

    /// If the server has ended, the end of its log.
    pub fn obituary(&mut self) -> Option<String> {
        let status = self.server.wait_exit(Duration::ZERO)?;
        let log = self.server.log();
        let cries = log.lines().filter(|line| !line.starts_with('{')).take(12);
        let end = log.lines().rev().filter(|line| line.starts_with('{')).take(2);
        let lines: Vec<&str> = cries.chain(end).collect();
        Some(format!("{:?} has ended ({status}):\n{}\n", self.server.kind, lines.join("\n")))
    }

    /// A request as this side reads it, with what goes beside it.
    pub fn grpc<T>(&self, asker: &Asker, message: T) -> tonic::Request<T> {
        let mut grpc = tonic::Request::new(message);
        let token = match &asker.identity {
            Identity::Nobody => None,
            Identity::Garbage(text) => Some((*text).to_string()),
            Identity::Token(index) => Some(self.tokens[*index].clone()),
        };
        asker.add_metadata(grpc.metadata_mut(), token);
        grpc
    }

    /// Sends the request and masks what may differ between two healthy servers.
    pub async fn call(&mut self, call: &Call) -> Outcome {
        let request = self.names.translate(call.request.clone());
        let answer = words::send(&self.wire, self.grpc(&call.asker, request)).await;
        if let Ok(Reply::Authenticate(given)) = &answer {
            self.tokens.push(given.token.clone());
        }
        answer.map(|reply| self.names.mask(reply)).map_err(Refused::from)
    }
}
