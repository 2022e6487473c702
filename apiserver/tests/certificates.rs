//! Certificates on request: approved by users with kubectl or for kubelets by a controller, signed, used, refused. And attacks on that.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{World, peer, request, send};
use http::{Request, StatusCode};
use kube::config::Kubeconfig;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use skiff_authn::certificate::{Authority, ends};
use skiff_client::{Caches, Identity};
use skiff_controllers::{Signer, Trust};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use tokio_util::sync::{CancellationToken, DropGuard};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";
const SIGNATURE: &str = "digital signature";
/// Made by openssl: `CN = alice, O = dev, O = ops`, an RSA key.
const ALICE: &str = include_str!("certificates/alice.csr");
const ALICE_KEY: &str = include_str!("certificates/alice.key");

/// A server with controllers that sign.
struct Cluster {
    world: World,
    _until: DropGuard,
}

impl Cluster {
    async fn new() -> Self {
        let world = World::new().await;
        let client = skiff_client::in_process(world.server.router(), Identity::controller_manager());
        let pair = world.pki.authority();
        let authority = Authority::from_pem(&pair.certificate, &pair.private_key).expect("an authority");
        let certificates = Some(Signer::new(authority, Duration::from_secs(365 * 24 * 3600)));
        let trust = Trust { certificates, ..Trust::default() };
        let until = CancellationToken::new();
        let shutdown = until.clone();
        tokio::spawn(async move {
            let caches = Caches::new(client.clone());
            skiff_controllers::run(client.into(), caches, trust, shutdown).await
        });
        Self { world, _until: until.drop_guard() }
    }

    /// One request as `who`.
    async fn ask(&self, who: &Identity, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let mut request = request(method, path, "application/json", &body.to_string());
        request.extensions_mut().insert(who.clone());
        send(self.world.server.router(), request).await
    }

    async fn must(&self, who: &Identity, method: &str, path: &str, body: &Value) -> Value {
        let (code, answer) = self.ask(who, method, path, body).await;
        assert!(code.is_success(), "{method} {path}: {code} {answer}");
        answer
    }

    /// Makes a request as `who`, who is given the right to it just now.
    async fn soon(&self, who: &Identity, wanted: &Value) {
        for _ in 0..200 {
            if self.ask(who, "POST", REQUESTS, wanted).await.0.is_success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} may not ask for {wanted}", who.user);
    }

    /// Approves or denies as `who`.
    async fn decide(&self, who: &Identity, name: &str, kind: &str) -> (StatusCode, Value) {
        let mut request = self.world.get(&format!("{REQUESTS}/{name}")).await.1;
        request["status"]["conditions"] = json!([{"type": kind, "status": "True", "reason": "Test"}]);
        self.ask(who, "PUT", &format!("{REQUESTS}/{name}/approval"), &request).await
    }

    /// The status of a request once `wanted` is content with it.
    async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..1200 {
            last = self.world.get(&format!("{REQUESTS}/{name}")).await.1;
            if wanted(&last["status"]) {
                return last["status"].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{name} stays {last}");
    }
}

fn is_issued(status: &Value) -> bool {
    status["certificate"].is_string()
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind)
}

/// A request for a certificate.
fn asked(name: &str, pem: &str, signer: &str, usages: &[&str]) -> Value {
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": STANDARD.encode(pem), "signerName": signer, "usages": usages}})
}

/// The text of a request that this subject signs.
fn pem(name: &str, group: &str, sans: &[&str]) -> String {
    let sans: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
    let mut params = CertificateParams::new(sans).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(&KeyPair::generate().expect("a key")).expect("signed");
    request.pem().expect("encoded")
}

fn user(name: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Identity { user: name.to_owned(), groups, ..Identity::default() }
}

fn admin() -> Identity {
    Identity::component("test")
}

/// Whom a request is from that comes with this certificate.
async fn whoami(world: &World, certificate: &str, key: &str) -> Value {
    let kubeconfig = Kubeconfig::read_from(world.kubeconfig()).expect("written");
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("usable");
    config.auth_info.client_certificate_data = Some(STANDARD.encode(certificate));
    config.auth_info.client_key_data = Some(STANDARD.encode(key).into());
    let client = kube::Client::try_from(config).expect("a client");
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let request =
        Request::post(path).header("content-type", "application/json").body(b"{}".to_vec()).expect("a request");
    client.request::<Value>(request).await.expect("answered")["status"]["userInfo"].clone()
}

