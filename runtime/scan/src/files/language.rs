//! Packages of languages: lock files, and what npm and pip leave beside what they install.

use super::{Reader, Told, lines};
use crate::inventory::Package;
use serde_json::Value;

pub(super) fn reader(path: &str) -> Option<Reader> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "Cargo.lock" => Some(|path, bytes| Told::Language(locked(path, bytes, "crates.io"))),
        "poetry.lock" | "uv.lock" => Some(|path, bytes| Told::Language(locked(path, bytes, "PyPI"))),
        "requirements.txt" => Some(|path, bytes| Told::Language(requirements(path, bytes))),
        "package-lock.json" | ".package-lock.json" | "npm-shrinkwrap.json" => Some(package_lock),
        "go.sum" => Some(|path, bytes| Told::Language(go_sum(path, bytes))),
        "METADATA" if folder.ends_with(".dist-info") => Some(|path, bytes| Told::Language(metadata(path, bytes))),
        "PKG-INFO" if folder.ends_with(".egg-info") => Some(|path, bytes| Told::Language(metadata(path, bytes))),
        "package.json" if is_module(folder) => Some(package_json),
        _ => None,
    }
}

/// Whether a folder is a package's own, `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
fn is_module(folder: &str) -> bool {
    let parts: Vec<&str> = folder.rsplit('/').take(3).collect();
    matches!(parts.as_slice(), [_, "node_modules", ..])
        || matches!(parts.as_slice(), [_, scope, "node_modules"] if scope.starts_with('@'))
}

/// Tables `[[package]]` of TOML, as programs write them: a key a line.
fn locked(path: &str, bytes: &[u8], ecosystem: &str) -> Vec<Package> {
    let (mut all, mut within, mut name) = (Vec::new(), false, None);
    for line in lines(bytes) {
        if line.starts_with('[') {
            (within, name) = (line.trim() == "[[package]]", None);
        }
        let value = |key: &str| {
            line.strip_prefix(key)?.trim_start().strip_prefix('=').map(|text| text.trim().trim_matches('"'))
        };
        if within && let Some(text) = value("name") {
            name = Some(text);
        }
        if let (true, Some(name), Some(version)) = (within, name, value("version")) {
            all.push(Package::of(ecosystem, name, version, path));
        }
    }
    all
}

/// Requirements that say one version, `name[extra]==1.0 ; marker --hash`; others name no version that could be looked for.
fn requirements(path: &str, bytes: &[u8]) -> Vec<Package> {
    let one = |line: &str| {
        let line = line.split([';', '#']).next()?.trim();
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?.trim();
        let version = version.trim_start_matches('=').split([' ', '\\', ',']).find(|part| !part.is_empty())?;
        let is_pinned = !version.contains('*') && !name.is_empty() && !name.starts_with('-');
        is_pinned.then(|| Package::of("PyPI", name, version, path))
    };
    lines(bytes).filter_map(one).collect()
}

/// npm's lock files: `packages` by path (versions 2 and 3), or `dependencies` by name (version 1).
fn package_lock(path: &str, bytes: &[u8]) -> Told {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return not_json(path) };
    let mut all = Vec::new();
    if let Some(packages) = document["packages"].as_object() {
        for (place, about) in packages {
            let Some((_, name)) = place.rsplit_once("node_modules/") else { continue };
            // An alias is called otherwise than the package.
            let name = about["name"].as_str().unwrap_or(name);
            all.extend(about["version"].as_str().map(|version| Package::of("npm", name, version, path)));
        }
    } else {
        dependencies(&document, path, &mut all);
    }
    Told::Language(all)
}

/// JSON is read to a depth of 128 at most, and so is this.
fn dependencies(of: &Value, path: &str, all: &mut Vec<Package>) {
    for (name, about) in of["dependencies"].as_object().into_iter().flatten() {
        all.extend(about["version"].as_str().map(|version| Package::of("npm", name, version, path)));
        dependencies(about, path, all);
    }
}

fn package_json(path: &str, bytes: &[u8]) -> Told {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return not_json(path) };
    let both = document["name"].as_str().zip(document["version"].as_str());
    Told::Language(both.map(|(name, version)| Package::of("npm", name, version, path)).into_iter().collect())
}

