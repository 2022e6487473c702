//! Keys on disk: made once, private, issued again when something about them no longer fits.

use skiff_apiserver::{Pki, PkiError};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("skiff-pki").tempdir().expect("scratch folder")
}

#[test]
fn keys_are_private_and_stay() {
    let folder = scratch();
    let directory = folder.path().join("pki");
    let first = Pki::open_or_create(&directory, &["10.0.0.5".to_owned()]).expect("made");
    let node = first.kubelet_client("n").expect("made");
    for entry in fs::read_dir(&directory).expect("listed") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("stat");
        let mode = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{entry:?}");
    }
    assert_eq!(fs::metadata(&directory).expect("stat").permissions().mode() & 0o777, 0o700);
    let second = Pki::open_or_create(&directory, &["10.0.0.5".to_owned()]).expect("read");
    assert_eq!((first.server(), first.admin()), (second.server(), second.admin()));
    assert_eq!(second.kubelet_client("n").expect("read"), node);
    assert!(!format!("{second:?}").contains("PRIVATE KEY"));
}

#[test]
fn a_new_address_gets_a_new_certificate_for_the_same_key() {
    let folder = scratch();
    let first = Pki::open_or_create(folder.path(), &["10.0.0.5".to_owned()]).expect("made");
    let second = Pki::open_or_create(folder.path(), &["10.0.0.6".to_owned()]).expect("reissued");
    assert_ne!(first.server().certificate, second.server().certificate);
    assert_eq!(first.server().private_key, second.server().private_key);
    assert_eq!(first.admin(), second.admin());
}

#[test]
fn what_another_authority_signed_is_issued_again() {
    let folder = scratch();
    let first = Pki::open_or_create(folder.path(), &[]).expect("made");
    for name in ["ca.crt", "ca.key"] {
        fs::remove_file(folder.path().join(name)).expect("removed");
    }
    let second = Pki::open_or_create(folder.path(), &[]).expect("made again");
    assert_ne!(first.authority_certificate(), second.authority_certificate());
    assert_ne!(first.admin().certificate, second.admin().certificate);
}

#[test]
fn an_authority_without_its_key_is_not_replaced() {
    let folder = scratch();
    Pki::open_or_create(folder.path(), &[]).expect("made");
    fs::remove_file(folder.path().join("ca.key")).expect("removed");
    let error = Pki::open_or_create(folder.path(), &[]).expect_err("refused");
    assert!(matches!(error, PkiError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("ca.key: missing, but ca.crt exists"), "{error}");
    fs::write(folder.path().join("ca.key"), "nonsense").expect("written");
    assert!(Pki::open_or_create(folder.path(), &[]).is_err());
}

/// A certificate of `name` by the authority in `folder`, that began so many days ago and ends in so many.
fn put(folder: &Path, name: &str, days: (i64, i64)) -> String {
    let read = |file: &str| fs::read_to_string(folder.join(file)).expect("there");
    let key = |file: &str| rcgen::KeyPair::from_pem(&read(file)).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.crt"), key("ca.key")).expect("an authority");
    let own = key(&format!("{name}.key"));
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.distinguished_name.push(rcgen::DnType::CommonName, "kubernetes-admin");
    let day = |days: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(-days.0), day(days.1));
    let text = params.signed_by(&own, &issuer).expect("signed").pem();
    fs::write(folder.join(format!("{name}.crt")), &text).expect("written");
    text
}

/// At a start, after a clock jumped, and while a program runs alike: certificates are issued again late in their life.
#[test]
fn certificates_are_issued_again_before_they_end() {
    let folder = scratch();
    let first = Pki::open_or_create(folder.path(), &[]).expect("made");
    for (days, is_kept) in [((60, 40), true), ((71, 29), false), ((100, -1), false), ((-1, 100), false)] {
        let text = put(folder.path(), "admin", days);
        let next = Pki::open_or_create(folder.path(), &[]).expect("opened");
        assert_eq!(next.admin().certificate == text, is_kept, "{days:?}");
        assert_eq!(next.admin().private_key, first.admin().private_key, "the key is the same");
        assert_eq!(next.server().certificate, first.server().certificate, "and others are left alone");
    }
}
