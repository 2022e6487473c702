//! Issues certificates: what stands in them, and when an existing one still serves.

use super::file::{read, write_private};
use super::renewal::may_be_renewed;
use super::{CertKey, PkiError};
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, date_time_ymd,
};
use skiff_authn::certificate::names_in;
use std::collections::BTreeSet;
use std::path::Path;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

/// A name in every kubelet's serving certificate. Node addresses change; that the authority signed this name does not.
pub const SERVING_NAME: &str = "kubelet.skiff.internal";

/// How long the authority lasts.
const AUTHORITY_YEARS: i16 = 10;
/// How long other certificates last (kubeadm: one year).
const LEAF_YEARS: i16 = 1;

/// What a certificate is for.
#[derive(Debug)]
pub(super) enum Role {
    /// TLS server under these names and addresses.
    Server { sans: Vec<String> },
    /// TLS client; CN and O become user and group.
    Client { user: String, group: String },
}

/// The certificate authority, ready to sign.
pub(super) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads `ca.crt` and `ca.key`, or makes them if both are missing.
    pub(super) fn open_or_create(directory: &Path) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
        match (read(&certificate_path)?, read(&key_path)?) {
            (Some(certificate), Some(private_key)) => Self::of(directory, &CertKey { certificate, private_key }),
            (None, _) => {
                let key = open_or_create_key(directory, "ca")?;
                let certificate = authority_params().self_signed(&key).map_err(issue("ca"))?.pem();
                write_private(&certificate_path, &certificate)?;
                Self::of(directory, &CertKey { certificate, private_key: key.serialize_pem() })
            }
            // Making a new key would silently invalidate everything this authority has signed.
            (Some(_), None) => {
                Err(PkiError::Unreadable { path: key_path, problem: "missing, but ca.crt exists".into() })
            }
        }
    }

    /// The authority that `pair` is.
    pub(super) fn of(directory: &Path, pair: &CertKey) -> Result<Self, PkiError> {
        let key = parse_key(directory, "ca", &pair.private_key)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key)
            .map_err(|error| PkiError::Unreadable { path: directory.join("ca.crt"), problem: error.to_string() })?;
        Ok(Self { certificate: pair.certificate.clone(), issuer })
    }

    pub(super) fn pair(&self) -> CertKey {
        CertKey { certificate: self.certificate.clone(), private_key: self.issuer.key().serialize_pem() }
    }

    /// The certificate `name` for `role`, kept if it still serves.
    pub(super) fn leaf(&self, directory: &Path, name: &str, role: &Role) -> Result<CertKey, PkiError> {
        let key = open_or_create_key(directory, name)?;
        let path = directory.join(format!("{name}.crt"));
        if let Some(certificate) = read(&path)?
            && self.still_serves(&certificate, &key, role)
        {
            return Ok(CertKey { certificate, private_key: key.serialize_pem() });
        }
        let params = leaf_params(role).map_err(issue(name))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue(name))?.pem();
        write_private(&path, &certificate)?;
        Ok(CertKey { certificate, private_key: key.serialize_pem() })
    }

    fn still_serves(&self, pem: &str, key: &KeyPair, role: &Role) -> bool {
        let (Ok((_, leaf)), Ok((_, authority))) =
            (parse_x509_pem(pem.as_bytes()), parse_x509_pem(self.certificate.as_bytes()))
        else {
            return false;
        };
        let (Ok(leaf), Ok(authority)) = (leaf.parse_x509(), authority.parse_x509()) else { return false };
        let validity = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
        leaf.verify_signature(Some(authority.public_key())).is_ok()
            && leaf.public_key().subject_public_key.data.as_ref() == key.der_bytes()
            && !may_be_renewed(validity, Timestamp::now().as_second())
            && fits(&leaf, role)
    }
}

/// Whether a certificate says what `role` needs said.
fn fits(certificate: &X509Certificate<'_>, role: &Role) -> bool {
    match role {
        Role::Server { sans } => names_of(certificate) == sans.iter().cloned().collect(),
        Role::Client { user, group } => {
            let identity = crate::tls::identity_of(certificate);
            identity.user == *user && identity.groups == [group.as_str()]
        }
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let (dns, ips) = names_in(certificate).unwrap_or_default();
    dns.into_iter().chain(ips.iter().map(ToString::to_string)).collect()
}

fn open_or_create_key(directory: &Path, name: &str) -> Result<KeyPair, PkiError> {
    let path = directory.join(format!("{name}.key"));
    if let Some(text) = read(&path)? {
        return parse_key(directory, name, &text);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issue(name))?;
    write_private(&path, &key.serialize_pem())?;
    Ok(key)
}

fn parse_key(directory: &Path, name: &str, text: &str) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(text).map_err(|error| PkiError::Unreadable {
        path: directory.join(format!("{name}.key")),
        problem: error.to_string(),
    })
}

fn issue(name: &str) -> impl FnOnce(rcgen::Error) -> PkiError {
    let name = name.to_owned();
    move |source| PkiError::Issue { name, source }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "skiff-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, AUTHORITY_YEARS);
    params
}

fn leaf_params(role: &Role) -> Result<CertificateParams, rcgen::Error> {
    let mut subject = DistinguishedName::new();
    let mut params = match role {
        Role::Server { sans } => {
            subject.push(DnType::CommonName, "skiff");
            let mut params = CertificateParams::new(sans.clone())?;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params
        }
        Role::Client { user, group } => {
            subject.push(DnType::OrganizationName, group.as_str());
            subject.push(DnType::CommonName, user.as_str());
            let mut params = CertificateParams::default();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params
        }
    };
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, LEAF_YEARS);
    Ok(params)
}

/// From yesterday (clocks differ) for this many years.
fn set_validity(params: &mut CertificateParams, years: i16) {
    let day = |date: jiff::civil::Date| {
        // Both fit: a month is 1..=12, a day 1..=31.
        date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    params.not_before = day(today.saturating_sub(Span::new().days(1)));
    params.not_after = day(today.saturating_add(Span::new().years(years)));
}
