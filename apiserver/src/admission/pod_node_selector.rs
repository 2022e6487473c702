//! PodNodeSelector: pods of a namespace go where the namespace says, and only to nodes that it may use.

use super::reading::annotation;
use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::status::Status;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const PLUGIN: Plugin =
    Plugin { name: "PodNodeSelector", handles: &[Operation::Create], mutate: Some(admit), validate: Some(validate) };

/// What a namespace says.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// What holds for namespaces that say nothing.
const DEFAULT: &str = "clusterDefaultNodeSelector";
/// The field of the file, in the letters in which Kubernetes documents it.
const FIELD: &str = "podNodeSelectorPluginConfig";

type Labels = BTreeMap<String, String>;

/// Selectors that administrators give: by namespace, and one for those that say nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings(Labels);

impl Settings {
    /// Reads what the plugin is told.
    ///
    /// # Errors
    /// Something in it is no text, or no selector.
    pub(crate) fn parse(told: &Value) -> Result<Self, String> {
        let fields = told.as_object().into_iter().flatten();
        let mut selectors = Labels::new();
        for (name, value) in fields {
            if !name.eq_ignore_ascii_case(FIELD) {
                return Err(format!("{name}: is not known here"));
            }
            for (place, selector) in value.as_object().into_iter().flatten() {
                let selector = selector.as_str().ok_or_else(|| format!("{FIELD}.{place}: is no text"))?;
                labels(selector).map_err(|why| format!("{FIELD}.{place}: {why}"))?;
                selectors.insert(place.clone(), selector.to_owned());
            }
        }
        Ok(Self(selectors))
    }

    fn of(&self, place: &str) -> Result<Labels, String> {
        self.0.get(place).map_or(Ok(Labels::new()), |selector| labels(selector))
    }

    /// What a namespace wants of its pods.
    fn wanted(&self, namespace: &Value) -> Result<Labels, String> {
        annotation(namespace, ANNOTATION).map_or_else(|| self.of(DEFAULT), labels)
    }

    /// Puts what the namespace wants into the pod's selector.
    fn merge(&self, spec: &mut Value, namespace: &Value) -> Result<Result<(), &'static str>, String> {
        let wanted = self.wanted(namespace)?;
        if conflict(&wanted, spec) {
            return Ok(Err(CONFLICT));
        }
        for (key, value) in wanted {
            if spec["nodeSelector"].is_null() {
                spec["nodeSelector"] = Value::Object(serde_json::Map::new());
            }
            spec["nodeSelector"][key] = value.into();
        }
        Ok(Ok(()))
    }

    fn check(&self, spec: &Value, namespace: &Value, name: &str) -> Result<Result<(), &'static str>, String> {
        if conflict(&self.wanted(namespace)?, spec) {
            return Ok(Err(CONFLICT));
        }
        let allowed = self.of(name)?;
        let is_allowed = |(key, value): (&String, &Value)| value.as_str() == allowed.get(key).map(String::as_str);
        let within = allowed.is_empty() || spec["nodeSelector"].as_object().into_iter().flatten().all(is_allowed);
        Ok(if within { Ok(()) } else { Err("pod node label selector labels conflict with its namespace whitelist") })
    }
}

const CONFLICT: &str = "pod node label selector conflicts with its namespace node label selector";

fn conflict(wanted: &Labels, spec: &Value) -> bool {
    let differs =
        |(key, value): (&String, &String)| spec["nodeSelector"][key].as_str().is_some_and(|said| said != value);
    wanted.iter().any(differs)
}

/// `a=b,c=d`
fn labels(selector: &str) -> Result<Labels, String> {
    let pairs = selector.split(',').filter(|_| !selector.is_empty());
    let pair = |text: &str| match text.split('=').collect::<Vec<_>>()[..] {
        [key, value] => Ok((key.trim().to_owned(), value.trim().to_owned())),
        ref parts => Err(format!("invalid selector: [{}]", parts.join(" "))),
    };
    pairs.map(pair).collect()
}

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") || !pod["spec"].is_object() {
        return known(Ok(()));
    }
    later(async move {
        let namespace = namespace(seen).await?;
        let settings = &seen.setting.configured.told.node_selectors;
        let merged = settings.merge(&mut pod["spec"], &namespace).map_err(Status::unnamed)?;
        merged.map_err(|why| seen.forbidden(why))?;
        check(seen, pod, &namespace)
    })
}

fn validate<'a>(seen: &'a Attributes<'a>, pod: &'a Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") {
        return known(Ok(()));
    }
    later(async move { check(seen, pod, &*namespace(seen).await?) })
}

fn check(seen: &Attributes<'_>, pod: &Value, namespace: &Value) -> Result<(), Status> {
    let settings = &seen.setting.configured.told.node_selectors;
    let checked = settings.check(&pod["spec"], namespace, &seen.request.namespace).map_err(Status::unnamed)?;
    checked.map_err(|why| seen.forbidden(why))
}

async fn namespace(seen: &Attributes<'_>) -> Result<std::sync::Arc<Value>, Status> {
    let name = seen.request.namespace.as_str();
    seen.stored.get(Target { resource: built_in("", "namespaces")?, namespace: "", name }).await
}
