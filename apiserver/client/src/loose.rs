//! Objects of kinds whose fields are read by name, because few are read of many.
//!
//! A volume has some two dozen kinds of sources with a hundred fields, of which nobody here reads more than ten: a type for each would
//! be machine code for all of them. So metadata has its type and everything else stays as it came.
//!
//! They are followed, read and written as any other object:
//!
//! ```no_run
//! # async fn show(client: kube::Client) {
//! use skiff_client::loose::StorageClass;
//! let classes = skiff_client::Caches::new(client).all::<StorageClass>();
//! classes.synced().await;
//! let late = |class: &StorageClass| class.text("/volumeBindingMode") == "WaitForFirstConsumer";
//! println!("{} classes wait", classes.all().iter().filter(|class| late(class)).count());
//! # }
//! ```

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope as Cluster, NamespaceResourceScope as Namespaced};
use kube::Resource;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// What a kind is called: group, version, kind and plural.
pub trait Named: Send + Sync + 'static {
    /// Whether its objects are in namespaces.
    type Scope;
    /// Group, version, kind and plural.
    const NAMES: [&'static str; 4];
}

macro_rules! kinds {
    ($($marker:ident $kind:ident $scope:ident $names:expr, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub enum $marker {}
            impl Named for $marker {
                type Scope = $scope;
                const NAMES: [&'static str; 4] = $names;
            }
            #[doc = $doc]
            pub type $kind = Loose<$marker>;
        )*
    };
}

const STORAGE: &str = "storage.k8s.io";
const DEVICES: &str = "resource.k8s.io";
const AUTOSCALING: &str = "autoscaling";

kinds! {
    OfVolumes PersistentVolume Cluster ["", "v1", "PersistentVolume", "persistentvolumes"], "A volume of the cluster.";
    OfClasses StorageClass Cluster [STORAGE, "v1", "StorageClass", "storageclasses"], "How volumes of a kind are made.";
    OfAttributes VolumeAttributesClass Cluster [STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses"],
        "Attributes of volumes that can be changed.";
    OfDrivers CSIDriver Cluster [STORAGE, "v1", "CSIDriver", "csidrivers"], "What a driver of volumes can do.";
    OfNodes CSINode Cluster [STORAGE, "v1", "CSINode", "csinodes"], "Which drivers of volumes a node has.";
    OfAttachments VolumeAttachment Cluster [STORAGE, "v1", "VolumeAttachment", "volumeattachments"],
        "That a volume is to be attached to a node, and whether it is.";
    OfDeviceClaims ResourceClaim Namespaced [DEVICES, "v1", "ResourceClaim", "resourceclaims"], "Devices that pods use.";
    OfDeviceTemplates ResourceClaimTemplate Namespaced
        [DEVICES, "v1", "ResourceClaimTemplate", "resourceclaimtemplates"], "How claims of devices are made for pods.";
    OfDeviceClasses DeviceClass Cluster [DEVICES, "v1", "DeviceClass", "deviceclasses"], "Devices that an administrator offers.";
    OfSlices ResourceSlice Cluster [DEVICES, "v1", "ResourceSlice", "resourceslices"], "Devices that a driver has.";
    OfAutoscalers HorizontalPodAutoscaler Namespaced
        [AUTOSCALING, "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"],
        "How many replicas something has by what is measured.";
}

/// An object: typed metadata, and all other fields as they came.
pub struct Loose<T> {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// The object without its metadata.
    pub fields: Value,
    kind: PhantomData<fn() -> T>,
}

impl<T> Loose<T> {
    /// An object of this kind with these fields; `fields` holds no metadata.
    #[must_use]
    pub fn new(metadata: ObjectMeta, fields: Value) -> Self {
        Self { metadata, fields, kind: PhantomData }
    }

    /// The value at a JSON pointer, as text; empty if there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.fields.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The value of an annotation, if there is one.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

impl<T> Clone for Loose<T> {
    fn clone(&self) -> Self {
        Self::new(self.metadata.clone(), self.fields.clone())
    }
}

impl<T: Named> fmt::Debug for Loose<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", T::NAMES[2], self.name())
    }
}

impl<T: Named> Resource for Loose<T> {
    type DynamicType = ();
    type Scope = T::Scope;

    fn kind(_: &()) -> Cow<'_, str> {
        T::NAMES[2].into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        T::NAMES[0].into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        T::NAMES[1].into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        T::NAMES[3].into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de, T> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut fields = Value::deserialize(from)?;
        let metadata = fields.get_mut("metadata").map(Value::take).filter(|it| !it.is_null());
        if let Some(object) = fields.as_object_mut() {
            object.remove("metadata");
        }
        let metadata = metadata.map(serde_json::from_value).transpose().map_err(D::Error::custom)?;
        Ok(Self::new(metadata.unwrap_or_default(), fields))
    }
}

impl<T: Named> Serialize for Loose<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut whole = self.fields.clone();
        let [group, version, kind, _] = T::NAMES;
        let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        whole["apiVersion"] = api.into();
        whole["kind"] = kind.into();
        whole["metadata"] = serde_json::to_value(&self.metadata).map_err(serde::ser::Error::custom)?;
        whole.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_comes_goes_out_again() {
        let text = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p",
            "metadata": {"name": "a", "annotations": {"k": "v"}}, "parameters": {"x": "y"}});
        let class: StorageClass = serde_json::from_value(text.clone()).unwrap();
        assert_eq!((class.name(), class.annotation("k"), class.text("/parameters/x")), ("a", Some("v"), "y"));
        assert_eq!(serde_json::to_value(&class).unwrap(), text);
        assert_eq!(StorageClass::url_path(&(), None), "/apis/storage.k8s.io/v1/storageclasses");
        assert_eq!(PersistentVolume::url_path(&(), None), "/api/v1/persistentvolumes");
    }
}
