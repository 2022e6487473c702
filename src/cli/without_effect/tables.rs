//! Which flags of which component have no effect, and why. Facts: `--help` of Kubernetes 1.36's programs.

use super::Component;

/// A reason, and the flags that share it, with spaces between.
pub(super) type Reason = (&'static str, &'static str);

const LOGS: Reason = (
    "logs go to stderr as text; -v, -vv or RUST_LOG say how much of them",
    "log-flush-frequency log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size \
     log-text-split-stream logging-format v vmodule",
);

const METRICS: Reason = (
    "metrics are served under Kubernetes' names, all of them and as they are",
    "allow-metric-labels allow-metric-labels-manifest disabled-metrics show-hidden-metrics-for-version",
);

const VERSIONS: Reason = (
    "features are on or off as in Kubernetes 1.36, and no earlier version is emulated",
    "emulated-version emulation-forward-compatible min-compatibility-version \
     runtime-config-emulation-forward-compatible",
);

const CIPHERS: Reason = (
    "TLS 1.2 and 1.3 are served, with rustls' choice of ciphers and curves",
    "tls-cipher-suites tls-curve-preferences tls-min-version",
);

const PROFILER: Reason =
    ("there is no profiler inside; use one of the system's", "contention-profiling profiling debug-socket-path");

const CLIENTS: Reason =
    ("clients of this program are not throttled, and talk JSON", "kube-api-burst kube-api-content-type kube-api-qps");

const SERVES_NOTHING: Reason = (
    "it serves nothing but metrics and health, and these at --metrics-listen",
    "bind-address cert-dir disable-http2-serving http2-max-streams-per-connection permit-address-sharing \
     permit-port-sharing secure-port tls-cert-file tls-cipher-suites tls-curve-preferences tls-min-version \
     tls-private-key-file tls-sni-cert-key authentication-kubeconfig authentication-skip-lookup \
     authentication-token-webhook-cache-ttl authentication-tolerate-lookup-failure client-ca-file \
     requestheader-allowed-names requestheader-client-ca-file requestheader-extra-headers-prefix \
     requestheader-group-headers requestheader-uid-headers requestheader-username-headers \
     authorization-always-allow-paths authorization-kubeconfig authorization-webhook-cache-authorized-ttl \
     authorization-webhook-cache-unauthorized-ttl",
);

const LEASE: Reason = (
    "the lease is the component's own in kube-system",
    "leader-elect-resource-lock leader-elect-resource-name leader-elect-resource-namespace",
);

const PLACE: Reason =
    ("the kubeconfig says where the API server is", "master unsupported-kube-api-over-localhost write-config-to");

/// kube-apiserver
#[derive(Debug, Clone)]
pub(crate) struct Apiserver;

impl Component for Apiserver {
    const FLAGS: &'static [Reason] = &[
        (
            "the server's keys, and those that it shows to others, are in its data folder, where its kubeconfig finds their authority",
            "tls-cert-file tls-private-key-file tls-sni-cert-key cert-dir kubelet-client-certificate \
             kubelet-client-key kubelet-certificate-authority proxy-client-cert-file proxy-client-key-file \
             peer-ca-file",
        ),
        CIPHERS,
        ("kubelets are reached at their node's internal address", "kubelet-preferred-address-types kubelet-timeout"),
        ("whether a pod may be privileged is for Pod Security to say, in labels of its namespace", "allow-privileged"),
        (
            "the limit is not adjustable here",
            "max-connection-bytes-per-sec http2-max-streams-per-connection min-request-timeout request-timeout \
             livez-grace-period storage-initialization-timeout goaway-chance delete-collection-workers",
        ),
        (
            "requests under way are answered before the server ends, and watches are closed within a second",
            "shutdown-delay-duration shutdown-send-retry-after shutdown-watch-termination-grace-period \
             send-retry-after-while-not-ready-once",
        ),
        (
            "objects lie as JSON under /registry of one store, whose health decides over this server's",
            "etcd-prefix etcd-servers-overrides etcd-count-metric-poll-period etcd-db-metric-poll-interval \
             etcd-healthcheck-timeout etcd-readycheck-timeout lease-reuse-duration-seconds storage-backend \
             storage-media-type",
        ),
        (
            "every resource that is listed or watched is cached, as far as there is room",
            "watch-cache watch-cache-sizes",
        ),
        ("objects are collected, whatever this says", "enable-garbage-collector"),
        ("events are kept for an hour", "event-ttl"),
        ("what is stable in Kubernetes 1.36 is served, and nothing else", "runtime-config"),
        (
            "pods stay five minutes on a node that does not answer, unless they say otherwise",
            "default-not-ready-toleration-seconds default-unreachable-toleration-seconds",
        ),
        (
            "an authorization webhook is named by --authorization-config",
            "authorization-policy-file authorization-webhook-cache-authorized-ttl \
             authorization-webhook-cache-unauthorized-ttl authorization-webhook-config-file \
             authorization-webhook-version",
        ),
        (
            "every server of others is reached directly",
            "egress-selector-config-file aggregator-reject-forwarding-redirect enable-aggregator-routing",
        ),
        ("there are no traces in this form; `skiff up --trace` writes steps", "tracing-config-file"),
        (
            "servers take themselves out of the service `kubernetes` by a lease",
            "endpoint-reconciler-type peer-advertise-ip peer-advertise-port kubernetes-service-node-port \
             coordinated-leadership-lease-duration coordinated-leadership-renew-deadline \
             coordinated-leadership-retry-period",
        ),
        (
            "the server tells browsers nothing",
            "cors-allowed-origins strict-transport-security-directives external-hostname",
        ),
        (
            "the socket is opened plainly, for HTTP/1 and HTTP/2",
            "disable-http2-serving permit-address-sharing permit-port-sharing",
        ),
        ("keys sign in this process", "service-account-signing-endpoint"),
        ("there are no logs of the host to serve", "enable-logs-handler"),
        PROFILER,
        METRICS,
        LOGS,
        VERSIONS,
    ];
}

