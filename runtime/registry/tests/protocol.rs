//! The distribution specification, clause by clause, as its own conformance program asks and beyond that.

mod support;

use serde_json::{Value, json};
use skiff_registry::digest::{Algorithm, Digest};
use support::*;

#[tokio::test]
async fn a_blob_arrives_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let whole = "0123456789";
    let digest = sha256(whole);
    blob(&registry, "one", whole).await;

    let said = ask(&registry, "POST /v2/two/blobs/uploads/", &[], "").await.is(202);
    assert_eq!(said.header("range"), "0-0");
    let at = said.header("location").to_owned();
    ask(&registry, &format!("PUT {at}?digest={digest}"), &[], whole).await.is(201);
    ask(&registry, &format!("GET {at}"), &[], "").await.refuses(404, "BLOB_UPLOAD_UNKNOWN");

    let at = ask(&registry, "POST /v2/three/blobs/uploads/", &[], "").await.is(202).header("location").to_owned();
    let said = ask(&registry, &format!("PATCH {at}"), &["content-range: 0-3"], "0123").await.is(202);
    assert_eq!((said.header("range"), said.header("location")), ("0-3", at.as_str()));
    let said = ask(&registry, &format!("PATCH {at}"), &["content-range: 5-6"], "56").await;
    assert_eq!(said.refuses(416, "BLOB_UPLOAD_INVALID").header("range"), "0-3");
    ask(&registry, &format!("PATCH {at}"), &["content-range: 4-9"], "45").await.refuses(400, "SIZE_INVALID");
    assert_eq!(ask(&registry, &format!("GET {at}"), &[], "").await.is(204).header("range"), "0-3");
    ask(&registry, &format!("PATCH {at}"), &[], "45").await.is(202);
    let last = format!("PUT {at}?digest={digest}");
    ask(&registry, &last, &["content-range: 0-3"], "6789").await.is(416);
    ask(&registry, &last, &["content-range: 6-9"], "6789").await.is(201);

    for name in ["one", "two", "three"] {
        let said = ask(&registry, &format!("GET /v2/{name}/blobs/{digest}"), &[], "").await.is(200);
        assert_eq!(said.body, whole);
        assert_eq!(said.header("docker-content-digest"), digest.as_str());
    }
}

#[tokio::test]
async fn what_has_another_digest_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let wrong = sha256("other");
    ask(&registry, &format!("POST /v2/a/blobs/uploads/?digest={wrong}"), &[], "x").await.refuses(400, "DIGEST_INVALID");
    let at = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    ask(&registry, &format!("PUT {at}?digest={wrong}"), &[], "x").await.refuses(400, "DIGEST_INVALID");
    ask(&registry, &format!("GET {at}"), &[], "").await.is(404);
    ask(&registry, &format!("HEAD /v2/a/blobs/{wrong}"), &[], "").await.is(404);
    let header = format!("content-type: {MANIFEST}");
    blob(&registry, "a", "{}").await;
    blob(&registry, "a", "x").await;
    let manifest = image("{}", "x").to_string();
    ask(&registry, &format!("PUT /v2/a/manifests/{wrong}"), &[&header], manifest).await.refuses(400, "DIGEST_INVALID");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("uploads")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_upload_is_its_repositorys_and_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let at = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    let other = at.replace("/v2/a/", "/v2/b/");
    ask(&registry, &format!("PATCH {other}"), &[], "x").await.refuses(404, "BLOB_UPLOAD_UNKNOWN");
    ask(&registry, &format!("DELETE {other}"), &[], "").await.is(404);
    ask(&registry, &format!("DELETE {at}"), &[], "").await.is(204);
    ask(&registry, &format!("DELETE {at}"), &[], "").await.is(404);
    ask(&registry, &format!("PATCH {at}"), &[], "x").await.is(404);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let said = ask(&registry, "POST /v2/a/blobs/uploads/?digest-algorithm=sha512", &[], "").await;
    let at = said.header("location").to_owned();
    ask(&registry, &format!("PATCH {at}"), &[], "01234").await.is(202);
    drop(registry);
    let registry = open(folder.path());
    assert_eq!(ask(&registry, &format!("GET {at}"), &[], "").await.is(204).header("range"), "0-4");
    let digest = Digest::of(Algorithm::Sha512, b"0123456789");
    ask(&registry, &format!("PUT {at}?digest={digest}"), &["content-range: 5-9"], "56789").await.is(201);
    assert_eq!(ask(&registry, &format!("GET /v2/a/blobs/{digest}"), &[], "").await.body, "0123456789");
}