fn kubectl(program: &Path, kubeconfig: &Path, arguments: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).env_clear().env("HOME", "/nonexistent").env("KUBECONFIG", kubeconfig);
    let output = command.stdin(Stdio::null()).output().expect("kubectl starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What "Issue a certificate for a Kubernetes API client" in Kubernetes' documents tells users to do.
#[tokio::test]
async fn a_user_gets_a_certificate_by_kubectl() {
    for name in ["kubectl-1.20", "kubectl-1.32"] {
        let Some(program) = peer(name) else { continue };
        let mut cluster = Cluster::new().await;
        let (stop, served) = cluster.world.serve();
        let (kubeconfig, manifest) = (cluster.world.kubeconfig(), cluster.world.folder.path().join("csr.json"));
        let mut wanted = asked("alice", ALICE, CLIENT, &["client auth"]);
        wanted["spec"]["expirationSeconds"] = 3600.into();
        std::fs::write(&manifest, wanted.to_string()).expect("written");
        let run = async |arguments: String| {
            let (program, kubeconfig) = (program.clone(), kubeconfig.clone());
            tokio::task::spawn_blocking(move || kubectl(&program, &kubeconfig, &arguments)).await.expect("it ran")
        };
        run(format!("create -f {}", manifest.display())).await;
        assert!(run("get csr alice".to_owned()).await.contains("Pending"));
        run("certificate approve alice".to_owned()).await;
        let status = cluster.until("alice", is_issued).await;
        assert!(run("get csr".to_owned()).await.contains("Approved,Issued"));
        let encoded = run("get csr alice -o jsonpath={.status.certificate}".to_owned()).await;
        assert_eq!(status["certificate"], encoded);
        let certificate = String::from_utf8(STANDARD.decode(encoded).expect("base64")).expect("PEM");
        let left = ends(certificate.as_bytes()).expect("a certificate") - now();
        assert!((3500..=3600).contains(&left), "{left}");
        let alice = whoami(&cluster.world, &certificate, ALICE_KEY).await;
        assert_eq!(alice, json!({"username": "alice", "groups": ["dev", "ops", "system:authenticated"]}));
        std::fs::write(&manifest, asked("bob", &pem("bob", "dev", &[]), CLIENT, &["client auth"]).to_string())
            .expect("written");
        run(format!("create -f {}", manifest.display())).await;
        run("certificate deny bob".to_owned()).await;
        assert!(run("get csr bob".to_owned()).await.contains("Denied"));
        stop.cancel();
        served.await.expect("stopped");
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("in range")
}

/// A node that joins by a bootstrap token, as kubeadm sets it up, and renews its certificate later.
#[tokio::test]
async fn a_kubelet_gets_its_certificate_without_anybody_looking() {
    let cluster = Cluster::new().await;
    for (name, role, group) in
        [("join", "nodeclient", "system:bootstrappers"), ("renew", "selfnodeclient", "system:nodes")]
    {
        let role = format!("system:certificates.k8s.io:certificatesigningrequests:{role}");
        let binding = json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}]});
        cluster.must(&admin(), "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    }
    let wanted =
        |name: &str| asked(name, &pem("system:node:n", "system:nodes", &[]), KUBELET, &[SIGNATURE, "client auth"]);
    let joining = user("system:bootstrap:abcdef", &["system:bootstrappers", "system:authenticated"]);
    let bootstrapper = json!({"metadata": {"name": "ask"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-bootstrapper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}]});
    cluster.must(&admin(), "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &bootstrapper).await;
    cluster.soon(&joining, &wanted("first")).await;
    let status = cluster.until("first", is_issued).await;
    let approved = condition(&status, "Approved").expect("approved");
    assert_eq!(
        (&approved["reason"], &approved["message"]),
        (&json!("AutoApproved"), &json!("Auto approving kubelet client certificate after SubjectAccessReview."))
    );
    cluster.soon(&Identity::node("n"), &wanted("second")).await;
    let status = cluster.until("second", is_issued).await;
    let message = &condition(&status, "Approved").expect("approved")["message"];
    assert_eq!(*message, "Auto approving self kubelet client certificate after SubjectAccessReview.");
    // Of somebody who has no right to it: it is for others to look at.
    cluster
        .must(
            &admin(),
            "POST",
            REQUESTS,
            &asked("third", &pem("system:node:m", "system:nodes", &["m"]), SERVING, &[SIGNATURE, "server auth"]),
        )
        .await;
    assert!(cluster.world.get(&format!("{REQUESTS}/third")).await.1["status"]["conditions"].is_null());
    cluster.decide(&admin(), "third", "Approved").await;
    cluster.until("third", is_issued).await;
}

