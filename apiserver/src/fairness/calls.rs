//! Seats over gRPC: what is asked for is known when the message has been read.

use super::{About, Fairness, Refused, Seat, WAIT_MAX};
use crate::auth::sender_or;
use crate::status::Status;
use http::Extensions;
use skiff_fairness::{Asked, Named, Query, Size};
use skiff_proto::api::v1::Address;
use std::sync::Arc;
use std::time::Duration;

/// A call: nobody counts for it how much it reads.
struct Call;

impl About for Call {
    fn wait_max(&self) -> Duration {
        WAIT_MAX
    }

    fn size(&self) -> Option<Size> {
        None
    }
}

/// Gives a call its seats, when it is its turn; the router has put who decides into its extensions.
pub(crate) async fn enter_call(extensions: &Extensions, verb: &str, address: &Address) -> Result<Option<Seat>, Status> {
    let Some(fairness) = extensions.get::<Arc<Fairness>>() else { return Ok(None) };
    let named = Named {
        group: &address.group,
        version: &address.version,
        resource: &address.resource,
        part: &address.subresource,
        namespace: &address.namespace,
        name: &address.name,
    };
    let asked = Asked { verb, path: "", named: Some(named) };
    let entered = fairness.enter(&sender_or(extensions), &asked, &Query::default(), &Call).await;
    entered.map(|entered| entered.seat).map_err(|Refused { seconds, .. }| Status::too_many_requests(seconds))
}
