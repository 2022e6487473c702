//! What kubeadm's manifests pass is taken, and exactly what has no effect is said.

use crate::cli::{Cli, Command};

/// The lines that a command line is told, without their reasons.
fn told(line: &str) -> Result<Vec<String>, String> {
    let cli = Cli::read(line.split_whitespace()).map_err(|error| error.to_string())?;
    let lines = match cli.command {
        Command::Apiserver(args) => args.without_effect.lines(),
        Command::Scheduler(args) => args.without_effect.lines(),
        Command::Controllers(args) => args.without_effect.lines(),
        Command::Kubelet(args) => args.without_effect.lines(),
        Command::Proxy(args) => args.without_effect.lines(),
        other => panic!("{other:?} is no component"),
    };
    let flags = lines.iter().map(|line| line.split_once(" has no effect: ").expect("a flag and why").0.to_owned());
    Ok(flags.collect())
}

/// The static pod of kubeadm 1.36 for an API server.
const APISERVER: &str = "skiff apiserver --advertise-address=10.0.0.1 --allow-privileged=true --authorization-mode=Node,RBAC
    --client-ca-file=/etc/kubernetes/pki/ca.crt --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true
    --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt
    --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key --etcd-servers=https://127.0.0.1:2379
    --kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt
    --kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key
    --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname
    --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt
    --proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key --requestheader-allowed-names=front-proxy-client
    --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group
    --requestheader-username-headers=X-Remote-User --secure-port=6443
    --service-account-issuer=https://kubernetes.default.svc.cluster.local
    --service-account-key-file=/etc/kubernetes/pki/sa.pub --service-account-signing-key-file=/etc/kubernetes/pki/sa.key
    --service-cluster-ip-range=10.96.0.0/12 --tls-cert-file=/etc/kubernetes/pki/apiserver.crt
    --tls-private-key-file=/etc/kubernetes/pki/apiserver.key";

/// That of a controller manager.
const CONTROLLERS: &str = "skiff controllers --allocate-node-cidrs=true --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf
    --authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --bind-address=127.0.0.1
    --client-ca-file=/etc/kubernetes/pki/ca.crt --cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes
    --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt --cluster-signing-key-file=/etc/kubernetes/pki/ca.key
    --controllers=*,bootstrapsigner,tokencleaner --kubeconfig=/etc/kubernetes/controller-manager.conf --leader-elect=true
    --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt --root-ca-file=/etc/kubernetes/pki/ca.crt
    --service-account-private-key-file=/etc/kubernetes/pki/sa.key --service-cluster-ip-range=10.96.0.0/12
    --use-service-account-credentials=true";

const SCHEDULER: &str = "skiff scheduler --authentication-kubeconfig=/etc/kubernetes/scheduler.conf
    --authorization-kubeconfig=/etc/kubernetes/scheduler.conf --bind-address=127.0.0.1
    --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=true";

/// The line of kubeadm's unit.
const KUBELET: &str = "skiff kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf
    --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml
    --container-runtime-endpoint=unix:///run/skiff/cri.sock --pod-infra-container-image=registry.k8s.io/pause:3.10";

const PROXY: &str = "skiff proxy --config=/var/lib/kube-proxy/config.conf --hostname-override=n1";

#[test]
fn stock_manifests_are_taken_with_exactly_these_warnings() {
    for (line, expected) in [
        (
            APISERVER,
            "--tls-cert-file --tls-private-key-file --kubelet-client-certificate --kubelet-client-key --proxy-client-cert-file \
             --proxy-client-key-file --kubelet-preferred-address-types --allow-privileged",
        ),
        (
            CONTROLLERS,
            "--service-cluster-ip-range --root-ca-file \
             --controllers --cluster-name --bind-address --authentication-kubeconfig --client-ca-file \
             --requestheader-client-ca-file --authorization-kubeconfig",
        ),
        (SCHEDULER, "--bind-address --authentication-kubeconfig --authorization-kubeconfig"),
        (KUBELET, "--config --pod-infra-container-image"),
        (PROXY, "--config"),
        ("skiff apiserver --profiling=false --v=2 --watch-cache", "--watch-cache --profiling --v"),
    ] {
        let expected: Vec<String> = expected.split_whitespace().map(str::to_owned).collect();
        assert_eq!(told(line), Ok(expected), "{line}");
    }
}

#[test]
fn what_kubernetes_does_not_know_is_refused_with_a_suggestion() {
    for (line, tip) in [
        ("skiff apiserver --etcd-server=https://a", "'--etcd-servers'"),
        ("skiff apiserver --enable-admission-plugin=Priority", "'--enable-admission-plugins'"),
        ("skiff kubelet --kubeconfg=x", "'--kubeconfig'"),
    ] {
        let said = told(line).expect_err("refused");
        assert!(said.contains("unexpected argument") && said.contains(tip), "{said}");
    }
}
