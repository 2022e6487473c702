//! Pulls from registries that tests write: good ones, broken ones and hostile ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use skiff_image::{AuthFile, Credentials, ImageStore, Kind, Registries, Unwatched};
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::registry::{Answer, Call, Content, Registry};
use support::{Tape, World, pull, sha256, wait};

type Layer = (Vec<u8>, Vec<u8>);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn layer(name: &str, bytes: usize) -> Layer {
    // What does not pack well, so that a blob is about as large as its layer.
    let mut state = 1_u64;
    let mut next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..bytes).map(&mut next).collect();
    let plain = Tape::new().file(name, &noise).end();
    (plain.clone(), gzip(&plain))
}

fn app() -> Content {
    Content::default().image("1", &[layer("one", 300_000), layer("two", 10)])
}

fn digest(layer: &Layer) -> String {
    format!("sha256:{}", sha256(&layer.1))
}

fn said(error: &skiff_image::ImageError) -> String {
    error.chain()
}

#[test]
fn an_image_is_pulled_by_tag_and_by_digest_once() {
    let world = World::new();
    let registry = Registry::of(app().index("latest", "1"));
    let image = pull(&world.store, &registry.name("team/app")).unwrap();
    assert_eq!(image.repo_tags, [registry.name("team/app:latest")]);
    assert_eq!(image.repo_digests.len(), 1);
    assert_eq!(world.store.resolve(&image.repo_digests[0]).unwrap(), Some(image.clone()));
    assert_eq!(registry.count("GET", "/blobs/"), 3);
    let again = pull(&world.store, &image.repo_digests[0]).unwrap();
    assert_eq!(
        (again.id.clone(), registry.count("GET", "/blobs/")),
        (image.id.clone(), 3),
        "what is here is not fetched"
    );
    assert_eq!(registry.count("GET", "/manifests/"), 2, "nor its manifest: the registry's word is enough");
    let direct = pull(&world.store, &registry.name("team/app:1")).unwrap();
    assert_eq!((direct.id, direct.repo_tags.len()), (image.id.clone(), 2));
    assert_eq!(registry.count("GET", "/blobs/"), 3);
    world.store.prepare(&image.id, "c1").unwrap();
    world.store.release("c1").unwrap();
    world.store.remove(&image.id).unwrap();
    for folder in ["layers", "content/blobs/sha256", "ingest", "tmp"] {
        assert_eq!(world.names(folder), Vec::<String>::new(), "{folder}");
    }
}

#[test]
fn a_tag_that_moved_is_followed() {
    let world = World::new();
    let moved = Arc::new(AtomicUsize::new(0));
    let (old, new) = (app(), Content::default().image("1", &[layer("new", 20)]));
    let at = Arc::clone(&moved);
    let registry =
        Registry::start(move |call| if at.load(Ordering::SeqCst) == 0 { old.answer(call) } else { new.answer(call) });
    let first = pull(&world.store, &registry.name("app:1")).unwrap();
    moved.store(1, Ordering::SeqCst);
    let second = pull(&world.store, &registry.name("app:1")).unwrap();
    assert_ne!(first.id, second.id);
    let first = world.store.resolve(&first.id).unwrap().unwrap();
    assert_eq!(
        (first.repo_tags, first.repo_digests.len()),
        (Vec::<String>::new(), 1),
        "the old one keeps its digest only"
    );
}

#[test]
fn however_many_ask_it_is_fetched_once() {
    let world = World::new();
    let registry = Registry::of(app());
    let name = registry.name("app:1");
    let ids: std::collections::BTreeSet<String> = wait(async {
        let pulls = (0..20).map(|_| world.store.pull(&name, None, Arc::new(Unwatched)));
        futures::future::join_all(pulls).await.into_iter().map(|pulled| pulled.unwrap().id).collect()
    });
    assert_eq!((ids.len(), registry.count("GET", "/blobs/")), (1, 3));
}

