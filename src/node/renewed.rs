//! Certificates were issued again: who shows them, and who finds them.

use skiff_apiserver::{ApiServer, Pki};
use skiff_client::Presented;
use std::path::Path;

/// The server shows them, and the administrator finds them at `kubeconfig`. What fails leaves what there was.
pub(crate) fn hand_over(server: &ApiServer, next: &Pki, kubeconfig: &Path, url: &str) {
    if let Err(why) = server.present(next) {
        tracing::warn!(why, "the API server shows the certificates that it had");
    }
    if let Err(error) = next.write_kubeconfig(kubeconfig, url) {
        tracing::warn!(error = skiff_client::sentence(&error), "the kubeconfig holds the certificate that it had");
    }
}

/// The kubelet shows its own.
pub(crate) fn present_kubelet(shown: &Presented, next: &Pki) {
    let pair = next.kubelet_serving();
    if let Err(why) = shown.replace(&pair.certificate, &pair.private_key) {
        tracing::warn!(why, "the kubelet shows the certificate that it had");
    }
}
