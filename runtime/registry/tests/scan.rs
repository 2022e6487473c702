//! Findings of what is pushed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use serde_json::{Value, json};
use skiff_registry::scan::Database;
use skiff_registry::{Registry, Store, Terms, keep_scanned};
use skiff_step::Engine;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{ask, push, sha256};
use tokio_util::sync::CancellationToken;

fn registry(folder: &Path, config: Value) -> Arc<Registry> {
    let config: skiff_registry::config::Config = serde_json::from_value(config).unwrap();
    config.check().unwrap();
    let terms = Terms { config: Arc::new(config), ..Terms::default() };
    Arc::new(Registry::new(Store::open(folder, Engine::off()).unwrap(), terms))
}

/// A database that knows one vulnerability of npm's `thing`, fixed in this version.
fn know(folder: &Path, fixed: &str) {
    let archive = folder.with_extension("zip");
    let ranges = json!([{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}]);
    let record = json!({
        "id": "GHSA-1", "aliases": ["CVE-1"], "database_specific": {"severity": "HIGH"},
        "affected": [{"package": {"ecosystem": "npm", "name": "thing"}, "ranges": ranges}],
    });
    std::fs::write(&archive, stored_zip("GHSA-1.json", record.to_string().as_bytes())).unwrap();
    Database::at(folder).import(&archive).unwrap();
}

/// An archive of one file that is not compressed.
fn stored_zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    let (length, crc) = (u32::try_from(bytes.len()).unwrap().to_le_bytes(), crc32(bytes).to_le_bytes());
    let named = u16::try_from(name.len()).unwrap().to_le_bytes();
    let about = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &length, &length, &named, &[0, 0]].concat();
    let mut out = [b"PK\x03\x04", about.as_slice(), name.as_bytes(), bytes].concat();
    let at = u32::try_from(out.len()).unwrap().to_le_bytes();
    let directory = [b"PK\x01\x02\x14\x00", about.as_slice(), &[0; 14], name.as_bytes()].concat();
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    out.extend(directory);
    out.extend([b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &size, &at, &[0, 0]].concat());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A layer with a package of npm's.
fn layer(version: &str) -> String {
    let text = json!({"name": "thing", "version": version}).to_string();
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "app/node_modules/thing/package.json");
    put(100, "0000644");
    put(124, &format!("{:011o}", text.len()));
    put(148, "        ");
    put(156, "0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut tar = header.to_vec();
    tar.write_all(text.as_bytes()).unwrap();
    tar.resize(512 * 4, 0);
    String::from_utf8(tar).unwrap()
}

#[tokio::test]
async fn findings_are_those_of_the_database_now() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("db");
    know(&database, "1.0.0");
    let config = json!({
        "scanning": {"database": database, "suppressions": [{"id": "CVE-1", "repositories": ["accepted/*"], "reason": "not reached"}]},
        "repositories": [{"name": "strict/*", "refuseSeverity": "high"}, {"name": "accepted/*", "refuseSeverity": "high"}],
    });
    let registry = registry(&dir.path().join("registry"), config);
    for name in ["team/app", "strict/app", "accepted/app"] {
        push(&registry, name, "v1", &layer("1.5.0")).await;
    }
    let findings = |name: &str| format!("GET /v2/{name}/_skiff/findings/v1");
    let found = ask(&registry, &findings("team/app"), &[], "").await.is(200).json();
    assert_eq!(
        (&found["findings"], &found["packages"], &found["databaseRevision"]),
        (&json!([]), &json!(1), &json!(1))
    );
    ask(&registry, "GET /v2/strict/app/manifests/v1", &[], "").await.is(200);
    know(&database, "2.0.0");
    let found = ask(&registry, &findings("team/app"), &[], "").await.is(200).json();
    assert_eq!((&found["counts"]["high"], &found["findings"][0]["fixedIn"]), (&json!(1), &json!("2.0.0")));
    assert_eq!(found["findings"][0]["path"], "app/node_modules/thing/package.json");
    let refused = ask(&registry, "GET /v2/strict/app/manifests/v1", &[], "").await.refuses(403, "DENIED");
    assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("severity high"));
    ask(&registry, "GET /v2/accepted/app/manifests/v1", &[], "").await.is(200);
    let found = ask(&registry, &findings("accepted/app"), &[], "").await.is(200).json();
    assert_eq!((&found["counts"]["high"], &found["findings"][0]["suppressed"]), (&json!(0), &json!("not reached")));
    ask(&registry, "GET /v2/team/app/_skiff/findings/none", &[], "").await.refuses(404, "MANIFEST_UNKNOWN");
    ask(&registry, "PUT /v2/team/app/_skiff/findings/v1", &[], "").await.is(405);
}

#[tokio::test]
async fn what_is_no_image_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(&dir.path().join("registry"), json!({"scanning": {"database": dir.path().join("db")}}));
    push(&registry, "team/app", "v1", "no archive").await;
    let found = ask(&registry, "GET /v2/team/app/_skiff/findings/v1", &[], "").await.is(200).json();
    assert!(found["unscanned"][0].as_str().unwrap().contains(sha256("no archive").as_str()), "{found}");
    let empty = json!({"schemaVersion": 2, "mediaType": support::INDEX, "manifests": []}).to_string();
    let header = format!("content-type: {}", support::INDEX);
    ask(&registry, "PUT /v2/team/app/manifests/index", &[&header], empty).await.is(201);
    let found = ask(&registry, "GET /v2/team/app/_skiff/findings/index", &[], "").await.is(200).json();
    assert_eq!(found["unscanned"], json!(["this has no layers of an image"]));
    let without = support::open(&dir.path().join("other"));
    ask(&without, "GET /v2/team/app/_skiff/findings/v1", &[], "").await.refuses(404, "UNSUPPORTED");
}

/// Waits until the figures have this line.
async fn shows(registry: &Registry, line: &str) {
    for _ in 0..600 {
        if registry.metrics().lines().any(|one| one == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{line} in\n{}", registry.metrics());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_scanned_and_again_as_the_database_changes() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("db");
    know(&database, "2.0.0");
    let registry =
        registry(&dir.path().join("registry"), json!({"scanning": {"database": database, "everySeconds": 1}}));
    let stop = CancellationToken::new();
    let scanning = tokio::spawn(keep_scanned(registry.clone(), stop.clone()));
    push(&registry, "team/app", "v1", &layer("1.5.0")).await;
    shows(&registry, "skiff_registry_findings{severity=\"high\"} 1").await;
    know(&database, "1.0.0");
    shows(&registry, "skiff_registry_findings{severity=\"high\"} 0").await;
    stop.cancel();
    scanning.await.unwrap();
}
