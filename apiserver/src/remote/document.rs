//! Documents that servers of others publish, read over HTTPS: bounded in time and in bytes.

use super::connect::Connector;
use super::trust::Trust;
use super::{IDLE, why};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest: a set of some hundred keys.
const BYTES_MAX: usize = 1 << 20;

/// Reads documents from servers that one bundle of authorities vouches for.
#[derive(Debug)]
pub(crate) struct Reader(Client<Connector, Full<Bytes>>);

impl Reader {
    /// Believes the authorities of `bundle` (PEM); of none, those of this machine.
    ///
    /// # Errors
    /// It cannot be read: a sentence.
    pub(crate) fn new(bundle: &str) -> Result<Self, String> {
        let connector = Connector::new(Trust::of(bundle.as_bytes()).client(None)?, None);
        let builder = &mut Client::builder(TokioExecutor::new());
        Ok(Self(builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector)))
    }

    /// The JSON at `url`.
    ///
    /// # Errors
    /// Whatever keeps it from coming in time and in size: a sentence.
    pub(crate) async fn get(&self, url: &str) -> Result<Value, String> {
        let failed = |why: String| format!("Get {url:?}: {why}");
        let body = timeout(TIMEOUT, self.bytes(url)).await;
        let body = body.map_err(|_| failed("context deadline exceeded".to_owned()))?.map_err(failed)?;
        serde_json::from_slice(&body).map_err(|error| failed(format!("the answer is no JSON: {error}")))
    }

    async fn bytes(&self, url: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err("it is no https URL".to_owned());
        }
        let request = Request::get(uri).header(header::ACCEPT, "application/json").body(Full::default());
        let answer = self.0.request(request.map_err(|error| error.to_string())?).await.map_err(|error| why(&error))?;
        let code = answer.status();
        // A redirect is not followed: nothing says that we believe whoever it names.
        if !code.is_success() {
            return Err(format!("the answer is {code}"));
        }
        match Limited::new(answer.into_body(), BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(format!("the answer is larger than {BYTES_MAX} bytes")),
            Err(error) => Err(format!("read the answer: {error}")),
        }
    }
}
