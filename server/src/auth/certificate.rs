//! The name in a client certificate.
use x509_cert::Certificate;
use x509_cert::der::asn1::{BmpString, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Any, Decode, Tag, Tagged};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The common name of a certificate's subject; of several the last one, as in Go. `None` when there
/// is none, or it is no text, or the certificate cannot be read.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let mut attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|names| names.0.iter());
    let last = attributes.rfind(|attribute| attribute.oid == COMMON_NAME)?;
    text(&last.value).filter(|name| !name.is_empty())
}

fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef>().ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => {
            value.decode_as::<PrintableStringRef>().ok().map(|text| text.as_str().to_owned())
        }
        Tag::TeletexString => value.decode_as::<TeletexStringRef>().ok().map(|text| text.as_str().to_owned()),
        Tag::BmpString => value.decode_as::<BmpString>().ok().map(|text| text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_common_name_in_every_form_of_text() {
        let utf8 = DnValue::Utf8String("jürgen".into());
        let printable = DnValue::PrintableString("root".try_into().expect("printable"));
        let bmp = DnValue::BmpString("bob".try_into().expect("plain"));
        for (value, name) in [(utf8, "jürgen"), (printable, "root"), (bmp, "bob")] {
            let names = [(DnType::OrganizationName, "root".into()), (DnType::CommonName, value)];
            assert_eq!(common_name(&certificate(&names)).as_deref(), Some(name));
        }
    }

    #[test]
    fn no_name_is_nobody() {
        assert_eq!(common_name(&certificate(&[(DnType::OrganizationName, "root".into())])), None);
        assert_eq!(common_name(&certificate(&[(DnType::CommonName, "".into())])), None);
        assert_eq!(common_name(b"not a certificate"), None);
        let whole = certificate(&[(DnType::CommonName, "root".into())]);
        for cut in 0..whole.len() {
            assert_eq!(common_name(&whole[..cut]), None, "cut at {cut}");
        }
    }
}