#[tokio::test]
async fn blobs_are_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let digest = blob(&registry, "a", "content").await;
    let mount = |to: &str, more: &str| format!("POST /v2/{to}/blobs/uploads/?mount={digest}{more}");
    ask(&registry, &mount("b", "&from=a"), &[], "").await.is(201);
    ask(&registry, &mount("c", ""), &[], "").await.is(201);
    ask(&registry, &mount("d", "&from=nobody"), &[], "").await.is(202);
    let unknown = sha256("nothing");
    ask(&registry, &format!("POST /v2/d/blobs/uploads/?mount={unknown}&from=a"), &[], "").await.is(202);
    for (name, status) in [("b", 200), ("c", 200), ("d", 404)] {
        ask(&registry, &format!("HEAD /v2/{name}/blobs/{digest}"), &[], "").await.is(status);
    }
}

#[tokio::test]
async fn blobs_are_read_in_ranges_and_only_if_they_have_changed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let digest = blob(&registry, "a", "0123456789").await;
    let get = format!("GET /v2/a/blobs/{digest}");
    let said = ask(&registry, &get, &["range: bytes=2-4"], "").await.is(206);
    assert_eq!((&said.body[..], said.header("content-range")), (&b"234"[..], "bytes 2-4/10"));
    let said = ask(&registry, &get, &["range: bytes=20-"], "").await.is(416);
    assert_eq!(said.header("content-range"), "bytes */10");
    let said = ask(&registry, &get, &["range: bytes=0-1,8-"], "").await.is(206);
    let boundary = said.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let text = String::from_utf8(said.body.to_vec()).unwrap();
    let parts: Vec<&str> = text.split(&format!("\r\n--{boundary}")).collect();
    assert_eq!((parts.len(), parts[3]), (4, "--\r\n"), "{text}");
    assert!(parts[1].ends_with("Content-Range: bytes 0-1/10\r\n\r\n01") && parts[2].ends_with("\r\n\r\n89"), "{text}");
    ask(&registry, &get, &["range: bytes=2-4", "if-range: \"other\""], "").await.is(200);
    ask(&registry, &get, &["range: bytes=2-4", &format!("if-range: \"{digest}\"")], "").await.is(206);
    let said = ask(&registry, &get, &[&format!("if-none-match: \"{digest}\"")], "").await.is(304);
    assert_eq!((said.body.len(), said.header("etag")), (0, format!("\"{digest}\"").as_str()));
    let said = ask(&registry, &get.replace("GET", "HEAD"), &[], "").await.is(200);
    assert_eq!((said.header("content-length"), said.body.len()), ("10", 0));
    let empty = blob(&registry, "a", "").await;
    assert_eq!(ask(&registry, &format!("GET /v2/a/blobs/{empty}"), &[], "").await.is(200).body.len(), 0);
}

#[tokio::test]
async fn a_large_blob_is_read_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let large: String = (0..300_000).map(|n| format!("{n:08}")).collect();
    let digest = blob(&registry, "a", &large).await;
    let said = ask(&registry, &format!("GET /v2/a/blobs/{digest}"), &[], "").await.is(200);
    assert!(said.body == large.as_bytes());
    let said =
        ask(&registry, &format!("GET /v2/a/blobs/{digest}"), &["range: bytes=1000000-2000001"], "").await.is(206);
    assert!(said.body == large.as_bytes()[1_000_000..=2_000_001]);
}

#[tokio::test]
async fn manifests_are_kept_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    blob(&registry, "a", "{}").await;
    blob(&registry, "a", "x").await;
    let odd = image("{}", "x").to_string().replace("\":", "\" :\n");
    let digest = sha256(&odd);
    let header = format!("content-type: {MANIFEST}");
    let said = ask(&registry, "PUT /v2/a/manifests/v1", &[&header], odd.clone()).await.is(201);
    assert_eq!(said.header("docker-content-digest"), digest.as_str());
    assert_eq!(said.header("location"), format!("/v2/a/manifests/{digest}"));
    for reference in ["v1", digest.as_str()] {
        let said = ask(&registry, &format!("GET /v2/a/manifests/{reference}"), &[], "").await.is(200);
        assert_eq!((&said.body[..], said.header("content-type")), (odd.as_bytes(), MANIFEST));
        let said = ask(&registry, &format!("HEAD /v2/a/manifests/{reference}"), &[], "").await.is(200);
        assert_eq!(said.header("content-length"), odd.len().to_string());
    }
    let tagged = format!("PUT /v2/a/manifests/{digest}?tag=v2&tag=v3");
    let said = ask(&registry, &tagged, &[&header], odd.clone()).await.is(201);
    assert_eq!(said.headers.get_all("oci-tag").iter().count(), 2);
    ask(&registry, "PUT /v2/a/manifests/v1", &[&header, "if-none-match: *"], odd).await.is(412);
    let said = ask(&registry, "GET /v2/a/tags/list?n=2", &[], "").await.is(200);
    assert_eq!(said.json(), json!({"name": "a", "tags": ["v1", "v2"]}));
    assert_eq!(said.header("link"), "</v2/a/tags/list?last=v2&n=2>; rel=\"next\"");
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_what_is_needed_stays() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let digest = push(&registry, "a", "v1", "layer").await;
    push(&registry, "a", "v2", "layer").await;
    let layer = sha256("layer");
    ask(&registry, &format!("DELETE /v2/a/blobs/{layer}"), &[], "").await.refuses(405, "UNSUPPORTED");
    ask(&registry, "DELETE /v2/a/manifests/v1", &[], "").await.is(202);
    ask(&registry, "GET /v2/a/manifests/v1", &[], "").await.refuses(404, "MANIFEST_UNKNOWN");
    ask(&registry, "GET /v2/a/manifests/v2", &[], "").await.is(200);
    ask(&registry, &format!("DELETE /v2/a/manifests/{digest}"), &[], "").await.is(202);
    ask(&registry, "GET /v2/a/manifests/v2", &[], "").await.refuses(404, "MANIFEST_UNKNOWN");
    ask(&registry, &format!("DELETE /v2/a/manifests/{digest}"), &[], "").await.is(404);
    ask(&registry, &format!("DELETE /v2/a/blobs/{layer}"), &[], "").await.is(202);
    ask(&registry, &format!("GET /v2/a/blobs/{layer}"), &[], "").await.refuses(404, "BLOB_UNKNOWN");
    ask(&registry, "DELETE /v2/b/manifests/v1", &[], "").await.refuses(404, "NAME_UNKNOWN");
    assert_eq!(registry.store().remove_unheld().unwrap().0, 2, "the layer and the manifest");
    drop(registry);
    let registry = open(folder.path());
    ask(&registry, "GET /v2/a/tags/list", &[], "").await.is(200);
    ask(&registry, "GET /v2/b/tags/list", &[], "").await.refuses(404, "NAME_UNKNOWN");
}