#[test]
fn what_breaks_off_is_gone_on_with() {
    let world = World::new();
    let (content, large) = (app(), digest(&layer("one", 300_000)));
    let breaks = AtomicUsize::new(0);
    let at = large.clone();
    let registry = Registry::start(move |call| {
        let mut answer = content.answer(call);
        if call.path.ends_with(&at) && call.method == "GET" && breaks.fetch_add(1, Ordering::SeqCst) < 3 {
            answer.cut = Some(50_000);
        }
        answer
    });
    pull(&world.store, &registry.name("app:1")).unwrap();
    let calls = registry.calls.lock().unwrap();
    let ranges: Vec<_> = calls
        .iter()
        .filter(|call| call.path.ends_with(&large))
        .map(|call| call.headers.get("range").cloned())
        .collect();
    let ranges: Vec<_> = ranges.iter().map(|range| range.as_deref().unwrap_or("none")).collect();
    assert_eq!(ranges, ["none", "bytes=50000-", "bytes=100000-", "bytes=150000-"]);
}

#[test]
fn a_pull_goes_on_where_an_earlier_one_ended() {
    let world = World::new();
    let (content, large) = (app(), layer("one", 300_000));
    let (path, registry) = (world.dir.path().join("images/ingest").join(sha256(&large.1)), Registry::of(content));
    fs::write(&path, &large.1[..100_000]).unwrap();
    pull(&world.store, &registry.name("app:1")).unwrap();
    let calls = registry.calls.lock().unwrap().clone();
    let asked = calls.iter().find(|call| call.path.ends_with(&digest(&large))).unwrap();
    assert_eq!(asked.headers["range"], "bytes=100000-");
    drop(calls);
    world.store.remove(&registry.name("app:1")).unwrap();
    // What a power cut spoiled is fetched from the beginning.
    fs::write(&path, vec![0; 100_000]).unwrap();
    pull(&world.store, &registry.name("app:1")).unwrap();
    assert_eq!(registry.count("GET", &digest(&large)), 3);
}

type Spoil = Box<dyn Fn(&Call, Answer) -> Answer + Send + Sync>;

/// Spoils the answers to GETs whose path has this word in it.
fn spoil(path: &'static str, how: impl Fn(&mut Answer) + Send + Sync + 'static) -> Spoil {
    Box::new(move |call, mut answer| {
        if call.method == "GET" && call.path.contains(path) {
            how(&mut answer);
        }
        answer
    })
}

/// Registries whose answers are wrong in one way, and a word of the refusal.
fn wrong_answers() -> Vec<(&'static str, Spoil)> {
    const LARGE: usize = 1000;
    let flip = |answer: &mut Answer| {
        if answer.body.len() > LARGE {
            answer.body[LARGE / 2] ^= 1;
        }
    };
    let shorten = |answer: &mut Answer| {
        if answer.body.len() > LARGE {
            answer.body.truncate(20);
        }
    };
    let add = |answer: &mut Answer| {
        if answer.body.starts_with(b"{") {
            answer.body.push(b' ');
        }
    };
    let foreign = |answer: &mut Answer| {
        answer.headers.retain(|(name, _)| name != "Docker-Content-Digest");
        answer.headers.push(("Docker-Content-Digest".into(), "sha256:../../../../etc/passwd".into()));
    };
    vec![
        ("expected sha256:", spoil("/blobs/", flip)),
        // A length that is not the manifest's gives it away at once.
        ("got 20 bytes", spoil("/blobs/", shorten)),
        ("more than the", spoil("/blobs/", |answer| answer.endless = !answer.body.starts_with(b"{"))),
        ("image configuration", spoil("/blobs/", add)),
        ("manifest: expected", spoil("/manifests/", add)),
        ("larger than 4194304 bytes", spoil("/manifests/", |answer| answer.body = vec![b' '; 5 << 20])),
        ("larger than 4194304 bytes", spoil("/manifests/", |answer| answer.endless = true)),
        ("expected sha256: and 64", spoil("/manifests/", foreign)),
    ]
}

