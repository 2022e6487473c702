//! What a web page can send to this port, and what it gets for it.

use crate::server::Server;
use http::{Method, Request};
use prost::Message;
use skiff_proto::etcd::etcdserverpb as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

/// A put as gRPC frames it.
fn framed_put() -> Vec<u8> {
    let message = pb::PutRequest { key: "w/evil".into(), value: "1".into(), ..Default::default() }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// Sends text over HTTP/1.1 and returns the code of the answer and all of it.
async fn sent(server: &Server, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    // It may be cut off.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, answer)
}

/// Fault S4: a call is gRPC over HTTP/2 and nothing else.
pub(crate) async fn writes(server: &Server) {
    let put = framed_put();
    let origin = "Host: 127.0.0.1\r\nOrigin: http://evil.example";
    for kind in ["text/plain", "application/grpc", "application/json", "application/x-www-form-urlencoded"] {
        for method in ["POST", "GET", "PUT"] {
            let head = format!("{method} /etcdserverpb.KV/Put HTTP/1.1\r\n{origin}\r\nContent-Type: {kind}");
            assert_eq!(sent(server, &head, &put).await.0, 404, "{method} {kind}");
        }
    }
    let head = format!("POST /etcdserverpb.Maintenance/Defragment HTTP/1.1\r\n{origin}\r\nContent-Type: text/plain");
    assert_eq!(sent(server, &head, &[0; 5]).await.0, 404, "the calls of the general way too");
    for (method, kind, code) in [
        (Method::POST, Some("text/plain"), 415),
        (Method::POST, None, 415),
        (Method::GET, Some("text/plain"), 404),
        (Method::GET, Some("application/grpc"), 404),
    ] {
        let mut request = Request::builder().method(method.clone()).uri("/etcdserverpb.KV/Put");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let body = tonic::body::Body::new(axum::body::Body::from(put.clone()));
        let answer = server.channel().oneshot(request.body(body).unwrap()).await;
        // etcd looks at the method last, and at nothing else once a content type is wrong.
        let answered = answer.map(|answer| answer.status().as_u16());
        let fits = answered.as_ref().is_ok_and(|&answered| answered == code || (server.real && answered >= 400));
        assert!(fits || server.real, "{method} {kind:?}: {answered:?}");
    }
    assert!(server.keys("w/").await.is_empty(), "nothing was written");
}

/// Fault S4: a name that somebody else made to mean this machine. etcd admits all names unless it is told some.
pub(crate) async fn rebinding(server: &Server) {
    let answered = async |host: &str| sent(server, &format!("GET /metrics HTTP/1.1\r\nHost: {host}"), b"").await;
    for host in ["127.0.0.1:2379", "localhost", "[::1]:80"] {
        assert_eq!(answered(host).await.0, 200, "{host}");
    }
    let (code, text) = answered("evil.example:2379").await;
    assert!(server.real || (code == 421 && text.contains("\"evil.example\", which is not known")), "{code} {text}");
    assert!(server.real || !text.contains("etcd_server_has_leader"), "{text}");
}
