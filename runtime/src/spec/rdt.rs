//! `linux.intelRdt` as meant: a class of cache and memory bandwidth (runtime-spec config-linux, IntelRdt).

use super::config::IntelRdt;
use crate::error::{Error, Result};

/// Names in a resctrl filesystem that are no classes (kernel, arch/x86/resctrl).
const NOT_CLASSES: &[&str] = &["", ".", "..", "info", "mon_groups", "mon_data"];

/// Which class the container is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    /// One that has the container's id for its name, and its life.
    Own,
    /// One that other containers may be in as well.
    Named(String),
    /// The one that every process of the host is in.
    Default,
}

/// A class and what it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rdt {
    pub(crate) class: Class,
    /// Lines for the class's file `schemata`, none without one; each resource is in one line at most.
    pub(crate) schemata: Vec<String>,
    /// Whether what the container uses is counted apart from the rest of its class.
    pub(crate) is_monitored: bool,
}

impl Rdt {
    /// Reads `written`, for the container `id`.
    ///
    /// # Errors
    /// A name that is none, or a line that no kernel would take; by field path.
    pub(crate) fn check(id: &str, written: Option<&IntelRdt>) -> Result<Option<Self>> {
        let Some(written) = written else { return Ok(None) };
        let class = match written.clos_id.as_deref() {
            None | Some("") => Class::Own,
            Some("/") => Class::Default,
            Some(name) => Class::Named(name.to_owned()),
        };
        let name = if let Class::Named(name) = &class { name } else { id };
        if class != Class::Default && (NOT_CLASSES.contains(&name) || name.contains(['/', '\n', '\0'])) {
            return Err(refused("closID", format!("`{}` is not the name of a class", name.escape_debug())));
        }
        let l3 = written.l3_cache_schema.as_deref().unwrap_or_default();
        let bandwidth = written.mem_bw_schema.as_deref().unwrap_or_default();
        let mut schemata = schemata(l3, bandwidth)?;
        for (index, text) in written.schemata.iter().flatten().enumerate() {
            // What is here counts, wherever else a resource is named as well.
            let line = line(&format!("schemata[{index}]"), text)?;
            replace(&mut schemata, line);
        }
        let asked = [written.enable_monitoring, written.enable_cmt, written.enable_mbm];
        Ok(Some(Self { class, schemata, is_monitored: asked.contains(&Some(true)) }))
    }
}

/// The lines of `l3CacheSchema` and of `memBwSchema`; where both tell the bandwidth, the second one counts.
///
/// # Errors
/// A line that no kernel would take; by field path.
pub(crate) fn schemata(l3: &str, bandwidth: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (field, text) in [("l3CacheSchema", l3), ("memBwSchema", bandwidth)] {
        for text in text.lines().filter(|text| !text.trim().is_empty()) {
            replace(&mut lines, line(field, text)?);
        }
    }
    Ok(lines)
}

/// Puts `line` in the place of the one about the same resource, or after all.
fn replace(lines: &mut Vec<String>, line: String) {
    match lines.iter_mut().find(|other| resource(other) == resource(&line)) {
        Some(other) => *other = line,
        None => lines.push(line),
    }
}

/// What a line is about: `L3`, `MB` …
pub(crate) fn resource(line: &str) -> &str {
    line.split(':').next().unwrap_or_default().trim()
}

/// Checks the form `RESOURCE:id=value;id=value`. What the values may be is the kernel's to say.
fn line(field: &str, text: &str) -> Result<String> {
    let text = text.trim();
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    let is_domain =
        |domain: &str| domain.split_once('=').is_some_and(|(id, value)| is_word(id.trim()) && is_word(value));
    let has_form =
        text.split_once(':').is_some_and(|(name, domains)| is_word(name) && domains.split(';').all(is_domain));
    match has_form {
        true => Ok(text.to_owned()),
        false => Err(refused(field, format!("`{}` is not of the form L3:0=ff;1=ff", text.escape_debug()))),
    }
}

fn refused(field: &str, reason: String) -> Error {
    Error::refused(format!("linux.intelRdt.{field}"), reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn check(json: Value) -> Result<Rdt> {
        let written: IntelRdt = serde_json::from_value(json).unwrap();
        Ok(Rdt::check("web", Some(&written))?.unwrap())
    }

    fn lines(json: Value) -> Vec<String> {
        check(json).unwrap().schemata
    }

    #[test]
    fn the_class_is_named_or_the_containers_own_or_everybodys() {
        assert_eq!(check(json!({})).unwrap().class, Class::Own);
        assert_eq!(check(json!({"closID": ""})).unwrap().class, Class::Own);
        assert_eq!(check(json!({"closID": "gold"})).unwrap().class, Class::Named("gold".to_owned()));
        assert_eq!(check(json!({"closID": "/"})).unwrap().class, Class::Default);
        for bad in [".", "..", "a/b", "/a", "info", "mon_groups", "mon_data", "a\nb"] {
            let said = check(json!({"closID": bad})).unwrap_err().to_string();
            assert!(said.starts_with("linux.intelRdt.closID: "), "{bad}: {said}");
        }
        let said = Rdt::check("info", Some(&IntelRdt::default())).unwrap_err().to_string();
        assert!(said.starts_with("linux.intelRdt.closID: "), "{said}");
        assert_eq!(Rdt::check("info", None).unwrap(), None);
    }

    #[test]
    fn one_line_for_each_resource() {
        let both = json!({"l3CacheSchema": "L3:0=f;1=f\nMB:0=10", "memBwSchema": "MB:0=20"});
        assert_eq!(lines(both), ["L3:0=f;1=f", "MB:0=20"]);
        assert_eq!(lines(json!({"l3CacheSchema": "L3:0=f\nMB:0=10"})), ["L3:0=f", "MB:0=10"]);
        let all = json!({"l3CacheSchema": "L3:0=f", "schemata": ["L2:0=1", "L3:0=3"]});
        assert_eq!(lines(all), ["L3:0=3", "L2:0=1"]);
        assert_eq!(lines(json!({"l3CacheSchema": "", "memBwSchema": ""})), [""; 0]);
    }

    #[test]
    fn what_no_kernel_takes_is_refused_by_path() {
        for (json, field) in [
            (json!({"l3CacheSchema": "f"}), "l3CacheSchema"),
            (json!({"l3CacheSchema": "L3:0"}), "l3CacheSchema"),
            (json!({"memBwSchema": "MB:0=1;"}), "memBwSchema"),
            (json!({"schemata": ["L3:0=f", "L3:0=f\nMB:0=1"]}), "schemata[1]"),
        ] {
            let said = check(json).unwrap_err().to_string();
            assert!(said.starts_with(&format!("linux.intelRdt.{field}: ")), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_schema_makes_it_panic_or_breaks_a_line(l3 in "[L3MB:0-9=;\n ]{0,40}", bandwidth in "\\PC{0,20}") {
            if let Ok(lines) = schemata(&l3, &bandwidth) {
                let names: std::collections::BTreeSet<_> = lines.iter().map(|line| resource(line)).collect();
                prop_assert_eq!(names.len(), lines.len());
                prop_assert!(lines.iter().all(|line| !line.contains('\n')));
            }
        }
    }
}
