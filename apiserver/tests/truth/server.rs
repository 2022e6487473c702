//! The two servers, and how a question is asked of either.

use axum::Router;
use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use skiff_client::Identity;
use tower::ServiceExt;

/// A request, as both servers get it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) content: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) body: String,
    /// Beside those of forms.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What a server said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) warnings: Vec<String>,
    /// The body; text that is no JSON as a string.
    pub(crate) value: Value,
}

/// Where questions go.
pub(crate) enum Server {
    Ours(Router),
    Real(kube::Client),
}

impl Server {
    /// The real server that `SKIFF_TRUTH` names (a kubeconfig); without it, none.
    pub(crate) async fn real() -> Option<Self> {
        let path = std::env::var_os("SKIFF_TRUTH")?;
        let file = kube::config::Kubeconfig::read_from(path).expect("SKIFF_TRUTH names a kubeconfig");
        let config =
            kube::Config::from_custom_kubeconfig(file, &Default::default()).await.expect("a usable kubeconfig");
        Some(Self::Real(kube::Client::try_from(config).expect("a client")))
    }

    /// Asks; `None` if the real server hangs up, as it does where its own code panics.
    pub(crate) async fn ask(&self, question: &Question) -> Option<Answer> {
        let mut request = Request::builder().method(&question.method).uri(&question.path);
        if !question.content.is_empty() {
            request = request.header(header::CONTENT_TYPE, question.content);
        }
        if !question.accept.is_empty() {
            request = request.header(header::ACCEPT, question.accept);
        }
        for (name, value) in &question.headers {
            request = request.header(*name, value);
        }
        let (head, bytes) = match self {
            Self::Ours(router) => {
                let mut request = request.body(Body::from(question.body.clone())).expect("a request");
                request.extensions_mut().insert(Identity::component("truth"));
                let (head, body) = router.clone().oneshot(request).await.expect("infallible").into_parts();
                (head, body.collect().await.expect("a body").to_bytes())
            }
            Self::Real(client) => {
                let request = request.body(question.body.clone().into_bytes().into()).expect("a request");
                let (head, body) = client.send(request).await.ok()?.into_parts();
                (head, body.collect().await.expect("a body").to_bytes())
            }
        };
        let warnings = head.headers.get_all(header::WARNING).iter();
        Some(Answer {
            code: head.status.as_u16(),
            warnings: warnings.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned()).collect(),
            value: value(&bytes),
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&Question { path: path.to_owned(), ..Question::default() })
            .await
            .expect("a path of discovery is answered")
    }
}

/// A document, several (the events of a watch) as a list, or text.
fn value(bytes: &[u8]) -> Value {
    let documents = serde_json::Deserializer::from_slice(bytes).into_iter().collect::<Result<Vec<Value>, _>>();
    match documents {
        Ok(mut documents) if documents.len() == 1 => documents.remove(0),
        Ok(documents) if !documents.is_empty() => documents.into(),
        _ => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}
