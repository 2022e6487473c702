//! Certificates on request: what a request says (PKCS #10, RFC 2986), and the certificate that an authority makes of it (RFC 5280).
//!
//! Subject and key go into the certificate byte by byte as they were asked for, so that what was checked is what is signed. Of the rest
//! only names and addresses are taken over: what a request says of being an authority, or of usages, is nobody's word.

use crate::der;
use crate::key::{Algorithm, PublicKey, SigningKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The label of a request in PEM.
const LABEL: &str = "CERTIFICATE REQUEST";

/// A request whose signature shows that its author has the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    subject: Vec<u8>,
    key: Vec<u8>,
    /// Names and addresses, each a GeneralName.
    places: Vec<u8>,
    /// The common name.
    pub name: String,
    /// The organizations.
    pub groups: Vec<String>,
    /// The DNS names.
    pub dns_names: Vec<String>,
    /// The addresses of 4 or 16 bytes.
    pub ips: Vec<IpAddr>,
    /// How many addresses it has, of any length.
    pub addresses: usize,
    /// How many addresses of mail.
    pub mail: usize,
    /// How many URIs.
    pub uris: usize,
}

impl Request {
    /// Reads a request in PEM.
    ///
    /// # Errors
    /// It is none, or not by who has its key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let block = parse_x509_pem(pem).ok().map(|(_, block)| block).filter(|block| block.label == LABEL);
        let block = block.ok_or_else(|| format!("PEM block type must be {LABEL}"))?;
        let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
        let unverified = |error| format!("unable to verify certificate request signature: {error}");
        request.verify_signature().map_err(unverified)?;
        let info = &request.certification_request_info;
        let text = |one: &x509_parser::x509::AttributeTypeAndValue<'_>| one.as_str().ok().map(str::to_owned);
        let mut read = Self {
            subject: info.subject.as_raw().to_vec(),
            key: info.subject_pki.raw.to_vec(),
            // As Kubernetes reads a subject: of two common names the last counts.
            name: info.subject.iter_common_name().filter_map(text).last().unwrap_or_default(),
            groups: info.subject.iter_organization().filter_map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    read.add(name);
                }
            }
        }
        Ok(read)
    }

    fn add(&mut self, name: &x509_parser::extensions::GeneralName<'_>) {
        use x509_parser::extensions::GeneralName::{DNSName, IPAddress, RFC822Name, URI};
        let (tag, content) = match name {
            RFC822Name(text) => {
                self.mail += 1;
                (0x81, text.as_bytes())
            }
            DNSName(text) => {
                self.dns_names.push((*text).to_owned());
                (0x82, text.as_bytes())
            }
            URI(text) => {
                self.uris += 1;
                (0x86, text.as_bytes())
            }
            IPAddress(bytes) => {
                self.addresses += 1;
                self.ips.extend(address(bytes));
                (0x87, *bytes)
            }
            _ => return,
        };
        self.places.extend(der::tagged(tag, content));
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// `digital signature`.
    Signature,
    /// `key encipherment`.
    Encipherment,
    /// `client auth`.
    Client,
    /// `server auth`.
    Server,
}

impl Usage {
    /// That of a name, as Kubernetes has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "digital signature" | "signing" => Self::Signature,
            "key encipherment" => Self::Encipherment,
            "client auth" => Self::Client,
            "server auth" => Self::Server,
            _ => return None,
        })
    }
}

/// An authority that signs.
#[derive(Debug)]
pub struct Authority {
    key: SigningKey,
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    ends: i64,
}

