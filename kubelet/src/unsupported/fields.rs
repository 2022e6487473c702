//! Every field that a pod's spec can have in this version of Kubernetes, and what becomes of it.
//!
//! The test walks the schema from `PodSpec` through the fields in use and fails for a field that has no row here and for
//! a row without a field, so that a new version of Kubernetes brings a decision and not a silently ignored field. Each
//! refused field is given to the kubelet, which has to name it.

use super::fields;
use k8s_openapi::api::core::v1::Pod;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Struct and fields that something in Skiff reads: kubelet, scheduler or API server.
const USED: &[(&str, &str)] = &[
    (
        "PodSpec",
        "activeDeadlineSeconds affinity containers dnsConfig dnsPolicy enableServiceLinks ephemeralContainers hostAliases \
         hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets initContainers nodeName nodeSelector overhead priority \
         priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName schedulingGates \
         securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain \
         terminationGracePeriodSeconds tolerations volumes",
    ),
    (
        "Container",
        "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy \
         resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath \
         terminationMessagePolicy tty volumeDevices volumeMounts workingDir",
    ),
    (
        "EphemeralContainer",
        "args command env envFrom image imagePullPolicy name securityContext stdin stdinOnce targetContainerName \
         terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir",
    ),
    ("ContainerResizePolicy", "resourceName restartPolicy"),
    ("ContainerRestartRule", "action exitCodes"),
    ("ContainerRestartRuleOnExitCodes", "operator values"),
    ("PodDNSConfig", "nameservers options searches"),
    ("PodDNSConfigOption", "name value"),
    ("HostAlias", "hostnames ip"),
    ("PodReadinessGate", "conditionType"),
    ("PodSchedulingGate", "name"),
    ("ResourceRequirements", "claims limits requests"),
    ("ResourceClaim", "name request"),
    ("PodResourceClaim", "name resourceClaimName resourceClaimTemplateName"),
    (
        "PodSecurityContext",
        "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxOptions seccompProfile supplementalGroups \
         supplementalGroupsPolicy sysctls",
    ),
    (
        "SecurityContext",
        "allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem runAsGroup \
         runAsNonRoot runAsUser seLinuxOptions seccompProfile",
    ),
    ("Capabilities", "add drop"),
    ("SELinuxOptions", "level role type user"),
    ("AppArmorProfile", "localhostProfile type"),
    ("SeccompProfile", "localhostProfile type"),
    ("Sysctl", "name value"),
    ("Toleration", "effect key operator value"),
    ("Affinity", "nodeAffinity"),
    ("NodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"),
    ("NodeSelector", "nodeSelectorTerms"),
    ("NodeSelectorTerm", "matchExpressions matchFields"),
    ("NodeSelectorRequirement", "key operator values"),
    ("EnvVar", "name value valueFrom"),
    ("EnvVarSource", "configMapKeyRef fieldRef fileKeyRef resourceFieldRef secretKeyRef"),
    ("FileKeySelector", "key optional path volumeName"),
    ("LocalObjectReference", "name"),
    ("ConfigMapKeySelector", "key name optional"),
    ("SecretKeySelector", "key name optional"),
    ("ObjectFieldSelector", "fieldPath"),
    ("ResourceFieldSelector", "containerName divisor resource"),
    ("EnvFromSource", "configMapRef prefix secretRef"),
    ("ConfigMapEnvSource", "name optional"),
    ("SecretEnvSource", "name optional"),
    ("Lifecycle", "postStart preStop stopSignal"),
    ("LifecycleHandler", "exec httpGet sleep tcpSocket"),
    ("ExecAction", "command"),
    ("HTTPGetAction", "host httpHeaders path port scheme"),
    ("HTTPHeader", "name value"),
    ("SleepAction", "seconds"),
    ("TCPSocketAction", "host port"),
    ("GRPCAction", "port service"),
    (
        "Probe",
        "exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket \
         terminationGracePeriodSeconds timeoutSeconds",
    ),
    ("ContainerPort", "containerPort hostIP hostPort name protocol"),
    ("VolumeMount", "mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr"),
    (
        "Volume",
        "configMap csi downwardAPI emptyDir ephemeral hostPath image name persistentVolumeClaim projected secret",
    ),
    ("EmptyDirVolumeSource", "medium sizeLimit"),
    ("PersistentVolumeClaimVolumeSource", "claimName readOnly"),
    ("CSIVolumeSource", "driver fsType nodePublishSecretRef readOnly volumeAttributes"),
    ("ImageVolumeSource", "pullPolicy reference"),
    ("VolumeDevice", "devicePath name"),
    ("HostPathVolumeSource", "path type"),
    ("ConfigMapVolumeSource", "defaultMode items name optional"),
    ("SecretVolumeSource", "defaultMode items optional secretName"),
    ("KeyToPath", "key mode path"),
    ("DownwardAPIVolumeSource", "defaultMode items"),
    ("DownwardAPIVolumeFile", "fieldRef mode path resourceFieldRef"),
    ("ProjectedVolumeSource", "defaultMode sources"),
    ("VolumeProjection", "configMap downwardAPI secret serviceAccountToken"),
    ("ConfigMapProjection", "items name optional"),
    ("SecretProjection", "items name optional"),
    ("DownwardAPIProjection", "items"),
    ("ServiceAccountTokenProjection", "audience expirationSeconds path"),
];

