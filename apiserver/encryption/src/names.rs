//! Which resources are meant: `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`. And which resource a path in the store
//! is one of.

/// A resource of a group; `*` stands for any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// Empty: the core group.
    pub group: String,
    /// The plural name.
    pub resource: String,
}

impl GroupResource {
    /// Reads `resource.group`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }

    /// As configurations write it.
    #[must_use]
    pub fn shown(&self) -> String {
        let dot = if self.group.is_empty() && self.resource != "*" { "" } else { "." };
        format!("{}{dot}{}", self.resource, self.group)
    }

    /// Any resource of the same group.
    pub(crate) fn any_in_group(&self) -> Self {
        Self { group: self.group.clone(), resource: "*".to_owned() }
    }

    /// Any resource.
    pub(crate) fn any() -> Self {
        Self { group: "*".to_owned(), resource: "*".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for name in ["secrets", "deployments.apps", "pandas.awesome.bears.example", "*.apps", "*.", "*.*"] {
            assert_eq!(GroupResource::parse(name).shown(), name);
        }
        assert_eq!(GroupResource::parse("a.b.c"), GroupResource { group: "b.c".to_owned(), resource: "a".to_owned() });
    }
}
