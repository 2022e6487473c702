//! Which files a config map, secret, downward API or projected volume consists of.
//!
//! Pure: from volume source and objects to a [`Payload`].

use crate::pod::env::{Downward, absent, field_value, resource_value};
use crate::pod::memory::Failure;
use crate::pod::sources::Sources;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret,
    ServiceAccountTokenProjection, Volume,
};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Files by their path in the volume.
pub(crate) type Payload = BTreeMap<PathBuf, File>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// What it contains.
    pub(crate) data: Vec<u8>,
    /// Its permission bits.
    pub(crate) mode: u32,
    /// The user it belongs to; `None`: root.
    pub(crate) owner: Option<u32>,
}

/// What files of objects there are to read from.
pub(crate) struct Given<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) down: &'a Downward<'a>,
    /// Tokens by audience and lifetime, as [`token_requests`] asked for them.
    pub(crate) tokens: &'a BTreeMap<(String, i64), String>,
}

/// Permission bits where the volume names none (Kubernetes' default).
const MODE: i32 = 0o644;
/// Lifetime of a projected token where the volume names none, seconds (Kubernetes' default).
const TOKEN_SECONDS: i64 = 3600;

/// The files of `volume`; `None` when it is of another kind.
pub(crate) fn payload(volume: &Volume, given: &Given<'_>) -> Result<Option<Payload>, Failure> {
    let mut out = Payload::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(MODE);
        config_map(&source.name, source.items.as_deref(), mode, source.optional, given, &mut out)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        secret(&name, source.items.as_deref(), source.default_mode.unwrap_or(MODE), source.optional, given, &mut out)?;
    } else if let Some(source) = &volume.downward_api {
        downward(source.items.as_deref(), source.default_mode.unwrap_or(MODE), given, &mut out)?;
    } else if let Some(source) = &volume.projected {
        projected(source, given, &mut out)?;
    } else {
        return Ok(None);
    }
    Ok(Some(out))
}

/// The audiences and lifetimes of the tokens that `pod`'s volumes ask for.
pub(crate) fn token_requests(pod: &Pod) -> Vec<(String, i64)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes.flat_map(|volume| volume.projected.iter().flat_map(|all| all.sources.iter().flatten()));
    sources.filter_map(|source| source.service_account_token.as_ref()).map(token_key).collect()
}

fn token_key(source: &ServiceAccountTokenProjection) -> (String, i64) {
    (source.audience.clone().unwrap_or_default(), source.expiration_seconds.unwrap_or(TOKEN_SECONDS))
}

fn projected(source: &ProjectedVolumeSource, given: &Given<'_>, out: &mut Payload) -> Result<(), Failure> {
    let mode = source.default_mode.unwrap_or(MODE);
    for part in source.sources.iter().flatten() {
        if let Some(map) = &part.config_map {
            config_map(&map.name, map.items.as_deref(), mode, map.optional, given, out)?;
        }
        if let Some(reference) = &part.secret {
            secret(&reference.name, reference.items.as_deref(), mode, reference.optional, given, out)?;
        }
        if let Some(api) = &part.downward_api {
            downward(api.items.as_deref(), mode, given, out)?;
        }
        if let Some(token) = &part.service_account_token {
            let text =
                given.tokens.get(&token_key(token)).ok_or_else(|| failed("no service account token".to_owned()))?;
            // Whom the pod's files belong to reads the token; where nobody is named, every user of the pod must be able to.
            let owner = only_user(given.down.pod);
            let mode = if owner.is_some() || has_group(given.down.pod) { 0o600 } else { mode };
            insert(out, &token.path, text.clone().into_bytes(), mode)?;
            if let Some(file) = out.get_mut(Path::new(&token.path)) {
                file.owner = owner;
            }
        }
    }
    Ok(())
}

fn has_group(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group).is_some()
}

/// The user that all containers of `pod` run as, if each says so and it is the same.
fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_all = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let of = |container: &Container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(of_all);
    let mut users = spec.init_containers.iter().flatten().chain(&spec.containers).map(of);
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

