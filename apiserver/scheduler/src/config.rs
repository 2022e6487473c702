//! A KubeSchedulerConfiguration: profiles, plugins with their settings, extenders, back-off.

mod args; // the settings of plugins
mod plugins; // which plugins a profile has

use crate::extender::ExtenderConfig;
use crate::profile::Profile;
use crate::queue::BackOff;
use serde_json::{Map, Value};

/// How the scheduler decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub(crate) profiles: Vec<Profile>,
    pub(crate) extenders: Vec<ExtenderConfig>,
    pub(crate) back_off: BackOff,
    /// Chooses among nodes that are equally good: the same seed, the same choices.
    pub(crate) seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profiles: vec![Profile::named(crate::SCHEDULER_NAME)],
            extenders: Vec::new(),
            back_off: BackOff { first: 1000, most: 10_000 },
            seed: 0,
        }
    }
}

/// A configuration that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ConfigError {
    pub(crate) field: String,
    pub(crate) reason: String,
}

/// A field that is being read, with its path.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    path: String,
    value: &'a Value,
}

static NULL: Value = Value::Null;

pub(crate) type Read<T> = Result<T, ConfigError>;

impl<'a> Field<'a> {
    pub(crate) fn error<T>(&self, reason: impl Into<String>) -> Read<T> {
        Err(ConfigError { field: self.path.clone(), reason: reason.into() })
    }

    /// A field of an object, and null if it is not there.
    pub(crate) fn get(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { path, value: self.value.get(name).unwrap_or(&NULL) }
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    /// Refuses fields that are not among `known`, as kube-scheduler does.
    pub(crate) fn only(&self, known: &[&str]) -> Read<()> {
        let Some(fields) = self.object()? else { return Ok(()) };
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => self.get(name).error("unknown field"),
            None => Ok(()),
        }
    }

    fn object(&self) -> Read<Option<&'a Map<String, Value>>> {
        match self.value {
            Value::Null => Ok(None),
            Value::Object(fields) => Ok(Some(fields)),
            _ => self.error("must be an object"),
        }
    }

    pub(crate) fn list(&self) -> Read<Vec<Self>> {
        let one = |(at, value)| Self { path: format!("{}[{at}]", self.path), value };
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(values) => Ok(values.iter().enumerate().map(one).collect()),
            _ => self.error("must be a list"),
        }
    }

    pub(crate) fn text(&self) -> Read<Option<&'a str>> {
        match self.value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => self.error("must be a string"),
        }
    }

    pub(crate) fn truth(&self) -> Read<bool> {
        match self.value {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(*truth),
            _ => self.error("must be true or false"),
        }
    }

    /// A whole number within `range`, or `default`.
    pub(crate) fn number(&self, default: i64, range: std::ops::RangeInclusive<i64>) -> Read<i64> {
        let number = match self.value {
            Value::Null => return Ok(default),
            value => value.as_i64(),
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(number),
            None => self.error(format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// A part of the Kubernetes API, such as a node selector.
    pub(crate) fn part<T: serde::de::DeserializeOwned>(&self) -> Read<Option<T>> {
        if self.is_absent() {
            return Ok(None);
        }
        serde_json::from_value(self.value.clone()).map(Some).or_else(|error| self.error(error.to_string()))
    }
}

const GROUP: &str = "kubescheduler.config.k8s.io/v1";
/// What is said elsewhere, by flags, or has no counterpart here.
const NOT_HERE: [&str; 8] = [
    "clientConnection",
    "leaderElection",
    "parallelism",
    "healthzBindAddress",
    "metricsBindAddress",
    "enableProfiling",
    "enableContentionProfiling",
    "delayCacheUntilActive",
];

impl Config {
    /// Reads a KubeSchedulerConfiguration; `seed` chooses among equals.
    ///
    /// # Errors
    /// It is of another version, has unknown fields, or says what cannot be.
    pub fn read(value: &Value, seed: u64) -> Result<Self, ConfigError> {
        let root = Field { path: String::new(), value };
        let own = [
            "apiVersion",
            "kind",
            "profiles",
            "extenders",
            "percentageOfNodesToScore",
            "podInitialBackoffSeconds",
            "podMaxBackoffSeconds",
        ];
        root.only(&[&own[..], &NOT_HERE[..]].concat())?;
        for (field, expected) in [("apiVersion", GROUP), ("kind", "KubeSchedulerConfiguration")] {
            let field = root.get(field);
            if field.text()? != Some(expected) {
                return field.error(format!("must be \"{expected}\""));
            }
        }
        let percentage = root.get("percentageOfNodesToScore").number(0, 0..=100)?;
        let first = root.get("podInitialBackoffSeconds").number(1, 1..=i64::from(u32::MAX))?;
        let most = root.get("podMaxBackoffSeconds").number(10, first..=i64::from(u32::MAX))?;
        let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0) * 1000;
        let extenders = root.get("extenders").list()?;
        Ok(Self {
            profiles: profiles(&root, percentage)?,
            extenders: extenders.iter().map(ExtenderConfig::read).collect::<Read<_>>()?,
            back_off: BackOff { first: millis(first), most: millis(most) },
            seed,
        })
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The profile of a scheduler name.
    pub(crate) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

fn profiles(root: &Field<'_>, percentage: i64) -> Read<Vec<Profile>> {
    let fields = root.get("profiles").list()?;
    if fields.is_empty() {
        return Ok(vec![Profile { nodes_to_score: percentage, ..Profile::named(crate::SCHEDULER_NAME) }]);
    }
    let mut profiles: Vec<Profile> = Vec::new();
    for field in &fields {
        field.only(&["schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"])?;
        let name = field.get("schedulerName");
        let named = match name.text()? {
            Some(named) if !named.is_empty() => named,
            _ if fields.len() == 1 => crate::SCHEDULER_NAME,
            _ => return name.error("required value"),
        };
        if profiles.iter().any(|profile| profile.name == named) {
            return name.error(format!("duplicate value \"{named}\""));
        }
        let mut profile = Profile::named(named);
        profile.nodes_to_score = field.get("percentageOfNodesToScore").number(percentage, 0..=100)?;
        plugins::read(&field.get("plugins"), &mut profile)?;
        args::read(&field.get("pluginConfig"), &mut profile.args)?;
        profiles.push(profile);
    }
    Ok(profiles)
}

#[cfg(test)]
mod tests;
