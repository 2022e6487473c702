//! Credentials for images, in the words of the kubelet.

use anyhow::Context;
use clap::Args;
use skiff_kubelet::{PullPolicy, PullSettings};
use std::path::PathBuf;

/// Plugins that know credentials, and who has to show some for an image that is there.
#[derive(Debug, Clone, Args)]
pub(crate) struct PullArgs {
    /// File or folder that names plugins with credentials for images (CredentialProviderConfig)
    #[arg(long, requires = "image_credential_provider_bin_dir", value_name = "PATH")]
    pub(crate) image_credential_provider_config: Option<PathBuf>,
    /// Folder with the programs of these plugins
    #[arg(long, requires = "image_credential_provider_config", value_name = "FOLDER")]
    pub(crate) image_credential_provider_bin_dir: Option<PathBuf>,
    /// For which images that are there a pod shows credentials: NeverVerify, NeverVerifyPreloadedImages,
    /// NeverVerifyAllowlistedImages or AlwaysVerify
    #[arg(long, default_value = "NeverVerifyPreloadedImages", value_name = "POLICY")]
    pub(crate) image_pull_credentials_verification_policy: String,
    /// Names, or starts of names and /*, that NeverVerifyAllowlistedImages lets everybody use (may be repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) preloaded_images_verification_allowlist: Vec<String>,
}

impl PullArgs {
    /// What they say.
    ///
    /// # Errors
    /// There is no such policy, or a name on its list is none.
    pub(crate) fn settings(&self) -> anyhow::Result<PullSettings> {
        let (policy, allowed) =
            (&self.image_pull_credentials_verification_policy, &self.preloaded_images_verification_allowlist);
        let policy = PullPolicy::of(policy, allowed).context("--image-pull-credentials-verification-policy")?;
        let (config, programs) = (&self.image_credential_provider_config, &self.image_credential_provider_bin_dir);
        Ok(PullSettings { providers: config.clone().zip(programs.clone()), policy })
    }
}
