//! Bundles as values: whole ones as snapshots, single rules by name.

use super::*;
use proptest::prelude::*;
use skiff_proto::cri::v1 as pb;

fn image() -> ImageConfiguration {
    serde_json::from_value(json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Env": ["PATH=/bin", "A=image"], "Entrypoint": ["/entry"], "Cmd": ["cmd"], "WorkingDir": "/srv"},
    }))
    .unwrap()
}

fn host() -> Host {
    Host {
        capabilities: (1 << 41) - 1,
        oom_score_adj: 0,
        cgroup_v2: false,
        limits_swap: true,
        selinux: false,
        apparmor: false,
    }
}

fn build_with(
    change: impl FnOnce(&mut pb::ContainerConfig, &mut pb::PodSandboxConfig, &mut Host),
) -> Result<Bundle, CriError> {
    let mut config = pb::ContainerConfig {
        metadata: Some(pb::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        linux: Some(pb::LinuxContainerConfig {
            resources: Some(pb::LinuxContainerResources::default()),
            security_context: Some(pb::LinuxContainerSecurityContext {
                namespace_options: Some(pb::NamespaceOption {
                    pid: NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }),
        ..Default::default()
    };
    let mut sandbox = pb::PodSandboxConfig { hostname: "web-0".to_owned(), ..Default::default() };
    let mut host = host();
    change(&mut config, &mut sandbox, &mut host);
    let folder = PathBuf::from("/run/skiff/sandboxes/s");
    build(&Request {
        sandbox_id: "s",
        sandbox: &sandbox,
        config: &config,
        image: &image(),
        user: User { uid: 101, gid: 102, additional_gids: vec![102], home: "/home".to_owned() },
        host: &host,
        rootfs: PathBuf::from("/run/skiff/containers/c/rootfs"),
        cgroups_path: "/skiff/pods/s/c".to_owned(),
        supervisor_pid: 4711,
        users: None,
        pod_pid: Some(4712),
        pod_files: PodFiles {
            shm: folder.join("shm"),
            resolv_conf: folder.join("resolv.conf"),
            hostname: folder.join("hostname"),
            hosts: folder.join("hosts"),
        },
        devices: Vec::new(),
        seccomp_file: None,
    })
}

fn config_with(change: impl FnOnce(&mut pb::ContainerConfig, &mut pb::PodSandboxConfig, &mut Host)) -> Value {
    build_with(change).unwrap().config
}

fn security(config: &mut pb::ContainerConfig) -> &mut pb::LinuxContainerSecurityContext {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

fn limits(config: &mut pb::ContainerConfig) -> &mut pb::LinuxContainerResources {
    config.linux.as_mut().unwrap().resources.as_mut().unwrap()
}

#[test]
fn the_plain_container() {
    insta::assert_json_snapshot!(config_with(|_, _, _| {}));
}

#[test]
fn the_container_with_everything() {
    let config = config_with(|config, sandbox, _| {
        sandbox.annotations.insert("skiff.dev/correlation".to_owned(), "uid/0".to_owned());
        sandbox.linux = Some(pb::LinuxPodSandboxConfig {
            sysctls: [("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())].into(),
            ..Default::default()
        });
        config.command = vec!["/bin/server".to_owned()];
        config.args = vec!["--flag".to_owned()];
        config.envs = vec![pb::KeyValue { key: "A".to_owned(), value: b"own".to_vec() }];
        config.working_dir = "/work".to_owned();
        config.tty = true;
        config.annotations.insert("run.oci.hooks".to_owned(), "evil".to_owned());
        config.mounts = vec![
            pb::Mount {
                container_path: "/data/deep".to_owned(),
                host_path: "/host/deep".to_owned(),
                readonly: true,
                ..Default::default()
            },
            pb::Mount {
                container_path: "/etc/hosts".to_owned(),
                host_path: "/kubelet/hosts".to_owned(),
                propagation: pb::MountPropagation::PropagationHostToContainer as i32,
                ..Default::default()
            },
        ];
        let security = security(config);
        security.readonly_rootfs = true;
        security.no_new_privs = true;
        security.masked_paths = vec!["/proc/only".to_owned()];
        security.capabilities =
            Some(pb::Capability { drop_capabilities: vec!["ALL".to_owned()], ..Default::default() });
        *limits(config) = pb::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            cpu_shares: 512,
            memory_limit_in_bytes: 64 << 20,
            memory_swap_limit_in_bytes: 64 << 20,
            oom_score_adj: 900,
            ..Default::default()
        };
    });
    insta::assert_json_snapshot!(config);
}

#[test]
fn the_privileged_container_of_a_host_pod() {
    let config = config_with(|config, sandbox, _| {
        security(config).privileged = true;
        security(config).namespace_options.as_mut().unwrap().pid = NamespaceMode::Node as i32;
        let node = NamespaceMode::Node as i32;
        sandbox.linux = Some(pb::LinuxPodSandboxConfig {
            security_context: Some(pb::LinuxSandboxSecurityContext {
                namespace_options: Some(pb::NamespaceOption { network: node, ipc: node, ..Default::default() }),
                ..Default::default()
            }),
            ..Default::default()
        });
    });
    assert_eq!(config["linux"]["namespaces"], json!([{"type": "mount"}]));
    assert_eq!(config["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    assert_eq!(config["linux"].get("maskedPaths"), None);
    assert_eq!(config["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 41);
}

#[test]
fn entrypoint_and_cmd_combine_as_kubernetes_says() {
    for (command, args, expected) in [
        (&[][..], &[][..], &["/entry", "cmd"][..]),
        (&[], &["x"], &["/entry", "x"]),
        (&["/c"], &[], &["/c"]),
        (&["/c"], &["x"], &["/c", "x"]),
    ] {
        let config = config_with(|config, _, _| {
            config.command = command.iter().map(|&word: &&str| word.to_owned()).collect();
            config.args = args.iter().map(|&word: &&str| word.to_owned()).collect();
        });
        assert_eq!(config["process"]["args"], json!(expected), "command {command:?} args {args:?}");
    }
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let refused = |change: fn(&mut pb::ContainerConfig)| {
        build_with(|config, _, _| change(config)).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let image_volume = refused(|config| {
        config.mounts =
            vec![pb::Mount { container_path: "/v".to_owned(), image: Some(Default::default()), ..Default::default() }];
    });
    assert_eq!(image_volume, "mount at /v: image names none");
    let writable = refused(|config| {
        let image = Some(pb::ImageSpec { image: "web".to_owned(), ..Default::default() });
        config.mounts = vec![pb::Mount { container_path: "/v".to_owned(), image, ..Default::default() }];
    });
    assert_eq!(writable, "mount at /v: an image is shown read-only: readonly must be true");
    let huge = refused(|config| {
        limits(config).hugepage_limits = vec![pb::HugepageLimit { page_size: "2MB".to_owned(), limit: 1 }];
    });
    assert_eq!(huge, "hugepage limit for 2MB is not implemented");
    let unified = refused(|config| {
        limits(config).unified = [("memory.high".to_owned(), "1".to_owned())].into();
    });
    assert_eq!(unified, "unified: this node's controllers are on cgroup v1");
}

#[test]
fn a_container_that_looks_into_another_joins_its_processes() {
    let bundle = build_with(|config, _, _| {
        security(config).namespace_options.as_mut().unwrap().pid = NamespaceMode::Target as i32;
    });
    let config = bundle.unwrap().config;
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({"type": "pid", "path": "/proc/4712/ns/pid"})), "{namespaces:?}");
}

#[test]
fn a_mount_is_read_only_in_depth_if_asked() {
    let bundle = build_with(|config, _, _| {
        let (container_path, host_path) = ("/at".to_owned(), "/from".to_owned());
        let mount =
            pb::Mount { container_path, host_path, readonly: true, recursive_read_only: true, ..Default::default() };
        config.mounts = vec![mount];
    });
    let config = bundle.unwrap().config;
    let mounts = config["mounts"].as_array().unwrap();
    let own = mounts.iter().find(|mount| mount["destination"] == "/at").unwrap();
    assert_eq!(own["options"], json!(["rbind", "rprivate", "rro"]));
}

#[test]
fn what_this_host_cannot_do_is_noted() {
    let bundle = build_with(|config, _, host| {
        host.capabilities &= !caps::SYS_RESOURCE;
        host.oom_score_adj = 5;
        host.limits_swap = false;
        limits(config).oom_score_adj = -997;
        limits(config).memory_swap_limit_in_bytes = 1;
    })
    .unwrap();
    assert_eq!(bundle.config["process"]["oomScoreAdj"], 5);
    assert_eq!(bundle.notes.len(), 2, "{:?}", bundle.notes);
}

/// `procMount: Unmasked` is a security context that lists no path.
#[test]
fn paths_are_hidden_as_the_context_says_and_as_usual_without_one() {
    let masked = |config: Value| config["linux"]["maskedPaths"].as_array().unwrap().len();
    assert_eq!(masked(config_with(|_, _, _| {})), 0);
    assert_eq!(masked(config_with(|config, _, _| security(config).masked_paths = vec!["/proc/keys".to_owned()])), 1);
    assert!(masked(config_with(|config, _, _| config.linux = None)) > 10);
}

/// A profile of the host's is the runtime's to set; `localhost/` is how old clients mark one.
#[test]
fn an_apparmor_profile_is_named() {
    let named = |name: &str| {
        let kind = pb::security_profile::ProfileType::Localhost as i32;
        let profile = pb::SecurityProfile { profile_type: kind, localhost_ref: name.to_owned() };
        config_with(|config, _, _| security(config).apparmor = Some(profile))["process"]["apparmorProfile"].clone()
    };
    assert_eq!((named("mine"), named("localhost/mine")), (json!("mine"), json!("mine")));
}

#[test]
fn seccomp_is_what_was_asked_for() {
    let with = |kind: pb::security_profile::ProfileType, privileged: bool| {
        let config = config_with(|config, _, _| {
            let profile = pb::SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() };
            security(config).seccomp = Some(profile);
            security(config).privileged = privileged;
        });
        config["linux"].get("seccomp").is_some()
    };
    use pb::security_profile::ProfileType::{RuntimeDefault, Unconfined};
    assert!(with(RuntimeDefault, false) && !with(RuntimeDefault, true) && !with(Unconfined, false));
}

/// Also read by the runtime's tests, which look what comes of it.
#[test]
fn the_default_profile() {
    let config = config_with(|config, _, _| {
        let kind = pb::security_profile::ProfileType::RuntimeDefault as i32;
        security(config).seccomp = Some(pb::SecurityProfile { profile_type: kind, localhost_ref: String::new() });
    });
    insta::assert_json_snapshot!(config["linux"]["seccomp"]);
}

proptest! {
    #[test]
    fn every_bundle_is_an_oci_configuration(
        tty: bool, readonly: bool, privileged: bool, pid in 0..3_i32, quota in 0..1_000_000_i64, words in ".{0,20}",
    ) {
        let built = build_with(|config, _, _| {
            (config.tty, config.args) = (tty, vec![words]);
            security(config).readonly_rootfs = readonly;
            security(config).privileged = privileged;
            security(config).namespace_options.as_mut().unwrap().pid = pid;
            limits(config).cpu_quota = quota;
        });
        let spec: Result<oci_spec::runtime::Spec, _> = serde_json::from_value(built.unwrap().config);
        prop_assert!(spec.is_ok(), "{spec:?}");
    }
}
