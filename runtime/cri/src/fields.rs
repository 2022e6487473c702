//! Every field that a request of CRI can have, and what becomes of it (fault N4).
//!
//! The test walks the descriptors from the calls' requests on, and fails for a field without a row and for a row without a field, so that a
//! new version of CRI brings a decision and not a field that is passed over in silence. Each refused field is given to the
//! admission, which has to name it.

use crate::admit;
use crate::bundle::Host;
use skiff_proto::cri::REQUEST_FIELDS;
use skiff_proto::cri::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};

/// Fields that do what the protocol says.
const USED: &[(&str, &str)] = &[
    ("RunPodSandboxRequest", "config"),
    ("PodSandboxConfig", "annotations dns_config hostname labels linux log_directory metadata port_mappings"),
    ("PodSandboxMetadata", "attempt name namespace uid"),
    ("DNSConfig", "options searches servers"),
    ("PortMapping", "container_port host_ip host_port protocol"),
    ("LinuxPodSandboxConfig", "cgroup_parent resources security_context sysctls"),
    ("LinuxSandboxSecurityContext", "namespace_options privileged"),
    ("NamespaceOption", "ipc network pid target_id userns_options"),
    ("UserNamespace", "gids mode uids"),
    ("IDMapping", "container_id host_id length"),
    ("CreateContainerRequest", "config pod_sandbox_id"),
    (
        "ContainerConfig",
        "CDI_devices annotations args command devices envs image labels linux log_path metadata mounts stdin stdin_once stop_signal tty working_dir",
    ),
    ("ContainerMetadata", "attempt name"),
    ("CDIDevice", "name"),
    ("ImageSpec", "image"),
    ("KeyValue", "key value"),
    (
        "Mount",
        "container_path gidMappings host_path image image_sub_path propagation readonly recursive_read_only uidMappings",
    ),
    ("Device", "container_path host_path permissions"),
    ("LinuxContainerConfig", "resources security_context"),
    (
        "LinuxContainerResources",
        "cpu_period cpu_quota cpu_shares cpuset_cpus cpuset_mems memory_limit_in_bytes memory_swap_limit_in_bytes oom_score_adj unified",
    ),
    (
        "LinuxContainerSecurityContext",
        "apparmor apparmor_profile capabilities masked_paths namespace_options no_new_privs privileged readonly_paths readonly_rootfs \
         run_as_group run_as_user run_as_username seccomp seccomp_profile_path supplemental_groups supplemental_groups_policy",
    ),
    ("Capability", "add_ambient_capabilities add_capabilities drop_capabilities"),
    ("SecurityProfile", "localhost_ref profile_type"),
    ("Int64Value", "value"),
    ("StartContainerRequest", "container_id"),
    ("StopContainerRequest", "container_id timeout"),
    ("RemoveContainerRequest", "container_id"),
    ("StopPodSandboxRequest", "pod_sandbox_id"),
    ("RemovePodSandboxRequest", "pod_sandbox_id"),
    ("PodSandboxStatusRequest", "pod_sandbox_id verbose"),
    ("ContainerStatusRequest", "container_id verbose"),
    ("StatusRequest", "verbose"),
    ("ListPodSandboxRequest", "filter"),
    ("PodSandboxFilter", "id label_selector state"),
    ("PodSandboxStateValue", "state"),
    ("ListContainersRequest", "filter"),
    ("ContainerFilter", "id label_selector pod_sandbox_id state"),
    ("ContainerStateValue", "state"),
    ("UpdateContainerResourcesRequest", "container_id linux"),
    ("ReopenContainerLogRequest", "container_id"),
    ("ExecSyncRequest", "cmd container_id timeout"),
    ("ExecRequest", "cmd container_id stderr stdin stdout tty"),
    ("AttachRequest", "container_id stderr stdin stdout tty"),
    ("PortForwardRequest", "pod_sandbox_id port"),
    ("ContainerStatsRequest", "container_id"),
    ("ListContainerStatsRequest", "filter"),
    ("ContainerStatsFilter", "id label_selector pod_sandbox_id"),
    ("PodSandboxStatsRequest", "pod_sandbox_id"),
    ("ListPodSandboxStatsRequest", "filter"),
    ("PodSandboxStatsFilter", "id label_selector"),
    ("UpdateRuntimeConfigRequest", "runtime_config"),
    ("RuntimeConfig", "network_config"),
    ("NetworkConfig", "pod_cidr"),
    ("ListImagesRequest", "filter"),
    ("StreamImagesRequest", "filter"),
    ("ImageFilter", "image"),
    ("ImageStatusRequest", "image verbose"),
    ("PullImageRequest", "image auth"),
    ("AuthConfig", "auth identity_token password registry_token server_address username"),
    ("RemoveImageRequest", "image"),
];

