//! One hook is asked, and its answer is read.

use super::super::Attributes;
use super::answer::{self, Answer, Sort, Wrong};
use super::failure::Failure;
use super::hook::{DryRuns, Hook};
use super::review;
use crate::remote::Limits;
use crate::request::Run;
use crate::status::Status;
use serde_json::{Value, json};
use skiff_schema::Resource;

/// How large an answer may be. A patch may say a whole object again, in base64: 4/3 of the 3 MiB that a request may have.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Asks `hook` about `new` and `old`, in the version of `wanted`; what it warns of and annotates is told to the request.
///
/// # Errors
/// It gave no answer, or one that does not count. A refusal is an answer.
pub(super) async fn ask(
    hook: &Hook,
    seen: &Attributes<'_>,
    wanted: &Resource,
    (new, old): (&Value, &Value),
    sort: Sort,
) -> Result<Answer, Failure> {
    if seen.request.run() == Run::Dry {
        match hook.dry_runs {
            DryRuns::Fine => {}
            DryRuns::Unsaid => return Err(Failure::call("Webhook SideEffects is nil")),
            DryRuns::Refused => {
                let why = format!("admission webhook {:?} does not support dry run", hook.name);
                return Err(Failure::Refused(Status::bad_request(why)));
            }
        }
    }
    let version = hook.review.ok_or_else(|| {
        let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        Failure::call(&format!("could not create admission objects: {why}"))
    })?;
    let client = hook.client.as_ref().map_err(|why| Failure::call(&format!("could not get REST client: {why}")))?;
    let uid = uuid::Uuid::new_v4().to_string();
    let request = review::request(&uid, seen, wanted, new, old);
    let asked =
        json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request});
    let query = format!("?timeout={}s", hook.timeout.as_secs());
    let limits = Limits { time: hook.timeout, answer_bytes: ANSWER_BYTES_MAX };
    let body = client.post(seen.stored, asked.to_string().into(), &query, limits).await;
    let body = body.map_err(|why| Failure::call(&format!("failed to call webhook: {why}")))?;
    let answer = answer::read(&body, version, &uid, sort).map_err(|wrong| match wrong {
        Wrong::Call(why) => Failure::call(&format!("failed to call webhook: {why}")),
        Wrong::Response(why) => Failure::call(&format!("received invalid webhook response: {why}")),
    })?;
    for (key, value) in &answer.annotations {
        seen.request.annotate(&format!("{}/{key}", hook.name), value.clone());
    }
    seen.request.warn(answer.warnings.iter().cloned());
    Ok(answer)
}
