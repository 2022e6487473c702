//! Which objects are the parameters of a policy under a binding.

use super::super::Attributes;
use super::super::matching::LabelSelector;
use crate::registry::Target;
use serde_json::Value;
use skiff_schema::{Catalog, Resource};
use std::sync::Arc;

/// `paramKind` of a policy.
#[derive(Debug)]
pub(super) struct ParamKind {
    api_version: String,
    kind: String,
}

impl ParamKind {
    pub(super) fn read(kind: &Value) -> Option<Self> {
        let text = |key: &str| kind[key].as_str().unwrap_or_default().to_owned();
        kind.is_object().then(|| Self { api_version: text("apiVersion"), kind: text("kind") })
    }

    /// The resource whose objects are of the kind.
    pub(super) fn resource(&self, catalog: &Catalog) -> Result<Arc<Resource>, String> {
        let found = catalog.find_kind(&self.api_version, &self.kind).filter(|resource| resource.is_stored());
        found.cloned().ok_or_else(|| {
            let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
            let kind = &self.kind;
            format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")
        })
    }
}

/// `paramRef` of a binding.
#[derive(Debug)]
pub(super) struct ParamRef {
    /// Empty if `selector` is given.
    name: String,
    namespace: String,
    selector: LabelSelector,
    /// `parameterNotFoundAction`
    needs_some: bool,
}

impl ParamRef {
    pub(super) fn read(reference: &Value) -> Option<Self> {
        let text = |key: &str| reference[key].as_str().unwrap_or_default().to_owned();
        reference.is_object().then(|| Self {
            name: text("name"),
            namespace: text("namespace"),
            selector: LabelSelector::read(&reference["selector"]),
            needs_some: reference["parameterNotFoundAction"] == "Deny",
        })
    }

    /// The objects that are there now.
    pub(super) async fn find(
        &self,
        seen: &Attributes<'_>,
        resource: &Arc<Resource>,
    ) -> Result<Vec<Arc<Value>>, String> {
        let namespace = self.place(seen, resource)?;
        let found = if self.name.is_empty() {
            let all = seen.stored.list(resource, namespace).await.map_err(|status| status.message)?;
            let selects = |object: &Arc<Value>| self.selector.selects(object["metadata"]["labels"].as_object());
            all.into_iter().filter(selects).collect()
        } else {
            match seen.stored.get(Target { resource, namespace, name: &self.name }).await {
                Ok(object) => vec![object],
                Err(status) if status.reason == "NotFound" => Vec::new(),
                Err(status) => return Err(status.message),
            }
        };
        if found.is_empty() && self.needs_some {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        Ok(found)
    }

    /// The namespace in which they are: the binding's, or that of the request.
    fn place<'a>(&'a self, seen: &'a Attributes<'_>, resource: &Resource) -> Result<&'a str, String> {
        match (resource.namespaced, &*self.namespace, seen.namespace()) {
            (false, "", _) => Ok(""),
            (false, ..) => Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned()),
            (true, "", "") => {
                Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned())
            }
            (true, "", namespace) | (true, namespace, _) => Ok(namespace),
        }
    }
}