/// Struct, field and why it rightly changes nothing here.
const NO_EFFECT: &[(&str, &str, &str)] = &[
    ("PodSpec", "automountServiceAccountToken", "the API server has mounted the token, or not, when the pod was made"),
    ("PodSpec", "preemptionPolicy", "the scheduler never preempts"),
    ("PodSpec", "topologySpreadConstraints", "one node is one domain: nothing to spread over"),
    (
        "PodSecurityContext",
        "seLinuxChangePolicy",
        "about mounting volumes with labels, which none of our kinds of volume can",
    ),
    ("EphemeralContainer", "lifecycle", NOT_EPHEMERAL),
    ("EphemeralContainer", "livenessProbe", NOT_EPHEMERAL),
    ("EphemeralContainer", "ports", NOT_EPHEMERAL),
    ("EphemeralContainer", "readinessProbe", NOT_EPHEMERAL),
    ("EphemeralContainer", "resizePolicy", NOT_EPHEMERAL),
    ("EphemeralContainer", "resources", NOT_EPHEMERAL),
    ("EphemeralContainer", "restartPolicy", NOT_EPHEMERAL),
    ("EphemeralContainer", "restartPolicyRules", NOT_EPHEMERAL),
    ("EphemeralContainer", "startupProbe", NOT_EPHEMERAL),
    ("Toleration", "tolerationSeconds", "no pod is evicted because of a taint: there is no other node"),
    ("Affinity", "podAffinity", "required terms are refused by the API server, with one node preferences are void"),
    ("Affinity", "podAntiAffinity", "as podAffinity"),
    ("NodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution", "with one node there is nothing to prefer"),
    ("ObjectFieldSelector", "apiVersion", "v1 is the only version of pods"),
    ("EphemeralVolumeSource", "volumeClaimTemplate", "a controller has made the claim by it"),
];

const NOT_EPHEMERAL: &str = "the API server lets no ephemeral container have it";

/// Struct, field and a value with which the kubelet has to refuse it.
const REFUSED: &[(&str, &str, &str)] = &[
    ("PodSpec", "os", r#"{"name": "windows"}"#),
    ("PodSpec", "schedulingGroup", "{}"),
    ("PodSecurityContext", "windowsOptions", "{}"),
    ("SecurityContext", "windowsOptions", "{}"),
    ("VolumeProjection", "clusterTrustBundle", "{}"),
    ("VolumeProjection", "podCertificate", "{}"),
];

/// Kinds of volumes that are refused.
const VOLUMES: &str = "awsElasticBlockStore azureDisk azureFile cephfs cinder fc flexVolume flocker \
    gcePersistentDisk gitRepo glusterfs iscsi nfs photonPersistentDisk portworxVolume quobyte \
    rbd scaleIO storageos vsphereVolume";

const CORE: &str = "io.k8s.api.core.v1.";

fn refused() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    REFUSED.iter().copied().chain(VOLUMES.split_whitespace().map(|kind| ("Volume", kind, "{}")))
}

