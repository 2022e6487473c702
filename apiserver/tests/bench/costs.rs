//! What a request costs where there is much: objects, and definitions of custom resources.

use crate::http::{Ask, Client, JSON};
use crate::server::{Kind, Server};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests of which the median is shown.
const REQUESTS: usize = 15;
/// Of those that answer with everything.
const WHOLE_REQUESTS: usize = 3;
/// How many connections make the objects.
const MAKERS: usize = 16;
/// How long a definition may take until it is served.
const SERVED_SECONDS_MAX: u64 = 60;
/// Definitions that share a group.
const GROUP: usize = 10;

const NAMESPACE: &str = "/api/v1/namespaces/costs";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const WHOLE_DOCUMENT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

fn map(number: usize) -> Value {
    json!({"metadata": {"name": format!("map-{number:06}"), "labels": {"shard": format!("s{}", number % 100)}},
        "data": {"key": "x".repeat(256)}})
}

fn group(number: usize) -> String {
    format!("g{}.costs.example.com", number / GROUP)
}

/// Where the objects of a definition are.
fn kinds(number: usize) -> String {
    format!("/apis/{}/v1/namespaces/costs/kinds{number}", group(number))
}

/// A schema of some hundred fields, as tools generate them.
fn schema() -> Value {
    let text = |place: usize| {
        json!({"type": "string", "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            "description": format!("The field number {place}: a name as DNS has it, which another object carries.")})
    };
    let part = || -> Value {
        let mut fields: serde_json::Map<String, Value> =
            (0..8).map(|place| (format!("text{place}"), text(place))).collect();
        fields.insert("count".to_owned(), json!({"type": "integer", "minimum": 0, "default": 1}));
        fields.insert("mode".to_owned(), json!({"type": "string", "enum": ["Always", "Never", "Sometimes"]}));
        json!({"type": "object", "properties": fields, "required": ["text0"]})
    };
    let parts: serde_json::Map<String, Value> = (0..10).map(|place| (format!("part{place}"), part())).collect();
    let spec = json!({"type": "object", "properties": parts});
    json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": part()}}})
}

fn definition(number: usize) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("kinds{number}.{}", group(number))},
        "spec": {"group": group(number), "scope": "Namespaced",
            "names": {"plural": format!("kinds{number}"), "singular": format!("kind{number}"), "kind": format!("Kind{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema(), "subresources": {"status": {}}}]}})
}

async fn fill(server: &Server, from: usize, to: usize) {
    let makers = (0..MAKERS).map(|maker| {
        let door = server.door();
        tokio::spawn(async move {
            let mut client = door.connect().await.unwrap();
            for number in (from + maker..to).step_by(MAKERS) {
                client.must(&Ask::send("POST", format!("{NAMESPACE}/configmaps"), JSON, map(number).to_string())).await;
            }
        })
    });
    for maker in makers.collect::<Vec<_>>() {
        maker.await.unwrap();
    }
}

/// Makes definitions; returns how long the last of them took from its creation until it was served.
async fn define(server: &Server, from: usize, to: usize) -> Duration {
    let mut client = server.connect().await;
    let mut begun = Instant::now();
    for number in from..to {
        begun = Instant::now();
        client.must(&Ask::send("POST", DEFINITIONS, JSON, definition(number).to_string())).await;
    }
    let last = kinds(to - 1);
    while !client.ask(&Ask::get(&last, JSON)).await.0.is_success() {
        assert!(begun.elapsed() < Duration::from_secs(SERVED_SECONDS_MAX), "{last} is not served");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let served = begun.elapsed();
    // kube-apiserver publishes the document a while later.
    while !client.ask(&Ask::get(document(to - 1), JSON)).await.0.is_success() {
        assert!(begun.elapsed() < Duration::from_secs(SERVED_SECONDS_MAX), "{} is not served", document(to - 1));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    served
}

fn document(number: usize) -> String {
    format!("/openapi/v3/apis/{}/v1", group(number))
}

/// The median time of so many requests.
async fn median(client: &mut Client, requests: usize, ask: &dyn Fn(usize) -> Ask) -> Duration {
    let mut took = Vec::new();
    for number in 0..requests {
        let ask = ask(number);
        let begun = Instant::now();
        client.must(&ask).await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// How long it takes until a request is answered, asked again as long as the server says that it is not ready: kube-apiserver
/// makes the storage of a kind anew after it was defined, and answers 429 meanwhile.
async fn patiently(client: &mut Client, ask: &Ask) -> Duration {
    let begun = Instant::now();
    loop {
        let (code, _) = client.ask(ask).await;
        if code.is_success() {
            return begun.elapsed();
        }
        assert_eq!(code, hyper::StatusCode::TOO_MANY_REQUESTS, "{} {}", ask.method, ask.path);
        assert!(begun.elapsed() < Duration::from_secs(SERVED_SECONDS_MAX), "{} {} is not served", ask.method, ask.path);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// How long a watch takes until it has told all that is there.
async fn watch_start(client: &mut Client) -> Duration {
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let begun = Instant::now();
    let answer = client.begin(&Ask::get(format!("{NAMESPACE}/configmaps?{query}"), JSON)).await;
    assert!(answer.status().is_success(), "{}", answer.status());
    let mut body = answer.into_body();
    let mut tail = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.unwrap().into_data() else { continue };
        tail.extend_from_slice(&data);
        if String::from_utf8_lossy(&tail).contains("k8s.io/initial-events-end") {
            break;
        }
        // The mark is short, and may be cut in two.
        tail.drain(..tail.len().saturating_sub(512));
    }
    begun.elapsed()
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

/// A server that is started again and again on the same data.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) folder: &'a Path,
    pub(crate) server: Option<Server>,
}

impl Subject<'_> {
    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Kills it and starts it again; how long until it is ready, and its memory then.
    async fn restart(&mut self) -> (Duration, String) {
        self.server = None;
        let begun = Instant::now();
        self.server = Some(Server::start(self.kind.clone(), self.folder).await);
        (begun.elapsed(), self.memory())
    }

    fn memory(&self) -> String {
        format!("{:.0}", self.server().resident_bytes() as f64 / f64::from(1 << 20))
    }

    async fn of_objects(&mut self, count: usize) -> String {
        let path = move |number: usize| format!("{NAMESPACE}/configmaps/map-{:06}", number * count / REQUESTS);
        let patch = |number: usize| {
            let body = json!({"data": {"changed": number.to_string()}}).to_string();
            Ask::send("PATCH", path(number), "application/merge-patch+json", body)
        };
        let list = |query: &'static str| move |_| Ask::get(format!("{NAMESPACE}/configmaps{query}"), JSON);
        let mut client = self.server().connect().await;
        let mut cells = vec![ms(median(&mut client, REQUESTS, &|number| Ask::get(path(number), JSON)).await)];
        cells.push(ms(median(&mut client, REQUESTS, &patch).await));
        cells.push(ms(median(&mut client, REQUESTS, &list("?limit=500")).await));
        cells.push(ms(median(&mut client, REQUESTS, &list("?labelSelector=shard%3Ds7")).await));
        cells.push(ms(median(&mut client, WHOLE_REQUESTS, &list("")).await));
        cells.push(ms(watch_start(&mut client).await));
        cells.push(self.memory());
        let (took, memory) = self.restart().await;
        cells.extend([ms(took), memory]);
        format!("| {count} | {} | {} |\n", self.name, cells.join(" | "))
    }

    async fn of_definitions(&mut self, count: usize, served: Duration) -> String {
        let mut client = self.server().connect().await;
        let mut cells = vec![ms(served)];
        let asks: [(usize, &dyn Fn(usize) -> Ask); 5] = [
            (REQUESTS, &|_| Ask::get("/apis", AGGREGATED)),
            (REQUESTS, &|_| Ask::get(kinds(0), JSON)),
            (REQUESTS, &|_| Ask::get(document(0), JSON)),
            (WHOLE_REQUESTS, &|_| Ask::get("/openapi/v3", JSON)),
            (WHOLE_REQUESTS, &|_| Ask::get("/openapi/v2", WHOLE_DOCUMENT)),
        ];
        for (requests, ask) in asks {
            // What is made when it is first asked for is shown as such.
            let first = patiently(&mut client, &ask(0)).await;
            cells.push(format!("{} · {}", ms(first), ms(median(&mut client, requests, ask).await)));
        }
        cells.push(self.memory());
        let (took, memory) = self.restart().await;
        cells.extend([ms(took), memory]);
        format!("| {count} | {} | {} |\n", self.name, cells.join(" | "))
    }
}

/// Times in milliseconds, memory in MiB.
const OF_OBJECTS: &str = "| objects | server | get | patch | page of 500 | 1 % by label | whole list | watch until all is told | memory | \
    killed, until ready | memory then |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
const OF_DEFINITIONS: &str = "\n| definitions | server | one more until it is served | discovery, first · median | list of custom objects | \
    its document | index of documents | whole document, version 2 | memory | killed, until ready | memory then |\n\
    |---|---|---|---|---|---|---|---|---|---|---|\n";

pub(crate) async fn measure(subjects: &mut [Subject<'_>], objects_max: usize, definitions_max: usize) -> String {
    let mut text = OF_OBJECTS.to_owned();
    for subject in &*subjects {
        let namespace = json!({"metadata": {"name": "costs"}}).to_string();
        subject.server().connect().await.must(&Ask::send("POST", "/api/v1/namespaces", JSON, namespace)).await;
    }
    let mut add = |row: String| {
        eprint!("{row}");
        text.push_str(&row);
    };
    let mut from = 0;
    for count in [100, 1000, 10_000, 100_000].into_iter().filter(|count| *count <= objects_max) {
        for subject in &mut *subjects {
            fill(subject.server(), from, count).await;
            add(subject.of_objects(count).await);
        }
        from = count;
    }
    add(OF_DEFINITIONS.to_owned());
    let mut from = 0;
    for count in [1, 10, 100, 1000].into_iter().filter(|count| *count <= definitions_max) {
        for subject in &mut *subjects {
            let served = define(subject.server(), from, count).await;
            add(subject.of_definitions(count, served).await);
        }
        from = count;
    }
    text
}
