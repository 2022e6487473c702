//! Clients that each act as a service account: what one loop may do is what its account may do, as with kube-controller-manager's
//! `--use-service-account-credentials`.
//!
//! Whoever runs the loops may ask for tokens of accounts in `kube-system`, and makes an account that is not there. A token is asked for
//! when the first request needs it, again when half of its life is over, and when the server does not know it any more.
//!
//! Kubernetes' roles let most controllers update what ours patch. A merge patch that is forbidden is made of a read and an update.

mod updates; // a patch by an update

use crate::connect::{ConnectError, nobody_of_kubeconfig};
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Where Kubernetes keeps the accounts of its controllers.
const NAMESPACE: &str = "kube-system";
/// How long a token is asked to hold; a server may give less, and then refuses it earlier.
const LIFE: Duration = Duration::from_secs(3600);

/// Makes clients for accounts.
#[derive(Clone)]
pub struct Accounts {
    /// May ask for tokens.
    manager: Client,
    /// Knows the server, and has no identity of its own.
    nobody: Client,
}

impl Accounts {
    /// Accounts of the server that the kubeconfig at `path` names; its user, who is behind `manager`, asks for their tokens.
    ///
    /// # Errors
    /// The kubeconfig cannot be read, or no client can be made of it.
    pub async fn of_kubeconfig(path: &Path, manager: Client) -> Result<Self, ConnectError> {
        Ok(Self { manager, nobody: nobody_of_kubeconfig(path).await? })
    }

    /// A client that acts as the account `name` of `kube-system`.
    #[must_use]
    pub fn client(&self, name: &'static str) -> Client {
        let account = Arc::new(Account { name, accounts: self.clone(), token: Mutex::new(None) });
        Client::new(tower::service_fn(move |request| send(account.clone(), request)), "default")
    }
}

/// A token that the server has given.
struct Token {
    /// As it goes into requests.
    header: HeaderValue,
    /// When another is asked for.
    renewed_at: Instant,
}

/// What the requests of one client share.
struct Account {
    /// Its name in [`NAMESPACE`].
    name: &'static str,
    /// Whose account it is, and where its requests go.
    accounts: Accounts,
    /// Held while it is asked for, so that it is asked for once.
    token: Mutex<Option<Token>>,
}

/// Sends a request as the account.
async fn send(account: Arc<Account>, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
    if updates::is_merge_patch(&request) {
        updates::patch(&account, request).await
    } else {
        account.forward(request).await
    }
}

