//! Which of the protocols that a client offers we speak, and what each means. Pure.
//!
//! Source: k8s.io/apimachinery/pkg/util/remotecommand (the names), KEP-4006 (version 5 and the tunnel).

/// Port-forward over SPDY, and the name under which it is tunnelled in WebSocket.
pub(crate) const PORT_FORWARD: &str = "portforward.k8s.io";
/// The same, each WebSocket message a piece of the SPDY connection.
pub(crate) const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// How the end of a command is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The oldest: text on the error stream, no resizing.
    V1,
    /// As the first, but streams close properly.
    V2,
    /// With a resize stream.
    V3,
    /// The error stream carries a Status.
    V4,
    /// The client can close a WebSocket channel.
    V5,
}

/// How bytes travel in WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// A binary message: the channel's number as a byte, then bytes.
    Binary,
    /// A text message: the channel's digit, then base64.
    Base64,
}

/// The first offered name that we speak over SPDY; version 5 changes nothing there, and kubelets do not take it either.
/// A client that offers nothing speaks version 1 and expects no name back.
pub(crate) fn choose_spdy<'a>(offered: &[&'a str]) -> Option<(Option<&'a str>, Version)> {
    let version = |name: &str| match name {
        "v4.channel.k8s.io" => Some(Version::V4),
        "v3.channel.k8s.io" => Some(Version::V3),
        "v2.channel.k8s.io" => Some(Version::V2),
        "channel.k8s.io" => Some(Version::V1),
        _ => None,
    };
    if offered.is_empty() {
        return Some((None, Version::V1));
    }
    offered.iter().find_map(|name| version(name).map(|version| (Some(*name), version)))
}

/// The first offered name that we speak over WebSocket.
pub(crate) fn choose_websocket<'a>(offered: &[&'a str]) -> Option<(Option<&'a str>, Version, Coding)> {
    let known = |name: &str| match name {
        "v5.channel.k8s.io" => Some((Version::V5, Coding::Binary)),
        "v4.channel.k8s.io" => Some((Version::V4, Coding::Binary)),
        "v4.base64.channel.k8s.io" => Some((Version::V4, Coding::Base64)),
        "channel.k8s.io" => Some((Version::V1, Coding::Binary)),
        "base64.channel.k8s.io" => Some((Version::V1, Coding::Base64)),
        _ => None,
    };
    if offered.is_empty() {
        return Some((None, Version::V1, Coding::Binary));
    }
    offered.iter().find_map(|name| known(name).map(|(version, coding)| (Some(*name), version, coding)))
}

/// The first offered name under which ports are forwarded over the channels of a WebSocket.
pub(crate) fn choose_forward<'a>(offered: &[&'a str]) -> Option<(Option<&'a str>, Coding)> {
    let known = |name: &str| match name {
        "v4.channel.k8s.io" => Some(Coding::Binary),
        "v4.base64.channel.k8s.io" => Some(Coding::Base64),
        _ => None,
    };
    if offered.is_empty() {
        return Some((None, Coding::Binary));
    }
    offered.iter().find_map(|name| known(name).map(|coding| (Some(*name), coding)))
}

/// The names in headers that may be repeated and may hold several, comma separated.
pub(crate) fn names<'a>(headers: &'a http::HeaderMap, name: &str) -> Vec<&'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_common_choice_counts() {
        let kubectl =
            ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
        assert_eq!(choose_spdy(&kubectl), Some((Some("v4.channel.k8s.io"), Version::V4)));
        assert_eq!(choose_spdy(&[]), Some((None, Version::V1)));
        assert_eq!(choose_spdy(&["v9.channel.k8s.io"]), None);
        assert_eq!(choose_websocket(&kubectl), Some((Some("v5.channel.k8s.io"), Version::V5, Coding::Binary)));
        let browser = ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"];
        assert_eq!(choose_websocket(&browser), Some((Some(browser[0]), Version::V4, Coding::Base64)));
        assert_eq!(choose_websocket(&["soap"]), None);
        assert_eq!(choose_forward(&kubectl), Some((Some("v4.channel.k8s.io"), Coding::Binary)));
        assert_eq!(choose_forward(&browser), Some((Some(browser[0]), Coding::Base64)));
        assert_eq!(choose_forward(&["channel.k8s.io"]), None);
    }
}
