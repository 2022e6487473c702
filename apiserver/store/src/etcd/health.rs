//! gRPC's health protocol, which load balancers and probes speak. As in etcd the one service it knows is the whole server: "".

use super::Service;
use super::line::Followed;
use crate::Revision;
use crate::keys::KeyRange;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use skiff_proto::health::v1::health_check_response::ServingStatus;
use skiff_proto::health::v1::health_server::Health;
use skiff_proto::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tonic::{Request, Response, Status};

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Service {
    fn serving(&self) -> ServingStatus {
        match self.store.core().check() {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        }
    }

    /// Returns when the store fails or is closed.
    async fn ended(self) {
        // Watches what is never written from a revision that never comes: all it can be told is the end.
        let nothing = KeyRange::single(bytes::Bytes::new());
        while Followed::from(self.store.core(), nothing.clone(), Revision::MAX).next().await.is_ok() {}
    }
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match request.into_inner().service.as_str() {
            "" => Ok(Response::new(answer(self.serving()))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let now = |status| stream::iter([Ok(answer(status))]);
        if !request.into_inner().service.is_empty() {
            // The service may appear later, the protocol says; here it does not.
            return Ok(Response::new(now(ServingStatus::ServiceUnknown).chain(stream::pending()).boxed()));
        }
        let service = self.clone();
        let later = stream::once(async move {
            service.ended().await;
            Ok(answer(ServingStatus::NotServing))
        });
        Ok(Response::new(now(self.serving()).chain(later).chain(stream::pending()).boxed()))
    }
}
