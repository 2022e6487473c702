//! A small static web server for the demo image: it says hello, and from where.
//!
//! `GET /` answers `hello from HOSTNAME (POD_IP)`, `GET /healthz` answers `ok`; every request line goes to stdout. `PORT`
//! names the port (8080), `POD_IP` the address. SIGTERM and SIGINT end it with exit code 0.
//!
//! As the first process of a container it would not even notice SIGTERM: the kernel drops signals that process 1 has no
//! handler for. So the main thread blocks both signals and waits for one, and other threads serve.

use nix::sys::signal::{SigSet, Signal};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DEFAULT_PORT: u16 = 8080;
/// Request line and headers together; browsers stay below.
const HEAD_BYTES_MAX: u64 = 16 << 10;
/// How long a client may keep us waiting for its next bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// One thread each; a demo needs no more, and a flood must not eat the pod's memory.
const CONNECTIONS_MAX: usize = 128;

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is told why nobody can be told.
            let _nobody_listens = writeln!(std::io::stderr(), "skiff-web: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::io::Result<()> {
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    ends.thread_block()?;
    let port = match std::env::var("PORT") {
        Ok(text) => text.parse().map_err(|_| std::io::Error::other(format!("PORT={text} is no port")))?,
        Err(_) => DEFAULT_PORT,
    };
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    say(&format!("skiff-web: serving on {}", listener.local_addr()?));
    std::thread::spawn(move || serve(&listener));
    let signal = ends.wait()?;
    say(&format!("skiff-web: {signal}, goodbye"));
    Ok(())
}

fn serve(listener: &TcpListener) {
    for connection in listener.incoming() {
        match connection {
            Ok(client) if CONNECTIONS.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX => start(client),
            Ok(_one_too_many) => drop(CONNECTIONS.fetch_sub(1, Ordering::Relaxed)),
            // Out of descriptors, for one: that passes when others close.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn start(client: TcpStream) {
    let serving = std::thread::Builder::new().spawn(move || {
        // A client that hangs up has had its answer or does not want it.
        let _client_left = answer(&client);
        CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    });
    if serving.is_err() {
        CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(client: &TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(client.take(HEAD_BYTES_MAX));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let request = request.trim_end();
    say(request);
    let mut writer = client;
    writer.write_all(response(request).as_bytes())
}

/// The whole answer to a request line.
fn response(request: &str) -> String {
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/healthz") => ("200 OK", "ok\n".to_owned()),
        ("GET" | "HEAD", "/") => ("200 OK", hello()),
        ("GET" | "HEAD", _) => ("404 Not Found", format!("nothing at {path}\n")),
        _ => ("405 Method Not Allowed", "only GET and HEAD\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if method == "HEAD" { head } else { head + &body }
}

fn hello() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "an unknown host".to_owned());
    match std::env::var("POD_IP") {
        Ok(address) => format!("hello from {} ({address})\n", host.trim_end()),
        Err(_) => format!("hello from {}\n", host.trim_end()),
    }
}

/// One line to stdout; a log that nobody reads must not stop the server.
fn say(line: &str) {
    let _nobody_reads = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_get_their_answers() {
        for (request, status) in [
            ("GET / HTTP/1.1", "200"),
            ("GET /healthz?x=1 HTTP/1.1", "200"),
            ("HEAD / HTTP/1.0", "200"),
            ("GET /other HTTP/1.1", "404"),
            ("POST / HTTP/1.1", "405"),
            ("", "405"),
        ] {
            assert_eq!(response(request).split(' ').nth(1), Some(status), "{request}");
        }
        assert!(response("GET / HTTP/1.1").contains("hello from "));
        assert!(response("HEAD / HTTP/1.1").ends_with("\r\n\r\n"));
    }
}