/// Fields that are refused in words when they are set: by their own name, or by that of what they belong to.
const REFUSED: &[(&str, &str)] = &[
    ("RunPodSandboxRequest", "runtime_handler"),
    ("PodSandboxConfig", "windows"),
    ("ContainerConfig", "windows"),
    ("ImageSpec", "runtime_handler"),
    ("Mount", "mount_options"),
    ("LinuxContainerResources", "hugepage_limits"),
    ("HugepageLimit", "limit page_size"),
    ("UpdateContainerResourcesRequest", "windows"),
];

/// Requests of calls that are not implemented, and messages that come with refused fields only: whatever their fields say.
const REFUSED_WHOLE: &[(&str, &str)] = &[
    ("CheckpointContainerRequest", "container_id location timeout"),
    ("CheckpointPodRequest", "container_ids options output_path pod_sandbox_id"),
    ("RestorePodRequest", "checkpoint_path config container_configs options runtime_handler"),
    ("UpdatePodSandboxResourcesRequest", "overhead pod_sandbox_id resources"),
    ("StreamContainerStatsRequest", "filter"),
    ("StreamContainersRequest", "filter"),
    ("StreamPodSandboxStatsRequest", "filter"),
    ("StreamPodSandboxesRequest", "filter"),
    ("WindowsContainerConfig", "resources security_context"),
    (
        "WindowsContainerResources",
        "affinity_cpus cpu_count cpu_maximum cpu_shares memory_limit_in_bytes rootfs_size_in_bytes",
    ),
    ("WindowsContainerSecurityContext", "credential_spec host_process run_as_username"),
    ("WindowsCpuGroupAffinity", "cpu_group cpu_mask"),
    ("WindowsNamespaceOption", "network"),
    ("WindowsPodSandboxConfig", "security_context"),
    ("WindowsSandboxSecurityContext", "credential_spec host_process namespace_options run_as_username"),
];

/// Fields that change nothing here, and why that is right.
const WITHOUT_EFFECT: &[(&str, &str, &str)] = &[
    (
        "LinuxPodSandboxConfig",
        "overhead",
        "the caller has added it to the pod's cgroup, and no machine is made for the pod",
    ),
    ("LinuxSandboxSecurityContext", "run_as_user", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "run_as_group", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "supplemental_groups", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "supplemental_groups_policy", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "readonly_rootfs", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "seccomp", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "apparmor", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "seccomp_profile_path", SANDBOX_PROCESS),
    ("LinuxSandboxSecurityContext", "selinux_options", LABELS),
    ("LinuxContainerSecurityContext", "selinux_options", LABELS),
    ("SELinuxOption", "level role type user", LABELS),
    ("Mount", "selinux_relabel", LABELS),
    ("CreateContainerRequest", "sandbox_config", "what RunPodSandbox was given holds; this is a copy of it"),
    ("ImageSpec", "annotations", "for those who pull; what was imported needs no hints"),
    (
        "ImageSpec",
        "image_ref",
        "tells what `image` was resolved to; containers name images by what they are told in `image`",
    ),
    ("ImageSpec", "user_specified_image", "tells what a user wrote; it comes back with the container's status"),
    ("UpdateContainerResourcesRequest", "annotations", "for plugins of the runtime, which has none"),
    ("VersionRequest", "version", "the caller's; it is not compared, as in containerd"),
    ("PullImageRequest", "sandbox_config", "images are the node's, not a pod's"),
];
const SANDBOX_PROCESS: &str =
    "about the process that holds the pod, which is the runtime's and has nothing of the pod's images";
const LABELS: &str = "labels mean nothing to a kernel without SELinux; on one with it they are refused";

