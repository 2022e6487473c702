//! Quality of service: who is ended first when a node runs out of memory ("Pod Quality of Service Classes").

use crate::view::list;
use serde_json::Value;
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;

/// The resources that count.
const COUNTED: [&str; 2] = ["cpu", "memory"];

/// Guaranteed: every container's limits equal its requests, for cpu and memory. `BestEffort`: none asks for anything.
pub(super) fn quality(spec: &Value) -> &'static str {
    let (mut requests, mut limits) = (Sum::default(), Sum::default());
    let mut all_limited = true;
    let of_pod = spec["resources"].is_object().then_some(spec);
    let containers = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    // What a pod asks for as a whole stands for what its containers ask for.
    let asking: Vec<&Value> = of_pod.map_or_else(|| containers.collect(), |pod| vec![pod]);
    for one in asking {
        add(&mut requests, &one["resources"]["requests"]);
        all_limited &= add(&mut limits, &one["resources"]["limits"]) == COUNTED.len();
    }
    match () {
        () if requests.is_empty() && limits.is_empty() => "BestEffort",
        () if all_limited && requests == limits => "Guaranteed",
        () => "Burstable",
    }
}

/// How much of each resource, in billionths.
type Sum = BTreeMap<&'static str, i128>;

/// Adds what is more than nothing, and says of how many resources.
fn add(sum: &mut Sum, amounts: &Value) -> usize {
    let text = |amount: &Value| amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    let given = COUNTED.into_iter().filter_map(|name| {
        let amount = Quantity::parse(&text(amounts.get(name)?)).ok()?.nanos();
        (amount > 0).then_some((name, amount))
    });
    given.map(|(name, amount)| *sum.entry(name).or_default() += amount).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let same = json!({"cpu": "1000m", "memory": "1024Mi"});
        for (containers, expected) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
            (json!([{"resources": {"limits": both, "requests": both}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both, "requests": same}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both, "requests": both}}, {}]), "Burstable"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": {"limits": {"cpu": "1", "memory": "0"}, "requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": {"limits": {"x.example/y": "1"}}}]), "BestEffort"),
        ] {
            assert_eq!(quality(&json!({"containers": containers})), expected, "{containers}");
        }
        let whole = json!({"containers": [{}], "resources": {"limits": both, "requests": both}});
        assert_eq!(quality(&whole), "Guaranteed");
    }
}
