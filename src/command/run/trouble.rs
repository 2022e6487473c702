//! Why an application does not come up, by what its deployment and its pods say. No I/O.
//!
//! A pod tells nobody that it will never be ready: the image is asked for again and again, a container that ends is started again, one
//! that listens elsewhere runs for ever. Whoever waits wants to know at the first sign that cannot be a passing one.

use serde_json::Value;
use skiff_why::condition;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is wrong, which is the exit code too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// No pod can be made, or no node takes it.
    Refused = 1,
    /// The image cannot be had.
    Image = 3,
    /// The container does not start, or ends.
    Ended = 4,
    /// Nothing listens at the port.
    Silent = 5,
}

/// Why it does not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) cause: Cause,
    /// The pod whose log may say more.
    pub(super) pod: Option<String>,
    pub(super) message: String,
}

/// Reasons for which an image is not there (the kubelet's).
const IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];
/// Reasons for which a container does not start.
const START: [&str; 6] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
];
/// How long no node may take a pod: the first one may not be ready yet.
const PLACED_WITHIN: Duration = Duration::from_secs(15);

/// Remembers since when something has been so.
#[derive(Debug, Default)]
pub(super) struct Watch {
    since: BTreeMap<String, Duration>,
}

impl Watch {
    /// What cannot pass by itself, `now` after we began to look.
    ///
    /// `at` is the mark of the newest template: pods of older ones have their own troubles.
    pub(super) fn look(
        &mut self,
        (deployment, pods): (&Value, &[Value]),
        (at, port): (&str, u16),
        (now, listen_within): (Duration, Duration),
    ) -> Option<Trouble> {
        if let Some(message) = refused(deployment) {
            let message = format!("no pod can be made: {message}");
            return Some(Trouble { cause: Cause::Refused, pod: None, message });
        }
        let newest = pods.iter().filter(|pod| pod["metadata"]["annotations"][super::objects::AT] == at);
        let newest: Vec<&Value> = newest.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
        let found = newest.iter().find_map(|pod| of_container(pod));
        found.or_else(|| newest.iter().find_map(|pod| self.waited(pod, port, now, listen_within)))
    }

    /// What would pass in time, but has not.
    fn waited(&mut self, pod: &Value, port: u16, now: Duration, listen_within: Duration) -> Option<Trouble> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(why) = unplaced(pod) {
            let is_due = self.held(format!("placed {name}"), now) >= PLACED_WITHIN;
            return is_due.then(|| trouble(Cause::Refused, pod, format!("no node takes the pod {name}: {why}")));
        }
        let status = &pod["status"]["containerStatuses"][0];
        if status["state"]["running"].is_null() || status["ready"] == true {
            return None;
        }
        let id = status["containerID"].as_str().unwrap_or_default();
        let held = self.held(format!("running {id}"), now);
        (held >= listen_within).then(|| {
            let message = format!(
                "nothing listens at port {port} of the pod {name} after {} s (what listens at 127.0.0.1 only, nobody reaches)",
                listen_within.as_secs()
            );
            trouble(Cause::Silent, pod, message)
        })
    }

    fn held(&mut self, what: String, now: Duration) -> Duration {
        now.saturating_sub(*self.since.entry(what).or_insert(now))
    }
}

fn trouble(cause: Cause, pod: &Value, message: String) -> Trouble {
    Trouble { cause, pod: pod["metadata"]["name"].as_str().map(str::to_owned), message }
}

/// What the API server or a quota says to pods of this deployment.
fn refused(deployment: &Value) -> Option<&str> {
    let seen = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
    let failure = condition(deployment, "ReplicaFailure").filter(|one| seen && one["status"] == "True")?;
    failure["message"].as_str()
}

fn unplaced(pod: &Value) -> Option<&str> {
    let placed = condition(pod, "PodScheduled").filter(|one| one["status"] == "False")?;
    placed["message"].as_str()
}

/// What a pod's container waits for, if it waits in vain.
fn of_container(pod: &Value) -> Option<Trouble> {
    let status = &pod["status"]["containerStatuses"][0];
    let waiting = &status["state"]["waiting"];
    let reason = waiting["reason"].as_str()?;
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let message = waiting["message"].as_str().unwrap_or(reason);
    if IMAGE.contains(&reason) {
        return Some(Trouble {
            cause: Cause::Image,
            pod: None,
            message: format!("the image {image} cannot be had: {message}"),
        });
    }
    if START.contains(&reason) {
        return Some(trouble(Cause::Ended, pod, format!("its container does not start: {message}")));
    }
    (reason == "CrashLoopBackOff").then(|| {
        let (how, times) = (end(&status["lastState"]["terminated"]), status["restartCount"].as_u64().unwrap_or(0) + 1);
        let times = if times > 1 { format!("{times} times, at last ") } else { String::new() };
        trouble(Cause::Ended, pod, format!("its container ended {times}{how}"))
    })
}

