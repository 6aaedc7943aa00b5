//! ring as the cryptography of `jsonwebtoken`: the binary has it for TLS, and it checks an RSA
//! signature ten times faster than the pure Rust crates, on every call with a token.
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self as sig, RsaEncoding, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use signature::{Signer, Verifier};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        fits(*algorithm, key.family())?;
        Ok(Box::new(Signing { algorithm: *algorithm, key: key.clone() }))
    },
    verifier_factory: |algorithm, key| {
        fits(*algorithm, key.family())?;
        Ok(Box::new(Checking { algorithm: *algorithm, key: key.clone() }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the process's choice. A host that has made another one keeps it: any will do.
pub fn install() {
    let _ = RING.install_default();
}

fn fits(algorithm: Algorithm, family: AlgorithmFamily) -> Result<(), Error> {
    match family.algorithms().contains(&algorithm) {
        true => Ok(()),
        false => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// The key pairs in a private key's DER, PKCS#8 or the older form of its kind.
pub mod pairs {
    use ring::rand::SystemRandom;
    use ring::rsa;
    use ring::signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair};
    use sec1::EcPrivateKey;
    use x509_cert::der::Decode;
    use x509_cert::der::oid::ObjectIdentifier;

    /// A curve, and ring's names for signing on it.
    pub struct Curve {
        pub oid: ObjectIdentifier,
        pub signs: &'static sig::EcdsaSigningAlgorithm,
        pub verifies: &'static sig::EcdsaVerificationAlgorithm,
    }

    pub static P256: Curve = Curve {
        oid: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        signs: &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
        verifies: &sig::ECDSA_P256_SHA256_FIXED,
    };
    pub static P384: Curve = Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        signs: &sig::ECDSA_P384_SHA384_FIXED_SIGNING,
        verifies: &sig::ECDSA_P384_SHA384_FIXED,
    };

    pub fn rsa(der: &[u8]) -> Option<rsa::KeyPair> {
        rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der)).ok()
    }

    pub fn ec(curve: &Curve, der: &[u8]) -> Option<EcdsaKeyPair> {
        let rng = SystemRandom::new();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve.signs, der, &rng) {
            return Some(pair);
        }
        let key = EcPrivateKey::from_der(der).ok()?;
        let (private, public) = (key.private_key, key.public_key?);
        EcdsaKeyPair::from_private_key_and_public_key(curve.signs, private, public, &rng).ok()
    }

    pub fn ed(der: &[u8]) -> Option<Ed25519KeyPair> {
        // OpenSSL leaves the public half out; there is nothing to check then.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()
    }
}

struct Signing {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let key = self.key.as_bytes();
        let signed = match self.algorithm {
            Algorithm::HS256 => hmac_of(hmac::HMAC_SHA256, key, message),
            Algorithm::HS384 => hmac_of(hmac::HMAC_SHA384, key, message),
            Algorithm::HS512 => hmac_of(hmac::HMAC_SHA512, key, message),
            Algorithm::RS256 => rsa_signature(&sig::RSA_PKCS1_SHA256, key, message),
            Algorithm::RS384 => rsa_signature(&sig::RSA_PKCS1_SHA384, key, message),
            Algorithm::RS512 => rsa_signature(&sig::RSA_PKCS1_SHA512, key, message),
            Algorithm::PS256 => rsa_signature(&sig::RSA_PSS_SHA256, key, message),
            Algorithm::PS384 => rsa_signature(&sig::RSA_PSS_SHA384, key, message),
            Algorithm::PS512 => rsa_signature(&sig::RSA_PSS_SHA512, key, message),
            Algorithm::ES256 => ec_signature(&pairs::P256, key, message),
            Algorithm::ES384 => ec_signature(&pairs::P384, key, message),
            Algorithm::EdDSA => pairs::ed(key).map(|pair| pair.sign(message).as_ref().to_vec()),
            _ => None,
        };
        signed.ok_or_else(signature::Error::new)
    }
}

fn hmac_of(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    Some(hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec())
}

fn rsa_signature(encoding: &'static dyn RsaEncoding, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let pair = pairs::rsa(key)?;
    let mut signed = vec![0; pair.public().modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signed).ok()?;
    Some(signed)
}

fn ec_signature(curve: &pairs::Curve, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let signed = pairs::ec(curve, key)?.sign(&SystemRandom::new(), message).ok()?;
    Some(signed.as_ref().to_vec())
}

struct Checking {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Checking {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Checking {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        let rsa = |parameters| rsa_holds(parameters, &self.key, message, signed);
        let hmac_holds = |algorithm| {
            let secret = self.key.try_get_as_bytes();
            secret
                .is_ok_and(|secret| hmac::verify(&hmac::Key::new(algorithm, secret), message, signed).is_ok())
        };
        let holds = match self.algorithm {
            Algorithm::HS256 => hmac_holds(hmac::HMAC_SHA256),
            Algorithm::HS384 => hmac_holds(hmac::HMAC_SHA384),
            Algorithm::HS512 => hmac_holds(hmac::HMAC_SHA512),
            Algorithm::RS256 => rsa(&sig::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&sig::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&sig::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => rsa(&sig::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => rsa(&sig::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => rsa(&sig::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => self.holds(pairs::P256.verifies, message, signed),
            Algorithm::ES384 => self.holds(pairs::P384.verifies, message, signed),
            Algorithm::EdDSA => self.holds(&sig::ED25519, message, signed),
            _ => false,
        };
        if holds { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl Checking {
    fn holds(
        &self,
        algorithm: &'static dyn sig::VerificationAlgorithm,
        message: &[u8],
        signed: &[u8],
    ) -> bool {
        let key = self.key.try_get_as_bytes();
        key.is_ok_and(|key| UnparsedPublicKey::new(algorithm, key).verify(message, signed).is_ok())
    }
}

fn rsa_holds(parameters: &'static RsaParameters, key: &DecodingKey, message: &[u8], signed: &[u8]) -> bool {
    match key.kind() {
        DecodingKeyKind::SecretOrDer(der) => {
            UnparsedPublicKey::new(parameters, der).verify(message, signed).is_ok()
        }
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signed).is_ok()
        }
    }
}
