//! What is scaled, and how its scale is written.

use super::ask::Asker;
use crate::context::is_status;
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::Value;
use skiff_client::sentence;

/// How often a scale is written that somebody else writes too.
const TRIES: usize = 5;

/// Something that has a scale.
pub(crate) struct Target {
    api: Api<DynamicObject>,
    name: String,
    scale: Scale,
}

impl Target {
    /// What a `CrossVersionObjectReference` names.
    pub(crate) async fn find(asker: &Asker, namespace: &str, reference: &Value) -> Result<Self, String> {
        let api = asker.target(namespace, reference).await?;
        let name = reference["name"].as_str().unwrap_or_default().to_owned();
        let scale = api.get_scale(&name).await.map_err(|error| sentence(&error).to_string())?;
        Ok(Self { api, name, scale })
    }

    /// How many its specification asks for.
    pub(crate) fn replicas(&self) -> i32 {
        self.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default()
    }

    /// How many its status counts.
    pub(crate) fn present(&self) -> i32 {
        self.scale.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// Which pods are its own.
    pub(crate) fn selector(&self) -> &str {
        self.scale.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default()
    }

    /// Writes a number of replicas; somebody else may have written the object meanwhile.
    pub(crate) async fn write(mut self, replicas: i32) -> Result<(), kube::Error> {
        for tried in 1.. {
            self.scale.spec.get_or_insert_default().replicas = Some(replicas);
            match self.api.replace_scale(&self.name, &PostParams::default(), &self.scale).await {
                Err(error) if is_status(&error, 409) && tried < TRIES => {
                    self.scale = self.api.get_scale(&self.name).await?;
                }
                written => return written.map(drop),
            }
        }
        Ok(())
    }
}