fn config_map(
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: Option<bool>,
    given: &Given<'_>,
    out: &mut Payload,
) -> Result<(), Failure> {
    let all = given.sources.config_maps.get(name).and_then(Option::as_ref).map(config_map_data);
    keys("configmap", name, all, items, mode, optional, out)
}

fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    text.chain(map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()))).collect()
}

fn secret(
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: Option<bool>,
    given: &Given<'_>,
    out: &mut Payload,
) -> Result<(), Failure> {
    let data =
        |secret: &Secret| secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
    let all = given.sources.secrets.get(name).and_then(Option::as_ref).map(data);
    keys("secret", name, all, items, mode, optional, out)
}

#[allow(clippy::too_many_arguments, reason = "the fields that config maps and secrets have in common, in their order")]
fn keys(
    kind: &str,
    name: &str,
    all: Option<BTreeMap<String, Vec<u8>>>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: Option<bool>,
    out: &mut Payload,
) -> Result<(), Failure> {
    let optional = optional == Some(true);
    let Some(all) = all else {
        return if optional { Ok(()) } else { Err(failed(absent(kind, name))) };
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return all.into_iter().try_for_each(|(key, data)| insert(out, &key, data, mode));
    };
    for item in items {
        match all.get(&item.key) {
            Some(data) => insert(out, &item.path, data.clone(), item.mode.unwrap_or(mode))?,
            None if optional => {}
            None => {
                return Err(failed(format!(
                    "references non-existent {} key: {}",
                    kind.trim_end_matches("map"),
                    item.key
                )));
            }
        }
    }
    Ok(())
}

fn downward(
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: i32,
    given: &Given<'_>,
    out: &mut Payload,
) -> Result<(), Failure> {
    for item in items.unwrap_or_default() {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => field_value(field, given.down)?,
            (None, Some(resource)) => {
                let name = resource.container_name.clone().unwrap_or_default();
                let container = crate::pod::ephemeral::find(given.down.pod, &name)
                    .ok_or_else(|| failed(format!("downward API: there is no container {name}")))?;
                resource_value(resource, &container, given.down)?
            }
            (None, None) => continue,
        };
        insert(out, &item.path, text.into_bytes(), item.mode.unwrap_or(mode))?;
    }
    Ok(())
}

fn failed(message: String) -> Failure {
    Failure::new("FailedMount", message)
}

/// Adds a file; its path must stay in the volume and out of the `..` names that the atomic writer uses.
fn insert(out: &mut Payload, path: &str, data: Vec<u8>, mode: i32) -> Result<(), Failure> {
    let relative = Path::new(path);
    let plain =
        |part: Component<'_>| matches!(part, Component::Normal(name) if !name.to_string_lossy().starts_with(".."));
    if path.is_empty() || !relative.components().all(plain) {
        return Err(failed(format!("path `{path}` must be relative and must not contain or start with `..`")));
    }
    out.insert(relative.to_owned(), File { data, mode: mode.unsigned_abs() & 0o777, owner: None });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_the_one_user_that_runs() {
        let user = |spec: serde_json::Value| {
            only_user(&serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap())
        };
        let container =
            |user: serde_json::Value| serde_json::json!({"name": "c", "securityContext": {"runAsUser": user}});
        for (all, first, second, expected) in [
            (serde_json::Value::Null, 5.into(), 5.into(), Some(5)),
            (serde_json::Value::Null, 5.into(), 6.into(), None),
            (serde_json::Value::Null, 5.into(), serde_json::Value::Null, None),
            (7.into(), serde_json::Value::Null, serde_json::Value::Null, Some(7)),
            (7.into(), serde_json::Value::Null, 5.into(), None),
        ] {
            let spec = serde_json::json!({"securityContext": {"runAsUser": all}, "initContainers": [container(first)],
                "containers": [container(second)]});
            assert_eq!(user(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn paths_stay_in_the_volume() {
        for bad in ["", "/etc/passwd", "a/../b", "..data", "../x", "a/..b"] {
            assert!(insert(&mut Payload::new(), bad, vec![], 0o644).is_err(), "{bad}");
        }
        assert!(insert(&mut Payload::new(), "a/b.c", vec![], 0o644).is_ok());
    }
}
