//! The keys of signed tokens, from PEM files in all the forms that OpenSSL writes.
//!
//! ```text
//! private  PKCS#8 (PRIVATE KEY), PKCS#1 (RSA PRIVATE KEY), SEC1 (EC PRIVATE KEY)
//! public   PUBLIC KEY, or a CERTIFICATE; without one it is taken from the private key
//! HMAC     the bytes of the file
//! ```
use std::path::{Path, PathBuf};

use jsonwebtoken::{DecodingKey, EncodingKey};
use ring::rsa::PublicKeyComponents;
use ring::signature::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::jwt_ring::pairs;
use crate::config::{JwtSettings, SignMethod};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why the keys cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A file cannot be read.
    #[error("--auth-token: cannot read {what} {path}: {source}")]
    Unreadable {
        /** Which of the files. */
        what: &'static str,
        /** Its path. */
        path: PathBuf,
        /** What the system said. */
        source: std::io::Error,
    },
    /// A file holds no key that the method can use.
    #[error("--auth-token: {what} {path}: {why}")]
    Malformed {
        /** Which of the files. */
        what: &'static str,
        /** Its path. */
        path: PathBuf,
        /** What is wrong. */
        why: String,
    },
    /// The two keys do not belong together.
    #[error(
        "--auth-token: the keys {public} and {private} are no pair; give the two that were made together"
    )]
    NoPair {
        /** The public key's file. */
        public: PathBuf,
        /** The private key's file. */
        private: PathBuf,
    },
}

const PRIVATE: &str = "the private key";
const PUBLIC: &str = "the public key";

/// Reads the keys: the one that signs, if there is one, and the one that checks.
///
/// # Errors
/// Which file is wrong and how.
pub fn read(settings: &JwtSettings) -> Result<(Option<EncodingKey>, DecodingKey), KeyError> {
    let private = settings.private_key_file.as_deref();
    if let (true, Some(path)) = (settings.method.is_hmac(), private) {
        let secret = bytes(PRIVATE, path)?;
        if secret.is_empty() {
            return Err(malformed(PRIVATE, path, "it is empty"));
        }
        return Ok((Some(EncodingKey::from_secret(&secret)), DecodingKey::from_secret(&secret)));
    }
    let signing = private.map(|path| signing_key(settings.method, path)).transpose()?;
    let public = settings.public_key_file.as_deref();
    let public = public.map(|path| checking_key(settings.method, path)).transpose()?;
    match (signing, public) {
        (Some((signs, _)), Some(verifies)) => Ok((Some(signs), verifies)),
        (Some((signs, verifies)), None) => Ok((Some(signs), verifies)),
        (None, Some(verifies)) => Ok((None, verifies)),
        (None, None) => Err(malformed(PUBLIC, Path::new(""), "neither key is given")),
    }
}

/// The error of a private key that cannot sign.
pub fn unusable(settings: &JwtSettings) -> KeyError {
    let path = settings.private_key_file.clone().unwrap_or_default();
    malformed(PRIVATE, &path, "nothing can be signed with it")
}

/// The error of keys that do not belong together.
pub fn no_pair(settings: &JwtSettings) -> KeyError {
    KeyError::NoPair {
        public: settings.public_key_file.clone().unwrap_or_default(),
        private: settings.private_key_file.clone().unwrap_or_default(),
    }
}

/// The key that signs, and its public half.
fn signing_key(method: SignMethod, path: &Path) -> Result<(EncodingKey, DecodingKey), KeyError> {
    let file = bytes(PRIVATE, path)?;
    let no_key = |_| malformed(PRIVATE, path, "there is no private key in it (unencrypted PEM is expected)");
    let key = PrivateKeyDer::from_pem_slice(&file).map_err(no_key)?;
    let der = key.secret_der();
    let pair = match method {
        SignMethod::EdDSA => pairs::ed(der).map(|pair| {
            let public = pair.public_key().as_ref().to_vec();
            (EncodingKey::from_ed_der(der), DecodingKey::from_ed_der(&public))
        }),
        SignMethod::ES256 | SignMethod::ES384 => pairs::ec(curve(method), der).map(|pair| {
            let public = pair.public_key().as_ref().to_vec();
            (EncodingKey::from_ec_der(der), DecodingKey::from_ec_der(&public))
        }),
        _ => pairs::rsa(der).map(|pair| {
            let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
            (EncodingKey::from_rsa_der(der), DecodingKey::from_rsa_raw_components(&n, &e))
        }),
    };
    pair.ok_or_else(|| unfit(PRIVATE, method, path))
}

/// The key that checks.
fn checking_key(method: SignMethod, path: &Path) -> Result<DecodingKey, KeyError> {
    let file = bytes(PUBLIC, path)?;
    let info = public_key_info(&file)
        .ok_or_else(|| malformed(PUBLIC, path, "there is no public key in it (PEM is expected)"))?;
    let fits = |info: SubjectPublicKeyInfoRef<'_>| {
        let bits = info.subject_public_key.as_bytes()?;
        let algorithm = info.algorithm;
        match method {
            SignMethod::EdDSA if algorithm.oid == ED25519 => Some(DecodingKey::from_ed_der(bits)),
            SignMethod::ES256 | SignMethod::ES384 if algorithm.oid == EC => {
                let named = algorithm.parameters_oid().ok()?;
                (named == curve(method).oid).then(|| DecodingKey::from_ec_der(bits))
            }
            _ if algorithm.oid == RSA => Some(DecodingKey::from_rsa_der(bits)),
            _ => None,
        }
    };
    let key = SubjectPublicKeyInfoRef::from_der(&info).ok().and_then(fits);
    key.ok_or_else(|| unfit(PUBLIC, method, path))
}

/// The DER of a public key, which may come in a certificate.
fn public_key_info(pem: &[u8]) -> Option<Vec<u8>> {
    if let Ok(info) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        return Some(info.as_ref().to_vec());
    }
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    let certificate = Certificate::from_der(&certificate).ok()?;
    certificate.tbs_certificate.subject_public_key_info.to_der().ok()
}

fn curve(method: SignMethod) -> &'static pairs::Curve {
    if method == SignMethod::ES384 { &pairs::P384 } else { &pairs::P256 }
}

fn unfit(what: &'static str, method: SignMethod, path: &Path) -> KeyError {
    let needs = match method {
        SignMethod::ES256 => "a key on the curve P-256",
        SignMethod::ES384 => "a key on the curve P-384",
        SignMethod::EdDSA => "an Ed25519 key",
        _ => "an RSA key of 2048 to 4096 bits",
    };
    malformed(what, path, &format!("sign-method={method:?} needs {needs}"))
}

fn bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::Unreadable { what, path: path.to_owned(), source })
}

fn malformed(what: &'static str, path: &Path, why: &str) -> KeyError {
    KeyError::Malformed { what, path: path.to_owned(), why: why.to_owned() }
}
