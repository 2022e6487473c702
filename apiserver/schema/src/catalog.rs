//! Which resources are served: immutable, shared, and replaced as a whole when a custom resource comes or goes.
//!
//! A request takes the catalogue once and keeps it, so that nothing changes under it. What is derived from a catalogue (discovery,
//! OpenAPI) is good for one generation.

use crate::Resource;
use crate::openapi::Documents;
use crate::{kinds, resource};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// The resources of a server at one time.
#[derive(Debug)]
pub struct Catalog {
    /// How often resources have come or gone before.
    generation: u64,
    /// Ordered by group (core first), version in order of preference, and name.
    resources: Vec<Arc<Resource>>,
    /// Places by name in paths.
    by_plural: HashMap<String, Vec<usize>>,
    /// Places by kind.
    by_kind: HashMap<String, Vec<usize>>,
    /// OpenAPI about the resources, made when it is asked for.
    documents: Documents,
}

impl Catalog {
    /// The built-in resources.
    #[must_use]
    pub fn builtin() -> &'static Arc<Self> {
        static BUILTIN: OnceLock<Arc<Catalog>> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let mut resources: Vec<_> = kinds::rows().map(|row| Arc::new(Resource::from(row))).collect();
            resources.sort_by(|one, other| place(one).cmp(&place(other)));
            Arc::new(Self::of(0, resources, Documents::new))
        })
    }

    /// The built-in resources and `custom` ones, as the next generation of this catalogue. The versions of a group come in the order of
    /// `custom`.
    #[must_use]
    pub fn with(&self, custom: Vec<Arc<Resource>>) -> Self {
        let mut resources = Self::builtin().resources.clone();
        resources.extend(custom);
        // Stable: versions of a custom resource stay in their order of preference.
        resources.sort_by(|one, other| one.group.cmp(&other.group));
        Self::of(self.generation + 1, resources, |resources| self.documents.followed_by(resources))
    }

    fn of(
        generation: u64,
        resources: Vec<Arc<Resource>>,
        documents: impl FnOnce(Vec<Arc<Resource>>) -> Documents,
    ) -> Self {
        let index = |name: fn(&Resource) -> &str| {
            let mut index: HashMap<String, Vec<usize>> = HashMap::new();
            for (at, resource) in resources.iter().enumerate() {
                index.entry(name(resource).to_owned()).or_default().push(at);
            }
            index
        };
        let (by_plural, by_kind) = (index(|it| &it.plural), index(|it| &it.kind));
        let documents = documents(resources.clone());
        Self { generation, resources, by_plural, by_kind, documents }
    }

    /// The OpenAPI documents about the resources.
    #[must_use]
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Counts changes; equal for equal catalogues of one server.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All resources, ordered by group (core first), version in order of preference, and name.
    #[must_use]
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// The resource a path names: group (empty for core), version, plural.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let found = self.by_plural.get(plural)?.iter().filter_map(|at| self.resources.get(*at));
        found.into_iter().find(|resource| resource.group == group && resource.version == version)
    }

    /// The resource an object names by its `apiVersion` and `kind`.
    #[must_use]
    pub fn find_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let found = self.by_kind.get(kind)?.iter().filter_map(|at| self.resources.get(*at));
        found.into_iter().find(|resource| resource.group == group && resource.version == version)
    }

    /// All groups, core first.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.resources.iter().map(|resource| &*resource.group).collect();
        groups.dedup();
        groups
    }

    /// The versions of a group, preferred first.
    #[must_use]
    pub fn versions(&self, group: &str) -> Vec<&str> {
        let mut versions: Vec<&str> = Vec::new();
        for resource in self.resources.iter().filter(|resource| resource.group == group) {
            if !versions.contains(&&*resource.version) {
                versions.push(&resource.version);
            }
        }
        versions
    }

    /// The resources of a group and version.
    pub fn of_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.resources.iter().filter(move |resource| resource.group == group && resource.version == version)
    }
}

/// Newer versions of a built-in group come first: v2 before v1.
fn place(resource: &Resource) -> (&str, std::cmp::Reverse<&str>, &str) {
    (&resource.group, std::cmp::Reverse(&*resource.version), &resource.plural)
}

/// The built-in resources.
#[must_use]
pub fn resources() -> &'static [Arc<Resource>] {
    Catalog::builtin().resources()
}

/// The built-in resource a path names.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    Catalog::builtin().find(group, version, plural)
}

/// The built-in resource an object names by its `apiVersion` and `kind`.
#[must_use]
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Arc<Resource>> {
    Catalog::builtin().find_kind(api_version, kind)
}

/// A kind that is only the body of a subresource or of options: `autoscaling/v1` Scale, `v1` Binding, `policy/v1` Eviction,
/// DeleteOptions. Give it to [`crate::decode`] like any resource.
///
/// DeleteOptions belong to `meta.k8s.io/v1`, but typed clients send them as `apps/v1` or whatever group they are about, so any
/// version will do, as in Kubernetes' own scheme.
#[must_use]
pub fn find_auxiliary(api_version: &str, kind: &str) -> Option<&'static Arc<Resource>> {
    let api_version = if kind == "DeleteOptions" { "meta.k8s.io/v1" } else { api_version };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    auxiliary().iter().find(|it| it.group == group && it.version == version && it.kind == kind)
}

/// All of those.
pub(crate) fn auxiliary() -> &'static [Arc<Resource>] {
    static AUXILIARY: OnceLock<Vec<Arc<Resource>>> = OnceLock::new();
    AUXILIARY.get_or_init(|| resource::auxiliary_rows().iter().map(|row| Arc::new(Resource::from(row))).collect())
}
