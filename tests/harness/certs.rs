//! Certificates for one test: an authority, a server on loopback, a client. Made anew each time.
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};

/// The client whose certificate has no (common) name.
pub const NAMELESS: &str = "nameless";

/// Files in PEM, all in one directory.
#[derive(Clone, Debug)]
pub struct Certs {
    dir: PathBuf,
    /// The authority both sides trust.
    pub authority: PathBuf,
    /// The server's certificate, for 127.0.0.1 and localhost.
    pub server_cert: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// A client's certificate.
    pub client_cert: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

impl Certs {
    /// Makes them in `dir`.
    pub fn make(dir: &Path) -> Certs {
        Certs::make_for(dir, &[])
    }

    /// The same, with certificates of clients who have these (common) names.
    pub fn make_for(dir: &Path, names: &[&str]) -> Certs {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "bramble tests");
        let authority = write(dir, "ca.pem", &params.self_signed(&key).expect("an authority").pem());
        let issuer = Issuer::new(params, key);
        let (serves, asks) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
        // etcd's gateway asks etcd, with the server's certificate.
        let (server_cert, server_key) = leaf(dir, "server", vec![serves, asks.clone()], &issuer);
        let (client_cert, client_key) = leaf(dir, "client", vec![asks.clone()], &issuer);
        for name in names.iter().chain(&[NAMELESS]) {
            leaf(dir, name, vec![asks.clone()], &issuer);
        }
        let dir = dir.to_path_buf();
        Certs { dir, authority, server_cert, server_key, client_cert, client_key }
    }

    /// The certificate and the key of the client with this name.
    pub fn client(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}-key.pem")))
    }

    /// The flags that make a server speak TLS to clients that show a certificate.
    pub fn server_flags(&self) -> Vec<String> {
        vec![
            format!("--cert-file={}", self.server_cert.display()),
            format!("--key-file={}", self.server_key.display()),
            format!("--trusted-ca-file={}", self.authority.display()),
            "--client-cert-auth=true".to_string(),
        ]
    }
}

fn leaf(
    dir: &Path,
    name: &str,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    issuer: &Issuer<'_, KeyPair>,
) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let mut params = CertificateParams::new(names).expect("names of loopback");
    params.distinguished_name = DistinguishedName::new();
    if name != NAMELESS {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.extended_key_usages = purposes;
    let signed = params.signed_by(&key, issuer).expect("a certificate");
    let cert = write(dir, &format!("{name}.pem"), &signed.pem());
    let key = write(dir, &format!("{name}-key.pem"), &key.serialize_pem());
    (cert, key)
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file in the test's own directory");
    path
}
