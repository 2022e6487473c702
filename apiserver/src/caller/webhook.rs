//! Tokens that another server vouches for (`--authentication-token-webhook-config-file`): it is sent a TokenReview.

use super::Known;
use crate::remote::review::Reviewer;
use serde_json::{Value, json};
use skiff_authn::User;
use skiff_authn::seen::fingerprint;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many answers are kept.
const KEPT_MAX: usize = 4096;

/// That server.
#[derive(Debug)]
pub(super) struct Webhook {
    reviewer: Reviewer,
    /// Version of the TokenReview, with its group.
    version: String,
    /// How long an answer holds.
    keep: Duration,
    kept: Mutex<HashMap<(String, [u8; 32]), Answer>>,
}

/// When it was given, and whom it names, for which audiences.
type Answer = (Instant, Option<(User, Vec<String>)>);

impl Webhook {
    pub(super) fn new(reviewer: Reviewer, version: &str, keep: Duration) -> Self {
        Self { reviewer, version: format!("authentication.k8s.io/{version}"), keep, kept: Mutex::default() }
    }

    /// Whose `token` is, if it is for one of `wanted`; an answer that names no audiences is about `ours`. `None`: the server does not know
    /// it.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        wanted: &[String],
        ours: &[String],
    ) -> Result<Option<Known>, String> {
        // The token itself is not kept, and who could read memory finds none here.
        let name = (json!(wanted).to_string(), fingerprint(token));
        let kept = self.lock().get(&name).filter(|(at, _)| at.elapsed() < self.keep).map(|(_, user)| user.clone());
        let known = match kept {
            Some(known) => known,
            None => {
                let spec = json!({"token": token, "audiences": wanted});
                let status = self.reviewer.ask(&self.version, "TokenReview", &spec, "authenticated").await;
                let status = status.map_err(|why| format!("authentication webhook: {why}"))?;
                let known = read(&status, wanted, ours)?;
                self.keep(name, known.clone());
                known
            }
        };
        Ok(known.map(|(user, audiences)| Known { user, audiences }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, [u8; 32]), Answer>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, name: (String, [u8; 32]), known: Option<(User, Vec<String>)>) {
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (at, _)| at.elapsed() < self.keep);
        }
        if kept.len() < KEPT_MAX {
            kept.insert(name, (Instant::now(), known));
        }
    }
}

/// Whom the status of a TokenReview names, and for whom of those that were asked about.
fn read(status: &Value, wanted: &[String], ours: &[String]) -> Result<Option<(User, Vec<String>)>, String> {
    if status["authenticated"] != true {
        return match status["error"].as_str().unwrap_or_default() {
            "" => Ok(None),
            error => Err(error.to_owned()),
        };
    }
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let named = texts(&status["audiences"]);
    // Who names no audience was not made for them, and vouches for those of this server.
    let meant = if named.is_empty() { ours } else { &named[..] };
    let audiences: Vec<String> = wanted.iter().filter(|one| meant.contains(one)).cloned().collect();
    let user = &status["user"];
    let text = |field: &str| user[field].as_str().unwrap_or_default().to_owned();
    let extra = user["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), texts(values)));
    let user =
        User { name: text("username"), uid: text("uid"), groups: texts(&user["groups"]), extra: extra.collect() };
    if user.name.is_empty() {
        return Err("its answer names no user".to_owned());
    }
    Ok((!audiences.is_empty()).then_some((user, audiences)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_a_user_or_nobody() {
        let (wanted, ours) = (["us".to_owned(), "x".to_owned()], ["us".to_owned()]);
        let user = json!({"username": "u", "uid": "7", "groups": ["g"], "extra": {"k": ["v"]}});
        let says = |status: Value| read(&status, &wanted, &ours);
        let (known, audiences) = says(json!({"authenticated": true, "user": user})).expect("sound").expect("known");
        assert_eq!((known.name.as_str(), known.uid.as_str(), &known.groups[..]), ("u", "7", &["g".to_owned()][..]));
        assert_eq!((&known.extra["k"][..], &audiences[..]), (&["v".to_owned()][..], &["us".to_owned()][..]));
        let named = says(json!({"authenticated": true, "user": user, "audiences": ["x", "y"]})).expect("sound");
        assert_eq!(named.expect("known").1, ["x"]);
        assert!(says(json!({"authenticated": true, "user": user, "audiences": ["them"]})).expect("sound").is_none());
        assert!(says(json!({"authenticated": false})).expect("sound").is_none());
        assert_eq!(says(json!({"authenticated": false, "error": "no"})), Err("no".to_owned()));
        assert!(says(json!({"authenticated": true})).is_err(), "nobody is no user");
    }
}
