//! A registry on the loopback that a test writes: what it answers, however wrong, and what it was asked.

use super::sha256;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    /// By lower-case names.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// So many bytes of the body are sent, then the connection ends.
    pub cut: Option<usize>,
    /// The body is sent again and again.
    pub endless: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, endless: false }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn unauthorized(challenge: &str) -> Self {
        Self::new(401, "").header("WWW-Authenticate", challenge)
    }
}

type Handler = dyn Fn(&Call) -> Answer + Send + Sync;

/// A registry; it goes on until the test's process ends.
pub struct Registry {
    pub address: SocketAddr,
    pub calls: Arc<Mutex<Vec<Call>>>,
}

impl Registry {
    pub fn start(handler: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (seen, handler): (_, Arc<Handler>) = (Arc::clone(&calls), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                // A client that goes away in the middle is part of what is tested.
                std::thread::spawn(move || while let Ok(true) = serve(&stream, &seen, &*handler) {});
            }
        });
        Self { address, calls }
    }

    /// A registry that has what it should.
    pub fn of(content: Content) -> Self {
        Self::start(move |call| content.answer(call))
    }

    /// How often something was asked for whose method and path contain these.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.method == method && call.path.contains(path)).count()
    }

    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }
}

/// One request; whether another may follow.
fn serve(stream: &TcpStream, seen: &Mutex<Vec<Call>>, handler: &Handler) -> std::io::Result<bool> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let call = Call { method, path, headers, body };
    let answer = handler(&call);
    let is_head = call.method == "HEAD";
    seen.lock().unwrap().push(call);
    write(stream, &answer, is_head)?;
    Ok(answer.cut.is_none() && !answer.endless)
}

fn write(mut stream: &TcpStream, answer: &Answer, is_head: bool) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if answer.endless {
        head += "Connection: close\r\n";
    } else if !answer.headers.iter().any(|(name, _)| name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if is_head {
        return Ok(());
    }
    let sent = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    stream.write_all(sent)?;
    if answer.endless {
        loop {
            stream.write_all(sent)?;
        }
    }
    if answer.cut.is_some() {
        stream.shutdown(std::net::Shutdown::Both)?;
    }
    Ok(())
}

/// Manifests by tag and digest, and blobs.
#[derive(Default, Clone)]
pub struct Content {
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    pub blobs: HashMap<String, Vec<u8>>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Content {
    /// An image of these layers, packed as they are, under a tag.
    pub fn image(mut self, tag: &str, layers: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let plain: Vec<Vec<u8>> = layers.iter().map(|(plain, _)| plain.clone()).collect();
        let config = self.blob(super::config(&plain).into_bytes(), "application/vnd.oci.image.config.v1+json");
        let packed = layers.iter().map(|(_, packed)| packed.clone());
        let layers: Vec<_> =
            packed.map(|packed| self.blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")).collect();
        let manifest =
            serde_json::json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.manifest(tag, MANIFEST, manifest.to_string().into_bytes());
        self
    }

    /// An index that leads to the manifest of a tag, beside others.
    pub fn index(mut self, tag: &str, inner: &str) -> Self {
        let bytes = self.manifests[inner].1.clone();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let one = |digest: String, size: usize, architecture: &str| {
            serde_json::json!({ "mediaType": MANIFEST, "digest": digest, "size": size,
                "platform": { "os": "linux", "architecture": architecture } })
        };
        let other = one(format!("sha256:{}", sha256(b"none")), 4, "s390x");
        let ours = one(format!("sha256:{}", sha256(&bytes)), bytes.len(), architecture);
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, ours] });
        self.manifest(tag, INDEX, index.to_string().into_bytes());
        self
    }

    fn blob(&mut self, bytes: Vec<u8>, kind: &str) -> serde_json::Value {
        let (digest, size) = (format!("sha256:{}", sha256(&bytes)), bytes.len());
        self.blobs.insert(digest.clone(), bytes);
        serde_json::json!({ "mediaType": kind, "digest": digest, "size": size })
    }

    pub fn manifest(&mut self, tag: &str, kind: &str, bytes: Vec<u8>) {
        self.manifests.insert(format!("sha256:{}", sha256(&bytes)), (kind.into(), bytes.clone()));
        self.manifests.insert(tag.into(), (kind.into(), bytes));
    }

    pub fn answer(&self, call: &Call) -> Answer {
        let path = call.path.split('?').next().unwrap();
        let Some((rest, last)) = path.rsplit_once('/') else { return Answer::new(404, "") };
        if rest.ends_with("/manifests") {
            let Some((kind, bytes)) = self.manifests.get(last) else { return Answer::new(404, "") };
            let digest = format!("sha256:{}", sha256(bytes));
            return Answer::new(200, bytes.clone())
                .header("Content-Type", kind)
                .header("Docker-Content-Digest", &digest);
        }
        let Some(bytes) = self.blobs.get(last).filter(|_| rest.ends_with("/blobs")) else {
            return Answer::new(404, "");
        };
        let from =
            call.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match from {
            Some(from) if from < bytes.len() => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::new(206, &bytes[from..]).header("Content-Range", &range)
            }
            Some(_) => Answer::new(416, ""),
            None => Answer::new(200, bytes.clone()),
        }
    }
}
