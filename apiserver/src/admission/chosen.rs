//! Which plugins are asked: those that Kubernetes asks by default, and what `--enable-admission-plugins` and
//! `--disable-admission-plugins` make of that.

use super::{Operation, PLUGINS, Plugin};

/// What administrators add to the plugins that are asked by default, and take away from them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdmissionPlugins {
    /// `--enable-admission-plugins`
    pub enabled: Vec<String>,
    /// `--disable-admission-plugins`
    pub disabled: Vec<String>,
}

/// Plugins that are asked only if somebody wants it. NodeRestriction is none of them here, though it is in Kubernetes: every stock
/// manifest enables it, because without it a kubelet could take another node's pods.
const OFF: [&str; 12] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "LimitPodHardAntiAffinityTopology",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "OwnerReferencesPermissionEnforcement",
    "PodNodeSelector",
    "PodTolerationRestriction",
];
/// What is claimed last, because claiming writes, and so is no plugin of the table.
const QUOTA: &str = "ResourceQuota";
/// Plugins of Kubernetes that are not here. To disable one is to leave it as it is.
const ABSENT: [&str; 5] = [
    "ImagePolicyWebhook",
    "JobValidation",
    "NodeDeclaredFeatureValidator",
    "PodGroupProtection",
    "PodGroupWorkloadExists",
];

/// The plugins that are asked, in order.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    plugins: Vec<&'static Plugin>,
    quotas: bool,
}

impl Default for Chosen {
    /// Those that are asked unless somebody says otherwise.
    fn default() -> Self {
        let plugins = PLUGINS.iter().filter(|plugin| !OFF.contains(&plugin.name)).collect();
        Self { plugins, quotas: true }
    }
}

impl Chosen {
    /// What `said` makes of the default choice.
    ///
    /// # Errors
    /// It names a plugin that there is not, or that is not here; or one both ways.
    pub(crate) fn of(said: &AdmissionPlugins) -> Result<Self, String> {
        let is_here = |name: &str| name == QUOTA || PLUGINS.iter().any(|plugin| plugin.name == name);
        for (flag, names) in [("enable", &said.enabled), ("disable", &said.disabled)] {
            let unknown = names.iter().find(|name| !is_here(name) && !ABSENT.contains(&name.as_str()));
            if let Some(name) = unknown {
                return Err(format!("{flag}-admission-plugins plugin {name:?} is unknown{}", tip(name)));
            }
        }
        if let Some(name) = said.enabled.iter().find(|name| !is_here(name)) {
            return Err(format!("enable-admission-plugins plugin {name:?} is not implemented here"));
        }
        if let Some(name) = said.enabled.iter().find(|name| said.disabled.contains(name)) {
            return Err(format!("[{name}] in enable-admission-plugins and disable-admission-plugins overlapped"));
        }
        let is_on = |name: &str| {
            let named = |names: &[String]| names.iter().any(|it| it == name);
            named(&said.enabled) || !OFF.contains(&name) && !named(&said.disabled)
        };
        Ok(Self { plugins: PLUGINS.iter().filter(|plugin| is_on(plugin.name)).collect(), quotas: is_on(QUOTA) })
    }

    /// Those that are asked about such a write.
    pub(crate) fn asked(&self, operation: Operation) -> impl Iterator<Item = &'static Plugin> + use<'_> {
        self.plugins.iter().copied().filter(move |plugin| plugin.handles.contains(&operation))
    }

    /// Whether the plugin of this name is asked.
    pub(super) fn has(&self, name: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.name == name)
    }

    /// Whether quotas are charged.
    pub(crate) fn charges_quotas(&self) -> bool {
        self.quotas
    }
}

/// The plugin that was meant, if it is written otherwise.
fn tip(name: &str) -> String {
    let names = PLUGINS.iter().map(|plugin| plugin.name).chain([QUOTA]).chain(ABSENT);
    let mut alike = names.filter(|known| known.eq_ignore_ascii_case(name));
    alike.next().map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(enabled: &[&str], disabled: &[&str]) -> Result<Vec<&'static str>, String> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let said = AdmissionPlugins { enabled: names(enabled), disabled: names(disabled) };
        Chosen::of(&said).map(|chosen| chosen.plugins.iter().map(|plugin| plugin.name).collect())
    }

    #[test]
    fn plugins_are_added_and_taken_away_in_their_order() {
        let default = chosen(&[], &[]).unwrap();
        assert!(default.contains(&"DefaultStorageClass") && !default.contains(&"AlwaysPullImages"));
        let own =
            chosen(&["AlwaysPullImages", "NodeRestriction"], &["DefaultStorageClass", "ImagePolicyWebhook"]).unwrap();
        assert!(!own.contains(&"DefaultStorageClass"));
        let place = |name| own.iter().position(|it| *it == name);
        assert!(
            place("TaintNodesByCondition") < place("AlwaysPullImages")
                && place("AlwaysPullImages") < place("PodSecurity")
        );
        let without = AdmissionPlugins { enabled: Vec::new(), disabled: vec![QUOTA.to_owned()] };
        assert!(Chosen::default().charges_quotas() && !Chosen::of(&without).unwrap().charges_quotas());
    }

    #[test]
    fn what_is_unknown_or_said_both_ways_is_refused() {
        for (enabled, disabled, why) in [
            (&["Nothing"][..], &[][..], "enable-admission-plugins plugin \"Nothing\" is unknown"),
            (
                &["podsecurity"],
                &[],
                "enable-admission-plugins plugin \"podsecurity\" is unknown; did you mean PodSecurity?",
            ),
            (&[], &["x"], "disable-admission-plugins plugin \"x\" is unknown"),
            (
                &["ImagePolicyWebhook"],
                &[],
                "enable-admission-plugins plugin \"ImagePolicyWebhook\" is not implemented here",
            ),
            (
                &["Priority"],
                &["Priority"],
                "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
        ] {
            assert_eq!(chosen(enabled, disabled), Err(why.to_owned()));
        }
    }
}
