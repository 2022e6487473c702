//! A client in whose place another comes while it is used: credentials end, and whoever holds the client need not know.

use kube::client::Body;
use std::sync::{Arc, PoisonError, RwLock};
use tower::service_fn;

/// Puts another client in the place of the one that others hold; clones are the same.
#[derive(Clone)]
pub struct Replaceable(Arc<RwLock<kube::Client>>);

impl Replaceable {
    /// What stands for `client` until it is replaced, and who replaces it.
    #[must_use]
    pub fn of(client: kube::Client) -> (kube::Client, Self) {
        let held = Self(Arc::new(RwLock::new(client)));
        let asked = held.clone();
        let service = service_fn(move |request: http::Request<Body>| {
            let client = asked.now();
            async move { client.send(request).await }
        });
        (kube::Client::new(service, "default"), held)
    }

    /// From now on requests go by `client`; those that are under way go on as they began.
    pub fn replace(&self, client: kube::Client) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn now(&self) -> kube::Client {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn answering(status: u16) -> kube::Client {
        let answer = move |_: http::Request<Body>| async move {
            Ok::<_, Infallible>(http::Response::builder().status(status).body(Body::empty()).unwrap())
        };
        kube::Client::new(service_fn(answer), "default")
    }

    #[tokio::test]
    async fn the_next_request_goes_by_the_next_client() {
        let (client, held) = Replaceable::of(answering(201));
        let ask = || async { client.send(http::Request::new(Body::empty())).await.unwrap().status().as_u16() };
        assert_eq!(ask().await, 201);
        held.replace(answering(202));
        assert_eq!(ask().await, 202);
    }
}
