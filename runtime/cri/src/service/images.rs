//! `runtime.v1.ImageService`.

use super::{Answer, to_the_end};
use crate::admit::only_handler;
use crate::error::CriError;
use crate::sandbox::blocking;
use crate::state::Service;
use crate::stats::filesystem;
use skiff_image::{Credentials, Image, Reference, Usage};
use skiff_proto::cri::v1 as pb;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_stream::Iter;
use tonic::{Request, Response, Status};

/// A message stays far below what a client takes, however many names its images have.
const IMAGES_IN_A_MESSAGE: usize = 100;

/// Serves images.
pub(crate) struct ImageServer(pub(crate) Arc<Service>);

#[tonic::async_trait]
impl pb::image_service_server::ImageService for ImageServer {
    type StreamImagesStream = Iter<std::vec::IntoIter<Result<pb::StreamImagesResponse, Status>>>;

    async fn list_images(&self, request: Request<pb::ListImagesRequest>) -> Answer<pb::ListImagesResponse> {
        let images = listed(&self.0, request.into_inner().filter).await?;
        Ok(Response::new(pb::ListImagesResponse { images }))
    }

    async fn stream_images(&self, request: Request<pb::StreamImagesRequest>) -> Answer<Self::StreamImagesStream> {
        let images = listed(&self.0, request.into_inner().filter).await?;
        let answer = |images: &[pb::Image]| Ok(pb::StreamImagesResponse { images: images.to_vec() });
        let answers: Vec<_> = images.chunks(IMAGES_IN_A_MESSAGE).map(answer).collect();
        Ok(Response::new(tokio_stream::iter(answers)))
    }

    async fn image_status(&self, request: Request<pb::ImageStatusRequest>) -> Answer<pb::ImageStatusResponse> {
        let pb::ImageStatusRequest { image, verbose } = request.into_inner();
        let (name, service) = (name_of(image)?, self.0.clone());
        let image = blocking(move || Ok(service.images.resolve(&name)?)).await?;
        let info = image.as_ref().filter(|_| verbose).map(image_info).unwrap_or_default();
        Ok(Response::new(pb::ImageStatusResponse { image: image.map(to_image), info }))
    }

    async fn pull_image(&self, request: Request<pb::PullImageRequest>) -> Answer<pb::PullImageResponse> {
        let pb::PullImageRequest { image, auth, sandbox_config: _ } = request.into_inner();
        let name = name_of(image)?;
        let credentials = auth.map(|auth| credentials(&name, auth)).transpose()?.flatten();
        let service = self.0.clone();
        let pull = async move { service.images.pull(&name, credentials).await.map_err(CriError::from) };
        let image = to_the_end(pull).await?;
        Ok(Response::new(pb::PullImageResponse { image_ref: image.id }))
    }

    async fn remove_image(&self, request: Request<pb::RemoveImageRequest>) -> Answer<pb::RemoveImageResponse> {
        let name = name_of(request.into_inner().image)?;
        let service = self.0.clone();
        to_the_end(blocking(move || {
            // Containers keep what they stand on: their snapshots hold the layers, whatever the list of images says.
            Ok(service.images.remove(&name)?)
        }))
        .await?;
        Ok(Response::new(pb::RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<pb::ImageFsInfoRequest>) -> Answer<pb::ImageFsInfoResponse> {
        let service = self.0.clone();
        let (images, containers) = blocking(move || {
            let images = service.images.usage()?;
            let mut containers = Usage { at: images.at.clone(), bytes_used: 0, inodes_used: 0 };
            for id in service.images.snapshots()? {
                if let Some(written) = service.images.written(&id)? {
                    containers.bytes_used += written.bytes_used;
                    containers.inodes_used += written.inodes_used;
                }
            }
            Ok((images, containers))
        })
        .await?;
        // Layers and writable snapshots are on the same file system; the kubelet asks for both.
        let (image_filesystems, container_filesystems) = (vec![filesystem(&images)], vec![filesystem(&containers)]);
        Ok(Response::new(pb::ImageFsInfoResponse { image_filesystems, container_filesystems }))
    }
}

/// The image of this name, or all.
async fn listed(service: &Arc<Service>, filter: Option<pb::ImageFilter>) -> Result<Vec<pb::Image>, CriError> {
    let wanted = filter.and_then(|filter| filter.image).map(|image| image.image);
    let service = Arc::clone(service);
    let images = blocking(move || match wanted.filter(|name| !name.is_empty()) {
        Some(name) => Ok(service.images.resolve(&name)?.into_iter().collect::<Vec<_>>()),
        None => Ok(service.images.list()?),
    });
    Ok(images.await?.into_iter().map(to_image).collect())
}

fn name_of(image: Option<pb::ImageSpec>) -> Result<String, CriError> {
    let image = image.filter(|image| !image.image.is_empty());
    let image = image.ok_or_else(|| CriError::Invalid("image: its name is empty".to_owned()))?;
    only_handler(&image.runtime_handler)?;
    Ok(image.image)
}

/// What the caller says of who it is, as containerd reads it: nothing, if it is for another registry than the image's.
fn credentials(image: &str, auth: pb::AuthConfig) -> Result<Option<Credentials>, CriError> {
    let pb::AuthConfig { username, password, auth, server_address, identity_token, registry_token } = auth;
    if !server_address.is_empty() {
        let image: Reference = image.parse()?;
        let of = server_address.split_once("://").map_or(server_address.as_str(), |(_, rest)| rest);
        let of = of.split('/').next().unwrap_or_default();
        let is_hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        if of != image.host() && !(is_hub(of) && is_hub(image.host())) {
            return Ok(None);
        }
    }
    Ok(if !username.is_empty() {
        Some(Credentials::Password { user: username, password })
    } else if !identity_token.is_empty() {
        Some(Credentials::Refresh(identity_token))
    } else if !auth.is_empty() {
        Some(Credentials::of_auth(&auth).map_err(|reason| CriError::Invalid(format!("auth: {reason}")))?)
    } else {
        (!registry_token.is_empty()).then_some(Credentials::Token(registry_token))
    })
}

/// What a verbose status adds: the configuration, in JSON, under the names that crictl's users know.
fn image_info(image: &Image) -> HashMap<String, String> {
    let info = serde_json::json!({ "imageSpec": image.config });
    HashMap::from([("info".to_owned(), info.to_string())])
}

/// The kubelet reads uid and username to enforce runAsNonRoot, one or the other.
fn to_image(image: Image) -> pb::Image {
    let user = image.config.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default().to_owned();
    let uid: Option<i64> = user.parse().ok();
    pb::Image {
        id: image.id,
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        size: image.size_bytes,
        username: if uid.is_some() { String::new() } else { user },
        uid: uid.map(|value| pb::Int64Value { value }),
        spec: None,
        pinned: image.pinned,
    }
}
