//! Answers of a plugin, for as long as it says: for one image, for all of a registry, or for all. Pure: the caller has the clock.

use crate::plugin::{Answer, Auths, Scope};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// In place of an image or a registry; no name of either has such characters.
const ALL: &str = "<global>";

/// By image, registry or all, and the account (empty for none).
#[derive(Default)]
pub(crate) struct Cache(HashMap<(String, String), (Auths, Instant)>);

impl Cache {
    /// The narrowest answer that still holds.
    pub(crate) fn get(&self, image: &str, account: &str, now: Instant) -> Option<Auths> {
        [image, registry(image), ALL].iter().find_map(|key| {
            let (auths, ends) = self.0.get(&((*key).to_owned(), account.to_owned()))?;
            (now <= *ends).then(|| auths.clone())
        })
    }

    /// Keeps an answer as long as it says, or for `otherwise`; what has ended goes.
    pub(crate) fn put(&mut self, image: &str, account: &str, answer: &Answer, otherwise: Duration, now: Instant) {
        self.0.retain(|_, (_, ends)| now <= *ends);
        let lasts = answer.lasts.unwrap_or(otherwise);
        let Some(ends) = now.checked_add(lasts).filter(|_| !lasts.is_zero()) else { return };
        let key = match answer.scope {
            Scope::Image => image,
            Scope::Registry => registry(image),
            Scope::Global => ALL,
        };
        self.0.insert((key.to_owned(), account.to_owned()), (answer.auths.clone(), ends));
    }
}

fn registry(image: &str) -> &str {
    image.split('/').next().unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(scope: Scope, user: &str, lasts: Option<u64>) -> Answer {
        let auths = Auths::from([("*".to_owned(), (user.to_owned(), String::new()))]);
        Answer { scope, lasts: lasts.map(Duration::from_secs), auths }
    }

    fn user(cache: &Cache, image: &str, account: &str, now: Instant) -> Option<String> {
        cache.get(image, account, now).map(|auths| auths["*"].0.clone())
    }

    #[test]
    fn an_answer_holds_for_what_it_is_meant_for() {
        let (mut cache, now, long) = (Cache::default(), Instant::now(), Duration::from_secs(60));
        cache.put("r.io/a", "", &answer(Scope::Global, "all", None), long, now);
        cache.put("r.io/a", "", &answer(Scope::Registry, "registry", None), long, now);
        cache.put("r.io/a", "", &answer(Scope::Image, "image", None), long, now);
        assert_eq!(user(&cache, "r.io/a", "", now).as_deref(), Some("image"));
        assert_eq!(user(&cache, "r.io/b", "", now).as_deref(), Some("registry"));
        assert_eq!(user(&cache, "other.io/a", "", now).as_deref(), Some("all"));
        assert_eq!(user(&cache, "r.io/a", "ns/account", now), None, "another account's answers are its own");
    }

    #[test]
    fn an_answer_ends_when_it_says_and_otherwise_by_the_plugin_s_own_time() {
        let (mut cache, now, seconds) = (Cache::default(), Instant::now(), Duration::from_secs);
        cache.put("r.io/a", "", &answer(Scope::Image, "never", Some(0)), seconds(60), now);
        assert_eq!(user(&cache, "r.io/a", "", now), None);
        cache.put("r.io/a", "", &answer(Scope::Image, "said", Some(5)), seconds(60), now);
        cache.put("r.io/b", "", &answer(Scope::Image, "unsaid", None), seconds(60), now);
        cache.put("r.io/c", "", &answer(Scope::Image, "nothing", None), Duration::ZERO, now);
        assert_eq!(user(&cache, "r.io/a", "", now + seconds(6)), None);
        assert_eq!(user(&cache, "r.io/b", "", now + seconds(6)).as_deref(), Some("unsaid"));
        assert_eq!(user(&cache, "r.io/c", "", now), None);
        cache.put("r.io/d", "", &answer(Scope::Image, "new", None), seconds(1), now + seconds(61));
        assert_eq!(cache.0.len(), 1, "what has ended takes no room");
    }
}
