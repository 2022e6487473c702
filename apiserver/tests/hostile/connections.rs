//! Connections: those that say nothing, too much, or two things at once, and those that take nothing of what they asked for.

use super::{ALLOCATOR, COUNTED, MAPS, PATIENCE, lives};
use crate::common::World;
use serde_json::{Value, json};
use stats_alloc::Region;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a connection may hold, both ends of it together: the test is the other end.
const CONNECTION_BYTES_MAX: usize = 150 << 10;

/// What the server says to these bytes until it closes, or pauses after an answer.
async fn say(world: &World, bytes: &[u8]) -> String {
    let mut stream = world.dial().await;
    // The server may close before everything is said.
    let _closed_already = stream.write_all(bytes).await;
    let _closed_already = stream.flush().await;
    let (mut said, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    let listening = async {
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            said.extend_from_slice(&piece[..count]);
            if said.windows(4).any(|end| end == b"\r\n\r\n") {
                break;
            }
        }
    };
    timeout(PATIENCE, listening).await.expect("an answer or an end");
    String::from_utf8_lossy(&said).into_owned()
}

/// Silent ones hold little, and nobody else waits for them.
#[tokio::test]
async fn silent_connections_are_cheap() {
    let _alone = COUNTED.lock().await;
    let mut world = World::new().await;
    let (stop, served) = world.serve();
    drop(say(&world, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await);
    let region = Region::new(ALLOCATOR);
    let (mut silent, mut half) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        silent.push(world.dial().await);
        half.push(TcpStream::connect(world.address).await.expect("it listens"));
    }
    let change = region.change();
    let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    assert!(held / silent.len() <= CONNECTION_BYTES_MAX, "{} bytes a connection", held / silent.len());
    let said = say(&world, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    drop((silent, half));
    lives(&world).await;
    stop.cancel();
    timeout(PATIENCE, served).await.expect("stops").expect("served");
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let mut world = World::new().await;
    let (stop, served) = world.serve();
    let long = |bytes: usize| "a".repeat(bytes);
    let cases = [
        ("a head without end", format!("GET / HTTP/1.1\r\nx: {}", long(2 << 20)), "431"),
        ("very many headers", format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5_000)), "431"),
        ("a path without end", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", long(100_000)), "414"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(),
            "400",
        ),
        ("a length that is none", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned(), "400"),
        ("a body of unknown coding", "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: cow\r\n\r\n".to_owned(), "400"),
        ("a folded header", "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n".to_owned(), "400"),
        ("a name with a space", "GET / HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n".to_owned(), "400"),
        ("no HTTP", "\0\u{1}\u{2}\u{3} hello, is anybody there who speaks this?\r\n\r\n".to_owned(), "400"),
        ("another version", "GET / HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(), "400"),
    ];
    for (what, bytes, code) in &cases {
        let said = say(&world, bytes.as_bytes()).await;
        // Whoever still sends when the server closes may lose the answer.
        let refused = said.is_empty() || said.starts_with(&format!("HTTP/1.1 {code}"));
        assert!(refused, "{what}: {:.200}", said);
    }
    lives(&world).await;
    stop.cancel();
    timeout(PATIENCE, served).await.expect("stops").expect("served");
}

/// One request, in two readings: with a length and in pieces. What stands behind it must not become a request of its own.
#[tokio::test]
async fn a_request_has_one_length() {
    let mut world = World::new().await;
    let (stop, served) = world.serve();
    let map = json!({"metadata": {"name": "smuggled"}}).to_string();
    let inner = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{map}",
        map.len()
    );
    let outer = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        inner.len() + 5
    );
    let said = say(&world, outer.as_bytes()).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    // If it was read in pieces, the connection must end with it.
    let (code, _) = world.get(&format!("{MAPS}/smuggled")).await;
    assert_eq!(code, 404);
    stop.cancel();
    timeout(PATIENCE, served).await.expect("stops").expect("served");
}

/// Who announces a body and sends none is answered when its time is over.
#[tokio::test]
async fn a_slow_body_has_its_time() {
    let mut world = World::new().await;
    let (stop, served) = world.serve();
    let head = format!(
        "POST {MAPS}?timeout=1s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    let said = say(&world, head.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 504"), "{said}");
    lives(&world).await;
    stop.cancel();
    timeout(PATIENCE, served).await.expect("stops").expect("served");
}

/// Watches that nobody reads, while forty megabytes are written: what they may keep waiting is bounded, and writers do not wait for them.
#[tokio::test]
async fn who_reads_nothing_holds_little() {
    let _alone = COUNTED.lock().await;
    let mut world = World::new().await;
    let (stop, served) = world.serve();
    let map = |text: String| json!({"metadata": {"name": "m"}, "data": {"a": text}});
    world.must("POST", MAPS, &map(String::new())).await;
    let mut watching = Vec::new();
    for _ in 0..50 {
        let mut stream = world.dial().await;
        stream.write_all(format!("GET {MAPS}?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
        watching.push(stream);
    }
    let write = |n: usize| map(format!("{n}{}", "x".repeat(100_000)));
    for n in 0..20 {
        world.must("PUT", &format!("{MAPS}/m"), &write(n)).await;
    }
    let region = Region::new(ALLOCATOR);
    for n in 20..420 {
        world.must("PUT", &format!("{MAPS}/m"), &write(n)).await;
    }
    let change = region.change();
    let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    assert!(held <= 64 << 20, "{held} bytes are held for 50 watches of 40 MB");
    drop(watching);
    let seen: Value = world.must("GET", &format!("{MAPS}/m"), &Value::Null).await;
    assert!(seen["data"]["a"].as_str().is_some_and(|text| text.starts_with("419")));
    stop.cancel();
    timeout(PATIENCE, served).await.expect("stops").expect("served");
}
