//! What it costs to know who asks, whether they may, and what policies, hooks, quotas and the audit log make of it; and how one tenant
//! fares while another floods the server.

use crate::Parameters;
use crate::hooks::Hooks;
use crate::http::{Ask, Client, Door, JSON};
use crate::load::{self, Asks, Row, Sample, row};
use crate::objects::{self, fresh};
use crate::server::{Extras, Kind, Server};
use crate::table::Table;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Roles, and as many bindings.
const ROLES: usize = 1000;
/// Of so many bindings one is about whoever asks.
const OWN_BINDINGS: usize = 50;
const POLICIES: usize = 20;
const WRITERS: usize = 64;
/// How many connections a flood has.
pub(crate) const FLOOD: usize = 64;
/// Requests that read and have a turn at a time where one tenant floods: two for each of two processors.
const SEATS: usize = 4;
/// How long something may take until it counts.
const PATIENCE: Duration = Duration::from_secs(60);

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

/// A config map like those of the other rows.
fn map(name: &str) -> String {
    json!({"metadata": {"name": name}, "data": {"key": "x".repeat(256)}}).to_string()
}

fn create(namespace: &str) -> Ask {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    Ask::send("POST", path, JSON, map(&format!("made-{}", fresh())))
}

const GET: Asks = |client, _| Ask::get(format!("{}/pods/own-{client}", objects::NAMESPACE), JSON);
const CREATE: Asks = |_, _| create("bench");
const CREATE_POLICED: Asks = |_, _| create("policed");
const CREATE_HOOKED: Asks = |_, _| create("hooked");
const CREATE_LIMITED: Asks = |_, _| create("limited");

async fn make(client: &mut Client, path: &str, object: Value) -> Value {
    serde_json::from_slice(&client.must(&Ask::send("POST", path, JSON, object.to_string())).await).unwrap()
}

