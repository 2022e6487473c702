//! What an image has installed: the files of its layers, one over the other. Pure.

use crate::files::Told;
use crate::layer::Layer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Whose it is, as OSV names them: `Debian:12`, `npm`.
    pub ecosystem: String,
    /// Its name there; of distributions the source package's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file that tells of it.
    pub path: String,
}

impl Package {
    pub(crate) fn of(ecosystem: &str, name: &str, version: &str, path: &str) -> Self {
        // OSV writes Go's versions without the letter that they have elsewhere.
        let version = if ecosystem == "Go" { version.strip_prefix('v').unwrap_or(version) } else { version };
        let name = normal_name(ecosystem, name);
        Self { ecosystem: ecosystem.to_owned(), name, version: version.to_owned(), path: path.to_owned() }
    }
}

/// A package's name as all write it: PyPI's are in small letters, with a `-` for any run of `-`, `_` and `.` ("Normalized names").
#[must_use]
pub fn normal_name(ecosystem: &str, name: &str) -> String {
    if ecosystem != "PyPI" {
        return name.to_owned();
    }
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// What an image has installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Its packages.
    pub packages: BTreeSet<Package>,
    /// What could not be looked into, in words.
    #[serde(default)]
    pub unscanned: BTreeSet<String>,
}

impl Inventory {
    /// What is installed once the layers lie over each other, the lowest first.
    #[must_use]
    pub fn of(layers: &[Layer]) -> Self {
        let mut files: BTreeMap<&str, &Told> = BTreeMap::new();
        let mut inventory = Self::default();
        for layer in layers {
            files.retain(|path, _| !layer.hides(path));
            files.extend(layer.files.iter().map(|(path, told)| (path.as_str(), told)));
            inventory.unscanned.extend(layer.unscanned.iter().cloned());
        }
        let told = |path: &str| match files.get(path) {
            Some(Told::Distribution(distribution)) => Some(distribution),
            _ => None,
        };
        let distribution = told("etc/os-release").or_else(|| told("usr/lib/os-release"));
        for (path, told) in &files {
            inventory.add(path, told, distribution);
        }
        inventory
    }

    fn add(&mut self, path: &str, told: &Told, distribution: Option<&Result<String, String>>) {
        match (told, distribution) {
            (Told::Language(packages), _) => self.packages.extend(packages.iter().cloned()),
            (Told::System(packages), Some(Ok(ecosystem))) => {
                self.packages
                    .extend(packages.iter().map(|(name, version)| Package::of(ecosystem, name, version, path)));
            }
            (Told::System(packages), other) => {
                let of = match other {
                    Some(Err(words)) if !words.is_empty() => {
                        format!("the distribution \"{}\" is not known", words.escape_default())
                    }
                    _ => "no os-release says which distribution this is".to_owned(),
                };
                self.unscanned.insert(format!("{path}: {} packages, but {of}", packages.len()));
            }
            (Told::Unread(words), _) => {
                self.unscanned.insert(words.clone());
            }
            (Told::Distribution(_), _) => {}
        }
    }

    /// Adds what another image has: an index is all of its images.
    pub fn join(&mut self, other: Self) {
        self.packages.extend(other.packages);
        self.unscanned.extend(other.unscanned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tests::{layer, tar};

    fn names(layers: &[Layer]) -> Vec<String> {
        Inventory::of(layers)
            .packages
            .into_iter()
            .map(|one| format!("{} {} {}", one.ecosystem, one.name, one.version))
            .collect()
    }

    const DEBIAN: (&str, &str) = ("usr/lib/os-release", "ID=debian\nVERSION_ID=12\n");

    #[test]
    fn a_later_layer_counts() {
        let base = layer(&tar(&[
            DEBIAN,
            ("var/lib/dpkg/status", "Package: a\nVersion: 1\n"),
            ("app/go.sum", "m v1.0.0 h1:\n"),
        ]));
        let next = layer(&tar(&[("var/lib/dpkg/status", "Package: a\nVersion: 2\n")]));
        assert_eq!(names(&[base.clone(), next.clone()]), ["Debian:12 a 2", "Go m 1.0.0"]);
        let without = layer(&tar(&[("app/.wh.go.sum", "")]));
        assert_eq!(names(&[base.clone(), next.clone(), without]), ["Debian:12 a 2"]);
        let opaque = layer(&tar(&[("app/.wh..wh..opq", ""), ("app/sub/go.sum", "n v2.0.0 h1:\n")]));
        assert_eq!(names(&[base, next, opaque]), ["Debian:12 a 2", "Go n 2.0.0"]);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let inventory = Inventory::of(&[layer(&tar(&[
            ("etc/os-release", "ID=other\n"),
            ("var/lib/dpkg/status", "Package: a\nVersion: 1\n"),
            ("var/lib/rpm/rpmdb.sqlite", "x"),
        ]))]);
        let all: Vec<String> = inventory.unscanned.into_iter().collect();
        assert!(inventory.packages.is_empty() && all.len() == 2, "{all:?}");
        assert!(all[0].contains("1 packages, but the distribution \"other\" is not known"), "{all:?}");
        assert!(all[1].contains("rpm are not read"), "{all:?}");
    }

    #[test]
    fn names_of_pypi_are_normal() {
        assert_eq!(normal_name("PyPI", "Foo__Bar.baz"), "foo-bar-baz");
        assert_eq!(normal_name("npm", "Foo_Bar"), "Foo_Bar");
    }
}