fn artifact(kind: &str, subject: &Digest) -> Value {
    let mut one = image("{}", "x");
    one["artifactType"] = kind.into();
    one["subject"] = json!({"mediaType": MANIFEST, "digest": subject.as_str(), "size": 3});
    one["annotations"] = json!({"of": kind});
    one
}

#[tokio::test]
async fn referrers_are_found_also_before_their_subject() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let (subject, header) = (sha256("later"), format!("content-type: {MANIFEST}"));
    blob(&registry, "a", "{}").await;
    blob(&registry, "a", "x").await;
    for kind in ["application/sbom", "application/signature"] {
        let one = artifact(kind, &subject).to_string();
        let said = ask(&registry, &format!("PUT /v2/a/manifests/{}", sha256(&one)), &[&header], one).await.is(201);
        assert_eq!(said.header("oci-subject"), subject.as_str());
    }
    let get = format!("GET /v2/a/referrers/{subject}");
    let said = ask(&registry, &get, &[], "").await.is(200);
    assert_eq!((said.json()["manifests"].as_array().unwrap().len(), said.header("content-type")), (2, INDEX));
    let said = ask(&registry, &format!("{get}?artifactType=application%2Fsbom"), &[], "").await.is(200);
    assert_eq!(said.header("oci-filters-applied"), "artifactType");
    assert_eq!(said.json()["manifests"][0]["annotations"]["of"], "application/sbom");
    let none = ask(&registry, &format!("GET /v2/nobody/referrers/{subject}"), &[], "").await.is(200);
    assert_eq!(none.json()["manifests"], json!([]));
    ask(&registry, "GET /v2/a/referrers/sha256:x", &[], "").await.refuses(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn huge_and_wrong_manifests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    let header = format!("content-type: {MANIFEST}");
    let put = "PUT /v2/a/manifests/v1";
    ask(&registry, put, &[&header], vec![b' '; 4 * 1024 * 1024 + 1]).await.refuses(413, "MANIFEST_INVALID");
    ask(&registry, put, &[&header], vec![b'['; 4 * 1024 * 1024]).await.refuses(400, "MANIFEST_INVALID");
    ask(&registry, put, &[], "{}").await.refuses(400, "MANIFEST_INVALID");
    ask(&registry, put, &[&header], image("{}", "x").to_string()).await.refuses(404, "MANIFEST_BLOB_UNKNOWN");
    ask(&registry, "GET /v2/a/tags/list", &[], "").await.refuses(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn repositories_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    for name in ["b", "a/c", "a"] {
        blob(&registry, name, "x").await;
    }
    let said = ask(&registry, "GET /v2/_catalog?n=2", &[], "").await.is(200);
    assert_eq!(said.json(), json!({"repositories": ["a", "a/c"]}));
    assert_eq!(said.header("link"), "</v2/_catalog?last=a%2Fc&n=2>; rel=\"next\"");
    let said = ask(&registry, "GET /v2/_catalog?n=2&last=a%2Fc", &[], "").await.is(200);
    assert_eq!((said.json(), said.header("link")), (json!({"repositories": ["b"]}), ""));
    assert_eq!(
        ask(&registry, "GET /v2/", &[], "").await.is(200).header("docker-distribution-api-version"),
        "registry/2.0"
    );
}
