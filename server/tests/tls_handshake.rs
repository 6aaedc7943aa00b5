//! TLS over real sockets: who gets in, with what, and what happens when the files change.
mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bramble_server::config::{ClientTls, Config, TlsVersion};
use bramble_server::http::Listeners;
use common::{Served, ask, listening, serve};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority that signs for this test.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate with its key.
struct Pair {
    cert: rcgen::Certificate,
    key: KeyPair,
}

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("signed");
        Ca { pem: cert.pem(), der: cert.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn sign(&self, serial: u64, purpose: ExtendedKeyUsagePurpose) -> Pair {
        self.sign_for(serial, purpose, None)
    }

    fn sign_for(&self, serial: u64, purpose: ExtendedKeyUsagePurpose, name: Option<&str>) -> Pair {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        Pair { cert: params.signed_by(&key, &self.issuer).expect("signed"), key }
    }

    fn server(&self) -> Pair {
        self.sign(1, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn revoke(&self, serial: u64) -> String {
        let day = |day| rcgen::date_time_ymd(2050, 1, day);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: day(1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("signed").pem().expect("PEM")
    }
}

/// Files as an operator keeps them.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        Files { dir: tempfile::tempdir().expect("a directory") }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn server(&self, pair: &Pair) -> ClientTls {
        ClientTls {
            cert_file: self.write("server.crt", &pair.cert.pem()),
            key_file: self.write("server.key", &pair.key.serialize_pem()),
            ..ClientTls::default()
        }
    }
}

fn config(tls: ClientTls) -> Config {
    Config { client_tls: Some(tls), ..listening("https://127.0.0.1:0") }
}

/// A client that trusts `ca` and shows `own`.
fn client(
    ca: &Ca,
    own: Option<&Pair>,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone()).expect("a CA");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.key.serialize_der()).expect("a key");
            builder.with_client_auth_cert(vec![pair.cert.der().clone()], key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

async fn connect(served: &Served, client: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(client)).connect(name, served.connect().await).await
}

/// Whether a request over such a connection is answered. Under TLS 1.3 a client learns only then
/// that its certificate was refused.
async fn gets_in(served: &Served, client: ClientConfig) -> bool {
    let Ok(stream) = connect(served, client).await else { return false };
    answered(stream).await
}

