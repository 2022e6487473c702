//! `skiff top`: what nodes and pods use, as `metrics.k8s.io` says.

use crate::cli::{SortBy, TopWhat, UsageArgs};
use crate::client::{must_exist, plain_table, text};
use crate::out::{complain, show};
use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use skiff_client::from_kubeconfig;
use skiff_proto::quantity::Quantity;
use std::cmp::Reverse;
use std::collections::BTreeMap;

const MEBIBYTE: i64 = 1 << 20;

/// One line: what is shown before the figures, thousandths of processors, and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    names: Vec<String>,
    milli: i64,
    bytes: i64,
}

pub(crate) async fn run(args: UsageArgs) -> anyhow::Result<()> {
    must_exist(&args.server.kubeconfig)?;
    let client = from_kubeconfig(&args.server.kubeconfig).await?;
    let objects = figures(&client, &args).await.context("read metrics.k8s.io")?;
    let mut rows: Vec<Row> = objects.iter().flat_map(|object| rows_of(object, &args)).collect();
    sort(&mut rows, args.sort_by);
    if rows.is_empty() {
        complain!("no figures yet: nothing that is meant runs, or its node does not answer");
        return Ok(());
    }
    let capacity = match args.what {
        TopWhat::Node => capacity(&client).await?,
        TopWhat::Pod => BTreeMap::new(),
    };
    show!("{}", table(&rows, &args, &capacity))
}

async fn figures(client: &Client, args: &UsageArgs) -> anyhow::Result<Vec<DynamicObject>> {
    let kind = if args.what == TopWhat::Node { "NodeMetrics" } else { "PodMetrics" };
    let plural = if args.what == TopWhat::Node { "nodes" } else { "pods" };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", kind), plural);
    let namespace = args.server.namespace.as_deref();
    let api: Api<DynamicObject> = match args.what {
        TopWhat::Node => Api::all_with(client.clone(), &resource),
        TopWhat::Pod if args.all_namespaces => Api::all_with(client.clone(), &resource),
        TopWhat::Pod => match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::default_namespaced_with(client.clone(), &resource),
        },
    };
    if let Some(name) = &args.name {
        return Ok(vec![api.get(name).await?]);
    }
    Ok(api.list(&ListParams::default().labels(args.selector.as_deref().unwrap_or_default())).await?.items)
}

/// The lines of one object.
fn rows_of(object: &DynamicObject, args: &UsageArgs) -> Vec<Row> {
    let mut names: Vec<String> = Vec::new();
    if args.all_namespaces && args.what == TopWhat::Pod {
        names.push(object.namespace().unwrap_or_default());
    }
    names.push(object.name_any());
    let figure = |usage: &Value, name: &str| usage[name].as_str().and_then(|text| Quantity::parse(text).ok());
    let row = |names: Vec<String>, usage: &Value| Row {
        names,
        milli: figure(usage, "cpu").map_or(0, |one| i64::try_from(one.millis()).unwrap_or(i64::MAX)),
        bytes: figure(usage, "memory").map_or(0, Quantity::units),
    };
    let Some(containers) = object.data["containers"].as_array() else { return vec![row(names, &object.data["usage"])] };
    let of_container = |container: &Value| {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        row(names.iter().cloned().chain([name]).collect(), &container["usage"])
    };
    let rows: Vec<Row> = containers.iter().map(of_container).collect();
    if args.containers {
        return rows;
    }
    let sum = |value: fn(&Row) -> i64| rows.iter().map(value).sum();
    vec![Row { names, milli: sum(|row| row.milli), bytes: sum(|row| row.bytes) }]
}

fn sort(rows: &mut [Row], by: Option<SortBy>) {
    rows.sort_by(|one, other| one.names.cmp(&other.names));
    match by {
        None => {}
        Some(SortBy::Cpu) => rows.sort_by_key(|row| Reverse(row.milli)),
        Some(SortBy::Memory) => rows.sort_by_key(|row| Reverse(row.bytes)),
    }
}

