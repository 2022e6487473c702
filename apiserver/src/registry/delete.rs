//! Deletion: at once, or marked and left to whoever holds the object (the kubelet for pods, finalizers for anything, the
//! namespace controller for namespaces).

use super::object::{Object, finalizers, is_terminating, meta, metadata_mut, now, rfc3339};
use super::update::may_vanish;
use super::write::{Attempts, Outcome};
use super::{Registry, Target};
use crate::admission::{self, Attributes, Operation};
use crate::options;
use crate::request::{Options, Preconditions, Propagation, Request};
use crate::status::Status;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use skiff_schema::Resource;

/// Kubernetes' finalizers that stand for a propagation policy.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// What may have happened to an object that is not the one that was meant.
const RECREATED: &str = "deleted and then recreated";

/// Reads a decoded DeleteOptions.
pub(crate) fn delete_options(value: &Value) -> Result<Options, Status> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let mut errors = Vec::new();
    let orphans = value["orphanDependents"].as_bool();
    let policy = value["propagationPolicy"].as_str().filter(|policy| !policy.is_empty());
    if let (Some(_), Some(policy)) = (orphans, policy) {
        let detail = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(options::invalid("propagationPolicy", policy.into(), detail));
    }
    let propagation = match (policy, orphans) {
        (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
        (None, None) => None,
        (Some(other), _) => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(options::not_supported("propagationPolicy", other.into(), &supported));
            None
        }
    };
    let stages = value["dryRun"].as_array().into_iter().flatten();
    let stages: Vec<&str> = stages.map(|stage| stage.as_str().unwrap_or_default()).collect();
    let run = options::run(&stages, &mut errors);
    if !errors.is_empty() {
        return Err(Status::invalid_options("DeleteOptions", &errors));
    }
    let preconditions = &value["preconditions"];
    Ok(Options {
        run,
        preconditions: Preconditions {
            uid: text(&preconditions["uid"]),
            revision: text(&preconditions["resourceVersion"]),
        },
        propagation,
        grace_seconds: value["gracePeriodSeconds"].as_i64(),
        adopted: orphans == Some(false),
        ..Options::default()
    })
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It is gone; this is how it last was.
    Gone(Object),
    /// It is marked, and somebody still holds it.
    Pending(Object),
}

enum Plan {
    /// It goes; this is how it is shown.
    Remove(Value),
    Mark(Value),
    Wait,
}

impl Registry {
    /// Deletes the object that `request` names, or begins to. The request is told the warnings.
    pub(crate) async fn delete(&self, request: &Request) -> Result<Deleted, Status> {
        let (target, options) = (&request.target(), &request.options);
        let mut attempts = Attempts::of(request);
        loop {
            attempts.begin()?;
            let present = self.present(target, false).await?.ok_or_else(|| target.not_found())?;
            check_preconditions(target, &present.value, &options.preconditions, RECREATED)?;
            if !request.admitted {
                self.admit_deletion(request, &present.value).await?;
            }
            request.warn(warning_of_deletion(target.resource, options));
            let (next, becomes) = match plan(target.resource, &present.value, options, Timestamp::now()) {
                Plan::Wait => return Ok(Deleted::Pending(present.object)),
                Plan::Remove(last) => (last, Outcome::Goes),
                Plan::Mark(next) => (next, Outcome::Stays),
            };
            if let Some(object) = self.conclude(request.run(), target, &next, present.object.revision, becomes).await? {
                return Ok(if becomes == Outcome::Goes { Deleted::Gone(object) } else { Deleted::Pending(object) });
            }
        }
    }

    async fn admit_deletion(&self, request: &Request, old: &Value) -> Result<(), Status> {
        let operation = Operation::Delete;
        let seen = Attributes {
            request,
            operation,
            name: &request.name,
            old: Some(old),
            stored: self,
            setting: &self.setting(),
        };
        admission::mutate(&seen, &mut Value::Null).await?;
        admission::validate(&seen, &Value::Null).await
    }
}

/// Whether `current` is what a deletion means; `perhaps` is what may have happened to one of another revision.
pub(crate) fn check_preconditions(
    target: &Target<'_>,
    current: &Value,
    wanted: &Preconditions,
    perhaps: &str,
) -> Result<(), Status> {
    let checks =
        [("UID", &wanted.uid, "uid", RECREATED), ("ResourceVersion", &wanted.revision, "resourceVersion", perhaps)];
    for (word, wanted, field, perhaps) in checks {
        let present = meta(current, field);
        if let Some(wanted) = wanted.as_deref()
            && wanted != present
        {
            let why = format!(
                "the {word} in the precondition ({wanted}) does not match the {word} in record ({present}). \
                 The object might have been {perhaps}"
            );
            return Err(Status::outdated(target.resource, target.name, &why));
        }
    }
    Ok(())
}

/// Decides how the deletion goes on from `current`.
fn plan(resource: &Resource, current: &Value, options: &Options, at: Timestamp) -> Plan {
    let mut next = current.clone();
    set_propagation(&mut next, options.propagation.or_else(|| unsaid(resource)));
    let grace_seconds = resource.grace_seconds(current, options.grace_seconds);
    let seconds = grace_seconds.unwrap_or(0);
    if is_terminating(current) {
        shorten_grace(&mut next, seconds);
    } else {
        let until = at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        let generation = current["metadata"]["generation"].as_i64();
        let metadata = metadata_mut(&mut next);
        metadata.insert("deletionTimestamp".to_owned(), rfc3339(until).into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), seconds.into());
        if let Some(generation) = generation {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
        resource.leave(&mut next, &rfc3339(at));
    }
    match () {
        // Only what may take its time to end is shown with the end of that time.
        () if may_vanish(resource, &next) => Plan::Remove(if grace_seconds.is_some() { next } else { current.clone() }),
        () if next == *current => Plan::Wait,
        () => Plan::Mark(next),
    }
}

