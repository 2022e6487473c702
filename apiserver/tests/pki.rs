//! Keys on disk: made once, private, issued again when something about them no longer fits.

use skiff_apiserver::{Pki, PkiError};
use std::fs;
use std::os::unix::fs::PermissionsExt;

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
        assert_eq!(entry.metadata().expect("stat").permissions().mode() & 0o777, 0o600, "{entry:?}");
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
