//! `runtime.v1.ImageService`.

use super::{Answer, to_the_end, unimplemented};
use crate::admit::only_handler;
use crate::error::CriError;
use crate::sandbox::blocking;
use crate::state::Service;
use crate::stats::filesystem;
use skiff_image::Image;
use skiff_proto::cri::v1 as pb;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

/// Serves images.
pub(crate) struct ImageServer(pub(crate) Arc<Service>);

#[tonic::async_trait]
impl pb::image_service_server::ImageService for ImageServer {
    type StreamImagesStream = Empty<Result<pb::StreamImagesResponse, Status>>;

    async fn list_images(&self, request: Request<pb::ListImagesRequest>) -> Answer<pb::ListImagesResponse> {
        let wanted = request.into_inner().filter.and_then(|filter| filter.image).map(|image| image.image);
        let service = self.0.clone();
        let images = blocking(move || match wanted.filter(|name| !name.is_empty()) {
            Some(name) => Ok(service.images.resolve(&name)?.into_iter().collect()),
            None => Ok(service.images.list()?),
        });
        let images: Vec<Image> = images.await?;
        Ok(Response::new(pb::ListImagesResponse { images: images.into_iter().map(to_image).collect() }))
    }

    async fn stream_images(&self, _: Request<pb::StreamImagesRequest>) -> Answer<Self::StreamImagesStream> {
        unimplemented("StreamImages (use ListImages)")
    }

    async fn image_status(&self, request: Request<pb::ImageStatusRequest>) -> Answer<pb::ImageStatusResponse> {
        let pb::ImageStatusRequest { image, verbose } = request.into_inner();
        let (name, service) = (name_of(image)?, self.0.clone());
        let image = blocking(move || Ok(service.images.resolve(&name)?)).await?;
        let info = image.as_ref().filter(|_| verbose).map(image_info).unwrap_or_default();
        Ok(Response::new(pb::ImageStatusResponse { image: image.map(to_image), info }))
    }

    async fn pull_image(&self, request: Request<pb::PullImageRequest>) -> Answer<pb::PullImageResponse> {
        let name = name_of(request.into_inner().image)?;
        let service = self.0.clone();
        let image = to_the_end(blocking(move || Ok(service.images.pull(&name)?))).await?;
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
        let usage = blocking(move || Ok(service.images.usage()?)).await?;
        let usage = filesystem(&usage);
        // Layers and writable snapshots are on the same file system; the kubelet asks for both.
        let (image_filesystems, container_filesystems) = (vec![usage.clone()], vec![usage]);
        Ok(Response::new(pb::ImageFsInfoResponse { image_filesystems, container_filesystems }))
    }
}

fn name_of(image: Option<pb::ImageSpec>) -> Result<String, CriError> {
    let image = image.filter(|image| !image.image.is_empty());
    let image = image.ok_or_else(|| CriError::Invalid("image: its name is empty".to_owned()))?;
    only_handler(&image.runtime_handler)?;
    Ok(image.image)
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
        pinned: false,
    }
}