/// What becomes of dependents if nobody says so.
fn unsaid(resource: &Resource) -> Option<Propagation> {
    resource.keeps_dependents().then_some(Propagation::Orphan)
}

/// Tells whoever deletes without a word about dependents what becomes of them.
pub(crate) fn warning_of_deletion(resource: &Resource, options: &Options) -> Option<String> {
    let kept = options.propagation.is_none() && unsaid(resource).is_some();
    let text = resource.keeps_dependents_warning();
    text.filter(|_| kept).map(ToOwned::to_owned)
}

fn set_propagation(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut list: Vec<String> = finalizers(object)
        .into_iter()
        .filter(|name| *name != ORPHAN && *name != FOREGROUND)
        .map(ToOwned::to_owned)
        .collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => list.push(FOREGROUND.to_owned()),
        Propagation::Orphan => list.push(ORPHAN.to_owned()),
    }
    if list.is_empty() {
        metadata_mut(object).remove("finalizers");
    } else {
        metadata_mut(object).insert("finalizers".to_owned(), list.into());
    }
}

/// A second deletion may make the first one faster, never slower.
fn shorten_grace(object: &mut Value, grace_seconds: i64) {
    let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if grace_seconds >= before {
        return;
    }
    let earlier = meta(object, "deletionTimestamp")
        .parse::<Timestamp>()
        .ok()
        .and_then(|until| until.saturating_sub(SignedDuration::from_secs(before - grace_seconds)).ok());
    let metadata = metadata_mut(object);
    metadata.insert("deletionTimestamp".to_owned(), earlier.map_or_else(now, rfc3339).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace_seconds.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(plural: &str, object: Value, options: Value) -> Plan {
        let resource = ["", "apps"].iter().find_map(|group| skiff_schema::find(group, "v1", plural)).expect("served");
        plan(resource, &object, &delete_options(&options).expect("options"), Timestamp::UNIX_EPOCH)
    }

    fn running(terminating_seconds: Option<i64>) -> Value {
        let mut pod =
            json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 10}});
        if let Some(seconds) = terminating_seconds {
            pod["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:10Z".into();
            pod["metadata"]["deletionGracePeriodSeconds"] = seconds.into();
        }
        pod
    }

    #[test]
    fn a_running_pod_is_marked_and_removed_with_grace_zero() {
        let Plan::Mark(marked) = check("pods", running(None), json!({})) else { panic!("marked") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:10Z");
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 10);
        assert!(matches!(check("pods", marked.clone(), json!({})), Plan::Wait));
        assert!(matches!(check("pods", marked, json!({"gracePeriodSeconds": 0})), Plan::Remove(_)));
    }

    #[test]
    fn a_second_deletion_shortens_the_first() {
        let Plan::Mark(marked) = check("pods", running(Some(10)), json!({"gracePeriodSeconds": 3})) else {
            panic!("marked")
        };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:03Z");
        assert!(matches!(check("pods", running(Some(10)), json!({"gracePeriodSeconds": 60})), Plan::Wait));
    }

    #[test]
    fn pods_that_run_nowhere_go_at_once() {
        assert!(matches!(check("pods", json!({"metadata": {"name": "p"}, "spec": {}}), json!({})), Plan::Remove(_)));
        let mut ended = running(None);
        ended["status"] = json!({"phase": "Succeeded"});
        assert!(matches!(check("pods", ended, json!({})), Plan::Remove(_)));
    }

    #[test]
    fn policies_are_finalizers() {
        let object = json!({"metadata": {"name": "d", "generation": 1}});
        assert!(matches!(
            check("deployments", object.clone(), json!({"propagationPolicy": "Background"})),
            Plan::Remove(_)
        ));
        for (policy, finalizer) in [("Foreground", FOREGROUND), ("Orphan", ORPHAN)] {
            let Plan::Mark(marked) = check("deployments", object.clone(), json!({"propagationPolicy": policy})) else {
                panic!("{policy} marks")
            };
            assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
            assert_eq!(marked["metadata"]["generation"], 2);
        }
    }

    /// Fault N4: the old word for a policy counts, but not beside the new one.
    #[test]
    fn orphans_are_a_policy() {
        let of = |options: Value| delete_options(&options);
        assert_eq!(of(json!({"orphanDependents": true})).map(|it| it.propagation), Ok(Some(Propagation::Orphan)));
        assert_eq!(of(json!({"orphanDependents": false})).map(|it| it.propagation), Ok(Some(Propagation::Background)));
        let both = of(json!({"orphanDependents": true, "propagationPolicy": "Orphan"})).expect_err("both");
        assert_eq!(
            both.message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and \
             deletionPropagation cannot be both set"
        );
        let unknown = of(json!({"propagationPolicy": "Sideways"})).expect_err("unknown");
        assert_eq!(
            unknown.message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": supported values: \
             \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        );
    }

    #[test]
    fn namespaces_terminate_first() {
        let object = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}});
        let Plan::Mark(marked) = check("namespaces", object, json!({})) else { panic!("marked") };
        assert_eq!(marked["status"]["phase"], "Terminating");
    }
}