/// What each node has for pods: thousandths of processors, and bytes.
async fn capacity(client: &Client) -> anyhow::Result<BTreeMap<String, (i64, i64)>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("list nodes")?;
    let of_node = |node: Node| {
        let all = node.status.as_ref().and_then(|status| status.allocatable.clone()).unwrap_or_default();
        let figure = |name: &str| all.get(name).and_then(|quantity| Quantity::parse(&quantity.0).ok());
        let milli = figure("cpu").map_or(0, |one| i64::try_from(one.millis()).unwrap_or(i64::MAX));
        (node.name_any(), (milli, figure("memory").map_or(0, Quantity::units)))
    };
    Ok(nodes.items.into_iter().map(of_node).collect())
}

/// How much that is in per cent; of nothing nothing is known.
fn percent(used: i64, all: i64) -> String {
    if all > 0 { format!("{}%", used.saturating_mul(100) / all) } else { "<unknown>".to_owned() }
}

fn table(rows: &[Row], args: &UsageArgs, capacity: &BTreeMap<String, (i64, i64)>) -> String {
    let mut header = Vec::new();
    if args.all_namespaces && args.what == TopWhat::Pod {
        header.push("NAMESPACE");
    }
    header.push(if args.containers { "POD" } else { "NAME" });
    if args.containers && args.what == TopWhat::Pod {
        header.push("NAME");
    }
    let is_node = args.what == TopWhat::Node;
    let figures: &[&str] =
        if is_node { &["CPU(cores)", "CPU%", "MEMORY(bytes)", "MEMORY%"] } else { &["CPU(cores)", "MEMORY(bytes)"] };
    header.extend(figures);
    let mut table = plain_table(header);
    for row in rows {
        let (cpu, memory) = (format!("{}m", row.milli), format!("{}Mi", row.bytes / MEBIBYTE));
        let cells = if is_node {
            let (milli, bytes) = capacity.get(&row.names[0]).copied().unwrap_or_default();
            vec![cpu, percent(row.milli, milli), memory, percent(row.bytes, bytes)]
        } else {
            vec![cpu, memory]
        };
        table.add_row(row.names.iter().cloned().chain(cells));
    }
    text(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UsageArgs,
    }

    fn args(line: &str) -> UsageArgs {
        Line::parse_from(["top"].into_iter().chain(line.split(' '))).args
    }

    fn shown(line: &str, objects: Value) -> Vec<Vec<String>> {
        let args = args(line);
        let objects: Vec<DynamicObject> = serde_json::from_value(objects).unwrap();
        let mut rows: Vec<Row> = objects.iter().flat_map(|object| rows_of(object, &args)).collect();
        sort(&mut rows, args.sort_by);
        let capacity = BTreeMap::from([("n".to_owned(), (2000, 1 << 30))]);
        let text = table(&rows, &args, &capacity);
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn nodes_and_pods_are_shown_with_their_sums() {
        let node = json!([{"metadata": {"name": "n"}, "usage": {"cpu": "250000000n", "memory": "256Mi"}}]);
        assert_eq!(shown("node", node)[1], ["n", "250m", "12%", "256Mi", "25%"]);
        let pod = |name: &str, cpu: &str| {
            json!({"metadata": {"name": name, "namespace": "d"}, "containers": [
            {"name": "a", "usage": {"cpu": cpu, "memory": "16Mi"}}, {"name": "b", "usage": {"cpu": "1m", "memory": "1Mi"}}]})
        };
        let pods = json!([pod("p", "5m"), pod("q", "1")]);
        assert_eq!(shown("pods", pods.clone())[1..], [vec!["p", "6m", "17Mi"], vec!["q", "1001m", "17Mi"]]);
        assert_eq!(shown("pod -A --sort-by cpu", pods.clone())[1], ["d", "q", "1001m", "17Mi"]);
        assert_eq!(
            shown("pod --containers", pods)[..2],
            [vec!["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"], vec!["p", "a", "5m", "16Mi"]]
        );
    }
}
