//! Package databases of distributions: dpkg's, apk's, and in words rpm's.
//!
//! Records of vulnerabilities name source packages, so that is what a package is called here.

use super::{Reader, Told, lines};

pub(super) fn reader(path: &str) -> Option<Reader> {
    match path {
        "etc/os-release" | "usr/lib/os-release" => Some(|_, bytes| Told::Distribution(distribution(bytes))),
        "var/lib/dpkg/status" => Some(|_, bytes| Told::System(dpkg(bytes))),
        "lib/apk/db/installed" | "usr/lib/apk/db/installed" => Some(|_, bytes| Told::System(apk(bytes))),
        "var/lib/rpm/Packages"
        | "var/lib/rpm/rpmdb.sqlite"
        | "var/lib/rpm/Packages.db"
        | "usr/lib/sysimage/rpm/rpmdb.sqlite"
        | "usr/lib/sysimage/rpm/Packages.db" => Some(|path, _| {
            Told::Unread(format!("{path}: databases of rpm are not read, so no package of the distribution is known"))
        }),
        // Images without a package manager have a file for each package.
        _ => {
            let name = path.strip_prefix("var/lib/dpkg/status.d/")?;
            (!name.contains('/') && !name.ends_with(".md5sums")).then_some(|_, bytes| Told::System(dpkg(bytes)))
        }
    }
}

/// The ecosystem that os-release(5) tells of.
fn distribution(bytes: &[u8]) -> Result<String, String> {
    let value = |name: &str| {
        let line = lines(bytes).find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let (id, version) = (value("ID"), value("VERSION_ID"));
    match id.as_str() {
        "debian" if !version.is_empty() => Ok(format!("Debian:{}", version.split('.').next().unwrap_or_default())),
        "alpine" if !version.is_empty() => {
            let mut numbers = version.split(['.', '_']);
            Ok(format!("Alpine:v{}.{}", numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()))
        }
        _ => Err(format!("{id} {version}").trim().to_owned()),
    }
}

/// Records of fields, with an empty line between two of them.
fn records(bytes: &[u8], separator: char) -> Vec<Vec<(&str, &str)>> {
    let mut all = vec![Vec::new()];
    for line in lines(bytes) {
        if line.is_empty() {
            all.push(Vec::new());
        } else if let (Some(record), Some((name, value))) = (all.last_mut(), line.split_once(separator))
            && !line.starts_with([' ', '\t'])
        {
            record.push((name, value.trim()));
        }
    }
    all
}

fn field<'a>(record: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    record.iter().find(|(one, _)| *one == name).map(|(_, value)| *value).filter(|value| !value.is_empty())
}

/// deb822(5): `Source: name (version)`, where either may be left out if it is the package's own.
fn dpkg(bytes: &[u8]) -> Vec<(String, String)> {
    let one = |record: &Vec<(&str, &str)>| {
        let (name, version) = (field(record, "Package")?, field(record, "Version")?);
        // "want flag, error flag, status": files are there unless it says not-installed or config-files. A file of its own says nothing.
        let gone = field(record, "Status")
            .is_some_and(|status| status.ends_with(" config-files") || status.ends_with(" not-installed"));
        let source = field(record, "Source").unwrap_or(name);
        let (source, its) =
            source.split_once(" (").map_or((source, version), |(source, its)| (source, its.trim_end_matches(')')));
        (!gone).then(|| (source.to_owned(), its.to_owned()))
    };
    records(bytes, ':').iter().filter_map(one).collect()
}

/// apk-tools' `installed`: P, V, and o for the package that it was built from.
fn apk(bytes: &[u8]) -> Vec<(String, String)> {
    let one = |record: &Vec<(&str, &str)>| {
        let name = field(record, "o").or_else(|| field(record, "P"))?;
        Some((name.to_owned(), field(record, "V")?.to_owned()))
    };
    records(bytes, ':').iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn dpkg_tells_source_packages() {
        let status = "Package: libssl3\nStatus: install ok installed\nSource: openssl (3.0.1-2)\nVersion: 3.0.1-2+b1\nDescription: x\n Package: no\n\n\
                      Package: bash\nStatus: install ok installed\nVersion: 5.2-1\n\n\
                      Package: old\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: libc6\nSource: glibc\nVersion: 2.36-9\n";
        assert_eq!(dpkg(status.as_bytes()), pairs(&[("openssl", "3.0.1-2"), ("bash", "5.2-1"), ("glibc", "2.36-9")]));
        assert!(
            reader("var/lib/dpkg/status.d/base").is_some() && reader("var/lib/dpkg/status.d/base.md5sums").is_none()
        );
    }

    #[test]
    fn apk_tells_origins() {
        let installed = "C:Q1x\nP:libcrypto3\nV:3.1.4-r5\no:openssl\nF:lib\n\nP:busybox\nV:1.36.1-r15\n";
        assert_eq!(apk(installed.as_bytes()), pairs(&[("openssl", "3.1.4-r5"), ("busybox", "1.36.1-r15")]));
    }

    #[test]
    fn a_distribution_is_an_ecosystem() {
        let of = |text: &str| distribution(text.as_bytes());
        assert_eq!(of("ID=debian\nVERSION_ID=\"12\"\n"), Ok("Debian:12".to_owned()));
        assert_eq!(of("NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20.1\n"), Ok("Alpine:v3.20".to_owned()));
        assert_eq!(of("ID=\"fedora\"\nVERSION_ID=41\n"), Err("fedora 41".to_owned()));
        assert_eq!(of("ID=debian\n"), Err("debian".to_owned()), "what is not released has no version");
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _all = (dpkg(&bytes), apk(&bytes), distribution(&bytes));
        }
    }
}
