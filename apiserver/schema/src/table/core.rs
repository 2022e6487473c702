//! Rows of the core kinds other than pods, of leases and endpoint slices.

use super::text::{age, condition, labels, name, number, or, since};
use super::{AGE, Column, NAME, Printer};
use crate::view::{entries, given, list, text};
use jiff::Timestamp;
use serde_json::Value;

pub(crate) static CONFIG_MAP: Printer = Printer {
    columns: &[NAME, Column::text("Data", "Number of entries."), AGE],
    cells: |it, now| {
        let count = entries(it, "data").count() + entries(it, "binaryData").count();
        vec![name(it), count.into(), age(it, now)]
    },
};

pub(crate) static SECRET: Printer = Printer {
    columns: &[NAME, Column::text("Type", "What the secret is for."), Column::text("Data", "Number of entries."), AGE],
    cells: |it, now| vec![name(it), text(it, "type").into(), entries(it, "data").count().into(), age(it, now)],
};

pub(crate) static SERVICE_ACCOUNT: Printer =
    Printer { columns: &[NAME, AGE], cells: |it, now| vec![name(it), age(it, now)] };

pub(crate) static NAMESPACE: Printer = Printer {
    columns: &[NAME, Column::text("Status", "Active, or Terminating."), AGE],
    cells: |it, now| vec![name(it), text(&it["status"], "phase").into(), age(it, now)],
};

pub(crate) static LEASE: Printer = Printer {
    columns: &[NAME, Column::text("Holder", "Who holds the lease."), AGE],
    cells: |it, now| vec![name(it), text(&it["spec"], "holderIdentity").into(), age(it, now)],
};

pub(crate) static EVENT: Printer = Printer {
    columns: &[
        Column::text("Last Seen", "Time since it happened last."),
        Column::text("Type", "Normal, or Warning."),
        Column::text("Reason", "Short name of what happened."),
        Column::text("Object", "What it happened to."),
        Column::wide("Subobject", "Which part of the object."),
        Column::wide("Source", "Who reported it."),
        Column::text("Message", "What happened."),
        Column::wide("First Seen", "Time since it happened first."),
        Column::wide("Count", "How often it happened."),
        Column::wide("Name", "Name of the event."),
    ],
    cells: event,
};

fn event(it: &Value, now: Timestamp) -> Vec<Value> {
    let first = if given(it, "firstTimestamp") { &it["firstTimestamp"] } else { &it["eventTime"] };
    let repeated = &it["series"]["lastObservedTime"];
    let last = [repeated, &it["lastTimestamp"], first].into_iter().find(|time| !time.is_null()).unwrap_or(first);
    let count = if it["series"].is_object() { number(&it["series"]["count"]) } else { number(&it["count"]).max(1) };
    let object = &it["involvedObject"];
    let subject = format!("{}/{}", text(object, "kind").to_lowercase(), text(object, "name"));
    let source = match (text(&it["source"], "component"), text(&it["source"], "host")) {
        ("", _) => match (text(it, "reportingComponent"), text(it, "reportingInstance")) {
            (component, "") => component.to_owned(),
            (component, instance) => format!("{component}, {instance}"),
        },
        (component, "") => component.to_owned(),
        (component, host) => format!("{component}, {host}"),
    };
    vec![
        since(last, now).into(),
        text(it, "type").into(),
        text(it, "reason").into(),
        subject.into(),
        text(object, "fieldPath").into(),
        source.into(),
        text(it, "message").trim().into(),
        since(first, now).into(),
        count.into(),
        name(it),
    ]
}

pub(crate) static SERVICE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Type", "How the service is reached."),
        Column::text("Cluster-IP", "Its address in the cluster."),
        Column::text("External-IP", "Its addresses outside the cluster."),
        Column::text("Port(s)", "Its ports, and those of the nodes."),
        AGE,
        Column::wide("Selector", "Labels of its pods."),
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        let address = or(text(spec, "clusterIP"), "<none>");
        let selector = labels(spec, "selector").into();
        let kind = text(spec, "type").into();
        vec![name(it), kind, address, external(it).into(), ports(spec).into(), age(it, now), selector]
    },
};

