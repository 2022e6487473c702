//! A webhook that does what its path says, behind TLS, and remembers what it was asked. It also shows what is published at it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A hook at an address of its own; it ends with the test's runtime.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    /// The authority of its certificate, PEM.
    pub(crate) authority: String,
    asked: Arc<Asked>,
    pages: Arc<Pages>,
    connections: Arc<AtomicUsize>,
}

impl Hook {
    /// One whose certificate is made out to `name`.
    pub(crate) async fn new(name: &str) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let own = own.signed_by(&key, &ca).expect("a certificate");
        let chain = vec![CertificateDer::from(own.der().to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (asked, pages, connections) = <(Arc<Asked>, Arc<Pages>, Arc<AtomicUsize>)>::default();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (log, shown, count) = (Arc::clone(&asked), Arc::clone(&pages), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                let (shown, count) = (Arc::clone(&shown), Arc::clone(&count));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        count.fetch_add(1, Ordering::Relaxed);
                        talk(stream, &log, &shown).await;
                    }
                });
            }
        });
        Self { address, authority: ca.pem(), asked, pages, connections }
    }

    /// Answers with `page` at `path` from now on.
    pub(crate) fn publish(&self, path: &str, page: &Value) {
        self.pages.lock().expect("unpoisoned").insert(path.to_owned(), page.to_string());
    }

    /// How it is called at `path`.
    pub(crate) fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": BASE64.encode(&self.authority)})
    }

    /// What it was asked at `path`, without the query.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.asked.lock().expect("unpoisoned");
        let at = |(at, review): &(String, Value)| (at.split('?').next() == Some(path)).then(|| review.clone());
        asked.iter().filter_map(at).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

type Asked = Mutex<Vec<(String, Value)>>;
type Pages = Mutex<HashMap<String, String>>;

/// Requests of one connection, one after the other.
async fn talk(mut stream: TlsStream<TcpStream>, asked: &Asked, pages: &Pages) {
    while let Some((path, review)) = read(&mut stream).await {
        asked.lock().expect("unpoisoned").push((path.clone(), review.clone()));
        let path = path.split('?').next().unwrap_or_default();
        let page = pages.lock().expect("unpoisoned").get(path).cloned();
        let answered = match page {
            Some(page) => send(&mut stream, "200 OK", page.as_bytes()).await,
            None => answer(&mut stream, path, &review).await,
        };
        if answered.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut TlsStream<TcpStream>) -> Option<(String, Value)> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(piece.get(..count)?);
    };
    let text = String::from_utf8_lossy(bytes.get(..head)?).to_ascii_lowercase();
    let length = text.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    while bytes.len() < head + length {
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(piece.get(..count)?);
    }
    let path = String::from_utf8_lossy(&bytes).split(' ').nth(1)?.to_owned();
    let body = if length == 0 { Value::Null } else { serde_json::from_slice(bytes.get(head..)?).ok()? };
    Some((path, body))
}

async fn send(stream: &mut TlsStream<TcpStream>, code: &str, body: &[u8]) -> Option<()> {
    let head = format!("HTTP/1.1 {code}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    stream.flush().await.ok()
}

/// Does what the path says; nothing: the connection ends.
async fn answer(stream: &mut TlsStream<TcpStream>, path: &str, review: &Value) -> Option<()> {
    let reply = |mut response: Value| {
        response["uid"] = review["request"]["uid"].clone();
        json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}).to_string()
    };
    match path.split('/').nth(1)? {
        "allow" => send(stream, "200 OK", reply(json!({"allowed": true, "warnings": ["seen"]})).as_bytes()).await,
        "deny" => {
            let status = json!({"message": "not here", "reason": "Forbidden", "code": 403});
            send(stream, "200 OK", reply(json!({"allowed": false, "status": status})).as_bytes()).await
        }
        // Of a color in one word `v2` makes two fields, and `v1` one again.
        "convert" => {
            let wanted = &review["request"]["desiredAPIVersion"];
            let objects = review["request"]["objects"].as_array()?.iter().map(|object| converted(object, wanted));
            let objects: Vec<Value> = objects.collect();
            let response = json!({"result": {"status": "Success"}, "convertedObjects": objects});
            send(stream, "200 OK", reply(response).as_bytes()).await
        }
        "refuse" => {
            let response = json!({"result": {"status": "Failed", "message": "no such color"}});
            send(stream, "200 OK", reply(response).as_bytes()).await
        }
        // The patch is the rest of the path, in hexadecimal digits.
        "patch" => {
            let patch = hex(path.split('/').nth(2)?);
            let response = json!({"allowed": true, "patchType": "JSONPatch", "patch": BASE64.encode(patch)});
            send(stream, "200 OK", reply(response).as_bytes()).await
        }
        "garbage" => send(stream, "200 OK", b"\x00\xff not a review").await,
        "broken" => send(stream, "500 Internal Server Error", b"it broke").await,
        "huge" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
            let piece = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
            loop {
                stream.write_all(&piece).await.ok()?;
            }
        }
        "trickle" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.ok()?;
            loop {
                stream.write_all(b" ").await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        "hang" => std::future::pending().await,
        _ => None,
    }
}

fn converted(object: &Value, wanted: &Value) -> Value {
    let mut next = object.clone();
    next["apiVersion"] = wanted.clone();
    next["metadata"]["generation"] = 99.into();
    let spec = &object["spec"];
    next["spec"] = match wanted.as_str() {
        Some(version) if version.ends_with("/v2") => {
            let (shade, hue) = spec["color"].as_str().unwrap_or_default().split_once('-').unwrap_or_default();
            json!({"shade": shade, "hue": hue})
        }
        _ => {
            let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
            json!({"color": format!("{}-{}", text("shade"), text("hue"))})
        }
    };
    next
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len()).step_by(2).filter_map(byte).collect()
}

/// The path at which a hook answers with this patch.
pub(crate) fn patching(patch: &Value) -> String {
    let digits: String = patch.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("/patch/{digits}")
}
