//! What `.dockerignore` keeps out of the context: the last pattern that means a path, or a folder above it, decides.

use crate::pattern::Pattern;

/// The file's patterns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignore {
    /// Pattern, and whether it brings back (`!`).
    patterns: Vec<(Pattern, bool)>,
}

impl Ignore {
    /// Nothing is kept out.
    pub(crate) const fn none() -> Self {
        Self { patterns: Vec::new() }
    }

    /// Reads the file.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (line, brings_back) = line.strip_prefix('!').map_or((line, false), |line| (line.trim(), true));
            let Some(line) = cleaned(line) else { continue };
            let pattern =
                Pattern::read(&line, true).map_err(|error| format!(".dockerignore: line {number}: {error}"))?;
            patterns.push((pattern, brings_back));
        }
        Ok(Self { patterns })
    }

    /// Whether the path (relative, with slashes) is kept out.
    pub(crate) fn keeps_out(&self, path: &str) -> bool {
        let mut out = false;
        for (pattern, brings_back) in &self.patterns {
            if out == *brings_back && above(path).any(|path| pattern.matches(path)) {
                out = !brings_back;
            }
        }
        out
    }

    /// Whether something in a folder that is kept out may be in after all.
    pub(crate) fn may_bring_back(&self) -> bool {
        self.patterns.iter().any(|(_, brings_back)| *brings_back)
    }
}

/// The path, and the folders above it.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(above, _)| above))
}

/// Without slashes around it, `.` and `..`, as Go's filepath.Clean; none if nothing is left.
fn cleaned(pattern: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_pattern_decides() {
        let ignore = Ignore::read("# all logs\n*.log\n!keep.log\n/target/\n**/.git\n!target/doc\n\nx/*\n").unwrap();
        for (path, expected) in [
            ("a.log", true),
            ("keep.log", false),
            ("deep/a.log", false),
            ("target", true),
            ("target/a", true),
            ("target/doc", false),
            ("target/doc/x", false),
            ("a/.git/config", true),
            ("x", false),
            ("x/a", true),
            ("src", false),
        ] {
            assert_eq!(ignore.keeps_out(path), expected, "{path}");
        }
        assert!(Ignore::read("a\n[b").unwrap_err().contains("line 2"));
    }

    proptest! {
        #[test]
        fn a_star_keeps_everything_out(path in "[a-z]{1,5}(/[a-z]{1,5}){0,3}") {
            prop_assert!(Ignore::read("*").unwrap().keeps_out(&path));
            prop_assert!(!Ignore::read("*\n!**").unwrap().keeps_out(&path));
        }
    }
}
