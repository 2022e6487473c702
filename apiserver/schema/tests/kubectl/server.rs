//! A small HTTP/1.1 server on loopback: discovery, OpenAPI, and one pod in memory.

use serde_json::{Value, json};
use skiff_schema::Catalog;
use skiff_schema::discovery::{self, AggregatedVersion, Root};
use skiff_schema::{FieldValidation, IncludeObject, TableOptions, TableVersion, find, openapi, protobuf};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server was asked, and the pod that was applied.
#[derive(Default)]
struct State {
    requests: Vec<String>,
    pod: Option<Value>,
    created: Vec<Value>,
}

/// The running server. It ends with the test's process.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Listens on a free port of loopback.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { address, state }
    }

    /// Where kubectl finds it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked: method, target and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().expect("no thread panicked").requests.clone()
    }

    /// Whether a request contained `part`.
    pub(crate) fn asked(&self, part: &str) -> bool {
        self.requests().iter().any(|request| request.contains(part))
    }

    /// The objects that came as protobuf.
    pub(crate) fn created(&self) -> Vec<Value> {
        self.state.lock().expect("no thread panicked").created.clone()
    }

    /// The pod as it is now.
    pub(crate) fn pod(&self) -> Value {
        self.state.lock().expect("no thread panicked").pod.clone().unwrap_or_default()
    }
}

struct Request {
    method: String,
    target: String,
    accept: String,
    content_type: String,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

fn json_answer(status: u16, value: &Value) -> Answer {
    Answer { status, content_type: "application/json", body: value.to_string().into_bytes() }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let log = format!("{} {} {}", request.method, request.target, String::from_utf8_lossy(&request.body));
        let answer = {
            let mut state = state.lock().expect("no thread panicked");
            state.requests.push(log);
            answer(&request, &mut state)
        };
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.content_type,
            answer.body.len()
        );
        let mut stream = stream;
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body)).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let (mut length, mut accept, mut content_type) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "accept" => value.trim().clone_into(&mut accept),
            "content-type" => value.trim().clone_into(&mut content_type),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, accept, content_type, body })
}

fn answer(request: &Request, state: &mut State) -> Answer {
    let path = request.target.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let aggregated = request.accept.contains("APIGroupDiscoveryList");
    match segments.as_slice() {
        ["api"] if aggregated => discovered(Root::Core),
        ["apis"] if aggregated => discovered(Root::Groups),
        ["api"] => json_answer(200, &discovery::api_versions("127.0.0.1:1")),
        ["apis"] => json_answer(200, &discovery::api_group_list(Catalog::builtin())),
        ["api", version] => listed(discovery::api_resource_list(Catalog::builtin(), "", version)),
        ["apis", group, version] => listed(discovery::api_resource_list(Catalog::builtin(), group, version)),
        ["openapi", "v2"] => Answer {
            status: 200,
            content_type: openapi::V2_PROTOBUF,
            body: Catalog::builtin().documents().v2_protobuf().body.to_vec(),
        },
        ["openapi", "v3"] => json_answer(200, Catalog::builtin().documents().v3_index()),
        ["openapi", "v3", rest @ ..] => match Catalog::builtin().documents().v3(&rest.join("/")) {
            Some(found) => Answer { status: 200, content_type: "application/json", body: found.body.to_vec() },
            None => not_found(),
        },
        ["api", "v1", "namespaces", "default", "pods", rest @ ..] => pods(request, rest.first().copied(), state),
        ["api", "v1", rest @ ..] if request.method == "POST" => created(request, ["", "v1"], rest, state),
        ["apis", group, version, rest @ ..] if request.method == "POST" => {
            created(request, [group, version], rest, state)
        }
        _ => not_found(),
    }
}

/// Any other POST: the object is decoded from what kubectl sends, and kept for the test.
fn created(request: &Request, [group, version]: [&str; 2], rest: &[&str], state: &mut State) -> Answer {
    let Some(resource) = rest.last().and_then(|plural| find(group, version, plural)) else { return not_found() };
    if request.content_type != protobuf::CONTENT_TYPE {
        return failed(
            415,
            "UnsupportedMediaType",
            &format!("{} is not what this test is about", request.content_type),
        );
    }
    let value = match protobuf::to_json(&request.body) {
        Ok(value) => value,
        Err(error) => return failed(400, "BadRequest", &error.to_string()),
    };
    match skiff_schema::decode_value(resource, value, &[], FieldValidation::Strict) {
        Ok(decoded) => {
            state.created.push(decoded.object.clone());
            json_answer(201, &decoded.object)
        }
        Err(error) => failed(400, "BadRequest", &error.to_string()),
    }
}

fn discovered(root: Root) -> Answer {
    let document = discovery::aggregated(Catalog::builtin(), root, AggregatedVersion::V2, |items| items);
    Answer { status: 200, content_type: document.content_type, body: document.body }
}

fn listed(document: Option<Value>) -> Answer {
    document.map_or_else(not_found, |document| json_answer(200, &document))
}

fn failed(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    json_answer(code, &status)
}

fn not_found() -> Answer {
    failed(404, "NotFound", "not found")
}

/// GET, POST and PATCH of pods: decode, default, validate, keep one.
fn pods(request: &Request, name: Option<&str>, state: &mut State) -> Answer {
    let resource = find("", "v1", "pods").expect("pods exist");
    let dry_run = request.target.contains("dryRun=All");
    let body = match (request.method.as_str(), name, &state.pod) {
        ("GET", None, pod) => return table(&pod.iter().cloned().collect::<Vec<_>>()),
        ("GET", Some(_), Some(pod)) => return json_answer(200, pod),
        ("POST", _, _) => request.body.clone(),
        ("PATCH", _, Some(pod)) => {
            let patch = serde_json::from_slice(&request.body).expect("a patch in JSON");
            match skiff_schema::strategic_merge(resource, pod.clone(), &patch) {
                Ok(merged) => merged.to_string().into_bytes(),
                Err(error) => return failed(400, "BadRequest", &error.to_string()),
            }
        }
        _ => return not_found(),
    };
    let mut object = match skiff_schema::decode(resource, &body, FieldValidation::Strict) {
        Ok(decoded) => decoded.object,
        Err(error) => return failed(400, "BadRequest", &error.to_string()),
    };
    skiff_schema::apply_defaults(resource, &mut object);
    object["status"] = json!({"phase": "Pending"});
    if let Some(error) = skiff_schema::validate_create(resource, &object).first() {
        return failed(422, "Invalid", &error.to_string());
    }
    if !dry_run {
        state.pod = Some(object.clone());
    }
    json_answer(if request.method == "POST" { 201 } else { 200 }, &object)
}

fn table(items: &[Value]) -> Answer {
    let options = TableOptions {
        include_object: IncludeObject::Metadata,
        version: TableVersion::V1,
        no_headers: false,
        now: "2026-01-01T00:00:00Z".parse().expect("a time"),
    };
    let resource = find("", "v1", "pods").expect("pods exist");
    json_answer(200, &skiff_schema::table(resource, items, &json!({"resourceVersion": "1"}), &options))
}
