//! Whose credentials are looked at before a pod may use an image that is there (kubelet, `imagePullCredentialsVerificationPolicy`).

use crate::name::without_tag;

/// For which images that are there a pod has to show credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// For none.
    NeverVerify,
    /// For those that a kubelet has pulled; what came with the node is everybody's.
    #[default]
    NeverVerifyPreloadedImages,
    /// For all but these names and, where they end in `/`, what begins with them.
    NeverVerifyAllowlistedImages(Vec<String>),
    /// For all.
    AlwaysVerify,
}

/// Why there is no such policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No policy is called so.
    #[error("`{0}`: expected NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages or AlwaysVerify")]
    Unknown(String),
    /// A name on the list is no name and no start of one.
    #[error("preloadedImagesVerificationAllowlist: `{0}`: expected a name without tag, or the start of one and `/*`")]
    Pattern(String),
    /// A list that nothing reads.
    #[error("preloadedImagesVerificationAllowlist: can only be set with NeverVerifyAllowlistedImages")]
    Unread,
}

impl Policy {
    /// The policy of this name, with its list.
    ///
    /// # Errors
    /// No such policy, or a pattern that is none.
    pub fn of(name: &str, allowed: &[String]) -> Result<Self, PolicyError> {
        let policy = match name {
            "" | "NeverVerifyPreloadedImages" => Self::default(),
            "NeverVerify" => Self::NeverVerify,
            "AlwaysVerify" => Self::AlwaysVerify,
            "NeverVerifyAllowlistedImages" => {
                return Ok(Self::NeverVerifyAllowlistedImages(
                    allowed.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?,
                ));
            }
            other => return Err(PolicyError::Unknown(other.to_owned())),
        };
        if allowed.is_empty() { Ok(policy) } else { Err(PolicyError::Unread) }
    }

    /// Whether a pod has to show credentials for `image`, which is there.
    #[must_use]
    pub fn asks(&self, image: &str, pulled_by_kubelet: bool) -> bool {
        match self {
            Self::NeverVerify => false,
            Self::NeverVerifyPreloadedImages => pulled_by_kubelet,
            Self::NeverVerifyAllowlistedImages(allowed) => {
                let name = without_tag(image);
                !allowed.iter().any(|one| name == one || (one.ends_with('/') && name.starts_with(one)))
            }
            Self::AlwaysVerify => true,
        }
    }
}

fn pattern(text: &str) -> Result<String, PolicyError> {
    let wrong = || PolicyError::Pattern(text.to_owned());
    let name = text.strip_suffix('*').filter(|start| start.ends_with('/')).unwrap_or(text);
    let is_name = without_tag(name) == name && !name.is_empty() && name != "/" && name.trim() == name;
    if !is_name || name.contains('*') || (name == text && name.ends_with('/')) {
        return Err(wrong());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked() {
        let list =
            Policy::of("NeverVerifyAllowlistedImages", &["r.io/a".to_owned(), "r.io/team/*".to_owned()]).unwrap();
        for (policy, image, pulled, asks) in [
            (&Policy::NeverVerify, "r.io/a", true, false),
            (&Policy::AlwaysVerify, "r.io/a", false, true),
            (&Policy::default(), "r.io/a", false, false),
            (&Policy::default(), "r.io/a", true, true),
            (&list, "r.io/a:1", true, false),
            (&list, "r.io/ab:1", true, true),
            (&list, "r.io/team/x@sha256:00", false, false),
            (&list, "r.io/teams/x", false, true),
        ] {
            assert_eq!(policy.asks(image, pulled), asks, "{policy:?} {image}");
        }
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        for text in ["", "*", "/*", "r.io/*/x", " r.io/x", "r.io/x:1", "r.io/x@sha256:00", "r.io/"] {
            let told = Policy::of("NeverVerifyAllowlistedImages", &[text.to_owned()]);
            assert_eq!(told, Err(PolicyError::Pattern(text.to_owned())));
        }
        assert_eq!(Policy::of("NeverVerify", &["r.io/x".to_owned()]), Err(PolicyError::Unread));
        assert!(Policy::of("Sometimes", &[]).is_err());
    }
}
