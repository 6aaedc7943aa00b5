//! Who may do what on a running node: over the services, as clients of the wire see it, and through
//! the in-process client.
mod certificates;
mod in_process;
mod matrix;
mod permissions;
mod races;
mod signed;
mod tokens;
mod users;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bramble_proto::authpb;
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::auth_client::AuthClient;
use bramble_proto::etcdserverpb::kv_client::KvClient;
use bramble_server::config::{AuthSettings, Config, TokenKind};
use bramble_server::node::client::{Caller, Client};
use bramble_server::node::{Builder, Node};
use bramble_server::rpc::{RpcLimits, routes};
use bramble_store::disk::sim::SimDisk;
use bramble_store::engine::mem::Mem;
use bramble_store::seams::Clock;
use bytes::Bytes;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A code and its text.
type Refused = (Code, String);

fn refusal(code: Code, text: &str) -> Refused {
    (code, text.to_owned())
}

fn nobody() -> Refused {
    refusal(Code::InvalidArgument, "etcdserver: user name is empty")
}

fn bad_token() -> Refused {
    refusal(Code::Unauthenticated, "etcdserver: invalid auth token")
}

fn denied() -> Refused {
    refusal(Code::PermissionDenied, "etcdserver: permission denied")
}

fn old() -> Refused {
    refusal(Code::InvalidArgument, "etcdserver: revision of auth store is old")
}

/// What was answered, without its body.
fn outcome<T>(answer: Result<Response<T>, Status>) -> Result<T, Refused> {
    match answer {
        Ok(response) => Ok(response.into_inner()),
        Err(status) => Err((status.code(), status.message().to_owned())),
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A request with this token, if there is one.
fn with<T>(token: Option<&str>, body: T) -> Request<T> {
    let mut request = Request::new(body);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().expect("ASCII"));
    }
    request
}

/// A clock that a test turns.
#[derive(Default)]
struct Hand(Mutex<Duration>);

impl Hand {
    fn turn(&self, by: Duration) {
        *self.0.lock().expect("not poisoned") += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        *self.0.lock().expect("not poisoned")
    }
}

/// What stays when a node stops.
#[derive(Clone)]
struct Machine {
    disk: SimDisk,
    engine: Mem,
}

impl Machine {
    fn new() -> Machine {
        Machine { disk: SimDisk::new(1), engine: Mem::new() }
    }

    fn builder(&self, tokens: TokenKind) -> Builder {
        // The cheapest hashes: what they cost is another test's matter.
        let auth = AuthSettings { tokens, bcrypt_cost: 4 };
        let config = Config { auth, ..Config::default() };
        let builder = Node::builder().config(config).data_dir(Path::new("/data")).in_process_only();
        builder.storage(Arc::new(self.disk.clone()), self.engine.clone())
    }

    async fn start(&self, tokens: TokenKind) -> World {
        World::of(self.builder(tokens)).await
    }
}

fn simple() -> TokenKind {
    TokenKind::Simple { ttl: Duration::from_secs(300) }
}

/// A node and its services.
struct World {
    node: Node,
    routes: Routes,
}

impl World {
    async fn start() -> World {
        Machine::new().start(simple()).await
    }

    /// With users and auth on; see [`World::populate`].
    async fn populated() -> World {
        let world = World::start().await;
        world.populate().await;
        world
    }

    async fn of(builder: Builder) -> World {
        let node = builder.build().await.expect("the node starts");
        node.ready(PATIENCE).await.expect("the node gets ready");
        let routes = routes(node.client(), RpcLimits::default());
        World { node, routes }
    }

    async fn stop(self) {
        self.node.shutdown().await;
    }

    fn client(&self) -> Client {
        self.node.client()
    }

    fn auth(&self) -> AuthClient<Routes> {
        AuthClient::new(self.routes.clone())
    }

    fn kv(&self) -> KvClient<Routes> {
        KvClient::new(self.routes.clone())
    }

    /// `root`, who may everything; `exact`, with role `ranger`: read [a, c), write [b, d); `stranger`,
    /// without any role. The password of each is `pw-` and its name. Then auth is on.
    async fn populate(&self) {
        for user in ["root", "exact", "stranger"] {
            self.add_user(None, user, &format!("pw-{user}")).await.expect("added");
        }
        self.add_role(None, "ranger").await.expect("added");
        self.grant(None, "ranger", 0, "a", "c").await.expect("granted");
        self.grant(None, "ranger", 1, "b", "d").await.expect("granted");
        self.give(None, "exact", "ranger").await.expect("given");
        self.give(None, "root", "root").await.expect("given");
        outcome(self.auth().auth_enable(pb::AuthEnableRequest {}).await).expect("enabled");
    }

    async fn log_in(&self, user: &str) -> String {
        self.authenticate(user, &format!("pw-{user}")).await.expect("logged in")
    }

    async fn authenticate(&self, name: &str, password: &str) -> Result<String, Refused> {
        let request = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        outcome(self.auth().authenticate(request).await).map(|answer| answer.token)
    }

    async fn add_user(&self, token: Option<&str>, name: &str, password: &str) -> Result<(), Refused> {
        let (name, password) = (name.to_owned(), password.to_owned());
        let request = pb::AuthUserAddRequest { name, password, ..Default::default() };
        outcome(self.auth().user_add(with(token, request)).await).map(drop)
    }

    async fn add_role(&self, token: Option<&str>, name: &str) -> Result<(), Refused> {
        let request = pb::AuthRoleAddRequest { name: name.to_owned() };
        outcome(self.auth().role_add(with(token, request)).await).map(drop)
    }

    /// `kind` is the wire's number: 0 read, 1 write, 2 both.
    async fn grant(
        &self,
        token: Option<&str>,
        role: &str,
        kind: i32,
        key: &str,
        end: &str,
    ) -> Result<(), Refused> {
        let permission = authpb::Permission { perm_type: kind, key: bytes(key), range_end: bytes(end) };
        let request = pb::AuthRoleGrantPermissionRequest { name: role.to_owned(), perm: Some(permission) };
        outcome(self.auth().role_grant_permission(with(token, request)).await).map(drop)
    }

    async fn revoke(&self, token: Option<&str>, role: &str, key: &str, end: &str) -> Result<(), Refused> {
        let (role, key, range_end) = (role.to_owned(), bytes(key), bytes(end));
        let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
        outcome(self.auth().role_revoke_permission(with(token, request)).await).map(drop)
    }

    async fn give(&self, token: Option<&str>, user: &str, role: &str) -> Result<(), Refused> {
        let request = pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
        outcome(self.auth().user_grant_role(with(token, request)).await).map(drop)
    }

    async fn put(&self, token: Option<&str>, key: &str) -> Result<(), Refused> {
        let request = pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() };
        outcome(self.kv().put(with(token, request)).await).map(drop)
    }

    async fn get(&self, token: Option<&str>, key: &str) -> Result<usize, Refused> {
        let request = pb::RangeRequest { key: bytes(key), ..Default::default() };
        outcome(self.kv().range(with(token, request)).await).map(|answer| answer.kvs.len())
    }

    async fn auth_revision(&self) -> u64 {
        let caller = Caller::user("root");
        self.client().auth_status(&caller).await.expect("the status").body.revision
    }
}