/// How a container ended, in words.
fn end(terminated: &Value) -> String {
    let code = terminated["exitCode"].as_i64().unwrap_or_default();
    match terminated["reason"].as_str() {
        Some("OOMKilled") => "because it used more memory than it may".to_owned(),
        Some(reason) if !["Error", "Completed"].contains(&reason) => format!("with exit code {code} ({reason})"),
        _ if code == 0 => "with exit code 0, instead of going on to serve".to_owned(),
        _ => format!("with exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Value {
        json!({"metadata": {"name": "web-1", "annotations": {super::super::objects::AT: "now"}},
            "spec": {"containers": [{"image": "shop:1"}]}, "status": status})
    }

    fn container(status: Value) -> Value {
        pod(json!({"containerStatuses": [status]}))
    }

    fn seen(pod: &Value, seconds: &[u64]) -> Option<(Cause, String)> {
        let mut watch = Watch::default();
        let within = Duration::from_secs(30);
        let looks = seconds.iter().map(|at| {
            let pods = std::slice::from_ref(pod);
            watch.look((&json!({}), pods), ("now", 80), (Duration::from_secs(*at), within))
        });
        looks.last().flatten().map(|trouble| (trouble.cause, trouble.message))
    }

    #[test]
    fn an_image_that_cannot_be_had_is_told_at_once() {
        let waiting =
            |reason: &str| container(json!({"state": {"waiting": {"reason": reason, "message": "not found"}}}));
        let (cause, message) = seen(&waiting("ErrImagePull"), &[0]).unwrap();
        assert_eq!((cause, message.as_str()), (Cause::Image, "the image shop:1 cannot be had: not found"));
        assert_eq!(seen(&waiting("ContainerCreating"), &[0, 200]), None);
        assert_eq!(seen(&waiting("CreateContainerError"), &[0]).unwrap().0, Cause::Ended);
    }

    #[test]
    fn a_container_that_ends_is_told_when_it_is_not_started_at_once_any_more() {
        let ended = |code: i64, reason: &str| {
            container(json!({"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": code, "reason": reason}}}))
        };
        let of = |code, reason| seen(&ended(code, reason), &[0]).unwrap();
        assert_eq!(of(3, "Error"), (Cause::Ended, "its container ended 2 times, at last with exit code 3".into()));
        assert!(of(0, "Completed").1.ends_with("instead of going on to serve"));
        assert!(of(137, "OOMKilled").1.ends_with("more memory than it may"));
    }

    #[test]
    fn one_that_runs_has_its_time_to_listen_and_a_new_one_has_it_anew() {
        let running =
            |id: &str, ready: bool| container(json!({"containerID": id, "ready": ready, "state": {"running": {}}}));
        assert_eq!(seen(&running("a", false), &[5, 34]), None);
        let (cause, message) = seen(&running("a", false), &[5, 35]).unwrap();
        assert_eq!(cause, Cause::Silent);
        assert!(message.starts_with("nothing listens at port 80 of the pod web-1 after 30 s"), "{message}");
        assert_eq!(seen(&running("a", true), &[5, 500]), None);
        let mut watch = Watch::default();
        let mut look = |id: &str, at: u64| {
            let (pods, times) = ([running(id, false)], (Duration::from_secs(at), Duration::from_secs(30)));
            watch.look((&json!({}), &pods), ("now", 80), times)
        };
        assert_eq!((look("a", 0), look("b", 29), look("b", 58)), (None, None, None));
        assert!(look("b", 59).is_some());
    }

    #[test]
    fn what_is_refused_is_told_and_what_is_old_is_not_looked_at() {
        let placed = pod(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}));
        assert_eq!((seen(&placed, &[0, 14]), seen(&placed, &[0, 15]).unwrap().0), (None, Cause::Refused));
        let mut old = container(json!({"state": {"waiting": {"reason": "ErrImagePull"}}}));
        old["metadata"]["annotations"][super::super::objects::AT] = "before".into();
        assert_eq!(seen(&old, &[0]), None);
        let failed = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}});
        let found = Watch::default().look((&failed, &[]), ("now", 80), (Duration::ZERO, Duration::ZERO)).unwrap();
        assert_eq!((found.cause, found.message.as_str()), (Cause::Refused, "no pod can be made: exceeded quota"));
    }
}