fn external(service: &Value) -> String {
    let spec = &service["spec"];
    let mut addresses: Vec<&str> = list(spec, "externalIPs").iter().filter_map(Value::as_str).collect();
    match text(spec, "type") {
        "ExternalName" => return text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = list(&service["status"]["loadBalancer"], "ingress");
            let names = ingress.iter().map(|it| if given(it, "ip") { text(it, "ip") } else { text(it, "hostname") });
            addresses.splice(0..0, names);
            if addresses.is_empty() {
                return "<pending>".to_owned();
            }
        }
        _ => {}
    }
    if addresses.is_empty() { "<none>".to_owned() } else { addresses.join(",") }
}

fn ports(spec: &Value) -> String {
    let one = |port: &Value| {
        let (number, protocol) = (number(&port["port"]), text(port, "protocol"));
        match port["nodePort"].as_i64() {
            Some(node_port) if node_port != 0 => format!("{number}:{node_port}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    };
    let all: Vec<_> = list(spec, "ports").iter().map(one).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

pub(crate) static ENDPOINTS: Printer = Printer {
    columns: &[NAME, Column::text("Endpoints", "Addresses that are ready."), AGE],
    cells: |it, now| {
        let mut all = Vec::new();
        for subset in list(it, "subsets") {
            for address in list(subset, "addresses") {
                let ports = list(subset, "ports");
                if ports.is_empty() {
                    all.push(text(address, "ip").to_owned());
                }
                all.extend(ports.iter().map(|port| format!("{}:{}", text(address, "ip"), number(&port["port"]))));
            }
        }
        vec![name(it), few(&all, "<none>").into(), age(it, now)]
    },
};

pub(crate) static ENDPOINT_SLICE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("AddressType", "Kind of the addresses."),
        Column::text("Ports", "Ports of the endpoints."),
        Column::text("Endpoints", "Addresses of the endpoints."),
        AGE,
    ],
    cells: |it, now| {
        let ports: Vec<_> = list(it, "ports").iter().map(|port| number(&port["port"]).to_string()).collect();
        let first = |endpoint: &Value| {
            list(endpoint, "addresses").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let addresses: Vec<String> = list(it, "endpoints").iter().flat_map::<Vec<String>, _>(first).collect();
        let (ports, addresses) = (few(&ports, "<unset>"), few(&addresses, "<unset>"));
        vec![name(it), text(it, "addressType").into(), ports.into(), addresses.into(), age(it, now)]
    },
};

/// The first three, and how many more there are.
fn few(all: &[String], none: &str) -> String {
    const SHOWN: usize = 3;
    match all.len() {
        0 => none.to_owned(),
        1..=SHOWN => all.join(","),
        count => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
    }
}

pub(crate) static NODE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status", "Whether it is ready, and whether it takes pods."),
        Column::text("Roles", "Its roles, from its labels."),
        AGE,
        Column::text("Version", "Version of its kubelet."),
        Column::wide("Internal-IP", "Its address in the cluster."),
        Column::wide("External-IP", "Its address outside the cluster."),
        Column::wide("OS-Image", "Its operating system."),
        Column::wide("Kernel-Version", "Its kernel."),
        Column::wide("Container-Runtime", "Its container runtime."),
    ],
    cells: |it, now| {
        let status = &it["status"];
        let info = &status["nodeInfo"];
        vec![
            name(it),
            node_status(it).into(),
            roles(it).into(),
            age(it, now),
            text(info, "kubeletVersion").into(),
            or(address(status, "InternalIP"), "<none>"),
            or(address(status, "ExternalIP"), "<none>"),
            or(text(info, "osImage"), "<unknown>"),
            kernel(info),
            or(text(info, "containerRuntimeVersion"), "<unknown>"),
        ]
    },
};

/// The kernel and the architecture of its processor.
fn kernel(info: &Value) -> Value {
    let version = or(text(info, "kernelVersion"), "<unknown>");
    match text(info, "architecture") {
        "" => version,
        architecture => format!("{} ({architecture})", version.as_str().unwrap_or_default()).into(),
    }
}

fn node_status(node: &Value) -> String {
    let ready = match condition(&node["status"], "Ready").map(|it| text(it, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node["spec"]["unschedulable"] == true;
    if cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None => (key == "kubernetes.io/role").then(|| value.as_str().unwrap_or_default().to_owned()),
    };
    let mut roles: Vec<_> =
        entries(&node["metadata"], "labels").filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address<'a>(status: &'a Value, kind: &str) -> &'a str {
    list(status, "addresses").iter().find(|it| text(it, "type") == kind).map_or("", |it| text(it, "address"))
}