#[test]
fn what_is_not_what_it_should_be_is_refused_and_leaves_nothing() {
    for (word, spoil) in wrong_answers() {
        let world = World::new();
        let content = app();
        let registry = Registry::start(move |call| spoil(call, content.answer(call)));
        let error = said(&pull(&world.store, &registry.name("app:1")).unwrap_err());
        assert!(error.contains(word), "{word}: {error}");
        assert_eq!(world.store.list().unwrap(), [], "{word}");
        assert_eq!((world.names("layers"), world.names("tmp")), (Vec::new(), Vec::new()), "{word}");
    }
}

#[test]
fn refusals_say_what_they_mean() {
    let world = World::new();
    let error = |answer: Answer| {
        let registry = Registry::start(move |_| answer.clone());
        let error = pull(&world.store, &registry.name("app:1")).unwrap_err();
        let skiff_image::ImageError::Registry { source, .. } = &*error else { panic!("{error}") };
        (source.kind, said(&error))
    };
    let (kind, text) =
        error(Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#));
    assert_eq!(kind, Kind::NotFound, "{text}");
    let (kind, text) = error(Answer::unauthorized("Basic realm=\"x\""));
    assert!(kind == Kind::Denied && text.contains("wants a user and a password"), "{text}");
    let (kind, text) = error(Answer::new(429, "").header("Retry-After", "0"));
    assert_eq!(kind, Kind::Limited, "{text}");
    let (kind, text) = error(Answer::new(503, "").header("Retry-After", "0"));
    assert_eq!(kind, Kind::Failed, "{text}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = said(&pull(&world.store, &format!("{closed}/app:1")).unwrap_err());
    assert!(text.contains("connection refused"), "{text}");
    let v1 = Registry::start(|_| Answer::new(200, r#"{"schemaVersion":1}"#));
    let text = said(&pull(&world.store, &v1.name("app:1")).unwrap_err());
    assert!(text.contains("schema 1"), "{text}");
    let text = said(&pull(&world.store, "skiff.local/none:1").unwrap_err());
    assert!(text.contains("this machine's own"), "{text}");
}

/// A registry that wants a token, and the server that gives one to who has the password.
fn with_tokens(content: Content, realm: impl Fn(&str) -> String + Send + Sync + 'static) -> Registry {
    let own = Arc::new(std::sync::OnceLock::<String>::new());
    let address = Arc::clone(&own);
    let registry = Registry::start(move |call| {
        if call.path.starts_with("/token?") {
            let known = call.headers.get("authorization").is_some_and(|value| value == "Basic dTpw");
            let asked = call.path.contains("service=s&scope=repository:app:pull");
            return if known && asked {
                Answer::new(200, r#"{"token":"abc","expires_in":300}"#)
            } else {
                Answer::new(401, "")
            };
        }
        match call.headers.get("authorization").map(String::as_str) {
            Some("Bearer abc") => content.answer(call),
            _ => Answer::unauthorized(&format!("Bearer realm=\"{}\",service=\"s\"", realm(address.get().unwrap()))),
        }
    });
    own.set(registry.address.to_string()).unwrap();
    registry
}

fn password() -> Option<Credentials> {
    Some(Credentials::Password { user: "u".into(), password: "p".into() })
}

fn pull_as(store: &ImageStore, name: &str, credentials: Option<Credentials>) -> skiff_image::Pulled {
    wait(store.pull(name, credentials, Arc::new(Unwatched)))
}

#[test]
fn tokens_are_got_with_a_password_and_used_for_all() {
    let world = World::new();
    let registry = with_tokens(app(), |own| format!("http://{own}/token"));
    pull_as(&world.store, &registry.name("app:1"), password()).unwrap();
    assert_eq!(registry.count("GET", "/token"), 1);
    let error = said(&pull(&world.store, &registry.name("app:1")).unwrap_err());
    assert!(error.contains("401"), "who comes later without credentials gets no image: {error}");
    let file =
        world.file("auth.json", format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.address).as_bytes());
    let store = World::open(world.dir.path()).with_registries(Registries::new(None, AuthFile::at(vec![file])));
    pull(&store, &registry.name("app:1")).unwrap();
}

#[test]
fn credentials_go_to_nobody_else() {
    let world = World::new();
    let thief = Registry::start(|_| Answer::new(200, r#"{"token":"abc"}"#));
    for realm in ["http://10.255.255.1/token", "https://evil.example/token", "gopher://x/token"] {
        let registry = with_tokens(app(), move |_| realm.to_owned());
        let error = said(&pull_as(&world.store, &registry.name("app:1"), password()).unwrap_err());
        assert!(error.contains("token realm"), "{realm}: {error}");
    }
    // A redirect to another server takes the request there, and nothing of who we are.
    let (content, storage) = (app(), Registry::of(app()));
    let at = storage.address;
    let registry = Registry::start(move |call| match call.headers.get("authorization").map(String::as_str) {
        Some("Basic dTpw") if call.path.contains("/blobs/") => {
            Answer::new(307, "").header("Location", &format!("http://{at}{}", call.path))
        }
        Some("Basic dTpw") => content.answer(call),
        _ => Answer::unauthorized("Basic realm=\"x\""),
    });
    pull_as(&world.store, &registry.name("app:1"), password()).unwrap();
    let calls = storage.calls.lock().unwrap();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| !call.headers.contains_key("authorization")), "{calls:?}");
    assert_eq!(thief.calls.lock().unwrap().len(), 0);
}

#[test]
fn mirrors_are_asked_first_without_the_registrys_credentials_and_the_registry_last() {
    let world = World::new();
    let (empty, broken, good) =
        (Registry::of(Content::default()), Registry::start(|_| Answer::new(400, "")), Registry::of(app()));
    let folder = world.dir.path().join("certs.d/upstream.example");
    fs::create_dir_all(&folder).unwrap();
    let hosts = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{}\"]\n[host.\"http://127.0.0.1:1\"]\n",
        good.address, empty.address, broken.address
    );
    fs::write(folder.join("hosts.toml"), hosts).unwrap();
    let registries = Registries::new(Some(world.dir.path().join("certs.d")), AuthFile::default());
    let store = World::open(world.dir.path()).with_registries(registries);
    let image = pull_as(&store, "upstream.example/app:1", password()).unwrap();
    assert_eq!(image.repo_tags, ["upstream.example/app:1"]);
    let asked = empty.calls.lock().unwrap();
    assert!(asked.iter().all(|call| call.path.contains("ns=upstream.example")), "{asked:?}");
    assert!(asked.iter().all(|call| !call.headers.contains_key("authorization")));
    assert!(!broken.calls.lock().unwrap().is_empty());
}

#[test]
fn who_delivers_something_else_is_not_asked_again() {
    let world = World::new();
    let (content, large) = (app(), digest(&layer("one", 300_000)));
    let liar = Registry::start(move |call| {
        let mut answer = content.answer(call);
        if call.path.contains(&large) {
            answer.body.reverse();
        }
        answer
    });
    let good = Registry::of(app());
    let folder = world.dir.path().join("certs.d/upstream.example");
    fs::create_dir_all(&folder).unwrap();
    let hosts = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", good.address, liar.address);
    fs::write(folder.join("hosts.toml"), hosts).unwrap();
    let registries = Registries::new(Some(world.dir.path().join("certs.d")), AuthFile::default());
    pull(&World::open(world.dir.path()).with_registries(registries), "upstream.example/app:1").unwrap();
    assert_eq!((liar.count("GET", "/blobs/"), good.count("GET", "/blobs/")), (3, 1));
}

#[test]
fn an_imported_image_serves_where_no_registry_can_be_reached() {
    let world = World::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name = format!("{closed}/app:1");
    let image = world.import(&name, &[layer("one", 10).0]).unwrap();
    assert_eq!(pull(&world.store, &name).unwrap(), image);
    let registry = Registry::of(Content::default());
    world.import(&registry.name("app:1"), &[layer("one", 10).0]).unwrap();
    pull(&world.store, &registry.name("app:1")).expect_err("a registry that answers is believed");
}