async fn namespace(client: &mut Client, name: &str) {
    make(client, "/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
}

/// An account that may read and write in its namespace, and a token of its.
async fn account(client: &mut Client, namespace: &str) -> String {
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    make(client, &accounts, json!({"metadata": {"name": "caller"}})).await;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["*"]}]);
    let role = json!({"metadata": {"name": "z-caller"}, "rules": rules});
    make(client, &format!("{RBAC}/namespaces/{namespace}/roles"), role).await;
    bind(client, namespace, "z-caller", "caller").await;
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = make(client, &format!("{accounts}/caller/token"), asked).await;
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// Gives an account a role of its name.
async fn bind(client: &mut Client, namespace: &str, role: &str, account: &str) {
    let binding = json!({"metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]});
    make(client, &format!("{RBAC}/namespaces/{namespace}/rolebindings"), binding).await;
}

async fn roles(client: &mut Client) {
    for number in 0..ROLES {
        let name = format!("r-{number:04}");
        let rules =
            json!([{"apiGroups": ["example.com"], "resources": [format!("things{number}")], "verbs": ["get", "list"]}]);
        let role = json!({"metadata": {"name": name}, "rules": rules});
        make(client, &format!("{RBAC}/namespaces/bench/roles"), role).await;
        let own = number % OWN_BINDINGS == 0;
        bind(client, "bench", &name, if own { "caller" } else { "somebody" }).await;
    }
}

/// Policies about config maps in `policed`, each with a look at the data and one at the name; they hold when this returns.
async fn policies(client: &mut Client) {
    namespace(client, "policed").await;
    for number in 0..POLICIES {
        let name = format!("p{number}.bench.example.com");
        let spec = json!({"failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "policed"}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["configmaps"]}]},
            "variables": [{"name": "sizes", "expression": "object.data.map(key, size(object.data[key]))"}],
            "validations": [
                {"expression": format!("variables.sizes.all(bytes, bytes <= {})", 1000 + number)},
                {"expression": format!("object.metadata.name != 'denied-{number}'"), "message": "not so"}]});
        let policies = format!("{REGISTRATION}/validatingadmissionpolicies");
        make(client, &policies, json!({"metadata": {"name": name}, "spec": spec})).await;
        let spec = json!({"policyName": name, "validationActions": ["Deny"]});
        let bindings = format!("{REGISTRATION}/validatingadmissionpolicybindings");
        make(client, &bindings, json!({"metadata": {"name": name}, "spec": spec})).await;
    }
    let begun = Instant::now();
    for number in 0..POLICIES {
        let path = "/api/v1/namespaces/policed/configmaps?dryRun=All";
        let ask = Ask::send("POST", path, JSON, map(&format!("denied-{number}")));
        while client.ask(&ask).await.0.is_success() {
            assert!(begun.elapsed() < PATIENCE, "policy {number} does not hold");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Hooks about config maps in `hooked`; they are asked when this returns.
async fn hooked(client: &mut Client, hooks: &Hooks) {
    namespace(client, "hooked").await;
    for (plural, configuration) in hooks.configurations("hooked") {
        make(client, &format!("{REGISTRATION}/{plural}"), configuration).await;
    }
    let begun = Instant::now();
    while !hooks.all_asked() {
        assert!(begun.elapsed() < PATIENCE, "some hooks are not asked");
        client.must(&create("hooked")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A quota that is never used up, counted as the controller would.
async fn limit(client: &mut Client) {
    namespace(client, "limited").await;
    let quotas = "/api/v1/namespaces/limited/resourcequotas";
    let hard = json!({"count/configmaps": "1000000000"});
    let mut quota = make(client, quotas, json!({"metadata": {"name": "all"}, "spec": {"hard": hard}})).await;
    quota["status"] = json!({"hard": hard, "used": {"count/configmaps": "0"}});
    client.must(&Ask::send("PUT", format!("{quotas}/all/status"), JSON, quota.to_string())).await;
    // A quota is seen a moment after it was written.
    client.must(&create("limited")).await;
}

/// Rows of one setting: what is asked under it, by how many connections.
struct Setting<'a> {
    of: &'a str,
    rows: &'a [(&'a str, Asks, &'a [usize])],
}

async fn measure_each(
    parameters: &Parameters,
    servers: &[Server; 2],
    table: &mut Table,
    setting: &Setting<'_>,
    doors: &[Door; 2],
) {
    for (what, asks, connections) in setting.rows {
        for connections in *connections {
            let what = &format!("{what}, {}", setting.of);
            row(parameters, servers, table, &Row { what, connections: *connections, asks: *asks, doors }).await;
        }
    }
}

/// Callers, policies, hooks and quotas of two servers with nothing else.
async fn measure_plain(parameters: &Parameters, kinds: &[Kind; 2], folder: &Path, table: &mut Table) {
    let servers = start(kinds, folder, Extras::default()).await;
    let admins = servers.each_ref().map(Server::door);
    let mut callers = Vec::new();
    for server in &servers {
        let mut client = server.connect().await;
        objects::prepare(&mut client).await;
        callers.push(server.door().with_token(&account(&mut client, "bench").await));
    }
    let callers = <[Door; 2]>::try_from(callers).ok().unwrap();
    let both: &[(&str, Asks, &[usize])] = &[("get a pod", GET, &[1, 16]), ("create a config map", CREATE, &[1, 16])];
    measure_each(parameters, &servers, table, &Setting { of: "with a certificate", rows: both }, &admins).await;
    measure_each(parameters, &servers, table, &Setting { of: "with a token", rows: both }, &callers).await;
    for server in &servers {
        roles(&mut server.connect().await).await;
    }
    let of = format!("{ROLES} roles and bindings more");
    measure_each(parameters, &servers, table, &Setting { of: &of, rows: both }, &callers).await;
    for server in &servers {
        policies(&mut server.connect().await).await;
    }
    let rows: &[(&str, Asks, &[usize])] = &[("create a config map", CREATE_POLICED, &[1, 16])];
    measure_each(parameters, &servers, table, &Setting { of: "20 policies", rows }, &admins).await;
    let hooks = Hooks::start().await;
    for server in &servers {
        hooked(&mut server.connect().await, &hooks).await;
    }
    let rows: &[(&str, Asks, &[usize])] = &[("create a config map", CREATE_HOOKED, &[1, 16])];
    measure_each(parameters, &servers, table, &Setting { of: "10 webhooks", rows }, &admins).await;
    for server in &servers {
        limit(&mut server.connect().await).await;
    }
    let rows: &[(&str, Asks, &[usize])] = &[("create a config map", CREATE_LIMITED, &[WRITERS])];
    measure_each(parameters, &servers, table, &Setting { of: "a quota", rows }, &admins).await;
}

async fn measure_recorded(parameters: &Parameters, kinds: &[Kind; 2], folder: &Path, table: &mut Table) {
    let servers = start(kinds, folder, Extras { audit: true, ..Extras::default() }).await;
    for server in &servers {
        objects::prepare(&mut server.connect().await).await;
    }
    let doors = servers.each_ref().map(Server::door);
    let rows: &[(&str, Asks, &[usize])] = &[("get a pod", GET, &[1, 16]), ("create a config map", CREATE, &[1, 16])];
    measure_each(parameters, &servers, table, &Setting { of: "audit on", rows }, &doors).await;
}

/// What a flood asks: half of it lists, half of it writes.
pub(crate) const FLOODING: Asks = |client, _| match client % 2 {
    0 => Ask::get("/api/v1/namespaces/flood/configmaps?limit=500", JSON),
    _ => create("flood"),
};

async fn measure_flooded(parameters: &Parameters, kinds: &[Kind; 2], folder: &Path, table: &mut Table) {
    let servers = start(kinds, folder, Extras { seats: SEATS, ..Extras::default() }).await;
    let rows: [(&str, Asks); 2] = [("get a pod", GET), ("create a config map", CREATE)];
    let mut tails: Vec<Vec<[Sample; 2]>> = Vec::new();
    for server in &servers {
        let mut client = server.connect().await;
        objects::prepare(&mut client).await;
        let victim = server.door().with_token(&account(&mut client, "bench").await);
        namespace(&mut client, "flood").await;
        let token = account(&mut client, "flood").await;
        for _ in 0..500 {
            client.must(&create("flood")).await;
        }
        let time = parameters.turn * u32::try_from(parameters.turns).unwrap();
        let mut alone = Vec::new();
        for (_, asks) in rows {
            alone.push(load::alone(&victim, time, asks).await);
        }
        let flood = server.flood(&token);
        tokio::time::sleep(parameters.turn).await;
        let mut pairs = Vec::new();
        for (before, (_, asks)) in alone.into_iter().zip(rows) {
            pairs.push([before, load::alone(&victim, time, asks).await]);
        }
        drop(flood);
        tails.push(pairs);
    }
    let theirs = tails.pop().unwrap();
    for (((what, _), ours), theirs) in rows.iter().zip(tails.pop().unwrap()).zip(theirs) {
        let what = format!("{what} with a token, 1 connection, beside {FLOOD} of another account");
        table.tails(&what, [ours, theirs]);
    }
}

async fn start(kinds: &[Kind; 2], folder: &Path, extras: Extras) -> [Server; 2] {
    let [ours, theirs] = kinds.clone();
    [Server::start_with(ours, folder, extras).await, Server::start_with(theirs, folder, extras).await]
}

/// Each setting on servers of its own, in a folder of its own.
pub(crate) async fn measure(parameters: &Parameters, kinds: &[Kind; 2], folder: &Path, table: &mut Table) {
    let part = |name: &str| folder.join(name);
    measure_plain(parameters, kinds, &part("plain"), table).await;
    measure_recorded(parameters, kinds, &part("recorded"), table).await;
    if parameters.wants("flood") {
        measure_flooded(parameters, kinds, &part("flooded"), table).await;
    }
}