async fn answered(mut stream: TlsStream<TcpStream>) -> bool {
    use tokio::io::AsyncWriteExt;
    if stream.write_all(b"GET /hello HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.is_err() {
        return false;
    }
    common::read_all(&mut stream).await.ends_with(b"http says hello")
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn both_versions_with_and_without_alpn() {
    let (ca, files) = (Ca::new(), Files::new());
    let served = serve(&config(files.server(&ca.server())));
    for version in BOTH {
        let plain = connect(&served, client(&ca, None, &[], &[*version])).await.expect("a handshake");
        assert!(ask(plain, "/hello").await.ends_with("http says hello"));
        let h2 = connect(&served, client(&ca, None, &[b"h2", b"http/1.1"], &[*version]))
            .await
            .expect("a handshake");
        assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let h1 = connect(&served, client(&ca, None, &[b"http/1.1"], &[*version])).await.expect("a handshake");
        assert_eq!(h1.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    served.stop().await;
}

#[tokio::test]
async fn client_certificates() {
    let (ca, stranger, files) = (Ca::new(), Ca::new(), Files::new());
    let mut tls = files.server(&ca.server());
    tls.trusted_ca_file = Some(files.write("ca.crt", &ca.pem));
    tls.crl_file = Some(files.write("crl.pem", &ca.revoke(77)));
    tls.client_auth = true;
    let served = serve(&config(tls));
    let purpose = ExtendedKeyUsagePurpose::ClientAuth;
    let cases = [
        ("right", Some(ca.sign(2, purpose.clone())), true),
        ("none", None, false),
        ("of another CA", Some(stranger.sign(2, purpose.clone())), false),
        ("revoked", Some(ca.sign(77, purpose)), false),
        ("a server's", Some(ca.server()), false),
    ];
    for (what, own, expected) in cases {
        for version in BOTH {
            let got_in = gets_in(&served, client(&ca, own.as_ref(), &[], &[*version])).await;
            assert_eq!(got_in, expected, "certificate: {what}, {version:?}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn certificates_made_out_to_a_host_name() {
    let (ca, files) = (Ca::new(), Files::new());
    let own = ca.sign(2, ExtendedKeyUsagePurpose::ClientAuth);
    // The test's certificates are made out to localhost and 127.0.0.1.
    let cases = [
        (&["localhost"][..], true),
        (&["127.0.0.1"], true),
        (&["elsewhere.test", "localhost"], true),
        (&["elsewhere.test"], false),
        (&["10.0.0.1"], false),
    ];
    for (hostnames, expected) in cases {
        let mut tls = files.server(&ca.server());
        tls.trusted_ca_file = Some(files.write("ca.crt", &ca.pem));
        tls.client_auth = true;
        tls.allowed_hostnames = hostnames.iter().map(|name| (*name).to_owned()).collect();
        let served = serve(&config(tls));
        for version in BOTH {
            let got_in = gets_in(&served, client(&ca, Some(&own), &[], &[*version])).await;
            assert_eq!(got_in, expected, "{hostnames:?}, {version:?}");
        }
        served.stop().await;
    }
    let mut tls = files.server(&ca.server());
    tls.trusted_ca_file = Some(files.write("ca.crt", &ca.pem));
    tls.client_auth = true;
    tls.allowed_hostnames = vec!["no host name".to_owned()];
    let text = Listeners::bind(&config(tls)).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("--client-cert-allowed-hostname") && text.contains("no host name"), "{text}");
}

#[tokio::test]
async fn a_certificate_names_its_user_where_it_is_meant_to() {
    let (ca, files) = (Ca::new(), Files::new());
    let mut tls = files.server(&ca.server());
    tls.trusted_ca_file = Some(files.write("ca.crt", &ca.pem));
    tls.client_auth = true;
    let ann = ca.sign_for(2, ExtendedKeyUsagePurpose::ClientAuth, Some("ann"));
    let nameless = ca.sign_for(3, ExtendedKeyUsagePurpose::ClientAuth, None);
    for (names_users, own, who) in [(true, &ann, "ann"), (true, &nameless, "nobody"), (false, &ann, "nobody")]
    {
        tls.names_users = names_users;
        let served = serve(&config(tls.clone()));
        let stream = connect(&served, client(&ca, Some(own), &[], BOTH)).await.expect("a handshake");
        let answer = ask(stream, "/whoami").await;
        assert!(answer.ends_with(&format!("\r\n\r\n{who}")), "{names_users} {answer}");
        served.stop().await;
    }
}

#[tokio::test]
async fn versions_and_suites_can_be_narrowed() {
    let (ca, files) = (Ca::new(), Files::new());
    let mut tls = files.server(&ca.server());
    tls.version_min = TlsVersion::V1_3;
    let served = serve(&config(tls.clone()));
    assert!(!gets_in(&served, client(&ca, None, &[], &[&rustls::version::TLS12])).await);
    assert!(gets_in(&served, client(&ca, None, &[], &[&rustls::version::TLS13])).await);
    served.stop().await;
    (tls.version_min, tls.version_max) = (TlsVersion::V1_2, TlsVersion::V1_2);
    // One that Go names without its hash, one that rustls does not have.
    tls.cipher_suites =
        vec!["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305".into(), "TLS_RSA_WITH_AES_128_CBC_SHA".into()];
    let served = serve(&config(tls.clone()));
    let stream = connect(&served, client(&ca, None, &[], BOTH)).await.expect("a handshake");
    let suite = stream.get_ref().1.negotiated_cipher_suite().expect("a suite").suite();
    assert_eq!(format!("{suite:?}"), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    served.stop().await;
    tls.cipher_suites = vec!["nonsense".into()];
    assert!(Listeners::bind(&config(tls)).err().expect("refused").to_string().contains("nonsense"));
}

#[tokio::test]
async fn changed_files_serve_the_next_handshake() {
    let (ca, files) = (Ca::new(), Files::new());
    let served = serve(&config(files.server(&ca.server())));
    let subject = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone()
    };
    let old = connect(&served, client(&ca, None, &[], BOTH)).await.expect("a handshake");
    // A new certificate whose key is not there yet: the old pair stays in force.
    let renewed = ca.server();
    files.write("server.crt", &renewed.cert.pem());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let still = connect(&served, client(&ca, None, &[], BOTH)).await.expect("a handshake");
    assert_eq!(subject(&still), subject(&old));
    files.write("server.key", &renewed.key.serialize_pem());
    let deadline = SystemTime::now() + Duration::from_secs(10);
    loop {
        let stream = connect(&served, client(&ca, None, &[], BOTH)).await.expect("a handshake");
        if subject(&stream) == *renewed.cert.der() {
            break;
        }
        assert!(SystemTime::now() < deadline, "the renewed certificate is not served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(answered(old).await, "connections from before go on");
    served.stop().await;
}

#[tokio::test]
async fn plain_text_at_the_encrypted_port_is_closed() {
    let (ca, files) = (Ca::new(), Files::new());
    let served = serve(&config(files.server(&ca.server())));
    let answer = ask(served.connect().await, "/hello").await;
    assert!(!answer.contains("hello"), "{answer}");
    assert!(gets_in(&served, client(&ca, None, &[], BOTH)).await, "and others are served");
    served.stop().await;
}

#[test]
fn wrong_files_are_named() {
    let (ca, files) = (Ca::new(), Files::new());
    let good = files.server(&ca.server());
    let refused = |tls: ClientTls| Listeners::bind(&config(tls)).err().expect("refused").to_string();
    let other_key = files.write("other.key", &ca.server().key.serialize_pem());
    let text = refused(ClientTls { key_file: other_key.clone(), ..good.clone() });
    assert!(
        text.contains("does not belong") && names(&text, &other_key) && names(&text, &good.cert_file),
        "{text}"
    );
    let missing = PathBuf::from("/nonexistent/server.crt");
    assert!(names(&refused(ClientTls { cert_file: missing.clone(), ..good.clone() }), &missing));
    let junk = files.write("junk.pem", "junk");
    let broken = files.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (cert, key) in [(&junk, &good.key_file), (&good.cert_file, &junk), (&broken, &good.key_file)] {
        let wrong = if cert == &good.cert_file { key } else { cert };
        let text = refused(ClientTls { cert_file: cert.clone(), key_file: key.clone(), ..good.clone() });
        assert!(names(&text, wrong), "{text}");
    }
    for ca_file in [&junk, &broken, &missing] {
        let tls = ClientTls { trusted_ca_file: Some(ca_file.clone()), client_auth: true, ..good.clone() };
        assert!(names(&refused(tls), ca_file));
    }
}

fn names(text: &str, path: &Path) -> bool {
    text.contains(&path.display().to_string())
}
