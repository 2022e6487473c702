//! `po`, `deploy/hello`, `apps/v1 Deployment`: which resource is meant.

use super::{Server, explain};
use anyhow::{Context, bail};
use skiff_proto::api::v1::{Address, Resource, ResourcesRequest};

/// What the server serves.
pub(crate) struct Known(Vec<Resource>);

/// A resource and, if it was given, the name of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    pub(crate) name: Option<String>,
}

impl Target {
    /// Where the object is; in `namespace`, unless the resource has none.
    pub(crate) fn address(&self, namespace: &str) -> Address {
        Address {
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            resource: self.resource.plural.clone(),
            namespace: if self.resource.namespaced { namespace.to_owned() } else { String::new() },
            name: self.name.clone().unwrap_or_default(),
            subresource: String::new(),
        }
    }

    /// `deployment.apps/hello`, as kubectl names objects.
    pub(crate) fn shown(&self) -> String {
        let kind = self.resource.singular.as_str();
        let group = if self.resource.group.is_empty() { String::new() } else { format!(".{}", self.resource.group) };
        format!("{kind}{group}/{}", self.name.as_deref().unwrap_or_default())
    }
}

/// What `get all` shows, in the order and with the kinds of kubectl's category `all`, as far as the server has them.
const ALL: &str = "all";
const ALL_KINDS: &[&str] = &[
    "pods",
    "replicationcontrollers",
    "services",
    "daemonsets.apps",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "horizontalpodautoscalers.autoscaling",
    "cronjobs.batch",
    "jobs.batch",
];

impl Known {
    /// Asks the server.
    pub(crate) async fn ask(server: &Server) -> anyhow::Result<Self> {
        let answer = server.objects().resources(ResourcesRequest {}).await.map_err(|error| explain(&error));
        Ok(Self(answer.context("ask what the server serves")?.into_inner().resources))
    }

    /// The resources that `words` name: `pods`, `pod web db`, `deploy/hello svc/hello`.
    pub(crate) fn targets(&self, words: &[String]) -> anyhow::Result<Vec<Target>> {
        let Some(first) = words.first() else { bail!("which resource? e.g. pods, deploy/hello") };
        if words.iter().any(|word| word.contains('/')) {
            return words.iter().map(|word| self.pair(word)).collect();
        }
        let mut targets = Vec::new();
        for word in first.split(',') {
            if word == ALL {
                anyhow::ensure!(words.len() == 1, "{ALL} has no names: {}", words[1..].join(" "));
                let kinds = ALL_KINDS.iter().filter_map(|kind| self.named(kind).ok());
                targets.extend(kinds.map(|resource| Target { resource, name: None }));
                continue;
            }
            let resource = self.named(word)?;
            let names: Vec<Option<String>> = match &words[1..] {
                [] => vec![None],
                names => names.iter().cloned().map(Some).collect(),
            };
            targets.extend(names.into_iter().map(|name| Target { resource: resource.clone(), name }));
        }
        Ok(targets)
    }

    /// `deploy/hello`.
    fn pair(&self, word: &str) -> anyhow::Result<Target> {
        match word.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                Ok(Target { resource: self.named(kind)?, name: Some(name.to_owned()) })
            }
            _ => bail!("{word}: want KIND/NAME, such as deploy/hello"),
        }
    }

    /// A resource by any of its names: plural, singular, short, kind, or `plural.group`.
    fn named(&self, word: &str) -> anyhow::Result<Resource> {
        let wanted = word.to_lowercase();
        let (bare, group) = wanted.split_once('.').map_or((wanted.as_str(), None), |(bare, group)| (bare, Some(group)));
        let matches = |resource: &&Resource| {
            let names = [resource.plural.clone(), resource.singular.clone(), resource.kind.to_lowercase()];
            let named = names.iter().any(|name| name == bare) || resource.short_names.iter().any(|name| name == bare);
            named && group.is_none_or(|group| group == resource.group)
        };
        let found = self.0.iter().find(matches).cloned();
        found.with_context(|| format!("the server has no resource type {word:?}"))
    }

    /// The resource of a manifest.
    pub(crate) fn of(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let same =
            |resource: &&Resource| resource.kind == kind && resource.group == group && resource.version == version;
        self.0.iter().find(same).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let resource = |group: &str, kind: &str, plural: &str, short: &str| Resource {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: vec![short.into()],
            namespaced: true,
        };
        Known(vec![resource("", "Pod", "pods", "po"), resource("apps", "Deployment", "deployments", "deploy")])
    }

    fn shown(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        known()
            .targets(&words)
            .map_or_else(|error| vec![error.to_string()], |all| all.iter().map(Target::shown).collect())
    }

    #[test]
    fn resources_go_by_many_names() {
        assert_eq!(shown(&["po"]), ["pod/"]);
        assert_eq!(shown(&["Pod", "a", "b"]), ["pod/a", "pod/b"]);
        assert_eq!(shown(&["deploy/hello", "pods/a"]), ["deployment.apps/hello", "pod/a"]);
        assert_eq!(shown(&["po,deployments.apps"]), ["pod/", "deployment.apps/"]);
        assert_eq!(shown(&["all"]), ["pod/", "deployment.apps/"]);
        assert_eq!(shown(&["all", "web"]), ["all has no names: web"]);
        assert_eq!(shown(&["things"]), ["the server has no resource type \"things\""]);
        assert_eq!(shown(&["pods", "deploy/"]), ["pods: want KIND/NAME, such as deploy/hello"]);
    }
}