fn not_json(path: &str) -> Told {
    Told::Unread(format!("{path}: this is no JSON"))
}

/// `MODULE VERSION HASH`; lines of `VERSION/go.mod` are of modules that were looked at, and need not be in the program.
fn go_sum(path: &str, bytes: &[u8]) -> Vec<Package> {
    let one = |line: &str| {
        let mut words = line.split(' ');
        let (module, version) = (words.next()?, words.next()?);
        (!version.ends_with("/go.mod")).then(|| Package::of("Go", module, version, path))
    };
    lines(bytes).filter_map(one).collect()
}

/// "Core metadata": headers up to an empty line.
fn metadata(path: &str, bytes: &[u8]) -> Vec<Package> {
    let value = |name: &str| {
        lines(bytes).take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let both = value("Name").zip(value("Version"));
    both.map(|(name, version)| Package::of("PyPI", name.trim(), version.trim(), path)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `ecosystem name version` of each package that a file tells of.
    fn told(path: &str, text: &str) -> Vec<String> {
        let Told::Language(all) = reader(path).unwrap()(path, text.as_bytes()) else { return Vec::new() };
        all.into_iter().map(|one| format!("{} {} {}", one.ecosystem, one.name, one.version)).collect()
    }

    #[test]
    fn lock_files_are_read() {
        let cargo = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\ndependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\n\n[metadata]\nversion = \"9\"\n";
        assert_eq!(told("app/Cargo.lock", cargo), ["crates.io a 1.2.3", "crates.io b 0.1.0"]);
        assert_eq!(
            told(
                "poetry.lock",
                "[[package]]\nname = \"Flask_X\"\nversion = \"2.0\"\n\n[package.dependencies]\nname = \"no\"\nversion = \"1\"\n"
            ),
            ["PyPI flask-x 2.0"]
        );
        assert_eq!(
            told(
                "requirements.txt",
                "# all\nDjango==3.2 --hash=sha256:x\nrequests[socks]==2.0; python_version<'3'\nflask>=1\n-r more.txt\na==1.*\nb===1.0\n"
            ),
            ["PyPI django 3.2", "PyPI requests 2.0", "PyPI b 1.0"]
        );
        assert_eq!(
            told(
                "go.sum",
                "example.org/m v1.0.0 h1:x=\nexample.org/m v1.0.0/go.mod h1:x=\nexample.org/n/v2 v2.1.0 h1:y=\n"
            ),
            ["Go example.org/m 1.0.0", "Go example.org/n/v2 2.1.0"]
        );
    }

    #[test]
    fn what_npm_writes_is_read() {
        let third = r#"{"lockfileVersion": 3, "packages": {"": {"version": "1"}, "node_modules/@s/a": {"version": "1.0.0"}, "node_modules/x/node_modules/b": {"name": "real", "version": "2.0.0"}}}"#;
        assert_eq!(told("package-lock.json", third), ["npm @s/a 1.0.0", "npm real 2.0.0"]);
        let first = r#"{"dependencies": {"a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0"}}}}}"#;
        assert_eq!(told("srv/package-lock.json", first), ["npm a 1.0.0", "npm b 2.0.0"]);
        assert_eq!(
            told("srv/node_modules/@s/a/package.json", r#"{"name": "@s/a", "version": "1.0.0"}"#),
            ["npm @s/a 1.0.0"]
        );
        assert!(reader("srv/package.json").is_none() && reader("node_modules/a/lib/package.json").is_none());
        assert!(reader("node_modules/a/package.json").is_some());
    }

    #[test]
    fn what_pip_writes_is_read() {
        let path = "usr/lib/python3/dist-packages/PyYAML-6.0.dist-info/METADATA";
        assert_eq!(told(path, "Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0\n\nName: no\n"), ["PyPI pyyaml 6.0"]);
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for path in ["Cargo.lock", "requirements.txt", "package-lock.json", "go.sum", "a.dist-info/METADATA", "node_modules/a/package.json"] {
                let read = reader(path).unwrap();
                let _either_way = (read(path, text.as_bytes()), read(path, &bytes));
            }
        }
    }
}