/// kube-scheduler
#[derive(Debug, Clone)]
pub(crate) struct Scheduler;

impl Component for Scheduler {
    const FLAGS: &'static [Reason] = &[
        (
            "the scheduler has what kube-scheduler has by default",
            "pod-max-in-unschedulable-pods-duration feature-gates",
        ),
        SERVES_NOTHING,
        LEASE,
        CLIENTS,
        PLACE,
        PROFILER,
        METRICS,
        LOGS,
        VERSIONS,
    ];
}

/// kube-controller-manager
#[derive(Debug, Clone)]
pub(crate) struct ControllerManager;

impl Component for ControllerManager {
    const FLAGS: &'static [Reason] = &[
        (
            "nodes get the first free ranges of --cluster-cidr, and nothing of the services' is in it",
            "cidr-allocator-type service-cluster-ip-range",
        ),
        ("the authority that pods get is that of the kubeconfig", "root-ca-file"),
        ("all controllers that there are run", "controllers feature-gates"),
        (
            "there is one cluster, without a cloud",
            "cloud-config cloud-provider cluster-name configure-cloud-routes external-cloud-volume-plugin \
             route-reconciliation-period enable-leader-migration leader-migration-config",
        ),
        (
            "one authority signs for all signers",
            "cluster-signing-kube-apiserver-client-cert-file cluster-signing-kube-apiserver-client-key-file \
             cluster-signing-kubelet-client-cert-file cluster-signing-kubelet-client-key-file \
             cluster-signing-kubelet-serving-cert-file cluster-signing-kubelet-serving-key-file \
             cluster-signing-legacy-unknown-cert-file cluster-signing-legacy-unknown-key-file",
        ),
        (
            "controllers work as soon as they hear of something, each in one queue",
            "attach-detach-reconcile-sync-period concurrent-cron-job-syncs concurrent-daemonset-syncs \
             concurrent-deployment-syncs concurrent-device-taint-eviction-syncs concurrent-endpoint-syncs \
             concurrent-ephemeralvolume-syncs concurrent-gc-syncs concurrent-horizontal-pod-autoscaler-syncs \
             concurrent-job-syncs concurrent-namespace-syncs concurrent-rc-syncs concurrent-replicaset-syncs \
             concurrent-resource-quota-syncs concurrent-resourceclaim-syncs concurrent-service-endpoint-syncs \
             concurrent-service-syncs concurrent-serviceaccount-token-syncs concurrent-statefulset-syncs \
             concurrent-ttl-after-finished-syncs concurrent-validating-admission-policy-status-syncs \
             controller-shutdown-timeout controller-start-interval disable-attach-detach-reconcile-sync \
             disable-force-detach-on-timeout enable-garbage-collector endpoint-updates-batch-period \
             endpointslice-updates-batch-period max-endpoints-per-slice min-resync-period \
             mirroring-concurrent-service-endpoint-syncs mirroring-endpointslice-updates-batch-period \
             mirroring-max-endpoints-per-subset namespace-sync-period resource-quota-sync-period",
        ),
        (
            "the pace is not adjustable here",
            "large-cluster-size-threshold \
             legacy-service-account-token-clean-up-period node-eviction-rate node-monitor-grace-period \
             node-monitor-period node-startup-grace-period secondary-node-eviction-rate terminated-pod-gc-threshold \
             unhealthy-zone-threshold",
        ),
        (
            "volumes are not provisioned by controllers",
            "enable-dynamic-provisioning enable-hostpath-provisioner flex-volume-plugin-dir \
             pv-recycler-increment-timeout-nfs pv-recycler-minimum-timeout-hostpath pv-recycler-minimum-timeout-nfs \
             pv-recycler-pod-template-filepath-hostpath pv-recycler-pod-template-filepath-nfs \
             pv-recycler-timeout-increment-hostpath pvclaimbinder-sync-period",
        ),
        SERVES_NOTHING,
        LEASE,
        CLIENTS,
        PLACE,
        PROFILER,
        METRICS,
        LOGS,
        VERSIONS,
    ];
}

/// kubelet
#[derive(Debug, Clone)]
pub(crate) struct Kubelet;

