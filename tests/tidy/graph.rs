//! The table of design section 4 against the real crate graph.

use crate::root;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which crates of ours a crate may use (outside its tests). Words (`proto`, `schema`) and doors (`sys`, `step`, `client`)
/// are for many; a neighbour's inside is for nobody. `skiff` assembles, so it may use all that start.
const MAY_USE: &[(&str, &[&str])] = &[
    ("skiff-proto", &[]),
    ("skiff-sys", &[]),
    ("skiff-step", &[]),
    ("skiff-cel", &["skiff-proto"]),
    ("skiff-policy", &["skiff-cel"]),
    ("skiff-schema", &["skiff-proto", "skiff-cel", "skiff-policy"]),
    ("skiff-client", &[]),
    ("skiff-audit", &[]),
    ("skiff-authn", &["skiff-cel"]),
    ("skiff-store", &["skiff-proto"]),
    ("skiff-authz", &[]),
    ("skiff-encryption", &[]),
    ("skiff-fairness", &[]),
    (
        "skiff-apiserver",
        &[
            "skiff-audit",
            "skiff-authn",
            "skiff-authz",
            "skiff-cel",
            "skiff-client",
            "skiff-encryption",
            "skiff-fairness",
            "skiff-policy",
            "skiff-quota",
            "skiff-proto",
            "skiff-schema",
            "skiff-step",
            "skiff-store",
        ],
    ),
    ("skiff-scheduler", &["skiff-cel", "skiff-client", "skiff-proto", "skiff-step"]),
    ("skiff-controllers", &["skiff-authn", "skiff-client", "skiff-csi", "skiff-policy", "skiff-proto", "skiff-quota"]),
    ("skiff-quota", &["skiff-proto"]),
    ("skiff-why", &["skiff-proto"]),
    ("skiff-csi", &[]),
    ("skiff-csi-local", &["skiff-csi"]),
    ("skiff-devices", &["skiff-csi"]),
    ("skiff-pulls", &["skiff-proto"]),
    ("skiff-kubelet", &["skiff-client", "skiff-csi", "skiff-devices", "skiff-proto", "skiff-pulls", "skiff-step"]),
    ("skiff-proxy", &["skiff-client", "skiff-sys", "skiff-step"]),
    ("skiff-dns", &["skiff-client"]),
    ("skiff-ingress", &["skiff-client"]),
    ("skiff-netpol", &["skiff-client", "skiff-sys", "skiff-step"]),
    ("skiff-keys", &["skiff-authn", "skiff-client"]),
    ("skiff-supervise", &["skiff-sys", "skiff-step"]),
    ("skiff-oci", &["skiff-sys", "skiff-step", "skiff-supervise"]),
    ("skiff-distribution", &[]),
    ("skiff-image", &["skiff-distribution", "skiff-sys", "skiff-step"]),
    ("skiff-build", &["skiff-image"]),
    ("skiff-net", &["skiff-sys", "skiff-step"]),
    ("skiff-streams", &[]),
    ("skiff-scan", &[]),
    ("skiff-registry", &["skiff-authn", "skiff-distribution", "skiff-scan", "skiff-step"]),
    // It executes the runtime and never links it; of the supervisor it knows the words.
    (
        "skiff-cri",
        &["skiff-proto", "skiff-image", "skiff-net", "skiff-supervise", "skiff-streams", "skiff-sys", "skiff-step"],
    ),
    ("skiff-web", &[]),
    ("skiff-harness", &[]),
    ("skiff-vm-init", &["skiff-sys"]),
    ("skiff-vm", &["skiff-vm-init"]),
    (
        "skiff",
        &[
            "skiff-proto",
            "skiff-apiserver",
            "skiff-store",
            "skiff-audit",
            "skiff-authn",
            "skiff-client",
            "skiff-scheduler",
            "skiff-controllers",
            "skiff-kubelet",
            "skiff-csi-local",
            "skiff-proxy",
            "skiff-dns",
            "skiff-ingress",
            "skiff-netpol",
            "skiff-keys",
            "skiff-image",
            "skiff-build",
            "skiff-net",
            "skiff-registry",
            "skiff-cri",
            "skiff-step",
            "skiff-sys",
            "skiff-why",
        ],
    ),
];

/// Packages that may end up in the OCI runtime's binary.
const RUNTIME_PACKAGES_MAX: usize = 40;

/// Packages that may end up in the `skiff` binary. A ratchet: each costs every user build time and trust.
const LINKED_PACKAGES_MAX: usize = 300;

fn cargo(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let ours = packages.map(|package| {
        let uses = package["dependencies"].as_array().unwrap().iter();
        let uses = uses.filter(|dependency| dependency["kind"].is_null() && !dependency["path"].is_null());
        let names = uses.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    });
    ours.collect()
}

#[test]
fn crates_use_only_whom_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    for (name, uses) in graph() {
        let may = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the table"));
        for used in uses {
            assert!(may.contains(&used.as_str()), "{name} uses {used}: does the table change, or the crate?");
        }
    }
}

/// Name and version of each package that a crate of ours links, itself among them.
fn linked(package: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "-p", package, "-e", "normal,no-proc-macro", "--prefix", "none", "--offline"]);
    let packages = tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    packages.filter(|package| !package.is_empty()).collect()
}

#[test]
fn the_runtime_stays_small() {
    let packages = linked("skiff-oci");
    assert!(packages.len() <= RUNTIME_PACKAGES_MAX, "{} packages in skiff-oci: {packages:?}", packages.len());
}

#[test]
fn the_whole_stays_buildable() {
    let packages = linked("skiff");
    assert!(packages.len() <= LINKED_PACKAGES_MAX, "{} packages in skiff: which one can go?", packages.len());
}

#[test]
fn every_dependency_has_its_line() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, table) = text.split_once("[workspace.dependencies]").unwrap();
    let (table, _) = table.split_once("\n[package]").unwrap();
    let listed = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let names = table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let missing: Vec<_> =
        names.filter(|name| !name.starts_with("skiff-") && !listed.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/dependencies.md does not say why these earn their place: {missing:?}");
}
