//! Users known by their certificates, over real TLS.
use std::net::SocketAddr;
use std::path::PathBuf;

use super::*;
use bramble_server::config::ClientTls;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::body::Body;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
    dir: tempfile::TempDir,
}

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("signed");
        let dir = tempfile::tempdir().expect("a directory");
        Ca { pem: cert.pem(), der: cert.der().clone(), issuer: Issuer::new(params, key), dir }
    }

    fn sign(&self, name: Option<&str>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("signed"), key)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn server(&self, names_users: bool) -> ClientTls {
        // A server's certificate with a user's name: the gateway must not become that user.
        let (cert, key) = self.sign(Some("root"));
        ClientTls {
            cert_file: self.write("server.crt", &cert.pem()),
            key_file: self.write("server.key", &key.serialize_pem()),
            trusted_ca_file: Some(self.write("ca.crt", &self.pem)),
            client_auth: true,
            names_users,
            ..ClientTls::default()
        }
    }

    fn client(&self, name: Option<&str>) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).expect("a CA");
        let (cert, key) = self.sign(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_root_certificates(roots);
        let mut config = builder.with_client_auth_cert(vec![cert.der().clone()], key).expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// The KV service over a connection with this certificate.
async fn kv(
    addr: SocketAddr,
    client: rustls::ClientConfig,
) -> KvClient<
    impl tonic::client::GrpcService<
        Body,
        Error = hyper::Error,
        Future = impl Send,
        ResponseBody = hyper::body::Incoming,
    >,
> {
    let tcp = TcpStream::connect(addr).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, tcp).await.expect("TLS");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("HTTP/2");
    tokio::spawn(connection);
    KvClient::with_origin(
        tower::service_fn(move |request: http::Request<Body>| sender.clone().send_request(request)),
        http::Uri::from_static("https://localhost"),
    )
}

async fn world(ca: &Ca, names_users: bool) -> World {
    let machine = Machine::new();
    let config = Config {
        auth: AuthSettings { bcrypt_cost: 4, ..AuthSettings::default() },
        client_tls: Some(ca.server(names_users)),
        listen_client: vec!["https://127.0.0.1:0".parse().expect("a URL")],
        ..Config::default()
    };
    let builder = Node::builder().config(config).data_dir(Path::new("/data"));
    let world = World::of(builder.storage(Arc::new(machine.disk), machine.engine)).await;
    world.populate().await;
    world
}

#[tokio::test]
async fn the_common_name_is_the_user_unless_there_is_a_token() {
    let ca = Ca::new();
    let world = world(&ca, true).await;
    let addr = world.node.client_addrs()[0];
    let root = world.log_in("root").await;
    let get = |key: &str| pb::RangeRequest { key: bytes(key), ..Default::default() };
    let cases = [
        (Some("exact"), Ok(()), Err(denied())),
        (Some("root"), Ok(()), Ok(())),
        (Some("stranger"), Err(denied()), Err(denied())),
        (Some("nosuch"), Err(denied()), Err(denied())),
        (None, Err(nobody()), Err(nobody())),
    ];
    for (name, may_a, may_x) in cases {
        let mut kv = kv(addr, ca.client(name)).await;
        assert_eq!(outcome(kv.range(get("a")).await).map(drop), may_a, "{name:?}");
        assert_eq!(outcome(kv.range(get("x")).await).map(drop), may_x, "{name:?}");
        let token = with(Some(&root), get("x"));
        assert_eq!(outcome(kv.range(token).await).map(drop), Ok(()), "{name:?} with a token");
        let token = with(Some("abcdefghijklmnop.1"), get("a"));
        assert_eq!(outcome(kv.range(token).await).map(drop), Err(bad_token()), "{name:?} with a bad token");
        let mut gateway = Request::new(get("a"));
        gateway.metadata_mut().insert("grpcgateway-accept", "*/*".parse().expect("ASCII"));
        assert_eq!(outcome(kv.range(gateway).await).map(drop), Err(nobody()), "{name:?} by the gateway");
    }
    world.stop().await;
}

/// One request over HTTP/1.1 for the key `a`: status, head in lower case, and body.
async fn http(
    addr: SocketAddr,
    mut client: rustls::ClientConfig,
    line: &str,
    headers: &str,
) -> (u16, String, String) {
    let tcp = TcpStream::connect(addr).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut tls = connector.connect(name, tcp).await.expect("TLS");
    let body = r#"{"key":"YQ=="}"#;
    let rest =
        format!("host: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    tls.write_all(format!("{line} HTTP/1.1\r\n{headers}{rest}").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // TLS may end without a farewell.
    let _ = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut answer)).await.expect("in time");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head[9..12].parse().expect("a status"), head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn the_gateway_refuses_who_shows_it_a_name_while_auth_is_on() {
    let ca = Ca::new();
    let world = world(&ca, true).await;
    let addr = world.node.client_addrs()[0];
    let token = format!("authorization: {}\r\n", world.log_in("root").await);
    let ignored =
        "CommonName of client sending a request against gateway will be ignored and not used as expected\n";
    for line in ["POST /v3/kv/range", "POST /v3beta/kv/range", "GET /v3/nosuch", "OPTIONS /v3/kv/range"] {
        for headers in ["", &token] {
            let (status, head, body) = http(addr, ca.client(Some("root")), line, headers).await;
            assert_eq!((status, body.as_str()), (400, ignored), "{line}");
            assert!(head.contains("content-type: text/plain") && !head.contains("access-control"), "{head}");
        }
    }
    let (status, _, body) = http(addr, ca.client(Some("root")), "GET /version", "").await;
    assert_eq!(status, 200, "what is not the gateway's: {body}");
    let (status, _, body) = http(addr, ca.client(None), "POST /v3/kv/range", &token).await;
    assert_eq!(status, 200, "a token without a name: {body}");
    let (status, _, body) = http(addr, ca.client(None), "POST /v3/kv/range", "").await;
    assert!(status == 400 && body.contains("etcdserver: user name is empty"), "{status} {body}");

    let root = world.log_in("root").await;
    outcome(world.auth().auth_disable(with(Some(&root), pb::AuthDisableRequest {})).await).expect("off");
    let (status, _, body) = http(addr, ca.client(Some("root")), "POST /v3/kv/range", "").await;
    assert_eq!(status, 200, "without auth a name means nothing: {body}");
    world.stop().await;
}

#[tokio::test]
async fn a_certificate_names_nobody_unless_it_is_meant_to() {
    let ca = Ca::new();
    let world = world(&ca, false).await;
    let mut kv = kv(world.node.client_addrs()[0], ca.client(Some("root"))).await;
    let get = pb::RangeRequest { key: bytes("a"), ..Default::default() };
    assert_eq!(outcome(kv.range(get).await).map(drop), Err(nobody()));
    world.stop().await;
}
