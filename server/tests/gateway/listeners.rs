//! Wherever HTTP is served, and nowhere when it is turned off.
use std::sync::Arc;

use bramble_server::config::{ClientTls, Config};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Member, ask, loopback, post};

const PUT: &str = r#"{"key":"Zm9v","value":"YmFy"}"#;
const GET: &str = r#"{"key":"Zm9v"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bramble.sock");
    let url = format!("unix://{}", path.display());
    let config = Config { listen_client: vec![url.parse().expect("a URL")], ..Config::default() };
    let member = Member::start(config).await;
    let connect = async || UnixStream::connect(&path).await.expect("connected");
    assert_eq!(post(connect().await, "/v3/kv/put", PUT).await.status, 200);
    let answer = post(connect().await, "/v3beta/kv/range", GET).await;
    assert_eq!(answer.json()["kvs"][0]["value"], "YmFy");
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_their_own_for_http() {
    let mut config = loopback();
    let spare = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    config.listen_client_http = vec![format!("http://{spare}").parse().expect("a URL")];
    let member = Member::start(config).await;
    let on_grpc = post(member.connect().await, "/v3/kv/range", GET).await;
    assert_eq!((on_grpc.status, on_grpc.body.as_str()), (404, "404 page not found\n"));
    let http = TcpStream::connect(spare).await.expect("connected");
    let answer = post(http, "/v3/kv/range", GET).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("grpc-metadata-content-type: application/grpc"), "{}", answer.head);
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_gateway_where_none_is_wanted() {
    let member = Member::start(Config { gateway: false, ..loopback() }).await;
    for path in ["/v3/kv/range", "/v3beta/kv/range", "/v3/watch", "/v3/"] {
        let answer = post(member.connect().await, path, GET).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_the_hosts_it_may_be_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let cert = rcgen::CertificateParams::new(names).expect("names").self_signed(&key).expect("signed");
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert_file, cert.pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    let config = Config {
        listen_client: ["https://127.0.0.1:0", "http://127.0.0.1:0"]
            .map(|url| url.parse().expect("a URL"))
            .into(),
        client_tls: Some(ClientTls { cert_file, key_file, ..ClientTls::default() }),
        host_whitelist: vec!["db.example".to_owned()],
        cors: vec!["http://a.example".to_owned()],
        ..Config::default()
    };
    let member = Member::start(config).await;
    let [secure, plain] = member.node.client_addrs()[..] else { panic!("two listeners") };

    // With TLS the certificate says who is asked; any name will do.
    let headers = "host: whatever.example\r\norigin: http://a.example";
    let answer = ask(tls(secure, &cert).await, "POST /v3/kv/put HTTP/1.1", headers, PUT.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("access-control-allow-origin: http://a.example"), "{}", answer.head);
    let stranger = "host: db.example:2379\r\norigin: http://b.example";
    let connect = async || TcpStream::connect(plain).await.expect("connected");
    let answer = ask(connect().await, "POST /v3/kv/range HTTP/1.1", stranger, GET.as_bytes()).await;
    assert_eq!(answer.json()["kvs"][0]["value"], "YmFy");
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
    for path in ["/v3/kv/range", "/health", "/nosuch"] {
        let answer = ask(connect().await, &format!("GET {path} HTTP/1.1"), "host: evil.example", b"").await;
        assert_eq!(answer.status, 421, "{path}");
        assert!(answer.body.contains("--host-whitelist \"evil.example\""), "{}", answer.body);
    }
    member.node.shutdown().await;
}

async fn tls(addr: std::net::SocketAddr, cert: &rcgen::Certificate) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(addr).await.expect("connected");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("shaken")
}
