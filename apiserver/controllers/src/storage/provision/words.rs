//! From classes and claims to what a driver is asked, and from its answer to a volume. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::{Map, Value, json};
use skiff_client::loose::{PersistentVolume, StorageClass};
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::volume_capability::access_mode::Mode;
use skiff_csi::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use skiff_proto::quantity::Quantity;
use std::collections::HashMap;

/// By which parameters of a class are for whoever asks and not for the driver.
const OURS: &str = "csi.storage.k8s.io/";
const FS_TYPE: &str = "csi.storage.k8s.io/fstype";
/// Holds a volume until its driver has removed it.
pub(super) const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// The name of a claim's volume: the same for every try.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap_or_default())
}

/// How many bytes a claim asks for; 0: it does not say.
pub(super) fn bytes_of(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let asked = resources.and_then(|resources| resources.requests.as_ref()?.get("storage"));
    asked.and_then(|amount| Quantity::parse(&amount.0).ok()).map_or(0, |amount| amount.units())
}

/// Bytes as they are written: in the largest unit that is whole.
pub(super) fn quantity(bytes: i64) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let whole = units.iter().find(|(_, bits)| bytes > 0 && bytes % (1 << bits) == 0);
    whole.map_or(bytes.to_string(), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

fn parameters(class: &StorageClass) -> Vec<(String, String)> {
    let all = class.fields["parameters"].as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn fs_type(class: &StorageClass) -> String {
    parameters(class).into_iter().find(|(key, _)| key == FS_TYPE).map(|(_, value)| value).unwrap_or_default()
}

fn modes(claim: &PersistentVolumeClaim) -> Vec<String> {
    claim.spec.as_ref().and_then(|spec| spec.access_modes.clone()).unwrap_or_default()
}

fn is_block(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block")
}

fn options(class: &StorageClass) -> Vec<String> {
    let list = class.fields["mountOptions"].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn capabilities(claim: &PersistentVolumeClaim, class: &StorageClass) -> Vec<csi::VolumeCapability> {
    let one = |mode: &String| {
        let access = if is_block(claim) {
            AccessType::Block(BlockVolume {})
        } else {
            AccessType::Mount(MountVolume {
                fs_type: fs_type(class),
                mount_flags: options(class),
                ..Default::default()
            })
        };
        let mode = match mode.as_str() {
            "ReadWriteMany" => Mode::MultiNodeMultiWriter,
            "ReadOnlyMany" => Mode::MultiNodeReaderOnly,
            "ReadWriteOncePod" => Mode::SingleNodeSingleWriter,
            _ => Mode::SingleNodeMultiWriter,
        };
        csi::VolumeCapability { access_type: Some(access), access_mode: Some(AccessMode { mode: mode.into() }) }
    };
    modes(claim).iter().map(one).collect()
}

/// Where a volume may be.
pub(super) type Places = Vec<HashMap<String, String>>;

/// What the driver is asked for `claim`; `source`: the volume to copy.
///
/// # Errors
/// What the class asks for and is not implemented.
pub(super) fn request(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    places: &Places,
    source: Option<String>,
) -> Result<csi::CreateVolumeRequest, String> {
    let given = parameters(class);
    if let Some((key, _)) = given.iter().find(|(key, _)| key.starts_with(OURS) && key.ends_with("-secret-name")) {
        return Err(format!("parameters.{key}: secrets of classes are not implemented"));
    }
    let topology = |segments: &HashMap<String, String>| csi::Topology { segments: segments.clone() };
    let requirement = csi::TopologyRequirement {
        requisite: places.iter().map(topology).collect(),
        preferred: places.iter().map(topology).collect(),
    };
    let source = source.map(|volume_id| csi::VolumeContentSource {
        r#type: Some(csi::volume_content_source::Type::Volume(csi::volume_content_source::VolumeSource { volume_id })),
    });
    Ok(csi::CreateVolumeRequest {
        name: volume_name(claim),
        capacity_range: Some(csi::CapacityRange { required_bytes: bytes_of(claim), limit_bytes: 0 }),
        volume_capabilities: capabilities(claim, class),
        parameters: given.into_iter().filter(|(key, _)| !key.starts_with(OURS)).collect(),
        volume_content_source: source,
        accessibility_requirements: (!places.is_empty()).then_some(requirement),
        ..Default::default()
    })
}

/// The volume of `claim` that the driver has made.
pub(super) fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    driver: &str,
    made: &csi::Volume,
) -> PersistentVolume {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let bytes = if made.capacity_bytes > 0 { made.capacity_bytes } else { bytes_of(claim) };
    let mut source = json!({"driver": driver, "volumeHandle": made.volume_id});
    let fs_type = fs_type(class);
    if !fs_type.is_empty() && !is_block(claim) {
        source["fsType"] = fs_type.into();
    }
    if !made.volume_context.is_empty() {
        source["volumeAttributes"] = json!(made.volume_context);
    }
    let mut spec = json!({
        "capacity": {"storage": quantity(bytes)},
        "accessModes": modes(claim),
        "volumeMode": if is_block(claim) { "Block" } else { "Filesystem" },
        "persistentVolumeReclaimPolicy": class.fields["reclaimPolicy"].as_str().unwrap_or("Delete"),
        "storageClassName": class.name(),
        "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": text(&claim.metadata.namespace),
            "name": text(&claim.metadata.name), "uid": text(&claim.metadata.uid),
            "resourceVersion": text(&claim.metadata.resource_version)},
        "csi": source,
    });
    if let Some(options) = class.fields.get("mountOptions").filter(|options| options.is_array()) {
        spec["mountOptions"] = options.clone();
    }
    let terms: Vec<Value> = made.accessible_topology.iter().filter(|one| !one.segments.is_empty()).map(term).collect();
    if !terms.is_empty() {
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": terms}});
    }
    let metadata = ObjectMeta {
        name: Some(volume_name(claim)),
        annotations: Some([("pv.kubernetes.io/provisioned-by".to_owned(), driver.to_owned())].into()),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    PersistentVolume::new(metadata, json!({ "spec": spec }))
}

fn term(place: &csi::Topology) -> Value {
    let mut pairs: Vec<_> = place.segments.iter().collect();
    pairs.sort();
    let rules = pairs.into_iter().map(|(key, value)| json!({"key": key, "operator": "In", "values": [value]}));
    json!({"matchExpressions": rules.collect::<Vec<_>>()})
}

/// The part of a node's labels that the driver tells places apart by.
pub(super) fn place(keys: &[String], labels: &Map<String, Value>) -> HashMap<String, String> {
    keys.iter().filter_map(|key| Some((key.clone(), labels.get(key)?.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "c", "uid": "u"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}))
        .unwrap()
    }

    fn class(parameters: Value) -> StorageClass {
        serde_json::from_value(json!({"metadata": {"name": "fast"}, "provisioner": "d", "parameters": parameters,
            "mountOptions": ["noatime"], "reclaimPolicy": "Retain"}))
        .unwrap()
    }

    #[test]
    fn a_claim_becomes_a_request_and_a_volume() {
        let class = class(json!({"kind": "image", FS_TYPE: "ext4"}));
        let places = vec![HashMap::from([("zone".to_owned(), "a".to_owned())])];
        let asked = request(&claim(), &class, &places, None).unwrap();
        assert_eq!((asked.name.as_str(), asked.capacity_range.unwrap().required_bytes), ("pvc-u", 2 << 30));
        assert_eq!(asked.parameters, HashMap::from([("kind".to_owned(), "image".to_owned())]));
        assert_eq!(asked.accessibility_requirements.unwrap().requisite.len(), 1);
        let made = csi::Volume {
            volume_id: "h".to_owned(),
            accessible_topology: vec![csi::Topology { segments: places[0].clone() }],
            ..Default::default()
        };
        let volume = volume(&claim(), &class, "d", &made);
        let spec = &volume.fields["spec"];
        assert_eq!(spec["capacity"]["storage"], "2Gi");
        assert_eq!(spec["csi"], json!({"driver": "d", "volumeHandle": "h", "fsType": "ext4"}));
        assert_eq!(spec["persistentVolumeReclaimPolicy"], "Retain");
        let rule = json!({"key": "zone", "operator": "In", "values": ["a"]});
        assert_eq!(spec["nodeAffinity"]["required"]["nodeSelectorTerms"], json!([{"matchExpressions": [rule]}]));
        assert_eq!(spec["claimRef"]["uid"], "u");
    }

    #[test]
    fn what_is_not_implemented_is_refused() {
        let class = class(json!({"csi.storage.k8s.io/provisioner-secret-name": "s"}));
        assert!(request(&claim(), &class, &Vec::new(), None).unwrap_err().contains("provisioner-secret-name"));
    }

    #[test]
    fn sizes_in_whole_units() {
        for (bytes, text) in [(1 << 30, "1Gi"), (3 << 20, "3Mi"), (1500, "1500"), (0, "0"), (5 << 40, "5Ti")] {
            assert_eq!(quantity(bytes), text);
        }
    }
}
