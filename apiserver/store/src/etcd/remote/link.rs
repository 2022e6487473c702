//! The connections to an etcd's endpoints, and its errors in our words.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_ok;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use skiff_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use skiff_proto::etcd::etcdserverpb::watch_client::WatchClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use crate::StoreError;
use crate::backend::BackendError;
use crate::etcd::ClientTls;

/// How etcd says that a lease is gone.
pub(crate) const LEASE_NOT_FOUND: &str = "requested lease not found";

/// How long to wait for a connection: kube-apiserver's dial timeout is 20 s, for data centres.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer. etcd itself gives up on a request after 7 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// As kube-apiserver: finds out that the other side is gone although nothing is sent.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Endpoints, one of them in use.
pub(crate) struct Link {
    channels: Vec<Channel>,
    current: AtomicUsize,
    /// How long to wait for an answer.
    patience: Duration,
}

impl Link {
    /// Connects when first used, and again when the connection is lost.
    pub(crate) fn new(endpoints: &[String], tls: Option<ClientTls>) -> Result<Self, StoreError> {
        let channels: Vec<_> =
            endpoints.iter().map(|endpoint| channel(endpoint, tls.as_ref())).collect::<Result<_, _>>()?;
        if channels.is_empty() {
            let what = "no endpoint was given".to_owned();
            return Err(StoreError::Connect { endpoints: String::new(), what });
        }
        Ok(Link { channels, current: AtomicUsize::new(0), patience: ANSWER_TIMEOUT })
    }

    fn channel(&self) -> Channel {
        self.channels[self.current.load(Ordering::Relaxed) % self.channels.len()].clone()
    }

    /// Asks all endpoints at once for their status and uses the first that answers from now on.
    pub(crate) async fn reach(&self) -> Result<(), BackendError> {
        let ask = |(index, channel): (usize, &Channel)| {
            let mut client = MaintenanceClient::new(channel.clone());
            async move { self.answered(client.status(pb::StatusRequest {})).await.map(|_| index) }.boxed()
        };
        let (first, _) = select_ok(self.channels.iter().enumerate().map(ask)).await?;
        self.current.store(first, Ordering::Relaxed);
        Ok(())
    }

    /// Uses the next endpoint from now on.
    pub(crate) fn move_on(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks for something that changes nothing, of each endpoint in turn until one answers.
    async fn read<T, F>(&self, ask: impl Fn(Channel) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = BackendError::Unavailable("no endpoint".to_owned());
        // Once more than there are endpoints: a connection that broke since the last request fails the first try.
        for _ in 0..=self.channels.len() {
            match self.answered(ask(self.channel())).await {
                Err(BackendError::Unavailable(why)) => last = BackendError::Unavailable(why),
                other => return other,
            }
            self.move_on();
        }
        Err(last)
    }

    pub(crate) async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, BackendError> {
        let ask = |channel| {
            let request = request.clone();
            async move { KvClient::new(channel).max_decoding_message_size(usize::MAX).range(request).await }
        };
        self.read(ask).await
    }

    pub(crate) async fn status(&self) -> Result<pb::StatusResponse, BackendError> {
        self.read(|channel| async move { MaintenanceClient::new(channel).status(pb::StatusRequest {}).await }).await
    }

    /// Sent once.
    pub(crate) async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, BackendError> {
        let mut client = KvClient::new(self.channel()).max_decoding_message_size(usize::MAX);
        let done = self.answered(client.txn(request)).await;
        self.noting_loss(done)
    }

    /// Sent once; a lease whose id got lost expires by itself.
    pub(crate) async fn grant(&self, ttl: i64) -> Result<i64, BackendError> {
        let request = pb::LeaseGrantRequest { ttl, id: 0 };
        let done = self.answered(LeaseClient::new(self.channel()).lease_grant(request)).await;
        Ok(self.noting_loss(done)?.id)
    }

    async fn answered<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, BackendError> {
        match tokio::time::timeout(self.patience, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(refusal(&status)),
            Err(_) => Err(BackendError::Unavailable(format!("no answer within {} ms", self.patience.as_millis()))),
        }
    }

    fn noting_loss<T>(&self, result: Result<T, BackendError>) -> Result<T, BackendError> {
        if let Err(BackendError::Unavailable(_)) = &result {
            self.move_on();
        }
        result
    }

    /// A watch stream that sends `requests`.
    pub(crate) async fn watch(
        &self,
        requests: impl futures::Stream<Item = pb::WatchRequest> + Send + 'static,
    ) -> Result<tonic::Streaming<pb::WatchResponse>, BackendError> {
        let mut request = Request::new(requests);
        // An etcd cut off from its cluster ends the watch instead of saying nothing for ever.
        request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let mut client = WatchClient::new(self.channel()).max_decoding_message_size(usize::MAX);
        self.answered(client.watch(request)).await
    }
}

/// etcd's errors by code and text, as its own clients tell them apart.
pub(crate) fn refusal(status: &Status) -> BackendError {
    let text = status.message();
    match status.code() {
        _ if text.contains("required revision has been compacted") => BackendError::Compacted { oldest: 0 },
        _ if text.contains("required revision is a future revision") => BackendError::Future { newest: 0 },
        _ if text.contains("database space exceeded") => BackendError::NoSpace,
        // The three are etcd's own limit, that of grpc-go, and that of tonic.
        _ if ["request is too large", "larger than max", "message length too large"]
            .iter()
            .any(|part| text.contains(part)) =>
        {
            BackendError::TooLarge
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted => {
            BackendError::Unavailable(with_sources(text.to_owned(), status))
        }
        code => BackendError::Internal(format!("{text} ({code:?})")),
    }
}

fn channel(url: &str, tls: Option<&ClientTls>) -> Result<Channel, StoreError> {
    let refuse = |what: String| StoreError::Connect { endpoints: url.to_owned(), what };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| refuse(chain(&error)))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    match tls {
        Some(tls) if url.starts_with("https://") => {
            let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
            if let Some((certificate, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(certificate, key));
            }
            Ok(endpoint.tls_config(config).map_err(|error| refuse(chain(&error)))?.connect_lazy())
        }
        None if url.starts_with("https://") => Err(refuse("https needs a CA certificate".to_owned())),
        _ => Ok(endpoint.connect_lazy()),
    }
}

/// tonic keeps what happened in the sources.
fn chain(error: &dyn std::error::Error) -> String {
    with_sources(error.to_string(), error)
}

fn with_sources(text: String, error: &dyn std::error::Error) -> String {
    let mut texts = vec![text];
    for source in std::iter::successors(error.source(), |error| error.source()) {
        let text = source.to_string();
        // Some repeat their source.
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_endpoint_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", silent.local_addr().expect("its address"));
        let link = Link { patience: Duration::from_millis(50), ..Link::new(&[url], None).expect("a link") };
        for error in [link.reach().await.err(), link.status().await.err(), link.grant(1).await.err()] {
            let text = error.expect("nobody answers").to_string();
            assert_eq!(text, "store unavailable: no answer within 50 ms");
        }
    }
}
