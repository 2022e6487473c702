//! Who is at the other end of a TLS connection.

use skiff_client::Identity;
use x509_parser::prelude::X509Certificate;

/// User and groups as Kubernetes reads them from a client certificate: the common name and the organizations.
pub(crate) fn identity_of(certificate: &X509Certificate<'_>) -> Identity {
    let subject = certificate.subject();
    let text =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(ToOwned::to_owned);
    Identity {
        user: subject.iter_common_name().find_map(text).unwrap_or_default(),
        groups: subject.iter_organization().filter_map(text).collect(),
    }
}