impl Authority {
    /// That of a certificate and its key, PEM.
    ///
    /// # Errors
    /// One of the two cannot be read, or they do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, String> {
        let key = SigningKey::from_pem(key).map_err(|error| format!("key: {error}"))?;
        let wrong = |why: &dyn std::fmt::Display| format!("certificate: {why}");
        let (_, block) = parse_x509_pem(certificate.as_bytes()).map_err(|error| wrong(&error))?;
        let (_, parsed) = X509Certificate::from_der(&block.contents).map_err(|error| wrong(&error))?;
        let own = PublicKey::from_info(parsed.public_key().raw).map_err(|why| wrong(&format!("its key is {why}")))?;
        if own != *key.public() {
            return Err("the certificate is of another key".to_owned());
        }
        if !parsed.is_ca() {
            return Err(wrong(&"it is no authority's"));
        }
        let key_id = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let (subject, ends) = (parsed.subject().as_raw().to_vec(), parsed.validity().not_after.timestamp());
        Ok(Self { key, subject, key_id, ends })
    }

    /// The certificate for `request`, PEM, from when until when (seconds since 1970); it ends with the authority at the latest.
    ///
    /// # Errors
    /// The system gives no random numbers, or a time has no date.
    pub fn sign(&self, request: &Request, usages: &[Usage], from: i64, until: i64) -> Result<String, String> {
        let mut serial = [0; 16];
        SystemRandom::new().fill(&mut serial).map_err(|_| "the system gives no random numbers".to_owned())?;
        // Positive and not zero (RFC 5280, 4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        let algorithm = der::signature_algorithm(self.key.public().algorithm());
        let validity = der::sequence(&[&time(from)?, &time(until.min(self.ends))?]);
        let extensions = der::tagged(0xa3, &der::sequence(&[&self.extensions(request, usages).concat()]));
        let version = der::tagged(0xa0, &der::unsigned(&[2]));
        let signed = der::sequence(&[
            &version,
            &der::unsigned(&serial),
            algorithm,
            &self.subject,
            &validity,
            &request.subject,
            &request.key,
            &extensions,
        ]);
        let signature = self.signature(&signed)?;
        let certificate = der::sequence(&[&signed, algorithm, &der::bits(0, &signature)]);
        Ok(der::pem("CERTIFICATE", &certificate))
    }

    fn signature(&self, signed: &[u8]) -> Result<Vec<u8>, String> {
        let signature = self.key.sign(signed)?;
        if !matches!(self.key.public().algorithm(), Algorithm::Es256 | Algorithm::Es384) {
            return Ok(signature);
        }
        // Tokens have both numbers one behind the other, certificates a sequence of them (RFC 3279, 2.2.3).
        let (r, s) = signature.split_at(signature.len() / 2);
        Ok(der::sequence(&[&der::unsigned(r), &der::unsigned(s)]))
    }

    fn extensions(&self, request: &Request, usages: &[Usage]) -> Vec<Vec<u8>> {
        let has = |usage| usages.contains(&usage);
        let mut all = Vec::new();
        let key_usage = u8::from(has(Usage::Signature)) << 7 | u8::from(has(Usage::Encipherment)) << 5;
        if key_usage != 0 {
            let unused = u8::try_from(key_usage.trailing_zeros()).unwrap_or(0);
            all.push(der::extension(b"\x55\x1d\x0f", true, &der::bits(unused, &[key_usage])));
        }
        let mut purposes = Vec::new();
        for (usage, last) in [(Usage::Server, 1), (Usage::Client, 2)] {
            if has(usage) {
                // 1.3.6.1.5.5.7.3.x
                purposes.extend(der::tagged(0x06, &[0x2b, 6, 1, 5, 5, 7, 3, last]));
            }
        }
        if !purposes.is_empty() {
            all.push(der::extension(b"\x55\x1d\x25", false, &der::sequence(&[&purposes])));
        }
        // Basic constraints: it is no authority.
        all.push(der::extension(b"\x55\x1d\x13", true, &der::sequence(&[])));
        if let Some(id) = &self.key_id {
            all.push(der::extension(b"\x55\x1d\x23", false, &der::sequence(&[&der::tagged(0x80, id)])));
        }
        if !request.places.is_empty() {
            // It is all that names whom it is for, if the subject does not.
            let is_alone = request.subject == der::sequence(&[]);
            all.push(der::extension(b"\x55\x1d\x11", is_alone, &der::sequence(&[&request.places])));
        }
        all
    }
}

/// When the first certificate of a PEM text ends, seconds since 1970.
#[must_use]
pub fn ends(pem: &[u8]) -> Option<i64> {
    validity(pem).map(|(_, until)| until)
}

/// From when until when it holds.
#[must_use]
pub fn validity(pem: &[u8]) -> Option<(i64, i64)> {
    let (_, block) = parse_x509_pem(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// For which DNS names and addresses a certificate (PEM) is.
#[must_use]
pub fn names(pem: &[u8]) -> Option<(Vec<String>, Vec<IpAddr>)> {
    let (_, block) = parse_x509_pem(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    names_in(&certificate)
}

/// For which DNS names and addresses a certificate is; `None`: it cannot be read what it says of them.
#[must_use]
pub fn names_in(certificate: &X509Certificate<'_>) -> Option<(Vec<String>, Vec<IpAddr>)> {
    use x509_parser::extensions::GeneralName::{DNSName, IPAddress};
    let (mut dns, mut ips) = (Vec::new(), Vec::new());
    for name in certificate.subject_alternative_name().ok()?.iter().flat_map(|names| &names.value.general_names) {
        match name {
            DNSName(text) => dns.push((*text).to_owned()),
            IPAddress(bytes) => ips.extend(address(bytes)),
            _ => {}
        }
    }
    Some((dns, ips))
}

/// UTCTime up to 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5).
fn time(at: i64) -> Result<Vec<u8>, String> {
    let at = jiff::Timestamp::from_second(at).map_err(|error| format!("the time {at} s after 1970: {error}"))?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    Ok(match at.year() {
        1950..2050 => der::tagged(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()),
        _ => der::tagged(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()),
    })
}

#[cfg(test)]
mod tests;
