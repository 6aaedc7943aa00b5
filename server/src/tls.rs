//! TLS for clients, by rustls with ring: one builder for every listener.
//!
//! The files are looked at again when a client connects, at most once a second: a changed
//! certificate, key, authority or revocation list serves the next handshake, without a restart.
//! Files that do not fit together leave the old ones in force and are complained of once.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use tracing::{info, warn};

use crate::auth::certificate::common_name;
use crate::config::{ClientTls, TlsVersion};

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the files cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {source}")]
    Unreadable {
        /** Which of the files. */
        what: &'static str,
        /** Its path. */
        path: PathBuf,
        /** What the system said. */
        source: std::io::Error,
    },
    /// A file holds nothing of the kind.
    #[error("{what} {path}: {why}")]
    Malformed {
        /** Which of the files. */
        what: &'static str,
        /** Its path. */
        path: PathBuf,
        /** What is wrong. */
        why: String,
    },
    /// Certificate and key are not a pair.
    #[error("the key {key} does not belong to the certificate {cert}; give the pair that was made together")]
    Mismatch {
        /** The certificate's file. */
        cert: PathBuf,
        /** The key's file. */
        key: PathBuf,
    },
    /// No allowed cipher suite is left.
    #[error("--cipher-suites: {0}")]
    Suites(String),
    /// A host name that is none.
    #[error("--client-cert-allowed-hostname: {0:?} is neither a host name nor an address")]
    Hostname(String),
}

/// The common name of the client certificate of the connection that a request came over, where the
/// settings let it name a user. In the request's extensions.
#[derive(Clone, Debug)]
pub struct PeerName(pub Arc<str>);

/// The server's side of TLS, kept up to date with its files.
pub struct Identity {
    files: ClientTls,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
}

/// What changes when a file changes: time, length, inode.
type Stamp = (SystemTime, u64, u64);

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file is wrong and how.
    pub fn open(files: &ClientTls) -> Result<Identity, TlsError> {
        let stamps = stamps(files);
        let current = Current { config: Arc::new(load(files)?), stamps, looked: Instant::now() };
        Ok(Identity { files: files.clone(), current: Mutex::new(current) })
    }

    /// The configuration for the next handshake, read anew if a file has changed.
    pub fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            self.look(&mut current);
        }
        current.config.clone()
    }

    /// Whom a client's verified certificate names, where the settings let it name a user.
    pub fn peer_name(&self, connection: &rustls::ServerConnection) -> Option<PeerName> {
        if !self.files.names_users {
            return None;
        }
        let leaf = connection.peer_certificates()?.first()?;
        common_name(leaf).map(|name| PeerName(name.into()))
    }

    fn look(&self, current: &mut Current) {
        let stamps = stamps(&self.files);
        if stamps == current.stamps {
            return;
        }
        current.stamps = stamps;
        match load(&self.files) {
            Ok(config) => {
                current.config = Arc::new(config);
                info!("certificate files have changed; new connections get the new ones");
            }
            Err(error) => {
                warn!(%error, "certificate files have changed and are not usable; the old ones stay in force")
            }
        }
    }
}

fn stamps(files: &ClientTls) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt;
    let optional = [&files.trusted_ca_file, &files.crl_file].into_iter().flatten();
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    [&files.cert_file, &files.key_file].into_iter().chain(optional).map(stamp).collect()
}

fn load(files: &ClientTls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider(&files.cipher_suites)?);
    let versions: Vec<&'static SupportedProtocolVersion> =
        [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)]
            .into_iter()
            .filter(|(version, _)| (files.version_min..=files.version_max).contains(version))
            .map(|(_, version)| version)
            .collect();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| TlsError::Suites(error.to_string()))?;
    let builder = match (&files.trusted_ca_file, files.client_auth) {
        (Some(ca), true) => builder.with_client_cert_verifier(verifier(files, ca, provider)?),
        _ => builder.with_no_client_auth(),
    };
    let (chain, key) = (certificates("the certificate", &files.cert_file)?, private_key(&files.key_file)?);
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { cert: files.cert_file.clone(), key: files.key_file.clone() }
        }
        error => malformed("the certificate", &files.cert_file, error),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// ring's suites; `allowed` chooses among those of TLS 1.2, as in Go those of 1.3 always stay.
fn provider(allowed: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    if allowed.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    let wanted: Vec<String> = allowed.iter().map(|wanted| iana_name(wanted)).collect();
    for suite in wanted.iter().filter(|suite| !known.contains(suite)) {
        if !suite.starts_with("TLS_") {
            return Err(TlsError::Suites(format!(
                "unexpected TLS cipher suite {suite:?}; known: {}",
                known.join(", ")
            )));
        }
        warn!("--cipher-suites: {suite} is not spoken here and skipped");
    }
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted.contains(&name(suite)));
    Ok(provider)
}

/// Go has two short names for ChaCha suites; rustls marks those of TLS 1.3 by `TLS13_`.
fn iana_name(name: &str) -> String {
    match name {
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
            format!("{name}_SHA256")
        }
        "TLS_AES_128_GCM_SHA256" | "TLS_AES_256_GCM_SHA384" | "TLS_CHACHA20_POLY1305_SHA256" => {
            name.replacen("TLS_", "TLS13_", 1)
        }
        _ => name.to_owned(),
    }
}

fn verifier(
    files: &ClientTls,
    ca: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    const WHAT: &str = "the trusted CA";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(WHAT, ca)? {
        roots.add(certificate).map_err(|error| malformed(WHAT, ca, error))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(path) = &files.crl_file {
        // As in etcd the client's own certificate is looked up, and one that no list speaks of is fine.
        builder = builder
            .with_crls([revocations(path)?])
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
    }
    let signed = builder.build().map_err(|error| malformed(WHAT, ca, error))?;
    if files.allowed_hostnames.is_empty() {
        return Ok(signed);
    }
    let parse =
        |name: &String| ServerName::try_from(name.clone()).map_err(|_| TlsError::Hostname(name.clone()));
    let hostnames = files.allowed_hostnames.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(Arc::new(MadeOutTo { signed, hostnames }))
}

/// Certificates that are well signed, and made out to one of some host names.
#[derive(Debug)]
struct MadeOutTo {
    signed: Arc<dyn ClientCertVerifier>,
    hostnames: Vec<ServerName<'static>>,
}

impl ClientCertVerifier for MadeOutTo {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.signed.verify_client_cert(end_entity, intermediates, now)?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        match self.hostnames.iter().any(|name| verify_server_name(&certificate, name).is_ok()) {
            true => Ok(verified),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(what, path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(what, path, error))?;
    if chain.is_empty() {
        return Err(malformed(what, path, "there is no certificate in it (PEM is expected)"));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "the key";
    let bytes = read(WHAT, path)?;
    let why = "there is no private key in it (unencrypted PEM is expected)";
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => malformed(WHAT, path, why),
        error => malformed(WHAT, path, error),
    })
}

fn revocations(path: &Path) -> Result<CertificateRevocationListDer<'static>, TlsError> {
    let bytes = read("the revocation list", path)?;
    Ok(match CertificateRevocationListDer::from_pem_slice(&bytes) {
        Ok(list) => list,
        Err(_) => bytes.into(),
    })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { what, path: path.to_owned(), source })
}

fn malformed(what: &'static str, path: &Path, why: impl ToString) -> TlsError {
    TlsError::Malformed { what, path: path.to_owned(), why: why.to_string() }
}