fn rows() -> Vec<(String, String)> {
    let decided = USED.iter().chain(REFUSED).chain(REFUSED_WHOLE).copied();
    let idle = WITHOUT_EFFECT.iter().map(|&(message, names, _why)| (message, names));
    let each =
        decided.chain(idle).flat_map(|(message, names)| names.split_whitespace().map(move |name| (message, name)));
    each.map(|(message, name)| (format!("runtime.v1.{message}"), name.to_owned())).collect()
}

#[test]
fn every_field_of_a_request_has_a_decision() {
    let fields = REQUEST_FIELDS.lines().filter_map(|line| line.split_once(' '));
    let mut fields: BTreeSet<(String, String)> =
        fields.map(|(message, name)| (message.to_owned(), name.to_owned())).collect();
    assert!(fields.len() > 230, "{}", fields.len());
    let mut counted: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in rows() {
        *counted.entry(row).or_default() += 1;
    }
    let twice: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "these have two decisions: {twice:?}");
    let vanished: Vec<_> = counted.keys().filter(|row| !fields.remove(row)).collect();
    assert!(vanished.is_empty(), "no request has these fields any more: {vanished:?}");
    assert!(fields.is_empty(), "what becomes of these fields? {fields:?}");
}

/// What a request that is fine so far becomes after a change.
struct Asked {
    handler: String,
    sandbox: pb::PodSandboxConfig,
    container: pb::ContainerConfig,
    update: pb::UpdateContainerResourcesRequest,
}