impl Account {
    /// Sends a request as it is.
    async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let header = self.header().await?;
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        let response = self.accounts.nobody.send(request).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // The account was made anew, or the server signs with another key. Whoever asked will ask again.
            self.token.lock().await.take_if(|token| token.header == header);
        }
        Ok(response)
    }

    /// The header with a token that holds; whoever comes meanwhile waits for the one that is asked for.
    async fn header(&self) -> Result<HeaderValue, kube::Error> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|token| Instant::now() < token.renewed_at) {
            return Ok(token.header.clone());
        }
        let asked_at = Instant::now();
        let text = match self.ask().await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.make().await?;
                self.ask().await?
            }
            asked => asked?,
        };
        let mut header =
            HeaderValue::from_str(&format!("Bearer {text}")).map_err(|error| kube::Error::HttpError(error.into()))?;
        header.set_sensitive(true);
        *token = Some(Token { header: header.clone(), renewed_at: asked_at + LIFE / 2 });
        Ok(header)
    }

    /// A new token.
    async fn ask(&self) -> Result<String, kube::Error> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{}/token", self.name);
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": LIFE.as_secs()}});
        let answer = self.post(path, &asked).await?;
        Ok(answer["status"]["token"].as_str().unwrap_or_default().to_owned())
    }

    /// Makes the account.
    async fn make(&self) -> Result<(), kube::Error> {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": NAMESPACE, "name": self.name}});
        match self.post(format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), &account).await {
            // Another was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            made => made.map(drop),
        }
    }

    /// Makes an object as the manager.
    async fn post(&self, path: String, object: &Value) -> Result<Value, kube::Error> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request = Request::post(path).header(http::header::CONTENT_TYPE, "application/json").body(body);
        self.accounts.manager.request(request.map_err(kube::Error::HttpError)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::convert::Infallible;
    use std::sync::Mutex as Plain;

    type Said = Arc<Plain<Vec<String>>>;

    fn answer(status: u16, body: &Value) -> Result<Response<Body>, Infallible> {
        Ok(Response::builder().status(status).body(Body::from(serde_json::to_vec(body).unwrap())).unwrap())
    }

    fn status(code: u16) -> Value {
        json!({"kind": "Status", "status": "Failure", "message": "", "reason": "", "code": code})
    }

    /// A server whose account is not there at first and that numbers its tokens.
    fn manager(said: Said) -> Client {
        let serve = move |request: Request<Body>| {
            let said = said.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let mut said = said.lock().unwrap();
                said.push(path.rsplit('/').next().unwrap().to_owned());
                let is_there = said.iter().any(|word| word == "serviceaccounts");
                match (path.ends_with("/token"), is_there) {
                    (true, false) => answer(404, &status(404)),
                    (true, true) => answer(201, &json!({"status": {"token": format!("t{}", said.len())}})),
                    (false, _) => answer(201, &body),
                }
            }
        };
        Client::new(tower::service_fn(serve), "default")
    }

    /// A server that says whom it saw, and knows the first token only once.
    fn server(seen: Said) -> Client {
        let serve = move |request: Request<Body>| {
            let seen = seen.clone();
            async move {
                let mut seen = seen.lock().unwrap();
                seen.push(request.headers()[AUTHORIZATION].to_str().unwrap().to_owned());
                if seen.len() == 2 { answer(401, &status(401)) } else { answer(200, &json!({})) }
            }
        };
        Client::new(tower::service_fn(serve), "default")
    }

    /// A server on which others write now and then and nobody may patch.
    fn updated(asked: Said) -> Client {
        let serve = move |request: Request<Body>| {
            let asked = asked.clone();
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut asked = asked.lock().unwrap();
                asked.push(format!("{method} {path}"));
                match method.as_str() {
                    "PATCH" => answer(403, &status(403)),
                    "GET" => answer(200, &json!({"metadata": {"resourceVersion": "7"}, "status": {"a": 1, "b": 2}})),
                    _ if asked.len() == 3 => answer(409, &status(409)),
                    _ => answer(200, &serde_json::from_slice(&body).unwrap()),
                }
            }
        };
        Client::new(tower::service_fn(serve), "default")
    }

    #[tokio::test]
    async fn who_may_not_patch_updates() {
        let asked = Said::default();
        let accounts = Accounts { manager: manager(Said::default()), nobody: updated(asked.clone()) };
        let request =
            Request::patch("/api/v1/nodes/n/status").header(http::header::CONTENT_TYPE, "application/merge-patch+json");
        let request = request.body(br#"{"status": {"a": null, "c": 3}}"#.to_vec()).unwrap();
        let written: Value = accounts.client("node-controller").request(request).await.unwrap();
        assert_eq!(written, json!({"metadata": {"resourceVersion": "7"}, "status": {"b": 2, "c": 3}}));
        let (read, write) = ("GET /api/v1/nodes/n", "PUT /api/v1/nodes/n/status");
        assert_eq!(*asked.lock().unwrap(), ["PATCH /api/v1/nodes/n/status", read, write, read, write]);
    }

    #[tokio::test]
    async fn an_account_is_made_and_its_token_kept_until_it_is_refused() {
        let (said, seen) = (Said::default(), Said::default());
        let accounts = Accounts { manager: manager(said.clone()), nobody: server(seen.clone()) };
        let client = accounts.client("job-controller");
        let ask = || client.request::<Value>(Request::get("/api/v1/nodes").body(Vec::new()).unwrap());
        assert!(ask().await.is_ok());
        assert!(matches!(ask().await, Err(kube::Error::Api(status)) if status.code == 401));
        assert!(ask().await.is_ok());
        assert_eq!(*said.lock().unwrap(), ["token", "serviceaccounts", "token", "token"]);
        assert_eq!(*seen.lock().unwrap(), ["Bearer t3", "Bearer t3", "Bearer t4"]);
    }
}