impl Component for Kubelet {
    const FLAGS: &'static [Reason] = &[
        ("there is no file for it: give flags", "config config-dir"),
        (
            "certificates are kept in the data folder, and that of a client is replaced before it ends",
            "cert-dir rotate-certificates",
        ),
        (
            "the CRI service says which cgroup driver and which images it uses",
            "cgroup-driver cgroups-per-qos runtime-cgroups kubelet-cgroups system-cgroups pod-infra-container-image \
             image-service-endpoint runtime-request-timeout",
        ),
        (
            "nothing of the node is set aside",
            "kube-reserved kube-reserved-cgroup system-reserved system-reserved-cgroup reserved-cpus reserved-memory \
             enforce-node-allocatable qos-reserved",
        ),
        (
            "processors and memory are shared by all pods",
            "cpu-cfs-quota cpu-cfs-quota-period cpu-manager-policy cpu-manager-policy-options \
             cpu-manager-reconcile-period memory-manager-policy topology-manager-policy \
             topology-manager-policy-options topology-manager-scope",
        ),
        (
            "the node registers itself, without a cloud",
            "cloud-provider node-labels provider-id register-node register-with-taints node-status-max-images \
             node-status-update-frequency",
        ),
        (
            "requests to the kubelet are authenticated by certificate",
            "anonymous-auth authentication-token-webhook authentication-token-webhook-cache-ttl authorization-mode \
             authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl",
        ),
        CIPHERS,
        (
            "the HTTPS API is all that is served",
            "address enable-debugging-handlers enable-server healthz-bind-address healthz-port read-only-port \
             streaming-connection-idle-timeout",
        ),
        (
            "pods come from the API server only",
            "file-check-frequency http-check-frequency manifest-url manifest-url-header pod-manifest-path \
             sync-frequency runonce",
        ),
        (
            "images are pulled eight at a time",
            "registry-burst registry-qps serialize-image-pulls minimum-image-ttl-duration",
        ),
        (
            "the limit is not adjustable here",
            "event-burst event-qps max-open-files max-pods pods-per-core pod-max-pids maximum-dead-containers \
             maximum-dead-containers-per-container minimum-container-ttl-duration oom-score-adj \
             volume-stats-agg-period experimental-allocatable-ignore-eviction",
        ),
        (
            "volumes are those that are built in",
            "enable-controller-attach-detach experimental-mounter-path volume-plugin-dir \
             local-storage-capacity-isolation",
        ),
        (
            "soft limits of eviction are not looked at",
            "eviction-max-pod-grace-period eviction-minimum-reclaim eviction-soft eviction-soft-grace-period \
             kernel-memcg-notification",
        ),
        (
            "the host is taken as it is, with cgroups of version 2",
            "exit-on-lock-contention fail-cgroupv1 fail-swap-on lock-file make-iptables-util-chains hairpin-mode \
             protect-kernel-defaults resolv-conf seccomp-default root-dir",
        ),
        ("names of services are given out by the node's own resolver", "cluster-dns cluster-domain"),
        (
            "statistics come from the CRI service",
            "application-metrics-count-limit boot-id-file container-hints containerd containerd-namespace \
             enable-load-reader event-storage-age-limit event-storage-event-limit global-housekeeping-interval \
             housekeeping-interval log-cadvisor-usage machine-id-file max-housekeeping-interval \
             storage-driver-buffer-duration storage-driver-db storage-driver-host storage-driver-password \
             storage-driver-secure storage-driver-table storage-driver-user",
        ),
        ("features are on or off as in Kubernetes 1.36", "feature-gates"),
        CLIENTS,
        PROFILER,
        LOGS,
    ];
}

/// kube-proxy
#[derive(Debug, Clone)]
pub(crate) struct Proxy;

impl Component for Proxy {
    const FLAGS: &'static [Reason] = &[
        ("there is no file for it: give flags", "config config-sync-period write-config-to"),
        (
            "services are served by one table of nftables, written anew when something changes",
            "proxy-mode iptables-localhost-nodeports iptables-masquerade-bit iptables-min-sync-period \
             iptables-sync-period ipvs-exclude-cidrs ipvs-min-sync-period ipvs-scheduler ipvs-strict-arp \
             ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout masquerade-all nodeport-addresses",
        ),
        (
            "connections are tracked as the host has it",
            "conntrack-max-per-core conntrack-min conntrack-tcp-be-liberal conntrack-tcp-timeout-close-wait \
             conntrack-tcp-timeout-established conntrack-udp-timeout conntrack-udp-timeout-stream",
        ),
        ("pods are known by their addresses", "detect-local-mode pod-bridge-interface pod-interface-name-prefix"),
        (
            "it serves nothing: what it does is in its log",
            "bind-address bind-address-hard-fail healthz-bind-address metrics-bind-address",
        ),
        ("it starts, and cleans up when it ends", "cleanup init-only"),
        ("features are on or off as in Kubernetes 1.36", "feature-gates"),
        ("the host is taken as it is", "boot-id-file machine-id-file oom-score-adj"),
        ("the kubeconfig says where the API server is", "master"),
        ("metrics are not served", "show-hidden-metrics-for-version"),
        CLIENTS,
        PROFILER,
        LOGS,
    ];
}