impl Asked {
    fn new() -> Self {
        let security = pb::LinuxContainerSecurityContext {
            namespace_options: Some(pb::NamespaceOption::default()),
            ..Default::default()
        };
        let linux = pb::LinuxContainerConfig { resources: Some(Default::default()), security_context: Some(security) };
        let metadata = pb::PodSandboxMetadata { name: "pod".to_owned(), ..Default::default() };
        Self {
            handler: String::new(),
            sandbox: pb::PodSandboxConfig { metadata: Some(metadata), ..Default::default() },
            container: pb::ContainerConfig {
                metadata: Some(pb::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
                image: Some(pb::ImageSpec { image: "image".to_owned(), ..Default::default() }),
                linux: Some(linux),
                ..Default::default()
            },
            update: pb::UpdateContainerResourcesRequest { linux: Some(Default::default()), ..Default::default() },
        }
    }

    fn security(&mut self) -> &mut pb::LinuxContainerSecurityContext {
        self.container.linux.as_mut().unwrap().security_context.as_mut().unwrap()
    }

    fn namespaces(&mut self) -> &mut pb::NamespaceOption {
        self.security().namespace_options.as_mut().unwrap()
    }

    fn mount(&mut self) -> &mut pb::Mount {
        let (container_path, host_path) = ("/at".to_owned(), "/from".to_owned());
        self.container.mounts = vec![pb::Mount { container_path, host_path, ..Default::default() }];
        &mut self.container.mounts[0]
    }

    /// The refusal, or nothing.
    fn refusal(self, host: &Host) -> Option<String> {
        let sandbox = admit::sandbox(&self.sandbox, &self.handler, host).err();
        let container = || {
            let config = admit::in_new_words(self.container.clone())?;
            admit::container(&config, &self.sandbox, host)
        };
        let refused = sandbox.or_else(|| container().err()).or_else(|| crate::update::wanted(self.update).err());
        refused.map(|error| error.to_string())
    }
}

fn host() -> Host {
    Host {
        capabilities: u64::MAX,
        oom_score_adj: 0,
        cgroup_v2: false,
        limits_swap: true,
        selinux: false,
        apparmor: false,
    }
}

/// A change of a request, and a word of its refusal.
type Refusal = (fn(&mut Asked), &'static str);

/// One for each row of [`REFUSED`].
const REFUSALS: &[Refusal] = &[
    (|asked| asked.handler = "kata".to_owned(), "runtime_handler"),
    (|asked| asked.sandbox.windows = Some(Default::default()), "windows"),
    (|asked| asked.container.windows = Some(Default::default()), "windows"),
    (|asked| asked.container.image.as_mut().unwrap().runtime_handler = "kata".to_owned(), "runtime_handler"),
    (|asked| asked.mount().uid_mappings = vec![Default::default()], "come together"),
    (|asked| asked.mount().gid_mappings = vec![Default::default()], "come together"),
    (|asked| asked.mount().mount_options = vec!["noatime".to_owned()], "mount_options"),
    (|asked| asked.mount().recursive_read_only = true, "recursive_read_only needs readonly"),
    (|asked| asked.namespaces().pid = pb::NamespaceMode::Target as i32, "TARGET without target_id"),
    (|asked| asked.namespaces().userns_options = Some(Default::default()), "userns_options"),
    (
        |asked| {
            let user = pb::UserNamespace {
                mode: pb::NamespaceMode::Node as i32,
                uids: vec![Default::default()],
                ..Default::default()
            };
            asked.namespaces().userns_options = Some(user);
        },
        "userns_options",
    ),
    (
        |asked| {
            let resources = asked.container.linux.as_mut().unwrap().resources.as_mut().unwrap();
            resources.hugepage_limits = vec![pb::HugepageLimit { page_size: "2MB".to_owned(), limit: 1 }];
        },
        "2MB",
    ),
    (|asked| asked.update.windows = Some(Default::default()), "windows"),
    // Numbers that enumerations do not have.
    (|asked| asked.sandbox.port_mappings = vec![pb::PortMapping { protocol: 9, ..Default::default() }], "protocol: 9"),
    (|asked| asked.mount().propagation = 9, "propagation: 9"),
    (|asked| asked.container.stop_signal = 900, "stop_signal: 900"),
    (|asked| asked.namespaces().pid = 9, "namespace_options.pid: 9"),
    (|asked| asked.security().supplemental_groups_policy = 9, "supplemental_groups_policy: 9"),
    (|asked| asked.security().seccomp = Some(profile(9, "")), "seccomp.profile_type: 9"),
    (|asked| asked.security().apparmor = Some(profile(9, "")), "apparmor.profile_type: 9"),
    // What could not be passed on as it is.
    (|asked| asked.container.envs = vec![variable("A", b"\xff")], "variable A: its value is not UTF-8"),
    (|asked| asked.container.envs = vec![variable("A=B", b"")], "variable A=B: this is no name"),
    (|asked| asked.security().apparmor = Some(profile(2, "mine")), "apparmor: profile mine"),
    (|asked| asked.security().privileged = true, "privileged"),
];

fn profile(kind: i32, name: &str) -> pb::SecurityProfile {
    pb::SecurityProfile { profile_type: kind, localhost_ref: name.to_owned() }
}

fn variable(key: &str, value: &[u8]) -> pb::KeyValue {
    pb::KeyValue { key: key.to_owned(), value: value.to_vec() }
}

#[test]
fn every_refused_field_is_named() {
    assert_eq!(Asked::new().refusal(&host()), None);
    for (change, word) in REFUSALS {
        let mut asked = Asked::new();
        change(&mut asked);
        let refusal = asked.refusal(&host()).unwrap_or_else(|| panic!("{word}: not refused"));
        assert!(refusal.contains(word), "{word}: {refusal}");
    }
}

#[test]
fn what_has_no_effect_is_taken() {
    let mut asked = Asked::new();
    asked.security().selinux_options = Some(Default::default());
    asked.mount().selinux_relabel = true;
    assert_eq!(asked.refusal(&host()), None);
    let mut asked = Asked::new();
    asked.security().selinux_options = Some(Default::default());
    assert!(asked.refusal(&Host { selinux: true, ..host() }).unwrap().contains("selinux_options"));
}

#[test]
#[allow(deprecated, reason = "they are what is tested")]
fn old_words_mean_what_new_ones_do() {
    let with = |seccomp: &str, apparmor: &str| {
        let mut asked = Asked::new();
        asked.security().seccomp_profile_path = seccomp.to_owned();
        asked.security().apparmor_profile = apparmor.to_owned();
        let mut config = admit::in_new_words(asked.container).unwrap();
        let security = config.linux.take().unwrap().security_context.unwrap();
        (security.seccomp, security.apparmor)
    };
    assert_eq!(with("", ""), (None, None));
    assert_eq!(with("runtime/default", "unconfined"), (Some(profile(0, "")), Some(profile(1, ""))));
    assert_eq!(with("localhost/a.json", "localhost/b"), (Some(profile(2, "a.json")), Some(profile(2, "b"))));
    let mut asked = Asked::new();
    asked.security().apparmor_profile = "something".to_owned();
    assert!(asked.refusal(&host()).unwrap().contains("apparmor_profile: `something`"));
}
