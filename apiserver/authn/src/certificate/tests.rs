//! What is asked for, and what is signed.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};
use x509_parser::extensions::GeneralName;

/// An authority: its certificate and key, PEM.
fn authority(key: &KeyPair) -> (String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    (params.self_signed(key).unwrap().pem(), key.serialize_pem())
}

fn request(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "g");
    params.distinguished_name.push(DnType::CommonName, "u");
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap().into_bytes()
}

#[test]
fn what_is_asked_for_is_signed_and_nothing_else() {
    let own = KeyPair::generate().unwrap();
    let (certificate, key) = authority(&own);
    let pem = request(|params| {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        params.subject_alt_names = vec![dns("n.example"), SanType::IpAddress([192, 0, 2, 1].into())];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    });
    let asked = Request::from_pem(&pem).unwrap();
    assert_eq!((asked.name.as_str(), &asked.groups[..]), ("u", &["g".to_owned()][..]));
    assert_eq!((asked.dns_names.len(), asked.addresses, asked.mail, asked.uris), (1, 1, 0, 0));
    let authority = Authority::from_pem(&certificate, &key).unwrap();
    let usages = [Usage::Signature, Usage::Encipherment, Usage::Server];
    let made = authority.sign(&asked, &usages, 1_700_000_000, 1_800_000_000).unwrap();
    let (_, block) = parse_x509_pem(made.as_bytes()).unwrap();
    let (rest, made) = X509Certificate::from_der(&block.contents).unwrap();
    assert!(rest.is_empty());
    let (_, own) = parse_x509_pem(certificate.as_bytes()).unwrap();
    let (_, own) = X509Certificate::from_der(&own.contents).unwrap();
    made.verify_signature(Some(own.public_key())).unwrap();
    assert_eq!(made.issuer().as_raw(), own.subject().as_raw());
    assert_eq!(made.subject().to_string(), "O=g, CN=u");
    assert_eq!(
        (made.validity().not_before.timestamp(), made.validity().not_after.timestamp()),
        (1_700_000_000, 1_800_000_000)
    );
    assert!(!made.is_ca() && made.version() == x509_parser::x509::X509Version::V3);
    let usage = made.key_usage().unwrap().unwrap();
    assert!(
        usage.critical
            && usage.value.digital_signature()
            && usage.value.key_encipherment()
            && !usage.value.key_cert_sign()
    );
    let purposes = made.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && !purposes.client_auth && !purposes.code_signing);
    let names = &made.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names[..], [GeneralName::DNSName("n.example"), GeneralName::IPAddress(&[192, 0, 2, 1])]);
}

/// All groups of a subject count, however often the word stands there; and none is lost between the check and the certificate.
#[test]
fn no_group_is_lost() {
    let text = include_str!("testdata/two-groups.csr");
    let asked = Request::from_pem(text.as_bytes()).unwrap();
    assert_eq!(asked.groups, ["dev", "system:masters"]);
    for key in [KeyPair::generate().unwrap(), KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()] {
        let (certificate, key) = authority(&key);
        let authority = Authority::from_pem(&certificate, &key).unwrap();
        let made = authority.sign(&asked, &[Usage::Client], 0, 1_000).unwrap();
        let (_, block) = parse_x509_pem(made.as_bytes()).unwrap();
        let (_, made) = X509Certificate::from_der(&block.contents).unwrap();
        let groups: Vec<_> = made.subject().iter_organization().map(|one| one.as_str().unwrap()).collect();
        assert_eq!(groups, ["dev", "system:masters"]);
        assert_eq!(made.key_usage().unwrap(), None);
        let (_, own) = parse_x509_pem(certificate.as_bytes()).unwrap();
        let (_, own) = X509Certificate::from_der(&own.contents).unwrap();
        made.verify_signature(Some(own.public_key())).unwrap();
    }
}

#[test]
fn a_certificate_ends_with_its_authority() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let authority = Authority::from_pem(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem()).unwrap();
    let asked = Request::from_pem(&request(|_| ())).unwrap();
    let made = authority.sign(&asked, &[Usage::Client], 0, i64::from(u32::MAX)).unwrap();
    let (_, block) = parse_x509_pem(made.as_bytes()).unwrap();
    let (_, made) = X509Certificate::from_der(&block.contents).unwrap();
    assert_eq!(made.validity().not_after.timestamp(), 1_893_456_000);
}

#[test]
fn what_is_no_request_is_refused() {
    let sound = String::from_utf8(request(|_| ())).unwrap();
    // One letter of the subject is another: whoever signed it signed something else.
    let (_, block) = parse_x509_pem(sound.as_bytes()).unwrap();
    let mut other = block.contents.clone();
    let at = other.windows(3).position(|three| three == [0x0c, 1, b'u']).unwrap();
    other[at + 2] = b'v';
    let forged = der::pem(LABEL, &other);
    for (text, why) in [
        ("nonsense", "PEM block type must be CERTIFICATE REQUEST"),
        (&sound.replace(LABEL, "CERTIFICATE"), "PEM block type must be"),
        (&forged, "unable to verify certificate request signature"),
    ] {
        let error = Request::from_pem(text.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let error = Authority::from_pem(&authority(&one).0, &other.serialize_pem()).unwrap_err();
    assert_eq!(error, "the certificate is of another key");
    let leaf = CertificateParams::default().self_signed(&one).unwrap().pem();
    assert!(Authority::from_pem(&leaf, &one.serialize_pem()).unwrap_err().contains("no authority's"));
}