fn used() -> impl Iterator<Item = (&'static str, &'static str)> {
    USED.iter().flat_map(|(of, names)| names.split_whitespace().map(move |name| (*of, name)))
}

/// The fields of every struct of core/v1, with their schemas.
fn schema() -> BTreeMap<String, Map<String, Value>> {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    generator.subschema_for::<Pod>();
    let definitions = generator.take_definitions(false);
    let structs = definitions.into_iter().filter_map(|(name, definition)| {
        let fields = definition.get("properties")?.as_object()?.clone();
        Some((name.strip_prefix(CORE)?.to_owned(), fields))
    });
    structs.collect()
}

/// The struct of core/v1 that a field's schema leads to, if any.
fn target(schema: &Value) -> Option<String> {
    match schema {
        Value::String(text) => text.split_once(CORE).map(|(_, name)| name.to_owned()),
        Value::Array(list) => list.iter().find_map(target),
        // Descriptions speak of structs, too.
        Value::Object(map) => map.iter().filter(|(key, _)| *key != "description").find_map(|(_, inner)| target(inner)),
        _ => None,
    }
}

#[test]
fn every_field_is_used_or_refused_or_without_effect() {
    let schema = schema();
    let used: BTreeSet<_> = used().collect();
    let others = NO_EFFECT.iter().map(|(of, name, _)| (*of, *name)).chain(refused().map(|(of, name, _)| (of, name)));
    let mut rows: BTreeSet<_> = used.iter().copied().chain(others).collect();
    assert_eq!(rows.len(), used.len() + NO_EFFECT.len() + refused().count(), "a field has two rows");
    let (mut open, mut reached) = (vec!["PodSpec".to_owned()], BTreeSet::new());
    let mut undecided = Vec::new();
    while let Some(of) = open.pop() {
        if !reached.insert(of.clone()) {
            continue;
        }
        let (of, names) = schema.get_key_value(&of).unwrap();
        for (name, inner) in names {
            let key = (of.as_str(), name.as_str());
            if used.contains(&key) {
                open.extend(target(inner).filter(|next| schema.contains_key(next)));
            }
            if !rows.remove(&key) {
                undecided.push(format!("{of}.{name}"));
            }
        }
    }
    assert_eq!(undecided, Vec::<String>::new(), "fields without a row here");
    assert_eq!(rows, BTreeSet::new(), "rows without a field that a pod can reach");
}

/// A pod that has `field` of `of` set, and little else.
fn pod_with(of: &str, field: &str, value: &Value) -> Pod {
    let holder = json!({ field: value });
    let container = match of {
        "Container" => holder.clone(),
        "SecurityContext" => json!({ "securityContext": holder }),
        "ResourceRequirements" => json!({ "resources": holder }),
        _ => json!({}),
    };
    let mut spec = match of {
        "PodSpec" => holder,
        "PodSecurityContext" => json!({ "securityContext": holder }),
        "Volume" => json!({ "volumes": [holder] }),
        "VolumeProjection" => json!({"volumes": [{"projected": {"sources": [holder]}}]}),
        _ => json!({}),
    };
    spec["containers"] = json!([container]);
    serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
}

#[test]
fn every_refused_field_is_named() {
    for (of, name, value) in refused() {
        let found = fields(&pod_with(of, name, &serde_json::from_str(value).unwrap()));
        assert!(found.len() == 1 && found[0].contains(name), "{of}.{name}: {found:?}");
    }
}
