//! A server that is sent reviews: whose a token is, who may do what. A kubeconfig says where it is and whose certificates are believed.

use http::{Request, header};
use kube::Client;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How often it is asked if it does not answer, and how long apart; the pause grows by half.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Names the server by nothing but the kubeconfig: its whole address, path included, is the server's.
const ITSELF: &str = "webhook.invalid";

/// One of them.
pub(crate) struct Reviewer {
    client: Client,
    /// How long one answer may take.
    timeout: Duration,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Reviewer {
    /// That of a kubeconfig.
    pub(crate) async fn new(kubeconfig: &Path, timeout: Duration) -> Result<Self, skiff_client::ConnectError> {
        Ok(Self { client: skiff_client::from_kubeconfig(kubeconfig).await?, timeout })
    }

    /// The status of its review of `spec`; `says` is the field that every answer has, `allowed`.
    ///
    /// # Errors
    /// It does not answer in time, or with something else.
    pub(crate) async fn ask(&self, version: &str, kind: &str, spec: &Value, says: &str) -> Result<Value, String> {
        let review = json!({"apiVersion": version, "kind": kind, "spec": spec}).to_string();
        let mut pause = PAUSE;
        for tried in 1.. {
            let why = match self.ask_once(&review, says).await {
                Ok(status) => return Ok(status),
                Err((why, is_final)) if is_final || tried == TRIES => return Err(why),
                Err((why, _)) => why,
            };
            tracing::debug!(kind, why, "asking a webhook again");
            tokio::time::sleep(pause).await;
            pause = pause * 3 / 2;
        }
        Err("was never asked".to_owned())
    }

    /// The status of its review; or why there is none, and whether asking again is of no use.
    async fn ask_once(&self, review: &str, says: &str) -> Result<Value, (String, bool)> {
        let request = Request::post(ITSELF).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(review.as_bytes().to_vec()).map_err(|error| (error.to_string(), true))?;
        let answer = tokio::time::timeout(self.timeout, self.client.request::<Value>(request)).await;
        match answer {
            Ok(Ok(mut answer)) if answer["status"][says].is_boolean() => Ok(answer["status"].take()),
            Ok(Ok(_)) => Err((format!("its answer has no status.{says}"), true)),
            Ok(Err(kube::Error::Api(status))) => Err((status.message.clone(), status.code < 500 && status.code != 429)),
            Ok(Err(error @ kube::Error::SerdeError(_))) => Err((skiff_client::sentence(&error), true)),
            Ok(Err(error)) => Err((skiff_client::sentence(&error), false)),
            Err(_) => Err((format!("no answer within {} ms", self.timeout.as_millis()), true)),
        }
    }
}
