//! EventRateLimit: events come no faster than administrators want, from the whole cluster, a namespace, a user, or about one object.

use super::reading::{items, text};
use super::{Admitted, Attributes, Operation, Plugin, known};
use crate::request::Run;
use crate::status::Status;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "EventRateLimit",
    handles: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(validate),
};

/// Of how many keys a limit remembers the rate, if nobody says.
const KEYS_DEFAULT: usize = 4096;

/// By what events are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

const KINDS: [(&str, By); 4] = [
    ("Namespace", By::Namespace),
    ("Server", By::Server),
    ("SourceAndObject", By::SourceAndObject),
    ("User", By::User),
];

/// One limit, and what has come.
#[derive(Debug)]
struct Limit {
    word: &'static str,
    by: By,
    per_second: f64,
    burst: f64,
    keys_max: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// Tokens of one key; each event takes one.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: f64,
}

/// All limits.
#[derive(Debug)]
pub(crate) struct Limits {
    limits: Vec<Limit>,
    began: Instant,
}

impl Default for Limits {
    fn default() -> Self {
        Self { limits: Vec::new(), began: Instant::now() }
    }
}

impl Limits {
    /// Reads what the plugin is told (`eventratelimit.admission.k8s.io/v1alpha1` Configuration).
    ///
    /// # Errors
    /// It is of another kind, or one of the limits is none: the field and why.
    pub(crate) fn parse(told: &Value) -> Result<Self, String> {
        if told.is_null() {
            return Ok(Self::default());
        }
        if told["apiVersion"] != "eventratelimit.admission.k8s.io/v1alpha1" || told["kind"] != "Configuration" {
            return Err("is no Configuration of eventratelimit.admission.k8s.io/v1alpha1".to_owned());
        }
        let limits = items(told, "limits");
        if limits.is_empty() {
            return Err("limits: Invalid value: null: must not be empty".to_owned());
        }
        let limits = limits.iter().enumerate().map(|(index, limit)| Limit::parse(limit, &format!("limits[{index}]")));
        Ok(Self { limits: limits.collect::<Result<_, _>>()?, ..Self::default() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// Counts an event at `now`, in seconds; what stands against it.
    fn count(&self, now: f64, key: impl Fn(By) -> String) -> Vec<String> {
        let over = self.limits.iter().filter_map(|limit| {
            let key = key(limit.by);
            (!limit.takes(&key, now)).then(|| format!("limit reached on type {} for key {key}", limit.word))
        });
        over.collect()
    }
}

impl Limit {
    fn parse(limit: &Value, path: &str) -> Result<Self, String> {
        let said = text(limit, "type");
        let kind = KINDS.iter().find(|(word, _)| *word == said);
        let (word, by) = kind.copied().ok_or_else(|| {
            let words: Vec<String> = KINDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("{path}.type: Unsupported value: \"{said}\": supported values: {}", words.join(", "))
        })?;
        let positive = |field: &str| match limit[field].as_u64() {
            Some(number @ 1..) => Ok(number as f64),
            _ => Err(format!("{path}.{field}: Invalid value: {}: must be positive", limit[field])),
        };
        let keys = match &limit["cacheSize"] {
            Value::Null => 0,
            said => {
                said.as_u64().ok_or_else(|| format!("{path}.cacheSize: Invalid value: {said}: must not be negative"))?
            }
        };
        let keys_max = usize::try_from(keys).ok().filter(|keys| *keys > 0).unwrap_or(KEYS_DEFAULT);
        let (burst, per_second) = (positive("burst")?, positive("qps")?);
        Ok(Self { word, by, per_second, burst, keys_max, buckets: Mutex::default() })
    }

    fn takes(&self, key: &str, now: f64) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(key) && buckets.len() >= self.keys_max {
            // The one that has been quiet for longest has most of its tokens back.
            let quiet = buckets.iter().min_by(|a, b| a.1.at.total_cmp(&b.1.at)).map(|(key, _)| key.clone());
            quiet.map(|key| buckets.remove(&key));
        }
        let full = Bucket { tokens: self.burst, at: now };
        let bucket = buckets.entry(key.to_owned()).or_insert(full);
        let tokens = (bucket.tokens + (now - bucket.at) * self.per_second).min(self.burst);
        let takes = tokens >= 1.0;
        *bucket = Bucket { tokens: if takes { tokens - 1.0 } else { tokens }, at: now };
        takes
    }
}

fn validate<'a>(seen: &'a Attributes<'a>, event: &'a Value) -> Admitted<'a> {
    let request = seen.request;
    if !request.resource.is("", "events") || request.run() == Run::Dry {
        return known(Ok(()));
    }
    let limits = &seen.setting.configured.told.events;
    let over = limits.count(limits.began.elapsed().as_secs_f64(), |by| match by {
        By::Server => String::new(),
        By::Namespace => request.namespace.clone(),
        By::User => request.who.user.clone(),
        By::SourceAndObject => {
            let (source, object) = (&event["source"], &event["involvedObject"]);
            let about = ["kind", "namespace", "name", "uid", "apiVersion"].map(|field| text(object, field));
            [&[text(source, "component"), text(source, "host")], &about[..]].concat().concat()
        }
    });
    known(match &over[..] {
        [] => Ok(()),
        [one] => Err(Status::too_many(one.clone())),
        all => Err(Status::too_many(format!("[{}]", all.join(", ")))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits(limits: Value) -> Result<Limits, String> {
        Limits::parse(
            &json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration", "limits": limits}),
        )
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let limits = limits(json!([{"type": "Namespace", "qps": 2, "burst": 3, "cacheSize": 1}])).unwrap();
        let taken = |now: f64, namespace: &str| limits.count(now, |_| namespace.to_owned()).is_empty();
        assert_eq!(
            [0.0, 0.0, 0.0, 0.0, 0.4, 0.5, 0.6, 1.0].map(|now| taken(now, "a")),
            [true, true, true, false, false, true, false, true]
        );
        assert!(taken(1.0, "b") && taken(1.0, "a"), "the key that was forgotten begins anew");
        assert_eq!(limits.count(1.0, |_| "a".to_owned()).len() + limits.count(1.0, |_| "a".to_owned()).len(), 0);
        assert_eq!(limits.count(1.0, |_| "a".to_owned()), ["limit reached on type Namespace for key a"]);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for (wrong, why) in [
            (json!([]), "limits: Invalid value: null: must not be empty"),
            (json!([{"type": "Server", "qps": 0, "burst": 1}]), "limits[0].qps: Invalid value: 0: must be positive"),
            (json!([{"type": "Server", "qps": 1}]), "limits[0].burst: Invalid value: null: must be positive"),
            (
                json!([{"type": "X", "qps": 1, "burst": 1}]),
                "limits[0].type: Unsupported value: \"X\": supported values: \"Namespace\", \"Server\", \"SourceAndObject\", \"User\"",
            ),
            (
                json!([{"type": "User", "qps": 1, "burst": 1, "cacheSize": -1}]),
                "limits[0].cacheSize: Invalid value: -1: must not be negative",
            ),
        ] {
            assert_eq!(limits(wrong).err().as_deref(), Some(why));
        }
    }
}
