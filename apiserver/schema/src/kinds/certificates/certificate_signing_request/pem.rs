//! What PEM texts in requests hold: a PKCS #10 request whose signature is right (RFC 2986), or certificates (RFC 5280).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is wrong with a request, if anything.
pub(super) fn request_problem(base64: &str) -> Option<String> {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    let block = parse_x509_pem(&bytes).ok().map(|(_, block)| block).filter(|it| it.label == "CERTIFICATE REQUEST");
    let Some(block) = block else { return Some("PEM block type must be CERTIFICATE REQUEST".to_owned()) };
    match X509CertificationRequest::from_der(&block.contents) {
        Err(error) => Some(format!("the certificate request cannot be read: {error}")),
        Ok((rest, _)) if !rest.is_empty() => Some("x509: trailing data".to_owned()),
        Ok((_, request)) => {
            request.verify_signature().err().map(|error| format!("x509: the signature is not right: {error}"))
        }
    }
}

/// What is wrong with certificates, if anything; none at all are fine.
pub(super) fn certificate_problem(base64: &str) -> Option<String> {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    let (mut rest, mut blocks) = (bytes.as_slice(), 0);
    while let Ok((next, block)) = parse_x509_pem(rest) {
        if block.label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        if rest.get(..rest.len() - next.len()).is_some_and(|text| text.contains(&b':')) {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if let Err(error) = X509Certificate::from_der(&block.contents) {
            return Some(format!("a certificate cannot be read: {error}"));
        }
        blocks += 1;
        rest = next;
    }
    (blocks == 0 && !bytes.is_empty()).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}
