//! Configurations as users write them, and what is said of wrong ones.

use super::*;
use crate::plugin::Plugin;
use crate::profile::Strategy;
use serde_json::json;

fn with(fields: Value) -> Value {
    let mut whole = json!({"apiVersion": GROUP, "kind": "KubeSchedulerConfiguration"});
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    whole
}

fn profile(fields: Value) -> Result<Profile, ConfigError> {
    Config::read(&with(json!({"profiles": [fields]})), 0).map(|config| config.profiles[0].clone())
}

#[test]
fn an_empty_configuration_is_the_default() {
    assert_eq!(Config::read(&with(json!({})), 0).unwrap(), Config::default());
    assert_eq!(profile(json!({})).unwrap(), Profile::named("default-scheduler"));
}

#[test]
fn plugins_are_turned_off_and_weighed() {
    let plugins = json!({
        "multiPoint": {"disabled": [{"name": "ImageLocality"}, {"name": "NodePorts"}]},
        "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit", "weight": 7}]},
        "postFilter": {"disabled": [{"name": "DefaultPreemption"}]},
    });
    let profile = profile(json!({"schedulerName": "own", "plugins": plugins})).unwrap();
    assert_eq!(profile.scores, [(Plugin::NodeResourcesFit, 7)]);
    assert!(!profile.filters.contains(&Plugin::NodePorts) && profile.filters.contains(&Plugin::NodeName));
    assert!(!profile.preempts && profile.gates);
}

#[test]
fn settings_are_read() {
    let strategy = json!({"type": "RequestedToCapacityRatio", "resources": [{"name": "example.com/gpu", "weight": 3}],
        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]}});
    let configs = json!([
        {"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy, "ignoredResources": ["example.com/x"]}},
        {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 0}},
        {"name": "PodTopologySpread", "args": {"defaultingType": "List", "defaultConstraints": []}},
    ]);
    let args = profile(json!({"pluginConfig": configs})).unwrap().args;
    assert_eq!(args.strategy, Strategy::Ratio(vec![(0, 0), (100, 10)]));
    assert_eq!((args.fit, args.hard_affinity_weight), (vec![("example.com/gpu".to_owned(), 3)], 0));
    assert!(args.spread.is_empty() && !args.spread_is_system);
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (json!({"profiles": [{"shedulerName": "x"}]}), "profiles[0].shedulerName: unknown field"),
        (json!({"profiles": [{}, {"schedulerName": "x"}]}), "profiles[0].schedulerName: required value"),
        (json!({"percentageOfNodesToScore": 101}), "percentageOfNodesToScore: must be a whole number from 0 to 100"),
        (
            json!({"profiles": [{"plugins": {"filter": {"disabled": [{"name": "Own"}]}}}]}),
            "profiles[0].plugins.filter.disabled[0].name: there is no plugin \"Own\"",
        ),
        (
            json!({"profiles": [{"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "Best"}}}]}]}),
            "profiles[0].pluginConfig[0].args.scoringStrategy.type: must be LeastAllocated, MostAllocated or RequestedToCapacityRatio",
        ),
        (json!({"extenders": [{}]}), "extenders[0].urlPrefix: required value"),
    ];
    for (fields, expected) in cases {
        assert_eq!(Config::read(&with(fields), 0).unwrap_err().to_string(), expected);
    }
    assert_eq!(Config::read(&json!({}), 0).unwrap_err().field, "apiVersion");
}
