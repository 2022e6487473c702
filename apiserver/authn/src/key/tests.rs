//! Keys as OpenSSL and kubeadm write them.

use super::*;

/// `openssl genrsa -traditional 2048`, for tests only.
pub(crate) const RSA: &str = include_str!("testdata/rsa.pem");
/// The same key: `openssl pkcs8 -topk8 -nocrypt`.
const RSA_PKCS8: &str = include_str!("testdata/rsa-pkcs8.pem");
/// Its public half: `openssl rsa -pubout`.
const RSA_PUBLIC: &str = include_str!("testdata/rsa-public.pem");
/// `openssl ecparam -name secp384r1 -genkey`.
const SEC1: &str = include_str!("testdata/sec1.pem");

#[test]
fn one_key_has_one_id_in_every_form() {
    let signing = SigningKey::from_pem(RSA).unwrap();
    let ids: Vec<String> =
        [RSA, RSA_PKCS8, RSA_PUBLIC].into_iter().map(|text| PublicKey::from_pem(text).unwrap().remove(0).id).collect();
    assert!(ids.iter().all(|id| id == signing.public().id()), "{ids:?}");
    assert_eq!(SigningKey::from_pem(SEC1).unwrap().public().algorithm(), Es384);
}

#[test]
fn a_signature_fits_its_key_and_algorithm_only() {
    let made = SigningKey::generate().unwrap();
    let keys =
        [SigningKey::from_pem(&made).unwrap(), SigningKey::from_pem(RSA).unwrap(), SigningKey::from_pem(SEC1).unwrap()];
    for (at, key) in keys.iter().enumerate() {
        let signature = key.sign(b"m").unwrap();
        for (other, checker) in keys.iter().enumerate() {
            for algorithm in Algorithm::ALL {
                let fits = at == other && algorithm == key.public().algorithm();
                assert_eq!(checker.public().verifies(algorithm, b"m", &signature), fits, "{at} {other} {algorithm:?}");
            }
        }
        assert!(!key.public().verifies(key.public().algorithm(), b"n", &signature));
    }
}

#[test]
fn what_is_no_key_is_refused() {
    assert_eq!(PublicKey::from_pem("").unwrap_err(), KeyError::Nothing);
    assert_eq!(SigningKey::from_pem(RSA_PUBLIC).unwrap_err(), KeyError::Nothing);
    let broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert!(matches!(PublicKey::from_pem(broken), Err(KeyError::Block { .. })));
    assert!(PublicKey::rsa(&[0xff; 128], &[1, 0, 1]).unwrap_err().contains("1024 bits"));
}

#[test]
fn certificates_carry_keys() {
    let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    let of_certificate = PublicKey::from_pem(&made.cert.pem()).unwrap().remove(0);
    let of_key = PublicKey::from_pem(&made.signing_key.serialize_pem()).unwrap().remove(0);
    assert_eq!(of_certificate, of_key);
}
