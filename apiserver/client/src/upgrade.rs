//! Passes an upgraded HTTP/1.1 connection (WebSocket or SPDY/3.1) through, byte for byte.
//!
//! kubectl's exec, attach and port-forward travel kubectl → API server → kubelet → CRI streaming server. Only the last one
//! speaks the protocol inside; the others answer with the same 101 and splice the two connections together.

use http::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;

/// Whether `request` asks to leave HTTP (RFC 9110, section 7.8).
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().get(header::CONNECTION).is_some_and(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")))
    })
}

/// Joins the client's upgraded connection with the one that `backend` answered 101 on, and returns the answer to give
/// the client. The bytes flow in a task of their own until both sides are closed.
///
/// An answer other than 101 is left for the caller to pass on as it is: `Err(backend)`.
///
/// # Errors
/// The backend did not switch protocols.
pub fn splice_upgrade<A, B, C: Default>(
    client: &mut Request<A>,
    mut backend: Response<B>,
) -> Result<Response<C>, Response<B>> {
    if backend.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(backend);
    }
    let towards_client = hyper::upgrade::on(&mut *client);
    let towards_backend = hyper::upgrade::on(&mut backend);
    // What the door has put into the request lasts as long as the connection.
    let held = client.extensions().clone();
    tokio::spawn(async move {
        let _held = held;
        match tokio::try_join!(towards_client, towards_backend) {
            Ok((near, far)) => {
                let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
                if let Err(error) = tokio::io::copy_bidirectional(&mut near, &mut far).await {
                    tracing::debug!(%error, "upgraded connection ended");
                }
            }
            Err(error) => tracing::debug!(%error, "upgrade not completed"),
        }
    });
    let mut answer = Response::new(C::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = backend.headers().clone();
    Ok(answer)
}