#[tokio::test]
async fn what_a_signer_does_not_sign_has_failed() {
    let cluster = Cluster::new().await;
    for (name, pem, signer, usages, why) in [
        (
            "usages",
            pem("u", "g", &[]),
            CLIENT,
            &["server auth"][..],
            "invalid usage for client certificate: server auth",
        ),
        (
            "group",
            pem("system:node:n", "g", &[]),
            KUBELET,
            &[SIGNATURE, "client auth"],
            "subject organization is not system:nodes",
        ),
        (
            "names",
            pem("system:node:n", "system:nodes", &[]),
            SERVING,
            &[SIGNATURE, "server auth"],
            "DNS or IP subjectAltName is required",
        ),
    ] {
        cluster.must(&admin(), "POST", REQUESTS, &asked(name, &pem, signer, usages)).await;
        let (code, answer) = cluster.decide(&admin(), name, "Approved").await;
        assert!(code.is_success(), "{answer}");
        let status = cluster.until(name, |status| condition(status, "Failed").is_some()).await;
        let failed = condition(&status, "Failed").expect("failed");
        assert_eq!((&failed["reason"], &failed["message"]), (&json!("SignerValidationFailure"), &json!(why)), "{name}");
        assert!(!is_issued(&status));
    }
}

/// Attacks by name.
#[tokio::test]
async fn nobody_becomes_more_by_a_certificate() {
    let cluster = Cluster::new().await;
    let node = Identity::node("n");
    let kubelets = [SIGNATURE, "client auth"];
    for (attack, who, wanted, why) in [
        (
            "the group that may do everything",
            admin(),
            asked("a", &pem("u", "system:masters", &[]), CLIENT, &["client auth"]),
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
        ),
        (
            "another node",
            node.clone(),
            asked("a", &pem("system:node:m", "system:nodes", &[]), KUBELET, &kubelets),
            "can only create a node CSR with CN=system:node:n",
        ),
        (
            "another node's server",
            node,
            asked("a", &pem("system:node:m", "system:nodes", &["m"]), SERVING, &[SIGNATURE, "server auth"]),
            "can only create a node CSR with CN=system:node:n",
        ),
        (
            "a signer of old",
            admin(),
            asked("a", &pem("u", "g", &[]), "kubernetes.io/legacy-unknown", &["client auth"]),
            "kubernetes.io/legacy-unknown",
        ),
    ] {
        let (code, answer) = cluster.ask(&who, "POST", REQUESTS, &wanted).await;
        assert!(
            code.is_client_error() && answer["message"].as_str().is_some_and(|said| said.contains(why)),
            "{attack}: {code} {answer}"
        );
    }
    // Behind another group it is found too: all groups of the subject count.
    let hidden = include_str!("../authn/src/certificate/testdata/two-groups.csr");
    let (code, answer) = cluster.ask(&admin(), "POST", REQUESTS, &asked("a", hidden, CLIENT, &["client auth"])).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{answer}");
    // Who asks is who makes it, whatever it says.
    let mut forged = asked("forged", &pem("system:node:n", "system:nodes", &[]), KUBELET, &kubelets);
    forged["spec"]["username"] = "system:node:n".into();
    forged["spec"]["groups"] = json!(["system:nodes", "system:masters"]);
    let made = cluster.must(&admin(), "POST", REQUESTS, &forged).await;
    assert_eq!(made["spec"]["username"], admin().user);
}

/// Who may write approvals may do so for the signers that they were given, and whoever signs too.
#[tokio::test]
async fn approving_and_signing_are_rights_of_their_own() {
    let cluster = Cluster::new().await;
    let role = json!({"metadata": {"name": "helper"}, "rules": [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"], "verbs": ["*"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/*"], "verbs": ["approve"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/mine"], "verbs": ["sign"]}]});
    cluster.must(&admin(), "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    let binding = json!({"metadata": {"name": "helper"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "helper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "helper"}]});
    cluster.must(&admin(), "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let helper = user("helper", &["system:authenticated"]);
    for (name, signer) in [("ours", CLIENT), ("mine", "example.com/mine"), ("theirs", "example.com/theirs")] {
        cluster.must(&admin(), "POST", REQUESTS, &asked(name, &pem("u", "g", &[]), signer, &["client auth"])).await;
    }
    let mut allowed = false;
    for _ in 0..200 {
        allowed = cluster.decide(&helper, "mine", "Approved").await.0.is_success();
        if allowed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(allowed, "a whole domain");
    let (code, answer) = cluster.decide(&helper, "ours", "Approved").await;
    let message = answer["message"].as_str().unwrap_or_default();
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(
        message.contains(&format!("user not permitted to approve requests with signerName {CLIENT:?}")),
        "{message}"
    );
    cluster.decide(&helper, "theirs", "Approved").await;
    for (name, is_allowed) in [("mine", true), ("theirs", false)] {
        let mut request = cluster.world.get(&format!("{REQUESTS}/{name}")).await.1;
        request["status"]["certificate"] = STANDARD.encode(&cluster.world.pki.admin().certificate).into();
        let (code, answer) = cluster.ask(&helper, "PUT", &format!("{REQUESTS}/{name}/status"), &request).await;
        assert_eq!(code.is_success(), is_allowed, "{name}: {answer}");
        if !is_allowed {
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(message.contains("user not permitted to sign requests with signerName"), "{message}");
        }
    }
}
